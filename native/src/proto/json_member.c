#include "proto/json_member.h"

#include <string.h>

typedef struct scan {
    const uint8_t *at, *end;
} scan;

static void skip_blanks(scan *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

/* Behind the closing quote; s->at is on the opening one. */
static void skip_string(scan *s) {
    for (s->at++; s->at < s->end && *s->at != '"'; s->at++)
        if (*s->at == '\\' && s->at + 1 < s->end)
            s->at++;
    if (s->at < s->end)
        s->at++;
}

static void skip_value(scan *s) {
    size_t depth = 0;
    while (s->at < s->end) {
        const uint8_t byte = *s->at;
        if (byte == '"') {
            skip_string(s);
        } else if (byte == '{' || byte == '[') {
            depth++;
            s->at++;
        } else if (byte == '}' || byte == ']' || byte == ',') {
            if (depth == 0)
                return;
            depth -= byte == ',' ? 0 : 1;
            s->at++;
        } else if (depth == 0 && (byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r')) {
            return;
        } else {
            s->at++;
            continue; /* within a number or a name */
        }
        if (depth == 0)
            return;
    }
}

size_t ct__json_member(const uint8_t *json, size_t len, const char *name, const uint8_t **value) {
    scan s = {json, json + len};
    size_t found = 0;
    const size_t name_len = strlen(name);
    skip_blanks(&s);
    if (s.at == s.end || *s.at != '{')
        return 0;
    for (s.at++;; s.at++) { /* behind the brace, or a comma */
        skip_blanks(&s);
        if (s.at == s.end || *s.at != '"')
            return found;
        const uint8_t *key = s.at + 1;
        skip_string(&s);
        const size_t key_len = s.at > key ? (size_t)(s.at - 1 - key) : 0;
        skip_blanks(&s);
        if (s.at == s.end || *s.at != ':')
            return found;
        s.at++;
        skip_blanks(&s);
        const uint8_t *begin = s.at;
        skip_value(&s);
        if (key_len == name_len && memcmp(key, name, name_len) == 0) {
            *value = begin;
            found = (size_t)(s.at - begin);
        }
        skip_blanks(&s);
        if (s.at == s.end || *s.at != ',')
            return found;
    }
}

size_t ct__json_item(const uint8_t *json, size_t len, size_t *at, const uint8_t **value) {
    scan s = {json + *at, json + len};
    skip_blanks(&s);
    if (s.at == s.end || *s.at != (*at == 0 ? '[' : ','))
        return 0; /* the end, or what is no array */
    s.at++;
    skip_blanks(&s);
    const uint8_t *begin = s.at;
    skip_value(&s);
    if (s.at == begin)
        return 0;
    const size_t found = (size_t)(s.at - begin);
    *value = begin;
    *at = (size_t)(s.at - json);
    return found;
}

long ct__json_number(const uint8_t *value, size_t len) {
    if (len == 0 || len > 9)
        return -1;
    long number = 0;
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return -1;
        number = number * 10 + (value[i] - '0');
    }
    return number;
}

static uint32_t hex4(const uint8_t *at) {
    uint32_t code = 0;
    for (int i = 0; i < 4; i++)
        code = code << 4 | (at[i] <= '9' ? (uint32_t)(at[i] - '0') : (uint32_t)((at[i] | 0x20) - 'a') + 10);
    return code & 0xFFFF;
}

/* The next character of a string, "?" standing for what is not ASCII. */
static uint8_t next_character(scan *s) {
    static const char ESCAPED[] = "b\bf\fn\nr\rt\t";
    const uint8_t byte = *s->at++;
    if (byte >= 0x80) {
        while (s->at < s->end && (*s->at & 0xC0) == 0x80)
            s->at++;
        return '?';
    }
    if (byte != '\\' || s->at == s->end)
        return byte;
    const uint8_t kind = *s->at++;
    if (kind != 'u') {
        const char *plain = strchr(ESCAPED, kind);
        return plain != NULL && kind >= 'b' ? (uint8_t)plain[1] : kind;
    }
    if (s->end - s->at < 4)
        return '?';
    const uint32_t code = hex4(s->at);
    s->at += 4;
    if (code < 0x80)
        return (uint8_t)code;
    if (code >= 0xD800 && code < 0xDC00 && s->end - s->at >= 6 && s->at[0] == '\\' && s->at[1] == 'u')
        s->at += 6; /* two escapes, one character */
    return '?';
}

ptrdiff_t ct__json_ascii(const uint8_t *value, size_t len, char *out, size_t cap) {
    if (len < 2 || value[0] != '"' || value[len - 1] != '"')
        return -1;
    scan s = {value + 1, value + len - 1};
    ptrdiff_t written = 0;
    for (size_t count = 0; s.at < s.end && count < cap; count++) {
        const uint8_t character = next_character(&s);
        if (character >= 0x20 && character != 0x7F)
            out[written++] = (char)character;
    }
    return written;
}

static size_t utf8(uint32_t code, uint8_t *out) {
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    const size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    for (size_t i = more; i > 0; i--, code >>= 6)
        out[i] = (uint8_t)(0x80 | (code & 0x3F));
    out[0] = (uint8_t)((0xFF00u >> (more + 1) & 0xFF) | code); /* C0, E0 or F0 */
    return more + 1;
}

/* The character that an escape stands for; s->at is behind its "u". */
static uint32_t escaped(scan *s) {
    if (s->end - s->at < 4)
        return 0xFFFD;
    const uint32_t code = hex4(s->at);
    s->at += 4;
    if (code < 0xD800 || code > 0xDFFF)
        return code;
    if (code < 0xDC00 && s->end - s->at >= 6 && s->at[0] == '\\' && s->at[1] == 'u') {
        const uint32_t low = hex4(s->at + 2);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            s->at += 6;
            return 0x10000 + ((code & 0x3FF) << 10 | (low & 0x3FF));
        }
    }
    return 0xFFFD;
}

