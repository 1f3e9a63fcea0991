/* What a guest of WebAssembly does by paths, in a directory of the disk and without the library. */

#define _GNU_SOURCE
#include "wasi_rig.h"

static void a_path_never_leads_out(void) {
    begin();
    CHECK_INT(WASI(path_create_directory, A(TMP), PATH("dir")), 0);
    make_file("dir/file");
    static const char *const out[] = {"/dir/file", "..", "../outside", "dir/../../outside", "out", "out/", "up/outside", "proc/self"};
    char path[128];
    (void)snprintf(path, sizeof path, "%s/tmp/out", root);
    CHECK_INT(symlink("../outside", path), 0); /* as others could leave them in a directory that is shared */
    (void)snprintf(path, sizeof path, "%s/tmp/proc", root);
    CHECK_INT(symlink("/proc", path), 0);
    CHECK_INT(WASI(path_symlink, PATH(".."), A(TMP), OTHER("up")), 0);
    for (size_t i = 0; i < sizeof out / sizeof *out; i++) {
        CHECK_INT(open_with(TMP, out[i], CT__WASI_FOLLOW, 0, READS, 0), -CT__WASI_NOTCAPABLE);
        CHECK_INT(WASI(path_filestat_get, A(TMP), A(CT__WASI_FOLLOW), PATH(out[i]), A(OUT_AT)), CT__WASI_NOTCAPABLE);
        CHECK_INT(WASI(path_filestat_set_times, A(TMP), A(CT__WASI_FOLLOW), PATH(out[i]), A(0), A(0), A(CT__WASI_MTIM)),
                  CT__WASI_NOTCAPABLE);
    }
    CHECK_INT(WASI(path_unlink_file, A(TMP), PATH("up/outside")), CT__WASI_NOTCAPABLE);
    CHECK_INT(WASI(path_create_directory, A(TMP), PATH("up/made")), CT__WASI_NOTCAPABLE);
    CHECK_INT(WASI(path_rename, A(TMP), PATH("dir/file"), A(TMP), OTHER("up/file")), CT__WASI_NOTCAPABLE);
    CHECK_INT(WASI(path_link, A(TMP), A(0), PATH("out/"), A(TMP), OTHER("mine")), CT__WASI_NOTCAPABLE);
    CHECK_INT(WASI(path_symlink, PATH("/etc"), A(TMP), OTHER("etc")), CT__WASI_NOTCAPABLE);
    CHECK(open_with(TMP, "dir/.//../dir/./file", 0, 0, READS, 0) >= FIRST_FREE);
    end();
}

static void paths_that_are_none(void) {
    begin();
    make_file("file");
    static char text[5000];
    memset(text, 'a', sizeof text - 1);
    CHECK_INT(open_with(TMP, "", 0, 0, 0, 0), -CT__WASI_NOENT);
    memcpy(memory + DATA_AT, text, sizeof text);
    CHECK_INT(WASI(path_unlink_file, A(TMP), A(DATA_AT), A(sizeof text - 1)), CT__WASI_NAMETOOLONG);
    CHECK_INT(WASI(path_unlink_file, A(TMP), A(place(PATH_AT, "file\0")), A(5)), CT__WASI_INVAL);
    CHECK_INT(WASI(path_unlink_file, A(TMP), A(MEMORY_BYTES - 1), A(2)), CT__WASI_FAULT);
    CHECK_INT(WASI(path_unlink_file, A(77), PATH("file")), CT__WASI_BADF);
    CHECK_INT(WASI(path_unlink_file, A(1), PATH("file")), CT__WASI_NOTDIR);
    const int32_t file = open_with(TMP, "file", 0, 0, READS, 0);
    CHECK_INT(open_with(file, "file", 0, 0, READS, 0), -CT__WASI_NOTDIR);
    CHECK_INT(open_with(TMP, "file/", 0, 0, READS, 0), -CT__WASI_NOTDIR);
    CHECK_INT(open_with(TMP, "file///", 0, 0, READS, 0), -CT__WASI_NOTDIR);
    CHECK_INT(WASI(path_unlink_file, A(TMP), PATH("file/")), CT__WASI_NOTDIR);
    CHECK_INT(WASI(path_create_directory, A(TMP), PATH("dir///")), 0);
    CHECK_INT(WASI(path_create_directory, A(TMP), PATH("..")), EXIST);
    CHECK(open_with(TMP, "dir//", 0, CT__WASI_DIRECTORY, READS, 0) >= FIRST_FREE);
    make_file("dir/file");
    CHECK_INT(WASI(path_remove_directory, A(TMP), PATH("dir")), NOTEMPTY);
    CHECK_INT(WASI(path_unlink_file, A(TMP), PATH("dir/file")), 0);
    CHECK_INT(WASI(path_remove_directory, A(TMP), PATH("dir/")), 0);
    CHECK_INT(WASI(path_remove_directory, A(TMP), PATH("file")), CT__WASI_NOTDIR);
    end();
}

