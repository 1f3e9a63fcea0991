#define _GNU_SOURCE
#include "edge/peer.h"

#include "base/err.h"
#include "base/scope.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

enum {
    ESTABLISHED = 1,      /* net/tcp_states.h of the kernel */
    OVERFLOW_UID = 65534, /* stands for every uid without a name in this user namespace: it is nobody in particular */
    REPLY_BYTES = 1024,
    LEFT_OVER = 8 /* replies to earlier questions, at most */
};

typedef struct end {
    int family;
    uint16_t port; /* as on the wire */
    uint32_t address[4];
} end;

typedef struct question {
    struct nlmsghdr head;
    struct inet_diag_req_v2 body;
} question;

int ct__peer_open(void) {
    ct_autofd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
    const struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        return ct__errno();
    return ct_take_fd(&fd);
}

static bool is_mapped(const uint32_t address[4]) {
    return address[0] == 0 && address[1] == 0 && address[2] == htonl(0xFFFF);
}

/* An IPv4 connection counts as one even where it shows as mapped IPv6: the kernel keeps it under its IPv4 pair. */
static int read_end(int fd, int (*name)(int, struct sockaddr *, socklen_t *), end *out) {
    struct sockaddr_storage given = {0};
    socklen_t len = sizeof given;
    if (name(fd, (struct sockaddr *)&given, &len) != 0)
        return -ENOENT;
    *out = (end){.family = given.ss_family};
    if (given.ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, &given, sizeof v4);
        out->port = v4.sin_port;
        out->address[0] = v4.sin_addr.s_addr;
        return 0;
    }
    if (given.ss_family != AF_INET6)
        return -ENOENT;
    struct sockaddr_in6 v6;
    memcpy(&v6, &given, sizeof v6);
    out->port = v6.sin6_port;
    memcpy(out->address, &v6.sin6_addr, sizeof out->address);
    if (is_mapped(out->address))
        *out = (end){.family = AF_INET, .port = v6.sin6_port, .address = {out->address[3]}};
    return 0;
}

/* An IPv4 pair may come back from an IPv6 socket in its mapped form. */
static bool same_address(int family, const uint32_t asked[4], const uint32_t got[4]) {
    const size_t bytes = family == AF_INET ? sizeof *asked : 4 * sizeof *asked;
    return memcmp(asked, got, bytes) == 0 || (family == AF_INET && is_mapped(got) && got[3] == asked[0]);
}

/* The kernel falls back to a listener on the port when the pair is unknown, and shows uid 0 for a socket in TIME_WAIT: neither may
 * pass for the peer. */
static int judge(const uint8_t *reply, size_t len, const question *asked, uint32_t *uid) {
    struct nlmsghdr head;
    struct inet_diag_msg body;
    if (len < NLMSG_HDRLEN + sizeof body)
        return -ENOENT;
    memcpy(&head, reply, sizeof head);
    memcpy(&body, reply + NLMSG_HDRLEN, sizeof body);
    const struct inet_diag_sockid *id = &asked->body.id;
    const int family = asked->body.sdiag_family;
    if (head.nlmsg_type != SOCK_DIAG_BY_FAMILY || body.idiag_state != ESTABLISHED
        || (body.idiag_family != family && body.idiag_family != AF_INET6) || body.id.idiag_sport != id->idiag_sport
        || body.id.idiag_dport != id->idiag_dport || !same_address(family, id->idiag_src, body.id.idiag_src)
        || !same_address(family, id->idiag_dst, body.id.idiag_dst) || body.idiag_uid == OVERFLOW_UID)
        return -ENOENT;
    *uid = body.idiag_uid;
    return 0;
}

int ct__peer_uid(int netlink, uint32_t sequence, int fd, uint32_t *uid) {
    end client, server;
    if (read_end(fd, getpeername, &client) != 0 || read_end(fd, getsockname, &server) != 0 || client.family != server.family)
        return -ENOENT;
    question asked = {
        .head = {.nlmsg_len = sizeof asked, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = sequence},
        .body = {.sdiag_family = (uint8_t)client.family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = UINT32_MAX,
                 .id = {.idiag_sport = client.port, .idiag_dport = server.port,
                        .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}}};
    memcpy(asked.body.id.idiag_src, client.address, sizeof client.address);
    memcpy(asked.body.id.idiag_dst, server.address, sizeof server.address);
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    if (sendto(netlink, &asked, sizeof asked, 0, (const struct sockaddr *)&kernel, sizeof kernel) != (ssize_t)sizeof asked)
        return -ENOENT;
    for (int i = 0; i < LEFT_OVER; i++) {
        uint8_t reply[REPLY_BYTES];
        struct sockaddr_nl from = {0};
        socklen_t from_len = sizeof from;
        const ssize_t len = recvfrom(netlink, reply, sizeof reply, 0, (struct sockaddr *)&from, &from_len);
        if (len < 0)
            return -ENOENT;
        struct nlmsghdr head = {0};
        if ((size_t)len >= sizeof head)
            memcpy(&head, reply, sizeof head);
        if (from.nl_pid == 0 && head.nlmsg_seq == sequence)
            return judge(reply, (size_t)len, &asked, uid);
    }
    return -ENOENT;
}
