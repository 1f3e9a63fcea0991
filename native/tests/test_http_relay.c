#define _GNU_SOURCE
#include "guest/http_relay.h"

#include "base/cursor.h"
#include "base/scope.h"
#include "proto/pbwire.h"

#include "ct_test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* The relay runs in a child and its program only stays; the test is the host, and the server where the program's would listen. */

static int host = -1, listener = -1;
static pid_t child;
static struct sockaddr_in near = {.sin_family = AF_INET};

static void set_patience(int fd) {
    const struct timeval wait = {.tv_sec = 20};
    CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
}

static void say(uint8_t kind, uint32_t call_id, const void *body, size_t len) {
    uint8_t head[CT_FRAME_HEADER_BYTES];
    CHECK_INT(ct_frame_put(head, kind, 0, call_id, len), 0);
    CHECK_INT(send(host, head, sizeof head, MSG_NOSIGNAL), sizeof head);
    CHECK_INT(len > 0 ? send(host, body, len, MSG_NOSIGNAL) : 0, len); /* after a stop without a body it may have ended already */
}

/* The body of the next frame, which must be of that kind and call. */
static const char *heard(uint8_t kind, uint32_t call_id) {
    static char body[CT_LINK_FRAME_MAX + 1];
    uint8_t head[CT_FRAME_HEADER_BYTES];
    CHECK_INT(recv(host, head, sizeof head, MSG_WAITALL), sizeof head);
    CHECK_INT(head[4], kind);
    CHECK_INT(ct__be32(head + 8), call_id);
    const size_t len = ct__be32(head);
    CHECK(len < sizeof body);
    CHECK_INT(len > 0 ? recv(host, body, len, MSG_WAITALL) : 0, len);
    body[len] = '\0';
    return body;
}

static void call(uint32_t id, const char *event, bool is_stream) {
    uint8_t body[256] = {0};
    ct_exec_head_put(body, &(ct_exec_head){.remaining_ms = 1000, .flags = is_stream});
    memcpy(body + CT_EXEC_HEAD_BYTES, event, strlen(event));
    say(CT_FRAME_EXEC, id, body, CT_EXEC_HEAD_BYTES + strlen(event));
}

/* The server's side of the next call, whose event must be this. */
static int asked(const char *event) {
    static char text[4096];
    const int fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    set_patience(fd);
    size_t len = 0;
    const char *end = NULL;
    while (end == NULL || strlen(end + 4) < strlen(event)) {
        const ssize_t got = recv(fd, text + len, sizeof text - 1 - len, 0);
        CHECK(got > 0);
        len += (size_t)got;
        text[len] = '\0';
        end = strstr(text, "\r\n\r\n");
    }
    CHECK_TEXT(end + 4, event);
    CHECK(strncmp(text, "POST / HTTP/1.1\r\n", 17) == 0 && strstr(text, "Constellation-Function: f\r\n") != NULL);
    return fd;
}

static void write_text(int fd, const char *text) {
    CHECK_INT(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void answer(int fd, const char *text) {
    write_text(fd, text);
    (void)close(fd);
}

static void listen_near(void) {
    socklen_t size = sizeof near;
    near.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(listener, (const struct sockaddr *)&near, sizeof near), 0);
    CHECK_INT(getsockname(listener, (struct sockaddr *)&near, &size), 0);
    set_patience(listener);
}

static void start(const char *const *argv, bool listens_at_once) {
    int ends[2];
    near.sin_port = 0;
    listen_near();
    if (listens_at_once)
        CHECK_INT(listen(listener, 8), 0);
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        (void)close(ends[0]);
        (void)close(listener);
        (void)setpgid(0, 0);
        exit(ct__http_relay(ends[1], ntohs(near.sin_port), (char **)(uintptr_t)argv));
    }
    (void)setpgid(child, child);
    (void)close(ends[1]);
    host = ends[0];
    set_patience(host);
    (void)heard(CT_FRAME_HELLO, 0);
    uint8_t body[64];
    ct__writer w = {.at = body, .left = sizeof body};
    ct__pb_put_bytes(&w, 2, "f", 1);
    say(CT_FRAME_INIT, 0, body, sizeof body - w.left);
}

/* The probe of readiness is a connection that asks nothing. */
static void become_ready(void) {
    CHECK_TEXT(heard(CT_FRAME_READY, 0), "\x08\x01");
    const int fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    (void)close(fd);
}

static const char *const STAYS[] = {"sleep", "1000", NULL};

static void start_serving(void) {
    start(STAYS, true);
    become_ready();
}

