// dtype table, half-float conversions over all bit patterns, and the byte arithmetic.
#include "tensor/dtype.h"
#include "tensor/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void every_row_of_the_table_is_complete(void **state) {
    (void)state;
    for (unsigned i = 0; i < MOSA_DTYPE_COUNT; i++) {
        const mosa_dtype_traits *traits = mosa_dtype_traits_of((mosa_dtype)i);
        mosa_dtype found;
        assert_non_null(traits->name);
        assert_true(traits->block_len > 0 && traits->block_bytes > 0);
        assert_true(mosa_dtype_from_name(traits->name, &found) && found == (mosa_dtype)i);
        assert_true(traits->ggml_type >= 0 || traits->st_name);
        if (traits->ggml_type >= 0)
            assert_true(mosa_dtype_from_ggml((uint32_t)traits->ggml_type, &found) && found == (mosa_dtype)i);
        if (traits->st_name) assert_true(mosa_dtype_from_st_name(traits->st_name, &found) && found == (mosa_dtype)i);
        assert_true(!traits->from_f32 || traits->to_f32);
    }
}

static void unknown_names_and_ids_are_not_found(void **state) {
    (void)state;
    mosa_dtype found = MOSA_Q6_K;
    assert_false(mosa_dtype_from_name("q9_z", &found));
    assert_false(mosa_dtype_from_ggml(4, &found));
    assert_false(mosa_dtype_from_ggml(UINT32_MAX, &found));
    assert_false(mosa_dtype_from_st_name("Q8_0", &found));
    assert_int_equal(found, MOSA_Q6_K);
    assert_true(mosa_dtype_from_name("Q4_K", &found) && found == MOSA_Q4_K);
}

static void bytes_refuse_partial_blocks_and_overflow(void **state) {
    (void)state;
    size_t bytes = 7;
    assert_true(mosa_dtype_bytes(MOSA_Q4_K, 512, &bytes) && bytes == 288);
    assert_true(mosa_dtype_bytes(MOSA_F32, 0, &bytes) && bytes == 0);
    assert_false(mosa_dtype_bytes(MOSA_Q4_K, 511, &bytes));
    assert_false(mosa_dtype_bytes(MOSA_F32, -1, &bytes));
    assert_false(mosa_dtype_bytes(MOSA_F32, INT64_MAX, &bytes));
    assert_true(mosa_dtype_bits(MOSA_Q4_K) == 4.5);
}

// The value of a half by its definition, in double.
static double f16_value(uint16_t half) {
    int exponent = half >> 10 & 31, mantissa = half & 1023;
    double magnitude = exponent == 31 ? (mantissa ? (double)NAN : (double)INFINITY)
                       : exponent     ? ldexp(1024 + mantissa, exponent - 25)
                                      : ldexp(mantissa, -24);
    return half & 0x8000 ? -magnitude : magnitude;
}

static void all_65536_half_floats_widen_exactly_and_come_back(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        uint16_t half = (uint16_t)bits;
        float f16 = mosa_f16_to_f32(half), bf16 = mosa_bf16_to_f32(half);
        bool f16_nan = (half & 0x7c00) == 0x7c00 && (half & 0x3ff);
        bool bf16_nan = (half & 0x7f80) == 0x7f80 && (half & 0x7f);
        if (f16_nan) {
            assert_true(isnan(f16) && isnan(mosa_f16_to_f32(mosa_f16_from_f32(f16))));
            assert_int_equal(mosa_f16_from_f32(f16), half | 0x200);
        } else {
            assert_true((double)f16 == f16_value(half) && !signbit(f16) == !(half >> 15));
            assert_int_equal(mosa_f16_from_f32(f16), half);
        }
        assert_int_equal(mosa_f32_bits(bf16), bits << 16);
        assert_int_equal(mosa_bf16_from_f32(bf16), bf16_nan ? half | 0x40 : half);
    }
}

static void narrowing_rounds_to_nearest_even(void **state) {
    (void)state;
    for (uint16_t half = 0; half < 0x7c00; half++) {
        // The midpoint of two neighbours is exact in f32; one ulp to either side must round away from it.
        float low = mosa_f16_to_f32(half), high = half == 0x7bff ? 65536.0f : mosa_f16_to_f32(half + 1);
        float middle = low + (high - low) / 2;
        uint16_t even = half & 1 ? half + 1 : half;
        assert_int_equal(mosa_f16_from_f32(middle), even);
        assert_int_equal(mosa_f16_from_f32(-middle), even | 0x8000);
        assert_int_equal(mosa_f16_from_f32(nextafterf(middle, 0)), half);
        assert_int_equal(mosa_f16_from_f32(nextafterf(middle, INFINITY)), half + 1);
    }
    for (uint32_t half = 0; half < 0x7f80; half++) {
        float middle = mosa_f32_from_bits(half << 16 | 0x8000);
        assert_int_equal(mosa_bf16_from_f32(middle), half & 1 ? half + 1 : half);
        assert_int_equal(mosa_bf16_from_f32(nextafterf(middle, 0)), half);
        assert_int_equal(mosa_bf16_from_f32(nextafterf(middle, INFINITY)), half + 1);
    }
    assert_int_equal(mosa_f16_from_f32(1e30f), 0x7c00);
    assert_int_equal(mosa_f16_from_f32(1e-30f), 0);
    assert_int_equal(mosa_f16_from_f32(-1e-30f), 0x8000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_of_the_table_is_complete),
        cmocka_unit_test(unknown_names_and_ids_are_not_found),
        cmocka_unit_test(bytes_refuse_partial_blocks_and_overflow),
        cmocka_unit_test(all_65536_half_floats_widen_exactly_and_come_back),
        cmocka_unit_test(narrowing_rounds_to_nearest_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
