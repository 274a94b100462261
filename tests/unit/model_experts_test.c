// Expert weights from Hugging Face folders: one tensor per expert stays where it is, what gpt-oss transposes,
// interleaves or packs is made as EXPERT_LINEAR wants it, and folders that lie are refused by name.
#include "codec/safetensors_writer.h"
#include "model/experts.h"
#include "tensor/quant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { EXPERTS = 3, ROWS = 4, WIDTH = 64 };

static char folder[] = "/tmp/mosa-experts-XXXXXX";

static void must(mosa_status status, const mosa_error *err) {
    if (status != MOSA_OK) fail_msg("%s", err->message);
}

static void write_config(const char *type) {
    char path[64];
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "{\"model_type\": \"%s\"}", type);
    fclose(file);
}

typedef struct file_tensor {
    const char *name;
    mosa_dtype dtype;
    uint32_t n_dims;
    int64_t dims[4];
    const void *data;
} file_tensor;

// A folder of these tensors, opened.
static mosa_model_source *source_of(const char *type, const file_tensor *tensors, int count) {
    mosa_error err;
    mosa_safetensors_writer *w;
    mosa_model_source *source;
    write_config(type);
    must(mosa_safetensors_writer_create(folder, 0, &w, &err), &err);
    for (int i = 0; i < count; i++)
        must(mosa_safetensors_writer_add_tensor(w, tensors[i].name, tensors[i].dtype, tensors[i].n_dims,
                                                tensors[i].dims, &err),
             &err);
    must(mosa_safetensors_writer_begin(w, &err), &err);
    for (int i = 0; i < count; i++) {
        int64_t elements = 1;
        size_t bytes;
        for (uint32_t d = 0; d < tensors[i].n_dims; d++) elements *= tensors[i].dims[d];
        assert_true(mosa_dtype_bytes(tensors[i].dtype, elements, &bytes));
        must(mosa_safetensors_writer_write(w, tensors[i].data, bytes, &err), &err);
    }
    must(mosa_safetensors_writer_commit(w, &err), &err);
    mosa_safetensors_writer_destroy(w);
    must(mosa_model_source_open(folder, &source, &err), &err);
    return source;
}

static float numbers[EXPERTS * 2 * ROWS * WIDTH];

