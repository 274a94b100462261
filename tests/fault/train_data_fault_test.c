// Out of memory while training data is prepared, loaded and cleaned: an error, no crash, no leak, no half-written file.
#include "base/pool.h"
#include "fault.h"
#include "train/data/dedup.h"
#include "train/data/loader.h"
#include "train/data/prepare.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/mosa_fault_XXXXXX";
static char data_path[64], store_path[64], out_path[64];

typedef struct fixture {
    mosa_model_text *text;
    mosa_pool *pool;
} fixture;

static fixture open_fixture(void) {
    fixture f;
    mosa_error err;
    assert_int_equal(mosa_model_text_open(MOSA_SOURCE_ROOT "/examples/mosa-tiny.gguf", NULL, &f.text, &err), MOSA_OK);
    assert_int_equal(mosa_pool_create(1, &f.pool, &err), MOSA_OK);
    return f;
}

static void close_fixture(fixture *f) {
    mosa_pool_destroy(f->pool);
    mosa_model_text_close(f->text);
}

static mosa_status prepare_operation(void *user, mosa_error *err) {
    const fixture *f = user;
    const char *path = data_path;
    mosa_prepare_options o = {.paths = &path, .n_paths = 1};
    unlink(store_path);
    mosa_status status = mosa_data_prepare(&o, f->text, f->pool, store_path, NULL, err);
    // A file that is there is whole, even when its folder could not be synced.
    mosa_store *store = NULL;
    if (access(store_path, F_OK) == 0) assert_int_not_equal(mosa_store_open(store_path, &store, NULL), MOSA_ECORRUPT);
    mosa_store_close(store);
    return status;
}

static void preparing(void **state) {
    (void)state;
    fixture f = open_fixture();
    fault_run_json("prepare", prepare_operation, &f);
    close_fixture(&f);
}

static mosa_status load_operation(void *user, mosa_error *err) {
    (void)user;
    mosa_store *store;
    mosa_loader *loader = NULL;
    mosa_data_batch batch;
    mosa_loader_options o = {.max_rows = 200, .shuffle = true};
    MOSA_TRY(mosa_store_open(store_path, &store, err));
    mosa_status status = mosa_loader_create((const mosa_store *[]){store}, 1, &o, &loader, err);
    for (int i = 0; i < 5 && status == MOSA_OK; i++) status = mosa_loader_next(loader, &batch, err);
    mosa_loader_destroy(loader);
    mosa_store_close(store);
    return status;
}

static void loading(void **state) {
    (void)state;
    fixture f = open_fixture();
    mosa_error err;
    assert_int_equal(prepare_operation(&f, &err), MOSA_OK);
    close_fixture(&f);
    fault_run("load", load_operation, NULL);
}

static mosa_status dedup_operation(void *user, mosa_error *err) {
    const fixture *f = user;
    const char *path = data_path;
    mosa_dedup_options o = {.paths = &path,
                            .n_paths = 1,
                            .near = true,
                            .threshold = 0.8,
                            .permutations = 32,
                            .words = 3,
                            .memory_bytes = 1};
    return mosa_data_dedup(&o, f->pool, out_path, NULL, err);
}

static void cleaning(void **state) {
    (void)state;
    fixture f = open_fixture();
    fault_run_json("dedup", dedup_operation, &f);
    close_fixture(&f);
}

static int set_up(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return 1;
    (void)snprintf(data_path, sizeof data_path, "%s/data.jsonl", folder);
    (void)snprintf(store_path, sizeof store_path, "%s/data.store", folder);
    (void)snprintf(out_path, sizeof out_path, "%s/out.jsonl", folder);
    FILE *file = fopen(data_path, "w");
    if (!file) return 1;
    fputs("{\"id\":\"a\",\"prompt\":[{\"role\":\"user\",\"content\":\"What is 2+2?\"}],\"chosen\":[{\"role\":"
          "\"assistant\",\"content\":\"It is 4.\"}],\"rejected\":[{\"role\":\"assistant\",\"content\":\"5\"}]}\n"
          "{\"id\":\"b\",\"prompt\":\"Sky?\",\"chosen\":\" Blue.\",\"rejected\":\" Green.\"}\n",
          file);
    return fclose(file);
}

static int tear_down(void **state) {
    (void)state;
    char command[300];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void) {
    fault_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preparing),
        cmocka_unit_test(loading),
        cmocka_unit_test(cleaning),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
