/* The fork server: one loop, no threads. Requests are taken while earlier children still carry out their plans, so
 * spawns overlap on a machine with more than one core. */

#define _GNU_SOURCE
#include "sandbox/zygote.h"

#include "base/err.h"
#include "base/huge.h"
#include "base/scope.h"
#include "base/sysx.h"
#include "sandbox/claim.h"
#include "sandbox/furnish.h"
#include "sandbox/nets.h"
#include "sandbox/request.h"
#include "sandbox/roots.h"

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PENDING_MAX = 64, /* chosen: children in set-up at once; more only contend for the kernel's mount lock */
    HEAD_BYTES = sizeof(ct_request_head),
    FAREWELL_MS = 1000, /* chosen: below what the owner waits for the server's own end */
    REQUEST_BYTES = HEAD_BYTES + CT_PLAN_BYTES_MAX
};

typedef struct slot {
    pid_t pid; /* 0: free */
    uint32_t ticket;
    uint32_t tenant;
    int net_fd;  /* -1 when its network namespace ends with it */
    int pidfd;   /* -1 once handed over */
    int sync_fd; /* -1 once the sandbox is complete or has failed */
    uint64_t deadline_ms;
    ct__failure report; /* the last word of the child; status 1 before the first */
} slot;

/* What changes with every request, in pages of its own: they are all that the server and a child copy of it. */
typedef struct memory {
    ct_plan plan;
    uint8_t request[REQUEST_BYTES];
    ct__root_key root_keys[CT__ROOTS_KEPT + 1];
    slot slots[CT_ZYGOTE_CHILDREN_MAX];
} memory;

typedef struct server {
    int control_fd;
    int signal_fd;
    const ct__fork_hooks *hooks;
    ct__seccomp filters;
    ct__home home;
    ct__nets nets;
    ct__roots roots;
    memory *memory;
    ct_plan *plan;
    uint8_t *request;
    size_t request_len;
    slot *slots;   /* CT_ZYGOTE_CHILDREN_MAX of them */
    ct__page *page; /* in a child */
    uint32_t used; /* slots below this may be taken */
    uint32_t pending;
} server;

enum { NO_WORD_YET = 1 };

static int send_note(const server *s, const ct_zygote_note *note, int fd) {
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)note, .iov_len = sizeof *note};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(head), &fd, sizeof fd);
    }
    ssize_t sent;
    do
        sent = sendmsg(s->control_fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? ct__errno() : 0;
}

/* Answers with what failed, or with status 0. */
static int tell(const server *s, enum ct_note_kind kind, uint32_t ticket, const ct__failure *why) {
    ct_zygote_note note = {.kind = kind, .ticket = ticket, .status = why->status, .step = why->step};
    memcpy(note.path, why->path, sizeof note.path);
    return send_note(s, &note, -1);
}

static slot *free_slot(server *s) {
    for (uint32_t i = 0; i < s->used; i++)
        if (s->slots[i].pid == 0)
            return &s->slots[i];
    return s->used < CT_ZYGOTE_CHILDREN_MAX ? &s->slots[s->used++] : NULL;
}

static slot *slot_of(server *s, pid_t pid) {
    for (uint32_t i = 0; i < s->used; i++)
        if (s->slots[i].pid == pid)
            return &s->slots[i];
    return NULL;
}

static void settle(server *s, slot *one) {
    ct_drop_fd(&one->sync_fd);
    s->pending--;
}

/* Answers for a child whose last word is in. A failed child is killed and stays in its slot until it is reaped. */
static int answer(server *s, slot *one) {
    settle(s, one);
    ct_autofd pidfd = ct_take_fd(&one->pidfd);
    if (one->report.status == NO_WORD_YET)
        (void)ct__fail(&one->report, CT_STEP_NONE, CT_E_DIED, NULL);
    if (one->report.status < 0) {
        (void)ct__pidfd_kill(pidfd);
        return tell(s, CT_NOTE_SPAWNED, one->ticket, &one->report);
    }
    const ct_zygote_note note = {.kind = CT_NOTE_SPAWNED, .ticket = one->ticket, .pid = (int32_t)one->pid};
    return send_note(s, &note, pidfd);
}

