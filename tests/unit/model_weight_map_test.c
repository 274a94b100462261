// The weight-name table both ways, and the order of rotary rows.
#include "model/weight_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void every_name_is_parsed_back_to_its_slot_and_layer(void **state) {
    (void)state;
    static const int layers[] = {0, 7, 31, MOSA_WEIGHT_LAYERS_MAX - 1};
    static const char *const archs[] = {NULL, "mixtral", "qwen2_moe", "gpt-oss"};
    for (unsigned naming = 0; naming < MOSA_NAMING_COUNT; naming++) {
        for (unsigned slot = 0; slot < MOSA_W_COUNT; slot++) {
            for (size_t i = 0; i < 4; i++) {
                char name[MOSA_WEIGHT_NAME_MAX];
                mosa_weight_slot found;
                int layer, expert, expert_given = -1;
                const mosa_weight_info *info = mosa_weight_info_of((mosa_weight_slot)slot);
                const char *arch = archs[i];
                if (!(naming == MOSA_NAMING_GGUF ? info->gguf : info->hf)) {
                    assert_false(mosa_weight_name((mosa_naming)naming, arch, (mosa_weight_slot)slot, 0, name));
                    continue;
                }
                if (!mosa_weight_name((mosa_naming)naming, arch, (mosa_weight_slot)slot, layers[i], name)) {
                    expert_given = 2 * (int)i;
                    assert_true(mosa_weight_expert_name((mosa_naming)naming, arch, (mosa_weight_slot)slot, layers[i],
                                                        expert_given, name));
                }
                assert_true(mosa_weight_parse((mosa_naming)naming, arch, name, &found, &layer, &expert));
                assert_int_equal(found, slot);
                assert_int_equal(layer, info->per_layer ? layers[i] : -1);
                assert_int_equal(expert, expert_given);
            }
        }
    }
}

static void names_are_spelled_as_the_formats_do(void **state) {
    (void)state;
    char name[MOSA_WEIGHT_NAME_MAX];
    assert_true(mosa_weight_name(MOSA_NAMING_GGUF, NULL, MOSA_W_ATTN_Q, 3, name));
    assert_string_equal(name, "blk.3.attn_q.weight");
    assert_true(mosa_weight_name(MOSA_NAMING_HF, NULL, MOSA_W_ATTN_Q, 3, name));
    assert_string_equal(name, "model.layers.3.self_attn.q_proj.weight");
    assert_true(mosa_weight_name(MOSA_NAMING_HF_BASE, NULL, MOSA_W_FFN_NORM, 3, name));
    assert_string_equal(name, "layers.3.post_attention_layernorm.weight");
    assert_true(mosa_weight_name(MOSA_NAMING_HF_BASE, NULL, MOSA_W_OUTPUT, -1, name));
    assert_string_equal(name, "lm_head.weight");
    assert_false(mosa_weight_name(MOSA_NAMING_GGUF, NULL, MOSA_W_ATTN_Q, -1, name));
    assert_false(mosa_weight_name(MOSA_NAMING_GGUF, NULL, MOSA_W_ATTN_Q, MOSA_WEIGHT_LAYERS_MAX, name));
    assert_true(mosa_weight_name(MOSA_NAMING_GGUF, NULL, MOSA_W_EXPERT_UP, 3, name));
    assert_string_equal(name, "blk.3.ffn_up_exps.weight");
    assert_true(mosa_weight_expert_name(MOSA_NAMING_HF, NULL, MOSA_W_EXPERT_UP, 3, 17, name));
    assert_string_equal(name, "model.layers.3.mlp.experts.17.up_proj.weight");
    assert_true(mosa_weight_expert_name(MOSA_NAMING_HF, "mixtral", MOSA_W_EXPERT_UP, 3, 0, name));
    assert_string_equal(name, "model.layers.3.block_sparse_moe.experts.0.w3.weight");
    assert_true(mosa_weight_name(MOSA_NAMING_HF_BASE, "gemma2", MOSA_W_FFN_NORM, 3, name));
    assert_string_equal(name, "layers.3.pre_feedforward_layernorm.weight");
    assert_true(mosa_weight_name(MOSA_NAMING_GGUF, "phi3", MOSA_W_FFN_GATE_UP, 3, name));
    assert_string_equal(name, "blk.3.ffn_up.weight");
    assert_false(mosa_weight_expert_name(MOSA_NAMING_HF, NULL, MOSA_W_EXPERT_UP, 3, -1, name));
    assert_false(mosa_weight_expert_name(MOSA_NAMING_GGUF, NULL, MOSA_W_EXPERT_UP, 3, 0, name));
}

static void names_that_only_look_alike_are_not_found(void **state) {
    (void)state;
    static const char *const names[] = {"",
                                        "blk.attn_q.weight",
                                        "blk..attn_q.weight",
                                        "blk.03.attn_q.weight",
                                        "blk.-1.attn_q.weight",
                                        "blk.99999999999.attn_q.weight",
                                        "blk.3.attn_q.weight.x",
                                        "model.layers.3.self_attn.q_proj.weight"};
    mosa_weight_slot slot;
    int layer, expert;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_false(mosa_weight_parse(MOSA_NAMING_GGUF, NULL, names[i], &slot, &layer, &expert));
    assert_true(mosa_weight_ignored(MOSA_NAMING_HF, "model.layers.0.self_attn.rotary_emb.inv_freq"));
    assert_false(mosa_weight_ignored(MOSA_NAMING_HF, "model.norm.weight"));
}

static void rotary_rows_pair_halves_with_neighbours(void **state) {
    (void)state;
    static const int64_t to_gguf[16] = {0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15}; // two heads of 8
    for (int64_t row = 0; row < 16; row++) {
        assert_int_equal(mosa_weight_rotary_row(row, 8, true), to_gguf[row]);
        assert_int_equal(mosa_weight_rotary_row(mosa_weight_rotary_row(row, 8, true), 8, false), row);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_is_parsed_back_to_its_slot_and_layer),
        cmocka_unit_test(names_are_spelled_as_the_formats_do),
        cmocka_unit_test(names_that_only_look_alike_are_not_found),
        cmocka_unit_test(rotary_rows_pair_halves_with_neighbours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
