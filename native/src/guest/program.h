/* Starting the program of a sandbox as a child. */
#ifndef CT_GUEST_PROGRAM_H
#define CT_GUEST_PROGRAM_H

#include "base/abi.h"

#include <stdbool.h>
#include <sys/types.h>

/* Starts a file, or a command: words between blanks, the first looked for in PATH; `command` is written to. It has our environment
 * and directory, and of our descriptors the standard three. Returns 0 or -errno: it could not be executed. */
int ct__program_start(char *command, bool has_words, pid_t *program);

#endif