/* Takes what the child has said so far; at the end of its stream, answers. */
static int hear(server *s, slot *one) {
    for (;;) {
        ct__failure word;
        const ssize_t got = ct__recv(one->sync_fd, &word, sizeof word, MSG_DONTWAIT);
        if (got == -EAGAIN)
            return 0;
        if (got != (ssize_t)sizeof word)
            return answer(s, one); /* the end, by exec, close or death */
        one->report = word;
    }
}

static int expire(server *s, slot *one) {
    (void)ct__fail(&one->report, (enum ct_step)one->report.step, CT_E_TIMEOUT, NULL);
    return answer(s, one);
}

static int report_exit(server *s, slot *one, const siginfo_t *info) {
    int result = 0;
    if (one->sync_fd >= 0) /* all it ever said is in the socket by now */
        result = hear(s, one);
    const bool was_running = one->report.status == 0;
    ct_zygote_note note = {.kind = CT_NOTE_EXITED, .ticket = one->ticket, .pid = (int32_t)one->pid};
    if (info->si_code == CLD_EXITED)
        note.exit_code = info->si_status;
    else
        note.signal = info->si_status;
    one->pid = 0;
    ct__nets_give(&s->nets, one->tenant, ct_take_fd(&one->net_fd)); /* the first process ends last */
    return result == 0 && was_running ? send_note(s, &note, -1) : result;
}

static int reap(server *s) {
    struct signalfd_siginfo drained;
    (void)!read(s->signal_fd, &drained, sizeof drained);
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0)
            return 0;
        slot *one = slot_of(s, info.si_pid);
        const int result = one != NULL ? report_exit(s, one, &info) : 0;
        if (result < 0)
            return result;
    }
}

static int check_request(const server *s, ssize_t len, const int fds[CT__REQUEST_FDS]) {
    if (len < 0)
        return (int)len;
    if (len < HEAD_BYTES)
        return CT_E_MORE;
    if (fds[0] < 0 || fds[1] < 0)
        return -EBADF;
    const int result = ct_plan_decode(s->request + HEAD_BYTES, (size_t)len - HEAD_BYTES, s->plan);
    if (result < 0)
        return result;
    const bool has_page = fds[2] >= 0 && fds[3] >= 0; /* a program that is executed would lose it */
    return (s->hooks == NULL && s->plan->argc == 0) || (has_page && s->plan->argc > 0) ? CT_E_RANGE : 0;
}

static int start(server *s, const ct_request_head *head, const int fds[CT__REQUEST_FDS], ct__failure *why) {
    slot *one = free_slot(s);
    if (one == NULL)
        return ct__fail(why, CT_STEP_REQUEST, CT_E_FULL, NULL);
    ct_autofd net = ct__nets_take(&s->nets, head->tenant);
    if (net < 0 && ct__nets_wants_more(&s->nets)) { /* one that the child makes could not be used again */
        const int made = ct__nets_make(&s->nets);
        if (made < 0)
            return ct__fail(why, CT_STEP_NETWORK, made, NULL);
        net = ct__nets_take(&s->nets, head->tenant);
    }
    const int root_mounts = ct__roots_get(&s->roots, &s->home, s->plan);
    if (root_mounts == -ENOTRECOVERABLE)
        return ct__fail(why, CT_STEP_ROOT, root_mounts, NULL);
    const ct__spawn_request request = {.plan = s->plan,
                                       .channel_fd = fds[0],
                                       .stdio_fd = fds[1],
                                       .page_fd = fds[3] >= 0 ? fds[2] : -1,
                                       .bell_fd = fds[3],
                                       .net_fd = net,
                                       .home_net_fd = s->nets.home_fd,
                                       .root_mounts_fd = root_mounts,
                                       .home = &s->home,
                                       .filters = &s->filters,
                                       .hooks = s->hooks};
    ct__child child;
    const int result = ct__spawn(&request, &child, why);
    if (result == CT__IN_CHILD) {
        (void)ct_take_fd(&net); /* its number is another thing's by now */
        s->page = child.page;
    }
    if (result != 0)
        return result;
    *one = (slot){.pid = child.pid,
                  .ticket = head->ticket,
                  .tenant = head->tenant,
                  .net_fd = ct__nets_lend(&s->nets, &net),
                  .pidfd = child.pidfd,
                  .sync_fd = child.sync_fd,
                  .deadline_ms = ct__now_ms() + s->plan->setup_ms,
                  .report = {.status = NO_WORD_YET}};
    s->pending++;
    return 0;
}

