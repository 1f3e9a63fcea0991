/* Any bytes, any cut: an answer of Firecracker's API is read the same whole and in pieces, and keeps its bounds; a request that is
 * written is one that a strict server reads as it was meant. */
#include "vm/fc_http.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds)
        abort();
}

static void check_answer(const uint8_t *data, size_t size) {
    ct__fc_scan whole = {0}, slow = {0};
    ct__fc_answer answer, own;
    const int result = ct__fc_answer_read(&whole, data, size, &answer);
    must(result == 0 || result == CT_E_MORE || result == CT_E_MALFORMED || result == CT_E_UNSUPPORTED || result == CT_E_TOOBIG);
    const size_t step = 1 + size % 7;
    int again = CT_E_MORE;
    for (size_t len = 0; again == CT_E_MORE && len < size;) {
        len = size - len < step ? size : len + step;
        again = ct__fc_answer_read(&slow, data, len, &own);
    }
    must(again == result || size == 0);
    if (result != 0)
        return;
    must(answer.used <= size && answer.used == own.used && answer.status == own.status && answer.closes == own.closes);
    must(answer.body.len <= CT__FC_BODY_BYTES && answer.body.at + answer.body.len == data + answer.used);
    must(answer.status >= 200 && answer.status <= 999 && (answer.status != 204 || answer.body.len == 0));
    char fault[64];
    const size_t len = ct__fc_fault(answer.body, fault, sizeof fault);
    must(len <= sizeof fault);
    for (size_t i = 0; i < len; i++)
        must(fault[i] >= ' ' && fault[i] <= '~');
}

/* The first byte tells the method; up to a NUL it is the target, behind that the body. */
static void check_request(const uint8_t *data, size_t size) {
    static uint8_t out[CT__FC_REQUEST_HEAD_BYTES + CT__FC_REQUEST_BODY_BYTES];
    char target[CT__FC_TARGET_BYTES + 2];
    if (size == 0)
        return;
    const enum ct__fc_method method = (enum ct__fc_method)(data[0] % 3);
    const uint8_t *nul = memchr(data + 1, '\0', size - 1);
    const size_t len = nul != NULL ? (size_t)(nul - data - 1) : size - 1;
    if (len >= sizeof target)
        return;
    memcpy(target, data + 1, len);
    target[len] = '\0';
    const ct__span body = {data + (nul != NULL ? len + 2 : size), nul != NULL ? size - len - 2 : 0};
    const int written = ct__fc_request(out, sizeof out, method, target, body);
    must(written > 0 || written == CT_E_RANGE || written == CT_E_TOOBIG);
    if (written < 0)
        return;
    ct__http1_scan scan = {0};
    ct__http1_head head;
    must(ct__http1_request(&scan, out, (size_t)written, &head) == 0);
    must(ct__span_is(head.target, target) && head.length == body.len && head.used + body.len == (size_t)written);
    must(body.len == 0 || memcmp(out + head.used, body.at, body.len) == 0);
    must(ct__fc_request(out, (size_t)written - 1, method, target, body) == CT_E_NOSPACE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check_answer(data, size);
    check_request(data, size);
    return 0;
}
