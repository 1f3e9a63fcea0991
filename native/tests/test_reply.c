#include "edge/reply.h"

#include "base/cursor.h"
#include "proto/pbwire.h"

#include "ct_test.h"

static const char ID[] = "0190b5a0-7a3b-7c00-8000-0123456789ab";

static ct__span span(const char *text) {
    return (ct__span){(const uint8_t *)text, strlen(text)};
}

static const char *written(const ct__reply *reply) {
    static char out[4096];
    const size_t room = ct__reply_room(reply);
    uint8_t *exact = malloc(room);
    CHECK(exact != NULL && room < sizeof out);
    const size_t len = ct__reply_write(exact, reply, ID, "date: x\r\n");
    CHECK(len <= room);
    memcpy(out, exact, len);
    out[len] = '\0';
    free(exact);
    return out;
}

static void a_message_is_read(void) {
    uint8_t message[256];
    ct__writer w = {.at = message, .left = sizeof message};
    ct__pb_put_bytes(&w, 1, "id", 2);
    ct__pb_put_bytes(&w, 2, "{}", 2);
    ct__pb_put_bytes(&w, 3, "[]", 2);
    static const uint8_t DURATION[] = {0x21, 0, 0, 0, 0, 0, 0, 0xF4, 0x3F}; /* field 4: 1.25 */
    ct__write_bytes(&w, DURATION, sizeof DURATION);
    ct__pb_put_varint(&w, 5, 1);
    ct__pb_put_bytes(&w, 6, "7", 1);
    ct__pb_put_bytes(&w, 99, "more", 4);
    const size_t len = sizeof message - w.left;
    ct__reply reply;
    CHECK_INT(ct__reply_read(message, len, &reply), 0);
    CHECK(ct__span_is(reply.request_id, "id") && ct__span_is(reply.output, "{}") && ct__span_is(reply.error, "[]"));
    CHECK(ct__span_is(reply.version, "7") && reply.is_cold && reply.duration_ms == 1.25);
    for (size_t part = 1; part < len; part++) {
        uint8_t *exact = malloc(part);
        CHECK(exact != NULL);
        memcpy(exact, message, part);
        (void)ct__reply_read(exact, part, &reply);
        free(exact);
    }
    CHECK_INT(ct__reply_read(message, 0, &reply), 0);
    CHECK(reply.output.len == 0 && reply.duration_ms == 0);
    CHECK_INT(ct__reply_read((const uint8_t *)"\x0A\x05x", 3, &reply), CT_E_MORE);
}

static void an_answer_is_written(void) {
    ct__reply reply = {.output = span("[1]"), .version = span("1"), .duration_ms = 1.25};
    CHECK_TEXT(written(&reply),
               "HTTP/1.1 200 \r\ncontent-type: application/json\r\ncontent-length: 132\r\n"
               "x-nova-version: 1\r\nx-request-id: 0190b5a0-7a3b-7c00-8000-0123456789ab\r\ndate: x\r\n\r\n"
               "{\"request_id\":\"0190b5a0-7a3b-7c00-8000-0123456789ab\",\"output\":[1],\"error\":null,"
               "\"duration_ms\":1.250,\"cold_start\":false,\"version\":\"1\"}");
    reply = (ct__reply){.request_id = span("theirs"), .is_cold = true, .version = span("a\"\n")};
    CHECK(strstr(written(&reply), "x-nova-version") == NULL);
    CHECK_TEXT(strstr(written(&reply), "{"), "{\"request_id\":\"theirs\",\"output\":null,\"error\":null,\"duration_ms\":0.000,"
                                             "\"cold_start\":true,\"version\":\"a\\\"\\n\"}");
    reply = (ct__reply){.output = span("1"), .error = span("{\"type\":\"Bad\"}"), .version = span("1")};
    CHECK(strstr(written(&reply), "\r\nx-nova-function-error: Bad\r\n") != NULL);
    CHECK(strstr(written(&reply), "\"output\":null,\"error\":{\"type\":\"Bad\"},") != NULL);
}

