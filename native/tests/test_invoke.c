#include "lane/invoke.h"

#include "ct_test.h"
#include "lane/answer.h"
#include "proto/pbwire.h"

static const uint64_t NOW_MS = 0x019000000000u;
static const char ID[] = "01900000-0001-7abc-8def-0123456789ab";

static ct__h2_span span(const char *text) {
    return (ct__h2_span){.data = (const uint8_t *)text, .len = strlen(text)};
}

static ct__h2_head plain_head(void) {
    return (ct__h2_head){.request_id = span(ID)};
}

static bool reads(const ct__h2_head *head, const char *message, size_t len, ct__invoke *out) {
    uint8_t *exact = malloc(len > 0 ? len : 1); /* so that a read past the end is seen */
    memcpy(exact, message, len);
    const bool result = ct__invoke_read(head, exact, len, NOW_MS, out);
    free(exact);
    return result;
}

static void a_plain_call_is_read(void) {
    ct__h2_head head = plain_head();
    head.traceparent = span("00-000102030405060708090a0b0c0d0e0f-A0a1a2a3a4a5a6a7-01");
    head.call_depth = span("31");
    head.call_chain = span("a,b");
    head.source = span("schedule/1");
    ct__invoke call;
    CHECK(reads(&head, "\x0a\x01"
                       "f\x12\x03[1]\x18\xe8\x07\x22\x07$LATEST",
                20, &call));
    CHECK_INT(call.timeout_ms, 1000);
    CHECK_INT(call.depth, 31);
    CHECK_INT(call.payload_bytes, 3);
    CHECK_INT(call.request_id[0], 0x01);
    CHECK_INT(call.request_id[15], 0xab);
    CHECK_INT(call.trace_id[15], 0x0f);
    CHECK_INT(call.span_id[0], 0xa0);
    CHECK_TEXT((const char *)call.source, "schedule/1");
    uint8_t id[CT__UUID_TEXT_BYTES];
    ct__uuid_put(id, call.request_id);
    CHECK_INT(memcmp(id, ID, sizeof id), 0);
}

static void a_call_without_a_payload_has_an_empty_object(void) {
    const ct__h2_head head = plain_head();
    ct__invoke call;
    CHECK(reads(&head, "\x0a\x01"
                       "f",
                3, &call));
    CHECK_INT(call.payload_bytes, 0);
    CHECK_INT(call.payload.len, 2);
    CHECK_TEXT((const char *)call.source, "http");
    CHECK(reads(&head, "\x32\x04\x7f\x00\x00\x01", 6, &call)); /* where its client is, is for guarded functions alone */
}

static void what_is_odd_is_pythons(void) {
    static const struct {
        const char *message;
        size_t len;
    } odd[] = {
        {"\x0a\x05"
         "f",
         3},                                                                    /* cut */
        {"\x28\x01", 2},                                                        /* a sticky key that is a number */
        {"\x30\x01", 2},                                                        /* an address that is a number */
        {"\x38\x01", 2},                                                        /* a field of tomorrow */
        {"\x0a", 1},          {"\x08\x01", 2}, /* a name that is a number */
        {"\x18\xff\xff\xff\xff\x7f", 6},                                        /* a timeout above 32 bits */
    };
    const ct__h2_head head = plain_head();
    ct__invoke call;
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        CHECK(!reads(&head, odd[i].message, odd[i].len, &call));
}

static void metadata_that_is_odd_is_pythons(void) {
    static const char *const ids[] = {"",
                                      "01900000-0001-7abc-8def-0123456789a",
                                      "01900000-0001-4abc-8def-0123456789ab",  /* of another version */
                                      "01900000-0001-7abc-0def-0123456789ab",  /* of another variant */
                                      "01900000_0001-7abc-8def-0123456789ab",  "0190000g-0001-7abc-8def-0123456789ab",
                                      "02900000-0001-7abc-8def-0123456789ab",  /* of another year */
                                      "00900000-0001-7abc-8def-0123456789ab"};
    ct__invoke call;
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        const ct__h2_head head = {.request_id = span(ids[i])};
        CHECK(!reads(&head, "", 0, &call));
    }
    static const char *const depths[] = {"-1", "1a", "12345"};
    static const char *const chains[] = {",", "a,", ",a", "a,,b"};
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        ct__h2_head head = plain_head();
        head.call_depth = span(depths[i]);
        CHECK(!reads(&head, "", 0, &call));
    }
    for (size_t i = 0; i < sizeof chains / sizeof chains[0]; i++) {
        ct__h2_head head = plain_head();
        head.call_chain = span(chains[i]);
        CHECK(!reads(&head, "", 0, &call));
    }
    ct__h2_head head = plain_head();
    head.source = span("0123456789012345678901234567890123");
    CHECK(!reads(&head, "", 0, &call));
    head.source = (ct__h2_span){0};
    head.traceparent = span("00-zz0102030405060708090a0b0c0d0e0f-a0a1a2a3a4a5a6a7-01");
    CHECK(reads(&head, "", 0, &call));
    CHECK_INT(call.trace_id[1], 0); /* no trace, but a call */
}

static void an_answer_reads_back(void) {
    static const uint8_t id[16] = {1};
    static const char body[] = "[1]";
    ct__answer answer;
    ct__answer_make(&answer, id, true, (const uint8_t *)body, 3, 1500000, true, 18446744073709551615u);
    uint8_t whole[256];
    size_t len = 0;
    for (size_t i = 0; i < CT__ANSWER_PIECES; i++) {
        memcpy(whole + len, answer.pieces[i].data, answer.pieces[i].len);
        len += answer.pieces[i].len;
    }
    ct__reader reader = {.at = whole, .left = len};
    ct__pb_field field;
    uint32_t numbers = 0;
    while (ct__pb_next(&reader, &field) == 1) {
        numbers = numbers * 10 + field.number;
        if (field.number == 3)
            CHECK_INT(memcmp(field.data, body, 3), 0);
        if (field.number == 4) {
            double duration_ms;
            memcpy(&duration_ms, &field.value, sizeof duration_ms);
            CHECK(duration_ms > 1.49 && duration_ms < 1.51);
        }
        if (field.number == 6)
            CHECK_INT(memcmp(field.data, "18446744073709551615", 20), 0);
    }
    CHECK(!reader.overran && reader.left == 0);
    CHECK_INT(numbers, 13456);
}

int main(void) {
    static const ct_case cases[] = {CASE(a_plain_call_is_read), CASE(a_call_without_a_payload_has_an_empty_object),
                                    CASE(what_is_odd_is_pythons), CASE(metadata_that_is_odd_is_pythons),
                                    CASE(an_answer_reads_back)};
    return RUN("invoke", cases);
}
