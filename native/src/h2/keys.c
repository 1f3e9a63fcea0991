#include "h2/head.h"

#include "h2/text.h"

#include <string.h>

#define IS(text) (memcmp(name.data, text, sizeof(text) - 1) == 0)

enum ct__h2_key ct__h2_key_of(ct__h2_span name) {
    static const char ours[] = "constellation-";
    if (name.len >= sizeof ours - 1 && IS(ours))
        return CT__H2_KEY_STRIPPED;
    switch (name.len) {
    case 2:
        return IS("te") ? CT__H2_KEY_PLAIN : CT__H2_KEY_OTHER;
    case 5:
        return IS(":path") ? CT__H2_KEY_PATH : CT__H2_KEY_OTHER;
    case 7:
        return IS(":method") ? CT__H2_KEY_METHOD
               : IS(":status") ? CT__H2_KEY_STATUS
               : IS(":scheme") ? CT__H2_KEY_PSEUDO
                               : CT__H2_KEY_OTHER;
    case 10:
        return IS(":authority") ? CT__H2_KEY_PSEUDO : IS("user-agent") ? CT__H2_KEY_PLAIN : CT__H2_KEY_OTHER;
    case 11:
        return IS("traceparent")   ? CT__H2_KEY_TRACEPARENT
               : IS("nova-source") ? CT__H2_KEY_SOURCE
               : IS("grpc-status") ? CT__H2_KEY_GRPC_STATUS
                                   : CT__H2_KEY_OTHER;
    case 12:
        return IS("content-type")   ? CT__H2_KEY_CONTENT_TYPE
               : IS("x-request-id") ? CT__H2_KEY_REQUEST_ID
               : IS("grpc-timeout") ? CT__H2_KEY_TIMEOUT
               : IS("grpc-message") ? CT__H2_KEY_GRPC_MESSAGE
                                    : CT__H2_KEY_OTHER;
    case 13:
        return IS("authorization")   ? CT__H2_KEY_AUTHORIZATION
               : IS("nova-identity") ? CT__H2_KEY_IDENTITY
               : IS("grpc-encoding") ? CT__H2_KEY_ENCODING
                                     : CT__H2_KEY_OTHER;
    case 15:
        return IS("nova-call-depth")   ? CT__H2_KEY_CALL_DEPTH
               : IS("nova-call-chain") ? CT__H2_KEY_CALL_CHAIN
               : IS("accept-encoding") ? CT__H2_KEY_PLAIN
                                       : CT__H2_KEY_OTHER;
    case 16:
        return IS("nova-problem-bin") ? CT__H2_KEY_PROBLEM : CT__H2_KEY_OTHER;
    case 20:
        return IS("grpc-accept-encoding") ? CT__H2_KEY_PLAIN : CT__H2_KEY_OTHER;
    default:
        return CT__H2_KEY_OTHER;
    }
}

static void set(ct__h2_head *head, ct__h2_span *slot, ct__h2_span value) {
    if (slot->data != NULL)
        head->is_odd = true; /* twice: which of them counts is not for us to guess */
    else
        *slot = value;
}

void ct__h2_head_add(ct__h2_head *head, ct__h2_span name, ct__h2_span value) {
    switch (ct__h2_key_of(name)) {
    case CT__H2_KEY_METHOD:
        head->is_odd |= !ct__h2_is(value, "POST", 4);
        break;
    case CT__H2_KEY_PATH:
        set(head, &head->path, value);
        break;
    case CT__H2_KEY_CONTENT_TYPE:
        set(head, &head->content_type, value);
        break;
    case CT__H2_KEY_AUTHORIZATION:
        set(head, &head->authorization, value);
        break;
    case CT__H2_KEY_IDENTITY:
        set(head, &head->identity, value);
        break;
    case CT__H2_KEY_REQUEST_ID:
        set(head, &head->request_id, value);
        break;
    case CT__H2_KEY_TRACEPARENT:
        set(head, &head->traceparent, value);
        break;
    case CT__H2_KEY_CALL_DEPTH:
        set(head, &head->call_depth, value);
        break;
    case CT__H2_KEY_CALL_CHAIN:
        set(head, &head->call_chain, value);
        break;
    case CT__H2_KEY_SOURCE:
        set(head, &head->source, value);
        break;
    case CT__H2_KEY_TIMEOUT:
        if (head->has_timeout || !ct__h2_timeout_get(value, &head->timeout_ns))
            head->is_odd = true;
        head->has_timeout = true;
        break;
    case CT__H2_KEY_ENCODING:
        head->is_odd |= !ct__h2_is(value, "identity", 8);
        break;
    case CT__H2_KEY_PLAIN:
    case CT__H2_KEY_PSEUDO:
    case CT__H2_KEY_STRIPPED:
        break;
    case CT__H2_KEY_OTHER:
    case CT__H2_KEY_STATUS:
    case CT__H2_KEY_GRPC_STATUS:
    case CT__H2_KEY_GRPC_MESSAGE:
    case CT__H2_KEY_PROBLEM:
        head->is_odd = true;
        break;
    }
}

void ct__h2_head_finish(ct__h2_head *head, uint64_t now_ns) {
    const ct__h2_span type = head->content_type;
    head->is_odd |= !ct__h2_is(type, "application/grpc", 16) && !ct__h2_is(type, "application/grpc+proto", 22);
    head->deadline_ns = UINT64_MAX;
    if (head->has_timeout && head->timeout_ns < UINT64_MAX - now_ns)
        head->deadline_ns = now_ns + head->timeout_ns;
}
