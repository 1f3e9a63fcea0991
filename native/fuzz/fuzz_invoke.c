/* Any metadata and any message: what is taken for a call has spans within the message and a request id of about now. */
#include "lane/invoke.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds)
        abort();
}

static ct__h2_span take(const uint8_t **at, size_t *left) {
    if (*left == 0)
        return (ct__h2_span){0};
    const size_t asked = **at, len = asked < *left - 1 ? asked : *left - 1;
    const ct__h2_span span = {.data = *at + 1, .len = len};
    *at += 1 + len;
    *left -= 1 + len;
    return span;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint64_t now_ms = 0x019000000000U;
    ct__h2_head head = {0};
    head.request_id = take(&data, &size);
    head.traceparent = take(&data, &size);
    head.call_depth = take(&data, &size);
    head.call_chain = take(&data, &size);
    head.source = take(&data, &size);
    ct__invoke call;
    if (!ct__invoke_read(&head, data, size, now_ms, &call))
        return 0;
    must(call.function.len <= size && call.payload_bytes <= size && call.payload.len > 0);
    must(call.source[CT_SOURCE_BYTES - 1] == 0 && call.depth <= 9999);
    uint8_t text[CT__UUID_TEXT_BYTES];
    ct__uuid_put(text, call.request_id);
    for (size_t i = 0; i < sizeof text; i++)
        must((text[i] | 0x20) == (head.request_id.data[i] | 0x20));
    return 0;
}
