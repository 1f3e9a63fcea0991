#define _GNU_SOURCE
#include "sandbox/request.h"

#include "base/err.h"
#include "base/scope.h"

#include <string.h>
#include <sys/socket.h>

ssize_t ct__request_receive(int control_fd, uint8_t *buf, size_t cap, int fds[CT__REQUEST_FDS]) {
    memset(fds, 0xFF, sizeof(int) * CT__REQUEST_FDS);
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int) * CT__REQUEST_FDS)];
    } control;
    struct iovec part = {.iov_base = buf, .iov_len = cap};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t got;
    do
        got = recvmsg(control_fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return ct__errno();
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head != NULL; head = CMSG_NXTHDR(&message, head))
        if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
            memcpy(fds, CMSG_DATA(head), head->cmsg_len - CMSG_LEN(0)); /* at most so many had room */
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
        return CT_E_TOOBIG;
    return got;
}

void ct__request_close(int (*fds)[CT__REQUEST_FDS]) {
    for (int i = 0; i < CT__REQUEST_FDS; i++)
        ct_drop_fd(&(*fds)[i]);
}
