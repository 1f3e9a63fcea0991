/* A server with several listeners, and a client that has two ways to it. */
#define _GNU_SOURCE
#include "h2_rig.h"

static int listen_tcp(uint16_t *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    CHECK_INT(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    CHECK_INT(listen(fd, 64), 0);
    socklen_t len = sizeof address;
    CHECK_INT(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static void several_doors_lead_to_one_server(void) {
    open_rig(&(ct__h2_limits){.connections = 2}, &PLAIN);
    uint16_t port = 0;
    int tcp = listen_tcp(&port);
    CHECK_INT(ct__h2_server_listen(front.server, tcp), 0);
    CHECK_INT(ct__h2_server_listen(front.server, -1), -EBADF);
    ct__h2_client *far = ct__h2_client_new(r, "127.0.0.1", port, &PLAIN), *third = ct__h2_client_new(r, "127.0.0.1", port, &PLAIN);
    caller c, d, e;
    CHECK_INT(begin(client, &c, "/c/echo", "near", 4, 5LL * SECOND), 0);
    CHECK_INT(begin(far, &d, "/c/echo", "far", 3, 5LL * SECOND), 0);
    finish(&c);
    finish(&d);
    CHECK_TEXT(c.body, "near");
    CHECK_TEXT(d.body, "far");
    CHECK_INT(ct__h2_server_counts(front.server).accepted, 2);
    CHECK_INT(ct__h2_server_counts(front.server).accepted_near, 1);
    CHECK_INT(begin(third, &e, "/c/echo", "x", 1, 5LL * SECOND), 0); /* the bound is of all doors together */
    finish(&e);
    CHECK_INT(e.reply.status, 14);
    CHECK_INT(ct__h2_server_counts(front.server).turned_away, 1);
    CHECK_INT(ct__h2_server_listen(front.server, tcp), -EEXIST); /* watched already, and that one stays */
    ct__h2_server_stop(front.server, ct__reactor_now_ns(r) + SECOND);
    while (front.stops == 0)
        turn_for(1000);
    CHECK_INT(begin(far, &d, "/c/echo", "x", 1, SECOND / 10), 0); /* the kernel takes it, we do not */
    finish(&d);
    CHECK_INT(d.reply.status, 4);
    CHECK_INT(ct__h2_server_counts(front.server).accepted, 2);
    ct__h2_client_free(far);
    ct__h2_client_free(third);
    close_rig();
    (void)close(tcp);
}

static void doors_are_bounded(void) {
    open_rig(&PLAIN, &PLAIN);
    int doors[CT__H2_DOORS]; /* the rig has opened one */
    for (int i = 0; i < CT__H2_DOORS; i++) {
        uint16_t port = 0;
        doors[i] = listen_tcp(&port);
        CHECK_INT(ct__h2_server_listen(front.server, doors[i]), i < CT__H2_DOORS - 1 ? 0 : CT_E_FULL);
    }
    close_rig();
    for (int i = 0; i < CT__H2_DOORS; i++)
        (void)close(doors[i]);
}

static void the_near_way_is_taken_while_somebody_answers_there(void) {
    open_rig(&PLAIN, &PLAIN);
    uint16_t port = 0;
    int tcp = listen_tcp(&port);
    CHECK_INT(ct__h2_server_listen(front.server, tcp), 0);
    char far_too_long[109];
    memset(far_too_long, 'x', sizeof far_too_long - 1);
    far_too_long[108] = 0;
    static const struct {
        const char *what;
        uint64_t near;
    } steps[] = {{"there", 1}, {"refusing", 1}, {"missing", 1}, {"back", 2}};
    uint64_t accepted = 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (strcmp(steps[i].what, "refusing") == 0) { /* as a killed process leaves it */
            (void)unlink(path);
            char stale[64];
            (void)close(listen_at(stale, "front"));
        } else if (strcmp(steps[i].what, "missing") == 0) {
            (void)unlink(path);
        } else if (strcmp(steps[i].what, "back") == 0) {
            char again[64];
            const int fd = listen_at(again, "front");
            CHECK_INT(ct__h2_server_listen(front.server, fd), 0);
            (void)dup2(fd, door); /* for close_rig */
        }
        ct__h2_client *both = ct__h2_client_new(r, "127.0.0.1", port, &PLAIN);
        CHECK_INT(ct__h2_client_near(both, far_too_long), -ENAMETOOLONG);
        CHECK_INT(ct__h2_client_near(both, path), 0);
        caller c;
        CHECK_INT(begin(both, &c, "/c/echo", steps[i].what, strlen(steps[i].what), 5LL * SECOND), 0);
        finish(&c);
        CHECK_TEXT(c.body, steps[i].what);
        CHECK_INT(ct__h2_server_counts(front.server).accepted, ++accepted);
        CHECK_INT(ct__h2_server_counts(front.server).accepted_near, steps[i].near);
        ct__h2_client_free(both);
    }
    close_rig();
    (void)close(tcp);
}

int main(void) {
    static const ct_case cases[] = {CASE(several_doors_lead_to_one_server),
                                    CASE(doors_are_bounded),
                                    CASE(the_near_way_is_taken_while_somebody_answers_there)};
    return RUN("h2, doors", cases);
}
