/* Program text in one piece, and in huge pages: the same bytes, the same access, and it runs. */
#define _GNU_SOURCE
#include "base/text.h"

#include "base/huge.h"
#include "ct_test.h"

#include <openssl/sha.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

/* A library with several MiB of text, which every test program is linked with. */
static const void *in_library(void) {
    return (const void *)(uintptr_t)SHA256;
}

typedef struct mapping {
    uintptr_t from;
    uintptr_t to;
    char access[5];
    char path[256];
} mapping;

enum { MAPPINGS = 1024 };

static size_t mappings(mapping *out) {
    FILE *file = fopen("/proc/self/maps", "re");
    char line[512];
    size_t count = 0;
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned long from, to;
        mapping one = {0};
        CHECK(sscanf(line, "%lx-%lx %4s %*s %*s %*s %255s", &from, &to, one.access, one.path) >= 3);
        one.from = from;
        one.to = to;
        CHECK(count < MAPPINGS);
        out[count++] = one;
    }
    (void)fclose(file);
    return count;
}

static mapping mapping_of(uintptr_t at) {
    static mapping all[MAPPINGS];
    const size_t count = mappings(all);
    for (size_t i = 0; i < count; i++)
        if (at >= all[i].from && at < all[i].to)
            return all[i];
    return (mapping){0};
}

static void hash(uint8_t out[SHA256_DIGEST_LENGTH]) {
    static uint8_t much[100000];
    CHECK(SHA256(much, sizeof much, out) == out);
}

static size_t pieces_of(const char *path) {
    static mapping all[MAPPINGS];
    const size_t count = mappings(all);
    size_t found = 0;
    for (size_t i = 0; i < count; i++)
        found += strcmp(all[i].path, path) == 0;
    return found;
}

/* In a process of its own: what is changed stays so. */
static void alone(void (*run)(void)) {
    const pid_t child = fork();
    if (child == 0) {
        run();
        _exit(0);
    }
    int status = 1;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
}

static void merge_pieces(void) {
    const mapping before = mapping_of((uintptr_t)in_library());
    const size_t pieces = pieces_of(before.path);
    CHECK(ct__text_merge() > 0);
    const mapping after = mapping_of((uintptr_t)in_library());
    CHECK_TEXT(after.access, "r-xp");
    CHECK_TEXT(after.path, before.path);
    CHECK(after.from <= before.from && after.to >= before.to);
    CHECK(pieces_of(before.path) < pieces || pieces <= 3); /* 3: the linker has made one piece of it already */
}

/* Every piece that can be written to could be before, and none can be executed too. */
static void look_for_writable(void) {
    static mapping before[MAPPINGS], after[MAPPINGS];
    const size_t had = mappings(before);
    (void)ct__text_merge();
    (void)ct__text_join(in_library());
    const size_t has = mappings(after);
    for (size_t i = 0; i < has; i++) {
        if (after[i].access[1] != 'w' || after[i].path[0] != '/')
            continue;
        CHECK(after[i].access[2] != 'x');
        bool is_old = false;
        for (size_t k = 0; k < had; k++)
            is_old = is_old || (before[k].access[1] == 'w' && before[k].from <= after[i].from && before[k].to >= after[i].to);
        CHECK(is_old);
    }
}

static void check_hash(const uint8_t want[SHA256_DIGEST_LENGTH]) {
    uint8_t got[SHA256_DIGEST_LENGTH];
    hash(got);
    CHECK(memcmp(got, want, sizeof got) == 0);
}

static void move_text(void) {
    uint8_t want[SHA256_DIGEST_LENGTH];
    hash(want);
    (void)ct__text_merge();
    const mapping text = mapping_of((uintptr_t)in_library());
    uint8_t *copy = malloc(text.to - text.from);
    CHECK(copy != NULL);
    memcpy(copy, (const void *)text.from, text.to - text.from);
    const size_t made = ct__text_join(in_library());
    CHECK(made <= (text.to - text.from) / CT__HUGE_BYTES);
    CHECK(memcmp(copy, (const void *)text.from, text.to - text.from) == 0);
    free(copy);
    size_t moved = 0;
    for (uintptr_t at = ct__huge_ceil(text.from); at + CT__HUGE_BYTES <= text.to; at += CT__HUGE_BYTES) {
        const mapping now = mapping_of(at);
        CHECK_TEXT(now.access, "r-xp");
        moved += now.path[0] == '\0';
    }
    CHECK_INT(moved, made);
    check_hash(want);
    const pid_t child = fork(); /* what was moved is forked as anything else */
    if (child == 0) {
        check_hash(want);
        _exit(0);
    }
    int status = 1;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
}

static void what_nobody_writes_becomes_one_piece(void) {
    alone(merge_pieces);
}

static void nothing_becomes_writable(void) {
    alone(look_for_writable);
}

static void moved_text_is_what_it_was(void) {
    alone(move_text);
}

static void what_is_no_text_stays_where_it_is(void) {
    static int data = 7;
    int local = 8;
    CHECK_INT(ct__text_join(&data), 0);
    CHECK_INT(ct__text_join(&local), 0);
    CHECK_INT(ct__text_join(NULL), 0);
    CHECK(data == 7 && local == 8);
}

int main(void) {
    static const ct_case cases[] = {CASE(what_nobody_writes_becomes_one_piece), CASE(nothing_becomes_writable),
                                    CASE(moved_text_is_what_it_was), CASE(what_is_no_text_stays_where_it_is)};
    return RUN("text", cases);
}
