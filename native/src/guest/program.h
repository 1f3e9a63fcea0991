/* Starting the program of a sandbox as a child. */
#ifndef CT_GUEST_PROGRAM_H
#define CT_GUEST_PROGRAM_H

#include "base/abi.h"

#include <stdbool.h>
#include <sys/types.h>

/* Starts a program, its name and arguments up to a NULL; it is looked for in PATH, and has our environment and directory, and of our
 * descriptors the standard three. Returns 0 or -errno: it could not be executed. */
int ct__program_run(char **words, pid_t *program);

/* The same of a file, or a command: words between blanks; `command` is written to. */
int ct__program_start(char *command, bool has_words, pid_t *program);

#endif
