/* Regions, and what is left of a fork's work when memory lies in huge pages. */
#define _GNU_SOURCE
#include "base/huge.h"

#include "base/err.h"
#include "ct_test.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_mapped(uintptr_t at) {
    unsigned char state = 0;
    return mincore((void *)at, 1, &state) == 0;
}

static void a_region_begins_at_a_huge_page(void) {
    ct__region r;
    CHECK_INT(ct__region_init(&r, 8 * (size_t)CT__HUGE_BYTES), 0);
    CHECK_INT(r.start % CT__HUGE_BYTES, 0);
    CHECK_INT(ct__region_init(&r, 0), CT_E_RANGE);
    CHECK_INT(ct__region_init(&r, 4096), CT_E_RANGE);
    CHECK_INT(ct__region_init(&r, SIZE_MAX & ~(size_t)(CT__HUGE_BYTES - 1)), CT_E_RANGE);
    CHECK(ct__region_take(&r, 1) == NULL); /* one that could not be made is empty */
}

static void it_gives_what_it_has_and_no_more(void) {
    ct__region r;
    CHECK_INT(ct__region_init(&r, CT__HUGE_BYTES), 0);
    char *first = ct__region_take(&r, CT__HUGE_BYTES / 2);
    char *second = ct__region_take(&r, CT__HUGE_BYTES / 2);
    CHECK(first != NULL && second == first + CT__HUGE_BYTES / 2);
    first[0] = second[CT__HUGE_BYTES / 2 - 1] = 1;
    CHECK(ct__region_take(&r, 1) == NULL);
    CHECK(ct__region_take(&r, SIZE_MAX) == NULL);
    CHECK(ct__region_take(&r, 0) == NULL);
}

static void trimming_keeps_what_was_taken(void) {
    ct__region r;
    CHECK_INT(ct__region_init(&r, 4 * (size_t)CT__HUGE_BYTES), 0);
    char *taken = ct__region_take(&r, CT__HUGE_BYTES + 4096);
    taken[CT__HUGE_BYTES + 4095] = 1;
    ct__region_trim(&r);
    CHECK_INT(r.size, 2 * (size_t)CT__HUGE_BYTES);
    CHECK_INT(taken[CT__HUGE_BYTES + 4095], 1);
    CHECK(!is_mapped(r.start + r.size));
    CHECK(ct__region_take(&r, CT__HUGE_BYTES) == NULL);
    CHECK(ct__region_take(&r, 4096) == taken + CT__HUGE_BYTES + 4096); /* the rest of the last one is still good */
}

/* What was joined is the same bytes in both processes, and a write of one is not the other's. */
static void joined_memory_is_what_it_was(void) {
    ct__region r;
    CHECK_INT(ct__region_init(&r, 3 * (size_t)CT__HUGE_BYTES), 0);
    const size_t size = 2 * (size_t)CT__HUGE_BYTES + 8192;
    char *taken = ct__region_take(&r, size);
    for (size_t i = 0; i < size; i += 4096)
        taken[i] = (char)(i / 4096 % 251);
    CHECK(ct__huge_join(r.start, r.start + r.used) <= 2); /* none where the kernel can not */
    for (size_t i = 0; i < size; i += 4096)
        CHECK_INT(taken[i], (char)(i / 4096 % 251));
    const pid_t child = fork();
    if (child == 0) {
        taken[4096] = 99;
        _exit(taken[4096] == 99 && taken[8192] == 2 ? 0 : 1);
    }
    int status = 1;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
    CHECK_INT(taken[4096], 1);
}

static void less_than_a_huge_page_stays_as_it_is(void) {
    ct__region r;
    CHECK_INT(ct__region_init(&r, 2 * (size_t)CT__HUGE_BYTES), 0);
    CHECK_INT(ct__huge_join(r.start, r.start + CT__HUGE_BYTES - 1), 0);
    CHECK_INT(ct__huge_join(r.start + 1, r.start + CT__HUGE_BYTES + 1), 0);
    CHECK_INT(ct__huge_join(r.start, r.start), 0);
    CHECK_INT(ct__huge_join(r.start + CT__HUGE_BYTES, r.start), 0);
}

static void pages_are_zeroed_and_given_back(void) {
    char *pages = ct__pages_new(3 * 4096);
    CHECK(pages != NULL && pages[0] == 0 && pages[3 * 4096 - 1] == 0);
    ct__pages_free(pages, 3 * 4096);
    CHECK(!is_mapped((uintptr_t)pages));
    CHECK(ct__pages_new(SIZE_MAX & ~(size_t)4095) == NULL);
    ct__pages_free(NULL, 4096);
}

int main(void) {
    static const ct_case cases[] = {CASE(a_region_begins_at_a_huge_page), CASE(it_gives_what_it_has_and_no_more),
                                    CASE(trimming_keeps_what_was_taken), CASE(joined_memory_is_what_it_was),
                                    CASE(less_than_a_huge_page_stays_as_it_is), CASE(pages_are_zeroed_and_given_back)};
    return RUN("huge", cases);
}
