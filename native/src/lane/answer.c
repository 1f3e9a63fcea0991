#include "lane/answer.h"

#include "lane/invoke.h"
#include "proto/pbwire.h"

enum { REQUEST_ID = 1, OUTPUT = 2, ERROR = 3, DURATION = 4, COLD = 5, VERSION = 6 };        /* InvokeResponse */
enum { END = 2 };                                                                          /* InvokeChunk */
enum { END_ERROR = 2, END_DURATION = 3, END_COLD = 4, END_VERSION = 5, END_HEAD_BYTES = 48 }; /* StreamEnd */

static size_t decimal(uint8_t out[20], uint64_t value) {
    uint8_t digits[20];
    size_t len = 0;
    do
        digits[len++] = (uint8_t)('0' + value % 10);
    while ((value /= 10) > 0);
    for (size_t i = 0; i < len; i++)
        out[i] = digits[len - 1 - i];
    return len;
}

static void put_double(ct__writer *w, uint32_t number, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint8_t raw[9] = {(uint8_t)(number << 3 | CT__PB_FIXED64)};
    for (size_t i = 0; i < 8; i++)
        raw[1 + i] = (uint8_t)(bits >> (8 * i));
    ct__write_bytes(w, raw, sizeof raw);
}

/* Tag and length of a field whose bytes follow elsewhere. */
static void put_prefix(ct__writer *w, uint32_t number, size_t len) {
    uint8_t raw[11] = {(uint8_t)(number << 3 | CT__PB_BYTES)};
    size_t used = 1;
    for (uint64_t left = len;; left >>= 7) {
        raw[used++] = (uint8_t)((left & 0x7F) | (left > 0x7F ? 0x80 : 0));
        if (left <= 0x7F)
            break;
    }
    ct__write_bytes(w, raw, used);
}

void ct__answer_make(ct__answer *out, const uint8_t request_id[16], bool is_error, const uint8_t *body, size_t len,
                     uint64_t duration_ns, bool is_cold, uint64_t version) {
    uint8_t id[CT__UUID_TEXT_BYTES], text[20];
    ct__writer head = {.at = out->head, .left = sizeof out->head};
    ct__uuid_put(id, request_id);
    ct__pb_put_bytes(&head, REQUEST_ID, id, sizeof id);
    put_prefix(&head, is_error ? ERROR : OUTPUT, len);
    ct__writer tail = {.at = out->tail, .left = sizeof out->tail};
    put_double(&tail, DURATION, (double)duration_ns / 1e6);
    if (is_cold)
        ct__pb_put_varint(&tail, COLD, 1);
    ct__pb_put_bytes(&tail, VERSION, text, decimal(text, version));
    out->pieces[0] = (ct__h2_span){.data = out->head, .len = (size_t)(head.at - out->head)};
    out->pieces[1] = (ct__h2_span){.data = body, .len = len};
    out->pieces[2] = (ct__h2_span){.data = out->tail, .len = (size_t)(tail.at - out->tail)};
}

void ct__answer_end(ct__answer *out, const uint8_t request_id[16], const uint8_t *error, size_t len, uint64_t duration_ns,
                    bool is_cold, uint64_t version) {
    uint8_t id[CT__UUID_TEXT_BYTES], text[20], inner[END_HEAD_BYTES];
    ct__writer front = {.at = inner, .left = sizeof inner};
    ct__uuid_put(id, request_id);
    ct__pb_put_bytes(&front, REQUEST_ID, id, sizeof id);
    if (len > 0)
        put_prefix(&front, END_ERROR, len);
    const size_t front_len = (size_t)(front.at - inner);
    ct__writer tail = {.at = out->tail, .left = sizeof out->tail};
    put_double(&tail, END_DURATION, (double)duration_ns / 1e6);
    if (is_cold)
        ct__pb_put_varint(&tail, END_COLD, 1);
    ct__pb_put_bytes(&tail, END_VERSION, text, decimal(text, version));
    const size_t tail_len = (size_t)(tail.at - out->tail);
    ct__writer head = {.at = out->head, .left = sizeof out->head};
    put_prefix(&head, END, front_len + len + tail_len);
    ct__write_bytes(&head, inner, front_len);
    out->pieces[0] = (ct__h2_span){.data = out->head, .len = (size_t)(head.at - out->head)};
    out->pieces[1] = (ct__h2_span){.data = error, .len = len};
    out->pieces[2] = (ct__h2_span){.data = out->tail, .len = tail_len};
}
