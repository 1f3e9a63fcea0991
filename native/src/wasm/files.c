#define _GNU_SOURCE
#include "wasm/files.h"

#include "base/err.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const uint64_t ALL = (uint64_t)CT__WASI_POLL_FD_READWRITE * 2 - 1;
static const uint64_t OF_FILES = CT__WASI_FD_DATASYNC | CT__WASI_FD_READ | CT__WASI_FD_SEEK | CT__WASI_FD_FDSTAT_SET_FLAGS |
                                 CT__WASI_FD_SYNC | CT__WASI_FD_TELL | CT__WASI_FD_WRITE | CT__WASI_FD_ADVISE |
                                 CT__WASI_FD_ALLOCATE | CT__WASI_FD_FILESTAT_GET | CT__WASI_FD_FILESTAT_SET_SIZE |
                                 CT__WASI_FD_FILESTAT_SET_TIMES | CT__WASI_POLL_FD_READWRITE;
static const uint64_t OF_STREAMS = CT__WASI_FD_FDSTAT_SET_FLAGS | CT__WASI_FD_FILESTAT_GET | CT__WASI_POLL_FD_READWRITE;

static uint64_t of_directories(void) {
    return (ALL & ~OF_FILES) | CT__WASI_FD_DATASYNC | CT__WASI_FD_SYNC | CT__WASI_FD_FDSTAT_SET_FLAGS | CT__WASI_FD_FILESTAT_GET |
           CT__WASI_FD_FILESTAT_SET_TIMES;
}

uint64_t ct__wasi_rights(ct__wasi_kind kind) {
    switch (kind) {
    case CT__WASI_FILE: return OF_FILES;
    case CT__WASI_DIR: return of_directories();
    case CT__WASI_IN: return OF_STREAMS | CT__WASI_FD_READ;
    case CT__WASI_OUT: return OF_STREAMS | CT__WASI_FD_WRITE;
    case CT__WASI_CLOSED: case CT__WASI_ANY: break;
    }
    return 0;
}

void ct__wasi_files_init(ct__wasi_files *files, const void *in, size_t in_len, int out, int err) {
    memset(files->all, 0, sizeof files->all);
    files->in = in;
    files->in_len = in_len;
    const int fds[] = {-1, out, err};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        const ct__wasi_kind kind = i == 0 ? CT__WASI_IN : CT__WASI_OUT;
        files->all[i] = (ct__wasi_file){.fd = fds[i], .kind = (uint8_t)kind, .base = ct__wasi_rights(kind), .is_borrowed = true};
    }
}

static void shut(ct__wasi_file *file) {
    if (file->kind != CT__WASI_CLOSED && !file->is_borrowed)
        (void)close(file->fd);
    file->kind = CT__WASI_CLOSED;
}

void ct__wasi_files_fini(ct__wasi_files *files) {
    for (size_t i = 0; i < CT__WASI_FILES; i++)
        shut(&files->all[i]);
}

ct__wasi_file *ct__wasi_files_free(ct__wasi_files *files, uint32_t *out_number) {
    for (uint32_t i = 0; i < CT__WASI_FILES; i++)
        if (files->all[i].kind == CT__WASI_CLOSED) {
            *out_number = i;
            return &files->all[i];
        }
    return NULL;
}

int ct__wasi_files_show(ct__wasi_files *files, const char *path, const char *name, bool is_writable) {
    uint32_t number = 0;
    ct__wasi_file *file = ct__wasi_files_free(files, &number);
    const int fd = file == NULL ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return file == NULL ? -EMFILE : ct__errno();
    *file = (ct__wasi_file){.fd = fd, .kind = CT__WASI_DIR, .name = name, .base = ct__wasi_rights(CT__WASI_DIR),
                            .inheriting = ALL, .is_fixed = !is_writable};
    return 0;
}

static int32_t misused(int kind, int kinds) {
    if (kind == CT__WASI_DIR)
        return CT__WASI_ISDIR;
    if ((kinds & CT__WASI_FILE) == 0)
        return CT__WASI_NOTDIR;
    return (kinds & CT__WASI_DIR) != 0 ? CT__WASI_INVAL : CT__WASI_SPIPE; /* a stream */
}

int32_t ct__wasi_files_take(ct__wasi_files *files, uint32_t number, int kinds, uint64_t right, ct__wasi_file **out) {
    ct__wasi_file *file = number < CT__WASI_FILES ? &files->all[number] : NULL;
    if (file == NULL || file->kind == CT__WASI_CLOSED)
        return CT__WASI_BADF;
    if ((file->kind & kinds) == 0)
        return misused(file->kind, kinds);
    if ((file->base & right) != right) /* one that was not opened for it is no such descriptor, as in POSIX */
        return (right & (CT__WASI_FD_READ | CT__WASI_FD_WRITE)) != 0 ? CT__WASI_BADF : CT__WASI_NOTCAPABLE;
    *out = file;
    return 0;
}

int32_t ct__wasi_fd_close(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    (void)memory;
    ct__wasi_file *file = NULL;
    const int32_t failed = ct__wasi_files_take(files, (uint32_t)in[0].i32, CT__WASI_ANY, 0, &file);
    if (failed == 0)
        shut(file);
    return failed;
}

