/* What is in a directory. Where a guest goes on, the kernel remembers by itself: its cookies are the guest's. */

#define _GNU_SOURCE
#include "wasm/files.h"

#include <dirent.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BATCH_BYTES = 4096 };

/* The last entry is cut where the room ends: a guest sees by it that there is more. */
static size_t put_part(uint8_t *out, size_t room, const void *data, size_t len) {
    const size_t part = len < room ? len : room;
    memcpy(out, data, part);
    return part;
}

static size_t put_entry(uint8_t *out, size_t room, const struct dirent64 *entry) {
    uint8_t head[CT__WASI_DIRENT_BYTES] = {0};
    const size_t len = strlen(entry->d_name);
    ct__wasi_put(head, (uint64_t)entry->d_off, 8);
    ct__wasi_put(head + 8, entry->d_ino, 8);
    ct__wasi_put(head + 16, len, 4);
    head[20] = ct__wasi_type(DTTOIF(entry->d_type));
    const size_t done = put_part(out, room, head, sizeof head);
    return done + put_part(out + done, room - done, entry->d_name, len);
}

int32_t ct__wasi_fd_readdir(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    _Alignas(struct dirent64) char batch[BATCH_BYTES];
    ct__wasi_file *file = NULL;
    const size_t room = (uint32_t)in[2].i32;
    uint8_t *out = ct__wasi_span(memory, (uint32_t)in[1].i32, room);
    uint8_t *told = ct__wasi_span(memory, (uint32_t)in[4].i32, 4);
    const int32_t failed = ct__wasi_files_take(files, (uint32_t)in[0].i32, CT__WASI_DIR, CT__WASI_FD_READDIR, &file);
    if (failed != 0 || out == NULL || told == NULL)
        return failed != 0 ? failed : CT__WASI_FAULT;
    if (lseek(file->fd, in[3].i64, SEEK_SET) < 0)
        return ct__wasi_errno();
    size_t used = 0;
    while (used < room) {
        const long got = syscall(SYS_getdents64, file->fd, batch, sizeof batch);
        if (got < 0)
            return ct__wasi_errno();
        if (got == 0)
            break;
        for (long at = 0; at < got && used < room;) {
            const struct dirent64 *entry = (const struct dirent64 *)(const void *)(batch + at);
            used += put_entry(out + used, room - used, entry);
            at += entry->d_reclen;
        }
    }
    ct__wasi_put(told, used, 4);
    return 0;
}
