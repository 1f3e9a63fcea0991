/* WASI preview 1: its numbers, and how it lays out what functions of ours and the guest tell each other (little-endian, as every
 * machine is that the library is made for). */
#ifndef CT_WASM_WASI_H
#define CT_WASM_WASI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CT__WASI_BADF = 8,
    CT__WASI_FAULT = 21,
    CT__WASI_INVAL = 28,
    CT__WASI_IO = 29,
    CT__WASI_ISDIR = 31,
    CT__WASI_MFILE = 33,
    CT__WASI_NAMETOOLONG = 37,
    CT__WASI_NOENT = 44,
    CT__WASI_NOTDIR = 54,
    CT__WASI_NOTSOCK = 57,
    CT__WASI_NOTSUP = 58,
    CT__WASI_PERM = 63,
    CT__WASI_ROFS = 69,
    CT__WASI_SPIPE = 70,
    CT__WASI_NOTCAPABLE = 76
};

enum { CT__WASI_REALTIME = 0, CT__WASI_MONOTONIC, CT__WASI_PROCESS_CPU, CT__WASI_THREAD_CPU };

enum { CT__WASI_TYPE_UNKNOWN = 0, CT__WASI_TYPE_DIRECTORY = 3, CT__WASI_TYPE_REGULAR = 4 };

/* What a descriptor may be used for. */
enum {
    CT__WASI_FD_DATASYNC = 1 << 0,
    CT__WASI_FD_READ = 1 << 1,
    CT__WASI_FD_SEEK = 1 << 2,
    CT__WASI_FD_FDSTAT_SET_FLAGS = 1 << 3,
    CT__WASI_FD_SYNC = 1 << 4,
    CT__WASI_FD_TELL = 1 << 5,
    CT__WASI_FD_WRITE = 1 << 6,
    CT__WASI_FD_ADVISE = 1 << 7,
    CT__WASI_FD_ALLOCATE = 1 << 8,
    CT__WASI_PATH_CREATE_DIRECTORY = 1 << 9,
    CT__WASI_PATH_CREATE_FILE = 1 << 10,
    CT__WASI_PATH_LINK_SOURCE = 1 << 11,
    CT__WASI_PATH_LINK_TARGET = 1 << 12,
    CT__WASI_PATH_OPEN = 1 << 13,
    CT__WASI_FD_READDIR = 1 << 14,
    CT__WASI_PATH_READLINK = 1 << 15,
    CT__WASI_PATH_RENAME_SOURCE = 1 << 16,
    CT__WASI_PATH_RENAME_TARGET = 1 << 17,
    CT__WASI_PATH_FILESTAT_GET = 1 << 18,
    CT__WASI_PATH_FILESTAT_SET_SIZE = 1 << 19,
    CT__WASI_PATH_FILESTAT_SET_TIMES = 1 << 20,
    CT__WASI_FD_FILESTAT_GET = 1 << 21,
    CT__WASI_FD_FILESTAT_SET_SIZE = 1 << 22,
    CT__WASI_FD_FILESTAT_SET_TIMES = 1 << 23,
    CT__WASI_PATH_SYMLINK = 1 << 24,
    CT__WASI_PATH_REMOVE_DIRECTORY = 1 << 25,
    CT__WASI_PATH_UNLINK_FILE = 1 << 26,
    CT__WASI_POLL_FD_READWRITE = 1 << 27
};

enum { CT__WASI_APPEND = 1, CT__WASI_DSYNC = 2, CT__WASI_NONBLOCK = 4, CT__WASI_RSYNC = 8, CT__WASI_SYNC = 16 };
enum { CT__WASI_FOLLOW = 1 };
enum { CT__WASI_CREAT = 1, CT__WASI_DIRECTORY = 2, CT__WASI_EXCL = 4, CT__WASI_TRUNC = 8 };
enum { CT__WASI_ATIM = 1, CT__WASI_ATIM_NOW = 2, CT__WASI_MTIM = 4, CT__WASI_MTIM_NOW = 8 };

enum { CT__WASI_FDSTAT_BYTES = 24, CT__WASI_FILESTAT_BYTES = 64, CT__WASI_PRESTAT_BYTES = 8, CT__WASI_DIRENT_BYTES = 24 };

/* All of a guest's memory. Valid until the guest runs again. */
typedef struct ct__wasi_memory {
    uint8_t *base;
    uint64_t size;
} ct__wasi_memory;

/* `len` bytes of it, or NULL when they are not all in it. */
static inline uint8_t *ct__wasi_span(ct__wasi_memory memory, uint32_t at, uint64_t len) {
    return memory.base != NULL && at <= memory.size && len <= memory.size - at ? memory.base + at : NULL;
}

static inline uint64_t ct__wasi_get(const uint8_t *at, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = bytes; i > 0; i--)
        value = value << 8 | at[i - 1];
    return value;
}

static inline void ct__wasi_put(uint8_t *at, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

/* What WASI calls an error of the kernel's. */
int32_t ct__wasi_error(int number);

/* The same for the call that just failed. */
int32_t ct__wasi_errno(void);

#endif
