#include "h2/text.h"

#include "base/cursor.h"

static const struct {
    uint8_t unit;
    uint64_t ns;
} UNITS[] = {{'n', 1}, {'u', 1000}, {'m', 1000000}, {'S', 1000000000}, {'M', 60000000000}, {'H', 3600000000000}};

enum { UNIT_COUNT = sizeof UNITS / sizeof UNITS[0], TIMEOUT_VALUE_MAX = 99999999 };

bool ct__h2_timeout_get(ct__h2_span text, uint64_t *out_ns) {
    if (text.len < 2 || text.len > CT__H2_TIMEOUT_BYTES)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value = 10 * value + text.data[i] - '0';
    }
    for (size_t i = 0; i < UNIT_COUNT; i++) {
        if (UNITS[i].unit == text.data[text.len - 1]) {
            if (__builtin_mul_overflow(value, UNITS[i].ns, out_ns))
                *out_ns = UINT64_MAX; /* 10^8 hours: longer than the clock runs */
            return true;
        }
    }
    return false;
}

static size_t decimal(uint8_t *out, uint64_t value) {
    size_t len = 1;
    for (uint64_t rest = value; rest >= 10; rest /= 10)
        len++;
    for (size_t i = len; i > 0; i--, value /= 10)
        out[i - 1] = (uint8_t)('0' + value % 10);
    return len;
}

size_t ct__h2_timeout_put(uint8_t *out, uint64_t ns) {
    size_t i = 0;
    uint64_t value = ns;
    while (value > TIMEOUT_VALUE_MAX && i + 1 < UNIT_COUNT) {
        i++;
        value = ns / UNITS[i].ns + (ns % UNITS[i].ns != 0);
    }
    const size_t len = decimal(out, value > TIMEOUT_VALUE_MAX ? TIMEOUT_VALUE_MAX : value);
    out[len] = UNITS[i].unit;
    return len + 1;
}

size_t ct__h2_percent_put(uint8_t *out, ct__h2_span text) {
    static const char digits[] = "0123456789ABCDEF";
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t c = text.data[i];
        if (c >= ' ' && c <= '~' && c != '%') {
            out[len++] = c;
        } else {
            out[len++] = '%';
            out[len++] = (uint8_t)digits[c >> 4];
            out[len++] = (uint8_t)digits[c & 15];
        }
    }
    return len;
}

static int hex(uint8_t c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    const uint8_t lower = c | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

size_t ct__h2_percent_get(uint8_t *out, ct__h2_span text) {
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        const int high = text.data[i] == '%' && i + 2 < text.len ? hex(text.data[i + 1]) : -1;
        const int low = high >= 0 ? hex(text.data[i + 2]) : -1;
        if (low >= 0) {
            out[len++] = (uint8_t)(high << 4 | low);
            i += 2;
        } else {
            out[len++] = text.data[i];
        }
    }
    return len;
}

size_t ct__h2_base64_put(uint8_t *out, ct__h2_span data) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = 0;
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < data.len; i++) {
        bits = bits << 8 | data.data[i];
        for (count += 8; count >= 6; count -= 6)
            out[len++] = (uint8_t)digits[bits >> (count - 6) & 63];
    }
    if (count > 0)
        out[len++] = (uint8_t)digits[bits << (6 - count) & 63];
    return len;
}

static int sextet(uint8_t c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

size_t ct__h2_base64_get(uint8_t *out, ct__h2_span text) {
    for (int pads = 0; pads < 2 && text.len > 0 && text.data[text.len - 1] == '='; pads++)
        text.len--;
    if (text.len % 4 == 1)
        return SIZE_MAX;
    size_t len = 0;
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < text.len; i++) {
        const int value = sextet(text.data[i]);
        if (value < 0)
            return SIZE_MAX;
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count >= 8) {
            count -= 8;
            out[len++] = (uint8_t)(bits >> count);
        }
    }
    return len;
}

uint32_t ct__h2_status_get(ct__h2_span text) {
    if (text.len == 0 || text.len > 3)
        return UINT32_MAX;
    uint32_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return UINT32_MAX;
        value = 10 * value + text.data[i] - '0';
    }
    return value;
}

ptrdiff_t ct__h2_message_len(const uint8_t *body, size_t len) {
    if (len < CT__H2_PREFIX_BYTES || body[0] != 0 || ct__be32(body + 1) != len - CT__H2_PREFIX_BYTES)
        return -1;
    return (ptrdiff_t)(len - CT__H2_PREFIX_BYTES);
}