static void links_that_lead_nowhere_and_in_circles(void) {
    begin();
    CHECK_INT(WASI(path_symlink, PATH("target"), A(TMP), OTHER("link")), 0);
    CHECK_INT(open_with(TMP, "link", CT__WASI_FOLLOW, 0, READS, 0), -CT__WASI_NOENT);
    CHECK_INT(open_with(TMP, "link", 0, 0, READS, 0), -LOOP);
    CHECK_INT(open_with(TMP, "link", 0, CT__WASI_DIRECTORY, READS, 0), -CT__WASI_NOTDIR);
    CHECK_INT(WASI(path_filestat_get, A(TMP), A(0), PATH("link"), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT + 16, 1), 7);
    CHECK_INT(WASI(path_filestat_get, A(TMP), A(CT__WASI_FOLLOW), PATH("link"), A(OUT_AT)), CT__WASI_NOENT);
    CHECK_INT(WASI(path_filestat_set_times, A(TMP), A(0), PATH("link"), A(0), A(5), A(CT__WASI_MTIM)), 0);
    CHECK_INT(WASI(path_filestat_get, A(TMP), A(0), PATH("link"), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT + 48, 8), 5);
    CHECK_INT(open_with(TMP, "link", CT__WASI_FOLLOW, CT__WASI_CREAT | CT__WASI_EXCL, WRITES, 0), -EXIST);
    CHECK(open_with(TMP, "link", CT__WASI_FOLLOW, CT__WASI_CREAT, WRITES, 0) >= FIRST_FREE); /* makes what it leads to */
    CHECK_INT(WASI(path_filestat_get, A(TMP), A(0), PATH("target"), A(OUT_AT)), 0);
    CHECK_INT(open_with(TMP, "link", CT__WASI_FOLLOW, CT__WASI_DIRECTORY, READS, 0), -CT__WASI_NOTDIR);
    CHECK_INT(WASI(path_symlink, PATH("loop"), A(TMP), OTHER("loop")), 0);
    CHECK_INT(open_with(TMP, "loop", CT__WASI_FOLLOW, 0, READS, 0), -LOOP);
    CHECK_INT(WASI(path_readlink, A(TMP), PATH("link"), A(DATA_AT), A(100), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT, 4), 6);
    CHECK_INT(memcmp(memory + DATA_AT, "target", 7), 0);
    CHECK_INT(WASI(path_readlink, A(TMP), PATH("link"), A(DATA_AT), A(3), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT, 4), 3);
    CHECK_INT(WASI(path_readlink, A(TMP), PATH("link"), A(DATA_AT), A(0), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT, 4), 0);
    CHECK_INT(WASI(path_readlink, A(TMP), PATH("target"), A(DATA_AT), A(9), A(OUT_AT)), CT__WASI_INVAL);
    CHECK_INT(WASI(path_readlink, A(TMP), PATH("target"), A(DATA_AT), A(MEMORY_BYTES), A(OUT_AT)), CT__WASI_FAULT);
    CHECK_INT(WASI(path_unlink_file, A(TMP), PATH("link")), 0);
    CHECK_INT(WASI(path_unlink_file, A(TMP), PATH("target")), 0);
    end();
}

static void where_a_symbolic_link_can_be_made(void) {
    begin();
    CHECK_INT(WASI(path_symlink, PATH("source"), A(TMP), OTHER("target/")), CT__WASI_NOENT);
    CHECK_INT(WASI(path_create_directory, A(TMP), PATH("dir")), 0);
    CHECK_INT(WASI(path_symlink, PATH("source"), A(TMP), OTHER("dir/")), EXIST);
    CHECK_INT(WASI(path_symlink, PATH("source"), A(TMP), OTHER("dir")), EXIST);
    make_file("file");
    CHECK_INT(WASI(path_symlink, PATH("source"), A(TMP), OTHER("file")), EXIST);
    CHECK_INT(WASI(path_symlink, PATH(""), A(TMP), OTHER("new")), CT__WASI_NOENT);
    end();
}

