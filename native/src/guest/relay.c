#define _GNU_SOURCE
#include "guest/relay.h"

#include "base/cursor.h"
#include "base/err.h"
#include "base/scope.h"
#include "base/sysx.h"
#include "guest/lambda_error.h"
#include "guest/program.h"
#include "guest/relay_state.h"
#include "guest/setup.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

enum {
    STREAM = 1, /* flag of an exec head */
};

/* ---- the program ---- */

static const char *hint_of(const char *what, int result) {
    if (result == -ENOEXEC)
        return ": it was built for another machine, or is a script whose first line names no program";
    if (result == -ENOENT && strchr(what, '/') != NULL && access(what, F_OK) == 0)
        return ": it is there, but not the interpreter or loader that it names";
    return "";
}

static void fail_to_start(ct__relay_state *r, const char *what, int result) {
    char message[CT_PATH_BYTES + 256];
    uint8_t error[CT__LAMBDA_ERROR_BYTES];
    (void)snprintf(message, sizeof message, "%s: %s%s", what, ct_strerror(result), hint_of(what, result));
    ct__relay_not_ready(r, error, ct__error_of("Runtime.InvalidEntrypoint", message, error));
}

static int listen_near(char *out, size_t cap) {
    ct_autofd fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in near = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof near;
    if (fd < 0 || bind(fd, (const struct sockaddr *)&near, sizeof near) != 0 || listen(fd, CT__ASKERS) != 0 ||
        getsockname(fd, (struct sockaddr *)&near, &size) != 0)
        return ct__errno();
    (void)snprintf(out, cap, "127.0.0.1:%u", ntohs(near.sin_port));
    return ct_take_fd(&fd);
}

static void start(ct__relay_state *r, const ct__setup *setup) {
    char api[32];
    r->listener = listen_near(api, sizeof api);
    int result = r->listener < 0 ? r->listener : chdir(setup->code_dir) != 0 ? ct__errno() : ct__setup_export(setup, api);
    if (result < 0) {
        fail_to_start(r, "ct-guest", result);
        return;
    }
    ct__api_arn(r->arn, setup->tenant, setup->space, setup->function, setup->version);
    char command[CT_PATH_BYTES];
    const bool is_command = strcmp(r->runtime, "custom") == 0;
    result = is_command ? ct__format(command, sizeof command, "%s", setup->handler)
                        : ct__format(command, sizeof command, "%s/bootstrap", setup->code_dir);
    r->phase = CT__STARTING;
    if (result == 0)
        result = ct__program_start(command, is_command, &r->program);
    if (result < 0)
        fail_to_start(r, command, result);
}

