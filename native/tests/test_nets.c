/* Network namespaces made ahead, by a process that is free to make them: a child in a user namespace of its own. */
#define _GNU_SOURCE
#include "sandbox/nets.h"

#include "base/err.h"
#include "ct_test.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT = 77, FAILED = 99 };

static int inside(int (*body)(void)) {
    const pid_t child = fork();
    if (child == 0) {
        if (geteuid() != 0 && unshare(CLONE_NEWUSER) != 0)
            _exit(CANNOT);
        _exit(body());
    }
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
}

static ino_t own_net(void) {
    struct stat st;
    return stat("/proc/self/ns/net", &st) == 0 ? st.st_ino : 0;
}

static bool has_loopback(void) {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq lo = {.ifr_name = "lo"};
    const bool is_up = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &lo) == 0 && (lo.ifr_flags & IFF_UP) != 0;
    (void)close(fd);
    return is_up;
}

static int each_is_new_and_up(void) {
    ct__nets nets;
    ct__nets_init(&nets);
    const ino_t home = own_net();
    while (ct__nets_wants_more(&nets))
        if (ct__nets_make(&nets) != 0 || own_net() != home)
            return 1;
    if (nets.is_off)
        return CANNOT;
    ino_t before = home;
    for (int i = 0; i < CT__NETS_READY; i++) {
        const int fd = ct__nets_take(&nets, CT_TENANT_UNKNOWN);
        if (fd < 0 || setns(fd, CLONE_NEWNET) != 0 || own_net() == before || own_net() == home || !has_loopback())
            return 2;
        before = own_net();
        (void)close(fd);
    }
    if (ct__nets_take(&nets, CT_TENANT_UNKNOWN) != -1 || !ct__nets_wants_more(&nets))
        return 3;
    ct__nets_fini(&nets);
    return 0;
}

static int one_who_may_not_never_tries_again(void) {
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
        return CANNOT;
    ct__nets nets;
    ct__nets_init(&nets);
    if (ct__nets_make(&nets) != 0 || ct__nets_take(&nets, CT_TENANT_UNKNOWN) != -1 || ct__nets_wants_more(&nets))
        return 1;
    ct__nets_fini(&nets);
    return 0;
}

static int lent(ct__nets *nets, uint32_t tenant) {
    int fd = ct__nets_take(nets, tenant);
    return fd >= 0 ? ct__nets_lend(nets, &fd) : -1;
}

/* No kernel needed: what is kept are descriptors of anything. */
static int the_oldest_makes_room(void) {
    ct__nets nets;
    ct__nets_init(&nets);
    for (uint32_t i = 0; i < CT__NETS_KEPT + 1; i++) {
        int fd = dup(STDERR_FILENO);
        if (fd < 0)
            return 1;
        ct__nets_give(&nets, 100 + i, ct__nets_lend(&nets, &fd));
    }
    if (nets.kept_count != CT__NETS_KEPT || nets.lent_count != 0 || lent(&nets, 100) != -1)
        return 2;
    int fd = lent(&nets, 101);
    if (fd < 0 || nets.kept_count != CT__NETS_KEPT - 1)
        return 3;
    ct__nets_give(&nets, CT_TENANT_UNKNOWN, fd);
    if (fcntl(fd, F_GETFD) != -1 || lent(&nets, CT_TENANT_UNKNOWN) != -1 || lent(&nets, CT_TENANT_NOBODY) != -1)
        return 4;
    for (uint32_t i = CT__NETS_KEPT; i > 1; i--) /* the others are still whose they were */
        if (lent(&nets, 100 + i) < 0)
            return 5;
    return nets.kept_count == 0 ? 0 : 6;
}

static int too_many_are_not_lent(void) {
    ct__nets nets;
    ct__nets_init(&nets);
    nets.lent_count = CT__NETS_LENT;
    int fd = dup(STDERR_FILENO);
    if (ct__nets_lend(&nets, &fd) != -1 || fd < 0)
        return 1;
    ct__nets_give(&nets, 100, -1);
    return nets.lent_count == CT__NETS_LENT && nets.kept_count == 0 ? 0 : 2;
}

/* With nothing to be made ahead, what is kept is let go of once nobody asks. */
static int a_rest_leaves_none(void) {
    ct__nets nets;
    ct__nets_init(&nets);
    nets.is_off = true;
    if (ct__nets_due_ms(&nets) != -1)
        return 1;
    int fd = dup(STDERR_FILENO);
    const int number = fd;
    ct__nets_give(&nets, 100, ct__nets_lend(&nets, &fd));
    if (ct__nets_due_ms(&nets) != CT__NETS_REST_MS || ct__nets_tend(&nets) != 0)
        return 2;
    return nets.kept_count == 0 && fcntl(number, F_GETFD) == -1 && ct__nets_due_ms(&nets) == -1 ? 0 : 3;
}

static void what_is_kept_is_bounded(void) {
    CHECK_INT(inside(a_rest_leaves_none), 0);
    CHECK_INT(inside(the_oldest_makes_room), 0);
    CHECK_INT(inside(too_many_are_not_lent), 0);
}

static void namespaces_made_ahead(void) {
    CHECK_INT(inside(each_is_new_and_up), 0);
}

static void without_the_right_there_are_none(void) {
    CHECK_INT(inside(one_who_may_not_never_tries_again), geteuid() == 0 ? 0 : 1);
}

int main(void) {
    static const ct_case cases[] = {CASE(namespaces_made_ahead), CASE(without_the_right_there_are_none),
                                    CASE(what_is_kept_is_bounded)};
    if (inside(each_is_new_and_up) == CANNOT) {
        (void)printf("nets: no network namespaces here\n");
        return CANNOT;
    }
    return RUN("nets", cases);
}
