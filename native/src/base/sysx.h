/* System calls made ours: EINTR retried, -errno returned, names for what libc does not wrap everywhere we build. */
#ifndef CT_BASE_SYSX_H
#define CT_BASE_SYSX_H

#include "base/abi.h"

#include <stdbool.h>
#include <sys/types.h>

enum { CT__AT_EMPTY_PATH = 0x1000, CT__AT_RECURSIVE = 0x8000 };

/* Writes text in one call to a file that exists: what kernel files want. Returns 0 or -errno. */
int ct__write_file(const char *path, const char *text);

/* Reads at most cap - 1 bytes and ends them with NUL. Returns the length or -errno. */
int ct__read_file(const char *path, char *out, size_t cap);

/* The first number in a file; "max" is UINT64_MAX. Returns 0, -errno or CT_E_MALFORMED. */
int ct__read_number(const char *path, uint64_t *out);

/* Formats into out; CT_E_TOOBIG when it does not fit. Returns 0 else. */
int ct__format(char *out, size_t cap, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* read(2) and so on, until they do something. Return a count or -errno. */
ssize_t ct__recv(int fd, void *buf, size_t len, int flags);
ssize_t ct__send(int fd, const void *buf, size_t len, int flags);

int ct__pidfd_kill(int pidfd);
int ct__close_from(unsigned first);

int ct__mount(const char *source, const char *target, const char *type, unsigned long flags, const char *options);
int ct__detach(const char *target);
int ct__pivot_root(const char *new_root, const char *put_old);
int ct__open_tree(const char *path);           /* a detached copy of all that is mounted from path down */
int ct__move_mount(int mount_fd, const char *target);
int ct__proc_mount(uint64_t attributes);       /* a detached /proc of the caller's pid namespace */

/* Sets attributes (MOUNT_ATTR_...) and makes it private; on a detached tree's fd, else on path. */
int ct__mount_restrict(int mount_fd, const char *path, uint64_t attributes);

/* The same for path and all that is mounted below it; and the way back, for one mount. */
int ct__mount_restrict_all(const char *path, uint64_t attributes);
int ct__mount_release(const char *path, uint64_t attributes);

/* On a detached tree's fd: the ids that the user namespace maps are shown as what they are mapped to. */
int ct__mount_map_ids(int mount_fd, int userns_fd);

/* Threads of this process, or -errno. */
int ct__thread_count(void);

/* Milliseconds of a clock that never steps. */
uint64_t ct__now_ms(void);

#endif