static void durations_have_three_digits_as_printf_rounds_them(void) {
    static const double MS[] = {0, 0.0004, 0.0005, 0.0015, 0.0025, 0.001, 1.0005, 2.675, 12.3456, 999.9995, 999.9994, 123456.7891,
                                1e6 - 0.0001, 1e6, 1e9, 1e300, -1, -0.0004, 0.1, 0.7, 2.5e-320};
    for (size_t i = 0; i < sizeof MS / sizeof *MS; i++) {
        char want[400];
        (void)snprintf(want, sizeof want, "\"duration_ms\":%.3f,", MS[i]);
        const ct__reply reply = {.duration_ms = MS[i]};
        if (strstr(written(&reply), want) == NULL)
            CHECK_TEXT(written(&reply), want);
    }
    uint64_t state = 88172645463325252;
    for (int i = 0; i < 200000; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        const ct__reply reply = {.duration_ms = (double)(state % 100000000) / 10000 / (double)(1 + state % 7)};
        char want[400];
        (void)snprintf(want, sizeof want, "\"duration_ms\":%.3f,", reply.duration_ms);
        if (strstr(written(&reply), want) == NULL)
            CHECK_TEXT(written(&reply), want);
    }
}

static const char *type(const char *error) {
    static char out[CT__ERROR_TYPE_BYTES + 1];
    out[ct__reply_error_type(span(error), out)] = '\0';
    return out;
}

static void the_type_of_an_error(void) {
    CHECK_TEXT(type("{\"type\":\"ValueError\",\"message\":\"m\"}"), "ValueError");
    CHECK_TEXT(type("{\"message\":\"m\"}"), "Error");
    CHECK_TEXT(type("{\"type\":5}"), "Error");
    CHECK_TEXT(type("{\"type\":\"A\",\"message\":null}"), "Error");
    CHECK_TEXT(type("{\"type\":\"\"}"), "Error");
    CHECK_TEXT(type("{\"type\":\"\\r\\n\"}"), "Error");
    CHECK_TEXT(type("{\"type\":\"A\""), "Error");
    CHECK_TEXT(type(""), "Error");
}

static void the_end_of_an_answer_in_pieces(void) {
    uint8_t message[512];
    ct__writer w = {.at = message, .left = sizeof message};
    ct__pb_put_bytes(&w, 1, "id", 2);
    ct__pb_put_bytes(&w, 2, "[]", 2);
    static const uint8_t DURATION[] = {0x19, 0, 0, 0, 0, 0, 0, 0xF4, 0x3F}; /* field 3: 1.25 */
    ct__write_bytes(&w, DURATION, sizeof DURATION);
    ct__pb_put_varint(&w, 4, 1);
    ct__pb_put_bytes(&w, 5, "7", 1);
    ct__reply end;
    CHECK_INT(ct__reply_read_end(message, sizeof message - w.left, &end), 0);
    CHECK(ct__span_is(end.error, "[]") && end.output.len == 0);
    uint8_t out[CT__REPLY_END_BYTES];
    out[ct__reply_end(out, &end, ID)] = '\0';
    CHECK_TEXT((const char *)out, "{\"request_id\":\"id\",\"duration_ms\":1.250,\"cold_start\":true,\"version\":\"7\"}");
    CHECK_INT(ct__reply_read_end(message, 0, &end), 0);
    out[ct__reply_end(out, &end, ID)] = '\0';
    CHECK_TEXT((const char *)out, "{\"request_id\":\"0190b5a0-7a3b-7c00-8000-0123456789ab\",\"duration_ms\":0.000,"
                                  "\"cold_start\":false,\"version\":\"\"}");
    CHECK_INT(ct__reply_read_end(message, 1, &end), CT_E_MORE);
    char version[CT__VERSION_BYTES + 1];
    memset(version, 1, sizeof version);
    w = (ct__writer){.at = message, .left = sizeof message};
    ct__pb_put_bytes(&w, 5, version, CT__VERSION_BYTES);
    CHECK_INT(ct__reply_read_end(message, sizeof message - w.left, &end), 0);
    CHECK(ct__reply_end(out, &end, ID) < sizeof out); /* each byte is an escape */
    w = (ct__writer){.at = message, .left = sizeof message};
    ct__pb_put_bytes(&w, 5, version, sizeof version);
    CHECK_INT(ct__reply_read_end(message, sizeof message - w.left, &end), CT_E_MALFORMED);
}

int main(void) {
    static const ct_case cases[] = {CASE(a_message_is_read), CASE(an_answer_is_written),
                                    CASE(durations_have_three_digits_as_printf_rounds_them), CASE(the_type_of_an_error),
                                    CASE(the_end_of_an_answer_in_pieces)};
    return RUN("reply", cases);
}
