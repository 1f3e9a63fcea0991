/* Any bytes, any cut: the head of a request or of an answer is read the same whole and in pieces, a body gives the same data, and what is
 * read keeps its bounds. */
#include "edge/http1.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds)
        abort();
}

static void within(ct__span span, const uint8_t *data, size_t size) {
    must(span.len == 0 || (span.at >= data && span.at + span.len <= data + size) || span.len == 1);
}

static int head_in_pieces(const uint8_t *data, size_t size, size_t step, bool is_answer, ct__http1_head *out) {
    ct__http1_scan scan = {0};
    int result = CT_E_MORE;
    for (size_t len = 0; result == CT_E_MORE && len < size;) {
        len = size - len < step ? size : len + step;
        result = is_answer ? ct__http1_answer(&scan, data, len, false, out) : ct__http1_request(&scan, data, len, out);
    }
    return result;
}

/* Returns the bytes that the body took; its data is summed up. */
static size_t body(const ct__http1_head *head, const uint8_t *data, size_t size, size_t step, uint64_t *sum, int *result) {
    ct__http1_body at = ct__http1_body_of(head);
    size_t taken = 0;
    *sum = 0;
    *result = 0;
    while (*result == 0 && taken < size && !ct__http1_body_done(&at)) {
        size_t used = 0;
        ct__span piece;
        const size_t part = size - taken < step ? size - taken : step;
        *result = ct__http1_body_next(&at, data + taken, part, &used, &piece);
        if (*result != 0)
            break;
        must(used > 0 && used <= part);
        must(piece.len == 0 || (piece.at >= data + taken && piece.at + piece.len <= data + taken + used));
        for (size_t i = 0; i < piece.len; i++)
            *sum = *sum * 31 + piece.at[i];
        taken += used;
    }
    return taken;
}

/* What both readings of a head found, and the body behind it. */
static void check_message(const ct__http1_head *whole, const ct__http1_head *part, const uint8_t *data, size_t size) {
    must(whole->used == part->used && whole->used <= size && whole->count == part->count && whole->count < CT__HTTP1_ANSWER_FIELDS);
    must(whole->framing == part->framing && whole->length == part->length && whole->status == part->status);
    within(whole->target, data, size);
    for (size_t i = 0; i < whole->count; i++) {
        within(whole->fields[i].name, data, size);
        within(whole->fields[i].value, data, size);
    }
    uint64_t sums[2];
    int results[2];
    const size_t left = size - whole->used;
    const size_t all = body(whole, data + whole->used, left, size, &sums[0], &results[0]);
    const size_t pieces = body(whole, data + whole->used, left, 1 + size % 5, &sums[1], &results[1]);
    must(results[0] == results[1]);
    must(results[0] != 0 || (sums[0] == sums[1] && all == pieces));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct__http1_head whole, part;
    ct__http1_scan scan = {0};
    int result = ct__http1_request(&scan, data, size, &whole);
    must(head_in_pieces(data, size, 1 + size % 7, false, &part) == result || size == 0);
    if (result == 0) {
        must(whole.count <= CT__HTTP1_FIELDS);
        check_message(&whole, &part, data, size);
    }
    scan = (ct__http1_scan){0};
    result = ct__http1_answer(&scan, data, size, false, &whole);
    must(head_in_pieces(data, size, 1 + size % 7, true, &part) == result || size == 0);
    if (result == 0) {
        must(whole.status >= 100 && whole.status < 1000);
        check_message(&whole, &part, data, size);
    }
    const ct__http1_head chunked = {.framing = CT__HTTP1_CHUNKED};
    uint64_t sum;
    int ended;
    (void)body(&chunked, data, size, 1 + size % 3, &sum, &ended);
    return 0;
}
