/* Any bytes as a server's answer to a call: the whole input at once and in pieces of a length that it tells itself come to the same
 * status, body and end, and whatever is found lies within what was read. */
#include "guest/http_call.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds)
        abort();
}

typedef struct reading {
    ct__http_answer answer;
    size_t taken, body_len;
    uint64_t body_sum;
    int result;
} reading;

static void read_on(reading *r, const uint8_t *data, size_t upto) {
    while (r->result == 0 && !ct__http_answer_done(&r->answer) && r->taken < upto) {
        size_t used = 0;
        ct__span found = {0};
        const int result = ct__http_answer_next(&r->answer, data + r->taken, upto - r->taken, &used, &found);
        must(used <= upto - r->taken && found.len <= used);
        if (result == CT_E_MORE)
            return;
        r->result = result;
        must(result != 0 || used > 0);
        for (size_t i = 0; i < found.len; i++) {
            must(found.at + i >= data + r->taken && found.at + i < data + r->taken + used);
            r->body_sum = r->body_sum * 31 + found.at[i];
        }
        r->body_len += result == 0 ? found.len : 0;
        r->taken += result == 0 ? used : 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    const size_t step = (size_t)data[0] % 61 + 1;
    data++;
    size--;
    reading whole = {0}, parts = {0};
    read_on(&whole, data, size);
    for (size_t upto = step; upto < size; upto += step)
        read_on(&parts, data, upto);
    read_on(&parts, data, size);
    must(whole.result == parts.result);
    if (whole.result == 0) {
        must(whole.taken == parts.taken && whole.body_len == parts.body_len && whole.body_sum == parts.body_sum);
        must(whole.answer.status == parts.answer.status);
        must(ct__http_answer_may_end(&whole.answer) == ct__http_answer_may_end(&parts.answer));
    }
    ct_exec_head call;
    if (ct_exec_head_get(data, size, &call) == 0) {
        ct__http_function function = {.port = UINT16_MAX};
        char head[CT__HTTP_CALL_BYTES];
        memcpy(function.name, data, size < sizeof function.name - 1 ? size : sizeof function.name - 1);
        memset(function.version, 'v', sizeof function.version - 1);
        const size_t len = ct__http_call_put(head, &call, UINT64_MAX, &function, SIZE_MAX);
        static ct__http1_head read;
        ct__http1_scan scan = {0};
        must(len < sizeof head);
        const int result = ct__http1_request(&scan, (const uint8_t *)head, len, &read);
        must(result == 0 || result == 400 || result == 413); /* a length that no body has; never more than one request */
    }
    return 0;
}
