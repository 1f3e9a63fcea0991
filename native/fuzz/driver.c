/* Stands in for libFuzzer where no clang is: the files it is given, then mutations of them from a fixed seed, for
 * -max_total_time=SECONDS. A failing input is written to crash-input below -artifact_prefix; running the program on that file repeats it. */
#define _GNU_SOURCE
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __sanitizer_set_death_callback(void (*callback)(void));

enum { INPUT_MAX = 4096, SEEDS_MAX = 256 };

typedef struct input {
    uint8_t bytes[INPUT_MAX];
    size_t size;
} input;

static input seeds[SEEDS_MAX];
static size_t seed_count;
static input current;
static uint64_t state = UINT64_C(0x9E3779B97F4A7C15);

static uint32_t chance(uint32_t below) { /* xorshift64: the same run each time */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static const char *artifact_prefix = "";

static void save_crash(void) {
    char path[4096];
    (void)snprintf(path, sizeof path, "%scrash-input", artifact_prefix);
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return;
    (void)fwrite(current.bytes, 1, current.size, file);
    (void)fclose(file);
    (void)fprintf(stderr, "fuzz: the input is in %s\n", path);
}

static void on_abort(int number) {
    save_crash();
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void add_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || seed_count == SEEDS_MAX)
        return;
    seeds[seed_count].size = fread(seeds[seed_count].bytes, 1, INPUT_MAX, file);
    seed_count++;
    (void)fclose(file);
}

static void add_path(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0)
        return;
    if (!S_ISDIR(st.st_mode)) {
        add_file(path);
        return;
    }
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char name[4096];
        if (entry->d_name[0] != '.' && snprintf(name, sizeof name, "%s/%s", path, entry->d_name) < (int)sizeof name)
            add_file(name);
    }
    if (dir != NULL)
        (void)closedir(dir);
}

static void run_current(void) {
    uint8_t *exact = malloc(current.size > 0 ? current.size : 1); /* so that a read past the end is seen */
    if (exact == NULL)
        abort();
    memcpy(exact, current.bytes, current.size);
    (void)LLVMFuzzerTestOneInput(exact, current.size);
    free(exact);
}

static void mutate(void) {
    for (uint32_t rounds = 1 + chance(8); rounds > 0; rounds--) {
        const uint32_t at = chance((uint32_t)current.size + 1);
        switch (chance(5)) {
        case 0:
            if (at < current.size)
                current.bytes[at] ^= (uint8_t)(1U << chance(8));
            break;
        case 1:
            if (at < current.size)
                current.bytes[at] = (uint8_t)chance(256);
            break;
        case 2:
            current.size = at;
            break;
        case 3:
            if (current.size < INPUT_MAX) {
                memmove(current.bytes + at + 1, current.bytes + at, current.size - at);
                current.bytes[at] = (uint8_t)chance(256);
                current.size++;
            }
            break;
        default:
            if (at < current.size) {
                memmove(current.bytes + at, current.bytes + at + 1, current.size - at - 1);
                current.size--;
            }
        }
    }
}

int main(int argc, char **argv) {
    long seconds = 5;
    static const char prefix[] = "-artifact_prefix=";
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], prefix, sizeof prefix - 1) == 0)
            artifact_prefix = argv[i] + sizeof prefix - 1;
        else if (sscanf(argv[i], "-max_total_time=%ld", &seconds) != 1 && argv[i][0] != '-')
            add_path(argv[i]);
    }
    __sanitizer_set_death_callback(save_crash);
    (void)signal(SIGABRT, on_abort);
    for (size_t i = 0; i < seed_count; i++) {
        current = seeds[i];
        run_current();
    }
    unsigned long long runs = seed_count;
    for (const time_t end = time(NULL) + seconds; time(NULL) < end;) {
        for (int i = 0; i < 4096; i++, runs++) {
            if (seed_count > 0)
                current = seeds[chance((uint32_t)seed_count)];
            else
                current.size = 0;
            mutate();
            run_current();
        }
    }
    (void)printf("fuzz: %llu runs\n", runs);
    return 0;
}
