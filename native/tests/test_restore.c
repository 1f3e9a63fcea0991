#include "vm/restore.h"

#include "ct_test.h"

#include <errno.h>

#define DONE "HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n"
#define CLOSING "HTTP/1.1 204 \r\nConnection: close\r\n\r\n"
#define LOAD_BODY "{\"snapshot_path\":\"/snap\",\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"/mem\"},\"resume_vm\":false}"

static const ct__restore_plan PLAN = {.snapshot = "/snap", .memory = "/mem", .port = 52};

static ct__restore machine;
static ct__restore_action now;

static void start(ct__restore_plan plan) {
    CHECK_INT(ct__restore_init(&machine, &plan, &now), 0);
    CHECK_INT(now.order, CT__RESTORE_CONNECT_API);
}

static void take(enum ct__restore_event event) {
    now = ct__restore_take(&machine, event, NULL, 0);
}

static void receive(const char *text) {
    now = ct__restore_take(&machine, CT__RESTORE_BYTES, (const uint8_t *)text, strlen(text));
}

static void expect_sent(const char *begin, const char *end) {
    CHECK_INT(now.order, CT__RESTORE_SEND);
    CHECK(now.bytes.len >= strlen(begin) + strlen(end));
    CHECK(memcmp(now.bytes.at, begin, strlen(begin)) == 0);
    CHECK(memcmp(now.bytes.at + now.bytes.len - strlen(end), end, strlen(end)) == 0);
}

static void expect_failure(enum ct__restore_step step, int code, uint32_t status, const char *fault) {
    CHECK_INT(now.order, CT__RESTORE_FAILED);
    CHECK_INT(machine.step, step);
    CHECK_INT(machine.code, code);
    CHECK_INT(machine.status, status);
    CHECK_TEXT(machine.fault, fault);
}

/* Up to where the agent's port is asked for. */
static void greet(void) {
    start(PLAN);
    take(CT__RESTORE_CONNECTED);
    receive(DONE);
    receive(DONE);
    take(CT__RESTORE_CONNECTED);
    expect_sent("CONNECT 52\n", "");
}

static void a_machine_is_loaded_resumed_and_greeted(void) {
    start(PLAN);
    take(CT__RESTORE_CONNECTED);
    expect_sent("PUT /snapshot/load HTTP/1.1\r\n", "\r\n\r\n" LOAD_BODY);
    CHECK_INT(machine.step, CT__RESTORE_LOAD);
    receive(DONE);
    expect_sent("PATCH /vm HTTP/1.1\r\n", "\r\n\r\n{\"state\":\"Resumed\"}");
    CHECK_INT(machine.step, CT__RESTORE_RESUME);
    receive(DONE);
    CHECK_INT(now.order, CT__RESTORE_CONNECT_VSOCK);
    CHECK_INT(machine.step, CT__RESTORE_HELLO);
    take(CT__RESTORE_CONNECTED);
    expect_sent("CONNECT 52\n", "");
    CHECK_INT(now.bytes.len, strlen("CONNECT 52\n"));
    receive("OK 1073741824\n");
    CHECK_INT(now.order, CT__RESTORE_READY);
    CHECK_INT(now.bytes.len, 0);
    CHECK_INT(machine.step, CT__RESTORE_DONE);
}

static void a_load_may_resume_and_its_memory_be_served(void) {
    start((ct__restore_plan){.snapshot = "/snap", .memory = "/uffd.sock", .memory_is_served = true, .load_resumes = true, .port = 1});
    take(CT__RESTORE_CONNECTED);
    expect_sent("PUT /snapshot/load ", "\r\n\r\n{\"snapshot_path\":\"/snap\",\"mem_backend\":{\"backend_type\":\"Uffd\","
                                       "\"backend_path\":\"/uffd.sock\"},\"resume_vm\":true}");
    receive(DONE);
    CHECK_INT(now.order, CT__RESTORE_CONNECT_VSOCK);
    CHECK_INT(machine.step, CT__RESTORE_HELLO);
}

static void answers_come_in_pieces(void) {
    start(PLAN);
    take(CT__RESTORE_CONNECTED);
    for (const char *at = DONE; at[1] != '\0'; at++) {
        receive((char[]){*at, '\0'});
        CHECK_INT(now.order, CT__RESTORE_WAIT);
    }
    receive("\n");
    expect_sent("PATCH /vm ", "}");
    receive("HTTP/1.1 100 \r\n\r\n");
    CHECK_INT(now.order, CT__RESTORE_WAIT);
    receive(DONE);
    take(CT__RESTORE_CONNECTED);
    for (const char *at = "OK 12"; *at != '\0'; at++) {
        receive((char[]){*at, '\0'});
        CHECK_INT(now.order, CT__RESTORE_WAIT);
    }
    receive("\n");
    CHECK_INT(now.order, CT__RESTORE_READY);
}

