/* What a program says of a failure in the words of the Lambda Runtime API, and what the platform calls the same. */
#ifndef CT_GUEST_LAMBDA_ERROR_H
#define CT_GUEST_LAMBDA_ERROR_H

#include "edge/http1.h"

enum {
    CT__ERROR_TYPE_BYTES = 256,
    CT__ERROR_MESSAGE_BYTES = 8 << 10, /* as our own workers cut them */
    CT__ERROR_STACK_BYTES = 32 << 10,
    /* Every byte may become six where it is quoted; the names around them */
    CT__LAMBDA_ERROR_BYTES = 6 * (CT__ERROR_TYPE_BYTES + CT__ERROR_MESSAGE_BYTES + CT__ERROR_STACK_BYTES) + 64,
};

/* Writes the body of an error frame to `out`, which holds CT__LAMBDA_ERROR_BYTES, for a body such as {"errorType", "errorMessage",
 * "stackTrace"}; the stack may be called "trace", and its items be texts or objects with path, line and label. `type` is what the
 * request's header says, used where the body says none. A body that is nothing of the kind is itself the message. Returns the length. */
size_t ct__lambda_error(const uint8_t *body, size_t len, ct__span type, uint8_t *out);

/* The same for a failure of ours to serve the program: plain texts. */
size_t ct__error_of(const char *type, const char *message, uint8_t *out);

#endif
