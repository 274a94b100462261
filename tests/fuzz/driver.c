// Runs a fuzz target over its seeds without a fuzzer: each seed as it is, cut short at many places, and with a fixed
// series of small changes. Makes every `make test` a short, reproducible fuzzing session under the sanitizers.
//
//     json_fuzz_seeds FOLDER_OR_FILE... [--rounds=N]
#include "base/file.h"
#include "base/rng.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEED_BYTES_MAX = 16 << 20, CUTS = 64, ROUNDS_DEFAULT = 200, EDITS_MAX = 4 };

static long n_seeds, n_runs, n_rounds = ROUNDS_DEFAULT;

// An allocation of exactly this size, so that the address sanitizer sees a read one byte beyond.
static void run_exact(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) return;
    if (size) memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    n_runs++;
}

static void edit(uint8_t *data, size_t size, uint64_t seed) {
    static const uint8_t special[] = {0x00, 0xff, 0x7f, 0x80, '"', '{', '}', '[', ']', '\\', '\n', '-', '9'};
    int n_edits = 1 + (int)mosa_rng_below(seed, 0, EDITS_MAX);
    for (int i = 0; i < n_edits; i++) {
        uint64_t base = 1 + 4 * (uint64_t)i;
        size_t at = mosa_rng_below(seed, base, size);
        switch (mosa_rng_below(seed, base + 1, 3)) {
        case 0:
            data[at] ^= (uint8_t)(1u << mosa_rng_below(seed, base + 2, 8));
            break;
        case 1:
            data[at] = special[mosa_rng_below(seed, base + 2, sizeof special)];
            break;
        default:
            data[at] = data[mosa_rng_below(seed, base + 2, size)];
            break;
        }
    }
}

static void run_seed(const uint8_t *data, size_t size) {
    run_exact(data, size);
    for (size_t i = 0; i < CUTS && i < size; i++) run_exact(data, size <= CUTS ? i : size * i / CUTS);
    uint8_t *changed = malloc(size ? size : 1);
    for (long round = 0; changed && size && round < n_rounds; round++) {
        memcpy(changed, data, size);
        edit(changed, size, mosa_rng_mix((uint64_t)round));
        run_exact(changed, size);
    }
    free(changed);
    n_seeds++;
}

static int run_file(const char *path) {
    char *bytes;
    size_t len;
    mosa_error err;
    if (mosa_file_read(path, SEED_BYTES_MAX, &bytes, &len, &err) != MOSA_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    run_seed((const uint8_t *)bytes, len);
    free(bytes);
    return 0;
}

static int run_folder(const char *path) {
    DIR *folder = opendir(path);
    if (!folder) return 1;
    int failures = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        char *file = mosa_path_join(path, entry->d_name);
        failures += !file || run_file(file) != 0;
        free(file);
    }
    closedir(folder);
    return failures;
}

int main(int argc, char **argv) {
    int failures = 0;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--rounds=", 9) == 0)
            n_rounds = atol(argv[i] + 9);
        else
            failures += mosa_file_is_dir(argv[i]) ? run_folder(argv[i]) : run_file(argv[i]);
    }
    printf("%ld seeds, %ld runs\n", n_seeds, n_runs);
    return failures || n_seeds == 0;
}
