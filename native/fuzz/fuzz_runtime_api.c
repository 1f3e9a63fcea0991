/* Any bytes as what a program says to the Runtime API: a request's meaning lies within it, an error becomes one that the host takes,
 * trailers and base64 keep their bounds; and as what the host says first. */
#include "guest/lambda_error.h"
#include "guest/runtime_api.h"
#include "guest/setup.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds)
        abort();
}

static bool is_within(ct__span span, const uint8_t *data, size_t size) {
    return span.len == 0 || (span.at >= data && span.at + span.len <= data + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct__http1_head head;
    static uint8_t error[CT__LAMBDA_ERROR_BYTES];
    ct__http1_scan scan = {0};
    ct__span type = {0};
    if (ct__http1_request(&scan, data, size, &head) == 0) {
        const ct__api_ask ask = ct__api_read(&head);
        must(is_within(ask.request_id, data, size) && is_within(ask.error_type, data, size));
        must((ask.kind == CT__API_RESPONSE || ask.kind == CT__API_ERROR) <= (ask.request_id.len > 0));
        type = ask.error_type;
    }
    const size_t len = ct__lambda_error(data, size, type, error);
    must(len <= sizeof error && ct_handler_error_check(error, len, 8) == 0);
    const ct__span trailer = ct__api_trailer(data, size, "lambda-runtime-function-error-body");
    must(is_within(trailer, data, size));
    uint8_t *out = malloc(size + 1);
    must(out != NULL);
    must(ct__api_base64((ct__span){data, size}, out) <= (ptrdiff_t)(size / 4 * 3));
    free(out);
    ct__setup setup;
    if (ct__setup_read(data, size, &setup) == 0) {
        for (size_t i = 0; i < setup.env_count; i++)
            must(strchr(setup.env[i], '=') != NULL && setup.env[i][0] != '=');
        ct__setup_free(&setup);
    }
    return 0;
}
