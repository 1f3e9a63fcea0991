/* What a guest of WebAssembly does with its descriptors, without the library. */

#define _GNU_SOURCE
#include "wasi_rig.h"

#include <stdbool.h>

static void the_event_is_read_and_the_answer_written(void) {
    begin();
    CHECK_INT(carry_text(ct__wasi_fd_read, 0, DATA_AT, 4), 0);
    CHECK_INT(told(OUT_AT, 4), 4);
    CHECK_INT(carry_text(ct__wasi_fd_read, 0, DATA_AT + 4, 90), 0);
    CHECK_INT(told(OUT_AT, 4), 3);
    CHECK_INT(memcmp(memory + DATA_AT, "{\"a\":1}", 8), 0);
    CHECK_INT(carry_text(ct__wasi_fd_read, 0, DATA_AT, 90), 0);
    CHECK_INT(told(OUT_AT, 4), 0);
    CHECK_INT(write_text(1, "out"), 0);
    CHECK_INT(write_text(2, "err"), 0);
    char got[8] = "";
    CHECK_INT(pread(out_fd, got, sizeof got, 0), 3);
    CHECK_TEXT(got, "out");
    CHECK_INT(pread(err_fd, got, sizeof got, 0), 3);
    CHECK_TEXT(got, "err");
    CHECK_INT(write_text(0, "in"), CT__WASI_BADF);
    CHECK_INT(carry_text(ct__wasi_fd_read, 1, DATA_AT, 4), CT__WASI_BADF);
    for (int fd = 0; fd < 3; fd++) {
        CHECK_INT(WASI(fd_seek, A(fd), A(0), A(0), A(OUT_AT)), CT__WASI_SPIPE);
        CHECK_INT(WASI(fd_tell, A(fd), A(OUT_AT)), CT__WASI_SPIPE);
        CHECK_INT(WASI(fd_pread, A(fd), A(PARTS_AT), A(1), A(0), A(OUT_AT)), CT__WASI_SPIPE);
        CHECK_INT(WASI(fd_filestat_set_size, A(fd), A(0)), CT__WASI_SPIPE);
        CHECK_INT(WASI(fd_sync, A(fd)), CT__WASI_INVAL);
        CHECK_INT(WASI(fd_prestat_get, A(fd), A(OUT_AT)), CT__WASI_BADF);
        CHECK_INT(WASI(fd_fdstat_get, A(fd), A(OUT_AT)), 0);
        CHECK_INT(told(OUT_AT, 1), CT__WASI_TYPE_UNKNOWN); /* no terminal */
        CHECK_INT(WASI(fd_filestat_get, A(fd), A(OUT_AT)), 0);
        CHECK_INT(told(OUT_AT + 32, 8), 0);
    }
    end();
}

static void buffers_of_a_guest(void) {
    begin();
    const int32_t file = open_with(TMP, "file", 0, CT__WASI_CREAT, READS | WRITES, 0);
    enum { MANY = 100 };
    memset(memory + PARTS_AT, 0, MANY * 8); /* all empty but the last two */
    for (uint32_t i = MANY - 2; i < MANY; i++) {
        ct__wasi_put(memory + PARTS_AT + 8 * i, place(DATA_AT + 10 * i, i % 2 == 0 ? "abc" : "def"), 4);
        ct__wasi_put(memory + PARTS_AT + 8 * i + 4, 3, 4);
    }
    CHECK_INT(WASI(fd_write, A(file), A(PARTS_AT), A(MANY), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT, 4), 6);
    for (uint32_t i = 0; i < MANY; i++) {
        ct__wasi_put(memory + PARTS_AT + 8 * i, DATA_AT + 10 * i, 4);
        ct__wasi_put(memory + PARTS_AT + 8 * i + 4, 1, 4);
    }
    CHECK_INT(WASI(fd_pwrite, A(file), A(PARTS_AT), A(MANY), A(100), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT, 4), 64); /* the rest is the guest's to write again */
    CHECK_INT(WASI(fd_write, A(file), A(MEMORY_BYTES - 8), A(2), A(OUT_AT)), CT__WASI_FAULT);
    CHECK_INT(WASI(fd_write, A(file), A(PARTS_AT), A(UINT32_MAX), A(OUT_AT)), CT__WASI_FAULT);
    CHECK_INT(WASI(fd_write, A(file), A(PARTS_AT), A(1), A(MEMORY_BYTES - 3)), CT__WASI_FAULT);
    ct__wasi_put(memory + PARTS_AT + 4, MEMORY_BYTES, 4);
    CHECK_INT(WASI(fd_read, A(file), A(PARTS_AT), A(1), A(OUT_AT)), CT__WASI_FAULT);
    CHECK_INT(ct__wasi_fd_read(&files, (ct__wasi_memory){0}, (const wasm_raw[4]){A(file), A(0), A(1), A(0)}), CT__WASI_FAULT);
    end();
}

