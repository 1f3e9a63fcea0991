/* A guest with a memory, a writable directory (3) and one that is not (4), and calls of WASI by name. */
#ifndef CT_WASI_RIG_H
#define CT_WASI_RIG_H

#include "ct_test.h"
#include "wasm/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MEMORY_BYTES = 128 << 10, TMP = 3, CODE = 4, FIRST_FREE = 5 };
/* Where in its memory things lie. */
enum { PATH_AT = 1000, OTHER_AT = 6000, OUT_AT = 12000, PARTS_AT = 13000, DATA_AT = 20000, DATA_BYTES = 100000 };
enum { EXIST = 20, LOOP = 32, NOTEMPTY = 55, XDEV = 75 };

static uint8_t memory[MEMORY_BYTES];
static ct__wasi_files files;
static char root[64];
static int out_fd, err_fd;

/* The arguments of a call, all as 64 bits: what takes 32 reads its half. */
#define WASI(name, ...)                                                                                                           \
    ct__wasi_##name(&files, (ct__wasi_memory){memory, sizeof memory},                                                             \
                    (const wasm_raw[9]){__VA_ARGS__})
#define A(value) {.i64 = (int64_t)(value)}
#define PATH(text) A(place(PATH_AT, text)), A(strlen(text))
#define OTHER(text) A(place(OTHER_AT, text)), A(strlen(text))

static inline uint32_t place(uint32_t at, const char *text) {
    memcpy(memory + at, text, strlen(text));
    return at;
}

static inline uint64_t told(uint32_t at, size_t bytes) {
    return ct__wasi_get(memory + at, bytes);
}

static const uint64_t READS = CT__WASI_FD_READ, WRITES = CT__WASI_FD_WRITE;

static inline int32_t open_with(int dir, const char *path, int lookup, int how, uint64_t rights, int flags) {
    const int32_t failed = WASI(path_open, A(dir), A(lookup), PATH(path), A(how), A(rights), A(-1), A(flags), A(OUT_AT));
    return failed != 0 ? -failed : (int32_t)told(OUT_AT, 4);
}

static inline void make_file(const char *path) {
    const int32_t fd = open_with(TMP, path, 0, CT__WASI_CREAT, READS | WRITES, 0);
    CHECK(fd >= FIRST_FREE);
    CHECK_INT(WASI(fd_close, A(fd)), 0);
}

static inline int32_t carry_text(ct__wasi_function *act, int fd, uint32_t at, size_t len) {
    ct__wasi_put(memory + PARTS_AT, at, 4);
    ct__wasi_put(memory + PARTS_AT + 4, len, 4);
    return act(&files, (ct__wasi_memory){memory, sizeof memory},
               (const wasm_raw[9]){A(fd), A(PARTS_AT), A(1), A(OUT_AT), A(0)});
}

static inline int32_t write_text(int fd, const char *text) {
    return carry_text(ct__wasi_fd_write, fd, place(DATA_AT, text), strlen(text));
}

static inline void begin(void) {
    memset(memory, 0, sizeof memory);
    (void)strcpy(root, "/tmp/ct-wasi-XXXXXX");
    CHECK(mkdtemp(root) != NULL);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/tmp", root);
    CHECK_INT(mkdir(path, 0700), 0);
    char code[128];
    (void)snprintf(code, sizeof code, "%s/code", root);
    CHECK_INT(mkdir(code, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/code/fixed", root);
    (void)close(open(path, O_CREAT | O_WRONLY, 0600));
    (void)snprintf(path, sizeof path, "%s/outside", root);
    (void)close(open(path, O_CREAT | O_WRONLY, 0600));
    (void)snprintf(path, sizeof path, "%s/tmp", root);
    out_fd = open(root, O_TMPFILE | O_RDWR, 0600);
    err_fd = open(root, O_TMPFILE | O_RDWR, 0600);
    CHECK(out_fd >= 0 && err_fd >= 0);
    ct__wasi_files_init(&files, "{\"a\":1}", 7, out_fd, err_fd);
    CHECK_INT(ct__wasi_files_show(&files, path, "/tmp", true), 0);
    CHECK_INT(ct__wasi_files_show(&files, code, "/code", false), 0);
}

static inline void end(void) {
    char act[128];
    ct__wasi_files_fini(&files);
    CHECK_INT(close(out_fd), 0); /* lent, and not closed */
    CHECK_INT(close(err_fd), 0);
    (void)snprintf(act, sizeof act, "rm -r %s", root);
    CHECK_INT(system(act), 0);
}

#endif
