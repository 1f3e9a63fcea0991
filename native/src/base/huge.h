/* Memory that forks cheaply: what lies in whole huge pages is one entry of a page table each, where its small pages
 * would be 512 to copy at a fork and to give back at an exit. */
#ifndef CT_BASE_HUGE_H
#define CT_BASE_HUGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CT__HUGE_BYTES = 2 << 20 };

static inline uintptr_t ct__huge_ceil(uintptr_t at) {
    return (at + CT__HUGE_BYTES - 1) & ~(uintptr_t)(CT__HUGE_BYTES - 1);
}

/* Puts what is in [from, to) into huge pages, as far as they fit, and returns how many it made: none where the kernel
 * can not (before 6.1), or has no memory for them. What was never written to takes memory after this. */
size_t ct__huge_join(uintptr_t from, uintptr_t to);

/* Zeroed memory in pages of its own, for what changes all the time: a write to what is in a huge page after a fork takes
 * that page apart. NULL when there is none. */
void *ct__pages_new(size_t size);

void ct__pages_free(void *pages, size_t size);

/* Addresses handed out one after the other, from a huge page's start on. */
typedef struct ct__region {
    uintptr_t start; /* 0: none */
    size_t size;
    size_t used;
} ct__region;

/* Returns 0 or -errno; the region is empty then. */
int ct__region_init(ct__region *region, size_t size);

/* Returns zeroed memory, or NULL when there is no room. Give it back with munmap(): its place stays empty. */
void *ct__region_take(ct__region *region, size_t size);

/* Lets go of the huge pages that nothing was taken of. */
void ct__region_trim(ct__region *region);

#endif
