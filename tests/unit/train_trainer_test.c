// The loop: stopped and killed runs end with the bits of whole ones, accumulation changes nothing, broken steps are
// skipped, a full disk is survived, the best checkpoint is found; pairs are learnt.
#include "fake_step.h"
#include "train/trainer.h"

#include "base/file.h"
#include "base/rng.h"
#include "codec/json.h"
#include "train/checkpoint.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { EXAMPLES = 60, CRASHES = 20 };

static char folder[64];
static mosa_arena arena;
static long writes_until_full = -1;

ssize_t __real_write(int fd, const void *data, size_t bytes);
ssize_t __wrap_write(int fd, const void *data, size_t bytes);
ssize_t __wrap_write(int fd, const void *data, size_t bytes) {
    if (writes_until_full >= 0 && bytes > 2000 && writes_until_full-- <= 0) {
        writes_until_full = 0;
        errno = ENOSPC;
        return -1;
    }
    return __real_write(fd, data, bytes);
}

static int start(void **state) {
    (void)state;
    mosa_arena_init(&arena, 0, 0);
    writes_until_full = -1;
    snprintf(folder, sizeof folder, "/tmp/mosa-trainer-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int stop(void **state) {
    (void)state;
    char command[128];
    mosa_arena_finish(&arena);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

// --- data ---------------------------------------------------------------------------------------------------------

static mosa_store *make_store(const char *name, mosa_data_kind kind, uint64_t seed) {
    char path[128];
    mosa_store_writer *writer;
    mosa_store *store = NULL;
    mosa_store_info info = {.kind = kind, .vocab_size = FAKE_VOCAB, .vocab_hash = 7, .key = seed};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(mosa_store_writer_create(path, &info, &writer, NULL), MOSA_OK);
    for (int i = 0; i < EXAMPLES; i++) {
        int32_t ids[32], n = 4 + (int32_t)mosa_rng_below(seed, (uint64_t)i, 20);
        float weight[32] = {0};
        mosa_example_role role = kind == MOSA_DATA_PAIRS      ? (i % 2 ? MOSA_EXAMPLE_REJECTED : MOSA_EXAMPLE_CHOSEN)
                                 : kind == MOSA_DATA_LABELLED ? (i % 2 ? MOSA_EXAMPLE_BAD : MOSA_EXAMPLE_GOOD)
                                                              : MOSA_EXAMPLE_PLAIN;
        bool bad = kind >= MOSA_DATA_PAIRS && i % 2;
        // Good sequences count up; others are noise.
        for (int32_t t = 0; t < n; t++)
            ids[t] = bad ? (int32_t)mosa_rng_below(seed + 1, (uint64_t)(i * 32 + t), FAKE_VOCAB) : (i + t) % FAKE_VOCAB;
        for (int32_t t = 2; t < n; t++) weight[t] = t % 5 == 0 && kind == MOSA_DATA_CHAT ? 0.5f : 1;
        mosa_train_example e = {.ids = ids, .weight = weight, .n = n, .role = role, .line = (uint64_t)i + 1};
        assert_int_equal(mosa_store_writer_add(writer, &e, NULL), MOSA_OK);
    }
    assert_int_equal(mosa_store_writer_commit(writer, NULL, NULL), MOSA_OK);
    mosa_store_writer_destroy(writer);
    assert_int_equal(mosa_store_open(path, &store, NULL), MOSA_OK);
    return store;
}

// --- a run --------------------------------------------------------------------------------------------------------

typedef struct run {
    mosa_train_config config;
    mosa_train_plan plan;
    mosa_step *step;
    const mosa_store *store, *eval_store;
    mosa_loader *loader, *eval_loader;
    mosa_train_result result;
    int64_t steps_left; // until `stop` says so
    int poison_at;      // step whose gradient is broken, 0 = none
    int notes;
    char last_note[512];
} run;

static bool stops(void *user) {
    run *r = user;
    if (r->poison_at && --r->poison_at == 0) r->step->poison = NAN;
    return --r->steps_left == 0;
}

static void note(void *user, const char *text) {
    run *r = user;
    r->notes++;
    snprintf(r->last_note, sizeof r->last_note, "%s", text);
}

static void set_up(run *r, int argc, const char *const *argv, mosa_data_kind kind) {
    const char *fixed[48] = {"--model_name_or_path",
                             "m",
                             "--dataset",
                             "d",
                             "--output_dir",
                             folder,
                             "--learning_rate",
                             "0.05",
                             "--logging_steps",
                             "2",
                             "--num_train_epochs",
                             "4",
                             "--save_steps",
                             "3",
                             "--per_device_train_batch_size",
                             "4",
                             "--val_size",
                             "1"};
    int n = 18;
    mosa_error err = {0};
    mosa_string_list arguments;
    for (int i = 0; i < argc; i++) fixed[n++] = argv[i];
    mosa_option_sources sources = {.argc = n, .argv = fixed};
    *r = (run){.steps_left = INT64_MAX};
    if (mosa_options_read(&mosa_train_options, &sources, &arena, &r->config, &arguments, &err) != MOSA_OK ||
        mosa_train_config_check(&r->config, &arena, &r->plan, &err) != MOSA_OK)
        fail_msg("%s", err.message);
    r->store = make_store("train.tokens", kind, 3);
    r->eval_store = make_store("eval.tokens", kind, 4);
    int32_t units = (int32_t)r->config.per_device_train_batch_size;
    mosa_loader_options loader = {.max_rows = 64 * units, .max_units = units, .shuffle = true, .seed = 5};
    assert_int_equal(mosa_loader_create(&r->store, 1, &loader, &r->loader, NULL), MOSA_OK);
    loader.shuffle = false;
    assert_int_equal(mosa_loader_create(&r->eval_store, 1, &loader, &r->eval_loader, NULL), MOSA_OK);
    r->step = fake_step_create(loader.max_rows);
}

static mosa_status go(run *r, mosa_error *err) {
    mosa_trainer *trainer = NULL;
    mosa_trainer_options options = {.config = &r->config,
                                    .plan = &r->plan,
                                    .step = r->step,
                                    .loader = r->loader,
                                    .eval_loader = r->config.eval_steps ? r->eval_loader : NULL,
                                    .stores = &r->store,
                                    .n_stores = 1,
                                    .eval_stores = &r->eval_store,
                                    .n_eval_stores = 1,
                                    .max_rows = 64 * (int32_t)r->config.per_device_train_batch_size,
                                    .threads = 1,
                                    .watch = {.user = r, .stop = stops, .note = note}};
    MOSA_TRY(mosa_trainer_create(&options, &trainer, err));
    mosa_train_plan_steps(&r->config, mosa_trainer_cost(trainer)->total_steps, &r->plan);
    mosa_status status = mosa_trainer_run(trainer, &r->result, err);
    mosa_trainer_destroy(trainer);
    return status;
}

static void tear_down(run *r) {
    mosa_step_close(r->step);
    mosa_loader_destroy(r->loader);
    mosa_loader_destroy(r->eval_loader);
    mosa_store_close((mosa_store *)r->store);
    mosa_store_close((mosa_store *)r->eval_store);
}

static void must_go(run *r) {
    mosa_error err = {0};
    if (go(r, &err) != MOSA_OK) fail_msg("%s (%s)", err.message, err.hint);
}

static void clear_folder(void) {
    assert_int_equal(stop(NULL), 0);
    assert_int_equal(start(NULL), 0);
}

// Weights and metrics (without times) of a run from its beginning to its end.
static float *whole_run(int argc, const char *const *argv, mosa_data_kind kind, char **metrics);

static char *metrics_without_times(void) {
    json_t *rows = NULL, *row;
    size_t i;
    mosa_buf text = {0};
    assert_int_equal(mosa_run_log_read(folder, &rows, NULL), MOSA_OK);
    json_array_foreach(rows, i, row) {
        json_object_del(row, "tokens_per_second");
        json_object_del(row, "eval_runtime");
    }
    mosa_json_append_pretty(&text, rows);
    json_decref(rows);
    return mosa_buf_take(&text);
}

static float *copy_weights(const run *r) {
    float *copy = malloc(r->step->params.elements * sizeof *copy);
    memcpy(copy, r->step->weights, r->step->params.elements * sizeof *copy);
    return copy;
}

static float *whole_run(int argc, const char *const *argv, mosa_data_kind kind, char **metrics) {
    run r;
    set_up(&r, argc, argv, kind);
    must_go(&r);
    float *weights = copy_weights(&r);
    if (metrics) *metrics = metrics_without_times();
    tear_down(&r);
    return weights;
}

// --- tests --------------------------------------------------------------------------------------------------------

static void check_stopped(int argc, const char *const *argv, mosa_data_kind kind) {
    char *metrics, *again;
    float *expected = whole_run(argc, argv, kind, &metrics);
    for (int64_t stop_after = 3; stop_after < 20; stop_after += 7) {
        run r;
        clear_folder();
        for (int leg = 0;; leg++) {
            set_up(&r, argc, argv, kind);
            r.steps_left = stop_after;
            must_go(&r);
            if (!r.result.stopped) break;
            tear_down(&r);
        }
        assert_memory_equal(r.step->weights, expected, r.step->params.elements * sizeof *expected);
        again = metrics_without_times();
        assert_string_equal(again, metrics);
        free(again);
        tear_down(&r);
    }
    free(metrics);
    free(expected);
}

static void a_stopped_run_ends_with_the_same_bits(void **state) {
    (void)state;
    static const char *const plain[] = {"--gradient_accumulation_steps", "2", "--eval_steps", "3"};
    static const char *const muon[] = {"--optim", "adamw_8bit", "--lr_scheduler_type", "cosine", "--warmup_steps", "4"};
    static const char *const dpo[] = {"--stage", "dpo", "--finetuning_type", "full", "--eval_steps", "3"};
    check_stopped(4, plain, MOSA_DATA_CHAT);
    clear_folder();
    check_stopped(6, muon, MOSA_DATA_CHAT);
    clear_folder();
    check_stopped(6, dpo, MOSA_DATA_PAIRS);
}

static void kill_9_changes_nothing(void **state) {
    (void)state;
    static const char *const argv[] = {"--num_train_epochs", "16", "--eval_steps", "9", "--save_total_limit", "1"};
    char *metrics, *again;
    float *expected = whole_run(6, argv, MOSA_DATA_CHAT, &metrics);
    clear_folder();
    run r;
    for (int crash = 0; crash < CRASHES; crash++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            set_up(&r, 6, argv, MOSA_DATA_CHAT);
            _exit(go(&r, NULL) == MOSA_OK ? 0 : 1);
        }
        usleep((useconds_t)(2000 + mosa_rng_below(9, (uint64_t)crash, 40000)));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_false(WIFEXITED(status) && WEXITSTATUS(status) != 0);
    }
    set_up(&r, 6, argv, MOSA_DATA_CHAT);
    must_go(&r);
    assert_memory_equal(r.step->weights, expected, r.step->params.elements * sizeof *expected);
    again = metrics_without_times();
    assert_string_equal(again, metrics);
    free(again);
    free(metrics);
    free(expected);
    tear_down(&r);
}

// All data in one step, cut into 1, 2, 4 and 8 batches with ragged masks.
static void accumulation_changes_nothing(void **state) {
    (void)state;
    static const char *const cuts[][2] = {{"1", "64"}, {"2", "30"}, {"4", "15"}, {"8", "8"}};
    float *expected = NULL;
    for (size_t i = 0; i < MOSA_COUNT(cuts); i++) {
        const char *argv[] = {"--gradient_accumulation_steps",
                              cuts[i][0],
                              "--per_device_train_batch_size",
                              cuts[i][1],
                              "--optim",
                              "sgd",
                              "--max_grad_norm",
                              "0"};
        clear_folder();
        float *got = whole_run(8, argv, MOSA_DATA_CHAT, NULL);
        for (int k = 0; expected && k < FAKE_VOCAB * (FAKE_VOCAB + 1); k++)
            assert_true(fabsf(got[k] - expected[k]) < 1e-6f);
        if (expected)
            free(got);
        else
            expected = got;
    }
    free(expected);
}

static void a_broken_gradient_is_skipped_and_named(void **state) {
    (void)state;
    run r;
    set_up(&r, 0, NULL, MOSA_DATA_CHAT);
    r.poison_at = 5;
    must_go(&r);
    assert_int_equal(r.result.skipped, 1);
    assert_int_equal(r.notes, 1);
    assert_non_null(strstr(r.last_note, "table.weight"));
    for (int i = 0; i < FAKE_VOCAB * FAKE_VOCAB; i++) assert_true(isfinite(r.step->weights[i]));
    tear_down(&r);
}

static void a_full_disk_is_survived(void **state) {
    (void)state;
    run r;
    mosa_error err = {0};
    set_up(&r, 0, NULL, MOSA_DATA_CHAT);
    r.steps_left = 7;
    must_go(&r);
    tear_down(&r);
    set_up(&r, 0, NULL, MOSA_DATA_CHAT);
    writes_until_full = 0; // large writes: tensors; rows of metrics go through
    assert_int_equal(go(&r, &err), MOSA_EIO);
    assert_non_null(strstr(err.message, "No space left"));
    assert_true(r.notes >= 1 && strstr(r.last_note, "training goes on"));
    writes_until_full = -1;
    mosa_checkpoint *checkpoint = NULL;
    assert_int_equal(mosa_checkpoint_open_latest(folder, &checkpoint, NULL), MOSA_OK);
    assert_int_equal(mosa_checkpoint_step(checkpoint), 7);
    mosa_checkpoint_close(checkpoint);
    tear_down(&r);
}

static void the_best_model_is_the_result(void **state) {
    (void)state;
    static const char *const argv[] = {"--eval_steps",        "1",   "--load_best_model_at_end", "true",
                                       "--greater_is_better", "true"};
    run r;
    set_up(&r, 6, argv, MOSA_DATA_CHAT);
    must_go(&r);
    assert_true(r.result.best_step > 0 && r.result.best_step < r.result.steps);
    char path[128];
    mosa_checkpoint *best = NULL;
    float saved[FAKE_VOCAB * FAKE_VOCAB];
    mosa_train_tensor tensor = mosa_params_tensor(&r.step->params, 0, saved);
    tensor.data = saved;
    snprintf(path, sizeof path, "%s/checkpoint-%lld", folder, (long long)r.result.best_step);
    assert_int_equal(mosa_checkpoint_open(path, &best, NULL), MOSA_OK);
    assert_int_equal(mosa_checkpoint_read(best, &tensor, NULL), MOSA_OK);
    assert_memory_equal(saved, r.step->weights, sizeof saved);
    mosa_checkpoint_close(best);
    tear_down(&r);
}

static void other_data_is_not_continued(void **state) {
    (void)state;
    run r;
    mosa_error err = {0};
    set_up(&r, 0, NULL, MOSA_DATA_CHAT);
    r.steps_left = 4;
    must_go(&r);
    tear_down(&r);
    static const char *const argv[] = {"--data_seed", "9"};
    set_up(&r, 2, argv, MOSA_DATA_CHAT);
    assert_int_equal(go(&r, &err), MOSA_EINVALID);
    assert_non_null(strstr(err.hint, "overwrite_output_dir"));
    tear_down(&r);
}

static double last_value(const char *name) {
    json_t *rows = NULL;
    double value = NAN;
    assert_int_equal(mosa_run_log_read(folder, &rows, NULL), MOSA_OK);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *number = json_object_get(json_array_get(rows, i), name);
        if (json_is_number(number)) value = json_number_value(number);
    }
    json_decref(rows);
    return value;
}

