// The list of GPUs from a management library: what it tells, what it lacks, and none at all.
#include "backend/cuda/nvml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void a_machine_without_a_driver_has_no_gpus(void **state) {
    (void)state;
    mosa_error err;
    mosa_gpus gpus;
    assert_int_equal(mosa_gpus_list("libmosa-no-such-driver.so.1", &gpus, &err), MOSA_ENOTFOUND);
    assert_non_null(strstr(err.message, "no NVIDIA driver: "));
    assert_non_null(strstr(err.message, "libmosa-no-such-driver.so.1"));
}

static void cards_are_told_with_what_the_driver_knows_of_each(void **state) {
    (void)state;
    mosa_error err;
    mosa_gpus gpus;
    assert_int_equal(mosa_gpus_list(MOSA_FAKE_NVML, &gpus, &err), MOSA_OK);
    assert_string_equal(gpus.driver, "580.159.04");
    assert_int_equal(gpus.cuda_major, 13);
    assert_int_equal(gpus.cuda_minor, 0);
    assert_int_equal(gpus.count, 2);
    assert_string_equal(gpus.gpus[1].name, "Test Card 1");
    assert_int_equal(gpus.gpus[1].index, 1);
    assert_int_equal(gpus.gpus[0].capability_major, 9);
    assert_int_equal(gpus.gpus[1].capability_major, 7);
    assert_true(gpus.gpus[0].memory_bytes == 80ull << 30 && gpus.gpus[1].free_bytes == 61ull << 30);
    assert_true(gpus.gpus[0].power_watts == 71.5);
    assert_true(gpus.gpus[1].power_watts == -1);            // that card refuses
    assert_int_equal(gpus.gpus[0].temperature_celsius, -1); // the library has no such function
    assert_string_equal(gpus.gpus[0].uuid, "");
}

static void a_driver_that_does_not_start_says_why(void **state) {
    (void)state;
    mosa_error err;
    mosa_gpus gpus;
    setenv("FAKE_NVML", "broken", 1);
    assert_int_equal(mosa_gpus_list(MOSA_FAKE_NVML, &gpus, &err), MOSA_EUNAVAILABLE);
    unsetenv("FAKE_NVML");
    assert_non_null(strstr(err.message, "Driver/library version mismatch"));
}

static void a_library_without_the_functions_is_an_old_driver(void **state) {
    (void)state;
    mosa_error err;
    mosa_gpus gpus;
    assert_int_equal(mosa_gpus_list("libm.so.6", &gpus, &err), MOSA_EUNAVAILABLE);
    assert_non_null(strstr(err.message, "lacks nvmlInit_v2: the NVIDIA driver is older than 450"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_without_a_driver_has_no_gpus),
        cmocka_unit_test(cards_are_told_with_what_the_driver_knows_of_each),
        cmocka_unit_test(a_driver_that_does_not_start_says_why),
        cmocka_unit_test(a_library_without_the_functions_is_an_old_driver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
