/* What is read from, written to and asked of an open descriptor. */

#define _GNU_SOURCE
#include "wasm/files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PARTS = 64, PART_BYTES = 8, ADVICES = 6 };
static const uint64_t SECOND_NS = 1000000000;

/* Takes as many of a guest's buffers as one call of the kernel's gets, without empty ones: what was not is asked for again. */
static int32_t gather(ct__wasi_memory memory, uint32_t at, uint32_t count, struct iovec *out, int *out_count) {
    const uint8_t *parts = ct__wasi_span(memory, at, (uint64_t)count * PART_BYTES);
    if (parts == NULL)
        return CT__WASI_FAULT;
    *out_count = 0;
    for (uint32_t i = 0; i < count && *out_count < PARTS; i++, parts += PART_BYTES) {
        const size_t len = ct__wasi_get(parts + 4, 4);
        uint8_t *part = ct__wasi_span(memory, (uint32_t)ct__wasi_get(parts, 4), len);
        if (part == NULL)
            return CT__WASI_FAULT;
        if (len > 0)
            out[(*out_count)++] = (struct iovec){.iov_base = part, .iov_len = len};
    }
    return 0;
}

static ssize_t take_event(ct__wasi_files *files, const struct iovec *parts, int count) {
    size_t taken = 0;
    for (int i = 0; i < count && files->in_len > 0; i++) {
        const size_t len = parts[i].iov_len < files->in_len ? parts[i].iov_len : files->in_len;
        memcpy(parts[i].iov_base, files->in, len);
        files->in += len;
        files->in_len -= len;
        taken += len;
    }
    return (ssize_t)taken;
}

typedef ssize_t carry(ct__wasi_files *files, const ct__wasi_file *file, const struct iovec *parts, int count, off_t offset);

static ssize_t get(ct__wasi_files *files, const ct__wasi_file *file, const struct iovec *parts, int count, off_t offset) {
    (void)offset;
    return file->kind == CT__WASI_IN ? take_event(files, parts, count) : readv(file->fd, parts, count);
}

static ssize_t get_at(ct__wasi_files *files, const ct__wasi_file *file, const struct iovec *parts, int count, off_t offset) {
    (void)files;
    return preadv(file->fd, parts, count, offset);
}

static ssize_t put(ct__wasi_files *files, const ct__wasi_file *file, const struct iovec *parts, int count, off_t offset) {
    (void)files;
    (void)offset;
    return writev(file->fd, parts, count);
}

static ssize_t put_at(ct__wasi_files *files, const ct__wasi_file *file, const struct iovec *parts, int count, off_t offset) {
    (void)files;
    return pwritev(file->fd, parts, count, offset);
}

/* in: descriptor, buffers, how many. */
static int32_t move(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in, int kinds, uint64_t right, carry *act,
                    int64_t offset, uint32_t told) {
    ct__wasi_file *file = NULL;
    struct iovec parts[PARTS];
    int count = 0;
    uint8_t *out = ct__wasi_span(memory, told, 4);
    int32_t failed = ct__wasi_files_take(files, (uint32_t)in[0].i32, kinds, right, &file);
    if (failed == 0)
        failed = out == NULL ? CT__WASI_FAULT : gather(memory, (uint32_t)in[1].i32, (uint32_t)in[2].i32, parts, &count);
    if (failed != 0)
        return failed;
    ssize_t moved;
    do
        moved = act(files, file, parts, count, (off_t)offset);
    while (moved < 0 && errno == EINTR);
    if (moved < 0)
        return ct__wasi_errno();
    ct__wasi_put(out, (uint64_t)moved, 4);
    return 0;
}

int32_t ct__wasi_fd_read(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    return move(files, memory, in, CT__WASI_FILE | CT__WASI_IN | CT__WASI_OUT, CT__WASI_FD_READ, get, 0, (uint32_t)in[3].i32);
}

int32_t ct__wasi_fd_pread(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    return move(files, memory, in, CT__WASI_FILE, CT__WASI_FD_READ, get_at, in[3].i64, (uint32_t)in[4].i32);
}

