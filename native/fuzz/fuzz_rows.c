/* Any bytes as what a guest printed: one row of the log, in the room that was named, and all of its text UTF-8. */
#include "base/cursor.h"
#include "table/table.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds)
        abort();
}

/* Decodes and compares: slower than what is tested, and another way. */
static int is_text(const uint8_t *at, size_t len) {
    static const uint32_t LEAST[] = {1, 0x80, 0x800, 0x10000};
    for (size_t i = 0; i < len;) {
        const uint8_t lead = at[i++];
        const int more = lead < 0x80 ? 0 : lead >> 5 == 6 ? 1 : lead >> 4 == 14 ? 2 : lead >> 3 == 30 ? 3 : -1;
        if (more < 0 || len - i < (size_t)more)
            return 0;
        uint32_t point = more == 0 ? lead : lead & (0x3FU >> more);
        for (int k = 0; k < more; k++) {
            if (at[i] >> 6 != 2)
                return 0;
            point = point << 6 | (at[i++] & 0x3FU);
        }
        if (point < LEAST[more] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF))
            return 0;
    }
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t HEAD[] = {0, 13};
    const ct_table_options options = {.max_functions = 1, .max_instances = 1, .max_boots = 1, .max_calls = 1,
                                      .max_buckets = 1, .max_identities = 1, .max_records = 1, .max_meters = 1};
    const ct_function_row row = {.flags = CT_FUNCTION_KEPT, .max_replicas = 1, .instance_concurrency = 1};
    ct_table *t = ct_table_new(&options);
    uint64_t function = 0;
    must(t != NULL && ct_function_put(t, &row, 0, &function) == 0);
    must(ct_function_set_row(t, function, HEAD, sizeof HEAD) == 0);
    ct_record record = {.function = function, .log = data, .log_len = (uint32_t)size, .error = data,
                        .error_len = (uint32_t)size / 2};
    memcpy(record.source, data, size < CT_SOURCE_BYTES ? size : CT_SOURCE_BYTES);
    must(ct_record_append(t, &record) == 0);

    const size_t room = ct_record_room(t, 0);
    uint8_t *out = malloc(room);
    size_t used = 0;
    must(out != NULL && ct_record_rows(t, 0, 1, out, room, &used) == 1);
    ct__reader r = {.at = out + sizeof HEAD, .left = used - sizeof HEAD};
    for (int i = 0; i < CT_ROW_FIELDS; i++) {
        const uint32_t len = ct__read_u32(&r);
        const uint8_t *at = len == UINT32_MAX ? NULL : ct__read_span(&r, len);
        if (at != NULL && (i == 7 || i == 10 || i == 12))
            must(is_text(at, len));
    }
    must(!r.overran && r.left == 0);

    uint8_t *tight = malloc(used); /* one byte less is not enough, and not one past it is touched */
    size_t wrote = 0;
    must(tight != NULL && ct_record_rows(t, 0, 1, tight, used, &wrote) == 1 && wrote == used);
    must(memcmp(out, tight, used) == 0 && ct_record_rows(t, 0, 1, tight, used - 1, &wrote) == 0 && wrote == 0);
    free(tight);
    free(out);
    ct_table_free(t);
    return 0;
}