static void preferences_are_learnt_by_every_loss(void **state) {
    (void)state;
    static const char *const stages[][2] = {{"dpo", "sigmoid"}, {"dpo", "hinge"},    {"dpo", "ipo"},
                                            {"dpo", "robust"},  {"orpo", "sigmoid"}, {"simpo", "sigmoid"}};
    for (size_t i = 0; i < MOSA_COUNT(stages); i++) {
        const char *argv[] = {"--stage", stages[i][0], "--pref_loss", stages[i][1], "--eval_steps", "100"};
        clear_folder();
        run r;
        set_up(&r, 6, argv, MOSA_DATA_PAIRS);
        must_go(&r);
        if (!(last_value("eval_rewards/accuracies") > 0.9))
            fail_msg("%s %s: accuracy %g", argv[1], argv[3], last_value("eval_rewards/accuracies"));
        tear_down(&r);
    }
}

static void dpo_begins_at_ln_2(void **state) {
    (void)state;
    static const char *const argv[] = {"--stage", "dpo", "--max_steps", "1", "--logging_steps", "1"};
    run r;
    set_up(&r, 6, argv, MOSA_DATA_PAIRS);
    must_go(&r);
    assert_true(fabs(r.result.train_loss - log(2)) < 1e-6);
    tear_down(&r);
}

static void kto_tells_good_from_bad(void **state) {
    (void)state;
    static const char *const argv[] = {"--stage", "kto", "--num_train_epochs", "8"};
    run r;
    set_up(&r, 4, argv, MOSA_DATA_LABELLED);
    must_go(&r);
    assert_true(last_value("rewards/chosen") > last_value("rewards/rejected") + 0.5);
    tear_down(&r);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_stopped_run_ends_with_the_same_bits),
        CASE(kill_9_changes_nothing),
        CASE(accumulation_changes_nothing),
        CASE(a_broken_gradient_is_skipped_and_named),
        CASE(a_full_disk_is_survived),
        CASE(the_best_model_is_the_result),
        CASE(other_data_is_not_continued),
        CASE(preferences_are_learnt_by_every_loss),
        CASE(dpo_begins_at_ln_2),
        CASE(kto_tells_good_from_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
