/* A guest's descriptors, and the functions of WASI preview 1 that take them. They are ours and not the library's: its own goes
 * through a runtime of threads, and tells a path that leads out of a directory from one that is not allowed by no error of its own.
 * Paths are resolved by the kernel, which lets none lead out of the directory that it begins in (openat2(2), RESOLVE_BENEATH). */
#ifndef CT_WASM_FILES_H
#define CT_WASM_FILES_H

#include "wasm/api.h"
#include "wasm/wasi.h"

#include <sys/stat.h>

/* Chosen: far more than programs have open, and a fraction of what a tenant's worker may (comet/wasm/worker.py). */
enum { CT__WASI_FILES = 128 };

/* May be joined. */
typedef enum ct__wasi_kind {
    CT__WASI_CLOSED = 0,
    CT__WASI_FILE = 1,
    CT__WASI_DIR = 2,
    CT__WASI_IN = 4,
    CT__WASI_OUT = 8,
    CT__WASI_ANY = CT__WASI_FILE | CT__WASI_DIR | CT__WASI_IN | CT__WASI_OUT
} ct__wasi_kind;

typedef struct ct__wasi_file {
    const char *name; /* of a directory that was open from the start */
    uint64_t base, inheriting;
    int fd; /* -1: standard input, which is in memory */
    uint8_t kind;
    uint8_t flags;
    bool is_fixed;    /* nothing in it may be changed */
    bool is_borrowed; /* the descriptor is closed by whoever lent it */
} ct__wasi_file;

typedef struct ct__wasi_files {
    ct__wasi_file all[CT__WASI_FILES];
    const uint8_t *in; /* what standard input has left */
    size_t in_len;
} ct__wasi_files;

/* Opens the standard streams, the outgoing ones on descriptors that stay the caller's. */
void ct__wasi_files_init(ct__wasi_files *files, const void *in, size_t in_len, int out, int err);
void ct__wasi_files_fini(ct__wasi_files *files);

/* Opens a directory of the host that the guest finds open from the start by a name, which stays the caller's. Returns 0 or -errno. */
int ct__wasi_files_show(ct__wasi_files *files, const char *path, const char *name, bool is_writable);

/* Finds an open descriptor of one of these kinds that has a right. Returns 0 or the error. */
int32_t ct__wasi_files_take(ct__wasi_files *files, uint32_t number, int kinds, uint64_t right, ct__wasi_file **out);

/* All that may be done with what is of a kind. */
uint64_t ct__wasi_rights(ct__wasi_kind kind);

/* The lowest number that is free, or NULL. */
ct__wasi_file *ct__wasi_files_free(ct__wasi_files *files, uint32_t *out_number);

/* What the kernel says of a file, as a guest reads it. */
void ct__wasi_put_stat(uint8_t *out, const struct stat *found);
uint8_t ct__wasi_type(mode_t mode);

/* The times that a call sets, by its flags. */
int32_t ct__wasi_times(uint64_t atim, uint64_t mtim, uint32_t flags, struct timespec out[2]);

/* Each returns an error of WASI, or 0. Parameters: i for 32 bits, I for 64. */
#define CT__WASI_FILE_FUNCTIONS(F)                                                                                                \
    F(fd_advise, "iIIi")                                                                                                          \
    F(fd_allocate, "iII")                                                                                                         \
    F(fd_close, "i")                                                                                                              \
    F(fd_datasync, "i")                                                                                                           \
    F(fd_fdstat_get, "ii")                                                                                                        \
    F(fd_fdstat_set_flags, "ii")                                                                                                  \
    F(fd_fdstat_set_rights, "iII")                                                                                                \
    F(fd_filestat_get, "ii")                                                                                                      \
    F(fd_filestat_set_size, "iI")                                                                                                 \
    F(fd_filestat_set_times, "iIIi")                                                                                              \
    F(fd_pread, "iiiIi")                                                                                                          \
    F(fd_prestat_dir_name, "iii")                                                                                                 \
    F(fd_prestat_get, "ii")                                                                                                       \
    F(fd_pwrite, "iiiIi")                                                                                                         \
    F(fd_read, "iiii")                                                                                                            \
    F(fd_readdir, "iiiIi")                                                                                                        \
    F(fd_renumber, "ii")                                                                                                          \
    F(fd_seek, "iIii")                                                                                                            \
    F(fd_sync, "i")                                                                                                               \
    F(fd_tell, "ii")                                                                                                              \
    F(fd_write, "iiii")                                                                                                           \
    F(path_create_directory, "iii")                                                                                               \
    F(path_filestat_get, "iiiii")                                                                                                 \
    F(path_filestat_set_times, "iiiiIIi")                                                                                         \
    F(path_link, "iiiiiii")                                                                                                       \
    F(path_open, "iiiiiIIii")                                                                                                     \
    F(path_readlink, "iiiiii")                                                                                                    \
    F(path_remove_directory, "iii")                                                                                               \
    F(path_rename, "iiiiii")                                                                                                      \
    F(path_symlink, "iiiii")                                                                                                      \
    F(path_unlink_file, "iii")                                                                                                    \
    F(sock_accept, "iii")                                                                                                         \
    F(sock_recv, "iiiiii")                                                                                                        \
    F(sock_send, "iiiii")                                                                                                         \
    F(sock_shutdown, "ii")

typedef int32_t ct__wasi_function(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in);

#define DECLARE(name, parameters) ct__wasi_function ct__wasi_##name;
CT__WASI_FILE_FUNCTIONS(DECLARE)
#undef DECLARE

#endif
