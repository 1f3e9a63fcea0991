/* The fork server over its socket, in a process of its own: so that a sanitizer watches the loop too. */
#define _GNU_SOURCE
#include "sandbox/zygote.h"

#include "base/err.h"
#include "base/sysx.h"
#include "ct_test.h"
#include "sandbox/probe.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT = 77, CHILDREN = 100 };

static uint32_t host_uid(void) {
    return geteuid() == 0 ? 1900001 : (uint32_t)geteuid();
}

static uint32_t host_gid(void) {
    return geteuid() == 0 ? 1900001 : (uint32_t)getegid();
}

typedef struct served {
    pid_t pid;
    int control;
} served;

static served start_server(void) {
    int pair[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        (void)close(pair[0]);
        ct__served child;
        _exit(ct__zygote_serve(pair[1], NULL, &child) == 0 ? 0 : 1);
    }
    (void)close(pair[1]);
    return (served){.pid = pid, .control = pair[0]};
}

static void stop_server(served s) {
    (void)close(s.control);
    int status = 0;
    CHECK_INT(waitpid(s.pid, &status, 0), s.pid);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 0);
}

/* Receives one note; its descriptor, if one came, in *fd. */
static ct_zygote_note receive(served s, int *fd) {
    ct_zygote_note note;
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {.iov_base = &note, .iov_len = sizeof note};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    CHECK_INT(recvmsg(s.control, &message, MSG_CMSG_CLOEXEC), sizeof note);
    *fd = -1;
    const struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (head != NULL)
        memcpy(fd, CMSG_DATA(head), sizeof *fd);
    return note;
}

static uint8_t request[sizeof(ct_request_head) + CT_PLAN_BYTES_MAX];

/* Asks for a sandbox that runs a script; 0 descriptors make a request that must be refused. */
static void ask_for(served s, ct_request_head asked, const char *script, size_t descriptors) {
    ct_plan plan = {.host_uid = host_uid(),
                    .host_gid = host_gid(),
                    .inside_uid = 1000,
                    .inside_gid = 1000,
                    .setup_ms = 5000,
                    .hostname = "test",
                    .workdir = "/",
                    .cgroup_dir = "",
                    .entry_count = 9,
                    .argc = script != NULL ? 3 : 0};
    plan.entries[0] = (ct_entry){.kind = CT_ENTRY_BIND, .target = "/usr", .source = "/usr"};
    plan.entries[1] = (ct_entry){.kind = CT_ENTRY_LINK, .target = "/bin", .source = "usr/bin"};
    plan.entries[2] = (ct_entry){.kind = CT_ENTRY_LINK, .target = "/lib", .source = "usr/lib"};
    plan.entries[3] = (ct_entry){.kind = CT_ENTRY_LINK, .target = "/lib64", .source = "usr/lib64"};
    plan.entries[4] = (ct_entry){.kind = CT_ENTRY_DEVICE, .target = "/dev/null", .source = "/dev/null"};
    plan.entries[5] = (ct_entry){.kind = CT_ENTRY_PROC, .target = "/proc", .source = ""};
    plan.entries[6] = (ct_entry){.kind = CT_ENTRY_DIR, .target = "/code", .source = "", .mode = 0755};
    plan.entries[7] =
        (ct_entry){.kind = CT_ENTRY_TMPFS, .target = "/tmp", .source = "", .mode = 01777, .size_bytes = 1 << 20, .inodes = 64};
    plan.entries[8] =
        (ct_entry){.kind = CT_ENTRY_TMPFS, .target = "/dev/shm", .source = "", .mode = 01777, .size_bytes = 4096, .inodes = 16};
    plan.argv[0] = script != NULL ? "/bin/sh" : NULL;
    plan.argv[1] = script != NULL ? "-c" : NULL;
    plan.argv[2] = script;
    memcpy(request, &asked, sizeof asked);
    const int len = ct_plan_encode(&plan, request + sizeof asked, CT_PLAN_BYTES_MAX);
    CHECK(len > 0);
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    const int fds[2] = {null, null};
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof fds)];
    } control = {0};
    struct iovec part = {.iov_base = request, .iov_len = (size_t)len + sizeof asked};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptors > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(descriptors * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(descriptors * sizeof(int));
        memcpy(CMSG_DATA(head), fds, descriptors * sizeof(int));
    }
    CHECK_INT(sendmsg(s.control, &message, 0), (ssize_t)part.iov_len);
    (void)close(null);
}

