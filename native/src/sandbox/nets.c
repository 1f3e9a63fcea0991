#define _GNU_SOURCE
#include "sandbox/nets.h"

#include "base/err.h"
#include "base/scope.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <string.h>
#include <unistd.h>

#define OWN_NET "/proc/self/ns/net"

void ct__nets_init(ct__nets *nets) {
    *nets = (ct__nets){.home_fd = -1};
}

int ct__loopback_raise(ct__failure *why) {
    ct_autofd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ct__fail(why, CT_STEP_NETWORK, ct__errno(), "socket");
    struct ifreq lo = {.ifr_name = "lo"};
    lo.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, &lo) != 0)
        return ct__fail(why, CT_STEP_NETWORK, ct__errno(), "lo");
    return 0;
}

int ct__nets_make(ct__nets *nets) {
    ct__failure why;
    if (nets->home_fd < 0)
        nets->home_fd = open(OWN_NET, O_RDONLY | O_CLOEXEC);
    /* The way back comes first: one's own namespace may belong to a user namespace in which one has no power */
    if (nets->home_fd < 0 || setns(nets->home_fd, CLONE_NEWNET) != 0 || unshare(CLONE_NEWNET) != 0) {
        nets->is_off = true;
        return 0;
    }
    const int raised = ct__loopback_raise(&why);
    ct_autofd fd = open(OWN_NET, O_RDONLY | O_CLOEXEC);
    if (setns(nets->home_fd, CLONE_NEWNET) != 0)
        return -ENOTRECOVERABLE;
    if (raised < 0 || fd < 0)
        nets->is_off = true;
    else
        nets->ready[nets->count++] = ct_take_fd(&fd);
    return 0;
}

static int take_kept(ct__nets *nets, uint32_t tenant) {
    for (uint32_t i = nets->kept_count; i-- > 0;) {
        const ct__kept_net one = nets->kept[i];
        const bool is_theirs = one.tenant == CT_TENANT_NOBODY || (one.tenant == tenant && tenant != CT_TENANT_UNKNOWN);
        if (!is_theirs)
            continue;
        nets->kept_count--;
        memmove(&nets->kept[i], &nets->kept[i + 1], (nets->kept_count - i) * sizeof nets->kept[0]);
        return one.fd;
    }
    return -1;
}

int ct__nets_take(ct__nets *nets, uint32_t tenant) {
    const int kept = take_kept(nets, tenant);
    if (kept >= 0)
        return kept;
    return nets->count > 0 ? nets->ready[--nets->count] : -1;
}

int ct__nets_lend(ct__nets *nets, int *fd) {
    if (*fd < 0 || nets->lent_count == CT__NETS_LENT)
        return -1;
    nets->lent_count++;
    return ct_take_fd(fd);
}

void ct__nets_give(ct__nets *nets, uint32_t tenant, int fd) {
    if (fd < 0)
        return;
    nets->lent_count--;
    if (tenant == CT_TENANT_UNKNOWN) {
        (void)close(fd);
        return;
    }
    if (nets->kept_count == CT__NETS_KEPT) {
        (void)close(nets->kept[0].fd);
        nets->kept_count--;
        memmove(&nets->kept[0], &nets->kept[1], nets->kept_count * sizeof nets->kept[0]);
    }
    nets->kept[nets->kept_count++] = (ct__kept_net){.tenant = tenant, .fd = fd};
}

static void let_go(ct__nets *nets) {
    while (nets->kept_count > 0)
        (void)close(nets->kept[--nets->kept_count].fd);
}

int ct__nets_tend(ct__nets *nets) {
    if (ct__nets_wants_more(nets))
        return ct__nets_make(nets);
    let_go(nets);
    return 0;
}

void ct__nets_fini(ct__nets *nets) {
    while (nets->count > 0)
        (void)close(nets->ready[--nets->count]);
    let_go(nets);
    ct_drop_fd(&nets->home_fd);
}
