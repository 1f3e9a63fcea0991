#include "guest/relay_state.h"

#include "guest/lambda_error.h"
#include "proto/json_member.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 1 << 20 };

void ct__relay_not_ready(ct__relay_state *r, const uint8_t *error, size_t len) {
    r->phase = CT__FAILED;
    ct__host_not_ready(&r->host, error, len);
}

static void let_go(ct__relay_state *r) {
    free(r->body);
    r->body = NULL;
    r->progress = CT__NO_CALL;
    r->answering = NULL;
    if (r->stops)
        ct__host_end(&r->host, CT__HOST_GONE);
}

void ct__relay_hand_over(ct__relay_state *r, ct__asker *asker) {
    static const uint8_t NOTHING[] = "null";
    const bool is_empty = r->body_len <= CT_EXEC_HEAD_BYTES;
    const uint8_t *event = is_empty ? NOTHING : r->body + CT_EXEC_HEAD_BYTES;
    const size_t len = is_empty ? sizeof NOTHING - 1 : r->body_len - CT_EXEC_HEAD_BYTES;
    r->asking = NULL;
    r->progress = CT__OUT;
    asker->carries = true;
    ct__asker_answer(asker, ct__api_put_call(asker->head, &r->call, r->arn, len), event, len);
}

static void fail_call(ct__relay_state *r, const char *type, const char *message) {
    uint8_t error[CT__LAMBDA_ERROR_BYTES];
    ct__host_say(&r->host, CT_FRAME_ERROR, r->call_id, error, ct__error_of(type, message, error));
    let_go(r);
}

static void say_pieces(ct__relay_state *r, const uint8_t *data, size_t len) {
    for (size_t part; len > 0; data += part, len -= part) {
        part = len < CHUNK_BYTES ? len : CHUNK_BYTES;
        ct__host_say(&r->host, CT_FRAME_CHUNK, r->call_id, data, part);
    }
}

static void say_result(ct__relay_state *r, const uint8_t *output, size_t len) {
    if (len > CT_LINK_FRAME_MAX) {
        fail_call(r, "Function.ResponseSizeTooLarge", "the output is too long: at most 6291456 bytes are carried");
        return;
    }
    if (r->is_stream)
        say_pieces(r, output, len);
    ct__host_say(&r->host, CT_FRAME_RESULT, r->call_id, output, r->is_stream ? 0 : len);
    let_go(r);
}

/* What a program streams need not be JSON. A caller who takes no pieces gets it as the text that it is. */
static void say_text(ct__relay_state *r, const uint8_t *text, size_t len) {
    uint8_t *quoted = malloc(6 * len + 2);
    if (quoted == NULL) {
        fail_call(r, "Function.ResponseSizeTooLarge", "the output has no room in the memory of this function");
        return;
    }
    say_result(r, quoted, ct__json_quote(quoted, text, len));
    free(quoted);
}

static void take_response(ct__relay_state *r, ct__asker *asker) {
    const uint8_t *output = asker->gathered_len > 0 ? asker->gathered : (const uint8_t *)"null";
    const size_t len = asker->gathered_len > 0 ? asker->gathered_len : 4;
    if (asker->is_raw && !r->is_stream && ct_json_check(output, len, CT_LINK_JSON_DEPTH) != 0)
        say_text(r, output, len);
    else
        say_result(r, output, len);
}

static void take_error(ct__relay_state *r, ct__asker *asker, const uint8_t *body, size_t len, bool is_of_start) {
    uint8_t error[CT__LAMBDA_ERROR_BYTES];
    const ct__span type = {(const uint8_t *)asker->error_type, strlen(asker->error_type)};
    const size_t count = ct__lambda_error(body, len, type, error);
    if (is_of_start) {
        ct__relay_not_ready(r, error, count);
        return;
    }
    ct__host_say(&r->host, CT_FRAME_ERROR, r->call_id, error, count);
    let_go(r);
}

/* The trailers of a response say that the program failed in the middle of it. */
static bool take_late_error(ct__relay_state *r, ct__asker *asker) {
    const ct__span type = ct__api_trailer(asker->trailers, asker->trailers_len, "lambda-runtime-function-error-type");
    if (type.len == 0)
        return false;
    const ct__span coded = ct__api_trailer(asker->trailers, asker->trailers_len, "lambda-runtime-function-error-body");
    uint8_t body[CT__HTTP1_TRAILER_BYTES];
    const ptrdiff_t len = coded.len > 0 ? ct__api_base64(coded, body) : 0;
    const size_t count = type.len < sizeof asker->error_type - 1 ? type.len : sizeof asker->error_type - 1;
    memcpy(asker->error_type, type.at, count);
    asker->error_type[count] = '\0';
    take_error(r, asker, body, len > 0 ? (size_t)len : 0, false);
    return true;
}

/* ---- requests ---- */

