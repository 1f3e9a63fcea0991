#include "h2/memory.h"

#include <stdlib.h>
#include <string.h>

enum {
    SMALLEST_BYTES = 64,
    KEPT_BYTES_MAX = 8 << 20, /* chosen: what a few thousand streams use */
    NOT_KEPT = CT__H2_SIZES,
};

typedef struct block {
    size_t bytes; /* behind this head */
    union {
        size_t size; /* which list it is kept in */
        struct block *next;
    };
} block;

_Static_assert(sizeof(block) % _Alignof(max_align_t) == 0, "what follows the head is aligned for anything");

static size_t size_of(size_t bytes) {
    if (bytes > (size_t)SMALLEST_BYTES << (CT__H2_SIZES - 1))
        return NOT_KEPT;
    size_t size = 0;
    while ((size_t)SMALLEST_BYTES << size < bytes)
        size++;
    return size;
}

static void *take(size_t bytes, void *user) {
    ct__h2_budget *budget = user;
    ct__h2_pool *pool = budget->pool;
    const size_t size = size_of(bytes);
    if (size != NOT_KEPT)
        bytes = (size_t)SMALLEST_BYTES << size;
    if (bytes > budget->limit_bytes || budget->used_bytes > budget->limit_bytes - bytes)
        return NULL;
    if (pool->limit_bytes != 0 && pool->used_bytes + bytes > pool->limit_bytes)
        return NULL;
    block *b = NULL;
    if (size != NOT_KEPT && pool->kept[size] != NULL) {
        b = pool->kept[size];
        pool->kept[size] = b->next;
        pool->kept_bytes -= bytes;
    } else {
        b = malloc(sizeof *b + bytes);
        if (b == NULL)
            return NULL;
    }
    *b = (block){.bytes = bytes, .size = size};
    budget->used_bytes += bytes;
    pool->used_bytes += bytes;
    return b + 1;
}

static bool keeps(const ct__h2_pool *pool, const block *b) {
#ifdef __SANITIZE_ADDRESS__
    (void)pool, (void)b;
    return false; /* so that a use after free is seen */
#else
    return b->size != NOT_KEPT && pool->kept_bytes + b->bytes <= KEPT_BYTES_MAX;
#endif
}

static void give(void *memory, void *user) {
    if (memory == NULL)
        return;
    ct__h2_budget *budget = user;
    ct__h2_pool *pool = budget->pool;
    block *b = (block *)memory - 1;
    budget->used_bytes -= b->bytes;
    pool->used_bytes -= b->bytes;
    if (!keeps(pool, b)) {
        free(b);
        return;
    }
    const size_t size = b->size;
    pool->kept_bytes += b->bytes;
    b->next = pool->kept[size];
    pool->kept[size] = b;
}

static void *take_zeroed(size_t count, size_t bytes, void *user) {
    size_t all;
    if (__builtin_mul_overflow(count, bytes, &all))
        return NULL;
    void *memory = take(all, user);
    if (memory != NULL)
        memset(memory, 0, all);
    return memory;
}

static void *take_larger(void *memory, size_t bytes, void *user) {
    if (memory == NULL)
        return take(bytes, user);
    const block *b = (block *)memory - 1;
    if (bytes <= b->bytes)
        return memory;
    void *larger = take(bytes, user);
    if (larger == NULL)
        return NULL;
    memcpy(larger, memory, b->bytes);
    give(memory, user);
    return larger;
}

nghttp2_mem ct__h2_memory(ct__h2_budget *budget) {
    return (nghttp2_mem){.mem_user_data = budget, .malloc = take, .free = give, .calloc = take_zeroed, .realloc = take_larger};
}

void ct__h2_pool_fini(ct__h2_pool *pool) {
    for (size_t size = 0; size < CT__H2_SIZES; size++) {
        while (pool->kept[size] != NULL) {
            block *b = pool->kept[size];
            pool->kept[size] = b->next;
            free(b);
        }
    }
    pool->kept_bytes = 0;
}