ptrdiff_t ct__json_text(const uint8_t *value, size_t len, uint8_t *out, size_t cap) {
    static const char ESCAPED[] = "b\bf\fn\nr\rt\t";
    if (len < 2 || value[0] != '"' || value[len - 1] != '"')
        return -1;
    scan s = {value + 1, value + len - 1};
    size_t written = 0;
    while (s.at < s.end) {
        uint8_t character[4];
        size_t count = 0;
        if (*s.at == '\\' && s.end - s.at >= 2) {
            const uint8_t kind = s.at[1];
            s.at += 2;
            const char *plain = kind >= 'b' ? strchr(ESCAPED, kind) : NULL;
            count = utf8(kind == 'u' ? escaped(&s) : plain != NULL ? (uint8_t)plain[1] : kind, character);
        } else {
            do
                character[count++] = *s.at++;
            while (s.at < s.end && (*s.at & 0xC0) == 0x80 && count < sizeof character);
        }
        if (cap - written < count)
            break;
        memcpy(out + written, character, count);
        written += count;
    }
    return (ptrdiff_t)written;
}

size_t ct__json_quote(uint8_t *out, const uint8_t *text, size_t len) {
    static const char NAMES[] = "btn_fr"; /* of 8 to 13 */
    uint8_t *at = out;
    *at++ = '"';
    for (size_t i = 0; i < len; i++) {
        const uint8_t byte = text[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\') {
            *at++ = byte;
            continue;
        }
        *at++ = '\\';
        if (byte >= 0x20) {
            *at++ = byte;
        } else if (byte >= 8 && byte <= 13 && byte != 11) {
            *at++ = (uint8_t)NAMES[byte - 8];
        } else {
            at[0] = 'u';
            at[1] = at[2] = '0';
            at[3] = (uint8_t)('0' + (byte >> 4));
            at[4] = (uint8_t)"0123456789abcdef"[byte & 15];
            at += 5;
        }
    }
    *at++ = '"';
    return (size_t)(at - out);
}
