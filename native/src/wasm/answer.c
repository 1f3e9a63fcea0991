#define _GNU_SOURCE
#include "wasm/answer.h"

#include "base/abi.h"
#include "base/scope.h"
#include "proto/json_member.h"

#include <stdio.h>
#include <string.h>

enum { FRAMES_MAX = 64, STACK_BYTES = 16 << 10, NAME_MAX_BYTES = 200 };

void ct__wasm_outcome_say(ct__wasm_outcome *outcome, const char *type, const char *message, size_t len) {
    outcome->type = strdup(type);
    outcome->message = strndup(message, len < CT__WASM_TEXT ? len : CT__WASM_TEXT - 1);
}

void ct__wasm_outcome_fini(ct__wasm_outcome *outcome) {
    if (outcome->error != NULL)
        ct__wasm.wasmtime_error_delete(outcome->error);
    if (outcome->trap != NULL)
        ct__wasm.wasm_trap_delete(outcome->trap);
    free(outcome->type);
    free(outcome->message);
}

void ct__wasm_outcome_drop(wasm_error *error) {
    if (error != NULL)
        ct__wasm.wasmtime_error_delete(error);
}

/* Ends text before a character that was cut in two. */
static size_t whole(const char *text, size_t len) {
    size_t from = len;
    while (from > 0 && ((uint8_t)text[from - 1] & 0xc0) == 0x80)
        from--;
    if (from == 0)
        return len;
    const uint8_t first = (uint8_t)text[from - 1];
    const size_t wants = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    return len - (from - 1) < wants ? from - 1 : len;
}

static size_t member(uint8_t *out, const char *name, const char *text) {
    const size_t head = (size_t)sprintf((char *)out, "\"%s\":", name);
    return head + ct__json_quote(out + head, (const uint8_t *)text, whole(text, strlen(text)));
}

char *ct__wasm_error_body(const char *type, const char *message, const char *stack, size_t *len) {
    uint8_t *out = malloc(6 * (strlen(type) + strlen(message) + strlen(stack)) + 64);
    if (out == NULL)
        return NULL;
    size_t at = 0;
    out[at++] = '{';
    at += member(out + at, "type", type);
    out[at++] = ',';
    at += member(out + at, "message", message);
    out[at++] = ',';
    at += member(out + at, "stack", stack);
    out[at++] = '}';
    *len = at;
    return (char *)out;
}

static void tell_frames(const wasm_frames *frames, char *out) {
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < frames->size && i < FRAMES_MAX && at < STACK_BYTES - NAME_MAX_BYTES - 64; i++) {
        const wasm_frame *frame = frames->data[i];
        const wasm_bytes *name = ct__wasm.wasmtime_frame_func_name(frame);
        const size_t offset = ct__wasm.wasm_frame_module_offset(frame);
        if (name != NULL && name->size > 0) {
            const size_t len = name->size < NAME_MAX_BYTES ? name->size : whole(name->data, NAME_MAX_BYTES);
            at += (size_t)sprintf(out + at, "at %.*s (+0x%zx)\n", (int)len, name->data, offset);
        } else {
            at += (size_t)sprintf(out + at, "at function %u (+0x%zx)\n", ct__wasm.wasm_frame_func_index(frame), offset);
        }
    }
}

/* What it was, without the backtrace and the chain of errors that the library writes around it. */
static const char *essence(char *message) {
    static const char trapped[] = "wasm trap: ", caused[] = "Caused by:\n", mark[] = ": ";
    char *text = strstr(message, trapped);
    if (text != NULL) {
        text += strlen(trapped);
    } else if ((text = strstr(message, caused)) != NULL) {
        text += strlen(caused);
        for (char *next = strchr(text, '\n'); next != NULL && next[1] == ' '; next = strchr(text, '\n'))
            text = next + 1; /* the last of the chain */
        text += strspn(text, " ");
        const size_t digits = strspn(text, "0123456789");
        if (digits > 0 && strncmp(text + digits, mark, strlen(mark)) == 0)
            text += digits + strlen(mark);
    } else {
        text = message;
    }
    text[strcspn(text, "\n")] = 0;
    return text;
}

static const char *kind_of(const wasm_trap *trap, const char *message) {
    uint8_t code = UINT8_MAX;
    if (trap != NULL && !ct__wasm.wasmtime_trap_code(trap, &code))
        code = UINT8_MAX;
    if (code == TRAP_OUT_OF_FUEL || strstr(message, "all fuel consumed") != NULL)
        return "OutOfFuel";
    return code == TRAP_STACK_OVERFLOW ? "StackOverflow" : "Trap";
}

char *ct__wasm_outcome_error(const ct__wasm_outcome *outcome, size_t *len) {
    int status = 0;
    if (outcome->type != NULL)
        return ct__wasm_error_body(outcome->type, outcome->message != NULL ? outcome->message : "", "", len);
    if (outcome->refusal != NULL)
        return ct__wasm_error_body("Error", outcome->refusal, "", len);
    if (outcome->error == NULL && outcome->trap == NULL)
        return NULL;
    char message[CT__WASM_TEXT], stack[STACK_BYTES];
    wasm_bytes text = {0};
    wasm_frames frames = {0};
    if (outcome->error != NULL && ct__wasm.wasmtime_error_exit_status(outcome->error, &status)) {
        if (status == 0)
            return NULL;
        (void)snprintf(message, sizeof message, "exit status %d", status);
        return ct__wasm_error_body("Exit", message, "", len);
    }
    if (outcome->error != NULL) {
        ct__wasm.wasmtime_error_message(outcome->error, &text);
        ct__wasm.wasmtime_error_wasm_trace(outcome->error, &frames);
    } else {
        ct__wasm.wasm_trap_message(outcome->trap, &text);
        ct__wasm.wasm_trap_trace(outcome->trap, &frames);
    }
    (void)snprintf(message, sizeof message, "%.*s", text.size < sizeof message ? (int)text.size : (int)sizeof message - 1, text.data);
    tell_frames(&frames, stack);
    ct__wasm.wasm_byte_vec_delete(&text);
    ct__wasm.wasm_frame_vec_delete(&frames);
    const char *kind = kind_of(outcome->trap, message);
    return ct__wasm_error_body(kind, essence(message), stack, len);
}
