/* A worker's end: the test is its host. */
#define _GNU_SOURCE
#include "guest/desk.h"

#include "base/cursor.h"
#include "base/err.h"
#include "ct_test.h"

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct host {
    ct__desk desk;
    ct__page *page;
    int peer, bell_fd;
    uint32_t announced;
} host;

static uint8_t block[CT__PAGE_FRAME_BYTES];

static void open_host(host *h, bool has_page) {
    *h = (host){.bell_fd = eventfd(0, EFD_NONBLOCK)};
    int pair[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    h->peer = pair[1];
    h->page = has_page ? calloc(1, sizeof *h->page) : NULL;
    CHECK_INT(ct__desk_init(&h->desk), 0);
    ct__desk_open(&h->desk, pair[0], h->page, h->bell_fd);
}

static void close_host(host *h) {
    (void)close(h->desk.fd);
    ct__desk_fini(&h->desk);
    (void)close(h->peer);
    (void)close(h->bell_fd);
    free(h->page);
}

static size_t frame_of(uint8_t *out, uint32_t id, size_t len) {
    CHECK_INT(ct_frame_put(out, CT_FRAME_EXEC, 0, id, len), 0);
    memset(out + CT_FRAME_HEADER_BYTES, (int)id, len);
    return CT_FRAME_HEADER_BYTES + len;
}

static void by_socket(host *h, uint32_t id, size_t len) {
    uint8_t *frame = malloc(CT_FRAME_HEADER_BYTES + len);
    CHECK(frame != NULL);
    const size_t size = frame_of(frame, id, len);
    CHECK_INT(send(h->peer, frame, size, MSG_NOSIGNAL), size);
    free(frame);
    if (h->page != NULL)
        atomic_store(&h->page->announced, ++h->announced);
}

static bool by_page(host *h, uint32_t id, size_t len) {
    uint8_t frame[CT__PAGE_FRAME_BYTES];
    return ct__page_put(&h->page->to_worker, frame, frame_of(frame, id, len), h->announced);
}

static void gets(host *h, uint32_t id, size_t len) {
    ct_frame frame;
    CHECK_INT(ct__desk_receive(&h->desk, &frame, block), 0);
    CHECK_INT(frame.kind, CT_FRAME_EXEC);
    CHECK_INT(frame.call_id, id);
    CHECK_INT(frame.len, len);
    CHECK(len == 0 || (frame.body[0] == (uint8_t)id && frame.body[len - 1] == (uint8_t)id));
}

static void frames_of_a_socket_come_whole(void) {
    host h;
    open_host(&h, false);
    by_socket(&h, 1, 5);
    by_socket(&h, 2, 0);
    by_socket(&h, 3, 40000);
    by_socket(&h, 4, 7);
    gets(&h, 1, 5);
    gets(&h, 2, 0);
    gets(&h, 3, 40000);
    gets(&h, 4, 7);
    CHECK_INT(h.desk.cap, 16 << 10); /* a large buffer went with its frame */
    close_host(&h);
}

static void a_frame_in_bits_comes_whole(void) {
    host h;
    open_host(&h, false);
    const pid_t child = fork();
    if (child == 0) {
        static uint8_t frame[CT_FRAME_HEADER_BYTES + 300000];
        const size_t size = frame_of(frame, 6, 300000);
        for (size_t at = 0; at < size;) {
            const size_t bit = at < 20 ? 1 : 10007;
            const ssize_t sent = send(h.peer, frame + at, bit < size - at ? bit : size - at, MSG_NOSIGNAL);
            if (sent <= 0)
                _exit(1);
            at += (size_t)sent;
        }
        _exit(0);
    }
    gets(&h, 6, 300000);
    int status;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
    close_host(&h);
}

static void page_and_socket_are_one_stream(void) {
    host h;
    open_host(&h, true);
    CHECK(by_page(&h, 1, 10));
    by_socket(&h, 2, 10);
    gets(&h, 1, 10);
    CHECK(by_page(&h, 3, 10)); /* it is put before the second is read */
    by_socket(&h, 4, 30000);
    by_socket(&h, 5, 1);
    gets(&h, 2, 10);
    gets(&h, 3, 10);
    CHECK(by_page(&h, 6, 1));
    gets(&h, 4, 30000);
    gets(&h, 5, 1);
    gets(&h, 6, 1);
    close_host(&h);
}

static void it_sleeps_until_the_bell(void) {
    host h;
    open_host(&h, true);
    free(h.page);
    h.page = NULL;
    ct__page *page = NULL;
    int fd = memfd_create("page", 0);
    CHECK(fd >= 0 && ftruncate(fd, CT__PAGE_BYTES) == 0);
    page = mmap(NULL, CT__PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(page != MAP_FAILED);
    ct__desk_open(&h.desk, h.desk.fd, page, h.bell_fd);
    const pid_t child = fork();
    if (child == 0) {
        uint8_t frame[64];
        for (uint32_t i = 1; i <= 1000; i++) {
            const size_t size = frame_of(frame, i, 8);
            while (!ct__page_put(&page->to_worker, frame, size, 0))
                (void)sched_yield();
            (void)atomic_fetch_add(&page->bell, 1);
            (void)syscall(SYS_futex, &page->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
        }
        _exit(0);
    }
    for (uint32_t i = 1; i <= 1000; i++)
        gets(&h, i, 8);
    int status;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(munmap(page, CT__PAGE_BYTES), 0);
    (void)close(fd);
    close_host(&h);
}

static void the_end_and_nonsense_are_told(void) {
    host h;
    ct_frame frame;
    open_host(&h, false);
    CHECK_INT(shutdown(h.peer, SHUT_WR), 0);
    CHECK_INT(ct__desk_receive(&h.desk, &frame, block), -EPIPE);
    close_host(&h);
    open_host(&h, true);
    CHECK_INT(send(h.peer, "\0\0\0\0\1\0\7\7\0\0\0\0", CT_FRAME_HEADER_BYTES, 0), CT_FRAME_HEADER_BYTES);
    atomic_store(&h.page->announced, 1);
    CHECK_INT(ct__desk_receive(&h.desk, &frame, block), CT_E_MALFORMED);
    close_host(&h);
    open_host(&h, true);
    CHECK(ct__page_put(&h.page->to_worker, (const uint8_t *)"x", 1, 0));
    CHECK_INT(ct__desk_receive(&h.desk, &frame, block), CT_E_MALFORMED);
    close_host(&h);
    open_host(&h, true);
    atomic_store(&h.page->to_worker.len, UINT32_MAX);
    CHECK_INT(ct__desk_receive(&h.desk, &frame, block), CT_E_TOOBIG);
    close_host(&h);
}

static void nothing(int number) {
    (void)number;
}

static void a_signal_is_told(void) {
    host h;
    ct_frame frame;
    const struct sigaction told = {.sa_handler = nothing};
    CHECK_INT(sigaction(SIGALRM, &told, NULL), 0);
    const struct itimerval often = {.it_interval = {.tv_usec = 20000}, .it_value = {.tv_usec = 20000}};
    static const struct itimerval never;
    for (int has_page = 0; has_page < 2; has_page++) {
        open_host(&h, has_page != 0);
        CHECK_INT(setitimer(ITIMER_REAL, &often, NULL), 0);
        CHECK_INT(ct__desk_receive(&h.desk, &frame, block), -EINTR);
        CHECK_INT(setitimer(ITIMER_REAL, &never, NULL), 0);
        by_socket(&h, 1, 4);
        gets(&h, 1, 4);
        close_host(&h);
    }
}

static size_t at_host(host *h, uint8_t *out, size_t cap) {
    const ssize_t got = recv(h->peer, out, cap, MSG_DONTWAIT);
    return got > 0 ? (size_t)got : 0;
}

static void what_it_says_keeps_its_order(void) {
    host h;
    open_host(&h, true);
    const ct_frame log = {.kind = CT_FRAME_LOG, .flags = 1, .call_id = 7, .body = (const uint8_t *)"log", .len = 3};
    const ct_frame answer = {.kind = CT_FRAME_RESULT, .call_id = 7, .body = (const uint8_t *)"1", .len = 1};
    CHECK_INT(ct__desk_send(&h.desk, &log), 0);
    CHECK_INT(ct__desk_page(&h.desk, &answer), 0);
    CHECK_INT(ct__desk_page(&h.desk, &answer), CT_E_FULL); /* the one before is there still */
    uint64_t rings = 0;
    CHECK_INT(read(h.bell_fd, &rings, sizeof rings), sizeof rings);
    CHECK_INT(rings, 1);
    uint8_t out[64];
    CHECK_INT(ct__page_take(&h.page->to_host, 0, block), 0); /* the log goes first */
    CHECK_INT(at_host(&h, out, sizeof out), CT_FRAME_HEADER_BYTES + 3);
    CHECK_INT(out[4], CT_FRAME_LOG);
    CHECK_INT(out[5], 1);
    CHECK_INT(ct__page_take(&h.page->to_host, 1, block), CT_FRAME_HEADER_BYTES + 1);
    CHECK_INT(block[4], CT_FRAME_RESULT);
    CHECK_INT(ct__be32(block + 8), 7);
    h.desk.bell_fd = -1;
    CHECK_INT(ct__desk_page(&h.desk, &answer), -EBADF);
    close_host(&h);
}

static void a_long_frame_and_one_without_a_page_go_by_the_socket(void) {
    host h;
    static uint8_t body[CT__PAGE_FRAME_BYTES], out[2 * CT__PAGE_FRAME_BYTES];
    ct_frame answer = {.kind = CT_FRAME_RESULT, .call_id = 1, .body = body, .len = sizeof body};
    open_host(&h, true);
    CHECK_INT(ct__desk_page(&h.desk, &answer), CT_E_FULL);
    CHECK_INT(ct__desk_send(&h.desk, &answer), 0);
    CHECK_INT(at_host(&h, out, sizeof out), CT_FRAME_HEADER_BYTES + sizeof body);
    close_host(&h);
    open_host(&h, false);
    answer.len = 0;
    CHECK_INT(ct__desk_page(&h.desk, &answer), CT_E_FULL);
    CHECK_INT(ct__desk_send(&h.desk, &answer), 0);
    CHECK_INT(at_host(&h, out, sizeof out), CT_FRAME_HEADER_BYTES);
    close_host(&h);
}

static void without_a_socket_nothing_is_said(void) {
    host h;
    open_host(&h, false);
    (void)close(h.desk.fd);
    ct__desk_open(&h.desk, -1, NULL, -1);
    const ct_frame frame = {.kind = CT_FRAME_PONG};
    CHECK_INT(ct__desk_send(&h.desk, &frame), -EBADF);
    h.desk.fd = dup(STDERR_FILENO);
    close_host(&h);
}

int main(void) {
    (void)signal(SIGPIPE, SIG_IGN);
    static const ct_case cases[] = {
        CASE(frames_of_a_socket_come_whole),
        CASE(a_frame_in_bits_comes_whole),
        CASE(page_and_socket_are_one_stream),
        CASE(it_sleeps_until_the_bell),
        CASE(the_end_and_nonsense_are_told),
        CASE(a_signal_is_told),
        CASE(what_it_says_keeps_its_order),
        CASE(a_long_frame_and_one_without_a_page_go_by_the_socket),
        CASE(without_a_socket_nothing_is_said),
    };
    return RUN("desk", cases);
}
