#define _GNU_SOURCE
#include "guest/handover.h"

#include "base/err.h"
#include "base/scope.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

enum { CHANNEL_FD = 3, ABOVE_FD = 10 };

/* Takes the one descriptor that came; any other is the kernel's to close with us. */
static int passed(const struct msghdr *message) {
    const struct cmsghdr *head = CMSG_FIRSTHDR(message);
    if (head == NULL || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS ||
        head->cmsg_len != CMSG_LEN(sizeof(int)) || (message->msg_flags & MSG_CTRUNC) != 0)
        return CT_E_MALFORMED;
    int fd = -1;
    memcpy(&fd, CMSG_DATA(head), sizeof fd);
    return fd;
}

static int receive(int fd) {
    char byte = 0;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t count = 0;
    do
        count = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    while (count < 0 && errno == EINTR);
    if (count < 0)
        return ct__errno();
    return count == 1 ? passed(&message) : -ECONNRESET;
}

/* Out of the way of the numbers that both get at last. */
static int move_up(int fd) {
    const int moved = fcntl(fd, F_DUPFD_CLOEXEC, ABOVE_FD);
    return moved < 0 ? ct__errno() : moved;
}

int ct__handover(const char *path, int *channel, int *stdio) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t len = strlen(path);
    if (len >= sizeof address.sun_path)
        return CT_E_TOOBIG;
    memcpy(address.sun_path, path, len);
    ct_autofd low = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (low < 0)
        return ct__errno();
    ct_autofd connection = move_up(low);
    if (connection < 0)
        return connection;
    const struct timeval wait = {.tv_sec = CT__HANDOVER_WAIT_S};
    const struct timeval for_ever = {0};
    if (setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) != 0 ||
        setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) != 0 ||
        connect(connection, (const struct sockaddr *)&address, sizeof address) != 0)
        return ct__errno();
    ct_autofd low_pipe = receive(connection);
    if (low_pipe < 0)
        return low_pipe;
    ct_autofd pipe = move_up(low_pipe);
    if (pipe < 0)
        return pipe;
    /* The worker waits for its next call as long as it takes */
    if (setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &for_ever, sizeof for_ever) != 0 ||
        setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &for_ever, sizeof for_ever) != 0)
        return ct__errno();
    *channel = ct_take_fd(&connection);
    *stdio = ct_take_fd(&pipe);
    return 0;
}

int ct__handover_settle(int channel, int stdio) {
    if (dup2(channel, CHANNEL_FD) < 0 || dup2(stdio, STDOUT_FILENO) < 0 || dup2(stdio, STDERR_FILENO) < 0)
        return ct__errno();
    return 0;
}