int32_t ct__wasi_fd_write(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    return move(files, memory, in, CT__WASI_FILE | CT__WASI_IN | CT__WASI_OUT, CT__WASI_FD_WRITE, put, 0, (uint32_t)in[3].i32);
}

int32_t ct__wasi_fd_pwrite(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    return move(files, memory, in, CT__WASI_FILE, CT__WASI_FD_WRITE, put_at, in[3].i64, (uint32_t)in[4].i32);
}

static int32_t seek(ct__wasi_files *files, ct__wasi_memory memory, uint32_t number, int64_t offset, uint32_t whence, uint64_t right,
                    uint32_t told) {
    static const int from[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    ct__wasi_file *file = NULL;
    uint8_t *out = ct__wasi_span(memory, told, 8);
    const int32_t failed = ct__wasi_files_take(files, number, CT__WASI_FILE, right, &file);
    if (failed != 0)
        return failed;
    if (whence >= sizeof from / sizeof *from)
        return CT__WASI_INVAL;
    if (out == NULL)
        return CT__WASI_FAULT;
    const off_t at = lseek(file->fd, offset, from[whence]);
    if (at < 0)
        return ct__wasi_errno();
    ct__wasi_put(out, (uint64_t)at, 8);
    return 0;
}

int32_t ct__wasi_fd_seek(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    return seek(files, memory, (uint32_t)in[0].i32, in[1].i64, (uint32_t)in[2].i32, CT__WASI_FD_SEEK, (uint32_t)in[3].i32);
}

int32_t ct__wasi_fd_tell(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    return seek(files, memory, (uint32_t)in[0].i32, 0, 1, CT__WASI_FD_TELL, (uint32_t)in[1].i32);
}

/* What is advised may be left undone, and pages of the code are others' too. */
int32_t ct__wasi_fd_advise(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    (void)memory;
    ct__wasi_file *file = NULL;
    const int32_t failed = ct__wasi_files_take(files, (uint32_t)in[0].i32, CT__WASI_FILE, CT__WASI_FD_ADVISE, &file);
    if (failed != 0)
        return failed == CT__WASI_ISDIR ? CT__WASI_BADF : failed;
    return in[1].i64 < 0 || in[2].i64 < 0 || (uint32_t)in[3].i32 >= ADVICES ? CT__WASI_INVAL : 0;
}

int32_t ct__wasi_fd_allocate(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    (void)memory;
    ct__wasi_file *file = NULL;
    const int32_t failed =
        ct__wasi_files_take(files, (uint32_t)in[0].i32, CT__WASI_FILE, CT__WASI_FD_WRITE | CT__WASI_FD_ALLOCATE, &file);
    if (failed != 0)
        return failed;
    return fallocate(file->fd, 0, in[1].i64, in[2].i64) < 0 ? ct__wasi_errno() : 0;
}

int32_t ct__wasi_fd_sync(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    (void)memory;
    ct__wasi_file *file = NULL;
    const int32_t failed = ct__wasi_files_take(files, (uint32_t)in[0].i32, CT__WASI_FILE | CT__WASI_DIR, CT__WASI_FD_SYNC, &file);
    if (failed != 0 || file->is_fixed) /* nothing was written there, and the host's disk is others' too */
        return failed;
    return fsync(file->fd) < 0 ? ct__wasi_errno() : 0;
}

int32_t ct__wasi_fd_datasync(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    (void)memory;
    ct__wasi_file *file = NULL;
    const int32_t failed = ct__wasi_files_take(files, (uint32_t)in[0].i32, CT__WASI_FILE | CT__WASI_DIR, CT__WASI_FD_DATASYNC, &file);
    if (failed != 0 || file->is_fixed)
        return failed;
    return fdatasync(file->fd) < 0 ? ct__wasi_errno() : 0;
}

uint8_t ct__wasi_type(mode_t mode) {
    switch (mode & S_IFMT) {
    case S_IFBLK: return 1;
    case S_IFCHR: return 2;
    case S_IFDIR: return CT__WASI_TYPE_DIRECTORY;
    case S_IFREG: return CT__WASI_TYPE_REGULAR;
    case S_IFSOCK: return 6;
    case S_IFLNK: return 7;
    default: return CT__WASI_TYPE_UNKNOWN;
    }
}

static uint64_t ns_of(struct timespec time) {
    return (uint64_t)time.tv_sec * SECOND_NS + (uint64_t)time.tv_nsec;
}

void ct__wasi_put_stat(uint8_t *out, const struct stat *found) {
    const uint64_t facts[] = {found->st_dev, found->st_ino, ct__wasi_type(found->st_mode), found->st_nlink, (uint64_t)found->st_size,
                              ns_of(found->st_atim), ns_of(found->st_mtim), ns_of(found->st_ctim)};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        ct__wasi_put(out + 8 * i, facts[i], 8);
}

int32_t ct__wasi_fd_filestat_get(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    ct__wasi_file *file = NULL;
    struct stat found = {0}; /* all that is said of a standard stream */
    uint8_t *out = ct__wasi_span(memory, (uint32_t)in[1].i32, CT__WASI_FILESTAT_BYTES);
    const int32_t failed = ct__wasi_files_take(files, (uint32_t)in[0].i32, CT__WASI_ANY, CT__WASI_FD_FILESTAT_GET, &file);
    if (failed != 0 || out == NULL)
        return failed != 0 ? failed : CT__WASI_FAULT;
    if ((file->kind & (CT__WASI_FILE | CT__WASI_DIR)) != 0 && fstat(file->fd, &found) < 0)
        return ct__wasi_errno();
    ct__wasi_put_stat(out, &found);
    return 0;
}

int32_t ct__wasi_fd_filestat_set_size(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    (void)memory;
    ct__wasi_file *file = NULL;
    const int32_t failed =
        ct__wasi_files_take(files, (uint32_t)in[0].i32, CT__WASI_FILE, CT__WASI_FD_WRITE | CT__WASI_FD_FILESTAT_SET_SIZE, &file);
    if (failed != 0)
        return failed;
    return ftruncate(file->fd, in[1].i64) < 0 ? ct__wasi_errno() : 0;
}

static struct timespec moment(uint64_t ns, bool is_set, bool is_now) {
    if (!is_set)
        return (struct timespec){.tv_nsec = is_now ? UTIME_NOW : UTIME_OMIT};
    return (struct timespec){.tv_sec = (time_t)(ns / SECOND_NS), .tv_nsec = (long)(ns % SECOND_NS)};
}

int32_t ct__wasi_times(uint64_t atim, uint64_t mtim, uint32_t flags, struct timespec out[2]) {
    const bool sets_a = (flags & CT__WASI_ATIM) != 0, sets_m = (flags & CT__WASI_MTIM) != 0;
    const bool is_a_now = (flags & CT__WASI_ATIM_NOW) != 0, is_m_now = (flags & CT__WASI_MTIM_NOW) != 0;
    if ((sets_a && is_a_now) || (sets_m && is_m_now) || flags > 2 * CT__WASI_MTIM_NOW - 1)
        return CT__WASI_INVAL;
    out[0] = moment(atim, sets_a, is_a_now);
    out[1] = moment(mtim, sets_m, is_m_now);
    return 0;
}

int32_t ct__wasi_fd_filestat_set_times(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    (void)memory;
    ct__wasi_file *file = NULL;
    struct timespec times[2];
    int32_t failed =
        ct__wasi_files_take(files, (uint32_t)in[0].i32, CT__WASI_FILE | CT__WASI_DIR, CT__WASI_FD_FILESTAT_SET_TIMES, &file);
    if (failed == 0)
        failed = ct__wasi_times((uint64_t)in[1].i64, (uint64_t)in[2].i64, (uint32_t)in[3].i32, times);
    if (failed != 0)
        return failed;
    if (file->is_fixed)
        return CT__WASI_ROFS;
    return futimens(file->fd, times) < 0 ? ct__wasi_errno() : 0;
}
