/* Records as rows of the log, read back field by field. */
#include "base/cursor.h"
#include "ct_test.h"
#include "table/state.h"

#include <stdlib.h>

static const uint8_t HEAD[] = {0, 14, 0, 0, 0, 1, 't'};

typedef struct field {
    const uint8_t *at; /* NULL: null */
    uint32_t len;
} field;

static ct_table *table_of(uint32_t max_records) {
    const ct_table_options made = {.max_functions = 2, .max_instances = 1, .max_boots = 1, .max_calls = 1,
                                   .max_buckets = 1, .max_identities = 1, .max_records = max_records,
                                   .max_meters = 1};
    ct_table *t = ct_table_new(&made);
    CHECK(t != NULL);
    CHECK_INT(ct_status_name(t, CT_STATUS_OK, (const uint8_t *)"ok", 2), 0);
    CHECK_INT(ct_status_name(t, CT_STATUS_OTHER, (const uint8_t *)"other", 5), 0);
    return t;
}

static uint64_t function_of(ct_table *t, const char *name) {
    const ct_function_row row = {.name = (const uint8_t *)name, .name_len = (uint32_t)strlen(name),
                                 .flags = CT_FUNCTION_KEPT, .max_replicas = 1, .instance_concurrency = 1};
    uint64_t handle = 0;
    CHECK_INT(ct_function_put(t, &row, 0, &handle), 0);
    return handle;
}

static uint64_t function_with_head(ct_table *t) {
    const uint64_t f = function_of(t, "f");
    CHECK_INT(ct_function_set_row(t, f, HEAD, sizeof HEAD), 0);
    return f;
}

static void put(ct_table *t, uint64_t f, const char *log, size_t len) {
    const ct_record record = {.function = f, .status = CT_STATUS_OK, .log = (const uint8_t *)log,
                              .log_len = (uint32_t)len};
    CHECK_INT(ct_record_append(t, &record), 0);
}

/* Reads one row, which must end where the bytes do. */
static void read_row(const uint8_t *bytes, size_t len, field out[CT_ROW_FIELDS]) {
    CHECK(len > sizeof HEAD && memcmp(bytes, HEAD, sizeof HEAD) == 0);
    ct__reader r = {.at = bytes + sizeof HEAD, .left = len - sizeof HEAD};
    for (int i = 0; i < CT_ROW_FIELDS; i++) {
        out[i].len = ct__read_u32(&r);
        out[i].at = out[i].len == UINT32_MAX ? NULL : ct__read_span(&r, out[i].len);
    }
    CHECK(!r.overran && r.left == 0);
}

static uint64_t number(const field *f) {
    uint64_t value = 0;
    for (uint32_t i = 0; i < f->len; i++)
        value = value << 8 | f->at[i];
    return value;
}