static void take_exec(ct__relay_state *r, uint32_t call_id, uint8_t **body, size_t len) {
    ct_exec_head head;
    if (r->phase != CT__SERVING || r->progress != CT__NO_CALL || ct_exec_head_get(*body, len, &head) < 0) {
        ct__host_end(&r->host, CT__HOST_WRONG);
        return;
    }
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    r->call_id = call_id;
    r->call = ct__api_call_of(&head, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
    r->is_stream = (head.flags & STREAM) != 0;
    r->progress = CT__HELD;
    r->body = *body;
    r->body_len = len;
    *body = NULL;
    if (r->asking != NULL) {
        ct__asker *asker = r->asking;
        ct__relay_hand_over(r, asker);
        ct__asker_write(asker, &ct__relay_tell, r);
    }
}

static void take_init(ct__relay_state *r, const uint8_t *body, size_t len) {
    ct__setup setup;
    if (r->phase != CT__BOOTING || ct__setup_read(body, len, &setup) < 0) {
        ct__host_end(&r->host, CT__HOST_WRONG);
        return;
    }
    start(r, &setup);
    ct__setup_free(&setup);
}

static void take_frame(ct__relay_state *r) {
    ct__host_frame frame;
    if (!ct__host_take(&r->host, &frame))
        return;
    ct_automem uint8_t *body = frame.body;
    switch (frame.kind) {
    case CT_FRAME_INIT: take_init(r, body, frame.len); break;
    case CT_FRAME_EXEC: take_exec(r, frame.call_id, &body, frame.len); break;
    case CT_FRAME_CANCEL: break; /* the program could not be told */
    case CT_FRAME_STOP:
        r->stops = true;
        if (r->progress == CT__NO_CALL)
            ct__host_end(&r->host, CT__HOST_GONE);
        break;
    default: ct__host_end(&r->host, CT__HOST_WRONG);
    }
}

/* ---- the loop ---- */

static void accept_some(ct__relay_state *r) {
    for (size_t i = 0; i < CT__ASKERS; i++) {
        if (r->askers[i].at != CT__ASKER_FREE)
            continue;
        const int fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return; /* nobody, or one that has gone */
        ct__asker_open(&r->askers[i], fd);
        ct__asker_read(&r->askers[i], &ct__relay_tell, r);
    }
}

static short wanted_of(const ct__asker *asker) {
    return asker->at == CT__ASKER_REPLY ? POLLOUT : asker->at == CT__ASKER_WAITS ? POLLRDHUP : POLLIN;
}

static void serve_asker(ct__relay_state *r, ct__asker *asker, short events) {
    if (asker->at == CT__ASKER_WAITS && (events & (POLLRDHUP | POLLHUP | POLLERR)) != 0) {
        ct__asker_close(asker, &ct__relay_tell, r);
        return;
    }
    ct__asker_write(asker, &ct__relay_tell, r);
    ct__asker_read(asker, &ct__relay_tell, r);
}

static void turn(ct__relay_state *r) {
    enum { CHANNEL, SIGNALS, LISTENER, FIXED };
    struct pollfd fds[FIXED + CT__ASKERS] = {{r->host.fd, POLLIN, 0}, {r->signals, POLLIN, 0}, {-1, POLLIN, 0}};
    for (size_t i = 0; i < CT__ASKERS; i++) {
        const ct__asker *asker = &r->askers[i];
        const bool is_free = asker->at == CT__ASKER_FREE;
        fds[FIXED + i] = (struct pollfd){is_free ? -1 : asker->fd, is_free ? 0 : wanted_of(asker), 0};
        if (is_free)
            fds[LISTENER].fd = r->listener;
    }
    if (poll(fds, FIXED + CT__ASKERS, -1) < 0)
        return; /* interrupted */
    /* What the program said comes before the news of its end */
    for (size_t i = 0; i < CT__ASKERS && !r->host.ended; i++)
        if (fds[FIXED + i].revents != 0)
            serve_asker(r, &r->askers[i], fds[FIXED + i].revents);
    if (fds[LISTENER].revents != 0 && !r->host.ended)
        accept_some(r);
    if (fds[CHANNEL].revents != 0 && !r->host.ended)
        take_frame(r);
    if (fds[SIGNALS].revents != 0 && !r->host.ended)
        ct__host_bury(&r->host, r->signals, r->program);
}

int ct__relay(int channel, const char *runtime) {
    ct__relay_state *r = calloc(1, sizeof *r);
    if (r == NULL)
        return CT__CANNOT;
    r->host.fd = channel;
    r->runtime = runtime;
    r->listener = -1;
    r->signals = ct__host_signals();
    if (r->signals < 0)
        ct__host_end(&r->host, CT__CANNOT);
    ct__host_greet(&r->host, runtime);
    while (!r->host.ended)
        turn(r);
    const int status = r->host.status;
    for (size_t i = 0; i < CT__ASKERS; i++)
        if (r->askers[i].at != CT__ASKER_FREE)
            (void)close(r->askers[i].fd);
    for (size_t i = 0; i < CT__ASKERS; i++)
        free(r->askers[i].gathered);
    free(r->body);
    if (r->listener >= 0)
        (void)close(r->listener);
    if (r->signals >= 0)
        (void)close(r->signals);
    free(r);
    return status;
}
