#define _GNU_SOURCE
#include "wasm/host.h"

#include "base/cursor.h"
#include "base/scope.h"
#include "base/sysx.h"
#include "wasm/instance.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { STACK_BYTES = 2 << 20 };

static const char ROOT[] = "/tenant/";

typedef struct opening {
    ct__wasm_engine *engine;
    int fds[2]; /* the channel, and what is held as long as anything of the instance is there */
    uint64_t cpu_millis;
    char dir[sizeof ROOT + CT__WASM_OPENING_BYTES];
} opening;

static void *serve(void *arg) {
    opening *own = arg;
    ct__wasm_serve(own->engine, own->fds[0], own->dir, own->cpu_millis, 100);
    (void)close(own->fds[1]);
    free(own);
    return NULL;
}

/* Returns false when the host is gone. */
static bool receive(int fd, uint8_t *message, int fds[2]) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = message, .iov_len = CT__WASM_OPENING_BYTES};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got;
    do
        got = recvmsg(fd, &header, MSG_WAITALL | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    const struct cmsghdr *sent = got == CT__WASM_OPENING_BYTES ? CMSG_FIRSTHDR(&header) : NULL;
    if (sent == NULL || sent->cmsg_type != SCM_RIGHTS || sent->cmsg_len != CMSG_LEN(2 * sizeof(int)))
        return false;
    memcpy(fds, CMSG_DATA(sent), 2 * sizeof *fds);
    return true;
}

static bool start(ct__wasm_engine *engine, const int fds[2], const uint8_t *message) {
    opening *own = calloc(1, sizeof *own);
    if (own == NULL)
        return false;
    own->engine = engine;
    memcpy(own->fds, fds, sizeof own->fds);
    own->cpu_millis = ct__be32(message);
    (void)snprintf(own->dir, sizeof own->dir, "%s%.*s", ROOT, CT__WASM_OPENING_BYTES - 4, (const char *)message + 4);
    pthread_attr_t attributes;
    pthread_t thread;
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    const bool is_started = pthread_create(&thread, &attributes, serve, own) == 0;
    (void)pthread_attr_destroy(&attributes);
    if (!is_started)
        free(own);
    return is_started;
}

void ct__wasm_host(ct__wasm_engine *engine, int fd) {
    uint8_t hello[CT_FRAME_HEADER_BYTES], message[CT__WASM_OPENING_BYTES];
    (void)ct_frame_put(hello, CT_FRAME_HELLO, 0, 0, 0);
    if (ct__send(fd, hello, sizeof hello, 0) < 0)
        return;
    for (int fds[2]; receive(fd, message, fds);) {
        if (start(engine, fds, message))
            continue;
        (void)close(fds[0]); /* the host hears the end of it */
        (void)close(fds[1]);
    }
}
