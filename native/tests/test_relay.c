#define _GNU_SOURCE
#include "guest/relay.h"

#include "base/cursor.h"
#include "base/scope.h"
#include "proto/pbwire.h"

#include "ct_test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* The relay runs in a child; its program writes where the API is into a pipe and stays. The test is host and program. */

#define ROOT "/2018-06-01/runtime/"
#define ID "00000000-0000-0000-0000-000000000000"

static char place[64];
static int host = -1;
static int program = -1;
static int printed = -1; /* by the program */
static pid_t child;
static struct sockaddr_in api = {.sin_family = AF_INET};

static void set_patience(int fd) {
    const struct timeval wait = {.tv_sec = 20};
    CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
}

static void say(uint8_t kind, uint32_t call_id, const void *body, size_t len) {
    uint8_t head[CT_FRAME_HEADER_BYTES];
    CHECK_INT(ct_frame_put(head, kind, 0, call_id, len), 0);
    CHECK_INT(send(host, head, sizeof head, MSG_NOSIGNAL), sizeof head);
    CHECK_INT(send(host, body, len, MSG_NOSIGNAL), len);
}

/* The body of the next frame, which must be of that kind. */
static const char *heard(uint8_t kind) {
    static char body[4096];
    uint8_t head[CT_FRAME_HEADER_BYTES];
    CHECK_INT(recv(host, head, sizeof head, MSG_WAITALL), sizeof head);
    CHECK_INT(head[4], kind);
    const size_t len = ct__be32(head);
    CHECK(len < sizeof body);
    CHECK_INT(recv(host, body, len, MSG_WAITALL), len);
    body[len] = '\0';
    return body;
}

static void call(const char *event, bool is_stream) {
    uint8_t body[256] = {0};
    ct_exec_head_put(body, &(ct_exec_head){.remaining_ms = 1000, .flags = is_stream});
    memcpy(body + CT_EXEC_HEAD_BYTES, event, strlen(event));
    say(CT_FRAME_EXEC, 1, body, CT_EXEC_HEAD_BYTES + strlen(event));
}

static int connected(void) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    set_patience(fd);
    CHECK_INT(connect(fd, (const struct sockaddr *)&api, sizeof api), 0);
    return fd;
}