static void the_agents_bytes_are_handed_over(void) {
    greet();
    static const char TEXT[] = "OK 9\nhello";
    receive(TEXT);
    CHECK_INT(now.order, CT__RESTORE_READY);
    CHECK(ct__span_is(now.bytes, "hello"));
    CHECK(now.bytes.at == (const uint8_t *)TEXT + 5); /* borrowed */
}

static void a_closing_api_is_connected_anew(void) {
    start(PLAN);
    take(CT__RESTORE_CONNECTED);
    receive(CLOSING);
    CHECK_INT(now.order, CT__RESTORE_CONNECT_API);
    CHECK_INT(machine.step, CT__RESTORE_RESUME);
    take(CT__RESTORE_CONNECTED);
    expect_sent("PATCH /vm ", "}");
    receive(CLOSING);
    CHECK_INT(now.order, CT__RESTORE_CONNECT_VSOCK);
}

static void a_refusal_is_told_in_firecrackers_words(void) {
    start(PLAN);
    take(CT__RESTORE_CONNECTED);
    receive("HTTP/1.1 400 \r\nContent-Type: application/json\r\nContent-Length: 41\r\n\r\n{\"fault_message\":");
    CHECK_INT(now.order, CT__RESTORE_WAIT);
    receive("\"Cannot load snapshot\"}");
    CHECK_INT(now.order, CT__RESTORE_WAIT);
    receive(" ");
    expect_failure(CT__RESTORE_LOAD, -EREMOTEIO, 400, "Cannot load snapshot");

    start(PLAN);
    take(CT__RESTORE_CONNECTED);
    receive(DONE);
    receive("HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n");
    expect_failure(CT__RESTORE_RESUME, -EREMOTEIO, 500, "");
}

static void a_long_fault_is_cut(void) {
    char text[1024];
    char words[CT__RESTORE_FAULT_BYTES + 101];
    memset(words, 'w', sizeof words);
    words[sizeof words - 1] = '\0';
    (void)snprintf(text, sizeof text, "HTTP/1.1 400 \r\nContent-Length: %zu\r\n\r\n{\"fault_message\":\"%s\"}", strlen(words) + 20, words);
    start(PLAN);
    take(CT__RESTORE_CONNECTED);
    receive(text);
    words[CT__RESTORE_FAULT_BYTES] = '\0';
    expect_failure(CT__RESTORE_LOAD, -EREMOTEIO, 400, words);
}

static void other_answers_are_malformed(void) {
    static const struct {
        const char *text;
        int code;
    } ANSWERS[] = {
        {"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n{}", CT_E_MALFORMED},
        {"HTTP/1.1 304 \r\n\r\n", CT_E_MALFORMED},
        {DONE "H", CT_E_MALFORMED}, /* nothing more was asked for */
        {DONE DONE, CT_E_MALFORMED},
        {"HTTP/1.1 204\n\n", CT_E_MALFORMED},
        {"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n", CT_E_UNSUPPORTED},
        {"HTTP/1.1 400 \r\nContent-Length: 70000\r\n\r\n", CT_E_TOOBIG},
    };
    for (size_t i = 0; i < sizeof ANSWERS / sizeof *ANSWERS; i++) {
        start(PLAN);
        take(CT__RESTORE_CONNECTED);
        receive(ANSWERS[i].text);
        expect_failure(CT__RESTORE_LOAD, ANSWERS[i].code, 0, "");
    }
}

/* An answer of exactly `size` bytes, and `more` behind it, at once or byte by byte. */
static void receive_sized(size_t size, size_t more, size_t step) {
    static char text[CT__RESTORE_INPUT_BYTES + 64];
    memset(text, ' ', sizeof text);
    const int head = sprintf(text, "HTTP/1.1 400 \r\nContent-Length: %4zu\r\n\r\n", size - 39);
    CHECK_INT(head, 39);
    text[head] = ' ';
    start(PLAN);
    take(CT__RESTORE_CONNECTED);
    for (size_t at = 0; at < size + more && now.order != CT__RESTORE_FAILED; at += step)
        now = ct__restore_take(&machine, CT__RESTORE_BYTES, (const uint8_t *)text + at, size + more - at < step ? size + more - at : step);
}

static void an_answer_has_a_bound(void) {
    for (size_t step = 1; step <= CT__RESTORE_INPUT_BYTES + 64; step += CT__RESTORE_INPUT_BYTES + 63) {
        receive_sized(CT__RESTORE_INPUT_BYTES, 0, step);
        expect_failure(CT__RESTORE_LOAD, -EREMOTEIO, 400, "");
        receive_sized(CT__RESTORE_INPUT_BYTES + 1, 0, step);
        expect_failure(CT__RESTORE_LOAD, CT_E_TOOBIG, 0, "");
    }
}

static void a_wrong_greeting_fails(void) {
    greet();
    receive("NO\n");
    expect_failure(CT__RESTORE_HELLO, CT_E_MALFORMED, 0, "");
    greet();
    receive("OK 99999999999\n");
    expect_failure(CT__RESTORE_HELLO, CT_E_RANGE, 0, "");
}

