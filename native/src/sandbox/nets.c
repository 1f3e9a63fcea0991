#define _GNU_SOURCE
#include "sandbox/nets.h"

#include "base/err.h"
#include "base/scope.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
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

int ct__nets_take(ct__nets *nets) {
    return nets->count > 0 ? nets->ready[--nets->count] : -1;
}

void ct__nets_fini(ct__nets *nets) {
    while (nets->count > 0)
        (void)close(nets->ready[--nets->count]);
    ct_drop_fd(&nets->home_fd);
}
