/* What passes at a depth passes at any greater one and in brackets, but not with one bracket alone. */
#include "base/abi.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const int shallow = ct_json_check(data, size, 8);
    const int deep = ct_json_check(data, size, UINT32_MAX);
    must(shallow == deep || shallow == CT_E_DEPTH);
    uint8_t *wrapped = malloc(size + 2);
    must(wrapped != NULL);
    wrapped[0] = '[';
    if (size > 0)
        memcpy(wrapped + 1, data, size);
    wrapped[size + 1] = ']';
    const int inside = ct_json_check(wrapped, size + 2, UINT32_MAX);
    if (deep == 0) {
        must(inside == 0 || inside == CT_E_DEPTH);
        must(ct_json_check(wrapped, size + 1, UINT32_MAX) != 0); /* without its end */
    }
    free(wrapped);
    return 0;
}
