// Stores keep examples, packing fits best, loaders come back to any position and do not depend on threads.
#include "train/data/loader.h"

#include "base/pool.h"
#include "base/rng.h"
#include "text/model_text.h"
#include "train/data/pack.h"
#include "train/data/prepare.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/mosa_data_XXXXXX";

static const char *path_of(const char *name) {
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

// Examples of 2 to 41 tokens; ids tell example and place.
static mosa_store *make_store(const char *name, mosa_data_kind kind, int count, uint64_t seed) {
    mosa_store_writer *writer;
    mosa_store *store;
    mosa_error err;
    mosa_store_info info = {.kind = kind, .vocab_size = 100000, .vocab_hash = 7};
    assert_int_equal(mosa_store_writer_create(path_of(name), &info, &writer, &err), MOSA_OK);
    for (int i = 0; i < count; i++) {
        int32_t ids[64], n = 2 + (int32_t)mosa_rng_below(seed, (uint64_t)i, 40);
        float weight[64] = {0};
        for (int32_t t = 0; t < n; t++) ids[t] = i * 64 % 99000 + t;
        for (int32_t t = n / 2; t < n; t++) weight[t] = t == n - 1 ? 0.5f : 1;
        mosa_example_role role = MOSA_EXAMPLE_PLAIN;
        if (kind == MOSA_DATA_PAIRS) role = i % 2 ? MOSA_EXAMPLE_REJECTED : MOSA_EXAMPLE_CHOSEN;
        mosa_train_example e = {.ids = ids, .weight = weight, .n = n, .role = role, .line = (uint64_t)i + 1};
        assert_int_equal(mosa_store_writer_add(writer, &e, &err), MOSA_OK);
    }
    assert_int_equal(mosa_store_writer_commit(writer, NULL, &err), MOSA_OK);
    mosa_store_writer_destroy(writer);
    assert_int_equal(mosa_store_open(path_of(name), &store, &err), MOSA_OK);
    return store;
}

static void test_stores_give_back_what_was_put_in(void **state) {
    (void)state;
    mosa_store *store = make_store("back", MOSA_DATA_CHAT, 50, 1);
    int32_t ids[64];
    float weight[64];
    mosa_train_example e;
    mosa_error err;
    for (uint64_t i = 0; i < 50; i++) {
        int32_t n = 2 + (int32_t)mosa_rng_below(1, i, 40);
        assert_int_equal(mosa_store_read(store, i, ids, weight, &e, &err), MOSA_OK);
        assert_int_equal(e.n, n);
        assert_int_equal(e.line, i + 1);
        for (int32_t t = 0; t < n; t++) {
            float want = t == 0 || t < n / 2 ? 0 : t == n - 1 ? 0.5f : 1;
            assert_int_equal(ids[t], (int32_t)i * 64 + t);
            assert_true(weight[t] == (t == 0 && n / 2 == 0 ? weight[0] : want));
        }
    }
    mosa_store_close(store);
}

static void test_a_store_that_was_cut_or_changed_is_refused(void **state) {
    (void)state;
    mosa_store_close(make_store("cut", MOSA_DATA_CHAT, 5, 1));
    mosa_store *store;
    mosa_error err;
    FILE *file = fopen(path_of("cut"), "r+");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    fseek(file, size - 40, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, size - 40, SEEK_SET);
    fputc(byte ^ 1, file);
    fclose(file);
    assert_int_equal(mosa_store_open(path_of("cut"), &store, &err), MOSA_ECORRUPT);
    assert_int_equal(truncate(path_of("cut"), size - 1), 0);
    assert_int_equal(mosa_store_open(path_of("cut"), &store, &err), MOSA_ECORRUPT);
    assert_int_equal(truncate(path_of("cut"), 3), 0);
    assert_int_equal(mosa_store_open(path_of("cut"), &store, &err), MOSA_ECORRUPT);
    mosa_store_writer *writer;
    mosa_store_info info = {.vocab_size = 10};
    assert_int_equal(mosa_store_writer_create(path_of("none"), &info, &writer, &err), MOSA_OK);
    assert_int_equal(mosa_store_writer_commit(writer, NULL, &err), MOSA_EINVALID);
    int32_t ids[] = {1, 10};
    float weight[] = {0, 1};
    mosa_train_example e = {.ids = ids, .weight = weight, .n = 2};
    assert_int_equal(mosa_store_writer_add(writer, &e, &err), MOSA_EINVALID);
    mosa_store_writer_destroy(writer);
    assert_int_not_equal(access(path_of("none"), F_OK), 0);
}

static void test_permutations_are_permutations(void **state) {
    (void)state;
    static const uint64_t sizes[] = {1, 2, 3, 5, 16, 17, 1000, 4097};
    for (size_t s = 0; s < MOSA_COUNT(sizes); s++)
        for (uint64_t stream = 0; stream < 3; stream++) {
            uint8_t *seen = calloc(sizes[s], 1);
            uint64_t fixed = 0;
            for (uint64_t i = 0; i < sizes[s]; i++) {
                uint64_t to = mosa_data_permute(sizes[s], 42, stream, i);
                assert_true(to < sizes[s] && !seen[to]);
                seen[to] = 1;
                fixed += to == i;
            }
            if (sizes[s] >= 1000) assert_true(fixed < 12);
            free(seen);
        }
}

static void test_packing_is_best_fit_and_keeps_its_limits(void **state) {
    (void)state;
    mosa_packer *packer;
    mosa_error err;
    int32_t lengths[2000], load[2000];
    uint32_t bins[2000];
    assert_int_equal(mosa_packer_create(10, 6, 0, &packer, &err), MOSA_OK);
    static const int32_t few[] = {3, 7, 6, 4, 2, 8};
    assert_int_equal(mosa_packer_run(packer, few, 6, bins), 3);
    assert_int_equal(bins[0], bins[1]);
    assert_int_equal(bins[2], bins[3]);
    assert_int_equal(bins[4], bins[5]);
    mosa_packer_destroy(packer);
    for (int32_t capacity = 41; capacity < 5000; capacity = capacity * 5 / 2) {
        int64_t sum = 0;
        assert_int_equal(mosa_packer_create(capacity, 2000, 0, &packer, &err), MOSA_OK);
        for (size_t i = 0; i < 2000; i++) sum += lengths[i] = 1 + (int32_t)mosa_rng_below(3, i, 41);
        size_t n = mosa_packer_run(packer, lengths, 2000, bins);
        memset(load, 0, sizeof load);
        for (size_t i = 0; i < 2000; i++) load[bins[i]] += lengths[i];
        for (size_t i = 0; i < n; i++) assert_in_range(load[i], 1, capacity);
        assert_true((double)n <= 1.02 * (double)sum / capacity + 1);
        mosa_packer_destroy(packer);
    }
    assert_int_equal(mosa_packer_create(100, 2000, 1, &packer, &err), MOSA_OK);
    assert_int_equal(mosa_packer_run(packer, lengths, 2000, bins), 2000);
    mosa_packer_destroy(packer);
}

static uint64_t batch_hash(const mosa_data_batch *b) {
    uint64_t hash = mosa_hash_bytes(b->tokens, (size_t)b->rows * sizeof *b->tokens, 1);
    hash = mosa_hash_bytes(b->labels, (size_t)b->rows * sizeof *b->labels, hash);
    hash = mosa_hash_bytes(b->coef, (size_t)b->rows * sizeof *b->coef, hash);
    hash = mosa_hash_bytes(b->positions, (size_t)b->rows * sizeof *b->positions, hash);
    return mosa_hash_bytes(b->segments, (size_t)b->n_segments * sizeof *b->segments, hash);
}

static void check_batch(const mosa_data_batch *b, int32_t max_rows) {
    int32_t at = 0, supervised = 0;
    assert_in_range(b->rows, 1, max_rows);
    for (int32_t s = 0; s < b->n_segments; s++) {
        assert_int_equal(b->segments[s].row_begin, at);
        for (int32_t t = 0; t < b->segments[s].row_count; t++, at++) {
            assert_int_equal(b->positions[at], t);
            if (t) assert_int_equal(b->tokens[at], b->tokens[at - 1] + 1);
            assert_true(b->labels[at] == -1 ? b->coef[at] == 0 : b->labels[at] == b->tokens[at] + 1);
            supervised += b->labels[at] != -1;
        }
    }
    assert_int_equal(at, b->rows);
    assert_int_equal(supervised, b->n_supervised);
}

static void test_an_epoch_is_every_example_once_and_epochs_differ(void **state) {
    (void)state;
    mosa_store *store = make_store("epoch", MOSA_DATA_CHAT, 777, 5);
    const mosa_store *stores[] = {store};
    mosa_loader_options o = {.max_rows = 128, .shuffle = true, .seed = 9, .window = 100};
    mosa_loader *loader;
    mosa_error err;
    mosa_data_batch b;
    uint64_t batches, hash[2] = {0};
    assert_int_equal(mosa_loader_create(stores, 1, &o, &loader, &err), MOSA_OK);
    for (uint64_t epoch = 0; epoch < 2; epoch++) {
        uint8_t seen[777] = {0};
        assert_int_equal(mosa_loader_epoch_batches(loader, epoch, &batches, &err), MOSA_OK);
        for (uint64_t i = 0; i < batches; i++) {
            assert_int_equal(mosa_loader_next(loader, &b, &err), MOSA_OK);
            check_batch(&b, 128);
            hash[epoch] = mosa_rng_mix(hash[epoch] + batch_hash(&b));
            for (int32_t s = 0; s < b.n_segments; s++) seen[b.origins[s].example]++;
        }
        for (size_t i = 0; i < 777; i++) assert_int_equal(seen[i], 1);
    }
    assert_true(hash[0] != hash[1]);
    assert_int_equal(mosa_loader_get_position(loader).epoch, 1);
    mosa_loader_destroy(loader);
    mosa_store_close(store);
}

static void test_a_run_resumes_at_any_batch(void **state) {
    (void)state;
    enum { STEPS = 150 };
    mosa_store *a = make_store("a", MOSA_DATA_CHAT, 300, 1), *c = make_store("c", MOSA_DATA_TEXT, 90, 2);
    const mosa_store *stores[] = {a, c};
    static const double shares[] = {1, 3};
    mosa_loader_options o = {
        .max_rows = 100, .shuffle = true, .seed = 3, .window = 64, .shares = shares, .stop = MOSA_MIX_LAST};
    mosa_loader *loader;
    mosa_error err;
    mosa_data_batch b;
    uint64_t hashes[STEPS];
    mosa_loader_position at[STEPS];
    assert_int_equal(mosa_loader_create(stores, 2, &o, &loader, &err), MOSA_OK);
    assert_int_equal(mosa_loader_epoch_units(loader), 1200);
    for (int i = 0; i < STEPS; i++) {
        at[i] = mosa_loader_get_position(loader);
        assert_int_equal(mosa_loader_next(loader, &b, &err), MOSA_OK);
        hashes[i] = batch_hash(&b);
    }
    mosa_loader_destroy(loader);
    for (int i = 0; i < STEPS; i += 7) {
        assert_int_equal(mosa_loader_create(stores, 2, &o, &loader, &err), MOSA_OK);
        assert_int_equal(mosa_loader_set_position(loader, at[i], &err), MOSA_OK);
        for (int k = i; k < STEPS && k < i + 20; k++) {
            assert_int_equal(mosa_loader_next(loader, &b, &err), MOSA_OK);
            assert_true(batch_hash(&b) == hashes[k]);
        }
        mosa_loader_destroy(loader);
    }
    assert_int_equal(mosa_loader_create(stores, 2, &o, &loader, &err), MOSA_OK);
    assert_int_equal(mosa_loader_set_position(loader, (mosa_loader_position){0, 1000, 0}, &err), MOSA_EINVALID);
    mosa_loader_destroy(loader);
    mosa_store_close(a);
    mosa_store_close(c);
}

static void test_sets_are_mixed_by_their_shares(void **state) {
    (void)state;
    mosa_store *a = make_store("m1", MOSA_DATA_CHAT, 1000, 1), *c = make_store("m2", MOSA_DATA_CHAT, 100, 2);
    const mosa_store *stores[] = {a, c};
    static const double shares[] = {2, 1};
    mosa_loader_options o = {.max_rows = 64, .shuffle = true, .shares = shares, .stop = MOSA_MIX_FIRST};
    mosa_loader *loader;
    mosa_error err;
    mosa_data_batch b;
    uint64_t batches, drawn[2] = {0};
    assert_int_equal(mosa_loader_create(stores, 2, &o, &loader, &err), MOSA_OK);
    assert_int_equal(mosa_loader_epoch_batches(loader, 0, &batches, &err), MOSA_OK);
    for (uint64_t i = 0; i < batches; i++) {
        assert_int_equal(mosa_loader_next(loader, &b, &err), MOSA_OK);
        for (int32_t s = 0; s < b.n_segments; s++) drawn[b.origins[s].set]++;
    }
    assert_int_equal(drawn[0], 200);
    assert_int_equal(drawn[1], 100);
    mosa_loader_destroy(loader);
    mosa_store_close(a);
    mosa_store_close(c);
}

static void test_pairs_stay_together(void **state) {
    (void)state;
    mosa_store *store = make_store("pairs", MOSA_DATA_PAIRS, 400, 1);
    const mosa_store *stores[] = {store};
    mosa_loader_options o = {.max_rows = 200, .shuffle = true};
    mosa_loader *loader;
    mosa_error err;
    mosa_data_batch b;
    uint64_t batches;
    assert_int_equal(mosa_loader_create(stores, 1, &o, &loader, &err), MOSA_OK);
    assert_int_equal(mosa_loader_epoch_batches(loader, 0, &batches, &err), MOSA_OK);
    for (uint64_t i = 0; i < batches; i++) {
        assert_int_equal(mosa_loader_next(loader, &b, &err), MOSA_OK);
        assert_int_equal(b.n_segments % 2, 0);
        for (int32_t s = 0; s < b.n_segments; s += 2) {
            assert_int_equal(b.origins[s].role, MOSA_EXAMPLE_CHOSEN);
            assert_int_equal(b.origins[s + 1].role, MOSA_EXAMPLE_REJECTED);
            assert_int_equal(b.origins[s + 1].example, b.origins[s].example + 1);
        }
    }
    mosa_loader_destroy(loader);
    mosa_store_close(store);
}

// Every rank's batches together are those of one rank, in turn.
static void test_ranks_share_the_batches(void **state) {
    (void)state;
    mosa_store *store = make_store("ranks", MOSA_DATA_CHAT, 500, 1);
    const mosa_store *stores[] = {store};
    mosa_loader *one, *ranks[3];
    mosa_error err;
    mosa_data_batch b;
    uint64_t whole, each;
    mosa_loader_options o = {.max_rows = 90, .shuffle = true, .window = 50};
    assert_int_equal(mosa_loader_create(stores, 1, &o, &one, &err), MOSA_OK);
    assert_int_equal(mosa_loader_epoch_batches(one, 0, &whole, &err), MOSA_OK);
    o.n_ranks = 3;
    for (int r = 0; r < 3; r++) {
        o.rank = r;
        assert_int_equal(mosa_loader_create(stores, 1, &o, &ranks[r], &err), MOSA_OK);
    }
    assert_int_equal(mosa_loader_epoch_batches(ranks[0], 0, &each, &err), MOSA_OK);
    assert_int_equal(each, whole / 3);
    for (uint64_t i = 0; i < each; i++)
        for (int r = 0; r < 3; r++) {
            assert_int_equal(mosa_loader_next(one, &b, &err), MOSA_OK);
            uint64_t want = batch_hash(&b);
            assert_int_equal(mosa_loader_next(ranks[r], &b, &err), MOSA_OK);
            assert_true(batch_hash(&b) == want);
        }
    assert_int_equal(mosa_loader_next(ranks[1], &b, &err), MOSA_OK);
    assert_int_equal(mosa_loader_get_position(ranks[1]).epoch, 1);
    mosa_loader_destroy(one);
    for (int r = 0; r < 3; r++) mosa_loader_destroy(ranks[r]);
    mosa_store_close(store);
}

static void test_what_cannot_be_loaded_is_refused(void **state) {
    (void)state;
    mosa_store *chats = make_store("r1", MOSA_DATA_CHAT, 30, 1), *pairs = make_store("r2", MOSA_DATA_PAIRS, 30, 1);
    const mosa_store *stores[] = {chats, pairs};
    mosa_loader_options o = {.max_rows = 90};
    mosa_loader *loader;
    mosa_error err;
    mosa_data_batch b;
    assert_int_equal(mosa_loader_create(stores, 2, &o, &loader, &err), MOSA_EINVALID);
    assert_non_null(strstr(err.message, "cannot be mixed"));
    o.max_rows = 3;
    assert_int_equal(mosa_loader_create(stores, 1, &o, &loader, &err), MOSA_OK);
    assert_int_equal(mosa_loader_next(loader, &b, &err), MOSA_EINVALID);
    assert_non_null(strstr(err.message, "rows, a batch has 3"));
    mosa_loader_destroy(loader);
    mosa_store_close(chats);
    mosa_store_close(pairs);
}

// --- from files -----------------------------------------------------------------------------------------------------

typedef struct fault_list {
    size_t count;
    char text[4][512];
} fault_list;

static void keep_fault(void *user, const mosa_data_issue *issue) {
    fault_list *list = user;
    if (list->count < 4) (void)snprintf(list->text[list->count], sizeof list->text[0], "%s", issue->error->message);
    list->count++;
}

static mosa_model_text *open_tiny(void) {
    mosa_model_text *text;
    mosa_error err;
    assert_int_equal(mosa_model_text_open(MOSA_SOURCE_ROOT "/examples/mosa-tiny.gguf", NULL, &text, &err), MOSA_OK);
    return text;
}

static uint64_t file_hash(const char *path) {
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    static char bytes[1 << 20];
    size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return mosa_hash_bytes(bytes, n, 1);
}

static void test_a_store_does_not_depend_on_threads(void **state) {
    (void)state;
    mosa_model_text *text = open_tiny();
    FILE *file = fopen(path_of("many.jsonl"), "w");
    for (int i = 0; i < 3000; i++)
        fprintf(file, "{\"instruction\":\"Say %d\",\"input\":\"\",\"output\":\"It is %d.\"}\n", i, i * i);
    fclose(file);
    uint64_t hashes[3];
    for (int threads = 1; threads <= 3; threads++) {
        mosa_pool *pool;
        mosa_error err;
        mosa_prepare_report report;
        const char *paths[] = {path_of("many.jsonl")}, *out = path_of("many.store");
        mosa_prepare_options o = {.paths = paths, .n_paths = 1};
        assert_int_equal(mosa_pool_create(threads, &pool, &err), MOSA_OK);
        if (mosa_data_prepare(&o, text, pool, out, &report, &err) != MOSA_OK) fail_msg("%s", err.message);
        assert_int_equal(report.store.n_examples, 3000);
        assert_int_equal(report.store.kind, MOSA_DATA_CHAT);
        hashes[threads - 1] = file_hash(out);
        mosa_pool_destroy(pool);
    }
    assert_true(hashes[0] == hashes[1] && hashes[1] == hashes[2]);
    mosa_model_text_close(text);
}

static void expect_faults(const char *name, const char *bytes, size_t count, const char *first) {
    mosa_model_text *text = open_tiny();
    mosa_pool *pool;
    mosa_error err = {0};
    fault_list faults = {0};
    const char *path = path_of(name);
    mosa_prepare_options o = {.paths = &path, .n_paths = 1, .on_issue = keep_fault, .user = &faults};
    o.tokenize.max_tokens = 200;
    write_file(path, bytes);
    assert_int_equal(mosa_pool_create(2, &pool, &err), MOSA_OK);
    mosa_status status = mosa_data_prepare(&o, text, pool, path_of("bad.store"), NULL, &err);
    assert_int_not_equal(status, MOSA_OK);
    if (faults.count != count || !strstr(err.message, first)) fail_msg("%zu faults: %s", faults.count, err.message);
    assert_int_not_equal(access(path_of("bad.store"), F_OK), 0);
    mosa_pool_destroy(pool);
    mosa_model_text_close(text);
}

#define CHAT(text)                                                                                                     \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"" text "\"}]"

static void test_faults_of_files_name_file_and_line(void **state) {
    (void)state;
    expect_faults("mixed.jsonl", CHAT("yo") "}\n{\"text\":\"x\"}\n", 1, "mixed.jsonl:2: this record is in format text");
    expect_faults("twice.jsonl", CHAT("yo") ",\"id\":\"a\"}\n\n" CHAT("no") ",\"id\":\"a\"}\n", 1,
                  "twice.jsonl:3: its id was there before, at ");
    expect_faults("zero.jsonl",
                  CHAT("yo") "}\n{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\","
                             "\"content\":\"yo\",\"weight\":0}]}\n",
                  1, "zero.jsonl:2: no token is supervised");
    expect_faults("one.jsonl", "{\"prompt\":\"\",\"completion\":\"all of it\"}\n", 1, "every token is supervised");
    expect_faults("broken.jsonl", CHAT("yo") "}\n{\"messages\":\n" CHAT("yo") "}\n{}\n", 2, "broken.jsonl:2: ");
    expect_faults("kinds.jsonl", CHAT("yo") "}\n" CHAT("yo") ",\"label\":true}\n", 1, "is of kind labelled");
    expect_faults("empty.jsonl", "\n\n", 0, "holds no example");
    char longer[4000] = CHAT("");
    size_t at = strlen(longer) - 3;
    for (int i = 0; i < 1000; i++, at += 3) memcpy(longer + at, "7 %", 3);
    memcpy(longer + at, "\"}]}\n", 6);
    expect_faults("long.jsonl", longer, 1, "the longest sequence is 200");
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
        cmocka_unit_test(test_stores_give_back_what_was_put_in),
        cmocka_unit_test(test_a_store_that_was_cut_or_changed_is_refused),
        cmocka_unit_test(test_permutations_are_permutations),
        cmocka_unit_test(test_packing_is_best_fit_and_keeps_its_limits),
        cmocka_unit_test(test_an_epoch_is_every_example_once_and_epochs_differ),
        cmocka_unit_test(test_a_run_resumes_at_any_batch),
        cmocka_unit_test(test_sets_are_mixed_by_their_shares),
        cmocka_unit_test(test_pairs_stay_together),
        cmocka_unit_test(test_ranks_share_the_batches),
        cmocka_unit_test(test_what_cannot_be_loaded_is_refused),
        cmocka_unit_test(test_a_store_does_not_depend_on_threads),
        cmocka_unit_test(test_faults_of_files_name_file_and_line),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