static double real(const field *f) {
    const uint64_t bits = number(f);
    double value;
    CHECK_INT(f->len, 8);
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void is_text(const field *f, const char *text) {
    CHECK_INT(f->len, strlen(text));
    CHECK_INT(memcmp(f->at, text, f->len), 0);
}

static void a_row_says_what_the_record_does(void) {
    ct_table *t = table_of(2);
    ct_record record = {.function = function_with_head(t), .version = 7, .started_at_us = 946684800000001,
                        .duration_ns = 1500000, .queued_ns = 250000, .input_bytes = 3, .output_bytes = UINT64_MAX,
                        .status = CT_STATUS_OK, .flags = CT_RECORD_COLD, .log = (const uint8_t *)"said", .log_len = 4,
                        .request_id = {1, 2, 3, [15] = 16}, .source = "http"};
    CHECK_INT(ct_record_append(t, &record), 0);
    uint8_t bytes[512];
    size_t used = 0;
    field row[CT_ROW_FIELDS];
    CHECK_INT(ct_record_rows(t, 0, 9, bytes, sizeof bytes, &used), 1);
    read_row(bytes, used, row);
    CHECK(row[0].len == 16 && memcmp(row[0].at, record.request_id, 16) == 0);
    CHECK(row[1].len == 4 && number(&row[1]) == 7);
    CHECK(row[2].len == 8 && number(&row[2]) == 1);
    CHECK(real(&row[3]) == 1.5 && real(&row[4]) == 0.25);
    CHECK(row[5].len == 1 && number(&row[5]) == 1);
    is_text(&row[6], "ok");
    CHECK(row[7].at == NULL);
    CHECK(row[8].len == 4 && number(&row[8]) == 3);
    CHECK(row[9].len == 4 && number(&row[9]) == INT32_MAX);
    is_text(&row[10], "said");
    CHECK(row[11].len == 1 && number(&row[11]) == 0);
    is_text(&row[12], "http");

    record.status = CT_STATUS_FIRST_FREE; /* without a name */
    record.flags = CT_RECORD_LOG_TRUNCATED;
    record.error = (const uint8_t *)"{}";
    record.error_len = 2;
    record.started_at_us = INT64_MIN;
    memset(record.source, 'x', sizeof record.source);
    CHECK_INT(ct_record_append(t, &record), 0);
    CHECK_INT(ct_record_rows(t, 1, 9, bytes, sizeof bytes, &used), 1);
    read_row(bytes, used, row);
    CHECK(number(&row[2]) == (uint64_t)-946684800000000);
    CHECK_INT(number(&row[5]), 0);
    is_text(&row[6], "other");
    is_text(&row[7], "{}");
    CHECK_INT(number(&row[11]), 1);
    CHECK_INT(row[12].len, CT_SOURCE_BYTES);
    ct_table_free(t);
}

static void what_is_no_text_is_replaced(void) {
    static const struct {
        const char *log;
        size_t len;
        const char *text;
    } cases[] = {
        {"", 0, ""},
        {"plain", 5, "plain"},
        {"\xC3\xBC\xE2\x82\xAC\xF0\x9F\x98\x80", 9, "\xC3\xBC\xE2\x82\xAC\xF0\x9F\x98\x80"},
        {"a\0b", 3, "a\xEF\xBF\xBD" "b"},
        {"\x80", 1, "\xEF\xBF\xBD"},
        {"\xC0\xAF", 2, "\xEF\xBF\xBD\xEF\xBF\xBD"},                 /* overlong */
        {"\xE2\x82", 2, "\xEF\xBF\xBD"},                             /* cut off at the end */
        {"\xE2\x82z", 3, "\xEF\xBF\xBDz"},                           /* and before the next */
        {"\xED\xA0\x80", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, /* a surrogate */
        {"\xF0\x9F\x98", 3, "\xEF\xBF\xBD"},
        {"\xF4\x90\x80\x80", 4, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, /* past the last */
        {"\xE0\x80", 2, "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xFF", 1, "\xEF\xBF\xBD"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ct_table *t = table_of(1);
        put(t, function_with_head(t), cases[i].log, cases[i].len);
        uint8_t bytes[512];
        size_t used = 0;
        field row[CT_ROW_FIELDS];
        CHECK_INT(ct_record_rows(t, 0, 1, bytes, sizeof bytes, &used), 1);
        read_row(bytes, used, row);
        is_text(&row[10], cases[i].text);
        ct_table_free(t);
    }
}

static void only_whole_rows_are_written_and_room_is_enough(void) {
    ct_table *t = table_of(3);
    const uint64_t f = function_with_head(t);
    char zeros[1000] = {0};
    put(t, f, "a", 1);
    put(t, f, zeros, sizeof zeros);
    size_t one = 0, used = 0;
    uint8_t bytes[16384];
    CHECK_INT(ct_record_rows(t, 0, 1, bytes, sizeof bytes, &one), 1);
    for (size_t cap = 0; cap < one; cap++) { /* in a block of its own, so that a byte past it is found */
        uint8_t *exact = malloc(cap > 0 ? cap : 1);
        CHECK(exact != NULL);
        CHECK_INT(ct_record_rows(t, 0, 2, exact, cap, &used), 0);
        CHECK_INT(used, 0);
        free(exact);
    }
    CHECK_INT(ct_record_rows(t, 0, 2, bytes, one + 2999, &used), 1);
    CHECK_INT(used, one);
    const size_t room = ct_record_room(t, 1);
    CHECK(room >= 3000 && room <= sizeof bytes);
    CHECK_INT(ct_record_rows(t, 1, 2, bytes, room, &used), 1);
    field row[CT_ROW_FIELDS];
    read_row(bytes, used, row);
    CHECK_INT(row[10].len, 3000);
    CHECK_INT(ct_record_room(t, 2), 0);
    CHECK_INT(ct_record_rows(t, 2, 2, bytes, sizeof bytes, &used), 0);
    CHECK_INT(ct_record_count(t), 2); /* they stay until somebody knows that they are written */
    ct_table_free(t);
}

static void a_function_without_a_head_has_no_rows(void) {
    ct_table *t = table_of(3);
    const uint64_t dumb = function_of(t, "g"), f = function_with_head(t);
    put(t, dumb, "", 0);
    put(t, f, "a", 1);
    uint8_t bytes[512];
    size_t used = 0;
    field row[CT_ROW_FIELDS];
    CHECK_INT(ct_record_rows(t, 0, 9, bytes, sizeof bytes, &used), 2);
    read_row(bytes, used, row);
    is_text(&row[10], "a");
    ct_record_forget(t, 2);
    CHECK_INT(ct_record_dropped(t), 1);
    CHECK_INT(ct_record_count(t), 0);
    ct_table_free(t);
}

static void texts_are_bounded_together(void) {
    ct_table *t = table_of(3);
    const uint64_t f = function_with_head(t);
    const size_t most = (size_t)64 << 20;
    char *text = calloc(1, most);
    CHECK(text != NULL);
    ct_record long_one = {.function = f, .log = (const uint8_t *)text, .log_len = (uint32_t)most,
                          .error = (const uint8_t *)text, .error_len = 1};
    CHECK_INT(ct_record_append(t, &long_one), CT_E_FULL);
    long_one.error_len = 0;
    CHECK_INT(ct_record_append(t, &long_one), 0);
    put(t, f, "", 0);
    long_one.log_len = 1;
    CHECK_INT(ct_record_append(t, &long_one), CT_E_FULL);
    ct_record_forget(t, 1);
    CHECK_INT(ct_record_append(t, &long_one), 0);
    CHECK_INT(ct_record_dropped(t), 2);
    ct_table_free(t);
    free(text);
}

static void heads_and_names_are_bounded(void) {
    ct_table *t = table_of(1);
    const uint64_t f = function_with_head(t);
    CHECK_INT(ct_function_set_row(t, f, HEAD, 0), CT_E_TOOBIG);
    CHECK_INT(ct_function_set_row(t, f, HEAD, CT_ROW_HEAD_BYTES_MAX + 1), CT_E_TOOBIG);
    CHECK_INT(ct_function_set_row(t, f + 1, HEAD, sizeof HEAD), -ESTALE);
    CHECK_INT(ct_function_set_row(t, f, HEAD, sizeof HEAD), 0); /* the old one is freed */
    CHECK_INT(ct_status_name(t, CT_STATUS_MAX, HEAD, 1), CT_E_RANGE);
    CHECK_INT(ct_status_name(t, CT_STATUS_OK, HEAD, 0), CT_E_TOOBIG);
    CHECK_INT(ct_status_name(t, CT_STATUS_OK, HEAD, CT_STATUS_NAME_BYTES_MAX + 1), CT_E_TOOBIG);
    ct_table_free(t);
}

int main(void) {
    static const ct_case cases[] = {
        CASE(a_row_says_what_the_record_does),
        CASE(what_is_no_text_is_replaced),
        CASE(only_whole_rows_are_written_and_room_is_enough),
        CASE(a_function_without_a_head_has_no_rows),
        CASE(texts_are_bounded_together),
        CASE(heads_and_names_are_bounded),
    };
    return RUN("rows", cases);
}
