/* Records as rows of PostgreSQL's binary COPY. What all rows of a function share stands ready in its row's head; every
 * field is its length, then its bytes. Pure: who sends them is Python's concern. */
#include "table/state.h"

#include "base/cursor.h"

#include <stdlib.h>

enum { REPLACEMENT_BYTES = 3 };

static const uint8_t REPLACEMENT[REPLACEMENT_BYTES] = {0xEF, 0xBF, 0xBD}; /* U+FFFD */
static const int64_t EPOCH_US = 946684800000000; /* PostgreSQL counts from 2000-01-01 */
static const int64_t LAST_US = 253402300799999999; /* of the year 9999, the last that Python reads */

int ct_function_set_row(ct_table *t, uint64_t function, const uint8_t *head, uint32_t head_len) {
    ct__function *f = ct__function_at(t, function);
    if (f == NULL)
        return -ESTALE;
    if (head_len == 0 || head_len > CT_ROW_HEAD_BYTES_MAX)
        return CT_E_TOOBIG;
    uint8_t *copy = malloc(head_len);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, head, head_len);
    free(f->row_head);
    f->row_head = copy;
    f->row_head_len = head_len;
    return 0;
}

int ct_status_name(ct_table *t, uint32_t status, const uint8_t *name, uint32_t len) {
    if (status >= CT_STATUS_MAX)
        return CT_E_RANGE;
    if (len == 0 || len > CT_STATUS_NAME_BYTES_MAX)
        return CT_E_TOOBIG;
    ct__word *word = &t->status_names[status];
    memcpy(word->text, name, len);
    word->len = len;
    return 0;
}

/* Bytes of the character that begins at `at`; negative: that many are none, and one U+FFFD stands for them, as Unicode
 * recommends and Python does. NUL is none: PostgreSQL's text has no place for it. */
static int character(const uint8_t *at, const uint8_t *end) {
    const uint8_t lead = *at;
    if (lead < 0x80)
        return lead != 0 ? 1 : -1;
    uint8_t low = 0x80, high = 0xBF;
    int more = 0;
    if (lead >= 0xC2 && lead <= 0xDF) {
        more = 1;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        more = 2;
        low = lead == 0xE0 ? 0xA0 : low;    /* below: overlong */
        high = lead == 0xED ? 0x9F : high;  /* above: surrogates */
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        more = 3;
        low = lead == 0xF0 ? 0x90 : low;
        high = lead == 0xF4 ? 0x8F : high;  /* above: past U+10FFFF */
    } else {
        return -1;
    }
    for (int i = 1; i <= more; i++) {
        if (end - at <= i || at[i] < low || at[i] > high)
            return -i;
        low = 0x80;
        high = 0xBF;
    }
    return more + 1;
}

static void write_text(ct__writer *w, const uint8_t *text, size_t len) {
    uint8_t *length = ct__write_span(w, 4);
    const size_t left = w->left;
    const uint8_t *at = text, *fine = text; /* from here to `at` it is */
    const uint8_t *end = len > 0 ? text + len : text;
    while (at != end && !w->overran) {
        const int n = character(at, end);
        if (n > 0) {
            at += n;
            continue;
        }
        ct__write_bytes(w, fine, (size_t)(at - fine));
        ct__write_bytes(w, REPLACEMENT, REPLACEMENT_BYTES);
        at -= n;
        fine = at;
    }
    ct__write_bytes(w, fine, (size_t)(at - fine));
    if (!w->overran)
        ct__be32_put(length, (uint32_t)(left - w->left));
}

static void write_int4(ct__writer *w, uint64_t value) {
    ct__write_u32(w, 4);
    ct__write_u32(w, value < INT32_MAX ? (uint32_t)value : INT32_MAX);
}

static void write_ms(ct__writer *w, uint64_t ns) {
    const double ms = (double)ns / 1e6;
    uint64_t bits;
    memcpy(&bits, &ms, sizeof bits);
    ct__write_u32(w, 8);
    ct__write_u64(w, bits);
}

static void write_instant(ct__writer *w, int64_t unix_us) {
    const int64_t us = unix_us < 0 ? 0 : unix_us > LAST_US ? LAST_US : unix_us;
    ct__write_u32(w, 8);
    ct__write_u64(w, (uint64_t)(us - EPOCH_US));
}

static void write_bool(ct__writer *w, bool value) {
    ct__write_u32(w, 1);
    ct__write_bytes(w, &(uint8_t){value}, 1);
}

static void write_row(ct__writer *w, const ct_table *t, const ct__function *f, const ct_record *record) {
    const ct__word *status = &t->status_names[record->status < CT_STATUS_MAX ? record->status : CT_STATUS_OTHER];
    if (status->len == 0)
        status = &t->status_names[CT_STATUS_OTHER];
    ct__write_bytes(w, f->row_head, f->row_head_len);
    ct__write_u32(w, sizeof record->request_id);
    ct__write_bytes(w, record->request_id, sizeof record->request_id);
    write_int4(w, record->version);
    write_instant(w, record->started_at_us);
    write_ms(w, record->duration_ns);
    write_ms(w, record->queued_ns);
    write_bool(w, (record->flags & CT_RECORD_COLD) != 0);
    write_text(w, status->text, status->len);
    if (record->error_len > 0)
        write_text(w, record->error, record->error_len);
    else
        ct__write_u32(w, UINT32_MAX); /* null */
    write_int4(w, record->input_bytes);
    write_int4(w, record->output_bytes);
    write_text(w, record->log, record->log_len);
    write_bool(w, (record->flags & CT_RECORD_LOG_TRUNCATED) != 0);
    write_text(w, record->source, strnlen((const char *)record->source, CT_SOURCE_BYTES));
}

uint32_t ct_record_rows(const ct_table *t, uint32_t skip, uint32_t max, uint8_t *out, size_t cap, size_t *used) {
    ct__writer w = {.at = out, .left = cap};
    uint32_t rows = 0;
    size_t whole = 0;
    for (const ct_record *record; rows < max && (record = ct__record_at(t, skip + rows)) != NULL; rows++) {
        const ct__function *f = ct__function_at(t, record->function);
        assert(f != NULL);
        if (f->row_head != NULL)
            write_row(&w, t, f, record);
        if (w.overran)
            break;
        whole = cap - w.left;
    }
    *used = whole;
    return rows;
}

size_t ct_record_room(const ct_table *t, uint32_t skip) {
    enum { FIXED = (CT_ROW_FIELDS * 4) + 16 + (3 * 8) + (3 * 4) + 2 };
    const ct_record *record = ct__record_at(t, skip);
    if (record == NULL)
        return 0;
    return FIXED + CT_ROW_HEAD_BYTES_MAX + CT_STATUS_NAME_BYTES_MAX * (size_t)REPLACEMENT_BYTES +
           ((size_t)record->log_len + record->error_len + CT_SOURCE_BYTES) * REPLACEMENT_BYTES;
}