static void hard_links(void) {
    begin();
    make_file("file");
    CHECK_INT(WASI(path_create_directory, A(TMP), PATH("dir")), 0);
    CHECK_INT(WASI(path_link, A(TMP), A(0), PATH("file"), A(TMP), OTHER("dir/link")), 0);
    CHECK_INT(WASI(path_filestat_get, A(TMP), A(0), PATH("file"), A(OUT_AT)), 0);
    CHECK_INT(WASI(path_filestat_get, A(TMP), A(0), PATH("dir/link"), A(DATA_AT)), 0);
    CHECK_INT(memcmp(memory + OUT_AT, memory + DATA_AT, CT__WASI_FILESTAT_BYTES), 0);
    CHECK_INT(told(OUT_AT + 24, 8), 2);
    CHECK_INT(WASI(path_link, A(TMP), A(0), PATH("file"), A(TMP), OTHER("file")), EXIST);
    CHECK_INT(WASI(path_link, A(TMP), A(0), PATH("file"), A(TMP), OTHER("dir")), EXIST);
    CHECK_INT(WASI(path_link, A(TMP), A(0), PATH("file"), A(TMP), OTHER("new/")), CT__WASI_NOENT);
    CHECK_INT(WASI(path_link, A(TMP), A(0), PATH("file/"), A(TMP), OTHER("new")), CT__WASI_NOTDIR);
    CHECK_INT(WASI(path_link, A(TMP), A(0), PATH("dir"), A(TMP), OTHER("new")), CT__WASI_PERM);
    CHECK_INT(WASI(path_link, A(TMP), A(0), PATH("dir/"), A(TMP), OTHER("new")), CT__WASI_PERM);
    CHECK_INT(WASI(path_symlink, PATH("absent"), A(TMP), OTHER("link")), 0);
    CHECK_INT(WASI(path_link, A(TMP), A(0), PATH("file"), A(TMP), OTHER("link")), EXIST);
    CHECK_INT(WASI(path_link, A(TMP), A(0), PATH("link"), A(TMP), OTHER("same")), 0); /* the link itself */
    CHECK_INT(WASI(path_link, A(TMP), A(CT__WASI_FOLLOW), PATH("link"), A(TMP), OTHER("new")), CT__WASI_INVAL);
    CHECK_INT(WASI(path_link, A(CODE), A(0), PATH("fixed"), A(TMP), OTHER("new")), CT__WASI_ROFS);
    end();
}

static void what_is_renamed(void) {
    begin();
    make_file("file");
    CHECK_INT(WASI(path_create_directory, A(TMP), PATH("dir")), 0);
    CHECK_INT(WASI(path_rename, A(TMP), PATH("file/"), A(TMP), OTHER("new")), CT__WASI_NOTDIR);
    CHECK_INT(WASI(path_rename, A(TMP), PATH("file"), A(TMP), OTHER("dir")), CT__WASI_ISDIR);
    CHECK_INT(WASI(path_rename, A(TMP), PATH("dir"), A(TMP), OTHER("file")), CT__WASI_NOTDIR);
    CHECK_INT(WASI(path_rename, A(TMP), PATH("dir/"), A(TMP), OTHER("moved/")), 0);
    CHECK_INT(WASI(path_rename, A(TMP), PATH("file"), A(TMP), OTHER("moved/file")), 0);
    CHECK_INT(WASI(path_rename, A(TMP), PATH("file"), A(TMP), OTHER("new")), CT__WASI_NOENT);
    CHECK_INT(WASI(path_rename, A(CODE), PATH("fixed"), A(TMP), OTHER("new")), CT__WASI_ROFS);
    CHECK_INT(WASI(path_rename, A(TMP), PATH("moved/file"), A(CODE), OTHER("new")), CT__WASI_ROFS);
    end();
}

static void nothing_in_a_fixed_directory_changes(void) {
    begin();
    CHECK_INT(open_with(CODE, "fixed", 0, 0, READS | WRITES, 0), -CT__WASI_ROFS);
    CHECK_INT(open_with(CODE, "fixed", 0, CT__WASI_TRUNC, READS, 0), -CT__WASI_ROFS);
    CHECK_INT(open_with(CODE, "new", 0, CT__WASI_CREAT, READS, 0), -CT__WASI_ROFS);
    CHECK_INT(open_with(CODE, "new", 0, 0, READS, 0), -CT__WASI_NOENT);
    CHECK_INT(WASI(path_unlink_file, A(CODE), PATH("fixed")), CT__WASI_ROFS);
    CHECK_INT(WASI(path_symlink, PATH("a"), A(CODE), OTHER("b")), CT__WASI_ROFS);
    CHECK_INT(WASI(path_filestat_set_times, A(CODE), A(0), PATH("fixed"), A(0), A(0), A(CT__WASI_ATIM_NOW)), CT__WASI_ROFS);
    const int32_t file = open_with(CODE, "fixed", 0, CT__WASI_CREAT, READS, 0);
    CHECK(file >= FIRST_FREE);
    CHECK_INT(WASI(fd_filestat_set_times, A(file), A(0), A(0), A(CT__WASI_ATIM_NOW)), CT__WASI_ROFS);
    CHECK_INT(WASI(fd_filestat_set_size, A(file), A(9)), CT__WASI_BADF);
    const int32_t again = open_with(CODE, ".", 0, CT__WASI_DIRECTORY, READS, 0);
    CHECK_INT(WASI(path_create_directory, A(again), PATH("new")), CT__WASI_ROFS);
    end();
}

