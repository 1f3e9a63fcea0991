/* Whatever passes as an error frame's body is JSON, has both names in it, and reading it stays within its bounds. */
#define _GNU_SOURCE
#include "base/abi.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (ct_handler_error_check(data, size, 64) != 0)
        return 0;
    if (ct_json_check(data, size, 64) != 0 || memmem(data, size, "\"type\"", 6) == NULL ||
        memmem(data, size, "\"message\"", 9) == NULL)
        abort();
    return 0;
}
