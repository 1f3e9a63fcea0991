#define _GNU_SOURCE
#include "sandbox/plan.h"

#include "ct_test.h"

static ct_plan sample(void) {
    ct_plan plan = {.host_uid = 1000001,
                    .host_gid = 1000001,
                    .inside_uid = 1000,
                    .inside_gid = 1000,
                    .setup_ms = 5000,
                    .open_files = 1024,
                    .file_bytes = UINT64_C(0x123456789A),
                    .hostname = "box",
                    .workdir = "/tmp",
                    .cgroup_dir = "",
                    .task_file_count = 1,
                    .entry_count = 2,
                    .argc = 2,
                    .envc = 1};
    plan.task_files[0] = "/sys/fs/cgroup/pids/x/tasks";
    plan.entries[0] = (ct_entry){.kind = CT_ENTRY_BIND, .target = "/usr", .source = "/usr"};
    plan.entries[1] =
        (ct_entry){.kind = CT_ENTRY_TMPFS, .mode = 01777, .size_bytes = 4096, .inodes = 8, .target = "/tmp", .source = ""};
    plan.argv[0] = "/bin/sh";
    plan.argv[1] = "-c";
    plan.env[0] = "A=1";
    return plan;
}

static int encode(const ct_plan *plan, uint8_t *out) {
    return ct_plan_encode(plan, out, CT_PLAN_BYTES_MAX);
}

static uint8_t bytes[CT_PLAN_BYTES_MAX];

static void a_plan_comes_back(void) {
    const ct_plan plan = sample();
    const int len = encode(&plan, bytes);
    CHECK(len > 0);
    ct_plan back;
    CHECK_INT(ct_plan_decode(bytes, (size_t)len, &back), 0);
    CHECK_INT(back.host_uid, 1000001);
    CHECK(back.file_bytes == plan.file_bytes);
    CHECK_TEXT(back.hostname, "box");
    CHECK_TEXT(back.task_files[0], plan.task_files[0]);
    CHECK_TEXT(back.entries[0].source, "/usr");
    CHECK_INT(back.entries[1].mode, 01777);
    CHECK_TEXT(back.argv[1], "-c");
    CHECK(back.argv[2] == NULL);
    CHECK_TEXT(back.env[0], "A=1");
    CHECK(back.env[1] == NULL);
}

static void no_prefix_of_a_plan_is_one(void) {
    const ct_plan plan = sample();
    const size_t len = (size_t)encode(&plan, bytes);
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *part = malloc(cut > 0 ? cut : 1);
        CHECK(part != NULL);
        memcpy(part, bytes, cut);
        ct_plan back;
        CHECK_INT(ct_plan_decode(part, cut, &back), CT_E_MORE);
        free(part);
    }
    ct_plan back;
    bytes[len] = 0;
    CHECK_INT(ct_plan_decode(bytes, len + 1, &back), CT_E_MALFORMED);
}

static void counts_over_their_arrays_are_refused(void) {
    const ct_plan plan = sample();
    const size_t len = (size_t)encode(&plan, bytes);
    for (size_t at = 28; at < 44; at += 4) { /* task files, entries, arguments, variables */
        uint8_t saved[4];
        memcpy(saved, bytes + at, 4);
        memset(bytes + at, 0xFF, 4);
        ct_plan back;
        CHECK_INT(ct_plan_decode(bytes, len, &back), CT_E_TOOBIG);
        memcpy(bytes + at, saved, 4);
    }
}

static void a_text_with_a_nul_inside_is_refused(void) {
    const ct_plan plan = sample();
    const size_t len = (size_t)encode(&plan, bytes);
    uint8_t *host = memmem(bytes, len, "box", 3);
    CHECK(host != NULL);
    host[1] = '\0';
    ct_plan back;
    CHECK_INT(ct_plan_decode(bytes, len, &back), CT_E_MALFORMED);
}

static void an_encoder_with_little_room_says_so(void) {
    const ct_plan plan = sample();
    const int len = encode(&plan, bytes);
    CHECK_INT(ct_plan_encode(&plan, bytes, (size_t)len - 1), CT_E_NOSPACE);
    CHECK_INT(ct_plan_encode(&plan, bytes, (size_t)len), len);
}

