/* What a handler answers with, and the little of JSON that it takes. */

#define _GNU_SOURCE
#include "worker.h"

#include <execinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 8 << 10, STACK_BYTES = 16 << 10, FRAMES = 32 };

static void put(ct__text *text, const char *data, size_t len) {
    if (text->room - text->len < len) {
        const size_t room = 2 * text->room + len + 256;
        char *grown = realloc(text->data, room);
        if (grown == NULL)
            abort();
        text->data = grown;
        text->room = room;
    }
    memcpy(text->data + text->len, data, len);
    text->len += len;
}

/* Bytes that are not UTF-8 would make the answer no JSON; each becomes U+FFFD. */
static size_t whole_character(const uint8_t *at, size_t left) {
    const size_t len = at[0] < 0x80 ? 1 : at[0] >= 0xc2 && at[0] < 0xe0 ? 2 : at[0] >= 0xe0 && at[0] < 0xf0 ? 3 : at[0] >= 0xf0 && at[0] < 0xf5 ? 4 : 0;
    if (len == 0 || len > left)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    const bool is_wrong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] >= 0xa0) || (at[0] == 0xf0 && at[1] < 0x90) ||
                          (at[0] == 0xf4 && at[1] >= 0x90);
    return is_wrong ? 0 : len;
}

static void put_quoted(ct__text *text, const char *data, size_t len) {
    const uint8_t *at = (const uint8_t *)data;
    put(text, "\"", 1);
    while (len > 0) {
        char escaped[8];
        const size_t taken = whole_character(at, len);
        if (taken == 0) {
            put(text, "\xef\xbf\xbd", 3);
        } else if (*at == '"' || *at == '\\') {
            escaped[0] = '\\';
            escaped[1] = (char)*at;
            put(text, escaped, 2);
        } else if (*at < 0x20) {
            put(text, escaped, (size_t)sprintf(escaped, "\\u%04x", *at));
        } else {
            put(text, (const char *)at, taken);
        }
        at += taken == 0 ? 1 : taken;
        len -= taken == 0 ? 1 : taken;
    }
    put(text, "\"", 1);
}

void ct_add_bytes(ct_answer *answer, const char *data, size_t length) {
    put(&answer->output, data, length);
}

void ct_add(ct_answer *answer, const char *text) {
    put(&answer->output, text, strlen(text));
}

void ct_add_quoted_bytes(ct_answer *answer, const char *data, size_t length) {
    put_quoted(&answer->output, data, length);
}

void ct_add_quoted(ct_answer *answer, const char *text) {
    put_quoted(&answer->output, text, strlen(text));
}

void ct_addf(ct_answer *answer, const char *format, ...) {
    char *text = NULL;
    va_list values;
    va_start(values, format);
    const int len = vasprintf(&text, format, values);
    va_end(values);
    if (len < 0)
        abort();
    put(&answer->output, text, (size_t)len);
    free(text);
}

void ct_chunk(ct_answer *answer, const void *data, size_t length) {
    if (answer->stream_to != NULL) {
        answer->has_chunks = true;
        ct__send_chunk(answer->stream_to, data, length);
        return;
    }
    put(&answer->output, answer->has_chunks ? "," : "[", 1);
    answer->has_chunks = true;
    put_quoted(&answer->output, data, length);
}

void ct__answer_close(ct_answer *answer) {
    if (answer->has_chunks && answer->stream_to == NULL)
        put(&answer->output, "]", 1);
}

void ct__fail_with(ct_answer *answer, const char *type, const char *message, const char *stack) {
    ct__text *e = &answer->error;
    e->len = 0;
    put(e, "{\"type\":", 8);
    put_quoted(e, type, strlen(type));
    put(e, ",\"message\":", 11);
    put_quoted(e, message, strnlen(message, MESSAGE_BYTES));
    put(e, ",\"stack\":", 9);
    put_quoted(e, stack, strnlen(stack, STACK_BYTES));
    put(e, "}", 1);
    answer->is_failed = true;
}

