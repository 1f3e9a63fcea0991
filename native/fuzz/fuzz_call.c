/* Any head of a call, any answer of comet's, any error of a handler's: what is found lies within the input, what is written fits. */
#include "edge/events.h"
#include "edge/plain.h"
#include "edge/reply.h"
#include "proto/json_member.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds)
        abort();
}

static void within(ct__span span, const uint8_t *data, size_t size) {
    must(span.len == 0 || (span.at >= data && span.at + span.len <= data + size));
}

static void read_call(const uint8_t *data, size_t size) {
    static ct__http1_head head;
    ct__http1_scan scan = {0};
    ct__plain plain;
    if (ct__http1_request(&scan, data, size, &head) != 0 || !ct__plain_read(&head, 300000000000, &plain))
        return;
    must(plain.function.len > 0 && plain.function.len <= 64 && plain.depth.len <= 4 && plain.qualifier.len <= 128);
    must(plain.timeout_ms <= 300000 && (plain.timeout_ms == 0) == (plain.timeout_ns == 0 && plain.timeout_ms == 0));
    const ct__span found[] = {plain.function, plain.credential, plain.tenant, plain.space, plain.traceparent,
                              plain.qualifier, plain.depth, plain.chain};
    for (size_t i = 0; i < sizeof found / sizeof *found; i++)
        within(found[i], data, size);
}

static void write_reply(const uint8_t *data, size_t size) {
    ct__reply reply;
    if (ct__reply_read(data, size, &reply) != 0)
        return;
    const size_t room = ct__reply_room(&reply);
    uint8_t *out = malloc(room);
    if (out == NULL)
        return;
    must(ct__reply_write(out, &reply, "0190b5a0-7a3b-7c00-8000-0123456789ab", "date: Wed, 25 Nov 2026 03:18:23 GMT\r\n") <= room);
    free(out);
}

static void write_end(const uint8_t *data, size_t size) {
    ct__reply end;
    uint8_t out[CT__REPLY_END_BYTES];
    if (ct__reply_read_end(data, size, &end) == 0)
        must(ct__reply_end(out, &end, "0190b5a0-7a3b-7c00-8000-0123456789ab") <= sizeof out);
}

/* The same bytes in pieces of a size: what is counted is what is written, and no cut is longer than a character's begin. */
static void write_events(const uint8_t *data, size_t size) {
    const size_t step = size > 0 ? 1 + data[0] % 8U : 1;
    ct__cut cut = {0};
    for (size_t at = 0; at <= size; at += step) {
        const ct__span piece = {data + at, size - at < step ? size - at : step};
        const bool is_last = at + step > size;
        ct__cut again = cut;
        const size_t len = ct__event_text(NULL, &again, piece, is_last);
        uint8_t *out = malloc(len + 1);
        if (out == NULL)
            return;
        must(ct__event_text(out, &cut, piece, is_last) == len && cut.len == again.len && cut.len < sizeof cut.bytes);
        must(len == 0 || (len > 8 && out[len - 1] == '\n' && out[len - 2] == '\n'));
        free(out);
    }
    must(cut.len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_call(data, size);
    write_end(data, size);
    write_events(data, size);
    write_reply(data, size);
    const uint8_t *value = NULL;
    const size_t len = ct__json_member(data, size, "type", &value);
    must(len == 0 || (value >= data && value + len <= data + size));
    if (len > 0) {
        char text[64];
        must(ct__json_ascii(value, len, text, sizeof text) <= (ptrdiff_t)sizeof text);
        must(ct__json_number(value, len) <= 999999999);
    }
    char type[CT__ERROR_TYPE_BYTES];
    const size_t type_len = ct__reply_error_type((ct__span){data, size}, type);
    must(type_len > 0 && type_len <= sizeof type);
    uint8_t *quoted = malloc(6 * size + 2);
    if (quoted != NULL) {
        const size_t quoted_len = ct__json_quote(quoted, data, size);
        must(quoted_len >= size + 2 && quoted_len <= 6 * size + 2);
        free(quoted);
    }
    return 0;
}