#define EXPERT(e, rows)                                                                                                \
    { "model.layers.0.mlp.experts." #e ".gate_proj.weight", MOSA_F32, 2, {rows, WIDTH}, numbers + e *ROWS *WIDTH }

static void one_tensor_per_expert_stays_where_it_is(void **state) {
    (void)state;
    const file_tensor tensors[] = {EXPERT(0, ROWS), EXPERT(1, ROWS), EXPERT(2, ROWS)};
    mosa_model_source *source = source_of("qwen3_moe", tensors, 3);
    mosa_arena arena;
    mosa_expert_stack stack;
    mosa_error err;
    mosa_arena_init(&arena, 0, 0);
    must(mosa_experts_find(source, &arena, MOSA_W_EXPERT_GATE, 0, EXPERTS, &stack, &err), &err);
    assert_true(stack.found && !stack.how.make);
    assert_int_equal(stack.view.n_dims, 3);
    assert_int_equal(stack.view.n_elements, EXPERTS * ROWS * WIDTH);
    for (int e = 0; e < EXPERTS; e++)
        assert_memory_equal(stack.view.parts[e], numbers + e * ROWS * WIDTH, ROWS * WIDTH * sizeof(float));
    must(mosa_experts_find(source, &arena, MOSA_W_EXPERT_UP, 0, EXPERTS, &stack, &err), &err);
    assert_false(stack.found);
    // A fourth expert that the configuration might ask for.
    assert_int_equal(mosa_experts_find(source, &arena, MOSA_W_EXPERT_GATE, 0, 4, &stack, &err), MOSA_ECORRUPT);
    assert_non_null(strstr(err.message, "layer 0: ffn_gate_exps of expert 3 is missing"));
    mosa_arena_finish(&arena);
    mosa_model_source_close(source);
}

static void unlike_experts_are_refused(void **state) {
    (void)state;
    const file_tensor tensors[] = {EXPERT(0, ROWS), EXPERT(1, ROWS - 1), EXPERT(2, ROWS)};
    mosa_model_source *source = source_of("qwen3_moe", tensors, 3);
    mosa_arena arena;
    mosa_expert_stack stack;
    mosa_error err;
    mosa_arena_init(&arena, 0, 0);
    assert_int_equal(mosa_experts_find(source, &arena, MOSA_W_EXPERT_GATE, 0, EXPERTS, &stack, &err), MOSA_ECORRUPT);
    assert_non_null(strstr(err.message, "expert 1 is not a matrix like that of expert 0"));
    mosa_arena_finish(&arena);
    mosa_model_source_close(source);
}

// Makes the stack of a slot and gives its values in f32.
static void make(const mosa_model_source *source, mosa_weight_slot slot, float *values) {
    mosa_arena arena;
    mosa_expert_stack stack;
    mosa_error err;
    mosa_arena_init(&arena, 0, 0);
    must(mosa_experts_find(source, &arena, slot, 0, EXPERTS, &stack, &err), &err);
    assert_true(stack.found && stack.how.make && !stack.view.data);
    unsigned char *bytes = malloc(stack.view.bytes);
    stack.how.make(&stack.how, &stack.view, bytes);
    mosa_dtype_traits_of(stack.view.dtype)->to_f32(bytes, values, stack.view.n_elements);
    free(bytes);
    mosa_arena_finish(&arena);
}

static void transposed_rows_are_turned_and_parted(void **state) {
    (void)state;
    const file_tensor tensors[] = {
        {"model.layers.0.mlp.experts.gate_up_proj", MOSA_F32, 3, {EXPERTS, WIDTH, 2 * ROWS}, numbers},
        {"model.layers.0.mlp.experts.gate_up_proj_bias", MOSA_F32, 2, {EXPERTS, 2 * ROWS}, numbers}};
    mosa_model_source *source = source_of("gpt_oss", tensors, 2);
    static const mosa_weight_slot slots[] = {MOSA_W_EXPERT_GATE, MOSA_W_EXPERT_UP}; // even rows, odd rows
    static const mosa_weight_slot biases[] = {MOSA_W_EXPERT_GATE_BIAS, MOSA_W_EXPERT_UP_BIAS};
    float values[EXPERTS * ROWS * WIDTH], bias[EXPERTS * ROWS];
    for (int odd = 0; odd < 2; odd++) {
        make(source, slots[odd], values);
        make(source, biases[odd], bias);
        for (int e = 0; e < EXPERTS; e++)
            for (int n = 0; n < ROWS; n++) {
                assert_true(bias[e * ROWS + n] == numbers[e * 2 * ROWS + 2 * n + odd]);
                for (int i = 0; i < WIDTH; i++)
                    assert_true(values[(e * ROWS + n) * WIDTH + i] ==
                                numbers[(e * WIDTH + i) * 2 * ROWS + 2 * n + odd]);
            }
    }
    mosa_model_source_close(source);
}

static void packed_blocks_keep_their_values(void **state) {
    (void)state;
    enum { BLOCKS = WIDTH / 32, BYTES = EXPERTS * 2 * ROWS * BLOCKS * 16 };
    static unsigned char blocks[BYTES], scales[BYTES / 16];
    for (int i = 0; i < BYTES; i++) blocks[i] = (unsigned char)(i * 37 + i / 50);
    for (int i = 0; i < BYTES / 16; i++) scales[i] = (unsigned char)(120 + i % 16);
    const file_tensor tensors[] = {
        {"model.layers.0.mlp.experts.gate_up_proj_blocks", MOSA_U8, 4, {EXPERTS, 2 * ROWS, BLOCKS, 16}, blocks},
        {"model.layers.0.mlp.experts.gate_up_proj_scales", MOSA_U8, 3, {EXPERTS, 2 * ROWS, BLOCKS}, scales}};
    mosa_model_source *source = source_of("gpt_oss", tensors, 2);
    static const double levels[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6};
    float values[EXPERTS * ROWS * WIDTH];
    make(source, MOSA_W_EXPERT_UP, values);
    for (int i = 0; i < EXPERTS * ROWS * WIDTH; i++) {
        int row = i / WIDTH / ROWS * 2 * ROWS + i / WIDTH % ROWS * 2 + 1, block = row * BLOCKS + i % WIDTH / 32;
        int level = blocks[block * 16 + i % 32 / 2] >> 4 * (i % 2) & 15;
        double power = 1;
        for (int p = scales[block]; p != 127; p += p < 127 ? 1 : -1) power *= p < 127 ? 0.5 : 2;
        assert_true((double)values[i] == levels[level] * power);
    }
    mosa_model_source_close(source);
}

static void fused_tensors_that_do_not_fit_are_refused(void **state) {
    (void)state;
    static unsigned char bytes[4096];
    const file_tensor wrong[][2] = {
        {{"model.layers.0.mlp.experts.gate_up_proj", MOSA_F32, 3, {1, 8, 3}, numbers}}, // an odd number of rows
        {{"model.layers.0.mlp.experts.gate_up_proj", MOSA_F32, 2, {8, 4}, numbers}},
        {{"model.layers.0.mlp.experts.gate_up_proj_blocks", MOSA_U8, 4, {1, 2, 1, 16}, bytes}}, // no scales
        {{"model.layers.0.mlp.experts.gate_up_proj_blocks", MOSA_U8, 4, {1, 2, 1, 16}, bytes},
         {"model.layers.0.mlp.experts.gate_up_proj_scales", MOSA_U8, 3, {1, 2, 2}, bytes}},
        {{"model.layers.0.mlp.experts.gate_up_proj_blocks", MOSA_U8, 4, {1, 2, 1, 15}, bytes},
         {"model.layers.0.mlp.experts.gate_up_proj_scales", MOSA_U8, 3, {1, 2, 1}, bytes}}};
    for (size_t i = 0; i < MOSA_COUNT(wrong); i++) {
        mosa_model_source *source = source_of("gpt_oss", wrong[i], wrong[i][1].name ? 2 : 1);
        mosa_arena arena;
        mosa_expert_stack stack;
        mosa_error err;
        mosa_arena_init(&arena, 0, 0);
        assert_int_equal(mosa_experts_find(source, &arena, MOSA_W_EXPERT_GATE, 0, 1, &stack, &err), MOSA_ECORRUPT);
        assert_non_null(strstr(err.message, "gate_up_proj"));
        mosa_arena_finish(&arena);
        mosa_model_source_close(source);
    }
}

static int make_folder(void **state) {
    (void)state;
    for (size_t i = 0; i < MOSA_COUNT(numbers); i++) numbers[i] = (float)i * 0.25f - 17;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    static const char *const files[] = {"config.json", "model.safetensors"};
    char path[64];
    for (size_t i = 0; i < MOSA_COUNT(files); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_tensor_per_expert_stays_where_it_is),   cmocka_unit_test(unlike_experts_are_refused),
        cmocka_unit_test(transposed_rows_are_turned_and_parted),     cmocka_unit_test(packed_blocks_keep_their_values),
        cmocka_unit_test(fused_tensors_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
