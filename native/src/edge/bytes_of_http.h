/* What each byte may be part of in HTTP/1.1. */
#ifndef CT_EDGE_BYTES_OF_HTTP_H
#define CT_EDGE_BYTES_OF_HTTP_H

#include "base/abi.h"

enum {
    CT__IN_TOKEN = 1,  /* RFC 9110 section 5.6.2 */
    CT__IN_VALUE = 2,  /* of a field, section 5.5 */
    CT__IN_TARGET = 4, /* RFC 9112 section 3.2: visible, and no fragment */
    CT__IN_HOST = 8,   /* RFC 3986 section 3.2, host and port, without the comma that lists use */
    CT__IN_DIGIT = 16,
    CT__IN_HEX = 32,
};

extern const uint8_t ct__http_bytes[256];

#endif
