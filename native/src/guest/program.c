#define _GNU_SOURCE
#include "guest/program.h"

#include "base/err.h"
#include "guest/setup.h"

#include <signal.h>
#include <spawn.h>
#include <unistd.h>

enum { WORDS_MAX = 64 };

int ct__program_run(char **words, pid_t *program) {
    posix_spawnattr_t how;
    if (posix_spawnattr_init(&how) != 0)
        return -ENOMEM;
    sigset_t none, ours;
    (void)sigemptyset(&none);
    (void)sigemptyset(&ours);
    (void)sigaddset(&ours, SIGCHLD);
    (void)sigaddset(&ours, SIGPIPE);
    (void)posix_spawnattr_setsigmask(&how, &none);
    (void)posix_spawnattr_setsigdefault(&how, &ours);
    (void)posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    const int result = posix_spawnp(program, words[0], NULL, &how, words, environ);
    (void)posix_spawnattr_destroy(&how);
    return -result;
}

int ct__program_start(char *command, bool has_words, pid_t *program) {
    char *words[WORDS_MAX] = {command, NULL};
    if (has_words && ct__setup_words(command, words, WORDS_MAX) == 0)
        return -ENOENT;
    return ct__program_run(words, program);
}