static void values_that_make_no_sandbox_are_refused(void) {
    ct_plan plan = sample();
    plan.host_uid = 0;
    CHECK_INT(encode(&plan, bytes), CT_E_RANGE);
    plan = sample();
    plan.entries[0].target = "/a/../b";
    CHECK_INT(encode(&plan, bytes), CT_E_RANGE);
    plan.entries[0].target = "/a/./b";
    CHECK_INT(encode(&plan, bytes), CT_E_RANGE);
    plan.entries[0].target = "/a/";
    CHECK_INT(encode(&plan, bytes), CT_E_RANGE);
    plan.entries[0].target = "/..a/.b/c..";
    CHECK(encode(&plan, bytes) > 0);
    plan.entries[0].kind = 99;
    CHECK_INT(encode(&plan, bytes), CT_E_RANGE);
    plan = sample();
    plan.entries[1].inodes = 0;
    CHECK_INT(encode(&plan, bytes), CT_E_RANGE);
    plan = sample();
    plan.env[0] = "=x";
    CHECK_INT(encode(&plan, bytes), CT_E_RANGE);
}

static void refused(ct_plan plan) {
    CHECK_INT(encode(&plan, bytes), CT_E_RANGE);
}

#define REFUSED(change)                                                                                                \
    do {                                                                                                               \
        ct_plan p = sample();                                                                                          \
        change;                                                                                                        \
        refused(p);                                                                                                    \
    } while (0)

static void every_field_has_its_range(void) {
    static char long_text[CT_PATH_BYTES + 1];
    memset(long_text, 'x', CT_PATH_BYTES);
    REFUSED(p.inside_uid = 0);
    REFUSED(p.flags = CT_PLAN_ALONE << 1);
    REFUSED(p.flags = 1U << 31);
    REFUSED(p.setup_ms = 0);
    REFUSED(p.setup_ms = UINT32_MAX);
    REFUSED(p.hostname = long_text);
    REFUSED(p.workdir = "tmp");
    REFUSED(p.cgroup_dir = "group");
    REFUSED(p.task_files[0] = "tasks");
    REFUSED(p.argv[0] = "sh");
    REFUSED(p.env[0] = "A");
    REFUSED(p.entries[0].flags = 1U << 31);
    REFUSED(p.entries[0].mode = 010000);
    REFUSED(p.entries[0].source = "usr");
    REFUSED((p.entries[0].kind = CT_ENTRY_LINK, p.entries[0].source = ""));
    REFUSED((p.entries[0].kind = CT_ENTRY_LINK, p.entries[0].source = long_text));
    ct_plan plan = sample();
    plan.entries[0] = (ct_entry){.kind = CT_ENTRY_LINK, .target = "/bin", .source = "usr/bin"};
    plan.entries[1] = (ct_entry){.kind = CT_ENTRY_FILE, .mode = 0644, .target = "/etc/hosts", .source = NULL};
    CHECK(encode(&plan, bytes) > 0);
}

static void what_is_too_large_is_refused(void) {
    ct_plan plan = sample();
    plan.envc = CT_PLAN_ENV_MAX + 1;
    CHECK_INT(encode(&plan, bytes), CT_E_TOOBIG);
    ct_plan back;
    CHECK_INT(ct_plan_decode(bytes, CT_PLAN_BYTES_MAX + 1, &back), CT_E_TOOBIG);
    static char huge[UINT16_MAX + 2];
    memset(huge, 'x', UINT16_MAX + 1);
    huge[1] = '=';
    plan = sample();
    plan.env[0] = huge;
    CHECK_INT(encode(&plan, bytes), CT_E_NOSPACE);
}

static void what_was_encoded_by_nobody_of_ours_is_refused_too(void) {
    const ct_plan plan = sample();
    const size_t len = (size_t)encode(&plan, bytes);
    memset(bytes + 8, 0, 4); /* the uid on the host */
    ct_plan back;
    CHECK_INT(ct_plan_decode(bytes, len, &back), CT_E_RANGE);
    bytes[0] ^= 1;
    CHECK_INT(ct_plan_decode(bytes, len, &back), CT_E_MALFORMED);
}

static void every_step_has_a_name(void) {
    for (uint32_t step = CT_STEP_NONE; step <= CT_STEP_EXEC; step++)
        CHECK(ct_step_name(step)[0] != '\0');
    CHECK_TEXT(ct_step_name(CT_STEP_NETWORK), "network");
    CHECK_TEXT(ct_step_name(1000), "unknown");
}

int main(void) {
    static const ct_case cases[] = {CASE(a_plan_comes_back),
                                    CASE(no_prefix_of_a_plan_is_one),
                                    CASE(counts_over_their_arrays_are_refused),
                                    CASE(a_text_with_a_nul_inside_is_refused),
                                    CASE(an_encoder_with_little_room_says_so),
                                    CASE(values_that_make_no_sandbox_are_refused),
                                    CASE(every_field_has_its_range),
                                    CASE(what_is_too_large_is_refused),
                                    CASE(what_was_encoded_by_nobody_of_ours_is_refused_too),
                                    CASE(every_step_has_a_name)};
    return RUN("plan", cases);
}