static void ask(served s, uint32_t ticket, const char *script, size_t descriptors) {
    ask_for(s, (ct_request_head){.ticket = ticket, .tenant = CT_TENANT_UNKNOWN}, script, descriptors);
}

static served ready_server(void) {
    const served s = start_server();
    int fd = -1;
    const ct_zygote_note note = receive(s, &fd);
    CHECK_INT(note.kind, CT_NOTE_READY);
    CHECK_INT(note.status, 0);
    return s;
}

static void a_child_is_told_of_twice(void) {
    const served s = ready_server();
    ask(s, 7, "exit 3", 2);
    int pidfd = -1;
    ct_zygote_note note = receive(s, &pidfd);
    CHECK_INT(note.kind, CT_NOTE_SPAWNED);
    CHECK_INT(note.ticket, 7);
    CHECK_INT(note.status, 0);
    CHECK(pidfd >= 0);
    const int pid = note.pid;
    (void)close(pidfd);
    note = receive(s, &pidfd);
    CHECK_INT(note.kind, CT_NOTE_EXITED);
    CHECK_INT(note.pid, pid);
    CHECK_INT(note.exit_code, 3);
    CHECK_INT(note.signal, 0);
    stop_server(s);
}

static void bad_requests_are_refused_one_by_one(void) {
    const served s = ready_server();
    int fd = -1;
    ask(s, 1, "true", 0);
    CHECK_INT(receive(s, &fd).status, -EBADF);
    ask(s, 2, "true", 1);
    CHECK_INT(receive(s, &fd).status, -EBADF);
    ask(s, 3, NULL, 2); /* nothing to execute */
    CHECK_INT(receive(s, &fd).status, CT_E_RANGE);
    CHECK_INT(send(s.control, "abc", 3, 0), 3);
    CHECK_INT(receive(s, &fd).status, CT_E_MORE);
    static uint8_t huge[sizeof request + 1];
    CHECK_INT(send(s.control, huge, sizeof huge, 0), (ssize_t)sizeof huge);
    CHECK_INT(receive(s, &fd).status, CT_E_TOOBIG);
    ask(s, 4, "true", 2);
    CHECK_INT(receive(s, &fd).status, 0); /* and the server goes on */
    (void)close(fd);
    stop_server(s);
}

static void many_overlap_and_each_is_told_of(void) {
    const served s = ready_server();
    int spawned = 0;
    int exited = 0;
    for (uint32_t i = 0; i < CHILDREN; i++)
        ask(s, i, "exit 5", 2);
    while (exited < CHILDREN) {
        int fd = -1;
        const ct_zygote_note note = receive(s, &fd);
        if (note.kind == CT_NOTE_SPAWNED) {
            CHECK_INT(note.status, 0);
            spawned++;
            (void)close(fd);
        } else {
            CHECK_INT(note.kind, CT_NOTE_EXITED);
            CHECK_INT(note.exit_code, 5);
            exited++;
            CHECK(exited <= spawned); /* never told of an end before the beginning */
        }
    }
    CHECK_INT(spawned, CHILDREN);
    stop_server(s);
}

static void when_the_owner_goes_the_children_are_dead(void) {
    const served s = ready_server();
    int pidfds[3];
    for (uint32_t i = 0; i < 3; i++) {
        ask(s, i, "sleep 300", 2);
        CHECK_INT(receive(s, &pidfds[i]).status, 0);
    }
    stop_server(s);
    for (size_t i = 0; i < 3; i++) {
        CHECK_INT(ct__pidfd_kill(pidfds[i]), -ESRCH); /* dead and reaped by the time the server has ended */
        (void)close(pidfds[i]);
    }
}

