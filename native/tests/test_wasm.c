/* The parts of the worker of WebAssembly that need no library: its /tmp, its spools, its frames. */

#define _GNU_SOURCE
#include "base/cursor.h"
#include "ct_test.h"
#include "wasm/port.h"
#include "wasm/scratch.h"
#include "wasm/spool.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void a_tmp_goes_with_all_that_is_in_it_however_deep(void) {
    enum { DEPTH = 3000 };
    ct__wasm_scratch scratch = {0};
    CHECK_INT(ct__wasm_scratch_init(&scratch), 0);
    int dir = open(scratch.path, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < DEPTH; i++) {
        CHECK_INT(mkdirat(dir, "d", 0700), 0);
        CHECK_INT(symlinkat("/", dir, "link"), 0);
        const int below = openat(dir, "d", O_RDONLY | O_DIRECTORY);
        CHECK(below >= 0);
        (void)close(dir);
        dir = below;
    }
    (void)close(dir);
    char path[sizeof scratch.path];
    memcpy(path, scratch.path, sizeof path);
    ct__wasm_scratch_clear(&scratch);
    CHECK(!scratch.is_there);
    CHECK_INT(access(path, F_OK), -1);
    CHECK_INT(access("/", F_OK), 0);
}

static void a_tmp_is_empty_when_it_is_used_again(void) {
    ct__wasm_scratch scratch = {0};
    for (int i = 0; i < 3; i++) {
        CHECK_INT(ct__wasm_scratch_init(&scratch), 0);
        const int dir = open(scratch.path, O_RDONLY | O_DIRECTORY);
        const int file = openat(dir, "mine", O_WRONLY | O_CREAT | O_EXCL, 0600);
        CHECK(file >= 0);
        (void)close(file);
        (void)close(dir);
        ct__wasm_scratch_clear(&scratch);
    }
    ct__wasm_scratch_fini(&scratch);
}

static void a_spool_gives_what_was_written_behind_its_writer(void) {
    static uint8_t piece[CT__WASM_PIECE_BYTES];
    ct__wasm_spool spool;
    CHECK_INT(ct__wasm_spool_init(&spool), 0);
    const int writer = open(spool.path, O_WRONLY | O_TRUNC);
    CHECK(writer >= 0);
    CHECK_INT(ct__wasm_spool_take(&spool, piece), 0);
    CHECK_INT(write(writer, "abc", 3), 3);
    CHECK_INT(ct__wasm_spool_left(&spool), 3);
    CHECK_INT(ct__wasm_spool_take(&spool, piece), 3);
    ct__wasm_spool_trim(&spool);
    CHECK_INT(write(writer, "de", 2), 2);
    CHECK_INT(ct__wasm_spool_take(&spool, piece), 2);
    CHECK_INT(memcmp(piece, "de", 2), 0);
    CHECK_INT(ct__wasm_spool_left(&spool), 0);
    (void)close(writer);
    ct__wasm_spool_fini(&spool);
}

static void frames_come_whole_and_too_long_ones_not_at_all(void) {
    int ends[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    static ct__wasm_port host, worker;
    ct__wasm_port_init(&host, ends[0]);
    ct__wasm_port_init(&worker, ends[1]);
    CHECK(ct__wasm_send(&host, CT_FRAME_PING, 0, 7, "ab", 2));
    CHECK(ct__wasm_send(&host, CT_FRAME_EXEC, 0, 8, NULL, 0));
    ct_frame frame;
    CHECK_INT(ct__wasm_receive(&worker, &frame), 1);
    CHECK_INT(frame.kind, CT_FRAME_PING);
    CHECK_INT(frame.call_id, 7);
    CHECK_TEXT((const char *)frame.body, "ab");
    free((void *)(uintptr_t)frame.body);
    CHECK_INT(ct__wasm_receive(&worker, &frame), 1);
    CHECK_INT(frame.len, 0);
    free((void *)(uintptr_t)frame.body);
    CHECK(!ct__wasm_is_hung_up(&worker));
    uint8_t head[CT_FRAME_HEADER_BYTES];
    CHECK_INT(ct_frame_put(head, CT_FRAME_EXEC, 0, 9, CT__WASM_BODY_MAX + CT_EXEC_HEAD_BYTES + 1), 0);
    CHECK_INT(send(ends[0], head, sizeof head, 0), sizeof head);
    CHECK_INT(ct__wasm_receive(&worker, &frame), 0);
    (void)close(ends[0]);
    CHECK(ct__wasm_is_hung_up(&worker));
    CHECK(!ct__wasm_send(&worker, CT_FRAME_PONG, 0, 1, NULL, 0));
    (void)close(ends[1]);
}

int main(void) {
    static const ct_case cases[] = {
        CASE(a_tmp_goes_with_all_that_is_in_it_however_deep), CASE(a_tmp_is_empty_when_it_is_used_again),
        CASE(a_spool_gives_what_was_written_behind_its_writer), CASE(frames_come_whole_and_too_long_ones_not_at_all)};
    return RUN("wasm", cases);
}