/* Whether the request is a struct of that size which begins with that number. */
static bool is_small(const server *s, ssize_t len, size_t size, uint32_t wanted) {
    return len == (ssize_t)(HEAD_BYTES + size) && memcmp(s->request + HEAD_BYTES, &wanted, sizeof wanted) == 0;
}

/* A claim of a child that has not ended, or whose end is not reaped: nobody else can have its pid. */
static int take_claim(server *s, const ct_request_head *head) {
    ct_claim claim;
    ct__failure why = {0};
    memcpy(&claim, s->request + HEAD_BYTES, sizeof claim);
    slot *one = claim.pid > 0 ? slot_of(s, claim.pid) : NULL;
    int result = 0;
    if (one == NULL || one->report.status != 0) {
        (void)ct__fail(&why, CT_STEP_REQUEST, -ESRCH, NULL);
    } else {
        const bool is_first = one->tenant == CT_TENANT_NOBODY || one->tenant == head->tenant;
        one->tenant = is_first && head->tenant != CT_TENANT_NOBODY ? head->tenant : CT_TENANT_UNKNOWN;
        result = ct__claim(&claim, &s->home, &why);
    }
    const int told = tell(s, CT_NOTE_CLAIMED, head->ticket, &why);
    return result == -ENOTRECOVERABLE ? result : told;
}

static int take_furnish(const server *s, uint32_t ticket, int pidfd) {
    ct_furnish what;
    ct__failure why = {0};
    memcpy(&what, s->request + HEAD_BYTES, sizeof what);
    if (pidfd < 0)
        (void)ct__fail(&why, CT_STEP_REQUEST, -EBADF, NULL);
    else
        (void)ct__furnish(pidfd, &what, &why);
    return tell(s, CT_NOTE_CLAIMED, ticket, &why);
}

/* One request. Returns 0, CT__IN_CHILD, -EPIPE when there will be no more, or another failure of the server itself. */
static int take_request(server *s) {
    __attribute__((cleanup(ct__request_close))) int fds[CT__REQUEST_FDS];
    const ssize_t len = ct__request_receive(s->control_fd, s->request, REQUEST_BYTES, fds);
    if (len == -EAGAIN)
        return 0;
    if (len == 0 || (len < 0 && len != CT_E_TOOBIG))
        return -EPIPE;
    ct_request_head head = {0};
    if (len >= HEAD_BYTES || len == CT_E_TOOBIG)
        memcpy(&head, s->request, sizeof head);
    if (is_small(s, len, sizeof(ct_claim), CT_CLAIM_MAGIC))
        return take_claim(s, &head);
    if (is_small(s, len, sizeof(ct_furnish), CT_FURNISH_MAGIC))
        return take_furnish(s, head.ticket, fds[0]);
    s->request_len = len > 0 ? (size_t)len : REQUEST_BYTES;
    ct__failure why = {0};
    int result = check_request(s, len, fds);
    if (result < 0)
        (void)ct__fail(&why, CT_STEP_REQUEST, result, NULL);
    else
        result = start(s, &head, fds, &why);
    if (result == CT__IN_CHILD) {
        memset(fds, 0xFF, sizeof fds); /* their numbers are another thing's by now */
        return result;
    }
    /* The next child must not find this one's environment in the memory that it inherits */
    explicit_bzero(s->request, s->request_len);
    const int told = result < 0 ? tell(s, CT_NOTE_SPAWNED, head.ticket, &why) : 0;
    return result == -ENOTRECOVERABLE ? result : told;
}

static int poll_timeout(const server *s) {
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < s->used && s->pending > 0; i++)
        if (s->slots[i].pid != 0 && s->slots[i].sync_fd >= 0 && s->slots[i].deadline_ms < first)
            first = s->slots[i].deadline_ms;
    if (first == UINT64_MAX)
        return -1;
    const uint64_t now = ct__now_ms();
    return first > now ? (int)(first - now) : 0;
}

