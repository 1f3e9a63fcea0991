#define _GNU_SOURCE
#include "base/huge.h"

#include "base/err.h"

#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

size_t ct__huge_join(uintptr_t from, uintptr_t to) {
    size_t made = 0;
    for (uintptr_t at = ct__huge_ceil(from); at < to && to - at >= CT__HUGE_BYTES; at += CT__HUGE_BYTES)
        if (madvise((void *)at, CT__HUGE_BYTES, MADV_COLLAPSE) == 0)
            made++;
    return made;
}

void *ct__pages_new(size_t size) {
    void *const pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

void ct__pages_free(void *pages, size_t size) {
    if (pages != NULL)
        (void)munmap(pages, size);
}

int ct__region_init(ct__region *region, size_t size) {
    *region = (ct__region){0};
    if (size == 0 || size % CT__HUGE_BYTES != 0 || size > SIZE_MAX - CT__HUGE_BYTES)
        return CT_E_RANGE;
    void *const mapped = mmap(NULL, size + CT__HUGE_BYTES, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED)
        return ct__errno();
    const uintptr_t begin = (uintptr_t)mapped;
    const uintptr_t start = ct__huge_ceil(begin);
    if (start > begin)
        (void)munmap(mapped, start - begin);
    if (start - begin < CT__HUGE_BYTES)
        (void)munmap((void *)(start + size), CT__HUGE_BYTES - (start - begin));
    *region = (ct__region){.start = start, .size = size};
    return 0;
}

void *ct__region_take(ct__region *region, size_t size) {
    if (region->start == 0 || size == 0 || size > region->size - region->used)
        return NULL;
    void *const taken = (void *)(region->start + region->used);
    region->used += size;
    return taken;
}

void ct__region_trim(ct__region *region) {
    const size_t kept = (size_t)(ct__huge_ceil(region->start + region->used) - region->start);
    if (region->start != 0 && kept < region->size)
        (void)munmap((void *)(region->start + kept), region->size - kept);
    region->size = kept < region->size ? kept : region->size;
}
