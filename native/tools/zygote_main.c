/* ct-zygote CONTROL_FD: serves sandboxes that execute a program.
 * ct-zygote --confine PROGRAM ARG...: becomes a program that may change nothing on the host's file systems, for an
 * interpreter that serves sandboxes of an ordinary user.
 * ct-zygote --probe UID GID: makes one and says, as "STEP NUMBER PATH", what this host refuses. */

#include "base/err.h"
#include "sandbox/probe.h"
#include "sandbox/userns.h"
#include "sandbox/zygote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { USAGE = 64 };

static int number(const char *text, long max, long *out) {
    char *end = NULL;
    const long value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || value < 0 || value > max)
        return -1;
    *out = value;
    return 0;
}

static int probe(const char *uid_text, const char *gid_text) {
    long uid = 0;
    long gid = 0;
    if (number(uid_text, UINT32_MAX, &uid) != 0 || number(gid_text, UINT32_MAX, &gid) != 0)
        return USAGE;
    ct__failure why = {0};
    if (ct__probe((uint32_t)uid, (uint32_t)gid, &why) == 0)
        return EXIT_SUCCESS;
    (void)printf("%s %d %s\n", ct_step_name(why.step), (int)why.status, why.path);
    return EXIT_FAILURE;
}

static int confine(char **command) {
    ct__failure why = {0};
    if (ct__userns_confine(&why) == 0) {
        (void)execv(command[0], command);
        (void)ct__fail(&why, CT_STEP_EXEC, ct__errno(), command[0]);
    }
    (void)fprintf(stderr, "ct-zygote: %s: %s %s\n", ct_step_name(why.step), ct_strerror(why.status), why.path);
    return EXIT_FAILURE;
}

int main(int argc, char **argv) {
    long control_fd = 0;
    if (argc == 4 && strcmp(argv[1], "--probe") == 0)
        return probe(argv[2], argv[3]);
    if (argc >= 3 && strcmp(argv[1], "--confine") == 0)
        return confine(argv + 2);
    if (argc != 2 || number(argv[1], INT32_MAX, &control_fd) != 0) {
        (void)fputs("usage: ct-zygote CONTROL_FD | --confine PROGRAM ARG... | --probe UID GID\n", stderr);
        return USAGE;
    }
    ct__served served;
    const int result = ct__zygote_serve((int)control_fd, NULL, &served);
    if (result < 0)
        (void)fprintf(stderr, "ct-zygote: %s\n", ct_strerror(result));
    return result < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
