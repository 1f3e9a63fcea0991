#define _GNU_SOURCE
#include "base/text.h"

#include "base/huge.h"

#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct span {
    uintptr_t from;
    uintptr_t to;
} span;

static uintptr_t page_floor(uintptr_t at) {
    return at & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
}

static uintptr_t page_ceil(uintptr_t at) {
    return page_floor(at + (uintptr_t)sysconf(_SC_PAGESIZE) - 1);
}

/* The pieces from the first one on that can be read, not written, and leave no gap; empty where there are none. */
static span text_of(const struct dl_phdr_info *library) {
    span found = {0};
    bool has_code = false;
    for (size_t i = 0; i < library->dlpi_phnum; i++) {
        const ElfW(Phdr) *piece = &library->dlpi_phdr[i];
        if (piece->p_type != PT_LOAD)
            continue;
        const uintptr_t from = page_floor(library->dlpi_addr + piece->p_vaddr);
        if ((piece->p_flags & (PF_R | PF_W)) != PF_R || (found.to != 0 && from != found.to))
            break;
        if (found.from == 0)
            found.from = from;
        found.to = page_ceil(library->dlpi_addr + piece->p_vaddr + piece->p_memsz);
        has_code = has_code || (piece->p_flags & PF_X) != 0;
    }
    return has_code ? found : (span){0};
}

static int merge_one(struct dl_phdr_info *library, size_t size, void *count) {
    (void)size;
    const span text = text_of(library);
    if (text.to > text.from && mprotect((void *)text.from, text.to - text.from, PROT_READ | PROT_EXEC) == 0)
        ++*(size_t *)count;
    return 0;
}

size_t ct__text_merge(void) {
    size_t merged = 0;
    (void)dl_iterate_phdr(merge_one, &merged);
    return merged;
}

typedef struct search {
    uintptr_t inside;
    span found;
} search;

static int find_one(struct dl_phdr_info *library, size_t size, void *state) {
    (void)size;
    search *const wanted = state;
    const span text = text_of(library);
    if (wanted->inside < text.from || wanted->inside >= text.to)
        return 0;
    wanted->found = text;
    return 1;
}

/* A copy in one huge page takes the place of what is at `at`: in one step, so that there is no moment without it. */
static bool move_to_huge_page(uintptr_t at) {
    ct__region copy;
    if (ct__region_init(&copy, CT__HUGE_BYTES) < 0)
        return false;
    char *const there = (char *)copy.start;
    memcpy(there, (const void *)at, CT__HUGE_BYTES);
    __builtin___clear_cache(there, there + CT__HUGE_BYTES);
    if (ct__huge_join(copy.start, copy.start + CT__HUGE_BYTES) == 1 &&
        mprotect(there, CT__HUGE_BYTES, PROT_READ | PROT_EXEC) == 0 &&
        mremap(there, CT__HUGE_BYTES, CT__HUGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)at) == (void *)at)
        return true;
    (void)munmap(there, CT__HUGE_BYTES);
    return false;
}

size_t ct__text_join(const void *inside) {
    search wanted = {.inside = (uintptr_t)inside};
    size_t made = 0;
    (void)dl_iterate_phdr(find_one, &wanted);
    for (uintptr_t at = ct__huge_ceil(wanted.found.from); at + CT__HUGE_BYTES <= wanted.found.to; at += CT__HUGE_BYTES)
        made += move_to_huge_page(at);
    return made;
}
