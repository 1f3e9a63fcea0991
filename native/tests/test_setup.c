#include "guest/setup.h"

#include "proto/pbwire.h"

#include "ct_test.h"

static uint8_t body[4096];

static void put_variable(ct__writer *w, const char *name, const char *value) {
    uint8_t entry[256];
    ct__writer e = {.at = entry, .left = sizeof entry};
    ct__pb_put_bytes(&e, 1, name, strlen(name));
    ct__pb_put_bytes(&e, 2, value, strlen(value));
    ct__pb_put_bytes(w, 8, entry, sizeof entry - e.left);
}

static size_t whole(void) {
    ct__writer w = {.at = body, .left = sizeof body};
    static const char *const TEXTS[] = {"main.handler", "greet", "7", "acme", "prod"};
    for (uint32_t i = 0; i < 5; i++)
        ct__pb_put_bytes(&w, i + 1, TEXTS[i], strlen(TEXTS[i]));
    ct__pb_put_varint(&w, 6, 256);
    ct__pb_put_varint(&w, 7, 1); /* concurrency, which is not for us */
    put_variable(&w, "GREETING", "hej=d");
    put_variable(&w, "EMPTY", "");
    put_variable(&w, "_HANDLER", "forged");
    put_variable(&w, "TZ", "Europe/Oslo");
    ct__pb_put_bytes(&w, 9, "/code", 5);
    ct__pb_put_varint(&w, 99, 1);
    CHECK(!w.overran);
    return sizeof body - w.left;
}

static void all_of_it_is_read(void) {
    ct__setup setup;
    CHECK_INT(ct__setup_read(body, whole(), &setup), 0);
    CHECK_TEXT(setup.handler, "main.handler");
    CHECK_TEXT(setup.function, "greet");
    CHECK_TEXT(setup.version, "7");
    CHECK_TEXT(setup.tenant, "acme");
    CHECK_TEXT(setup.space, "prod");
    CHECK_TEXT(setup.code_dir, "/code");
    CHECK_INT(setup.memory_mb, 256);
    CHECK_INT(setup.env_count, 4);
    CHECK_TEXT(setup.env[0], "GREETING=hej=d");
    CHECK_TEXT(setup.env[1], "EMPTY=");
    ct__setup_free(&setup);
    CHECK_INT(ct__setup_read(body, 0, &setup), 0);
    CHECK_TEXT(setup.handler, "");
    ct__setup_free(&setup);
}

static void a_part_of_it_is_refused_or_read(void) {
    const size_t len = whole();
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *exact = malloc(cut > 0 ? cut : 1);
        CHECK(exact != NULL);
        memcpy(exact, body, cut);
        ct__setup setup;
        const int result = ct__setup_read(exact, cut, &setup);
        CHECK(result == 0 || result == CT_E_MORE);
        if (result == 0)
            ct__setup_free(&setup);
        free(exact);
    }
}

static int read_one(uint32_t number, const void *data, size_t len) {
    uint8_t bytes[256];
    ct__writer w = {.at = bytes, .left = sizeof bytes};
    ct__pb_put_bytes(&w, number, data, len);
    ct__setup setup;
    const int result = ct__setup_read(bytes, sizeof bytes - w.left, &setup);
    if (result == 0)
        ct__setup_free(&setup);
    return result;
}

static void what_no_environment_can_hold_is_refused(void) {
    CHECK_INT(read_one(1, "a\0b", 3), CT_E_MALFORMED);
    CHECK_INT(read_one(8, "", 0), CT_E_MALFORMED);             /* a variable without a name */
    CHECK_INT(read_one(8, "\x0A\x01=", 3), CT_E_MALFORMED);
    CHECK_INT(read_one(8, "\x0A\x01\0", 3), CT_E_MALFORMED);
    CHECK_INT(read_one(8, "\x0A\x01" "a\x12\x01\0", 6), CT_E_MALFORMED);
    CHECK_INT(read_one(8, "\x0A\x05" "a", 3), CT_E_MORE);
    CHECK_INT(read_one(8, "\x08\x01", 2), CT_E_MALFORMED);     /* a number for a name */
    CHECK_INT(read_one(6, "x", 1), CT_E_MALFORMED);
    CHECK_INT(read_one(8, "\x0A\x01" "a\x18\x07", 5), 0);
    ct__setup setup;
    CHECK_INT(ct__setup_read((const uint8_t *)"\x08\x01", 2, &setup), CT_E_MALFORMED); /* a number for the handler */
    CHECK_INT(ct__setup_read((const uint8_t *)"\x40\x01", 2, &setup), CT_E_MALFORMED);
}

static void the_program_finds_the_usual_environment(void) {
    ct__setup setup;
    CHECK_INT(ct__setup_read(body, whole(), &setup), 0);
    (void)unsetenv("TZ");
    (void)unsetenv("LD_LIBRARY_PATH");
    CHECK_INT(ct__setup_export(&setup, "127.0.0.1:9001"), 0);
    static const char *const SET[][2] = {
        {"AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"},
        {"_HANDLER", "main.handler"}, /* the function can not forge it */
        {"LAMBDA_TASK_ROOT", "/code"},
        {"AWS_LAMBDA_FUNCTION_NAME", "greet"},
        {"AWS_LAMBDA_FUNCTION_VERSION", "7"},
        {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"},
        {"AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/greet"},
        {"AWS_LAMBDA_LOG_STREAM_NAME", "acme/prod/[7]"},
        {"LD_LIBRARY_PATH", "/code:/code/lib"},
        {"TZ", "Europe/Oslo"}, /* and may choose this */
        {"GREETING", "hej=d"},
        {"EMPTY", ""},
    };
    for (size_t i = 0; i < sizeof SET / sizeof *SET; i++)
        CHECK_TEXT(getenv(SET[i][0]), SET[i][1]);
    ct__setup_free(&setup);
}

static void commands_are_split_at_blanks(void) {
    char command[] = "  python3  -m\tmain ";
    char *words[8];
    CHECK_INT(ct__setup_words(command, words, 8), 3);
    CHECK_TEXT(words[0], "python3");
    CHECK_TEXT(words[2], "main");
    CHECK(words[3] == NULL);
    char many[] = "a b c d e";
    CHECK_INT(ct__setup_words(many, words, 4), 3);
    CHECK(words[3] == NULL);
    char none[] = " \t ";
    CHECK_INT(ct__setup_words(none, words, 4), 0);
}

int main(void) {
    static const ct_case cases[] = {
        CASE(all_of_it_is_read), CASE(a_part_of_it_is_refused_or_read), CASE(what_no_environment_can_hold_is_refused),
        CASE(the_program_finds_the_usual_environment), CASE(commands_are_split_at_blanks),
    };
    return RUN("setup", cases);
}