static void a_deadline_or_an_end_fails_the_step(void) {
    static const int ENDS[] = {CT__RESTORE_TIMEOUT, CT__RESTORE_CLOSED};
    for (size_t i = 0; i < 2; i++) {
        const enum ct__restore_event end = (enum ct__restore_event)ENDS[i];
        const int code = i == 0 ? CT_E_TIMEOUT : CT_E_DIED;
        start(PLAN);
        take(end);
        expect_failure(CT__RESTORE_LOAD, code, 0, "");
        start(PLAN);
        take(CT__RESTORE_CONNECTED);
        receive("HTTP/1.1 2");
        take(end);
        expect_failure(CT__RESTORE_LOAD, code, 0, "");
        start(PLAN);
        take(CT__RESTORE_CONNECTED);
        receive(DONE);
        take(end);
        expect_failure(CT__RESTORE_RESUME, code, 0, "");
        receive(DONE); /* too late */
        expect_failure(CT__RESTORE_RESUME, code, 0, "");
        start(PLAN);
        take(CT__RESTORE_CONNECTED);
        receive(DONE);
        receive(DONE);
        take(end); /* before the port was asked for */
        expect_failure(CT__RESTORE_HELLO, code, 0, "");
        greet();
        take(end);
        expect_failure(CT__RESTORE_HELLO, i == 0 ? CT_E_TIMEOUT : -ECONNREFUSED, 0, "");
    }
}

static void events_that_fit_no_connection_fail(void) {
    start(PLAN);
    receive(DONE);
    expect_failure(CT__RESTORE_LOAD, CT_E_RANGE, 0, "");
    start(PLAN);
    take(CT__RESTORE_CONNECTED);
    take(CT__RESTORE_CONNECTED);
    expect_failure(CT__RESTORE_LOAD, CT_E_RANGE, 0, "");
    start(PLAN);
    now = ct__restore_take(&machine, (enum ct__restore_event)99, NULL, 0);
    expect_failure(CT__RESTORE_LOAD, CT_E_RANGE, 0, "");
}

static void what_is_ready_stays_ready(void) {
    greet();
    receive("OK 9\n");
    take(CT__RESTORE_CLOSED);
    CHECK_INT(now.order, CT__RESTORE_READY);
    CHECK_INT(machine.step, CT__RESTORE_DONE);
    CHECK_INT(machine.code, 0);
}

static void paths_are_quoted_and_bounded(void) {
    char path[CT__RESTORE_PATH_BYTES + 2];
    start((ct__restore_plan){.snapshot = "/a\"b\\c\n", .memory = "/\x01\xc3\xa9", .port = 1});
    take(CT__RESTORE_CONNECTED);
    expect_sent("PUT ", "{\"snapshot_path\":\"/a\\\"b\\\\c\\n\",\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"/\\u0001\xc3\xa9\"},\"resume_vm\":false}");
    memset(path, 1, sizeof path); /* each becomes six */
    path[CT__RESTORE_PATH_BYTES] = '\0';
    start((ct__restore_plan){.snapshot = path, .memory = path, .port = 1});
    take(CT__RESTORE_CONNECTED);
    expect_sent("PUT ", "},\"resume_vm\":false}");
    path[CT__RESTORE_PATH_BYTES] = 1;
    path[CT__RESTORE_PATH_BYTES + 1] = '\0';
    static const char *const LATIN1 = "/\xe9";
    const struct {
        ct__restore_plan plan;
        int code;
    } REFUSED[] = {
        {{.snapshot = path, .memory = "/m"}, CT_E_TOOBIG},
        {{.snapshot = "/s", .memory = path}, CT_E_TOOBIG},
        {{.snapshot = "", .memory = "/m"}, CT_E_RANGE},
        {{.snapshot = "/s", .memory = ""}, CT_E_RANGE},
        {{.snapshot = LATIN1, .memory = "/m"}, CT_E_MALFORMED},
        {{.snapshot = "/s", .memory = LATIN1}, CT_E_MALFORMED},
        {{.snapshot = "/s", .memory = "/m", .port = UINT32_MAX}, CT_E_RANGE},
    };
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++)
        CHECK_INT(ct__restore_init(&machine, &REFUSED[i].plan, &now), REFUSED[i].code);
}

int main(void) {
    static const ct_case CASES[] = {
        CASE(a_machine_is_loaded_resumed_and_greeted),
        CASE(a_load_may_resume_and_its_memory_be_served),
        CASE(answers_come_in_pieces),
        CASE(the_agents_bytes_are_handed_over),
        CASE(a_closing_api_is_connected_anew),
        CASE(a_refusal_is_told_in_firecrackers_words),
        CASE(a_long_fault_is_cut),
        CASE(other_answers_are_malformed),
        CASE(an_answer_has_a_bound),
        CASE(a_wrong_greeting_fails),
        CASE(a_deadline_or_an_end_fails_the_step),
        CASE(events_that_fit_no_connection_fail),
        CASE(what_is_ready_stays_ready),
        CASE(paths_are_quoted_and_bounded),
    };
    return RUN("restore", CASES);
}