static void how_a_file_is_opened(void) {
    begin();
    CHECK_INT(open_with(TMP, "file", 0, 0, READS, 0), -CT__WASI_NOENT);
    const int32_t made = open_with(TMP, "file", 0, CT__WASI_CREAT | CT__WASI_EXCL, READS | WRITES, CT__WASI_APPEND | CT__WASI_SYNC);
    CHECK_INT(write_text(made, "abc"), 0);
    CHECK_INT(WASI(fd_fdstat_get, A(made), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT, 1), CT__WASI_TYPE_REGULAR);
    CHECK_INT(told(OUT_AT + 2, 2), CT__WASI_APPEND | CT__WASI_SYNC);
    CHECK_INT(open_with(TMP, "file", 0, CT__WASI_CREAT | CT__WASI_EXCL, READS, 0), -EXIST);
    CHECK_INT(open_with(TMP, "file", 0, CT__WASI_TRUNC, 0, 0), made + 1);
    CHECK_INT(WASI(path_filestat_get, A(TMP), A(0), PATH("file"), A(OUT_AT)), 0);
    CHECK_INT(told(OUT_AT + 32, 8), 0);
    CHECK_INT(open_with(TMP, ".", 0, 0, READS | WRITES, 0), -CT__WASI_ISDIR);
    CHECK_INT(open_with(TMP, ".", 0, CT__WASI_DIRECTORY, READS | WRITES, 0), -CT__WASI_ISDIR);
    CHECK_INT(open_with(TMP, "file", 0, 16, READS, 0), -CT__WASI_INVAL);
    CHECK_INT(open_with(TMP, "file", 0, 0, READS, 32), -CT__WASI_INVAL);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/tmp/pipe", root);
    CHECK_INT(mkfifo(path, 0600), 0);
    CHECK_INT(open_with(TMP, "pipe", 0, 0, READS, 0), -CT__WASI_NOTSUP); /* at once: nobody writes there */
    for (int32_t last = made + 2; last < CT__WASI_FILES; last++)
        CHECK_INT(open_with(TMP, "file", 0, 0, READS, 0), last);
    CHECK_INT(open_with(TMP, "file", 0, 0, READS, 0), -CT__WASI_MFILE);
    end();
}

static void rights_are_given_up_for_good(void) {
    begin();
    make_file("file");
    CHECK_INT(WASI(fd_fdstat_get, A(TMP), A(OUT_AT)), 0);
    const uint64_t base = told(OUT_AT + 8, 8), inheriting = told(OUT_AT + 16, 8);
    CHECK_INT(base & CT__WASI_FD_FILESTAT_SET_SIZE, 0);
    const uint64_t less = base & ~(uint64_t)CT__WASI_PATH_FILESTAT_SET_SIZE;
    CHECK_INT(WASI(fd_fdstat_set_rights, A(TMP), A(less), A(inheriting & ~(uint64_t)CT__WASI_FD_TELL)), 0);
    CHECK_INT(open_with(TMP, "file", 0, CT__WASI_TRUNC, 0, 0), -CT__WASI_NOTCAPABLE);
    CHECK_INT(WASI(fd_fdstat_set_rights, A(TMP), A(base), A(0)), CT__WASI_NOTCAPABLE);
    const int32_t file = open_with(TMP, "file", 0, 0, READS | WRITES, 0);
    CHECK_INT(WASI(fd_tell, A(file), A(OUT_AT)), CT__WASI_NOTCAPABLE);
    CHECK_INT(write_text(file, "abc"), 0);
    CHECK_INT(WASI(fd_fdstat_set_rights, A(file), A(CT__WASI_FD_SEEK), A(0)), 0);
    CHECK_INT(write_text(file, "abc"), CT__WASI_BADF);
    CHECK_INT(carry_text(ct__wasi_fd_read, file, DATA_AT, 3), CT__WASI_BADF);
    end();
}

int main(void) {
    static const ct_case cases[] = {
        CASE(a_path_never_leads_out), CASE(paths_that_are_none), CASE(links_that_lead_nowhere_and_in_circles),
        CASE(where_a_symbolic_link_can_be_made), CASE(hard_links), CASE(what_is_renamed), CASE(nothing_in_a_fixed_directory_changes),
        CASE(how_a_file_is_opened), CASE(rights_are_given_up_for_good)};
    return RUN("wasi_paths", cases);
}
