/* ct-guest PROGRAM ARG...: pid 1 of a sandbox for a program that does not reap. Ends as the program ends; a signal's
 * number comes back as 128 + number, since the init of a pid namespace cannot die by one. */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { USAGE = 64, CANNOT_EXECUTE = 126 };

int main(int argc, char **argv, char **envp) {
    if (argc < 2) {
        (void)fputs("usage: ct-guest PROGRAM ARG...\n", stderr);
        return USAGE;
    }
    const pid_t program = fork();
    if (program < 0)
        return CANNOT_EXECUTE;
    if (program == 0) {
        (void)execve(argv[1], argv + 1, envp);
        (void)fprintf(stderr, "ct-guest: %s: %s\n", argv[1], strerror(errno));
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