static ct_zygote_note claim_for(served s, uint32_t tenant, ct_claim what, const char *code_dir) {
    int fd = -1;
    const ct_request_head asked = {.ticket = 40, .tenant = tenant};
    uint8_t message[sizeof asked + sizeof what];
    what.magic = CT_CLAIM_MAGIC;
    (void)ct__format(what.code_dir, sizeof what.code_dir, "%s", code_dir);
    memcpy(message, &asked, sizeof asked);
    memcpy(message + sizeof asked, &what, sizeof what);
    CHECK_INT(send(s.control, message, sizeof message, 0), (ssize_t)sizeof message);
    const ct_zygote_note note = receive(s, &fd);
    CHECK_INT(note.kind, CT_NOTE_CLAIMED);
    CHECK_INT(note.ticket, asked.ticket);
    CHECK_INT(fd, -1);
    return note;
}

static ct_zygote_note claim(served s, ct_claim what, const char *code_dir) {
    return claim_for(s, CT_TENANT_UNKNOWN, what, code_dir);
}

/* Waits until it is told, by the code that appears, what to find out; the exit status is the answer. */
#define WAITING "while ! [ -e /code/main ]; do read -t 0.01 x; done; . /code/main"

static const char *code_with(char *dir, const char *script) {
    char path[64];
    CHECK(mkdtemp(dir) != NULL);
    CHECK_INT(chmod(dir, 0755), 0);
    CHECK_INT(ct__format(path, sizeof path, "%s/main", dir), 0);
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    CHECK_INT(fchmod(fd, 0644), 0);
    CHECK_INT(write(fd, script, strlen(script)), (ssize_t)strlen(script));
    (void)close(fd);
    return dir;
}

static void remove_code(const char *dir) {
    char path[64];
    CHECK_INT(ct__format(path, sizeof path, "%s/main", dir), 0);
    CHECK_INT(unlink(path), 0);
    CHECK_INT(rmdir(dir), 0);
}

static void a_claim_brings_code_limits_and_sizes(void) {
    char dir[] = "/tmp/ct-claim-XXXXXX";
    code_with(dir, "(echo x > /code/main) 2>/dev/null && exit 50\n"
                   "[ $(ulimit -v) = 300000 ] || exit 51\n"
                   "printf %40000s x > /tmp/a || exit 52\n"
                   "printf %40000s x > /tmp/b && exit 53\n"
                   "exit 9\n");
    const served s = ready_server();
    for (int i = 0; i < 2; i++) { /* the server is where it was after the first */
        int pidfd = -1;
        ask(s, 1, WAITING, 2);
        const ct_zygote_note spawned = receive(s, &pidfd);
        CHECK_INT(spawned.status, 0);
        (void)close(pidfd);
        const ct_claim what = {.pid = spawned.pid, .address_space_bytes = 300000 << 10, .tmp_bytes = 64 << 10};
        CHECK_INT(claim(s, what, dir).status, 0);
        CHECK_INT(receive(s, &pidfd).exit_code, 9);
    }
    stop_server(s);
    remove_code(dir);
}

static void a_bad_claim_changes_nothing(void) {
    char dir[] = "/tmp/ct-claim-XXXXXX";
    code_with(dir, "exit 9\n");
    const served s = ready_server();
    int pidfd = -1;
    ask(s, 1, WAITING, 2);
    const ct_zygote_note spawned = receive(s, &pidfd);
    CHECK_INT(spawned.status, 0);
    (void)close(pidfd);
    const ct_claim what = {.pid = spawned.pid};
    CHECK_INT(claim(s, (ct_claim){.pid = getpid()}, dir).status, -ESRCH); /* not a child of the server's */
    CHECK_INT(claim(s, (ct_claim){.pid = -1}, dir).status, -ESRCH);
    CHECK_INT(claim(s, what, "/tmp/../etc").status, CT_E_RANGE);
    CHECK_INT(claim(s, what, "/nonexistent/code").status, -ENOENT);
    CHECK_INT(claim(s, what, dir).status, 0);
    CHECK_INT(receive(s, &pidfd).exit_code, 9);
    stop_server(s);
    remove_code(dir);
}

typedef struct running {
    int pid;
    int pidfd;
    ino_t net;
} running;

/* A sandbox that waits. Its network namespace is held open, for good: else another could get its number. */
static running run_for(served s, uint32_t tenant) {
    running one = {.pidfd = -1};
    char path[64];
    struct stat st;
    ask_for(s, (ct_request_head){.ticket = 1, .tenant = tenant}, WAITING, 2);
    const ct_zygote_note note = receive(s, &one.pidfd);
    CHECK_INT(note.status, 0);
    one.pid = note.pid;
    CHECK_INT(ct__format(path, sizeof path, "/proc/%d/ns/net", one.pid), 0);
    const int held = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(held >= 0);
    CHECK_INT(fstat(held, &st), 0);
    one.net = st.st_ino;
    return one;
}