static void a_file_is_sought_cut_and_dated(void) {
    begin();
    const int32_t file = open_with(TMP, "file", 0, CT__WASI_CREAT, READS | WRITES, 0);
    CHECK_INT(write_text(file, "0123456789"), 0);
    CHECK_INT(WASI(fd_seek, A(file), A(-4), A(2), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT, 8), 6);
    CHECK_INT(WASI(fd_seek, A(file), A(1), A(1), A(OUT_AT)), 0);
    CHECK_INT(WASI(fd_tell, A(file), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT, 8), 7);
    CHECK_INT(WASI(fd_seek, A(file), A(-1), A(0), A(OUT_AT)), CT__WASI_INVAL);
    CHECK_INT(WASI(fd_seek, A(file), A(0), A(3), A(OUT_AT)), CT__WASI_INVAL);
    CHECK_INT(WASI(fd_filestat_set_size, A(file), A(5)), 0);
    CHECK_INT(WASI(fd_allocate, A(file), A(0), A(50)), 0);
    CHECK_INT(WASI(fd_allocate, A(file), A(0), A(0)), CT__WASI_INVAL);
    CHECK_INT(WASI(fd_filestat_get, A(file), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT + 32, 8), 50);
    CHECK_INT(WASI(fd_filestat_set_times, A(file), A(7), A(3000000001), A(CT__WASI_ATIM | CT__WASI_MTIM)), 0);
    CHECK_INT(WASI(fd_filestat_get, A(file), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT + 40, 8), 7);
    CHECK_INT(told(OUT_AT + 48, 8), 3000000001);
    CHECK_INT(WASI(fd_filestat_set_times, A(file), A(0), A(0), A(CT__WASI_MTIM | CT__WASI_MTIM_NOW)), CT__WASI_INVAL);
    CHECK_INT(WASI(fd_filestat_set_times, A(file), A(0), A(0), A(CT__WASI_ATIM | CT__WASI_ATIM_NOW)), CT__WASI_INVAL);
    CHECK_INT(WASI(fd_filestat_set_times, A(file), A(0), A(0), A(16)), CT__WASI_INVAL);
    CHECK_INT(WASI(fd_filestat_set_times, A(file), A(0), A(0), A(CT__WASI_MTIM_NOW)), 0);
    CHECK_INT(WASI(fd_filestat_get, A(file), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT + 40, 8), 7);
    CHECK(told(OUT_AT + 48, 8) > 3000000001);
    CHECK_INT(WASI(fd_sync, A(file)), 0);
    CHECK_INT(WASI(fd_datasync, A(file)), 0);
    CHECK_INT(WASI(fd_advise, A(file), A(0), A(100), A(5)), 0);
    CHECK_INT(WASI(fd_advise, A(file), A(0), A(100), A(6)), CT__WASI_INVAL);
    CHECK_INT(WASI(fd_advise, A(file), A(-1), A(100), A(0)), CT__WASI_INVAL);
    CHECK_INT(WASI(fd_advise, A(TMP), A(0), A(100), A(0)), CT__WASI_BADF);
    end();
}

