#include "base/err.h"
#include "ct_test.h"

static void every_code_has_its_own_text(void) {
    for (int code = CT_E_MORE; code >= CT_E_DIED; code--) {
        CHECK(strcmp(ct_strerror(code), "unknown error") != 0);
        for (int other = CT_E_MORE; other > code; other--)
            CHECK(strcmp(ct_strerror(code), ct_strerror(other)) != 0);
    }
    CHECK_TEXT(ct_strerror(CT_E_DIED - 1), "unknown error");
}

static void errno_reads_as_libc_says_it(void) {
    CHECK_TEXT(ct_strerror(-ENOENT), "No such file or directory");
    CHECK_TEXT(ct_strerror(-2999), "unknown error");
    CHECK_TEXT(ct_strerror(0), "success");
    CHECK_TEXT(ct_strerror(7), "success");
}

static void version_is_compiled_in(void) {
    CHECK_INT(ct_abi_version(), CT_ABI_VERSION);
}

int main(void) {
    static const ct_case cases[] = {CASE(every_code_has_its_own_text), CASE(errno_reads_as_libc_says_it),
                                    CASE(version_is_compiled_in)};
    return RUN("err", cases);
}
