/* Whose connection is it: asked of the real kernel. */
#define _GNU_SOURCE
#include "edge/peer.h"

#include "ct_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STRANGER = 54321 };

static int netlink = -1;
static uint32_t sequence;

static uint32_t owner_of(int fd) {
    uint32_t uid = UINT32_MAX;
    const int result = ct__peer_uid(netlink, ++sequence, fd, &uid);
    CHECK(result == 0 || (result == -ENOENT && uid == UINT32_MAX));
    return uid;
}

/* A listener that takes both families, and its address for a client of one of them. */
static int listen_on(int family, int client_family, struct sockaddr_storage *address, socklen_t *len) {
    const int fd = socket(family, SOCK_STREAM, 0);
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
    const int off = 0;
    if (family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    const struct sockaddr *any = family == AF_INET ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6;
    if (fd < 0 || bind(fd, any, family == AF_INET ? sizeof v4 : sizeof v6) != 0)
        return -1; /* a host without IPv6 */
    CHECK_INT(listen(fd, 4), 0);
    *len = sizeof *address;
    CHECK_INT(getsockname(fd, (struct sockaddr *)address, len), 0);
    const uint16_t port = family == AF_INET ? ((struct sockaddr_in *)address)->sin_port : ((struct sockaddr_in6 *)address)->sin6_port;
    if (client_family == AF_INET) {
        v4.sin_port = port;
        memcpy(address, &v4, sizeof v4);
        *len = sizeof v4;
    } else {
        v6.sin6_addr = in6addr_loopback;
        v6.sin6_port = port;
        memcpy(address, &v6, sizeof v6);
        *len = sizeof v6;
    }
    return fd;
}

static void by(int family, int client_family) {
    struct sockaddr_storage address;
    socklen_t len;
    const int door = listen_on(family, client_family, &address, &len);
    if (door < 0)
        return;
    const int client = socket(client_family, SOCK_STREAM, 0);
    CHECK_INT(connect(client, (const struct sockaddr *)&address, len), 0);
    const int server = accept(door, NULL, NULL);
    CHECK(server >= 0);
    CHECK_INT(owner_of(server), geteuid());
    CHECK_INT(owner_of(server), geteuid()); /* nothing of the first answer is left */
    CHECK_INT(owner_of(door), UINT32_MAX);  /* a listener has no peer */
    CHECK_INT(shutdown(client, SHUT_WR), 0);
    CHECK_INT(owner_of(server), UINT32_MAX); /* on its way out, it is nobody's for certain */
    (void)close(client);
    CHECK_INT(owner_of(server), UINT32_MAX);
    (void)close(server);
    (void)close(door);
}

static void of_either_family(void) {
    by(AF_INET, AF_INET);
    by(AF_INET6, AF_INET6);
    by(AF_INET6, AF_INET); /* it shows as mapped */
}

static void what_is_no_connection_is_nobodys(void) {
    int pair[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    CHECK_INT(owner_of(pair[0]), UINT32_MAX);
    uint32_t uid = 7;
    CHECK_INT(ct__peer_uid(pair[0], 1, pair[1], &uid), -ENOENT); /* nor does a socket that is no netlink answer */
    CHECK_INT(uid, 7);
    (void)close(pair[0]);
    (void)close(pair[1]);
    CHECK_INT(ct__peer_uid(netlink, 1, -1, &uid), -ENOENT);
}

static void another_user_is_another(void) {
    if (geteuid() != 0)
        return; /* only root can be somebody else */
    struct sockaddr_storage address;
    socklen_t len;
    const int door = listen_on(AF_INET, AF_INET, &address, &len);
    int until_looked[2];
    CHECK_INT(pipe(until_looked), 0);
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        char end;
        (void)close(until_looked[1]);
        const int client = setresuid(STRANGER, STRANGER, STRANGER) == 0 ? socket(AF_INET, SOCK_STREAM, 0) : -1;
        const int result = connect(client, (const struct sockaddr *)&address, len);
        _exit(result == 0 && read(until_looked[0], &end, 1) == 0 ? 0 : 1);
    }
    const int server = accept(door, NULL, NULL);
    CHECK_INT(owner_of(server), STRANGER);
    (void)close(until_looked[0]);
    (void)close(until_looked[1]);
    int status = -1;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK_INT(status, 0);
    (void)close(server);
    (void)close(door);
}

int main(void) {
    static const ct_case cases[] = {CASE(of_either_family), CASE(what_is_no_connection_is_nobodys), CASE(another_user_is_another)};
    netlink = ct__peer_open();
    CHECK(netlink >= 0);
    const int result = RUN("peer", cases);
    (void)close(netlink);
    return result;
}
