// Checkpoints: what comes back, what stays, what damage is seen; kill -9 and a full disk at every point of a save.
#include "base/file.h"
#include "base/rng.h"
#include "base/str.h"
#include "train/checkpoint_saver.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 5000, M = 300, CRASHES = 20 };

// --- faults of the disk -------------------------------------------------------------------------------------------

static long calls_until_full = -1; // -1 = never; counted over write, fsync and rename

static bool is_full(void) {
    return calls_until_full >= 0 && calls_until_full-- == 0 ? calls_until_full = 0, true : false;
}

ssize_t __real_write(int fd, const void *data, size_t bytes);
int __real_fsync(int fd);
ssize_t __wrap_write(int fd, const void *data, size_t bytes);
int __wrap_fsync(int fd);

ssize_t __wrap_write(int fd, const void *data, size_t bytes) {
    if (is_full()) return errno = ENOSPC, -1;
    return __real_write(fd, data, bytes);
}

int __wrap_fsync(int fd) {
    if (is_full()) return errno = ENOSPC, -1;
    return __real_fsync(fd);
}

// --- a state that is a function of the step -----------------------------------------------------------------------

typedef struct model {
    float w[N], b[M], m[N];
    uint8_t codes[N];
    mosa_train_tensor weights[2], moments[2];
} model;

static void describe(model *x) {
    x->weights[0] = (mosa_train_tensor){
        .name = "layer.weight", .n_dims = 2, .dims = {N / 10, 10}, .data = x->w, .bytes = sizeof x->w};
    x->weights[1] =
        (mosa_train_tensor){.name = "layer.bias", .n_dims = 1, .dims = {M}, .data = x->b, .bytes = sizeof x->b};
    x->moments[0] = x->weights[0];
    x->moments[0].name = "layer.weight.exp_avg";
    x->moments[0].data = x->m;
    x->moments[1] = (mosa_train_tensor){.name = "layer.weight.exp_avg.codes",
                                        .dtype = MOSA_U8,
                                        .n_dims = 1,
                                        .dims = {N},
                                        .data = x->codes,
                                        .bytes = sizeof x->codes};
}

static void set_step(model *x, int64_t step) {
    for (int i = 0; i < N; i++) {
        x->w[i] = (float)mosa_rng_uniform((uint64_t)step, (uint64_t)i);
        x->m[i] = -x->w[i];
        x->codes[i] = (uint8_t)(step + i);
    }
    for (int i = 0; i < M; i++) x->b[i] = (float)(step * M + i);
}

static model *new_model(int64_t step) {
    model *x = calloc(1, sizeof *x);
    assert_non_null(x);
    describe(x);
    set_step(x, step);
    return x;
}

static mosa_checkpoint_content content_of(model *x, int64_t step, double metric, json_t *state) {
    static const mosa_checkpoint_file files[] = {{"trainer_state.json", MOSA_SLICE("{\"global_step\": 1}\n")}};
    return (mosa_checkpoint_content){step, metric, x->weights, 2, x->moments, 2, state, files, 1};
}

static mosa_status save(mosa_checkpoint_saver *saver, model *x, int64_t step, double metric) {
    json_t *state = json_pack("{s:I, s:s}", "position", (json_int_t)(step * 17), "note", "\xc3\xa9");
    mosa_checkpoint_content content = content_of(x, step, metric, state);
    mosa_status status = mosa_checkpoint_saver_save(saver, &content, NULL);
    json_decref(state);
    mosa_checkpoint_saver_settle(saver);
    return status;
}

static void assert_restores(const mosa_checkpoint *checkpoint) {
    model *expected = new_model(mosa_checkpoint_step(checkpoint)), *got = new_model(-1);
    assert_int_equal(mosa_checkpoint_tensor_count(checkpoint), 4);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mosa_checkpoint_read(checkpoint, &got->weights[i], NULL), MOSA_OK);
        assert_int_equal(mosa_checkpoint_read(checkpoint, &got->moments[i], NULL), MOSA_OK);
    }
    assert_memory_equal(got, expected, offsetof(model, weights));
    const json_t *position = json_object_get(mosa_checkpoint_state(checkpoint), "position");
    assert_int_equal(json_integer_value(position), mosa_checkpoint_step(checkpoint) * 17);
    free(expected);
    free(got);
}

// --- folders ------------------------------------------------------------------------------------------------------

static char run[64];

static int make_run(void **state) {
    (void)state;
    snprintf(run, sizeof run, "/tmp/mosa-checkpoint-XXXXXX");
    calls_until_full = -1;
    return mkdtemp(run) ? 0 : -1;
}

