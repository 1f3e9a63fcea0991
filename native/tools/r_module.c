/* ct_r: the channel of a worker in R, which reads no descriptor by itself but standard input, and writes none at all. Its functions
 * are called by .C, whose arguments are pointers: no header of R's is needed, and one build serves every R. */

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define R_EXPORT __attribute__((visibility("default")))

R_EXPORT void ct_r_read(const int *fd, unsigned char *out, const int *count, int *got);
R_EXPORT void ct_r_write(const int *fd, const unsigned char *data, const int *count, int *sent);

/* Waits for `count` bytes. Fewer: the host is gone. Who sleeps in read() of a unix socket is also woken when the host has taken what was
 * written; in poll() for what it asks for only. */
void ct_r_read(const int *fd, unsigned char *out, const int *count, int *got) {
    *got = 0;
    while (*got < *count) {
        struct pollfd news = {.fd = *fd, .events = POLLIN};
        const ssize_t more = poll(&news, 1, -1) < 0 ? -1 : read(*fd, out + *got, (size_t)(*count - *got));
        if (more == 0 || (more < 0 && errno != EINTR))
            return;
        *got += more > 0 ? (int)more : 0;
    }
}

void ct_r_write(const int *fd, const unsigned char *data, const int *count, int *sent) {
    *sent = 0;
    while (*sent < *count) {
        const ssize_t more = write(*fd, data + *sent, (size_t)(*count - *sent));
        if (more < 0 && errno != EINTR)
            return;
        *sent += more > 0 ? (int)more : 0;
    }
}
