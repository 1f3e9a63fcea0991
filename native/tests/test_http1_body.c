#include "edge/http1.h"

#include "ct_test.h"

/* Reads a body in parts of `step` bytes; returns its result and, in `out`, its data. */
static int body_of(ct__http1_body body, const char *text, size_t step, char *out, size_t *used_all) {
    const size_t len = strlen(text);
    size_t at = 0;
    while (at < len && !ct__http1_body_done(&body)) {
        const size_t part = len - at < step ? len - at : step;
        for (size_t done = 0; done < part && !ct__http1_body_done(&body);) {
            size_t used = 0;
            ct__span data;
            uint8_t *exact = malloc(part - done);
            CHECK(exact != NULL);
            memcpy(exact, text + at + done, part - done);
            const int result = ct__http1_body_next(&body, exact, part - done, &used, &data);
            if (result == 0) {
                CHECK(used > 0 && used <= part - done);
                memcpy(out, data.at, data.len);
                out += data.len;
                done += used;
            }
            free(exact);
            if (result != 0)
                return result;
            *used_all += used;
        }
        at += part;
    }
    *out = '\0';
    return ct__http1_body_done(&body) ? 0 : CT_E_MORE;
}

static ct__http1_body chunked(void) {
    const ct__http1_head head = {.framing = CT__HTTP1_CHUNKED};
    return ct__http1_body_of(&head);
}

static void bodies_are_read_however_they_are_cut(void) {
    static const struct {
        const char *text, *data;
        size_t behind;
    } CASES[] = {
        {"0\r\n\r\nGET", "", 3},
        {"3\r\nabc\r\n0\r\n\r\n", "abc", 0},
        {"3\r\nabc\r\n00A\r\n0123456789\r\n000\r\nT: 1\r\nU: \xE9\r\n\r\nrest", "abc0123456789", 4},
        {"3;a=b;c=\"d e\"\r\nabc\r\n0;x\r\n\r\n", "abc", 0},
        {"f\r\n\r\n0\r\n\r\n0\r\n\r\n---\r\n0\r\n\r\n", "\r\n0\r\n\r\n0\r\n\r\n---", 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        for (size_t step = 1; step < 40; step++) {
            char out[64];
            size_t used = 0;
            CHECK_INT(body_of(chunked(), CASES[i].text, step, out, &used), 0);
            CHECK_TEXT(out, CASES[i].data);
            CHECK_INT(used, strlen(CASES[i].text) - CASES[i].behind);
        }
    }
    for (size_t step = 1; step < 8; step++) {
        char out[64];
        size_t used = 0;
        const ct__http1_head five = {.framing = CT__HTTP1_LENGTH, .length = 5};
        CHECK_INT(body_of(ct__http1_body_of(&five), "abcdefg", step, out, &used), 0);
        CHECK_TEXT(out, "abcde");
        CHECK_INT(used, 5);
        used = 0;
        const ct__http1_head open = {.framing = CT__HTTP1_UNTIL_CLOSE};
        CHECK_INT(body_of(ct__http1_body_of(&open), "abcdefg", step, out, &used), CT_E_MORE);
        CHECK_TEXT(out, "abcdefg");
    }
    const ct__http1_head none = {.framing = CT__HTTP1_NO_BODY}, empty = {.framing = CT__HTTP1_LENGTH};
    ct__http1_body body = ct__http1_body_of(&none);
    CHECK(ct__http1_body_done(&body));
    size_t used = 9;
    ct__span data;
    CHECK_INT(ct__http1_body_next(&body, (const uint8_t *)"x", 1, &used, &data), 0);
    CHECK_INT(used, 0);
    body = ct__http1_body_of(&empty);
    CHECK(ct__http1_body_done(&body));
}

static void chunks_that_could_be_read_in_two_ways(void) {
    static const char *const REFUSED[] = {
        "\r\n", "x\r\n", "-1\r\n", "+1\r\n", " 1\r\nx", "1 \r\nx", "0x1\r\nx", "1\nx", "1\r\rx", "1\rx", "1;a\nx", "1;a\r\rx",
        "1;a\x01\r\n", "1,1\r\nx", "1\r\nxx", "1\r\nx\n", "1\r\nx\rx", "1\r\nx\r\n\r\n", "0\r\n\n", "0\r\nX\r\n\r\n", "0\r\n: 1\r\n\r\n",
        "0\r\nX : 1\r\n\r\n", "0\r\n X: 1\r\n\r\n", "0\r\nX: a\x7F\r\n\r\n", "0\r\nX: 1\n\r\n", "0\r\nX: 1\r\rn", "0\r\n\r\r",
        "1000000000000000\r\n", "FFFFFFFFFFFFFFFF1\r\n", "0000000000000001\r\nx",
    };
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        for (size_t step = 1; step < 20; step += 6) {
            char out[64];
            size_t used = 0;
            CHECK_INT(body_of(chunked(), REFUSED[i], step, out, &used), CT_E_MALFORMED);
        }
    }
    static char text[CT__HTTP1_TRAILER_BYTES + 64], out[64];
    size_t used = 0;
    memset(text, 'x', sizeof text - 1);
    memcpy(text, "1;", 2);
    CHECK_INT(body_of(chunked(), text, 4096, out, &used), CT_E_MALFORMED); /* an extension without end */
    memcpy(text, "0\r\nA: ", 6);
    CHECK_INT(body_of(chunked(), text, 4096, out, &used), CT_E_MALFORMED); /* a trailer without end */
    memcpy(text, "0\r\nAAA", 6);
    CHECK_INT(body_of(chunked(), text, 4096, out, &used), CT_E_MALFORMED);
    memset(text + 3, 0, 3);
    size_t at = 3;
    while (at + 5 < sizeof text) /* many small ones */
        at = (size_t)(stpcpy(text + at, "A:\r\n") - text);
    CHECK_INT(body_of(chunked(), text, 4096, out, &used), CT_E_MALFORMED);
}

int main(void) {
    static const ct_case cases[] = {
        CASE(bodies_are_read_however_they_are_cut), CASE(chunks_that_could_be_read_in_two_ways)};
    return RUN("http1_body", cases);
}
