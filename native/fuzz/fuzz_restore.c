/* Any history of a restore: the orders come in their order, what was sent is whole, and bytes that come one by one decide what they do at
 * once. The input: a byte of choices, then events; behind the one that brings bytes stand their number and they themselves. */
#include "vm/restore.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ct__restore machine, slow;

static void must(int holds) {
    if (!holds)
        abort();
}

/* Takes the bytes one by one in `slow`, which is where `machine` was before it took them all. */
static void check_pieces(ct__restore_action at_once, const uint8_t *data, size_t len) {
    ct__restore_action action = {.order = CT__RESTORE_WAIT};
    size_t taken = 0;
    for (; taken < len && action.order == CT__RESTORE_WAIT; taken++)
        action = ct__restore_take(&slow, CT__RESTORE_BYTES, data + taken, 1);
    if (action.order == CT__RESTORE_READY)
        must(at_once.order == CT__RESTORE_READY && at_once.bytes.at == data + taken && at_once.bytes.len == len - taken);
    else if (action.order == at_once.order)
        must(slow.step == machine.step && slow.code == machine.code && strcmp(slow.fault, machine.fault) == 0);
    else /* more came than was asked for: the next request would have been sent between them */
        must(taken < len && action.order != CT__RESTORE_FAILED && machine.code == CT_E_MALFORMED);
}

static void check_state(enum ct__restore_order before, ct__restore_action now) {
    switch (now.order) {
    case CT__RESTORE_CONNECT_API:
        must(machine.step == CT__RESTORE_RESUME && before != CT__RESTORE_CONNECT_API);
        break;
    case CT__RESTORE_CONNECT_VSOCK:
        must(machine.step == CT__RESTORE_HELLO && before != CT__RESTORE_CONNECT_VSOCK && before != CT__RESTORE_CONNECT_API);
        break;
    case CT__RESTORE_SEND:
        must(now.bytes.at == machine.sent && now.bytes.len > 0 && now.bytes.len <= sizeof machine.sent);
        must(machine.step == CT__RESTORE_HELLO ? now.bytes.at[now.bytes.len - 1] == '\n' : now.bytes.at[now.bytes.len - 1] == '}');
        break;
    case CT__RESTORE_WAIT:
        must(before == CT__RESTORE_WAIT || before == CT__RESTORE_SEND);
        break;
    case CT__RESTORE_READY:
        must(machine.step == CT__RESTORE_DONE && machine.code == 0 && (before == CT__RESTORE_WAIT || before == CT__RESTORE_SEND));
        break;
    case CT__RESTORE_FAILED:
        must(machine.code < 0 && machine.step != CT__RESTORE_DONE && (machine.status >= 400) == (machine.code == -EREMOTEIO));
        must(strlen(machine.fault) <= CT__RESTORE_FAULT_BYTES);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    const ct__restore_plan plan = {
        .snapshot = "/snap",
        .memory = "/mem",
        .memory_is_served = (data[0] & 1) != 0,
        .load_resumes = (data[0] & 2) != 0,
        .port = data[0],
    };
    ct__restore_action action;
    must(ct__restore_init(&machine, &plan, &action) == 0 && action.order == CT__RESTORE_CONNECT_API);
    for (size_t at = 1; at < size && action.order != CT__RESTORE_READY && action.order != CT__RESTORE_FAILED;) {
        const enum ct__restore_event event = (enum ct__restore_event)(data[at++] & 3);
        const size_t stated = event == CT__RESTORE_BYTES && at < size ? data[at++] : 0;
        const size_t len = stated < size - at ? stated : size - at;
        const enum ct__restore_order before = machine.last;
        slow = machine;
        action = ct__restore_take(&machine, event, data + at, len);
        must(machine.last == action.order);
        check_state(before, action);
        if (len > 0)
            check_pieces(action, data + at, len);
        at += len;
    }
    if (action.order == CT__RESTORE_READY || action.order == CT__RESTORE_FAILED)
        must(ct__restore_take(&machine, CT__RESTORE_TIMEOUT, NULL, 0).order == action.order);
    return 0;
}
