/* Any stream, any cut: the batch scanner and the single splitter see the same frames, within their bounds. */
#include "base/abi.h"

#include <stdlib.h>

enum { LIMIT = 512, BATCH = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t at = 0;
    for (;;) {
        ct_frame batch[BATCH];
        size_t used = 0;
        const int count = ct_frame_scan(data + at, size - at, LIMIT, batch, BATCH, &used);
        ct_frame one;
        if (count <= 0) {
            const int single = ct_frame_split(data + at, size - at, LIMIT, &one);
            must(count == 0 ? single == CT_E_MORE && used == 0 : single == count);
            break;
        }
        size_t sum = 0;
        for (int i = 0; i < count; i++) {
            must(ct_frame_split(data + at + sum, size - at - sum, LIMIT, &one) == 0);
            must(one.body == batch[i].body && one.len == batch[i].len && one.len <= LIMIT);
            must(one.body + one.len <= data + size);
            sum += one.used;
        }
        must(sum == used);
        at += used;
    }
    ct_exec_head head;
    uint8_t back[CT_EXEC_HEAD_BYTES];
    if (ct_exec_head_get(data, size, &head) == 0) {
        ct_exec_head_put(back, &head);
        for (size_t i = 0; i < sizeof back; i++)
            must(back[i] == data[i]);
    }
    return 0;
}