static int finish(void) {
    int status = 0;
    (void)close(host);
    (void)close(listener);
    CHECK_INT(waitpid(child, &status, 0), child);
    (void)kill(-child, SIGKILL);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static const char *outcome(uint8_t kind, const char *text) {
    call(1, "{}", false);
    answer(asked("{}"), text);
    return heard(kind, 1);
}

#define OK "HTTP/1.1 200 OK\r\nConnection: close\r\n"

static void answers_become_results_and_errors(void) {
    start_serving();
    CHECK_TEXT(outcome(CT_FRAME_RESULT, OK "Content-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}"), "{\"a\":1}");
    CHECK_TEXT(outcome(CT_FRAME_RESULT, OK "Content-Length: 4\r\n\r\ntrue"), "true");
    CHECK_TEXT(outcome(CT_FRAME_RESULT, OK "Content-Length: 8\r\n\r\nit's \"I\""), "\"it's \\\"I\\\"\"");
    CHECK_TEXT(outcome(CT_FRAME_RESULT, OK "Content-Type: application/json\r\nContent-Length: 4\r\n\r\noops"), "oops");
    CHECK_TEXT(outcome(CT_FRAME_RESULT, "HTTP/1.1 204 No Content\r\n\r\n"), "null");
    CHECK_TEXT(outcome(CT_FRAME_RESULT, OK "\r\n[]"), "[]");
    CHECK_TEXT(outcome(CT_FRAME_ERROR, "HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\nsorry"),
               "{\"type\":\"HTTP.500\",\"message\":\"sorry\"}");
    CHECK_TEXT(outcome(CT_FRAME_ERROR, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
               "{\"type\":\"HTTP.404\",\"message\":\"the function answered with status 404 and an empty body\"}");
    CHECK_TEXT(outcome(CT_FRAME_ERROR, "HTTP/1.1 500 No\r\nContent-Length: 42\r\n\r\n{\"errorType\":\"Mine\",\"errorMessage\":\"hers\"}"),
               "{\"type\":\"Mine\",\"message\":\"hers\"}");
    CHECK(strstr(outcome(CT_FRAME_ERROR, "SMTP\r\n\r\n"), "Runtime.InvalidResponse") != NULL);
    CHECK(strstr(outcome(CT_FRAME_ERROR, OK "Content-Length: 9\r\n\r\nhalf"), "Runtime.TruncatedResponse") != NULL);
    CHECK(strstr(outcome(CT_FRAME_ERROR, ""), "Runtime.NoResponse") != NULL);
    say(CT_FRAME_PING, 3, "p", 1);
    CHECK_TEXT(heard(CT_FRAME_PONG, 3), "p");
    say(CT_FRAME_STOP, 0, "", 0);
    CHECK_INT(finish(), 0);
}

static void calls_overlap_stream_and_are_given_up(void) {
    start_serving();
    call(1, "1", true);
    const int first = asked("1");
    call(2, "2", false);
    const int second = asked("2");
    write_text(first, OK "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    CHECK_TEXT(heard(CT_FRAME_CHUNK, 1), "abc");
    answer(second, OK "Content-Length: 1\r\n\r\n2");
    CHECK_TEXT(heard(CT_FRAME_RESULT, 2), "2");
    answer(first, "1\r\nd\r\n0\r\n\r\n");
    CHECK_TEXT(heard(CT_FRAME_CHUNK, 1), "d");
    CHECK_TEXT(heard(CT_FRAME_RESULT, 1), "");
    call(3, "3", false);
    const int third = asked("3");
    say(CT_FRAME_CANCEL, 3, "", 0);
    char byte;
    CHECK_INT(recv(third, &byte, 1, 0), 0); /* the server sees that nobody waits */
    (void)close(third);
    call(4, "4", true);
    answer(asked("4"), "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno");
    CHECK_TEXT(heard(CT_FRAME_ERROR, 4), "{\"type\":\"HTTP.500\",\"message\":\"no\"}");
    call(5, "5", false);
    say(CT_FRAME_STOP, 0, "", 0);
    answer(asked("5"), OK "Content-Length: 1\r\n\r\n5");
    CHECK_TEXT(heard(CT_FRAME_RESULT, 5), "5"); /* the call in hand is the last */
    CHECK_INT(finish(), 0);
}

static void what_is_too_long_is_refused_and_what_is_as_long_as_may_be_is_not(void) {
    start_serving();
    for (int over = 0; over < 2; over++) {
        const size_t len = CT_LINK_FRAME_MAX + (size_t)over;
        ct_automem char *text = malloc(len + 1);
        memset(text, ' ', len);
        text[0] = '1';
        text[len] = '\0';
        char head[128];
        (void)snprintf(head, sizeof head, OK "Content-Length: %zu\r\n\r\n", len);
        call(1, "0", false);
        const int fd = asked("0");
        write_text(fd, head);
        answer(fd, text);
        const char *said = heard(over ? CT_FRAME_ERROR : CT_FRAME_RESULT, 1);
        CHECK(over ? strstr(said, "ResponseSizeTooLarge") != NULL : strlen(said) == len);
    }
    CHECK_INT(finish(), 0);
}

static void readiness_is_when_it_listens(void) {
    start(STAYS, false);
    const struct timeval little = {.tv_usec = 100000};
    CHECK_INT(setsockopt(host, SOL_SOCKET, SO_RCVTIMEO, &little, sizeof little), 0);
    char byte;
    CHECK_INT(recv(host, &byte, 1, 0), -1);
    set_patience(host);
    CHECK_INT(listen(listener, 8), 0);
    become_ready();
    (void)close(listener);
    listener = -1;
    call(1, "0", false); /* refused at once, or when it is written */
    const char *said = heard(CT_FRAME_ERROR, 1);
    CHECK(strstr(said, "Runtime.No") != NULL);
    CHECK_INT(finish(), 0);
}

static void its_end_is_the_programs(void) {
    static const char *const ENDS[] = {"sh", "-c", "exit 7", NULL};
    static const char *const NOBODY[] = {"/nobody/there", NULL};
    start(ENDS, false);
    char byte;
    CHECK_INT(recv(host, &byte, 1, 0), 0);
    CHECK_INT(finish(), 7);
    start(NOBODY, false);
    CHECK(strstr(heard(CT_FRAME_READY, 0) + 2, "/nobody/there can not be run: ") != NULL);
    CHECK_INT(finish(), 0);
    start_serving();
    say(CT_FRAME_INIT, 0, "", 0); /* a second time */
    CHECK_INT(finish(), 1);
}

int main(void) {
    static const ct_case CASES[] = {
        CASE(answers_become_results_and_errors),
        CASE(calls_overlap_stream_and_are_given_up),
        CASE(what_is_too_long_is_refused_and_what_is_as_long_as_may_be_is_not),
        CASE(readiness_is_when_it_listens),
        CASE(its_end_is_the_programs),
    };
    return RUN("http_relay", CASES);
}
