#include "h2/text.h"

#include "ct_test.h"

static ct__h2_span span(const char *text) {
    return (ct__h2_span){(const uint8_t *)text, strlen(text)};
}

static void timeouts_are_read_strictly(void) {
    uint64_t ns = 7;
    CHECK(ct__h2_timeout_get(span("5S"), &ns) && ns == 5000000000);
    CHECK(ct__h2_timeout_get(span("99999999H"), &ns) && ns == UINT64_MAX);
    CHECK(ct__h2_timeout_get(span("0n"), &ns) && ns == 0);
    CHECK(ct__h2_timeout_get(span("20m"), &ns) && ns == 20000000);
    CHECK(ct__h2_timeout_get(span("3u"), &ns) && ns == 3000);
    CHECK(ct__h2_timeout_get(span("2M"), &ns) && ns == 120000000000);
    static const char *const wrong[] = {"", "S", "5", "5s", "-5S", "+5S", " 5S", "5 S", "123456789S", "1.5S", "0x1S"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK(!ct__h2_timeout_get(span(wrong[i]), &ns));
}

static void timeouts_are_written_rounded_up(void) {
    static const struct {
        uint64_t ns;
        const char *text;
    } cases[] = {{0, "0n"},           {99999999, "99999999n"},       {100000001, "100001u"},
                 {30000000000, "30000000u"}, {UINT64_C(100000000001), "100001m"}, {UINT64_MAX, "5124096H"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t out[CT__H2_TIMEOUT_BYTES + 1] = {0};
        const size_t len = ct__h2_timeout_put(out, cases[i].ns);
        CHECK(len <= CT__H2_TIMEOUT_BYTES);
        uint64_t back;
        CHECK(ct__h2_timeout_get((ct__h2_span){out, len}, &back));
        if (cases[i].ns != UINT64_MAX) {
            CHECK_TEXT((const char *)out, cases[i].text);
            CHECK(back >= cases[i].ns);
        }
    }
}

static void messages_survive_percent_coding(void) {
    const char *text = "100 % \xC3\xA4\n~ \x7F";
    uint8_t coded[64], back[64];
    const size_t len = ct__h2_percent_put(coded, span(text));
    coded[len] = 0;
    CHECK_TEXT((const char *)coded, "100 %25 %C3%A4%0A~ %7F");
    const size_t got = ct__h2_percent_get(back, (ct__h2_span){coded, len});
    CHECK_INT(got, strlen(text));
    CHECK_INT(memcmp(back, text, got), 0);
    back[ct__h2_percent_get(back, span("50%, %4x, %"))] = 0;
    CHECK_TEXT((const char *)back, "50%, %4x, %");
}

static void binary_metadata_survives_base64(void) {
    uint8_t data[64], coded[96], back[96];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 37 + 200);
    for (size_t len = 0; len <= sizeof data; len++) {
        const size_t coded_len = ct__h2_base64_put(coded, (ct__h2_span){data, len});
        CHECK_INT(coded_len, (4 * len + 2) / 3);
        CHECK_INT(ct__h2_base64_get(back, (ct__h2_span){coded, coded_len}), len);
        CHECK_INT(memcmp(back, data, len), 0);
    }
    CHECK_INT(ct__h2_base64_get(back, span("aGk=")), 2);
    CHECK_INT(ct__h2_base64_get(back, span("aA==")), 1);
    CHECK(ct__h2_base64_get(back, span("a")) == SIZE_MAX);
    CHECK(ct__h2_base64_get(back, span("a-b_")) == SIZE_MAX);
    CHECK(ct__h2_base64_get(back, span("=aaa")) == SIZE_MAX);
}

static void one_whole_message_is_told_from_anything_else(void) {
    static const uint8_t hi[] = {0, 0, 0, 0, 2, 'h', 'i'};
    CHECK_INT(ct__h2_message_len(hi, sizeof hi), 2);
    CHECK_INT(ct__h2_message_len(hi, sizeof hi - 1), -1);
    CHECK_INT(ct__h2_message_len(hi, 4), -1);
    CHECK_INT(ct__h2_message_len(hi, 0), -1);
    static const uint8_t squeezed[] = {1, 0, 0, 0, 0}, empty[] = {0, 0, 0, 0, 0}, two[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    CHECK_INT(ct__h2_message_len(squeezed, 5), -1);
    CHECK_INT(ct__h2_message_len(empty, 5), 0);
    CHECK_INT(ct__h2_message_len(two, 10), -1);
}

static void a_status_is_a_small_number(void) {
    CHECK_INT(ct__h2_status_get(span("0")), 0);
    CHECK_INT(ct__h2_status_get(span("16")), 16);
    CHECK_INT(ct__h2_status_get(span("200")), 200);
    static const char *const wrong[] = {"", "1000", "-1", "1 ", "x"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK(ct__h2_status_get(span(wrong[i])) == UINT32_MAX);
}

static void keys_are_known_by_their_whole_name(void) {
    CHECK_INT(ct__h2_key_of(span(":status")), CT__H2_KEY_STATUS);
    CHECK_INT(ct__h2_key_of(span("grpc-message")), CT__H2_KEY_GRPC_MESSAGE);
    CHECK_INT(ct__h2_key_of(span("accept-encoding")), CT__H2_KEY_PLAIN);
    CHECK_INT(ct__h2_key_of(span("constellation-")), CT__H2_KEY_STRIPPED);
    static const char *const others[] = {"",        "xx",     ":patx",    ":other1", "user-agenx",   "nova-sourcx",
                                         "grpc-xxxxxxx", "xxxxxxxxxxxxx", "nova-call-depxx", "nova-problem-xxx",
                                         "grpc-accept-encodinx", "constellation"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        CHECK_INT(ct__h2_key_of(span(others[i])), CT__H2_KEY_OTHER);
}

static ct__h2_head head_of(const char *const *texts) {
    ct__h2_head head = {0};
    ct__h2_head_add(&head, span(":method"), span("POST"));
    ct__h2_head_add(&head, span(":path"), span("/a/b"));
    ct__h2_head_add(&head, span("content-type"), span("application/grpc"));
    for (; texts[0] != NULL; texts += 2)
        ct__h2_head_add(&head, span(texts[0]), span(texts[1]));
    ct__h2_head_finish(&head, 1000);
    return head;
}

static void a_head_knows_what_it_holds(void) {
    const char *const known[] = {"authorization", "Bearer x", "nova-identity", "i",           "x-request-id", "r",
                                 "traceparent",   "t",        "nova-call-depth", "1",         "nova-call-chain", "a,b",
                                 "nova-source",   "cron",     "grpc-timeout",  "1u",          "te",           "trailers",
                                 "user-agent",    "x",        "grpc-accept-encoding", "gzip", "grpc-encoding", "identity",
                                 "constellation-peer", "x",   ":authority",    "a",           ":scheme",      "http",
                                 NULL};
    const ct__h2_head head = head_of(known);
    CHECK(!head.is_odd);
    CHECK(ct__h2_is(head.path, "/a/b", 4) && ct__h2_is(head.authorization, "Bearer x", 8) && ct__h2_is(head.identity, "i", 1));
    CHECK(ct__h2_is(head.request_id, "r", 1) && ct__h2_is(head.traceparent, "t", 1) && ct__h2_is(head.call_depth, "1", 1));
    CHECK(ct__h2_is(head.call_chain, "a,b", 3) && ct__h2_is(head.source, "cron", 4));
    CHECK_INT(head.deadline_ns, 2000);
    static const char *const odd[][3] = {{"x-other", "1"},          {"nova-identitz", "i"},  {"grpc-encoding", "gzip"},
                                         {"grpc-timeout", "1x"},    {":path", "/again"},     {":method", "GET"},
                                         {"grpc-status", "0"},      {"nova-problem-bin", ""}, {"content-type", "text/plain"}};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        CHECK(head_of(odd[i]).is_odd);
    const char *const none[] = {NULL};
    CHECK(head_of(none).deadline_ns == UINT64_MAX);
}

int main(void) {
    static const ct_case cases[] = {
        CASE(timeouts_are_read_strictly),      CASE(timeouts_are_written_rounded_up), CASE(messages_survive_percent_coding),
        CASE(binary_metadata_survives_base64), CASE(one_whole_message_is_told_from_anything_else),
        CASE(a_status_is_a_small_number),      CASE(keys_are_known_by_their_whole_name),
        CASE(a_head_knows_what_it_holds)};
    return RUN("h2_text", cases);
}
