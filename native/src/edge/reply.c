#include "edge/reply.h"

#include "base/cursor.h"
#include "proto/json_member.h"
#include "proto/pbwire.h"

#include <stdio.h>
#include <string.h>

enum { NUMBER_DIGITS = 20, HEAD_BYTES = 704, NUMBER_BYTES = 352, JSON_DEPTH = 512 }; /* the longest double has 309 digits before its point */

int ct__reply_read(const uint8_t *message, size_t len, ct__reply *out) {
    ct__reader r = {.at = message, .left = len};
    ct__reply reply = {0};
    ct__pb_field field;
    int result;
    while ((result = ct__pb_next(&r, &field)) == 1) {
        const ct__span span = {field.data, field.len};
        if (field.number == 4 && field.type == CT__PB_FIXED64) {
            memcpy(&reply.duration_ms, &field.value, sizeof reply.duration_ms);
        } else if (field.number == 5 && field.type == CT__PB_VARINT) {
            reply.is_cold = field.value != 0;
        } else if (field.type == CT__PB_BYTES) {
            reply.request_id = field.number == 1 ? span : reply.request_id;
            reply.output = field.number == 2 ? span : reply.output;
            reply.error = field.number == 3 ? span : reply.error;
            reply.version = field.number == 6 ? span : reply.version;
        }
    }
    if (result == 0)
        *out = reply;
    return result;
}

int ct__reply_read_end(const uint8_t *message, size_t len, ct__reply *out) {
    ct__reader r = {.at = message, .left = len};
    ct__reply end = {0};
    ct__pb_field field;
    int result;
    while ((result = ct__pb_next(&r, &field)) == 1) {
        const ct__span span = {field.data, field.len};
        if (field.number == 3 && field.type == CT__PB_FIXED64) {
            memcpy(&end.duration_ms, &field.value, sizeof end.duration_ms);
        } else if (field.number == 4 && field.type == CT__PB_VARINT) {
            end.is_cold = field.value != 0;
        } else if (field.type == CT__PB_BYTES) {
            end.request_id = field.number == 1 ? span : end.request_id;
            end.error = field.number == 2 ? span : end.error;
            end.version = field.number == 5 ? span : end.version;
        }
    }
    if (result == 0 && (end.version.len > CT__VERSION_BYTES || end.request_id.len > CT__VERSION_BYTES))
        return CT_E_MALFORMED;
    if (result == 0)
        *out = end;
    return result;
}

size_t ct__reply_room(const ct__reply *reply) {
    return 2 * HEAD_BYTES + NUMBER_BYTES + CT__ERROR_TYPE_BYTES + reply->request_id.len + reply->output.len + reply->error.len
         + 6 * reply->version.len;
}

size_t ct__reply_error_type(ct__span error, char *out) {
    static const char OTHER[] = "Error";
    const uint8_t *value = NULL, *message = NULL;
    size_t len = 0;
    ptrdiff_t written = 0;
    if (ct_json_check(error.at, error.len, JSON_DEPTH) == 0) {
        len = ct__json_member(error.at, error.len, "type", &value);
        const size_t message_len = ct__json_member(error.at, error.len, "message", &message);
        if (len > 0 && (message_len == 0 || message[0] == '"'))
            written = ct__json_ascii(value, len, out, CT__ERROR_TYPE_BYTES);
    }
    if (written > 0)
        return (size_t)written;
    memcpy(out, OTHER, sizeof OTHER - 1);
    return sizeof OTHER - 1;
}

static uint8_t *put(uint8_t *at, const void *data, size_t len) {
    if (len > 0)
        memcpy(at, data, len);
    return at + len;
}

static uint8_t *put_text(uint8_t *at, const char *text) {
    return put(at, text, strlen(text));
}

/* Three digits behind the point. What is usual is written by hand: printf takes a third of a microsecond for it. */
static uint8_t *put_ms(uint8_t *at, double ms) {
    const double scaled = ms * 1000;
    if (scaled >= 0 && scaled < 1e9) {
        const uint64_t units = (uint64_t)scaled;
        const double rest = scaled - (double)units;
        /* Near the middle between two the product's own rounding could tip it: exact arithmetic decides there. */
        if (rest < 0.4999 || rest > 0.5001) {
            const uint64_t rounded = units + (rest > 0.5 ? 1 : 0);
            return at + sprintf((char *)at, "%llu.%03llu", (unsigned long long)(rounded / 1000), (unsigned long long)(rounded % 1000));
        }
    }
    return at + snprintf((char *)at, NUMBER_BYTES, "%.3f", ms);
}

static uint8_t *put_id(uint8_t *at, const ct__reply *r, const char *request_id) {
    at = put_text(at, "{\"request_id\":\"");
    return r->request_id.len > 0 ? put(at, r->request_id.at, r->request_id.len) : put(at, request_id, 36);
}

static uint8_t *put_facts(uint8_t *at, const ct__reply *r) {
    at = put_text(at, ",\"duration_ms\":");
    at = put_ms(at, r->duration_ms);
    at = put_text(at, r->is_cold ? ",\"cold_start\":true,\"version\":" : ",\"cold_start\":false,\"version\":");
    at += ct__json_quote(at, r->version.at, r->version.len);
    return put_text(at, "}");
}

static uint8_t *put_body(uint8_t *at, const ct__reply *r, const char *request_id) {
    at = put_id(at, r, request_id);
    at = put_text(at, "\",\"output\":");
    if (r->error.len > 0) {
        at = put_text(at, "null,\"error\":");
        at = put(at, r->error.at, r->error.len);
    } else {
        at = r->output.len > 0 ? put(at, r->output.at, r->output.len) : put_text(at, "null");
        at = put_text(at, ",\"error\":null");
    }
    return put_facts(at, r);
}

size_t ct__reply_end(uint8_t *out, const ct__reply *end, const char *request_id) {
    uint8_t *at = put_text(put_id(out, end, request_id), "\"");
    return (size_t)(put_facts(at, end) - out);
}

/* Of a version; what is none is in the body only. */
static bool is_number(ct__span text) {
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
    return text.len > 0 && text.len <= NUMBER_DIGITS;
}

size_t ct__reply_write(uint8_t *out, const ct__reply *r, const char *request_id, const char *date) {
    /* The body is written first, where its head leaves room; then the head, whose length is known only with it. */
    uint8_t *const body = out + HEAD_BYTES;
    const size_t body_len = (size_t)(put_body(body, r, request_id) - body);
    char head[HEAD_BYTES];
    uint8_t *at = (uint8_t *)head;
    at = put_text(at, "HTTP/1.1 200 \r\ncontent-type: application/json\r\ncontent-length: ");
    at += sprintf((char *)at, "%zu\r\n", body_len);
    if (r->error.len > 0) {
        char type[CT__ERROR_TYPE_BYTES];
        at = put_text(at, "x-nova-function-error: ");
        at = put(at, type, ct__reply_error_type(r->error, type));
        at = put_text(at, "\r\n");
    }
    if (is_number(r->version)) {
        at = put_text(at, "x-nova-version: ");
        at = put(at, r->version.at, r->version.len);
        at = put_text(at, "\r\n");
    }
    at = put_text(at, "x-request-id: ");
    at = put(at, request_id, 36);
    at = put_text(at, "\r\n");
    at = put_text(at, date);
    at = put_text(at, "\r\n");
    const size_t head_len = (size_t)(at - (uint8_t *)head);
    memcpy(out, head, head_len);
    memmove(out + head_len, body, body_len);
    return head_len + body_len;
}
