/* Is this exactly one JSON value? One pass, no allocation, no recursion: the open containers are one bit each. */

#include "base/abi.h"

#include <stdbool.h>
#include <string.h>

typedef struct text {
    const uint8_t *at;
    const uint8_t *end;
} text;

static void skip_space(text *t) {
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n' || *t->at == '\r' || *t->at == '\t'))
        t->at++;
}

static bool take(text *t, uint8_t byte) {
    if (t->at == t->end || *t->at != byte)
        return false;
    t->at++;
    return true;
}

static bool is_digit(uint8_t byte) {
    return byte >= '0' && byte <= '9';
}

static bool digits(text *t) {
    const uint8_t *start = t->at;
    while (t->at < t->end && is_digit(*t->at))
        t->at++;
    return t->at > start;
}

static bool number(text *t) {
    (void)take(t, '-');
    if (!take(t, '0') && !digits(t))
        return false;
    if (take(t, '.') && !digits(t))
        return false;
    if (take(t, 'e') || take(t, 'E')) {
        if (!take(t, '+'))
            (void)take(t, '-');
        return digits(t);
    }
    return true;
}

static bool word(text *t, const char *expected, size_t len) {
    if ((size_t)(t->end - t->at) < len || memcmp(t->at, expected, len) != 0)
        return false;
    t->at += len;
    return true;
}

static bool continues(const uint8_t *at) {
    return (*at & 0xC0) == 0x80;
}

/* One character above ASCII: shortest form, no surrogate, at most U+10FFFF (RFC 3629 section 4). */
static bool wide(text *t) {
    const uint8_t *at = t->at;
    const size_t left = (size_t)(t->end - at);
    if (at[0] >= 0xC2 && at[0] <= 0xDF) {
        if (left < 2 || !continues(at + 1))
            return false;
        t->at += 2;
        return true;
    }
    if (at[0] >= 0xE0 && at[0] <= 0xEF) {
        if (left < 3 || !continues(at + 1) || !continues(at + 2))
            return false;
        if ((at[0] == 0xE0 && at[1] < 0xA0) || (at[0] == 0xED && at[1] > 0x9F))
            return false;
        t->at += 3;
        return true;
    }
    if (at[0] >= 0xF0 && at[0] <= 0xF4) {
        if (left < 4 || !continues(at + 1) || !continues(at + 2) || !continues(at + 3))
            return false;
        if ((at[0] == 0xF0 && at[1] < 0x90) || (at[0] == 0xF4 && at[1] > 0x8F))
            return false;
        t->at += 4;
        return true;
    }
    return false;
}

static bool is_hex(uint8_t byte) {
    return is_digit(byte) || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

static bool escape(text *t) {
    t->at++;
    if (t->at == t->end)
        return false;
    switch (*t->at++) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return true;
    case 'u':
        for (int i = 0; i < 4; i++, t->at++)
            if (t->at == t->end || !is_hex(*t->at))
                return false;
        return true;
    default:
        return false;
    }
}

/* True when none of eight bytes is a quote, a backslash, a control or above ASCII: strings are mostly such bytes. */
static bool plain8(const uint8_t *at) {
    uint64_t v;
    memcpy(&v, at, sizeof v);
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t highs = ones * 0x80;
    const uint64_t quote = v ^ (ones * '"');
    const uint64_t slash = v ^ (ones * '\\');
    const uint64_t found = (v - ones * 0x20) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | v;
    return (found & highs) == 0;
}

static bool string(text *t) {
    if (!take(t, '"'))
        return false;
    for (;;) {
        while (t->end - t->at >= 8 && plain8(t->at))
            t->at += 8;
        if (t->at == t->end)
            return false;
        const uint8_t byte = *t->at;
        if (byte == '"') {
            t->at++;
            return true;
        }
        if (byte == '\\') {
            if (!escape(t))
                return false;
        } else if (byte >= 0x80) {
            if (!wide(t))
                return false;
        } else if (byte < 0x20) {
            return false;
        } else {
            t->at++;
        }
    }
}

static bool scalar(text *t) {
    switch (*t->at) {
    case '"':
        return string(t);
    case 't':
        return word(t, "true", 4);
    case 'f':
        return word(t, "false", 5);
    case 'n':
        return word(t, "null", 4);
    default:
        return number(t);
    }
}

static bool key(text *t) {
    skip_space(t);
    if (!string(t))
        return false;
    skip_space(t);
    return take(t, ':');
}

int ct_json_check(const uint8_t *buf, size_t len, uint32_t max_depth) {
    uint64_t is_object[CT_JSON_DEPTH_MAX / 64] = {0};
    const uint32_t limit = max_depth < CT_JSON_DEPTH_MAX ? max_depth : CT_JSON_DEPTH_MAX;
    uint32_t depth = 0;
    text t = {.at = buf, .end = len > 0 ? buf + len : buf};

    for (;;) { /* a value starts here */
        skip_space(&t);
        if (t.at == t.end)
            return CT_E_MALFORMED;
        const uint8_t open = *t.at;
        if (open == '{' || open == '[') {
            if (depth == limit)
                return CT_E_DEPTH;
            const uint64_t bit = UINT64_C(1) << (depth % 64);
            if (open == '{')
                is_object[depth / 64] |= bit;
            else
                is_object[depth / 64] &= ~bit;
            depth++;
            t.at++;
            skip_space(&t);
            if (!take(&t, open == '{' ? '}' : ']')) {
                if (open == '{' && !key(&t))
                    return CT_E_MALFORMED;
                continue;
            }
            depth--;
        } else if (!scalar(&t)) {
            return CT_E_MALFORMED;
        }
        for (;;) { /* a value has ended here */
            skip_space(&t);
            if (depth == 0)
                return t.at == t.end ? 0 : CT_E_MALFORMED;
            const bool in_object = (is_object[(depth - 1) / 64] >> ((depth - 1) % 64) & 1) != 0;
            if (take(&t, ',')) {
                if (in_object && !key(&t))
                    return CT_E_MALFORMED;
                break;
            }
            if (!take(&t, in_object ? '}' : ']'))
                return CT_E_MALFORMED;
            depth--;
        }
    }
}
