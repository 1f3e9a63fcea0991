#include "guest/http_call.h"

#include "base/err.h"
#include "guest/runtime_api.h"

#include <stdio.h>
#include <string.h>

static void hex(char *out, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void put_visible(char *out, size_t cap, const char *text) {
    (void)snprintf(out, cap, "%s", text);
    for (char *at = out; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~')
            *at = '?';
}

size_t ct__http_call_put(char *out, const ct_exec_head *call, uint64_t now_ms, const ct__http_function *function, size_t len) {
    const ct__api_call told = ct__api_call_of(call, now_ms);
    char trace[33], span[17], name[sizeof function->name], version[sizeof function->version];
    hex(trace, call->trace_id, sizeof call->trace_id);
    hex(span, call->span_id, sizeof call->span_id);
    put_visible(name, sizeof name, function->name);
    put_visible(version, sizeof version, function->version);
    /* The longest of each together are below the cap */
    return (size_t)snprintf(
        out, CT__HTTP_CALL_BYTES,
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n"
        "Constellation-Request-Id: %s\r\nConstellation-Deadline-Ms: %llu\r\n"
        "Constellation-Function: %s\r\nConstellation-Version: %s\r\nTraceparent: 00-%s-%s-01\r\n\r\n",
        function->port, len, told.request_id, (unsigned long long)told.deadline_ms, name, version, trace, span);
}

static bool says_json(const ct__http1_head *head) {
    for (size_t i = 0; i < head->count; i++)
        if (ct__span_like(head->fields[i].name, "content-type"))
            return ct__span_begins(head->fields[i].value, "application/json");
    return false;
}

static int take_head(ct__http_answer *answer, const uint8_t *buf, size_t len, size_t *used) {
    ct__http1_head head;
    const int result = ct__http1_answer(&answer->scan, buf, len, false, &head);
    if (result == CT_E_MORE)
        return CT_E_MORE;
    if (result != 0 || head.status == 101)
        return CT_E_MALFORMED;
    *used = head.used;
    answer->scan = (ct__http1_scan){0};
    if (head.status < 200)
        return ++answer->interims > CT__HTTP_CALL_INTERIMS ? CT_E_MALFORMED : 0;
    answer->status = head.status;
    answer->says_json = says_json(&head);
    answer->body = ct__http1_body_of(&head);
    return 0;
}

int ct__http_answer_next(ct__http_answer *answer, const uint8_t *buf, size_t len, size_t *used, ct__span *data) {
    *used = 0;
    *data = (ct__span){0};
    if (answer->status == 0)
        return take_head(answer, buf, len, used);
    return ct__http1_body_next(&answer->body, buf, len, used, data);
}

bool ct__http_answer_may_end(const ct__http_answer *answer) {
    return ct__http_answer_done(answer) || (answer->status != 0 && answer->body.framing == CT__HTTP1_UNTIL_CLOSE);
}