int32_t ct__wasi_fd_renumber(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    (void)memory;
    ct__wasi_file *from = NULL, *to = NULL;
    int32_t failed = ct__wasi_files_take(files, (uint32_t)in[0].i32, CT__WASI_ANY, 0, &from);
    if (failed == 0)
        failed = ct__wasi_files_take(files, (uint32_t)in[1].i32, CT__WASI_ANY, 0, &to);
    if (failed != 0 || from == to)
        return failed;
    shut(to);
    *to = *from;
    from->kind = CT__WASI_CLOSED;
    return 0;
}

int32_t ct__wasi_fd_prestat_get(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    ct__wasi_file *file = NULL;
    uint8_t *out = ct__wasi_span(memory, (uint32_t)in[1].i32, CT__WASI_PRESTAT_BYTES);
    if (ct__wasi_files_take(files, (uint32_t)in[0].i32, CT__WASI_ANY, 0, &file) != 0 || file->name == NULL)
        return CT__WASI_BADF;
    if (out == NULL)
        return CT__WASI_FAULT;
    ct__wasi_put(out, 0, 4); /* a directory */
    ct__wasi_put(out + 4, strlen(file->name), 4);
    return 0;
}

int32_t ct__wasi_fd_prestat_dir_name(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    ct__wasi_file *file = NULL;
    if (ct__wasi_files_take(files, (uint32_t)in[0].i32, CT__WASI_ANY, 0, &file) != 0 || file->name == NULL)
        return CT__WASI_BADF;
    const size_t len = strlen(file->name);
    if ((uint32_t)in[2].i32 < len)
        return CT__WASI_NAMETOOLONG;
    uint8_t *out = ct__wasi_span(memory, (uint32_t)in[1].i32, len);
    if (out == NULL)
        return CT__WASI_FAULT;
    memcpy(out, file->name, len);
    return 0;
}

int32_t ct__wasi_fd_fdstat_get(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    ct__wasi_file *file = NULL;
    uint8_t *out = ct__wasi_span(memory, (uint32_t)in[1].i32, CT__WASI_FDSTAT_BYTES);
    const int32_t failed = ct__wasi_files_take(files, (uint32_t)in[0].i32, CT__WASI_ANY, 0, &file);
    if (failed != 0 || out == NULL)
        return failed != 0 ? failed : CT__WASI_FAULT;
    memset(out, 0, CT__WASI_FDSTAT_BYTES);
    out[0] = file->kind == CT__WASI_DIR ? CT__WASI_TYPE_DIRECTORY : file->kind == CT__WASI_FILE ? CT__WASI_TYPE_REGULAR
                                                                                                : CT__WASI_TYPE_UNKNOWN;
    ct__wasi_put(out + 2, file->flags, 2);
    ct__wasi_put(out + 8, file->base, 8);
    ct__wasi_put(out + 16, file->inheriting, 8);
    return 0;
}

/* Files never wait, and the kernel can not change whether one is written through. */
int32_t ct__wasi_fd_fdstat_set_flags(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    (void)memory;
    ct__wasi_file *file = NULL;
    const uint32_t flags = (uint32_t)in[1].i32;
    const int32_t failed =
        ct__wasi_files_take(files, (uint32_t)in[0].i32, CT__WASI_ANY, CT__WASI_FD_FDSTAT_SET_FLAGS, &file);
    if (failed != 0)
        return failed;
    if (((flags ^ file->flags) & ~(uint32_t)(CT__WASI_APPEND | CT__WASI_NONBLOCK)) != 0)
        return flags > (CT__WASI_SYNC << 1) - 1 ? CT__WASI_INVAL : CT__WASI_NOTSUP;
    if (file->kind == CT__WASI_FILE && fcntl(file->fd, F_SETFL, (flags & CT__WASI_APPEND) != 0 ? O_APPEND : 0) < 0)
        return ct__wasi_errno();
    file->flags = (uint8_t)flags;
    return 0;
}

/* They can be given up, and not got back. */
int32_t ct__wasi_fd_fdstat_set_rights(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    (void)memory;
    ct__wasi_file *file = NULL;
    const uint64_t base = (uint64_t)in[1].i64, inheriting = (uint64_t)in[2].i64;
    const int32_t failed = ct__wasi_files_take(files, (uint32_t)in[0].i32, CT__WASI_ANY, 0, &file);
    if (failed != 0)
        return failed;
    if ((base & ~file->base) != 0 || (inheriting & ~file->inheriting) != 0)
        return CT__WASI_NOTCAPABLE;
    file->base = base;
    file->inheriting = inheriting;
    return 0;
}

/* ---- sockets: there are none ---- */

static int32_t no_socket(ct__wasi_files *files, uint32_t number, int32_t otherwise) {
    ct__wasi_file *file = NULL;
    const int32_t failed = ct__wasi_files_take(files, number, CT__WASI_ANY, 0, &file);
    return failed != 0 ? failed : otherwise;
}

int32_t ct__wasi_sock_accept(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    (void)memory;
    return no_socket(files, (uint32_t)in[0].i32, CT__WASI_BADF); /* none listens */
}

int32_t ct__wasi_sock_recv(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    (void)memory;
    return no_socket(files, (uint32_t)in[0].i32, CT__WASI_NOTSOCK);
}

int32_t ct__wasi_sock_send(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    (void)memory;
    return no_socket(files, (uint32_t)in[0].i32, CT__WASI_NOTSOCK);
}

int32_t ct__wasi_sock_shutdown(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    (void)memory;
    return no_socket(files, (uint32_t)in[0].i32, CT__WASI_NOTSOCK);
}
