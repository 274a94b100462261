// LoRA adapter files: what is read from them, and what is refused by which name.
#include "model/adapter_file.h"

#include "codec/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANK = 2, WIDTH = 4, BYTES = 4 * RANK * WIDTH };

#define Q "base_model.model.model.layers.1.self_attn.q_proj.lora_"

// A safetensors file of F32 tensors, each RANK x WIDTH when its name has "lora_A", else WIDTH x RANK.
static size_t make_tensors(char *out, size_t capacity, const char *const *names, int n) {
    char header[4096] = "{";
    size_t used = 1;
    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(header + used, sizeof header - used,
                                 "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[%d,%d]}",
                                 i ? "," : "", names[i], strstr(names[i], "lora_A") ? RANK : WIDTH,
                                 strstr(names[i], "lora_A") ? WIDTH : RANK, i * BYTES, (i + 1) * BYTES);
    header[used++] = '}';
    assert_true(8 + used + (size_t)n * BYTES <= capacity);
    uint64_t len = used;
    memcpy(out, &len, 8);
    memcpy(out + 8, header, used);
    memset(out + 8 + used, 0, (size_t)n * BYTES);
    return 8 + used + (size_t)n * BYTES;
}

static char tensors[8192];

static mosa_status parse(const char *fields, const char *const *names, int n, mosa_adapter_file **file,
                         mosa_error *err) {
    char config[1024];
    snprintf(config, sizeof config, "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":6%s}", fields);
    size_t len = make_tensors(tensors, sizeof tensors, names, n);
    return mosa_adapter_file_parse_peft(mosa_slice_of(config), tensors, len, "the/adapter", file, err);
}

static const char *const pair[] = {Q "A.weight", Q "B.weight"};

static float scale_with(const char *fields) {
    mosa_adapter_file *file;
    mosa_error err;
    if (parse(fields, pair, 2, &file, &err) != MOSA_OK) fail_msg("%s: %s", fields, err.message);
    assert_int_equal(mosa_adapter_file_count(file), 1);
    const mosa_adapter_pair *one = mosa_adapter_file_at(file, 0);
    assert_int_equal(one->slot, MOSA_W_ATTN_Q);
    assert_int_equal(one->layer, 1);
    assert_int_equal(one->a->dims[1], WIDTH);
    float scale = one->scale;
    mosa_adapter_file_close(file);
    return scale;
}

static void scale_follows_alpha_rank_and_patterns(void **state) {
    (void)state;
    assert_float_equal(scale_with(""), 3, 0);
    assert_float_equal(scale_with(",\"use_rslora\":true"), 6 / sqrtf(2), 1e-6);
    assert_float_equal(scale_with(",\"bias\":\"none\",\"use_dora\":false,\"modules_to_save\":null"), 3, 0);
    assert_float_equal(scale_with(",\"alpha_pattern\":{\"v_proj\":9,\"q_proj\":1}"), 0.5f, 0);
    assert_float_equal(scale_with(",\"alpha_pattern\":{\"model.layers.1.self_attn.q_proj\":1}"), 0.5f, 0);
    assert_float_equal(scale_with(",\"alpha_pattern\":{\"^self_attn.q_proj\":1}"), 3, 0); // not the whole path
    assert_float_equal(scale_with(",\"alpha_pattern\":{\"_proj\":1}"), 3, 0);             // no end behind a dot
    assert_float_equal(scale_with(",\"rank_pattern\":{\"q_proj\":2,\"k_proj\":8}"), 3, 0);
}

static void expect_refusal(const char *fields, const char *const *names, int n, mosa_status status, const char *word) {
    mosa_adapter_file *file;
    mosa_error err = {0};
    assert_int_equal(parse(fields, names, n, &file, &err), status);
    if (!strstr(err.message, word)) fail_msg("'%s' does not name %s", err.message, word);
    if (!strstr(err.message, "the/adapter")) fail_msg("'%s' does not name the file", err.message);
}

static void what_is_not_plain_lora_is_refused_by_name(void **state) {
    (void)state;
    static const char *const fields[][2] = {{",\"use_dora\":true", "use_dora"},
                                            {",\"bias\":\"all\"", "bias"},
                                            {",\"fan_in_fan_out\":true", "fan_in_fan_out"},
                                            {",\"modules_to_save\":[\"lm_head\"]", "modules_to_save"},
                                            {",\"target_parameters\":[\"w\"]", "target_parameters"},
                                            {",\"trainable_token_indices\":[1]", "trainable_token_indices"},
                                            {",\"init_lora_weights\":\"pissa_niter_4\"", "pissa"},
                                            {",\"rank_pattern\":{\"layers.(0|1).x\":2}", "regular expression"}};

    for (size_t i = 0; i < MOSA_COUNT(fields); i++)
        expect_refusal(fields[i][0], pair, 2, MOSA_EUNSUPPORTED, fields[i][1]);
    static const char *const extras[] = {Q "magnitude_vector", "base_model.model.model.embed_tokens.lora_embedding_A",
                                         "base_model.model.model.layers.0.other.lora_A.weight", "stray.lora_A.weight"};
    for (size_t i = 0; i < MOSA_COUNT(extras); i++) {
        const char *const names[] = {pair[0], pair[1], extras[i]};
        expect_refusal("", names, 3, MOSA_EUNSUPPORTED, extras[i]);
    }
}

static void broken_files_are_refused_with_the_tensor(void **state) {
    (void)state;
    expect_refusal(",\"rank_pattern\":{\"q_proj\":4}", pair, 2, MOSA_ECORRUPT, Q "A.weight");
    expect_refusal("", pair, 1, MOSA_ECORRUPT, Q "B.weight");
    expect_refusal("", pair + 1, 1, MOSA_ECORRUPT, "tensors");
    expect_refusal(",\"rank_pattern\":{\"q_proj\":-1}", pair, 2, MOSA_EINVALID, "rank_pattern");
    expect_refusal(",\"use_rslora\":\"yes\"", pair, 2, MOSA_EINVALID, "use_rslora");
    // One weight by two spellings of its module.
    const char *const twice[] = {pair[0], pair[1], "base_model.model.layers.1.self_attn.q_proj.lora_A.weight",
                                 "base_model.model.layers.1.self_attn.q_proj.lora_B.weight"};
    expect_refusal("", twice, 4, MOSA_ECORRUPT, "same weight");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scale_follows_alpha_rank_and_patterns),
        cmocka_unit_test(what_is_not_plain_lora_is_refused_by_name),
        cmocka_unit_test(broken_files_are_refused_with_the_tensor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
