// Loading the CUDA plugin: what is said when it is missing, broken or of another build, and that a good one is used.
#include "backend/cuda/cuda_loader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *plugin, const char *device, mosa_status status, const char *message) {
    mosa_backend *backend = NULL;
    mosa_error err = {0};
    if (plugin)
        (void)setenv("MOSA_CUDA_PLUGIN", plugin, 1);
    else
        (void)unsetenv("MOSA_CUDA_PLUGIN");
    assert_int_equal(mosa_backend_open(&(mosa_backend_options){device, 1}, &backend, &err), status);
    if (!strstr(err.message, message)) fail_msg("'%s' lacks '%s'", err.message, message);
    assert_null(backend);
}

static void a_missing_plugin_says_how_to_get_it(void **state) {
    (void)state;
    expect(NULL, "cuda", MOSA_EUNAVAILABLE, "libmosa_cuda.so is neither beside this program nor in its ../lib");
    expect("/nowhere/plugin.so", "cuda", MOSA_EUNAVAILABLE, "/nowhere/plugin.so");
    mosa_error err = {0};
    mosa_cuda_device device;
    int n = -1;
    (void)unsetenv("MOSA_CUDA_PLUGIN");
    assert_int_equal(mosa_cuda_list(&device, 1, &n, NULL, &err), MOSA_EUNAVAILABLE);
    assert_non_null(strstr(err.hint, "make gpu"));
    assert_int_equal(n, -1);
    assert_int_equal(mosa_cuda_list(&device, 1, &n, NULL, NULL), MOSA_EUNAVAILABLE);
}

static void a_plugin_that_is_none_of_ours_is_refused(void **state) {
    (void)state;
    expect(FAKE_SYMBOL, "cuda", MOSA_EUNAVAILABLE, "is no plugin of this version");
    expect(FAKE_VERSION, "cuda:0", MOSA_EUNAVAILABLE, "its interface differs");
    expect(FAKE_LAYOUT, "cuda", MOSA_EUNAVAILABLE, "its structs differ");
}

static void a_good_plugin_is_loaded_once_and_asked(void **state) {
    (void)state;
    expect(FAKE_GOOD, "cuda", MOSA_EUNAVAILABLE, "no driver");
    expect("/nowhere/plugin.so", "cuda:3", MOSA_ENOTFOUND, "no device 3");
    expect(NULL, "cuda:", MOSA_EUNAVAILABLE, "no driver");
    static const char *const bad[] = {"cuda:x", "cuda:1x", "cuda:-1", "cuda: 1", "cuda:99999999999"};
    for (size_t i = 0; i < MOSA_COUNT(bad); i++) expect(NULL, bad[i], MOSA_ENOTFOUND, bad[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_plugin_says_how_to_get_it),
        cmocka_unit_test(a_plugin_that_is_none_of_ours_is_refused),
        cmocka_unit_test(a_good_plugin_is_loaded_once_and_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
