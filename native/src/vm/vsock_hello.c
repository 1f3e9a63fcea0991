#include "vm/vsock_hello.h"

#include <stdio.h>
#include <string.h>

static const char WORD[] = "OK ";
enum { WORD_BYTES = sizeof WORD - 1 };

int ct__vsock_hello_put(uint8_t *out, uint32_t port) {
    if (port == UINT32_MAX)
        return CT_E_RANGE;
    char line[CT__VSOCK_HELLO_BYTES + 1];
    const int len = snprintf(line, sizeof line, "CONNECT %u\n", port);
    memcpy(out, line, (size_t)len);
    return len;
}

/* Returns 0 behind the end of the line, else CT_E_MORE or what is wrong. */
static int take(ct__vsock_hello *hello, uint8_t byte) {
    const size_t place = hello->seen++;
    if (place < WORD_BYTES)
        return byte == (uint8_t)WORD[place] ? CT_E_MORE : CT_E_MALFORMED;
    if (byte == '\n')
        return place > WORD_BYTES ? 0 : CT_E_MALFORMED;
    if (byte < '0' || byte > '9' || (place > WORD_BYTES && hello->port == 0))
        return CT_E_MALFORMED; /* also: a number that begins with a zero */
    hello->port = hello->port * 10 + (uint64_t)(byte - '0');
    return hello->port > UINT32_MAX ? CT_E_RANGE : CT_E_MORE;
}

int ct__vsock_hello_read(ct__vsock_hello *hello, const uint8_t *buf, size_t len, size_t *used) {
    for (size_t i = 0; i < len; i++) {
        const int result = take(hello, buf[i]);
        if (result == CT_E_MORE)
            continue;
        if (result == 0)
            *used = i + 1;
        return result;
    }
    return CT_E_MORE;
}