static int remove_run(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", run);
    return system(command);
}

static mosa_checkpoint_saver *new_saver(int64_t keep_last, int64_t keep_best) {
    mosa_checkpoint_saver_options options = {run, keep_last, keep_best, false};
    mosa_checkpoint_saver *saver = NULL;
    assert_int_equal(mosa_checkpoint_saver_create(&options, &saver, NULL), MOSA_OK);
    return saver;
}

static void assert_steps(const char *expected) {
    int64_t *steps = NULL;
    size_t count = 0;
    mosa_buf text = {0};
    assert_int_equal(mosa_checkpoint_list(run, &steps, &count, NULL), MOSA_OK);
    for (size_t i = 0; i < count; i++) mosa_buf_printf(&text, "%s%lld", i ? " " : "", (long long)steps[i]);
    assert_string_equal(mosa_buf_str(&text), expected);
    mosa_buf_finish(&text);
    free(steps);
}

static void assert_latest(int64_t step) {
    mosa_checkpoint *checkpoint = NULL;
    assert_int_equal(mosa_checkpoint_open_latest(run, &checkpoint, NULL), MOSA_OK);
    assert_int_equal(mosa_checkpoint_step(checkpoint), step);
    assert_restores(checkpoint);
    mosa_checkpoint_close(checkpoint);
}

// --- tests --------------------------------------------------------------------------------------------------------

static void what_was_saved_comes_back(void **state) {
    (void)state;
    mosa_checkpoint *checkpoint = NULL;
    model *x = new_model(7);
    mosa_checkpoint_saver *saver = new_saver(0, 0);
    assert_int_equal(mosa_checkpoint_open_latest(run, &checkpoint, NULL), MOSA_ENOTFOUND);
    assert_int_equal(save(saver, x, 7, 1.25), MOSA_OK);
    set_step(x, 8); // settled: the tensors may change while the save goes on
    assert_int_equal(mosa_checkpoint_saver_wait(saver, NULL), MOSA_OK);
    mosa_checkpoint_saver_destroy(saver);
    assert_latest(7);
    assert_int_equal(mosa_checkpoint_open_latest(run, &checkpoint, NULL), MOSA_OK);
    assert_true(mosa_checkpoint_metric(checkpoint) == 1.25);
    mosa_train_tensor other = x->weights[0];
    other.dims[0] = 10, other.dims[1] = N / 10;
    assert_int_equal(mosa_checkpoint_read(checkpoint, &other, NULL), MOSA_EINVALID);
    other.name = "layer.absent";
    assert_int_equal(mosa_checkpoint_read(checkpoint, &other, NULL), MOSA_ENOTFOUND);
    mosa_checkpoint_close(checkpoint);
    free(x);
}

static void the_last_and_the_best_are_kept(void **state) {
    (void)state;
    static const double metrics[] = {3, 1, 2, 5, 4, NAN};
    mosa_checkpoint_saver *saver = new_saver(2, 1);
    model *x = new_model(0);
    for (int i = 0; i < 6; i++) {
        set_step(x, i + 1);
        assert_int_equal(save(saver, x, i + 1, metrics[i]), MOSA_OK);
    }
    set_step(x, 6);
    assert_int_equal(save(saver, x, 6, 6), MOSA_OK); // again: replaces
    mosa_checkpoint_saver_destroy(saver);
    assert_steps("2 5 6");
    assert_latest(6);
    free(x);
}

static void flip(const char *path, long offset) {
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, offset < 0 ? SEEK_END : SEEK_SET), 0);
    int c = fgetc(file);
    assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
    fputc(c ^ 1, file);
    fclose(file);
}

static void damage_is_seen_and_passed_over(void **state) {
    (void)state;
    static const struct {
        const char *file, *says;
        long offset;
    } faults[] = {{"model.safetensors", "layer.bias", -5},
                  {"optimizer.safetensors", "layer.weight.exp_avg", 2000},
                  {"state.json", "state.json", 18},
                  {"trainer_state.json", "trainer_state.json", 4}};
    model *x = new_model(1);
    mosa_checkpoint_saver *saver = new_saver(0, 0);
    assert_int_equal(save(saver, x, 1, NAN), MOSA_OK);
    for (size_t i = 0; i < MOSA_COUNT(faults); i++) {
        char path[160], folder[128];
        mosa_error err = {0};
        mosa_checkpoint *checkpoint = NULL;
        set_step(x, 2);
        assert_int_equal(save(saver, x, 2, NAN), MOSA_OK);
        assert_int_equal(mosa_checkpoint_saver_wait(saver, NULL), MOSA_OK);
        snprintf(folder, sizeof folder, "%s/checkpoint-2", run);
        snprintf(path, sizeof path, "%s/%s", folder, faults[i].file);
        flip(path, faults[i].offset);
        assert_int_equal(mosa_checkpoint_open(folder, &checkpoint, &err), MOSA_ECORRUPT);
        assert_non_null(strstr(err.message, faults[i].says));
        assert_latest(1);
    }
    mosa_checkpoint_saver_destroy(saver);
    free(x);
}