int ct_fail(ct_answer *answer, const char *type, const char *format, ...) {
    char message[MESSAGE_BYTES];
    va_list values;
    va_start(values, format);
    vsnprintf(message, sizeof message, format, values);
    va_end(values);
    void *frames[FRAMES];
    const int count = backtrace(frames, FRAMES);
    char **names = backtrace_symbols(frames, count);
    ct__text stack = {0};
    for (int i = 1; names != NULL && i < count; i++) {
        put(&stack, names[i], strlen(names[i]));
        put(&stack, "\n", 1);
    }
    put(&stack, "", 1);
    ct__fail_with(answer, type, message, stack.data);
    free(stack.data);
    free(names);
    return -1;
}

/* ---- reading ---- The platform has checked the event: it is JSON. */

static const char *past_space(const char *at) {
    return at + strspn(at, " \t\r\n");
}

static const char *past_text(const char *at) {
    for (at++; *at != '"' && *at != '\0'; at++)
        if (*at == '\\' && at[1] != '\0')
            at++;
    return *at == '"' ? at + 1 : at;
}

static const char *past_value(const char *at) {
    for (int depth = 0; *at != '\0';) {
        if (*at == '"') {
            at = past_text(at);
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (*at == '}' || *at == ']') {
            if (--depth < 0)
                return at;
            at++;
        } else if (*at == ',' && depth == 0) {
            return at;
        } else {
            at++;
        }
        if (depth == 0 && (*at == ',' || *at == '}' || *at == ']'))
            return at;
    }
    return at;
}

static void put_code_point(ct__text *out, uint32_t c) {
    char raw[4];
    size_t len = 0;
    if (c < 0x80) {
        raw[len++] = (char)c;
    } else {
        const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        raw[len++] = (char)((more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0) | c >> 6 * more);
        for (int i = more - 1; i >= 0; i--)
            raw[len++] = (char)(0x80 | (c >> 6 * i & 0x3f));
    }
    put(out, raw, len);
}

static uint32_t unit(const char *at) {
    char digits[5] = {0};
    memcpy(digits, at, strnlen(at, 4));
    return (uint32_t)strtoul(digits, NULL, 16);
}

static const char *decode(const char *at, ct__text *out) {
    for (at++; *at != '"' && *at != '\0'; at++) {
        if (*at != '\\') {
            put(out, at, 1);
            continue;
        }
        static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
        const char *found = *++at != '\0' ? strchr(from, *at) : NULL;
        if (*at == 'u') {
            uint32_t c = unit(at + 1);
            at += strnlen(at + 1, 4);
            if (c >= 0xd800 && c < 0xdc00 && at[1] == '\\' && at[2] == 'u') {
                c = 0x10000 + ((c - 0xd800) << 10) + (unit(at + 3) - 0xdc00);
                at += 2 + strnlen(at + 3, 4);
            }
            put_code_point(out, c);
        } else if (*at != '\0') {
            put(out, found != NULL ? &to[found - from] : at, 1);
        }
    }
    return at;
}

long ct_event_text(const char *event, const char *member, char *out, size_t room) {
    const char *at = past_space(event);
    if (*at != '{')
        return -1;
    for (at = past_space(at + 1); *at == '"';) {
        ct__text name = {0};
        (void)decode(at, &name);
        const bool is_it = name.len == strlen(member) && memcmp(name.data != NULL ? name.data : "", member, name.len) == 0;
        free(name.data);
        at = past_space(past_space(past_text(at)) + 1); /* the colon */
        if (is_it && *at == '"') {
            ct__text value = {0};
            (void)decode(at, &value);
            const size_t len = value.len < room ? value.len : room - 1;
            if (room > 0) {
                memcpy(out, value.data != NULL ? value.data : "", len);
                out[len] = '\0';
            }
            free(value.data);
            return (long)value.len;
        }
        at = past_space(past_value(at));
        if (*at == ',')
            at = past_space(at + 1);
    }
    return -1;
}