static void flags_that_can_be_changed(void) {
    begin();
    const int32_t file = open_with(TMP, "file", 0, CT__WASI_CREAT, READS | WRITES, 0);
    CHECK_INT(write_text(file, "abcdef"), 0);
    CHECK_INT(WASI(fd_seek, A(file), A(0), A(0), A(OUT_AT)), 0);
    CHECK_INT(WASI(fd_fdstat_set_flags, A(file), A(CT__WASI_APPEND | CT__WASI_NONBLOCK)), 0);
    CHECK_INT(write_text(file, "gh"), 0);
    CHECK_INT(WASI(fd_fdstat_get, A(file), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT + 2, 2), CT__WASI_APPEND | CT__WASI_NONBLOCK);
    CHECK_INT(WASI(fd_fdstat_set_flags, A(file), A(0)), 0);
    CHECK_INT(WASI(fd_seek, A(file), A(0), A(0), A(OUT_AT)), 0);
    CHECK_INT(write_text(file, "A"), 0);
    CHECK_INT(WASI(fd_filestat_get, A(file), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT + 32, 8), 8);
    CHECK_INT(WASI(fd_fdstat_set_flags, A(file), A(CT__WASI_SYNC)), CT__WASI_NOTSUP);
    CHECK_INT(WASI(fd_fdstat_set_flags, A(file), A(32)), CT__WASI_INVAL);
    end();
}

static void what_a_directory_is_not(void) {
    begin();
    CHECK_INT(carry_text(ct__wasi_fd_read, TMP, DATA_AT, 3), CT__WASI_ISDIR);
    CHECK_INT(write_text(TMP, "abc"), CT__WASI_ISDIR);
    CHECK_INT(WASI(fd_seek, A(TMP), A(0), A(0), A(OUT_AT)), CT__WASI_ISDIR);
    CHECK_INT(WASI(fd_filestat_set_size, A(TMP), A(0)), CT__WASI_ISDIR);
    CHECK_INT(WASI(fd_filestat_get, A(TMP), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT + 16, 1), CT__WASI_TYPE_DIRECTORY);
    CHECK_INT(WASI(fd_sync, A(TMP)), 0);
    CHECK_INT(WASI(fd_sync, A(CODE)), 0);
    CHECK_INT(WASI(fd_datasync, A(CODE)), 0);
    end();
}

static void directories_that_are_open_from_the_start(void) {
    begin();
    CHECK_INT(WASI(fd_prestat_get, A(TMP), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT, 1), 0);
    CHECK_INT(told(OUT_AT + 4, 4), 4);
    CHECK_INT(WASI(fd_prestat_dir_name, A(CODE), A(OUT_AT), A(4)), CT__WASI_NAMETOOLONG);
    CHECK_INT(WASI(fd_prestat_dir_name, A(CODE), A(OUT_AT), A(6)), 0);
    CHECK_INT(memcmp(memory + OUT_AT, "/code", 5), 0);
    CHECK_INT(WASI(fd_prestat_get, A(FIRST_FREE), A(OUT_AT)), CT__WASI_BADF);
    CHECK_INT(WASI(fd_close, A(TMP)), 0); /* they can be closed as others are */
    CHECK_INT(WASI(fd_close, A(TMP)), CT__WASI_BADF);
    CHECK_INT(open_with(CODE, ".", 0, 0, READS, 0), TMP);
    CHECK_INT(WASI(fd_prestat_get, A(TMP), A(OUT_AT)), CT__WASI_BADF);
    end();
}

static void a_descriptor_gets_another_number(void) {
    begin();
    const int32_t one = open_with(TMP, "one", 0, CT__WASI_CREAT, READS | WRITES, 0);
    const int32_t two = open_with(TMP, "two", 0, CT__WASI_CREAT, READS | WRITES, 0);
    CHECK_INT(WASI(fd_renumber, A(one), A(two)), 0);
    CHECK_INT(WASI(fd_close, A(one)), CT__WASI_BADF);
    CHECK_INT(WASI(fd_renumber, A(two), A(one)), CT__WASI_BADF);
    CHECK_INT(WASI(fd_renumber, A(two), A(two)), 0);
    CHECK_INT(write_text(two, "in one"), 0);
    CHECK_INT(WASI(path_filestat_get, A(TMP), A(0), PATH("one"), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT + 32, 8), 6);
    CHECK_INT(WASI(fd_renumber, A(two), A(1)), 0); /* what it prints goes there from now on */
    CHECK_INT(write_text(1, "more"), 0);
    CHECK_INT(lseek(out_fd, 0, SEEK_END), 0);
    end();
}

