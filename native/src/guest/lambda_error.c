#include "guest/lambda_error.h"

#include "proto/json_member.h"

#include <string.h>

typedef struct text {
    uint8_t *at;
    size_t len, cap;
} text;

typedef struct value {
    const uint8_t *at;
    size_t len;
} value;

static void put(text *t, const void *data, size_t len) {
    if (t->cap - t->len < len)
        len = t->cap - t->len;
    if (len > 0)
        memcpy(t->at + t->len, data, len);
    t->len += len;
}

static void put_text(text *t, const char *words) {
    put(t, words, strlen(words));
}

/* A string's characters, as many as there is room for; nothing of what is no string. */
static bool put_string(text *t, value v) {
    const ptrdiff_t len = ct__json_text(v.at, v.len, t->at + t->len, t->cap - t->len);
    t->len += len > 0 ? (size_t)len : 0;
    return len >= 0;
}

static value member(value object, const char *name) {
    value found = {0};
    found.len = ct__json_member(object.at, object.len, name, &found.at);
    return found;
}

/* One line: a text as it is, or "    at label (path:line)". */
static void put_line(text *t, value item) {
    if (t->len > 0 && t->at[t->len - 1] != '\n')
        put_text(t, "\n");
    if (put_string(t, item))
        return;
    const value path = member(item, "path"), line = member(item, "line"), label = member(item, "label");
    if (path.len == 0)
        return;
    put_text(t, "    at ");
    (void)put_string(t, label);
    put_text(t, " (");
    (void)put_string(t, path);
    if (ct__json_number(line.at, line.len) >= 0) {
        put_text(t, ":");
        put(t, line.at, line.len);
    }
    put_text(t, ")");
}

/* A stack that is called "trace" begins with type and message by itself. */
static void put_stack(text *t, value object, const text *type, const text *message) {
    value trace = member(object, "trace");
    if (trace.len == 0) {
        trace = member(object, "stackTrace");
        if (trace.len == 0)
            return;
        put(t, type->at, type->len);
        put_text(t, ": ");
        put(t, message->at, message->len);
    }
    if (trace.at[0] == '"') {
        put_line(t, trace);
        return;
    }
    value item = {0};
    size_t at = 0;
    while (t->len < t->cap && (item.len = ct__json_item(trace.at, trace.len, &at, &item.at)) > 0)
        put_line(t, item);
}

/* Cut texts end with a whole character. */
static void quote(text *out, const char *name, text t) {
    while (t.len == t.cap && t.len > 0 && (t.at[t.len - 1] & 0xC0) == 0x80)
        t.len--;
    if (t.len > 0 && t.at[t.len - 1] >= 0xC0)
        t.len--;
    put_text(out, name);
    out->len += ct__json_quote(out->at + out->len, t.at, t.len);
}

static size_t written(uint8_t *out, text type, text message, text stack) {
    text whole = {out, 0, CT__LAMBDA_ERROR_BYTES};
    quote(&whole, "{\"type\":", type);
    quote(&whole, ",\"message\":", message);
    if (stack.len > 0)
        quote(&whole, ",\"stack\":", stack);
    put_text(&whole, "}");
    return whole.len;
}

size_t ct__lambda_error(const uint8_t *body, size_t len, ct__span type, uint8_t *out) {
    uint8_t type_bytes[CT__ERROR_TYPE_BYTES], message_bytes[CT__ERROR_MESSAGE_BYTES], stack_bytes[CT__ERROR_STACK_BYTES];
    text own_type = {type_bytes, 0, sizeof type_bytes}, message = {message_bytes, 0, sizeof message_bytes};
    text stack = {stack_bytes, 0, sizeof stack_bytes};
    if (ct_json_check(body, len, CT_LINK_JSON_DEPTH) == 0) {
        const value object = {body, len};
        const value said_type = member(object, "errorType"), said = member(object, "errorMessage");
        (void)put_string(&own_type, said_type);
        if (!put_string(&message, said))
            put(&message, said.len > 0 ? said.at : body, said.len > 0 ? said.len : len);
        if (own_type.len == 0)
            put(&own_type, type.at, type.len);
        if (own_type.len == 0)
            put_text(&own_type, "Error");
        put_stack(&stack, object, &own_type, &message);
    } else {
        put(&own_type, type.at, type.len);
        if (own_type.len == 0)
            put_text(&own_type, "Error");
        put(&message, body, len);
    }
    const size_t count = written(out, own_type, message, stack);
    if (ct_handler_error_check(out, count, 2) == 0)
        return count;
    return ct__error_of("Error", "the program reported an error in bytes that are no text", out);
}

size_t ct__error_of(const char *type, const char *message, uint8_t *out) {
    uint8_t type_bytes[CT__ERROR_TYPE_BYTES], message_bytes[CT__ERROR_MESSAGE_BYTES];
    text own_type = {type_bytes, 0, sizeof type_bytes}, own_message = {message_bytes, 0, sizeof message_bytes};
    put_text(&own_type, type);
    put_text(&own_message, message);
    return written(out, own_type, own_message, (text){0});
}