static int serve_once(server *s) {
    struct pollfd set[2 + PENDING_MAX];
    slot *who[PENDING_MAX];
    nfds_t count = 2;
    set[0] = (struct pollfd){.fd = s->pending < PENDING_MAX ? s->control_fd : -1, .events = POLLIN};
    set[1] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
    for (uint32_t i = 0; i < s->used && count < 2 + s->pending; i++) {
        if (s->slots[i].pid == 0 || s->slots[i].sync_fd < 0)
            continue;
        who[count - 2] = &s->slots[i];
        set[count++] = (struct pollfd){.fd = s->slots[i].sync_fd, .events = POLLIN};
    }
    const bool is_idle = s->pending == 0;
    const int ready = poll(set, count, is_idle ? ct__nets_due_ms(&s->nets) : poll_timeout(s));
    if (ready < 0)
        return errno == EINTR ? 0 : ct__errno();
    if (ready == 0 && is_idle)
        return ct__nets_tend(&s->nets);

    const uint64_t now = ct__now_ms();
    int result = 0;
    for (nfds_t i = 2; result == 0 && i < count; i++) {
        if (set[i].revents != 0)
            result = hear(s, who[i - 2]);
        else if (who[i - 2]->deadline_ms <= now)
            result = expire(s, who[i - 2]);
    }
    if (result == 0 && set[1].revents != 0)
        result = reap(s);
    if (result == 0 && set[0].fd >= 0 && set[0].revents != 0)
        result = take_request(s);
    return result;
}

/* Kills every child and waits until its namespaces are gone; a child that the kernel can not end (waiting for a disk
 * that does not answer) is left to init after a while. */
static void end_children(server *s) {
    for (uint32_t i = 0; i < s->used; i++)
        if (s->slots[i].pid != 0) /* not reaped yet, so the number is still the child's */
            (void)kill(s->slots[i].pid, SIGKILL);
    const uint64_t until = ct__now_ms() + FAREWELL_MS;
    struct pollfd ended = {.fd = s->signal_fd, .events = POLLIN};
    while (s->signal_fd >= 0) {
        struct signalfd_siginfo drained;
        (void)!read(s->signal_fd, &drained, sizeof drained);
        int reaped;
        while ((reaped = waitpid(-1, NULL, WNOHANG)) > 0)
            continue;
        const uint64_t now = ct__now_ms();
        if (reaped < 0 || now >= until)
            return; /* no child is left, or no time */
        (void)poll(&ended, 1, (int)(until - now));
    }
}

static int server_init(server *s, int control_fd, const ct__fork_hooks *hooks) {
    *s = (server){.control_fd = control_fd, .signal_fd = -1, .hooks = hooks};
    (void)ct__home_init(&s->home); /* what it lacks, a claim will say */
    ct__nets_init(&s->nets);
    s->memory = ct__pages_new(sizeof *s->memory);
    ct__roots_init(&s->roots, &s->home, s->memory != NULL ? s->memory->root_keys : NULL);
    if (s->memory == NULL)
        return -ENOMEM;
    s->plan = &s->memory->plan;
    s->request = s->memory->request;
    s->slots = s->memory->slots;
    sigset_t child;
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &child, NULL) != 0)
        return ct__errno();
    s->signal_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    const int result = s->signal_fd < 0 ? ct__errno() : ct__seccomp_init(&s->filters);
    if (result == 0 && hooks != NULL)
        hooks->settle();
    if (result == 0)
        ct__seccomp_inherit(&s->filters);
    return result;
}

static void server_fini(server *s) {
    ct_drop_fd(&s->signal_fd);
    ct__home_fini(&s->home);
    ct__nets_fini(&s->nets);
    ct__roots_fini(&s->roots);
    ct__seccomp_fini(&s->filters);
    ct__pages_free(s->memory, sizeof *s->memory);
}

void ct__served_fini(ct__served *served) {
    explicit_bzero(served->bytes, served->len);
    ct__pages_free(served->memory, sizeof(memory));
    *served = (ct__served){.channel_fd = served->channel_fd, .page = served->page};
}

int ct__zygote_serve(int control_fd, const ct__fork_hooks *hooks, ct__served *out) {
    server s;
    int result = server_init(&s, control_fd, hooks);
    const ct_zygote_note ready = {.kind = CT_NOTE_READY, .status = result};
    const int told = send_note(&s, &ready, -1);
    if (result == 0)
        result = told;
    while (result == 0)
        result = serve_once(&s);
    if (result == CT__IN_CHILD) { /* what it does not give back, it does not copy */
        *out = (ct__served){
            .channel_fd = CT__CHANNEL_FD, .page = s.page, .plan = s.plan, .bytes = s.request, .len = s.request_len, .memory = s.memory};
        return result;
    }
    end_children(&s);
    server_fini(&s);
    return result == -EPIPE || result == -ECONNRESET ? 0 : result;
}
