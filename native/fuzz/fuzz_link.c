/* A worker that says anything: no call ends twice or not at all, and everything stays within its bounds.
 * The input is operations: a byte that says what, then what it needs. */
#define _GNU_SOURCE
#include "link/link.h"
#include "link/mail.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CALLS_MAX = 32, LOG_LIMIT = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds)
        abort();
}

typedef struct state {
    ct_reactor *reactor;
    ct_links *links;
    ct_link *link;
    int peer, stdio;
    ct__page *page; /* NULL: none is shared */
    int bell_fd;
    int begun, ended, cancelled; /* of Python's calls */
    int hung_up;
    int asks; /* that wait for their reply */
    uint32_t asked_id[CT_LINK_ASKS_MAX];
    size_t asked_len[CT_LINK_ASKS_MAX];
} state;

typedef struct lane_call {
    ct__link_call call;
    int *open;
} lane_call;

static void lane_done(ct__link_call *call, const ct__link_end *end, ct_link *link) {
    lane_call *c = (lane_call *)call;
    must(link != NULL && end->kind >= CT_END_RESULT && end->kind <= CT_END_DIED);
    must(end->log_len <= LOG_LIMIT);
    if (end->kind == CT_END_RESULT)
        must(ct_json_check(end->body, end->len, CT_LINK_JSON_DEPTH) == 0);
    --*c->open;
    free(c);
}

static void take_ask(state *s, const ct_event *event) {
    ct_link_asked head;
    must(s->asks < CT_LINK_ASKS_MAX && event->len >= sizeof head);
    memcpy(&head, event->data, sizeof head);
    must(event->len >= sizeof head + head.chain_len && (head.until_ns == 0) == (event->flags == 0));
    s->asked_id[s->asks] = (uint32_t)event->subject;
    s->asked_len[s->asks++] = event->len - sizeof head - head.chain_len;
}

static void reply(state *s) {
    if (s->asks == 0)
        return;
    s->asks--;
    ct_link_reply(s->link, s->asked_id[s->asks], NULL, 0, s->asked_len[s->asks]);
}

static void turn(state *s) {
    int waiting = ct_reactor_drain(s->reactor);
    must(waiting >= 0);
    ct_event events[8];
    for (size_t taken; (taken = ct_reactor_take(s->reactor, events, 8)) > 0;) {
        for (size_t i = 0; i < taken; i++) {
            s->ended += events[i].kind == CT_LINK_ENDED;
            s->hung_up += events[i].kind == CT_LINK_HUNG_UP;
            if (events[i].kind == CT_LINK_ASKED)
                take_ask(s, &events[i]);
            ct_event_done(&events[i]);
        }
    }
    must(s->hung_up <= 1);
}

static void share(state *s) {
    ct_mail *mail = NULL;
    must(ct_mail_new(&mail) == 0);
    s->page = mail->page;
    s->bell_fd = dup(mail->bell_fd);
    must(ct_mail_seal(mail) == 0 && ct_link_share(s->link, mail) == 0);
}

/* The worker writes what it likes where it likes, and rings. */
static void by_page(state *s, const uint8_t *bytes, size_t len, uint32_t after) {
    if (s->page == NULL)
        return;
    memcpy(s->page->to_host.frame, bytes, len);
    atomic_store(&s->page->to_host.after, after);
    atomic_store(&s->page->to_host.len, after == 7 ? UINT32_MAX : (uint32_t)len);
    atomic_store(&s->page->to_worker.len, 0);
    const uint64_t once = 1;
    (void)!write(s->bell_fd, &once, sizeof once);
}

static void drain_peer(int peer) {
    uint8_t bytes[4096];
    while (recv(peer, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_reactor *reactor; /* once: to start and end the threads of its pipes takes longer than an input does */
    static ct_links *links;
    if (reactor == NULL) {
        reactor = ct_reactor_new();
        links = ct_links_new(reactor);
    }
    state s = {.reactor = reactor, .links = links};
    int pair[2], pipes[2];
    must(s.reactor != NULL && s.links != NULL && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    must(pipe2(pipes, O_NONBLOCK) == 0);
    s.peer = pair[1];
    s.stdio = pipes[1];
    const ct_link_settings settings = {.log_limit = LOG_LIMIT, .is_alone = size > 0 && (data[0] & 1) != 0};
    must(ct_link_open(s.links, pair[0], pipes[0], &settings, &s.link) == 0);
    if (size > 0 && (data[0] & 2) != 0)
        share(&s);
    const uint8_t zeros[16] = {0};
    const uint8_t *piece = NULL;
    int lane_open = 0;
    for (size_t at = 1; at < size;) {
        const uint8_t operation = data[at++];
        const uint32_t id = at < size ? data[at] % CALLS_MAX : 0;
        switch (operation & 7) {
        case 0:
        case 1: { /* the worker says something */
            const size_t len = at < size ? 1 + (data[at] % 64) : 0;
            const size_t real = at + 1 + len <= size ? len : 0;
            if (real > 0 && (operation & 16) != 0)
                by_page(&s, data + at + 1, real, operation >> 5);
            else if (real > 0)
                (void)send(s.peer, data + at + 1, real, MSG_NOSIGNAL);
            at += 1 + len;
            turn(&s);
            break;
        }
        case 2:
            if (s.begun < CALLS_MAX && ct_link_call(s.link, zeros, zeros, zeros, data, at, UINT64_MAX, operation & 8) > 0)
                s.begun++;
            break;
        case 3:
            s.cancelled += ct_link_cancel(s.link, id);
            at++;
            break;
        case 4:
            (void)ct_link_take(s.link, id, &piece);
            at++;
            break;
        case 5:
            (void)!write(s.stdio, "said", 4);
            turn(&s);
            break;
        case 6: {
            lane_call *c = calloc(1, sizeof *c);
            must(c != NULL);
            c->call.done = lane_done;
            c->open = &lane_open;
            const ct__exec exec = {.request_id = zeros, .timeout_ns = (operation & 8) != 0 ? 0 : UINT64_MAX};
            must(ct__link_begin(s.link, &c->call, &exec) == 0);
            lane_open++;
            turn(&s);
            break;
        }
        default:
            reply(&s);
            (void)ct_link_init(s.link, data, at);
            drain_peer(s.peer);
            turn(&s);
        }
    }
    turn(&s);
    uint8_t words[16];
    must(ct_link_last_words(s.link, words, sizeof words, NULL) <= sizeof words);
    ct_link_free(s.link, NULL, 0);
    turn(&s);
    must(s.begun == s.ended + s.cancelled && lane_open == 0);
    (void)close(s.peer);
    (void)close(s.stdio);
    if (s.page != NULL)
        (void)close(s.bell_fd);
    return 0;
}
