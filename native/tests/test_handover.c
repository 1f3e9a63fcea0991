#define _GNU_SOURCE
#include "guest/handover.h"

#include "base/scope.h"
#include "ct_test.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static char place[64];
static char path[96];

static int listen_there(void) {
    const struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct sockaddr_un own = address;
    (void)snprintf(own.sun_path, sizeof own.sun_path, "%s", path);
    (void)unlink(path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(fd, (const struct sockaddr *)&own, sizeof own), 0);
    CHECK_INT(listen(fd, 1), 0);
    return fd;
}

/* What the host says: `len` bytes, with `count` descriptors. */
static void say(int fd, size_t len, const int *fds, size_t count) {
    char bytes[2] = {0};
    struct iovec part = {.iov_base = bytes, .iov_len = len};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(head), fds, count * sizeof(int));
    }
    CHECK_INT(sendmsg(fd, &message, MSG_NOSIGNAL), len);
}

/* A host that accepts, says so much and closes; it lives in a child, since connect and receive wait in one call. */
static pid_t host(int listener, size_t len, const int *fds, size_t count) {
    const pid_t child = fork();
    if (child != 0) {
        (void)close(listener);
        return child;
    }
    const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (len > 0)
        say(fd, len, fds, count);
    char byte = 0;
    if (len > 0 && count == 1)
        (void)!read(fd, &byte, 1); /* until the guest is done */
    _exit(byte);
}

static int status_of(pid_t child) {
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void both_come_and_neither_is_inherited(void) {
    int fds[2];
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    const pid_t child = host(listen_there(), 1, &fds[1], 1);
    ct_autofd channel = -1;
    ct_autofd stdio = -1;
    CHECK_INT(ct__handover(path, &channel, &stdio), 0);
    CHECK(channel >= 10 && stdio >= 10 && channel != stdio);
    CHECK_INT(fcntl(channel, F_GETFD), FD_CLOEXEC);
    CHECK_INT(fcntl(stdio, F_GETFD), FD_CLOEXEC);
    struct stat ours;
    struct stat came;
    CHECK_INT(fstat(fds[1], &ours), 0);
    CHECK_INT(fstat(stdio, &came), 0);
    CHECK(ours.st_ino == came.st_ino);
    struct timeval wait = {.tv_sec = 1};
    socklen_t size = sizeof wait;
    CHECK_INT(getsockopt(channel, SOL_SOCKET, SO_RCVTIMEO, &wait, &size), 0);
    CHECK_INT(wait.tv_sec, 0); /* a worker's read has no deadline of ours */
    CHECK_INT(write(channel, "\7", 1), 1);
    CHECK_INT(status_of(child), 7);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void they_are_settled_where_a_worker_looks(void) {
    int fds[2];
    int ends[2];
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const int channel = fcntl(ends[1], F_DUPFD_CLOEXEC, 20);
    const int stdio = fcntl(fds[1], F_DUPFD_CLOEXEC, 20);
    const pid_t child = fork();
    if (child == 0) {
        if (ct__handover_settle(channel, stdio) != 0 || fcntl(3, F_GETFD) != 0 || fcntl(1, F_GETFD) != 0 ||
            fcntl(2, F_GETFD) != 0)
            _exit(1);
        (void)execl("/bin/sh", "sh", "-c", "printf out; printf err >&2; printf chan >&3; test ! -e /dev/fd/20 && exit 9", NULL);
        _exit(2);
    }
    CHECK_INT(status_of(child), 9);
    char said[16] = {0};
    CHECK_INT(read(fds[0], said, sizeof said - 1), 6);
    CHECK_TEXT(said, "outerr");
    CHECK_INT(read(ends[0], said, sizeof said - 1), 4);
    CHECK(memcmp(said, "chan", 4) == 0);
    const int all[] = {fds[0], fds[1], ends[0], ends[1], channel, stdio};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        (void)close(all[i]);
}

static void a_host_that_says_something_else_is_refused(void) {
    int fds[2];
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    static const struct {
        size_t len;
        size_t count;
        int result;
    } said[] = {{0, 0, -ECONNRESET}, {1, 0, CT_E_MALFORMED}, {1, 2, CT_E_MALFORMED}};
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        int channel = -1;
        int stdio = -1;
        const pid_t child = host(listen_there(), said[i].len, fds, said[i].count);
        CHECK_INT(ct__handover(path, &channel, &stdio), said[i].result);
        CHECK(channel == -1 && stdio == -1);
        CHECK_INT(status_of(child), 0);
    }
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void a_socket_that_is_not_there_is_named(void) {
    int channel = -1;
    int stdio = -1;
    (void)unlink(path);
    CHECK_INT(ct__handover(path, &channel, &stdio), -ENOENT);
    (void)close(listen_there());
    CHECK_INT(ct__handover(path, &channel, &stdio), -ECONNREFUSED);
    char longer[200];
    memset(longer, 'a', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    CHECK_INT(ct__handover(longer, &channel, &stdio), CT_E_TOOBIG);
}

int main(void) {
    (void)snprintf(place, sizeof place, "/tmp/ct-handover-XXXXXX");
    CHECK(mkdtemp(place) != NULL);
    (void)snprintf(path, sizeof path, "%s/agent.sock", place);
    static const ct_case cases[] = {
        CASE(both_come_and_neither_is_inherited),
        CASE(they_are_settled_where_a_worker_looks),
        CASE(a_host_that_says_something_else_is_refused),
        CASE(a_socket_that_is_not_there_is_named),
    };
    const int result = RUN("handover", cases);
    (void)unlink(path);
    (void)rmdir(place);
    return result;
}
