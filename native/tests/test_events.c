#include "edge/events.h"

#include "ct_test.h"

/* The events of pieces that end with NULL, the rest of a cut character included. */
static const char *events_of(const char *const *pieces) {
    static char all[1024];
    size_t at = 0;
    ct__cut cut = {0};
    for (bool is_last = false; !is_last; pieces++) {
        is_last = *pieces == NULL;
        const char *text = is_last ? "" : *pieces;
        const ct__span piece = {(const uint8_t *)text, strlen(text)};
        ct__cut again = cut;
        const size_t len = ct__event_text(NULL, &again, piece, is_last);
        uint8_t *exact = malloc(len > 0 ? len : 1);
        CHECK(exact != NULL && at + len < sizeof all);
        CHECK_INT(ct__event_text(exact, &cut, piece, is_last), len);
        CHECK_INT(cut.len, again.len);
        memcpy(all + at, exact, len);
        at += len;
        free(exact);
    }
    all[at] = '\0';
    return all;
}

#define EVENTS(...) events_of((const char *const[]){__VA_ARGS__, NULL})
#define NONE "\xEF\xBF\xBD"

static void each_piece_is_an_event(void) {
    CHECK_TEXT(EVENTS("a", "b c"), "data: a\n\ndata: b c\n\n");
    CHECK_TEXT(EVENTS("", "a", ""), "data: a\n\n");
    CHECK_TEXT(EVENTS("a\nb\r\nc\rd\n"), "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
    CHECK_TEXT(EVENTS("a\r", "\nb"), "data: a\ndata: \n\ndata: \ndata: b\n\n");
}

static void a_character_that_is_cut_comes_with_the_next_piece(void) {
    CHECK_TEXT(EVENTS("\xC3", "\xA9"), "data: \xC3\xA9\n\n");
    CHECK_TEXT(EVENTS("x\xF0\x9F", "\x98", "\x80y"), "data: x\n\ndata: \xF0\x9F\x98\x80y\n\n");
    CHECK_TEXT(EVENTS("\xE2\x82"), "data: " NONE "\n\n");
    CHECK_TEXT(EVENTS("\xE2\x82", "a"), "data: " NONE "a\n\n");
    CHECK_TEXT(EVENTS("\xE2", "\n"), "data: " NONE "\ndata: \n\n");
    CHECK_TEXT(EVENTS("\xE2", "\xE2\x82\xAC"), "data: " NONE "\xE2\x82\xAC\n\n");
}

static void what_is_no_text_is_replaced_as_python_does(void) {
    CHECK_TEXT(EVENTS("\xFF" "a"), "data: " NONE "a\n\n");
    CHECK_TEXT(EVENTS("\xC0\xAF"), "data: " NONE NONE "\n\n");
    CHECK_TEXT(EVENTS("\xED\xA0\x80"), "data: " NONE NONE NONE "\n\n");
    CHECK_TEXT(EVENTS("\xED", "\xA0", "a"), "data: " NONE NONE "a\n\n");
    CHECK_TEXT(EVENTS("b\xED\xBF", "\x80"), "data: b\n\ndata: " NONE NONE NONE "\n\n");
    CHECK_TEXT(EVENTS("\xED\xA0"), "data: " NONE NONE "\n\n");
    CHECK_TEXT(EVENTS("\xF4\x90\x80"), "data: " NONE NONE NONE "\n\n");
    CHECK_TEXT(EVENTS("\xF0\x9F(\x98"), "data: " NONE "(" NONE "\n\n");
    CHECK_TEXT(EVENTS("\xE0\x80"), "data: " NONE NONE "\n\n");
}

static void a_named_event_is_whole(void) {
    static const uint8_t TEXT[] = "{\n\"a\":1}\xE2\x82";
    uint8_t out[128];
    const size_t len = ct__event_named(out, "error", (ct__span){TEXT, sizeof TEXT - 1});
    CHECK_INT(len, ct__event_named(NULL, "error", (ct__span){TEXT, sizeof TEXT - 1}));
    out[len] = '\0';
    CHECK_TEXT((const char *)out, "event: error\ndata: {\ndata: \"a\":1}" NONE "\n\n");
}

int main(void) {
    static const ct_case cases[] = {CASE(each_piece_is_an_event), CASE(a_character_that_is_cut_comes_with_the_next_piece),
                                    CASE(what_is_no_text_is_replaced_as_python_does), CASE(a_named_event_is_whole)};
    return RUN("events", cases);
}