static void refuse(ct__asker *asker, int status, const char *type, const char *message) {
    asker->sink = CT__SINK_NONE;
    asker->refusal = status;
    asker->refusal_type = type;
    asker->refusal_message = message;
}

static void begin_answer(ct__relay_state *r, ct__asker *asker, const ct__api_ask *ask) {
    if (r->progress != CT__OUT || r->answering != NULL || r->phase != CT__SERVING) {
        refuse(asker, 403, "InvalidStateTransition", "no call waits for this answer");
    } else if (!ct__span_is(ask->request_id, r->call.request_id)) {
        refuse(asker, 400, "InvalidRequestID", "the call in hand has another request id");
    } else {
        r->answering = asker;
        asker->sink = ask->kind == CT__API_RESPONSE && ask->streams && r->is_stream ? CT__SINK_PASS : CT__SINK_GATHER;
    }
}

static void on_head(void *owner, ct__asker *asker, const ct__http1_head *head, const ct__api_ask *ask) {
    ct__relay_state *r = owner;
    switch (ask->kind) {
    case CT__API_UNKNOWN:
        refuse(asker, 404, "NotFound", "this API has no such path");
        return;
    case CT__API_OTHER_METHOD:
        refuse(asker, 405, "MethodNotAllowed", "this path takes another method");
        return;
    case CT__API_NEXT:
        if (r->phase == CT__FAILED || r->progress == CT__OUT || r->asking != NULL)
            refuse(asker, 403, "InvalidStateTransition", "a call is in hand, or asked for already");
        return;
    case CT__API_INIT_ERROR:
        if (r->phase == CT__STARTING)
            asker->sink = CT__SINK_GATHER;
        else
            refuse(asker, 403, "InvalidStateTransition", "the program has started");
        return;
    case CT__API_RESPONSE:
    case CT__API_ERROR:
        begin_answer(r, asker, ask);
        break;
    }
    if (asker->sink == CT__SINK_GATHER && head->framing == CT__HTTP1_LENGTH && head->length > CT__ASKER_BODY_MAX)
        asker->body_bytes = head->length; /* gathers nothing of it */
}

static void on_pass(void *owner, ct__asker *asker, ct__span data) {
    (void)asker;
    say_pieces(owner, data.at, data.len);
}

static void accepted(ct__asker *asker) {
    ct__asker_answer(asker, ct__api_put_accepted(asker->head, asker->closes), NULL, 0);
}

static void next(ct__relay_state *r, ct__asker *asker) {
    if (r->phase == CT__STARTING) {
        static const uint8_t OK[] = {8, 1};
        r->phase = CT__SERVING;
        ct__host_say(&r->host, CT_FRAME_READY, 0, OK, sizeof OK);
    }
    if (r->progress == CT__HELD) {
        ct__relay_hand_over(r, asker);
    } else {
        asker->at = CT__ASKER_WAITS;
        r->asking = asker;
    }
}

static void end_answer(ct__relay_state *r, ct__asker *asker) {
    if (asker->body_bytes > CT__ASKER_BODY_MAX && asker->sink == CT__SINK_GATHER) {
        fail_call(r, "Function.ResponseSizeTooLarge", "the output is too long: at most 6291456 bytes are carried");
        ct__asker_refuse(asker, 413, "RequestEntityTooLarge", "at most 6291456 bytes are carried");
        return;
    }
    if (asker->asked == CT__API_ERROR) {
        take_error(r, asker, asker->gathered, asker->gathered_len, false);
    } else if (!take_late_error(r, asker)) {
        if (asker->sink == CT__SINK_PASS)
            say_result(r, NULL, 0);
        else
            take_response(r, asker);
    }
    accepted(asker);
}

static void on_end(void *owner, ct__asker *asker) {
    ct__relay_state *r = owner;
    if (asker->refusal != 0) {
        ct__asker_refuse(asker, asker->refusal, asker->refusal_type, asker->refusal_message);
    } else if (asker->asked == CT__API_NEXT) {
        next(r, asker);
    } else if (asker->asked == CT__API_INIT_ERROR) {
        take_error(r, asker, asker->gathered, asker->gathered_len, true);
        accepted(asker);
    } else {
        end_answer(r, asker);
    }
}

static void on_written(void *owner, ct__asker *asker) {
    ct__relay_state *r = owner;
    if (!asker->carries)
        return;
    asker->carries = false;
    free(r->body); /* the program may need the room */
    r->body = NULL;
}

static void on_closed(void *owner, ct__asker *asker) {
    ct__relay_state *r = owner;
    if (r->asking == asker)
        r->asking = NULL;
    if (asker->carries)
        r->progress = CT__HELD; /* the program did not get it */
    asker->carries = false;
    if (r->answering != asker)
        return;
    r->answering = NULL;
    if (asker->sink == CT__SINK_PASS)
        fail_call(r, "Runtime.TruncatedResponse", "the program broke its response off");
}

const ct__asker_owner ct__relay_tell = {on_head, on_pass, on_end, on_written, on_closed};
