#define _GNU_SOURCE
#include "base/sysx.h"

#include "base/err.h"
#include "ct_test.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void files_are_written_and_read(void) {
    char path[] = "/tmp/ct-sysx-XXXXXX";
    const int fd = mkstemp(path);
    CHECK(fd >= 0);
    (void)close(fd);
    char text[8];
    uint64_t value = 0;
    CHECK_INT(ct__write_file(path, "12345\n"), 0);
    CHECK_INT(ct__read_file(path, text, sizeof text), 6);
    CHECK_TEXT(text, "12345\n");
    CHECK_INT(ct__read_file(path, text, 4), 3);
    CHECK_TEXT(text, "123");
    CHECK_INT(ct__read_number(path, &value), 0);
    CHECK_INT(value, 12345);
    CHECK_INT(truncate(path, 0), 0);
    CHECK_INT(ct__read_number(path, &value), CT_E_MALFORMED);
    CHECK_INT(ct__write_file(path, "max\n"), 0);
    CHECK_INT(ct__read_number(path, &value), 0);
    CHECK(value == UINT64_MAX);
    CHECK_INT(unlink(path), 0);
    CHECK_INT(ct__write_file(path, "x"), -ENOENT);
    CHECK_INT(ct__read_number(path, &value), -ENOENT);
}

static void format_refuses_what_does_not_fit(void) {
    char out[4];
    CHECK_INT(ct__format(out, sizeof out, "%d", 123), 0);
    CHECK_TEXT(out, "123");
    CHECK_INT(ct__format(out, sizeof out, "%d", 1234), CT_E_TOOBIG);
}

static void a_pidfd_ends_its_process(void) {
    const pid_t child = fork();
    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    const int fd = (int)syscall(SYS_pidfd_open, child, 0);
    CHECK(fd >= 0);
    CHECK_INT(ct__pidfd_kill(fd), 0);
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    CHECK_INT(ct__pidfd_kill(fd), -ESRCH);
    (void)close(fd);
}

static void this_process_has_one_thread(void) {
    CHECK_INT(ct__thread_count(), 1);
}

static void time_goes_forward(void) {
    const uint64_t before = ct__now_ms();
    CHECK(before > 0);
    CHECK(ct__now_ms() >= before);
}

int main(void) {
    static const ct_case cases[] = {CASE(files_are_written_and_read), CASE(format_refuses_what_does_not_fit),
                                    CASE(a_pidfd_ends_its_process), CASE(this_process_has_one_thread),
                                    CASE(time_goes_forward)};
    return RUN("sysx", cases);
}
