#include "vm/vsock_hello.h"

#include "ct_test.h"

static const char *hello_to(uint32_t port) {
    static char out[CT__VSOCK_HELLO_BYTES + 1];
    uint8_t *exact = malloc(CT__VSOCK_HELLO_BYTES);
    CHECK(exact != NULL);
    const int len = ct__vsock_hello_put(exact, port);
    CHECK(len > 0 && len <= CT__VSOCK_HELLO_BYTES);
    memcpy(out, exact, (size_t)len);
    out[len] = '\0';
    free(exact);
    return out;
}

static void a_port_is_asked_for(void) {
    CHECK_TEXT(hello_to(52), "CONNECT 52\n");
    CHECK_TEXT(hello_to(0), "CONNECT 0\n");
    CHECK_TEXT(hello_to(UINT32_MAX - 1), "CONNECT 4294967294\n");
    uint8_t out[CT__VSOCK_HELLO_BYTES];
    CHECK_INT(ct__vsock_hello_put(out, UINT32_MAX), CT_E_RANGE);
}

/* Reads it at once and byte by byte; both must say the same. */
static int answer_of(const char *text, uint32_t *port, size_t *used) {
    const size_t len = strlen(text);
    ct__vsock_hello hello = {0}, slow = {0};
    const int whole = ct__vsock_hello_read(&hello, (const uint8_t *)text, len, used);
    int result = CT_E_MORE;
    size_t taken = 0;
    for (; taken < len && result == CT_E_MORE; taken++) {
        size_t one = 0;
        result = ct__vsock_hello_read(&slow, (const uint8_t *)text + taken, 1, &one);
        CHECK(result != 0 || one == 1);
    }
    CHECK_INT(result, whole);
    if (whole == 0) {
        CHECK_INT(taken, *used);
        CHECK_INT(slow.port, hello.port);
        *port = (uint32_t)hello.port;
    }
    return whole;
}

static void the_answer_names_the_hosts_port(void) {
    uint32_t port = 0;
    size_t used = 0;
    CHECK_INT(answer_of("OK 1073741824\n", &port, &used), 0);
    CHECK_INT(port, 1073741824);
    CHECK_INT(used, 14);
    CHECK_INT(answer_of("OK 4294967295\n", &port, &used), 0);
    CHECK_INT(port, 4294967295);
    CHECK_INT(answer_of("OK 0\n", &port, &used), 0);
    CHECK_INT(port, 0);
}

static void what_follows_is_the_guests(void) {
    uint32_t port = 0;
    size_t used = 0;
    CHECK_INT(answer_of("OK 7\nOK 8\n", &port, &used), 0);
    CHECK_INT(port, 7);
    CHECK_INT(used, 5);
}

static void an_answer_may_be_unfinished(void) {
    static const char TEXT[] = "OK 42";
    char part[sizeof TEXT];
    uint32_t port;
    size_t used;
    for (size_t len = 0; len < sizeof TEXT; len++) {
        memcpy(part, TEXT, len);
        part[len] = '\0';
        CHECK_INT(answer_of(part, &port, &used), CT_E_MORE);
    }
}

static void anything_else_is_refused(void) {
    static const char *const MALFORMED[] = {"ok 1\n", "OK1\n", "OK\n", "OK \n", "OK  1\n", "OK 1 \n", "OK 1\r\n", "OK +1\n", "OK -1\n", "OK 0x1\n",
                                            "OK 01\n", "OK 00\n", "OK 1a\n", "\n", " OK 1\n", "CONNECT 1\n", "HTTP/1.1 400 \r\n", "OK \xb2\n"};
    uint32_t port;
    size_t used;
    for (size_t i = 0; i < sizeof MALFORMED / sizeof *MALFORMED; i++)
        CHECK_INT(answer_of(MALFORMED[i], &port, &used), CT_E_MALFORMED);
    CHECK_INT(answer_of("OK 4294967296\n", &port, &used), CT_E_RANGE);
    CHECK_INT(answer_of("OK 99999999999999999999999999", &port, &used), CT_E_RANGE);
}

int main(void) {
    static const ct_case CASES[] = {
        CASE(a_port_is_asked_for),       CASE(the_answer_names_the_hosts_port), CASE(what_follows_is_the_guests),
        CASE(an_answer_may_be_unfinished), CASE(anything_else_is_refused),
    };
    return RUN("vsock_hello", CASES);
}