// Fails the 1st, 2nd, ... write or fsync and all that follow, until a save gets through.
static void a_full_disk_leaves_the_earlier_ones(void **state) {
    (void)state;
    mosa_checkpoint_saver *saver = new_saver(1, 0);
    model *x = new_model(1);
    mosa_status status = MOSA_EIO;
    assert_int_equal(save(saver, x, 1, NAN), MOSA_OK);
    assert_int_equal(mosa_checkpoint_saver_wait(saver, NULL), MOSA_OK);
    int failures = 0;
    for (long n = 0; status != MOSA_OK; n++) {
        mosa_error err = {0};
        set_step(x, 2);
        calls_until_full = n;
        assert_int_equal(save(saver, x, 2, NAN), MOSA_OK);
        status = mosa_checkpoint_saver_wait(saver, &err);
        calls_until_full = -1;
        if (status == MOSA_OK) break;
        failures++;
        assert_int_equal(status, MOSA_EIO);
        assert_non_null(strstr(err.message, "No space left"));
        int64_t *steps = NULL; // a failed sync of the run's folder may come after the rename
        size_t count = 0;
        assert_int_equal(mosa_checkpoint_list(run, &steps, &count, NULL), MOSA_OK);
        assert_int_equal(steps[0], 1);
        assert_latest(steps[count - 1]);
        free(steps);
    }
    assert_true(failures >= 10);
    mosa_checkpoint_saver_destroy(saver);
    assert_steps("2");
    assert_latest(2);
    free(x);
}

// Saves steps first, first + 1, ... and tells each that is durable, until it is killed.
static void save_for_ever(int64_t first, int pipe) {
    model *x = new_model(first);
    mosa_checkpoint_saver *saver = new_saver(2, 0);
    for (int64_t step = first;; step++) {
        set_step(x, step);
        if (save(saver, x, step, NAN) != MOSA_OK) _exit(1);
        set_step(x, -1);
        if (mosa_checkpoint_saver_wait(saver, NULL) != MOSA_OK) _exit(2);
        if (write(pipe, &step, sizeof step) != sizeof step) _exit(3);
    }
}

static void kill_9_at_any_instant_leaves_a_whole_one(void **state) {
    (void)state;
    int64_t told = 0, step;
    for (int crash = 0; crash < CRASHES; crash++) {
        int pipes[2], status;
        assert_int_equal(pipe(pipes), 0);
        pid_t child = fork();
        if (child == 0) save_for_ever(told + 1, pipes[1]);
        close(pipes[1]);
        if (told == 0) assert_int_equal(read(pipes[0], &told, sizeof told), sizeof told);
        usleep((useconds_t)(1000 + mosa_rng_below(5, (uint64_t)crash, 60000)));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        while (read(pipes[0], &step, sizeof step) == sizeof step) told = step;
        close(pipes[0]);
        mosa_checkpoint *checkpoint = NULL;
        assert_int_equal(mosa_checkpoint_open_latest(run, &checkpoint, NULL), MOSA_OK);
        assert_in_range(mosa_checkpoint_step(checkpoint), told, told + 1);
        assert_restores(checkpoint);
        told = mosa_checkpoint_step(checkpoint);
        mosa_checkpoint_close(checkpoint);
    }
    mosa_checkpoint_saver_destroy(new_saver(2, 0)); // what the last crash left goes
    char command[160];
    snprintf(command, sizeof command, "test -z \"$(ls -A '%s' | grep part)\"", run);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_saved_comes_back, make_run, remove_run),
        cmocka_unit_test_setup_teardown(the_last_and_the_best_are_kept, make_run, remove_run),
        cmocka_unit_test_setup_teardown(damage_is_seen_and_passed_over, make_run, remove_run),
        cmocka_unit_test_setup_teardown(a_full_disk_leaves_the_earlier_ones, make_run, remove_run),
        cmocka_unit_test_setup_teardown(kill_9_at_any_instant_leaves_a_whole_one, make_run, remove_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