/* Reads a directory with this much room; returns how many entries it has, all of which it counts once. */
static int entries_of(int dir, size_t room, bool *has_dots) {
    uint64_t cookie = 0;
    int count = 0;
    for (;;) {
        CHECK_INT(WASI(fd_readdir, A(dir), A(DATA_AT), A(room), A(cookie), A(OUT_AT)), 0);
        const size_t used = told(OUT_AT, 4);
        CHECK(used <= room);
        for (size_t at = 0; at + CT__WASI_DIRENT_BYTES <= used;) {
            const uint32_t entry = DATA_AT + (uint32_t)at;
            const size_t len = told(entry + 16, 4);
            at += CT__WASI_DIRENT_BYTES + len;
            if (at > used)
                break;
            const bool is_dot = memory[entry + 24] == '.';
            CHECK_INT(told(entry + 20, 1), is_dot ? CT__WASI_TYPE_DIRECTORY : CT__WASI_TYPE_REGULAR);
            *has_dots = *has_dots || is_dot;
            cookie = told(entry, 8);
            count++;
        }
        if (used < room)
            return count;
    }
}

static void a_directory_is_listed_in_parts(void) {
    enum { FILES = 500, DOTS = 2, ROOM = 256 };
    begin();
    bool has_dots = false;
    const int32_t dir = open_with(TMP, ".", 0, CT__WASI_DIRECTORY, CT__WASI_FD_READDIR, 0);
    CHECK_INT(entries_of(dir, ROOM, &has_dots), DOTS);
    CHECK(has_dots);
    for (int i = 0; i < FILES; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "file.%d", i);
        make_file(name);
    }
    CHECK_INT(entries_of(dir, ROOM, &has_dots), FILES + DOTS);
    CHECK_INT(entries_of(dir, DATA_BYTES, &has_dots), FILES + DOTS);
    CHECK_INT(WASI(fd_readdir, A(dir), A(DATA_AT), A(MEMORY_BYTES), A(0), A(OUT_AT)), CT__WASI_FAULT);
    CHECK_INT(WASI(fd_readdir, A(0), A(DATA_AT), A(100), A(0), A(OUT_AT)), CT__WASI_NOTDIR);
    end();
}

static void there_are_no_sockets(void) {
    begin();
    CHECK_INT(WASI(sock_accept, A(0), A(0), A(OUT_AT)), CT__WASI_BADF);
    CHECK_INT(WASI(sock_shutdown, A(TMP), A(3)), CT__WASI_NOTSOCK);
    CHECK_INT(WASI(sock_shutdown, A(99), A(3)), CT__WASI_BADF);
    CHECK_INT(WASI(sock_recv, A(0)), CT__WASI_NOTSOCK);
    CHECK_INT(WASI(sock_send, A(1)), CT__WASI_NOTSOCK);
    end();
}

static void errors_of_the_kernel(void) {
    CHECK_INT(ct__wasi_error(ENOENT), CT__WASI_NOENT);
    CHECK_INT(ct__wasi_error(ENOTBLK), CT__WASI_IO);
    CHECK_INT(ct__wasi_error(0), CT__WASI_IO);
    CHECK_INT(ct__wasi_error(100000), CT__WASI_IO);
    CHECK_INT(ct__wasi_files_show(&files, "/nowhere", "/x", true), -ENOENT);
}

int main(void) {
    static const ct_case cases[] = {
        CASE(the_event_is_read_and_the_answer_written), CASE(buffers_of_a_guest), CASE(a_file_is_sought_cut_and_dated),
        CASE(flags_that_can_be_changed), CASE(what_a_directory_is_not), CASE(directories_that_are_open_from_the_start),
        CASE(a_descriptor_gets_another_number), CASE(a_directory_is_listed_in_parts), CASE(there_are_no_sockets),
        CASE(errors_of_the_kernel)};
    return RUN("wasi_files", cases);
}
