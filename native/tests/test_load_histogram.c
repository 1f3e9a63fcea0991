#include "ct_test.h"
#include "load/histogram.h"

static void small_values_are_exact(void) {
    ct__histogram *h = calloc(1, sizeof *h);
    CHECK(h != NULL);
    CHECK_INT(ct__histogram_at(h, 500), 0);
    for (uint32_t value = 1; value <= 1000; value++)
        ct__histogram_add(h, value);
    CHECK_INT(ct__histogram_at(h, 0), 1);
    CHECK_INT(ct__histogram_at(h, 500), 500);
    CHECK_INT(ct__histogram_at(h, 999), 999);
    CHECK_INT(ct__histogram_at(h, 1000), 1000);
    CHECK_INT(h->min, 1);
    CHECK_INT(h->max, 1000);
    CHECK_INT(h->sum, 500500);
    free(h);
}

static void any_value_comes_back_to_a_two_thousandth(void) {
    ct__histogram *h = calloc(1, sizeof *h);
    CHECK(h != NULL);
    for (uint64_t value = 1; value <= UINT32_MAX; value = value * 3 / 2 + 1) {
        *h = (ct__histogram){0};
        ct__histogram_add(h, value);
        ct__histogram_add(h, UINT32_MAX); /* so that the largest does not cut the bucket's end off */
        const uint64_t found = ct__histogram_at(h, 500);
        CHECK(found >= value && found - value <= value / 2048);
    }
    ct__histogram_add(h, UINT64_MAX);
    CHECK_INT(h->max, UINT32_MAX);
    CHECK_INT(ct__histogram_at(h, 1000), UINT32_MAX);
    free(h);
}

static void printed_it_has_every_bucket(void) {
    ct__histogram *h = calloc(1, sizeof *h);
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    CHECK(h != NULL && out != NULL);
    ct__histogram_add(h, 3);
    ct__histogram_add(h, 3);
    ct__histogram_add(h, 100001);
    ct__histogram_print(h, out);
    CHECK(fclose(out) == 0);
    CHECK(strcmp(text, "{\"count\":3,\"sum_us\":100007,\"min_us\":3,\"p50_us\":3,\"p90_us\":100001,\"p99_us\":100001,"
                       "\"p999_us\":100001,\"max_us\":100001,\"buckets\":[[3,2],[100001,1]]}") == 0);
    free(text);
    free(h);
}

int main(void) {
    small_values_are_exact();
    any_value_comes_back_to_a_two_thousandth();
    printed_it_has_every_bucket();
    return 0;
}
