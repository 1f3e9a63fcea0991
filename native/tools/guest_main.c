/* ct-guest [--connect SOCKET | --await DIRECTORY] PROGRAM ARG...: pid 1 of a sandbox for a program that does not reap. Ends as the program ends; a signal's
 * number comes back as 128 + number, since the init of a pid namespace cannot die by one.
 * ct-guest [--connect SOCKET] --runtime-api RUNTIME: the same for a function's own program that speaks the Lambda Runtime API, which is
 * served here; the channel is ours then, and tells which program it is.
 * ct-guest [--connect SOCKET] --http PROGRAM ARG...: the same for a program that is an HTTP server, which is asked on port 8080.
 *
 * With --await the program starts when something is mounted on the directory, which is the last that a claim does
 * (sandbox/claim.c).
 *
 * The program inherits its channel as descriptor 3. With --connect, in a container that nobody passes descriptors into, it is made of
 * a connection to that socket, and standard output and error are the pipe that comes over it; and what a sandbox of ours may not ask
 * of the kernel is refused here too, whatever the container's own filter lets through. */

#define _GNU_SOURCE
#include "base/err.h"
#include "base/scope.h"
#include "guest/handover.h"
#include "guest/http_relay.h"
#include "guest/relay.h"
#include "sandbox/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHANNEL_FD = 3, USAGE = 64, CANNOT_ARRANGE = 125, CANNOT_EXECUTE = 126 };

static int connect_to(const char *path) {
    int channel = -1;
    int stdio = -1;
    int result = ct__handover(path, &channel, &stdio);
    if (result == 0)
        result = ct__handover_settle(channel, stdio);
    if (result < 0)
        (void)fprintf(stderr, "ct-guest: %s: %s\n", path, ct_strerror(result));
    return result;
}

static int filter_calls(void) {
    ct__seccomp filters;
    ct__failure why;
    int result = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ? ct__errno() : ct__seccomp_init(&filters);
    if (result == 0) {
        result = ct__seccomp_load(&filters, 0, &why);
        ct__seccomp_fini(&filters);
    }
    if (result < 0)
        (void)fprintf(stderr, "ct-guest: seccomp: %s\n", ct_strerror(result));
    return result;
}

static bool is_mounted(const char *directory) {
    struct statx found;
    return statx(AT_FDCWD, directory, 0, STATX_TYPE, &found) == 0 && (found.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

/* Wait for the code, or for the end of the channel: then nobody will bring it. */
static int await_mount(const char *directory) {
    ct_autofd mounts = open("/proc/self/mounts", O_RDONLY | O_CLOEXEC); /* readable with POLLPRI when one has come or gone since */
    if (mounts < 0)
        return ct__errno();
    while (!is_mounted(directory)) {
        struct pollfd watched[] = {{.fd = mounts, .events = POLLPRI}, {.fd = CHANNEL_FD, .events = 0}};
        if (poll(watched, 2, -1) < 0 && errno != EINTR)
            return ct__errno();
        if ((watched[1].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0)
            return -EPIPE;
    }
    return 0;
}

static int serve(const char *how, char **what) {
    if (*what == NULL || fcntl(CHANNEL_FD, F_SETFD, FD_CLOEXEC) != 0) {
        (void)fprintf(stderr, "ct-guest: %s wants one more word, and a channel\n", how);
        return CANNOT_ARRANGE;
    }
    return strcmp(how, "--http") == 0 ? ct__http_relay(CHANNEL_FD, CT__HTTP_PORT, what) : ct__relay(CHANNEL_FD, *what);
}

int main(int argc, char **argv) {
    char **program_argv = argv + 1;
    const bool is_awaited = argc > 1 && strcmp(argv[1], "--await") == 0;
    const bool is_connected = argc > 1 && strcmp(argv[1], "--connect") == 0;
    if (is_awaited || is_connected)
        program_argv = argc > 3 ? argv + 3 : argv + argc;
    if (*program_argv == NULL) {
        (void)fputs("usage: ct-guest [--connect SOCKET | --await DIRECTORY] (PROGRAM ARG... | --runtime-api RUNTIME | --http PROGRAM ARG...)\n",
                    stderr);
        return USAGE;
    }
    if (is_awaited && await_mount(argv[2]) < 0)
        return CANNOT_ARRANGE;
    if (is_connected && (connect_to(argv[2]) < 0 || filter_calls() < 0))
        return CANNOT_ARRANGE;
    if (strcmp(program_argv[0], "--runtime-api") == 0 || strcmp(program_argv[0], "--http") == 0)
        return serve(program_argv[0], program_argv + 1);
    const pid_t program = fork();
    if (program < 0)
        return CANNOT_EXECUTE;
    if (program == 0) {
        (void)execvp(program_argv[0], program_argv);
        (void)fprintf(stderr, "ct-guest: %s: %s\n", program_argv[0], strerror(errno));
        _exit(CANNOT_EXECUTE);
    }
    /* The channel is the program's alone: its end must be the channel's end */
    (void)close_range(3, ~0U, 0);
    for (;;) {
        int status = 0;
        const pid_t ended = waitpid(-1, &status, 0);
        if (ended < 0 && errno != EINTR)
            return CANNOT_EXECUTE;
        if (ended == program)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}
