#include "guest/runtime_api.h"

#include "base/err.h"

#include <stdio.h>
#include <string.h>

static const char ROOT[] = "/2018-06-01/runtime/";
static const char CALLS[] = "invocation/";

static bool begins(ct__span span, const char *text, size_t len) {
    return span.len >= len && memcmp(span.at, text, len) == 0;
}

static ct__span behind(ct__span span, size_t len) {
    return (ct__span){span.at + len, span.len - len};
}

/* "ID/response" or "ID/error" */
static void read_answer_path(ct__span path, ct__api_ask *out) {
    const uint8_t *slash = memchr(path.at, '/', path.len);
    if (slash == NULL || slash == path.at)
        return;
    out->request_id = (ct__span){path.at, (size_t)(slash - path.at)};
    const ct__span word = behind(path, out->request_id.len + 1);
    out->kind = ct__span_is(word, "response") ? CT__API_RESPONSE : ct__span_is(word, "error") ? CT__API_ERROR : CT__API_UNKNOWN;
}

static void read_fields(const ct__http1_head *head, ct__api_ask *out) {
    bool says_raw = false;
    for (size_t i = 0; i < head->count; i++) {
        const ct__http1_field *field = &head->fields[i];
        if (ct__span_like(field->name, "lambda-runtime-function-error-type"))
            out->error_type = field->value;
        else if (ct__span_like(field->name, "lambda-runtime-function-response-mode"))
            out->streams = out->is_raw = ct__span_like(field->value, "streaming");
        else if (ct__span_like(field->name, "content-type"))
            says_raw = ct__span_begins(field->value, "application/octet-stream") || ct__span_begins(field->value, "text/");
    }
    out->streams |= head->framing == CT__HTTP1_CHUNKED; /* some clients say no more than this */
    out->is_raw |= says_raw;
}

ct__api_ask ct__api_read(const ct__http1_head *head) {
    ct__api_ask ask = {.kind = CT__API_UNKNOWN};
    if (!begins(head->target, ROOT, sizeof ROOT - 1))
        return ask;
    const ct__span path = behind(head->target, sizeof ROOT - 1);
    if (ct__span_is(path, "invocation/next"))
        ask.kind = CT__API_NEXT;
    else if (ct__span_is(path, "init/error"))
        ask.kind = CT__API_INIT_ERROR;
    else if (begins(path, CALLS, sizeof CALLS - 1))
        read_answer_path(behind(path, sizeof CALLS - 1), &ask);
    if (ask.kind != CT__API_UNKNOWN && !ct__span_is(head->method, ask.kind == CT__API_NEXT ? "GET" : "POST"))
        ask.kind = CT__API_OTHER_METHOD;
    read_fields(head, &ask);
    return ask;
}

static void hex(char *out, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

ct__api_call ct__api_call_of(const ct_exec_head *head, uint64_t now_ms) {
    ct__api_call call = {.deadline_ms = now_ms + head->remaining_ms};
    char id[33], trace[33], span[17];
    hex(id, head->request_id, sizeof head->request_id);
    hex(trace, head->trace_id, sizeof head->trace_id);
    hex(span, head->span_id, sizeof head->span_id);
    (void)snprintf(call.request_id, sizeof call.request_id, "%.8s-%.4s-%.4s-%.4s-%.12s", id, id + 8, id + 12, id + 16, id + 20);
    (void)snprintf(call.trace, sizeof call.trace, "Root=1-%.8s-%.24s;Parent=%s;Sampled=1", trace, trace + 8, span);
    return call;
}

void ct__api_arn(char *out, const char *tenant, const char *space, const char *function, const char *version) {
    (void)snprintf(out, CT__API_ARN_CHARS, "arn:constellation:lambda:%s:%s:function:%s:%s", space, tenant, function, version);
    for (char *at = out; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~')
            *at = '?';
}

static size_t least(int len) {
    return len < 0 ? 0 : len < CT__API_HEAD_BYTES ? (size_t)len : CT__API_HEAD_BYTES - 1;
}

size_t ct__api_put_call(char *out, const ct__api_call *call, const char *arn, size_t len) {
    return least(snprintf(out, CT__API_HEAD_BYTES,
                          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: %s\r\n"
                          "Lambda-Runtime-Deadline-Ms: %llu\r\nLambda-Runtime-Invoked-Function-Arn: %s\r\n"
                          "Lambda-Runtime-Trace-Id: %s\r\nContent-Length: %zu\r\n\r\n",
                          call->request_id, (unsigned long long)call->deadline_ms, arn, call->trace, len));
}

static const char *reason_of(int status) {
    switch (status) {
    case 202: return "Accepted";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 413: return "Content Too Large";
    default: return "Bad Request";
    }
}

static size_t put_answer(char *out, int status, const char *body, bool closes) {
    return least(snprintf(out, CT__API_HEAD_BYTES, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s", status,
                          reason_of(status), closes ? "Connection: close\r\n" : "", strlen(body), body));
}

size_t ct__api_put_accepted(char *out, bool closes) {
    return put_answer(out, 202, "{\"status\":\"OK\"}\n", closes);
}

size_t ct__api_put_refusal(char *out, int status, const char *type, const char *message, bool closes) {
    char body[512];
    (void)snprintf(body, sizeof body, "{\"errorMessage\":\"%s\",\"errorType\":\"%s\"}\n", message, type);
    return put_answer(out, status, body, closes);
}

ct__span ct__api_trailer(const uint8_t *trailers, size_t len, const char *name) {
    ct__span rest = {trailers, len};
    while (rest.len > 0) {
        const uint8_t *end = memchr(rest.at, '\n', rest.len);
        const size_t whole = end == NULL ? rest.len : (size_t)(end - rest.at) + 1;
        const uint8_t *colon = memchr(rest.at, ':', whole);
        if (colon != NULL && ct__span_like((ct__span){rest.at, (size_t)(colon - rest.at)}, name)) {
            ct__span value = {colon + 1, (size_t)(rest.at + whole - colon - 1)};
            while (value.len > 0 && value.at[0] <= ' ')
                value = behind(value, 1);
            while (value.len > 0 && value.at[value.len - 1] <= ' ')
                value.len--;
            return value;
        }
        rest = behind(rest, whole);
    }
    return (ct__span){0};
}

static int digit_of(uint8_t byte) {
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = byte == '\0' ? NULL : strchr(DIGITS, byte);
    return found == NULL ? -1 : (int)(found - DIGITS);
}

ptrdiff_t ct__api_base64(ct__span text, uint8_t *out) {
    if (text.len % 4 != 0)
        return CT_E_MALFORMED;
    size_t pads = 0;
    while (pads < 2 && text.len > pads && text.at[text.len - 1 - pads] == '=')
        pads++;
    ptrdiff_t written = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < text.len; i++) {
        const int digit = i < text.len - pads ? digit_of(text.at[i]) : 0;
        if (digit < 0)
            return CT_E_MALFORMED;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 == 3) {
            out[written++] = (uint8_t)(bits >> 16);
            out[written++] = (uint8_t)(bits >> 8);
            out[written++] = (uint8_t)bits;
            bits = 0;
        }
    }
    return written - (ptrdiff_t)pads;
}
