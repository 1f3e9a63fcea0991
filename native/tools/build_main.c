/* ct-build SOCKET PORT TREE PROGRAM ARG...: pid 1 of a build. Passes connections to 127.0.0.1:PORT on to the unix socket
 * SOCKET ("" for none), runs the program, and when that ends well sends what lies below TREE through descriptor 3.
 * Ends as the program ends; a signal's number comes back as 128 + number.
 *
 * The tree: for each entry u8 kind ('d', 'f', 'x' a file to be executed, 'e' the end), u8 zero, u16 length of the path,
 * u64 length of the content, big-endian; then the path from TREE on and the content. What it has no kind for, a link or a
 * device, say, ends the build. Its reader takes nothing here for granted: what is sent is what the build made of it. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CHANNEL_FD = 3,
    USAGE = 64,
    CANNOT_SEND = 124,
    CANNOT_SERVE = 125,
    CANNOT_EXECUTE = 126,
    HEAD_BYTES = 12,
    PATH_BYTES = 1024,
    DEPTH_MAX = 64,    /* chosen: node_modules nest ten or so */
    PAIRS_MAX = 64,    /* chosen: package tools open ten to twenty connections */
    COPY_BYTES = 65536
};

/* ---- the relay ---- */

typedef struct end {
    int fd;
    bool has_ended; /* it says no more */
    size_t from, to;
    uint8_t held[COPY_BYTES]; /* heard of it and not yet passed on */
} end;

typedef struct pair {
    end ends[2];
} pair;

static void pair_close(pair *p) {
    (void)close(p->ends[0].fd);
    (void)close(p->ends[1].fd);
    p->ends[0].fd = p->ends[1].fd = -1;
}

/* Moves what it can from one end to the other; false when the connection is over. */
static bool pass(end *from, end *to) {
    if (from->from == from->to && !from->has_ended) {
        const ssize_t got = recv(from->fd, from->held, sizeof from->held, MSG_DONTWAIT);
        if (got < 0)
            return errno == EAGAIN || errno == EINTR;
        from->from = 0;
        from->to = (size_t)got;
        from->has_ended = got == 0;
        if (got == 0)
            (void)shutdown(to->fd, SHUT_WR);
    }
    if (from->from < from->to) {
        const ssize_t sent = send(to->fd, from->held + from->from, from->to - from->from, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR;
        from->from += (size_t)sent;
    }
    return true;
}

static short wanted(const end *self, const end *other) {
    const bool wants_more = self->fd >= 0 && !self->has_ended && self->from == self->to;
    const bool has_more = self->fd >= 0 && other->from < other->to;
    return (short)((wants_more ? POLLIN : 0) | (has_more ? POLLOUT : 0));
}

static void admit(int listener, const struct sockaddr_un *proxy, pair *pairs) {
    const int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0)
        return;
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        if (pairs[i].ends[0].fd >= 0)
            continue;
        const int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (server >= 0 && connect(server, (const struct sockaddr *)proxy, sizeof *proxy) == 0) {
            pairs[i].ends[0] = (end){.fd = client};
            pairs[i].ends[1] = (end){.fd = server};
            return;
        }
        if (server >= 0)
            (void)close(server);
        break;
    }
    (void)close(client);
}

static void relay(int listener, const struct sockaddr_un *proxy) {
    pair *pairs = calloc(PAIRS_MAX, sizeof *pairs);
    if (pairs == NULL)
        _exit(CANNOT_SERVE);
    for (size_t i = 0; i < PAIRS_MAX; i++)
        pairs[i].ends[0].fd = pairs[i].ends[1].fd = -1;
    for (;;) {
        struct pollfd watched[1 + 2 * PAIRS_MAX] = {{.fd = listener, .events = POLLIN}};
        for (size_t i = 0; i < PAIRS_MAX; i++)
            for (size_t k = 0; k < 2; k++) {
                const end *self = &pairs[i].ends[k];
                const short events = wanted(self, &pairs[i].ends[1 - k]);
                watched[1 + 2 * i + k] = (struct pollfd){.fd = events != 0 ? self->fd : -1, .events = events};
            }
        if (poll(watched, sizeof watched / sizeof watched[0], -1) < 0 && errno != EINTR)
            _exit(CANNOT_SERVE);
        for (size_t i = 0; i < PAIRS_MAX; i++) {
            pair *p = &pairs[i];
            if (p->ends[0].fd < 0 || (watched[1 + 2 * i].revents == 0 && watched[2 + 2 * i].revents == 0))
                continue;
            bool lives = pass(&p->ends[0], &p->ends[1]) && pass(&p->ends[1], &p->ends[0]);
            for (size_t k = 0; k < 2; k++) /* an end that is broken, and not only silent */
                lives = lives && (watched[1 + 2 * i + k].revents & POLLERR) == 0;
            const bool is_done = p->ends[0].has_ended && p->ends[1].has_ended && p->ends[0].from == p->ends[0].to &&
                                 p->ends[1].from == p->ends[1].to;
            if (!lives || is_done)
                pair_close(p);
        }
        if ((watched[0].revents & POLLIN) != 0)
            admit(listener, proxy, pairs);
    }
}

