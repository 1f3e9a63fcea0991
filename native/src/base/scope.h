/* Owners that clean up when their scope ends; hand over with a take. */
#ifndef CT_BASE_SCOPE_H
#define CT_BASE_SCOPE_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Closing must not disturb the error that made us leave. */
static inline void ct__fd_cleanup(int *fd) {
    const int saved = errno;
    if (*fd >= 0)
        (void)close(*fd);
    errno = saved;
}

static inline void ct__mem_cleanup(void *slot) {
    void **mem = slot;
    free(*mem);
}

#define ct_autofd __attribute__((cleanup(ct__fd_cleanup))) int
#define ct_automem __attribute__((cleanup(ct__mem_cleanup)))

static inline int ct_take_fd(int *fd) {
    const int taken = *fd;
    *fd = -1;
    return taken;
}

/* Closes now and leaves nothing for the scope's end. */
static inline void ct_drop_fd(int *fd) {
    ct__fd_cleanup(fd);
    *fd = -1;
}

#endif
