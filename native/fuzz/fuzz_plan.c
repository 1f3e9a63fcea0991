/* The fork server's request: what decodes, encodes to the very bytes it came from. */
#include "base/abi.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ct_plan plan;
static uint8_t out[CT_PLAN_BYTES_MAX];

static void must(int holds) {
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const int result = ct_plan_decode(data, size, &plan);
    if (result < 0)
        return 0;
    must(plan.host_uid != 0 && plan.argc <= CT_PLAN_ARGS_MAX && plan.argv[plan.argc] == NULL);
    for (uint32_t i = 0; i < plan.entry_count; i++)
        must(plan.entries[i].target[0] == '/' && strstr(plan.entries[i].target, "/../") == NULL);
    const int len = ct_plan_encode(&plan, out, sizeof out);
    must(len == (int)size && memcmp(out, data, size) == 0);
    return 0;
}