static void ask(int fd, const char *text) {
    CHECK_INT(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What comes until it ends with `last`. */
static const char *answered(int fd, const char *last) {
    static char text[8192];
    size_t len = 0;
    do {
        const ssize_t got = recv(fd, text + len, sizeof text - 1 - len, 0);
        CHECK(got > 0);
        len += (size_t)got;
        text[len] = '\0';
    } while (len < strlen(last) || strcmp(text + len - strlen(last), last) != 0);
    return text;
}

static void write_program(const char *text) {
    char path[96];
    (void)snprintf(path, sizeof path, "%s/bootstrap", place);
    FILE *file = fopen(path, "we");
    CHECK(file != NULL && fputs(text, file) >= 0 && fchmod(fileno(file), 0755) == 0);
    CHECK_INT(fclose(file), 0);
}

static void start(const char *text) {
    int ends[2], said[2];
    write_program(text);
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    CHECK_INT(pipe2(said, O_CLOEXEC), 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        (void)close(ends[0]);
        (void)setpgid(0, 0);
        if (dup2(said[1], STDOUT_FILENO) < 0)
            _exit(99);
        exit(ct__relay(ends[1], "provided"));
    }
    (void)close(ends[1]);
    (void)close(said[1]);
    host = ends[0];
    set_patience(host);
    (void)heard(CT_FRAME_HELLO);
    uint8_t body[256];
    ct__writer w = {.at = body, .left = sizeof body};
    ct__pb_put_bytes(&w, 2, "f", 1);
    ct__pb_put_bytes(&w, 9, place, strlen(place));
    say(CT_FRAME_INIT, 0, body, sizeof body - w.left);
    printed = said[0];
}

static void find_api(void) {
    char address[64] = {0};
    unsigned port = 0;
    CHECK(read(printed, address, sizeof address - 1) > 0);
    CHECK_INT(sscanf(address, "127.0.0.1:%u", &port), 1);
    api.sin_port = htons((uint16_t)port);
    api.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

static void start_serving(void) {
    start("#!/bin/sh\necho $AWS_LAMBDA_RUNTIME_API\nexec sleep 1000\n");
    find_api();
    program = connected();
    ask(program, "GET " ROOT "invocation/next HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK_TEXT(heard(CT_FRAME_READY), "\x08\x01");
}

/* Returns the status that the relay ends with, once the host has gone. */
static int stopped(void) {
    int status = 0;
    (void)close(host);
    (void)close(printed);
    if (program >= 0)
        (void)close(program);
    program = -1;
    CHECK_INT(waitpid(child, &status, 0), child);
    (void)kill(-child, SIGKILL); /* the program, which no sandbox ends */
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void calls_and_answers_pass(void) {
    start_serving();
    for (int i = 0; i < 3; i++) {
        call("[1]", false);
        CHECK(strstr(answered(program, "\r\n\r\n[1]"), "Lambda-Runtime-Aws-Request-Id: " ID "\r\n") != NULL);
        ask(program, "POST " ROOT "invocation/" ID "/response HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n[2]");
        CHECK_TEXT(heard(CT_FRAME_RESULT), "[2]");
        (void)answered(program, "{\"status\":\"OK\"}\n");
        ask(program, "GET " ROOT "invocation/next HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    CHECK_INT(stopped(), 0);
}

static void a_stream_passes_and_its_late_error(void) {
    start_serving();
    call("[1]", true);
    (void)answered(program, "[1]");
    ask(program, "POST " ROOT "invocation/" ID "/response HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    CHECK_TEXT(heard(CT_FRAME_CHUNK), "one");
    ask(program, "0\r\nLambda-Runtime-Function-Error-Type: Odd\r\nLambda-Runtime-Function-Error-Body: !!!!\r\n\r\n");
    CHECK_TEXT(heard(CT_FRAME_ERROR), "{\"type\":\"Odd\",\"message\":\"\"}");
    (void)answered(program, "{\"status\":\"OK\"}\n");
    CHECK_INT(stopped(), 0);
}

/* Whatever else comes, the call in hand is answered in the end. */
static void nonsense_changes_nothing(void) {
    static const char *const NONSENSE[] = {
        "\x16\x03\x01", "GET / HTTP/1.1\r\n\r\n", "POST " ROOT "invocation/x/response HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        "POST " ROOT "init/error HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nA: b\r\n\r\n",
        "POST " ROOT "invocation/" ID "/response HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "GET " ROOT "invocation/next HTTP/1.1\r\nHost: x\r\n\r\n", "DELETE /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    };
    start_serving();
    call("[1]", false);
    (void)answered(program, "[1]");
    for (size_t i = 0; i < sizeof NONSENSE / sizeof *NONSENSE; i++) {
        const int fd = connected();
        ask(fd, NONSENSE[i]);
        CHECK(strstr(answered(fd, "\"}\n"), "HTTP/1.1 4") != NULL);
        (void)close(fd);
    }
    int many[40]; /* more than are served at a time, and than wait */
    for (size_t i = 0; i < 40; i++) {
        many[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        CHECK(many[i] >= 0);
        (void)connect(many[i], (const struct sockaddr *)&api, sizeof api);
    }
    for (size_t i = 0; i < 40; i++)
        (void)close(many[i]);
    ask(program, "POST " ROOT "invocation/" ID "/error HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n7");
    CHECK_TEXT(heard(CT_FRAME_ERROR), "{\"type\":\"Error\",\"message\":\"7\"}");
    CHECK_INT(stopped(), 0);
}

static void a_program_that_is_none_is_told(void) {
    start("neither a script nor a program");
    CHECK(strstr(heard(CT_FRAME_READY), "Runtime.InvalidEntrypoint") != NULL);
    CHECK_INT(stopped(), 0);
}

static void it_ends_as_its_program(void) {
    start("#!/bin/sh\nexit 9\n");
    char byte = 0;
    CHECK_INT(recv(host, &byte, 1, 0), 0); /* the program's end is the relay's, and so the channel's */
    CHECK_INT(stopped(), 9);
}

int main(void) {
    (void)snprintf(place, sizeof place, "/tmp/ct-relay-XXXXXX");
    CHECK(mkdtemp(place) != NULL);
    static const ct_case cases[] = {CASE(calls_and_answers_pass), CASE(a_stream_passes_and_its_late_error), CASE(nonsense_changes_nothing),
                                    CASE(a_program_that_is_none_is_told), CASE(it_ends_as_its_program)};
    const int result = RUN("relay", cases);
    char path[96];
    (void)snprintf(path, sizeof path, "%s/bootstrap", place);
    (void)unlink(path);
    (void)rmdir(place);
    return result;
}
