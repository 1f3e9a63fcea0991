#include "link/log.h"

#include "ct_test.h"

static void add(ct__log *log, const char *text) {
    ct__log_add(log, (const uint8_t *)text, strlen(text), false);
}

static void a_log_keeps_its_bound_and_tells(void) {
    ct__log log = {.limit = 5};
    CHECK(ct__log_is_empty(&log));
    add(&log, "abc");
    CHECK(!log.is_cut);
    add(&log, "defg");
    add(&log, "");
    add(&log, "h");
    CHECK(log.is_cut);
    size_t len = 0;
    CHECK_INT(memcmp(ct__log_tail(&log, 100, &len), "abcde", 5), 0);
    CHECK_INT(len, 5);
    CHECK_INT(memcmp(ct__log_tail(&log, 2, &len), "de", 2), 0);
    CHECK_INT(len, 2);
    ct__log_free(&log);
    CHECK(ct__log_is_empty(&log));
    CHECK_INT(log.limit, 5);
    ct__log_add(&log, NULL, 0, true);
    CHECK(log.is_cut && !ct__log_is_empty(&log));
}

static void a_log_grows_by_any_step(void) {
    ct__log log = {.limit = 70000};
    for (int i = 0; i < 7001; i++)
        add(&log, "0123456789");
    CHECK_INT(log.len, 70000);
    CHECK(log.is_cut && log.cap == 70000);
    CHECK_INT(log.base[69999], '9');
    ct__log_free(&log);
}

int main(void) {
    static const ct_case cases[] = {CASE(a_log_keeps_its_bound_and_tells), CASE(a_log_grows_by_any_step)};
    return RUN("log", cases);
}