static ino_t end(served s, running one) {
    int fd = -1;
    CHECK_INT(ct__pidfd_kill(one.pidfd), 0);
    const ct_zygote_note note = receive(s, &fd);
    CHECK_INT(note.kind, CT_NOTE_EXITED);
    CHECK_INT(note.pid, one.pid);
    (void)close(one.pidfd);
    return one.net;
}

enum { ANNE = 5, BOB = 6 };

static void a_network_serves_its_tenant_again_and_nobody_else(void) {
    const served s = ready_server();
    const running first = run_for(s, ANNE);
    const running second = run_for(s, ANNE);
    CHECK(first.net != second.net); /* not while it is in use */
    const ino_t annes = end(s, first);
    const running bobs = run_for(s, BOB);
    CHECK(bobs.net != annes);
    const running unknown = run_for(s, CT_TENANT_UNKNOWN);
    CHECK(unknown.net != annes);
    const running third = run_for(s, ANNE);
    CHECK_INT(third.net, annes);
    const ino_t unknowns = end(s, unknown);
    CHECK(end(s, run_for(s, CT_TENANT_UNKNOWN)) != unknowns);
    CHECK_INT(end(s, bobs), bobs.net);
    CHECK_INT(end(s, run_for(s, BOB)), bobs.net);
    stop_server(s);
}

static void a_template_that_nobody_used_leaves_its_network_to_whoever_comes(void) {
    const served s = ready_server();
    const ino_t unused = end(s, run_for(s, CT_TENANT_NOBODY));
    CHECK_INT(end(s, run_for(s, BOB)), unused);
    CHECK(end(s, run_for(s, ANNE)) != unused); /* it is Bob's now */
    stop_server(s);
}

static void a_template_leaves_its_network_to_who_claimed_it(void) {
    char dir[] = "/tmp/ct-claim-XXXXXX";
    code_with(dir, "sleep 300\n");
    const served s = ready_server();
    const struct {
        uint32_t first, second; /* claims */
        uint32_t heir;
        bool inherits;
    } cases[] = {{ANNE, ANNE, ANNE, true}, {ANNE, ANNE, BOB, false}, {ANNE, BOB, BOB, false},
                 {CT_TENANT_NOBODY, CT_TENANT_NOBODY, ANNE, false}, {CT_TENANT_UNKNOWN, ANNE, ANNE, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const running one = run_for(s, CT_TENANT_NOBODY);
        CHECK_INT(claim_for(s, cases[i].first, (ct_claim){.pid = one.pid}, dir).status, 0);
        CHECK_INT(claim_for(s, cases[i].second, (ct_claim){.pid = one.pid}, dir).status, 0);
        const ino_t left = end(s, one);
        CHECK_INT(end(s, run_for(s, cases[i].heir)) == left, cases[i].inherits);
    }
    stop_server(s);
    remove_code(dir);
}

int main(void) {
    static const ct_case cases[] = {CASE(a_child_is_told_of_twice), CASE(bad_requests_are_refused_one_by_one),
                                    CASE(many_overlap_and_each_is_told_of),
                                    CASE(when_the_owner_goes_the_children_are_dead),
                                    CASE(a_claim_brings_code_limits_and_sizes), CASE(a_bad_claim_changes_nothing)};
    static const ct_case privileged[] = {CASE(a_network_serves_its_tenant_again_and_nobody_else),
                                         CASE(a_template_that_nobody_used_leaves_its_network_to_whoever_comes),
                                         CASE(a_template_leaves_its_network_to_who_claimed_it)};
    ct__failure why;
    if (ct__probe(host_uid(), host_gid(), &why) < 0) {
        (void)printf("zygote: no sandboxes here: %s: %s\n", ct_step_name(why.step), ct_strerror(why.status));
        return CANNOT;
    }
    if (geteuid() == 0 && RUN("zygote, networks", privileged) != 0) /* others make theirs in the child */
        return 1;
    return RUN("zygote", cases);
}
