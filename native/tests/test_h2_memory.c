#include "h2/memory.h"

#include "ct_test.h"

static void each_connection_and_all_of_them_have_a_limit(void) {
    ct__h2_pool pool = {.limit_bytes = 3072};
    ct__h2_budget one = {.pool = &pool, .limit_bytes = 2000}, two = {.pool = &pool, .limit_bytes = 2048};
    const nghttp2_mem mem = ct__h2_memory(&one), other = ct__h2_memory(&two);
    uint8_t *a = mem.malloc(1000, &one);
    CHECK(a != NULL);
    memset(a, 'a', 1000);
    CHECK(mem.malloc(1000, &one) == NULL); /* 1,024 bytes are taken */
    CHECK(mem.malloc(SIZE_MAX, &one) == NULL);
    CHECK(mem.calloc(SIZE_MAX / 2, 3, &one) == NULL);
    uint8_t *b = other.calloc(10, 150, &two);
    CHECK(b != NULL && b[0] == 0 && b[1499] == 0);
    CHECK(mem.malloc(60, &one) == NULL); /* together too much */
    other.free(b, &two);
    CHECK(mem.malloc(900, &one) == NULL); /* for this one too much */
    a = mem.realloc(a, 1024, &one);
    CHECK(a != NULL && a[999] == 'a');
    CHECK(mem.realloc(a, 1500, &one) == NULL);
    CHECK_INT(a[999], 'a');
    mem.free(a, &one);
    mem.free(NULL, &one);
    CHECK_INT(one.used_bytes + two.used_bytes + pool.used_bytes, 0);
    ct__h2_pool wide = {0}; /* no limit of its own */
    ct__h2_budget three = {.pool = &wide, .limit_bytes = 100000};
    const nghttp2_mem roomy = ct__h2_memory(&three);
    uint8_t *large = roomy.realloc(NULL, 10, &three);
    large = roomy.realloc(large, 600, &three);
    large = roomy.realloc(large, 60000, &three);
    CHECK(large != NULL);
    memset(large, 1, 60000);
    roomy.free(large, &three);
    CHECK_INT(wide.used_bytes, 0);
    ct__h2_pool_fini(&wide);
    ct__h2_pool_fini(&pool);
    CHECK_INT(pool.kept_bytes, 0);
}

int main(void) {
    static const ct_case cases[] = {CASE(each_connection_and_all_of_them_have_a_limit)};
    return RUN("h2_memory", cases);
}