static int start_relay(const char *path, const char *port) {
    struct sockaddr_un proxy = {.sun_family = AF_UNIX};
    const size_t path_len = strlen(path);
    if (path_len >= sizeof proxy.sun_path)
        return -1;
    memcpy(proxy.sun_path, path, path_len);
    const struct sockaddr_in here = {.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* SAFETY: the kernel reads as many bytes as the length says, whatever the pointer's type. */
    if (listener < 0 || bind(listener, (const struct sockaddr *)&here, sizeof here) != 0 || listen(listener, PAIRS_MAX) != 0)
        return -1;
    const pid_t child = fork();
    if (child == 0) {
        (void)close(CHANNEL_FD);
        relay(listener, &proxy);
    }
    (void)close(listener);
    return child < 0 ? -1 : 0;
}

/* ---- the tree ---- */

static void send_all(const void *data, size_t len) {
    const uint8_t *at = data;
    while (len > 0) {
        const ssize_t sent = send(CHANNEL_FD, at, len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            _exit(CANNOT_SEND); /* the host has heard enough */
        at += sent;
        len -= (size_t)sent;
    }
}

static void send_head(char kind, const char *path, uint64_t len) {
    const size_t path_len = strlen(path);
    uint8_t head[HEAD_BYTES] = {(uint8_t)kind, 0, (uint8_t)(path_len >> 8), (uint8_t)path_len};
    const uint64_t wire = htobe64(len);
    memcpy(head + 4, &wire, sizeof wire);
    send_all(head, sizeof head);
    send_all(path, path_len);
}

static void refuse(const char *path, const char *why) {
    (void)fprintf(stderr, "the output holds %s: %s\n", why, path);
    _exit(CANNOT_SEND);
}

/* What is said of the length holds, whatever becomes of the file meanwhile. */
static void send_file(int fd, const char *path, const struct stat *st) {
    uint64_t left = (uint64_t)st->st_size;
    send_head((st->st_mode & 0111) != 0 ? 'x' : 'f', path, left);
    static uint8_t data[COPY_BYTES];
    while (left > 0) {
        const ssize_t got = read(fd, data, left < sizeof data ? (size_t)left : sizeof data);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            refuse(path, "a file that can not be read");
        send_all(data, (size_t)got);
        left -= (uint64_t)got;
    }
}

static void send_dir(int fd, const char *path, int depth);

static void send_entry(int dir, const char *path, const char *name, int depth) {
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        refuse(path, "what can not be looked at");
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        refuse(path, S_ISLNK(st.st_mode) ? "a symbolic link" : "neither a file nor a directory");
    const int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        refuse(path, "what can not be opened");
    if (S_ISDIR(st.st_mode)) {
        send_head('d', path, 0);
        send_dir(fd, path, depth + 1);
    } else {
        send_file(fd, path, &st);
        (void)close(fd);
    }
}

static void send_dir(int fd, const char *path, int depth) {
    if (depth >= DEPTH_MAX)
        refuse(path, "directories too deep");
    DIR *dir = fdopendir(fd);
    if (dir == NULL)
        refuse(path, "a directory that can not be read");
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char below[PATH_BYTES];
        const int len = snprintf(below, sizeof below, "%s%s%s", path, *path != '\0' ? "/" : "", e->d_name);
        if (len < 0 || (size_t)len >= sizeof below)
            refuse(path, "a path that is too long");
        send_entry(dirfd(dir), below, e->d_name, depth);
    }
    (void)closedir(dir);
}

static void send_tree(const char *tree) {
    const int fd = open(tree, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        refuse(tree, "nothing");
    send_dir(fd, "", 0);
    send_head('e', "", 0);
}

/* ---- the program ---- */

static int run(char **argv, char **envp) {
    const pid_t program = fork();
    if (program == 0) {
        (void)close(CHANNEL_FD);
        (void)execve(argv[0], argv, envp);
        (void)fprintf(stderr, "ct-build: %s: %s\n", argv[0], strerror(errno));
        _exit(CANNOT_EXECUTE);
    }
    for (;;) {
        int status = 0;
        const pid_t ended = program < 0 ? -1 : waitpid(-1, &status, 0);
        if (ended < 0 && errno != EINTR)
            return CANNOT_EXECUTE;
        if (ended == program)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

int main(int argc, char **argv, char **envp) {
    if (argc < 5) {
        (void)fputs("usage: ct-build SOCKET PORT TREE PROGRAM ARG...\n", stderr);
        return USAGE;
    }
    if (argv[1][0] != '\0' && start_relay(argv[1], argv[2]) != 0) {
        (void)fprintf(stderr, "ct-build: the relay: %s\n", strerror(errno));
        return CANNOT_SERVE;
    }
    const int status = run(argv + 4, envp);
    if (status != 0)
        return status;
    (void)kill(-1, SIGKILL); /* all but us: what is sent is what the program left */
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        continue;
    send_tree(argv[3]);
    return 0;
}
