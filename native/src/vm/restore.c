#include "vm/restore.h"

#include "base/cursor.h"
#include "proto/json_member.h"

#include <errno.h>
#include <string.h>

enum { LOAD_BODY_BYTES = 2 * (6 * CT__RESTORE_PATH_BYTES + 2) + 128, JSON_DEPTH = 8, NO_CONTENT = 204 };
_Static_assert(LOAD_BODY_BYTES + CT__FC_REQUEST_HEAD_BYTES <= CT__RESTORE_SENT_BYTES, "a load fits");

static ct__restore_action order(ct__restore *r, enum ct__restore_order what) {
    r->last = what;
    return (ct__restore_action){.order = what};
}

static ct__restore_action send_it(ct__restore *r) {
    (void)order(r, CT__RESTORE_SEND);
    return (ct__restore_action){CT__RESTORE_SEND, {r->sent, r->sent_len}};
}

static ct__restore_action fail(ct__restore *r, int code) {
    r->code = code;
    return order(r, CT__RESTORE_FAILED);
}

/* ---- what is sent ---- */

static void put(ct__writer *w, const char *text) {
    ct__write_bytes(w, text, strlen(text));
}

static void put_path(ct__writer *w, const char *path) {
    uint8_t quoted[6 * CT__RESTORE_PATH_BYTES + 2];
    ct__write_bytes(w, quoted, ct__json_quote(quoted, (const uint8_t *)path, strlen(path)));
}

static int write_request(ct__restore *r, enum ct__fc_method method, const char *target, ct__span body) {
    const int len = ct__fc_request(r->sent, sizeof r->sent, method, target, body);
    r->sent_len = len > 0 ? (size_t)len : 0;
    return len < 0 ? len : 0;
}

static int write_load(ct__restore *r, const ct__restore_plan *plan) {
    uint8_t body[LOAD_BODY_BYTES];
    ct__writer w = {.at = body, .left = sizeof body};
    put(&w, "{\"snapshot_path\":");
    put_path(&w, plan->snapshot);
    put(&w, ",\"mem_backend\":{\"backend_type\":");
    put(&w, plan->memory_is_served ? "\"Uffd\"" : "\"File\"");
    put(&w, ",\"backend_path\":");
    put_path(&w, plan->memory);
    put(&w, plan->load_resumes ? "},\"resume_vm\":true}" : "},\"resume_vm\":false}");
    const ct__span whole = {body, sizeof body - w.left};
    const int result = ct_json_check(whole.at, whole.len, JSON_DEPTH); /* a path may be any bytes, JSON is UTF-8 */
    return result != 0 ? result : write_request(r, CT__FC_PUT, "/snapshot/load", whole);
}

static int check_path(const char *path) {
    const size_t len = strnlen(path, CT__RESTORE_PATH_BYTES + 1);
    if (len == 0)
        return CT_E_RANGE;
    return len > CT__RESTORE_PATH_BYTES ? CT_E_TOOBIG : 0;
}

int ct__restore_init(ct__restore *r, const ct__restore_plan *plan, ct__restore_action *first) {
    memset(r, 0, sizeof *r);
    r->load_resumes = plan->load_resumes;
    r->port = plan->port;
    int result = check_path(plan->snapshot);
    if (result == 0)
        result = check_path(plan->memory);
    if (result == 0 && ct__vsock_hello_put(r->sent, plan->port) < 0)
        result = CT_E_RANGE; /* said before a machine is loaded in vain */
    if (result == 0)
        result = write_load(r, plan);
    if (result == 0)
        *first = order(r, CT__RESTORE_CONNECT_API);
    return result;
}

/* ---- from step to step ---- */

static ct__restore_action begin_resume(ct__restore *r, bool needs_connection) {
    static const char BODY[] = "{\"state\":\"Resumed\"}";
    r->step = CT__RESTORE_RESUME;
    (void)write_request(r, CT__FC_PATCH, "/vm", (ct__span){(const uint8_t *)BODY, sizeof BODY - 1}); /* fits: it is always the same */
    if (!needs_connection)
        return send_it(r);
    r->is_connected = false;
    return order(r, CT__RESTORE_CONNECT_API);
}

static ct__restore_action begin_hello(ct__restore *r) {
    r->step = CT__RESTORE_HELLO;
    r->sent_len = (size_t)ct__vsock_hello_put(r->sent, r->port); /* init has seen that the port is one */
    r->is_connected = false;
    return order(r, CT__RESTORE_CONNECT_VSOCK);
}

static ct__restore_action take_answer(ct__restore *r, const ct__fc_answer *answer) {
    if (answer->status >= 400) {
        r->status = answer->status;
        r->fault[ct__fc_fault(answer->body, r->fault, CT__RESTORE_FAULT_BYTES)] = '\0';
        return fail(r, -EREMOTEIO);
    }
    if (answer->status != NO_CONTENT || answer->used != r->input_len)
        return fail(r, CT_E_MALFORMED); /* also: more than was asked for */
    const bool closes = answer->closes;
    r->scan = (ct__fc_scan){0};
    r->input_len = 0;
    return r->step == CT__RESTORE_LOAD && !r->load_resumes ? begin_resume(r, closes) : begin_hello(r);
}

static ct__restore_action read_answer(ct__restore *r, const uint8_t *data, size_t len) {
    const size_t room = sizeof r->input - r->input_len;
    const size_t taken = len < room ? len : room;
    if (taken > 0)
        memcpy(r->input + r->input_len, data, taken);
    r->input_len += taken;
    ct__fc_answer answer;
    const int result = ct__fc_answer_read(&r->scan, r->input, r->input_len, &answer);
    if (result == 0)
        return take_answer(r, &answer);
    if (result == CT_E_MORE)
        return r->input_len < sizeof r->input ? order(r, CT__RESTORE_WAIT) : fail(r, CT_E_TOOBIG);
    return fail(r, result);
}

static ct__restore_action read_hello(ct__restore *r, const uint8_t *data, size_t len) {
    size_t used = 0;
    const int result = ct__vsock_hello_read(&r->hello, data, len, &used);
    if (result == CT_E_MORE)
        return order(r, CT__RESTORE_WAIT);
    if (result != 0)
        return fail(r, result);
    r->step = CT__RESTORE_DONE;
    ct__restore_action ready = order(r, CT__RESTORE_READY);
    ready.bytes = (ct__span){data + used, len - used};
    return ready;
}

ct__restore_action ct__restore_take(ct__restore *r, enum ct__restore_event event, const uint8_t *data, size_t len) {
    if (r->last == CT__RESTORE_READY || r->last == CT__RESTORE_FAILED)
        return order(r, r->last);
    switch (event) {
    case CT__RESTORE_CONNECTED:
        if (r->is_connected)
            return fail(r, CT_E_RANGE);
        r->is_connected = true;
        return send_it(r);
    case CT__RESTORE_BYTES:
        if (!r->is_connected)
            return fail(r, CT_E_RANGE);
        return r->step == CT__RESTORE_HELLO ? read_hello(r, data, len) : read_answer(r, data, len);
    case CT__RESTORE_CLOSED:
        return fail(r, r->step == CT__RESTORE_HELLO && r->is_connected ? -ECONNREFUSED : CT_E_DIED);
    case CT__RESTORE_TIMEOUT:
        return fail(r, CT_E_TIMEOUT);
    }
    return fail(r, CT_E_RANGE);
}
