#include "vm/fc_http.h"

#include "base/cursor.h"
#include "edge/bytes_of_http.h"
#include "proto/json_member.h"

#include <stdio.h>
#include <string.h>

enum { JSON_DEPTH = 16, CONTINUE = 100 };

static bool is_path(const char *target, size_t len) {
    if (len == 0 || target[0] != '/')
        return false;
    for (size_t i = 0; i < len; i++)
        if ((ct__http_bytes[(uint8_t)target[i]] & CT__IN_TARGET) == 0)
            return false;
    return true;
}

static void put(ct__writer *w, const char *text) {
    ct__write_bytes(w, text, strlen(text));
}

int ct__fc_request(uint8_t *out, size_t cap, enum ct__fc_method method, const char *target, ct__span body) {
    static const char *const METHODS[] = {"GET ", "PUT ", "PATCH "};
    const size_t target_len = strnlen(target, CT__FC_TARGET_BYTES + 1);
    if (target_len > CT__FC_TARGET_BYTES || body.len > CT__FC_REQUEST_BODY_BYTES)
        return CT_E_TOOBIG;
    /* Firecracker refuses a GET with a body and a PUT or PATCH without one. */
    if (!is_path(target, target_len) || (method == CT__FC_GET) != (body.len == 0))
        return CT_E_RANGE;
    ct__writer w = {.at = out, .left = cap};
    put(&w, METHODS[method]);
    ct__write_bytes(&w, target, target_len);
    put(&w, " HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n");
    if (body.len > 0) {
        char fields[80];
        (void)snprintf(fields, sizeof fields, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.len);
        put(&w, fields);
    }
    put(&w, "\r\n");
    ct__write_bytes(&w, body.at, body.len);
    return w.overran ? CT_E_NOSPACE : (int)(cap - w.left);
}

static const ct__http1_field *field_of(const ct__http1_head *head, const char *name) {
    for (size_t i = 0; i < head->count; i++)
        if (ct__span_like(head->fields[i].name, name))
            return &head->fields[i];
    return NULL;
}

static bool has_twins(const ct__http1_head *head) {
    for (size_t i = 0; i < head->count; i++)
        for (size_t j = i + 1; j < head->count; j++)
            if (ct__span_same(head->fields[i].name, head->fields[j].name))
                return true;
    return false;
}

/* What a head that HTTP allows must be besides. */
static int check_head(const ct__http1_head *head) {
    if (head->minor != 1 || field_of(head, "transfer-encoding") != NULL)
        return CT_E_UNSUPPORTED;
    if (head->count > CT__FC_FIELDS)
        return CT_E_TOOBIG;
    if (has_twins(head) || (head->status < 200 && head->status != CONTINUE))
        return CT_E_MALFORMED;
    const ct__http1_field *length = field_of(head, "content-length");
    if (head->framing == CT__HTTP1_NO_BODY && length != NULL && !ct__span_is(length->value, "0"))
        return CT_E_MALFORMED; /* what would follow might be taken for the next answer */
    if (head->framing == CT__HTTP1_UNTIL_CLOSE)
        return CT_E_MALFORMED;
    return head->length > CT__FC_BODY_BYTES ? CT_E_TOOBIG : 0;
}

/* Reads heads up to the one of the answer itself. */
static int read_head(ct__fc_scan *scan, const uint8_t *buf, size_t len) {
    const size_t within = len < CT__FC_HEAD_BYTES ? len : CT__FC_HEAD_BYTES;
    for (;;) {
        ct__http1_head head;
        int result = ct__http1_answer(&scan->line, buf + scan->head, within - scan->head, false, &head);
        if (result == CT_E_MORE)
            return within == CT__FC_HEAD_BYTES ? CT_E_TOOBIG : CT_E_MORE;
        if (result != 0) /* refused whole, perhaps for its coding */
            return field_of(&head, "transfer-encoding") != NULL ? CT_E_UNSUPPORTED : CT_E_MALFORMED;
        result = check_head(&head);
        if (result != 0)
            return result;
        scan->head += head.used;
        scan->line = (ct__http1_scan){0};
        if (head.status == CONTINUE)
            continue;
        scan->body = scan->head;
        scan->length = (size_t)head.length;
        scan->status = head.status;
        scan->closes = head.closes;
        return 0;
    }
}

int ct__fc_answer_read(ct__fc_scan *scan, const uint8_t *buf, size_t len, ct__fc_answer *out) {
    if (scan->body == 0) {
        const int result = read_head(scan, buf, len);
        if (result != 0)
            return result;
    }
    if (len - scan->body < scan->length)
        return CT_E_MORE;
    *out = (ct__fc_answer){
        .status = scan->status,
        .body = {buf + scan->body, scan->length},
        .closes = scan->closes,
        .used = scan->body + scan->length,
    };
    return 0;
}

size_t ct__fc_fault(ct__span body, char *out, size_t cap) {
    const uint8_t *value = NULL;
    if (ct_json_check(body.at, body.len, JSON_DEPTH) != 0)
        return 0;
    const size_t len = ct__json_member(body.at, body.len, "fault_message", &value);
    const ptrdiff_t written = len > 0 ? ct__json_ascii(value, len, out, cap) : 0;
    return written > 0 ? (size_t)written : 0;
}
