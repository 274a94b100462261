// Signatures estimate similarity; removing copies and splitting do what they say with any memory and threads.
#include "base/file.h"
#include "base/pool.h"
#include "base/rng.h"
#include "train/data/dedup.h"
#include "train/data/minhash.h"
#include "train/data/split.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/mosa_clean_XXXXXX";

static const char *path_of(const char *name) {
    static char paths[8][256];
    static int next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static char *read_text(const char *path) {
    char *bytes;
    size_t len;
    mosa_error err;
    assert_int_equal(mosa_file_read(path, 1 << 26, &bytes, &len, &err), MOSA_OK);
    return bytes;
}

static void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

// Words from..to of an endless text.
static void words(mosa_buf *out, int from, int to) {
    for (int i = from; i < to; i++)
        mosa_buf_printf(out, "w%llu ", (unsigned long long)mosa_rng_below(7, (uint64_t)i, 1000000));
}

static void test_signatures_estimate_the_share_of_common_shingles(void **state) {
    (void)state;
    uint32_t a[512], b[512];
    for (int shift = 0; shift <= 400; shift += 40) {
        mosa_buf x = {0}, y = {0};
        words(&x, 0, 404);
        words(&y, shift, 404 + shift);
        mosa_minhash(mosa_buf_slice(&x), 5, 1, a, 512);
        mosa_minhash(mosa_buf_slice(&y), 5, 1, b, 512);
        double want = (400.0 - shift) / (400.0 + shift), found = mosa_minhash_similarity(a, b, 512);
        if (fabs(want - found) > 0.08) fail_msg("shift %d: %g, estimated %g", shift, want, found);
        mosa_buf_finish(&x);
        mosa_buf_finish(&y);
    }
}

static void test_signatures_pass_over_case_and_punctuation(void **state) {
    (void)state;
    uint32_t a[64], b[64];
    mosa_minhash(MOSA_SLICE("The quick, brown fox jumps over."), 3, 1, a, 64);
    mosa_minhash(MOSA_SLICE("the QUICK brown -- fox jumps over"), 3, 1, b, 64);
    assert_true(mosa_minhash_similarity(a, b, 64) == 1);
    mosa_minhash(MOSA_SLICE("我们今天去公园"), 3, 1, a, 64);
    mosa_minhash(MOSA_SLICE("我们今天去学校"), 3, 1, b, 64);
    assert_in_range((long)(100 * mosa_minhash_similarity(a, b, 64)), 10, 80);
    mosa_minhash(MOSA_SLICE("one two"), 5, 1, a, 64);
    mosa_minhash(MOSA_SLICE("one three"), 5, 1, b, 64);
    assert_true(mosa_minhash_similarity(a, b, 64) < 0.1);
}

static void test_bands_find_what_is_above_the_threshold(void **state) {
    (void)state;
    for (double t = 0.3; t < 0.96; t += 0.1) {
        int bands, rows;
        mosa_minhash_bands(t, 128, &bands, &rows);
        assert_in_range(bands * rows, 1, 128);
        assert_true(1 - pow(1 - pow(t + 0.05, rows), bands) > 0.7);
    }
}

static void dedup(const char *in, const char *out, bool near, size_t memory, int threads, mosa_dedup_report *report) {
    mosa_pool *pool;
    mosa_error err;
    mosa_dedup_options o = {.paths = &in,
                            .n_paths = 1,
                            .near = near,
                            .threshold = 0.7,
                            .permutations = 128,
                            .words = 3,
                            .memory_bytes = memory};
    assert_int_equal(mosa_pool_create(threads, &pool, &err), MOSA_OK);
    if (mosa_data_dedup(&o, pool, out, report, &err) != MOSA_OK) fail_msg("%s", err.message);
    mosa_pool_destroy(pool);
}

static void test_of_exact_copies_the_first_stays(void **state) {
    (void)state;
    mosa_dedup_report report;
    const char *in = path_of("exact.jsonl"), *out = path_of("exact.out");
    write_text(in,
               "{\"id\":1,\"text\":\"a\"}\n{\"id\":2,\"text\":\"b\"}\n{\"text\": \"a\"}\n{\"id\":3,\"text\":\"c\"}\n"
               "{\"id\":4,\"text\":\"b\"}\n");
    dedup(in, out, false, 1 << 20, 2, &report);
    assert_int_equal(report.records, 5);
    assert_int_equal(report.exact, 2);
    assert_int_equal(report.kept, 3);
    char *text = read_text(out);
    assert_string_equal(text, "{\"id\":1,\"text\":\"a\"}\n{\"id\":2,\"text\":\"b\"}\n{\"id\":3,\"text\":\"c\"}\n");
    free(text);
}

// 6000 paragraphs; every third is the one before with a word changed, every fifth a copy of it.
static void test_near_copies_are_found_with_any_memory_and_threads(void **state) {
    (void)state;
    const char *in = path_of("near.txt"), *outs[] = {path_of("near1"), path_of("near2"), path_of("near3")};
    mosa_buf text = {0};
    for (int i = 0; i < 6000; i++) {
        int base = i % 3 == 2 || i % 5 == 4 ? i - 1 : i;
        words(&text, base * 40, base * 40 + 39);
        mosa_buf_printf(&text, "%s\n", i % 3 == 2 ? "changed" : "");
    }
    write_text(in, mosa_buf_str(&text));
    mosa_buf_finish(&text);
    mosa_dedup_report r[3];
    static const size_t memory[] = {1 << 30, 1, 1 << 18};
    char *kept[3];
    for (int k = 0; k < 3; k++) {
        mosa_pool *pool;
        mosa_error err;
        mosa_dedup_options o = {.paths = &in,
                                .n_paths = 1,
                                .layout = {.text_unit = MOSA_TEXT_BY_LINE},
                                .near = true,
                                .threshold = 0.7,
                                .permutations = 128,
                                .words = 3,
                                .memory_bytes = memory[k]};
        assert_int_equal(mosa_pool_create(k + 1, &pool, &err), MOSA_OK);
        if (mosa_data_dedup(&o, pool, outs[k], &r[k], &err) != MOSA_OK) fail_msg("%s", err.message);
        mosa_pool_destroy(pool);
        kept[k] = read_text(outs[k]);
    }
    assert_string_equal(kept[0], kept[1]);
    assert_string_equal(kept[0], kept[2]);
    assert_true(r[1].passes > r[0].passes);
    assert_int_equal(r[0].kept + r[0].exact + r[0].near, 6000);
    assert_in_range(r[0].near + r[0].exact, 1990, 2010); // 1600 changed ones and 400 copies have their original
    for (int k = 0; k < 3; k++) free(kept[k]);
}

static void test_a_broken_record_stops_with_its_line(void **state) {
    (void)state;
    const char *in = path_of("broken.jsonl"), *out = path_of("broken.out");
    mosa_pool *pool;
    mosa_error err;
    mosa_dedup_options o = {.paths = &in, .n_paths = 1};
    write_text(in, "{\"text\":\"a\"}\n{\"text\":\n");
    assert_int_equal(mosa_pool_create(1, &pool, &err), MOSA_OK);
    assert_int_equal(mosa_data_dedup(&o, pool, out, NULL, &err), MOSA_EINVALID);
    assert_non_null(strstr(err.message, "broken.jsonl:2: "));
    assert_int_not_equal(access(out, F_OK), 0);
    mosa_pool_destroy(pool);
}

static void test_a_split_loses_nothing_and_keeps_copies_together(void **state) {
    (void)state;
    const char *in = path_of("split.json");
    const char *outs[] = {path_of("part.a"), path_of("part.b")};
    static const double shares[] = {0.75, 0.25};
    mosa_buf text = {0};
    for (int i = 0; i < 2000; i++)
        mosa_buf_printf(&text, "%s\n{\"id\":%d, \"text\":\"record %d\"}", i ? "," : "[", i, i % 1000);
    mosa_buf_append_str(&text, "]");
    write_text(in, mosa_buf_str(&text));
    mosa_buf_finish(&text);
    mosa_split_options o = {.paths = &in, .n_paths = 1, .out_paths = outs, .shares = shares, .n_parts = 2};
    uint64_t counts[2];
    mosa_pool *pool;
    mosa_error err;
    assert_int_equal(mosa_pool_create(2, &pool, &err), MOSA_OK);
    assert_int_equal(mosa_data_split(&o, pool, counts, &err), MOSA_OK);
    assert_int_equal(counts[0] + counts[1], 2000);
    assert_in_range(counts[1], 420, 580);
    int side[1000] = {0};
    for (int part = 0; part < 2; part++) {
        char *bytes = read_text(outs[part]);
        for (const char *at = bytes; (at = strstr(at, "record ")); at += 7)
            side[strtol(at + 7, NULL, 10)] += part ? 100 : 1;
        free(bytes);
    }
    for (int i = 0; i < 1000; i++) assert_true(side[i] == 2 || side[i] == 200);
    mosa_pool_destroy(pool);
}

static int set_up(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : 1;
}

static int tear_down(void **state) {
    (void)state;
    char command[300];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signatures_estimate_the_share_of_common_shingles),
        cmocka_unit_test(test_signatures_pass_over_case_and_punctuation),
        cmocka_unit_test(test_bands_find_what_is_above_the_threshold),
        cmocka_unit_test(test_of_exact_copies_the_first_stays),
        cmocka_unit_test(test_near_copies_are_found_with_any_memory_and_threads),
        cmocka_unit_test(test_a_broken_record_stops_with_its_line),
        cmocka_unit_test(test_a_split_loses_nothing_and_keeps_copies_together),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
