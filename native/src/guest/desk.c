#define _GNU_SOURCE
#include "guest/desk.h"

#include "base/cursor.h"
#include "base/err.h"

#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    READ_BYTES = 16 << 10,              /* chosen: of one read; only pages that are used are there */
    FRAME_MAX = (64 << 20) + (64 << 10) /* above every payload that the host sends */
};

int ct__desk_init(ct__desk *d) {
    *d = (ct__desk){.fd = -1, .bell_fd = -1, .saying = PTHREAD_MUTEX_INITIALIZER};
    d->base = malloc(READ_BYTES);
    d->cap = READ_BYTES;
    return d->base != NULL ? 0 : -ENOMEM;
}

void ct__desk_open(ct__desk *d, int fd, ct__page *page, int bell_fd) {
    d->fd = fd;
    d->page = page;
    d->bell_fd = bell_fd;
    d->heard = 0;
    atomic_store(&d->said, 0);
    d->at = d->len = 0;
}

void ct__desk_fini(ct__desk *d) {
    free(d->base);
    d->base = NULL;
}

/* Room for `needed` bytes from the first that is not taken yet. A large buffer goes with its frame. */
static int make_room(ct__desk *d, size_t needed) {
    if (d->len == 0)
        d->at = 0;
    const size_t cap = needed > READ_BYTES ? needed : READ_BYTES;
    if (cap == d->cap || (cap < d->cap && d->len > 0)) {
        if (d->at > 0 && d->cap - d->at < needed) {
            memmove(d->base, d->base + d->at, d->len);
            d->at = 0;
        }
        if (d->cap - d->at >= needed)
            return 0;
    }
    uint8_t *fresh = malloc(cap);
    if (fresh == NULL)
        return -ENOMEM;
    if (d->len > 0)
        memcpy(fresh, d->base + d->at, d->len);
    free(d->base);
    d->base = fresh;
    d->cap = cap;
    d->at = 0;
    return 0;
}

/* A process that sleeps in read() of a unix socket is also woken when the host has taken what was written: the kernel tells
 * all who wait that there is room. One that sleeps in poll() is woken for what it asked for only. */
static int read_more(ct__desk *d, size_t needed) {
    int result = make_room(d, needed);
    struct pollfd news = {.fd = d->fd, .events = POLLIN};
    if (result == 0 && poll(&news, 1, -1) < 0)
        result = ct__errno();
    if (result < 0)
        return result;
    const ssize_t got = read(d->fd, d->base + d->at + d->len, d->cap - d->at - d->len);
    if (got < 0)
        return ct__errno();
    if (got == 0)
        return -EPIPE;
    d->len += (size_t)got;
    return 0;
}

static int of_socket(ct__desk *d, ct_frame *out) {
    for (;;) {
        const int result = ct_frame_split(d->base + d->at, d->len, FRAME_MAX, out);
        if (result == 0) {
            d->at += out->used;
            d->len -= out->used;
            d->heard++;
        }
        if (result != CT_E_MORE)
            return result;
        size_t needed = CT_FRAME_HEADER_BYTES;
        if (d->len >= CT_FRAME_HEADER_BYTES)
            needed += ct__be32(d->base + d->at); /* at most FRAME_MAX: it was looked at */
        const int more = read_more(d, needed);
        if (more < 0)
            return more;
    }
}

int ct__desk_receive(ct__desk *d, ct_frame *out, uint8_t block[CT__PAGE_FRAME_BYTES]) {
    while (d->page != NULL) {
        const uint32_t rung = atomic_load(&d->page->bell);
        const uint32_t announced = atomic_load(&d->page->announced);
        const int result = ct__page_split(block, ct__page_take(&d->page->to_worker, d->heard, block), out);
        if (result != CT_E_MORE)
            return result;
        if (announced != d->heard)
            break;
        if (syscall(SYS_futex, &d->page->bell, FUTEX_WAIT, rung, NULL, NULL, 0) != 0 && errno == EINTR)
            return -EINTR;
    }
    return of_socket(d, out);
}

static int write_all(int fd, struct iovec parts[2]) {
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        const ssize_t sent = writev(fd, parts, 2);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return ct__errno();
        size_t left = (size_t)sent;
        for (int i = 0; i < 2; i++) {
            const size_t of_this = left < parts[i].iov_len ? left : parts[i].iov_len;
            parts[i].iov_base = (uint8_t *)parts[i].iov_base + of_this;
            parts[i].iov_len -= of_this;
            left -= of_this;
        }
    }
    return 0;
}

int ct__desk_page(ct__desk *d, const ct_frame *frame) {
    uint8_t block[CT__PAGE_FRAME_BYTES];
    const size_t len = CT_FRAME_HEADER_BYTES + frame->len;
    if (d->page == NULL || len > sizeof block)
        return CT_E_FULL;
    (void)ct_frame_put(block, frame->kind, frame->flags, frame->call_id, frame->len);
    if (frame->len > 0)
        memcpy(block + CT_FRAME_HEADER_BYTES, frame->body, frame->len);
    if (!ct__page_put(&d->page->to_host, block, len, atomic_load(&d->said)))
        return CT_E_FULL;
    const uint64_t once = 1;
    return write(d->bell_fd, &once, sizeof once) < 0 ? ct__errno() : 0;
}

int ct__desk_send(ct__desk *d, const ct_frame *frame) {
    if (d->fd < 0)
        return -EBADF;
    uint8_t head[CT_FRAME_HEADER_BYTES];
    int result = ct_frame_put(head, frame->kind, frame->flags, frame->call_id, frame->len);
    if (result < 0)
        return result;
    /* SAFETY: writev takes pointers to non-const and does not write through them. */
    struct iovec parts[2] = {{head, sizeof head}, {(void *)(uintptr_t)frame->body, frame->len}};
    (void)pthread_mutex_lock(&d->saying);
    result = write_all(d->fd, parts);
    (void)atomic_fetch_add(&d->said, 1);
    (void)pthread_mutex_unlock(&d->saying);
    return result;
}
