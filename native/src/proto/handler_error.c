/* Is this the body of an error frame: {"type": text, "message": text, "stack"?: text, ...}? Strict JSON first; after that
 * the scan below may trust the grammar. */

#include "base/abi.h"

#include <stdbool.h>
#include <string.h>

static const uint8_t *past_space(const uint8_t *at) {
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')
        at++;
    return at;
}

static uint32_t hex4(const uint8_t *at) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        const uint32_t c = at[i];
        value = value << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

/* From a quote to behind its partner; NULL where a surrogate stands alone: readers of text refuse those. */
static const uint8_t *past_string(const uint8_t *at) {
    for (at++; *at != '"'; at++) {
        if (*at != '\\')
            continue;
        at++;
        if (*at != 'u')
            continue;
        const uint32_t unit = hex4(at + 1);
        at += 4;
        if (unit >= 0xDC00 && unit <= 0xDFFF)
            return NULL;
        if (unit < 0xD800 || unit > 0xDBFF)
            continue;
        if (at[1] != '\\' || at[2] != 'u')
            return NULL;
        const uint32_t low = hex4(at + 3);
        if (low < 0xDC00 || low > 0xDFFF)
            return NULL;
        at += 6;
    }
    return at + 1;
}

/* Behind one value, at what closes or parts it. */
static const uint8_t *past_value(const uint8_t *at) {
    uint32_t depth = 0;
    for (;; at++) {
        switch (*at) {
        case '"':
            at = past_string(at);
            if (at == NULL)
                return NULL;
            at--;
            break;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (depth == 0)
                return at;
            depth--;
            break;
        case ',':
            if (depth == 0)
                return at;
            break;
        default:
            break;
        }
    }
}

static bool is_named(const uint8_t *key, size_t len, const char *name) {
    return len == strlen(name) && memcmp(key, name, len) == 0;
}

int ct_handler_error_check(const uint8_t *buf, size_t len, uint32_t max_depth) {
    const int result = ct_json_check(buf, len, max_depth);
    if (result < 0)
        return result;
    const uint8_t *at = past_space(buf);
    if (*at != '{')
        return CT_E_MALFORMED;
    bool has_type = false, has_message = false;
    for (at = past_space(at + 1); *at != '}';) {
        const uint8_t *key = at + 1;
        at = past_string(at);
        if (at == NULL)
            return CT_E_MALFORMED;
        const size_t key_len = (size_t)(at - 1 - key);
        if (memchr(key, '\\', key_len) != NULL)
            return CT_E_MALFORMED; /* a name in disguise may be one of ours */
        at = past_space(past_space(at) + 1);
        const bool is_text = *at == '"';
        const bool is_type = is_named(key, key_len, "type"), is_message = is_named(key, key_len, "message");
        if ((is_type || is_message || is_named(key, key_len, "stack")) && !is_text)
            return CT_E_MALFORMED;
        has_type |= is_type;
        has_message |= is_message;
        at = past_value(at);
        if (at == NULL)
            return CT_E_MALFORMED;
        if (*at == ',')
            at = past_space(at + 1);
    }
    return has_type && has_message ? 0 : CT_E_MALFORMED;
}
