#define _GNU_SOURCE
#include "wasm/spool.h"

#include "base/err.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int ct__wasm_spool_init(ct__wasm_spool *spool) {
    spool->taken = 0;
    spool->fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); /* no memfd: where nothing counts them, they are refused */
    if (spool->fd < 0)
        return ct__errno();
    (void)snprintf(spool->path, sizeof spool->path, "/proc/self/fd/%d", spool->fd);
    return 0;
}

void ct__wasm_spool_fini(const ct__wasm_spool *spool) {
    if (spool->fd >= 0)
        (void)close(spool->fd);
}

int ct__wasm_spool_clear(ct__wasm_spool *spool) {
    spool->taken = 0;
    return ftruncate(spool->fd, 0) == 0 && lseek(spool->fd, 0, SEEK_SET) == 0 ? 0 : ct__errno();
}

uint64_t ct__wasm_spool_left(const ct__wasm_spool *spool) {
    struct stat found;
    return fstat(spool->fd, &found) == 0 && (uint64_t)found.st_size > spool->taken ? (uint64_t)found.st_size - spool->taken : 0;
}

size_t ct__wasm_spool_take(ct__wasm_spool *spool, uint8_t *out) {
    const ssize_t got = pread(spool->fd, out, CT__WASM_PIECE_BYTES, (off_t)spool->taken);
    if (got <= 0)
        return 0;
    spool->taken += (uint64_t)got;
    return (size_t)got;
}

void ct__wasm_spool_trim(const ct__wasm_spool *spool) {
    if (spool->taken > 0)
        (void)fallocate(spool->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)spool->taken);
}
