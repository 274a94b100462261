// mosa convert: a small llama model goes to a folder and back unchanged, and into other types.
#include "base/file.h"
#include "cli/command.h"
#include "codec/gguf_writer.h"
#include "codec/json.h"
#include "codec/safetensors.h"
#include "model/weight_map.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { WIDTH = 64, HEADS = 4, KV_HEADS = 2, HEAD = 16, FFN = 96, LAYERS = 2, VOCAB = 8, EXPERTS = 4 };

static char folder[64], paths[8][128];

static const char *in_folder(const char *name) {
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/mosa-convert-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static void remove_all(const char *path) {
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char *child = mosa_path_join(path, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && unlink(child) != 0)
            remove_all(child);
        free(child);
    }
    if (dir) closedir(dir);
    rmdir(path);
}

static int remove_folder(void **state) {
    (void)state;
    remove_all(folder);
    return 0;
}

// Runs the command as main does. The arguments end with NULL.
static mosa_status convert(mosa_error *err, const char *first, ...) {
    const mosa_command *command = mosa_command_find("convert");
    const char *arguments[16] = {first};
    mosa_option_sources sources = {.argc = 1, .argv = arguments};
    mosa_arena arena;
    mosa_command_call call = {.arena = &arena};
    va_list rest;
    va_start(rest, first);
    while ((arguments[sources.argc] = va_arg(rest, const char *))) sources.argc++;
    va_end(rest);
    mosa_arena_init(&arena, 0, 0);
    void *values = mosa_arena_alloc(&arena, command->values_bytes);
    mosa_status status = mosa_options_read(command->options, &sources, &arena, values, &call.arguments, err);
    call.values = values;
    if (status == MOSA_OK) status = command->run(&call, err);
    mosa_arena_finish(&arena);
    return status;
}

static void must(mosa_status status, const mosa_error *err) {
    if (status != MOSA_OK) fail_msg("%s", err->message);
}

static void slot_dims(mosa_weight_slot slot, int64_t dims[3], uint32_t *n_dims) {
    static const struct {
        mosa_weight_slot slot;
        int64_t rows, columns;
    } shapes[] = {{MOSA_W_TOKEN_EMBD, VOCAB, WIDTH},
                  {MOSA_W_OUTPUT, VOCAB, WIDTH},
                  {MOSA_W_ATTN_Q, HEADS * HEAD, WIDTH},
                  {MOSA_W_ATTN_K, KV_HEADS * HEAD, WIDTH},
                  {MOSA_W_ATTN_V, KV_HEADS * HEAD, WIDTH},
                  {MOSA_W_ATTN_OUT, WIDTH, HEADS * HEAD},
                  {MOSA_W_FFN_GATE, FFN, WIDTH},
                  {MOSA_W_FFN_UP, FFN, WIDTH},
                  {MOSA_W_FFN_DOWN, WIDTH, FFN}};
    static const mosa_weight_slot stacks[] = {MOSA_W_EXPERT_GATE, MOSA_W_EXPERT_UP, MOSA_W_EXPERT_DOWN};
    dims[0] = slot == MOSA_W_ROPE_FREQS ? HEAD / 2 : WIDTH, dims[1] = 1, dims[2] = 1, *n_dims = 1;
    if (slot == MOSA_W_ROUTER) dims[0] = EXPERTS, dims[1] = WIDTH, *n_dims = 2;
    for (size_t i = 0; i < MOSA_COUNT(stacks); i++)
        if (stacks[i] == slot) {
            dims[0] = EXPERTS, *n_dims = 3;
            dims[1] = slot == MOSA_W_EXPERT_DOWN ? WIDTH : FFN, dims[2] = slot == MOSA_W_EXPERT_DOWN ? FFN : WIDTH;
        }
    for (size_t i = 0; i < MOSA_COUNT(shapes); i++)
        if (shapes[i].slot == slot) dims[0] = shapes[i].rows, dims[1] = shapes[i].columns, *n_dims = 2;
}

// The model that write_model makes is a llama, or a mixtral, which GGUF calls a llama too.
static bool with_experts;

static bool slot_used(mosa_weight_slot slot) {
    if (slot == MOSA_W_ROPE_SHORT || slot == MOSA_W_ROPE_LONG) return false; // of phi3
    if (slot >= MOSA_W_FFN_GATE && slot <= MOSA_W_FFN_DOWN) return !with_experts;
    if (slot > MOSA_W_FFN_DOWN_BIAS)
        return with_experts && (slot == MOSA_W_ROUTER || (slot >= MOSA_W_EXPERT_GATE && slot <= MOSA_W_EXPERT_DOWN));
    return !strstr(mosa_weight_info_of(slot)->label, "bias") && slot != MOSA_W_ATTN_Q_NORM &&
           slot != MOSA_W_ATTN_K_NORM;
}

// Divisors of llama3 scaling by 8 over a context of 64 with base 10000 and heads of 16.
static float rope_divisor(int i) {
    double wave = 2 * M_PI * pow(10000, i / 8.0), blend = (64 / wave - 1) / 3;
    return (float)(wave < 16 ? 1 : wave > 64 ? 8 : 1 / ((1 - blend) / 8 + blend));
}

static void put_vocabulary(mosa_gguf_writer *w) {
    static const mosa_slice tokens[VOCAB] = {{"a", 1},  {"b", 1},       {"ab", 2},      {"Ġ", 2},
                                             {"Ġa", 3}, {"<|bos|>", 7}, {"<|eos|>", 7}, {"[PAD7]", 6}};
    static const int32_t types[VOCAB] = {1, 1, 1, 1, 1, 3, 3, 5};
    static const mosa_slice merges[] = {{"a b", 3}, {"Ġ a", 4}};
    mosa_gguf_writer_put_str(w, "tokenizer.ggml.model", MOSA_SLICE("gpt2"));
    mosa_gguf_writer_put_str(w, "tokenizer.ggml.pre", MOSA_SLICE("llama-bpe"));
    mosa_gguf_writer_put_strs(w, "tokenizer.ggml.tokens", tokens, VOCAB);
    mosa_gguf_writer_put_i32s(w, "tokenizer.ggml.token_type", types, VOCAB);
    mosa_gguf_writer_put_strs(w, "tokenizer.ggml.merges", merges, 2);
    mosa_gguf_writer_put_u32(w, "tokenizer.ggml.bos_token_id", 5);
    mosa_gguf_writer_put_u32(w, "tokenizer.ggml.eos_token_id", 6);
    mosa_gguf_writer_put_bool(w, "tokenizer.ggml.add_bos_token", true);
    mosa_gguf_writer_put_bool(w, "tokenizer.ggml.add_eos_token", false);
    mosa_gguf_writer_put_str(w, "tokenizer.chat_template", MOSA_SLICE("{{ messages }}\n"));
}

static void put_hparams(mosa_gguf_writer *w) {
    static const struct {
        const char *key;
        uint32_t value;
    } keys[] = {{"llama.block_count", LAYERS},
                {"llama.context_length", 512},
                {"llama.embedding_length", WIDTH},
                {"llama.feed_forward_length", FFN},
                {"llama.attention.head_count", HEADS},
                {"llama.attention.head_count_kv", KV_HEADS},
                {"llama.attention.key_length", HEAD},
                {"llama.attention.value_length", HEAD},
                {"llama.rope.dimension_count", HEAD},
                {"llama.vocab_size", VOCAB},
                {"llama.rope.scaling.original_context_length", 64}};
    mosa_gguf_writer_put_str(w, "general.architecture", MOSA_SLICE("llama"));
    mosa_gguf_writer_put_str(w, "general.type", MOSA_SLICE("model"));
    mosa_gguf_writer_put_u32(w, "general.file_type", 0);
    for (size_t i = 0; i < MOSA_COUNT(keys); i++) mosa_gguf_writer_put_u32(w, keys[i].key, keys[i].value);
    if (with_experts) {
        mosa_gguf_writer_put_u32(w, "llama.expert_count", EXPERTS);
        mosa_gguf_writer_put_u32(w, "llama.expert_used_count", 2);
    }
    mosa_gguf_writer_put_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-6f);
    mosa_gguf_writer_put_f32(w, "llama.rope.freq_base", 10000);
}

typedef void (*visit_fn)(mosa_gguf_writer *w, mosa_weight_slot slot, int layer);

static void declare(mosa_gguf_writer *w, mosa_weight_slot slot, int layer) {
    char name[MOSA_WEIGHT_NAME_MAX];
    int64_t dims[3];
    uint32_t n_dims;
    mosa_error err;
    slot_dims(slot, dims, &n_dims);
    assert_true(mosa_weight_name(MOSA_NAMING_GGUF, NULL, slot, layer, name));
    must(mosa_gguf_writer_add_tensor(w, name, MOSA_F32, n_dims, dims, &err), &err);
}

static void fill(mosa_gguf_writer *w, mosa_weight_slot slot, int layer) {
    static uint64_t seed = 1;
    int64_t dims[3];
    uint32_t n_dims;
    mosa_error err;
    (void)layer;
    slot_dims(slot, dims, &n_dims);
    for (int64_t i = 0; i < dims[0] * dims[1] * dims[2]; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        float value = (float)((double)(seed >> 40) / (1 << 24) - 0.5);
        if (slot == MOSA_W_ROPE_FREQS) value = rope_divisor((int)i);
        must(mosa_gguf_writer_write(w, &value, sizeof value, &err), &err);
    }
}

static void for_each_weight(mosa_gguf_writer *w, visit_fn visit) {
    for (unsigned slot = 0; slot < MOSA_W_COUNT; slot++) {
        if (!slot_used((mosa_weight_slot)slot)) continue;
        int layers = mosa_weight_info_of((mosa_weight_slot)slot)->per_layer ? LAYERS : 1;
        for (int layer = 0; layer < layers; layer++) visit(w, (mosa_weight_slot)slot, layer);
    }
}

static const char *write_model(void) {
    const char *path = in_folder("model.gguf");
    mosa_gguf_writer *w;
    mosa_error err;
    must(mosa_gguf_writer_create(path, &w, &err), &err);
    put_hparams(w);
    put_vocabulary(w);
    for_each_weight(w, declare);
    must(mosa_gguf_writer_begin(w, &err), &err);
    for_each_weight(w, fill);
    must(mosa_gguf_writer_commit(w, &err), &err);
    mosa_gguf_writer_destroy(w);
    return path;
}

// Every key of `a` but its name is in `b` with the same bytes.
static void same_metadata(const mosa_gguf *a, const mosa_gguf *b) {
    for (size_t i = 0; i < mosa_gguf_kv_count(a); i++) {
        const mosa_gguf_kv *x = mosa_gguf_kv_at(a, i), *y = mosa_gguf_kv_find(b, x->key);
        if (strcmp(x->key, "general.name") == 0) continue;
        if (!y || x->type != y->type || x->bytes != y->bytes || memcmp(x->data, y->data, x->bytes) != 0)
            fail_msg("key '%s' differs", x->key);
    }
}

static void same_tensors(const mosa_gguf *a, const mosa_gguf *b) {
    assert_int_equal(mosa_gguf_tensor_count(a), mosa_gguf_tensor_count(b));
    for (size_t i = 0; i < mosa_gguf_tensor_count(a); i++) {
        const mosa_tensor_view *x = mosa_gguf_tensor_at(a, i), *y = mosa_gguf_tensor_find(b, x->name);
        if (!y || x->dtype != y->dtype || x->bytes != y->bytes || memcmp(x->data, y->data, x->bytes) != 0)
            fail_msg("tensor '%s' differs", x->name);
    }
}

static void goes_to_a_folder_and_back_unchanged(void) {
    const char *model = write_model(), *there = in_folder("hf"), *back = in_folder("back.gguf");
    mosa_gguf *a, *b;
    mosa_error err;
    must(convert(&err, model, there, "--shard-size", "32K", NULL), &err);
    must(convert(&err, there, back, NULL), &err);
    must(mosa_gguf_open(model, &a, &err), &err);
    must(mosa_gguf_open(back, &b, &err), &err);
    same_metadata(a, b);
    same_metadata(b, a);
    same_tensors(a, b);
    mosa_gguf_close(a);
    mosa_gguf_close(b);
}

static void a_model_goes_to_a_folder_and_back_unchanged(void **state) {
    (void)state;
    goes_to_a_folder_and_back_unchanged();
}

static void experts_part_in_a_folder_and_meet_again(void **state) {
    (void)state;
    with_experts = true;
    goes_to_a_folder_and_back_unchanged();
    with_experts = false;
    mosa_safetensors *st;
    mosa_error err;
    must(mosa_safetensors_open(in_folder("hf"), &st, &err), &err);
    const mosa_tensor_view *last =
        mosa_safetensors_tensor_find(st, "model.layers.1.block_sparse_moe.experts.3.w2.weight");
    assert_non_null(last);
    assert_int_equal(last->dims[0], WIDTH);
    assert_int_equal(last->dims[1], FFN);
    mosa_safetensors_close(st);
}

static void layers_beyond_the_last_are_left_out(void **state) {
    (void)state;
    mosa_gguf *g;
    mosa_error err;
    json_t *config;
    const char *there = in_folder("hf"), *back = in_folder("back.gguf"), *file = in_folder("hf/config.json");
    must(convert(&err, write_model(), there, NULL), &err);
    must(mosa_json_load(file, NULL, &config, &err), &err);
    json_object_set_new(config, "num_hidden_layers", json_integer(1));
    assert_int_equal(json_dump_file(config, file, 0), 0);
    json_decref(config);
    must(convert(&err, there, back, NULL), &err);
    must(mosa_gguf_open(back, &g, &err), &err);
    assert_non_null(mosa_gguf_tensor_find(g, "blk.0.attn_q.weight"));
    assert_null(mosa_gguf_tensor_find(g, "blk.1.attn_q.weight"));
    mosa_gguf_close(g);
}

// Every tensor of a file that gguf-py wrote from the same folder is in ours, with its shape; where both store it as it
// was, with its bytes.
static void becomes_the_file(const char *from, const char *type, const char *reference) {
    char in[512], other[512];
    const char *out = in_folder("ours.gguf");
    mosa_gguf *a, *b;
    mosa_error err;
    snprintf(in, sizeof in, MOSA_SOURCE_ROOT "/tests/golden/families/%s", from);
    snprintf(other, sizeof other, MOSA_SOURCE_ROOT "/tests/golden/families/%s", reference);
    must(type ? convert(&err, in, out, "--type", type, NULL) : convert(&err, in, out, NULL), &err);
    must(mosa_gguf_open(out, &a, &err), &err);
    must(mosa_gguf_open(other, &b, &err), &err);
    assert_int_equal(mosa_gguf_tensor_count(a), mosa_gguf_tensor_count(b));
    for (size_t i = 0; i < mosa_gguf_tensor_count(b); i++) {
        const mosa_tensor_view *y = mosa_gguf_tensor_at(b, i), *x = mosa_gguf_tensor_find(a, y->name);
        if (!x || x->n_dims != y->n_dims || memcmp(x->dims, y->dims, sizeof x->dims) != 0)
            fail_msg("tensor '%s' is missing or of another shape", y->name);
        bool kept = x->dtype == y->dtype && (x->dtype == MOSA_MXFP4 || x->dtype == MOSA_F32);
        if (kept && memcmp(x->data, y->data, x->bytes) != 0) fail_msg("tensor '%s' differs", y->name);
    }
    mosa_gguf_close(a);
    mosa_gguf_close(b);
    unlink(out);
}

static void folders_of_experts_become_the_files_that_others_write(void **state) {
    (void)state;
    becomes_the_file("small-qwen2-moe", "q8_0", "small-qwen2-moe/model-q8_0.gguf");
    becomes_the_file("small-deepseek", "q8_0", "small-deepseek/model-q8_0.gguf");
    becomes_the_file("small-gpt-oss/packed", NULL, "small-gpt-oss/model-mxfp4.gguf");
}

static void the_folder_orders_rotary_rows_by_halves(void **state) {
    (void)state;
    const char *model = write_model(), *there = in_folder("hf");
    mosa_gguf *g;
    mosa_safetensors *st;
    mosa_error err;
    must(convert(&err, model, there, NULL), &err);
    must(mosa_gguf_open(model, &g, &err), &err);
    must(mosa_safetensors_open(there, &st, &err), &err);
    const float *q = mosa_gguf_tensor_find(g, "blk.1.attn_q.weight")->data;
    const float *hf = mosa_safetensors_tensor_find(st, "model.layers.1.self_attn.q_proj.weight")->data;
    for (int head = 0; head < HEADS; head++)
        for (int i = 0; i < HEAD / 2; i++)
            for (int part = 0; part < 2; part++)
                assert_memory_equal(hf + (head * HEAD + part * HEAD / 2 + i) * WIDTH,
                                    q + (head * HEAD + 2 * i + part) * WIDTH, WIDTH * sizeof(float));
    assert_null(mosa_safetensors_tensor_find(st, "rope_freqs.weight"));
    mosa_safetensors_close(st);
    mosa_gguf_close(g);
}

static void the_folder_has_the_files_that_transformers_reads(void **state) {
    (void)state;
    const char *model = write_model(), *there = in_folder("hf");
    mosa_error err;
    MOSA_AUTO_JSON json_t *config = NULL;
    MOSA_AUTO_JSON json_t *tokenizer = NULL;
    MOSA_AUTO_JSON json_t *tokenizer_config = NULL;
    must(convert(&err, model, there, NULL), &err);
    must(mosa_json_load(in_folder("hf/config.json"), NULL, &config, &err), &err);
    must(mosa_json_load(in_folder("hf/tokenizer.json"), NULL, &tokenizer, &err), &err);
    must(mosa_json_load(in_folder("hf/tokenizer_config.json"), NULL, &tokenizer_config, &err), &err);
    const json_t *scaling = json_object_get(config, "rope_scaling");
    assert_string_equal(json_string_value(json_object_get(config, "model_type")), "llama");
    assert_string_equal(json_string_value(json_object_get(scaling, "rope_type")), "llama3");
    assert_true(json_number_value(json_object_get(scaling, "factor")) == 8);
    assert_true(json_number_value(json_object_get(config, "rms_norm_eps")) == 1e-6);
    assert_int_equal(json_array_size(json_object_get(json_object_get(tokenizer, "model"), "merges")), 2);
    assert_int_equal(json_object_size(json_object_get(json_object_get(tokenizer, "model"), "vocab")), VOCAB - 1);
    assert_string_equal(json_string_value(json_object_get(tokenizer_config, "chat_template")), "{{ messages }}\n");
}

static void types_follow_the_place_of_a_tensor(void **state) {
    (void)state;
    const char *model = write_model(), *out = in_folder("q.gguf");
    mosa_gguf *g;
    mosa_error err;
    must(convert(&err, model, out, "--type", "q8_0", NULL), &err);
    must(mosa_gguf_open(out, &g, &err), &err);
    assert_int_equal(mosa_gguf_tensor_find(g, "blk.0.ffn_down.weight")->dtype, MOSA_Q8_0);
    assert_int_equal(mosa_gguf_tensor_find(g, "blk.0.attn_norm.weight")->dtype, MOSA_F32);
    assert_int_equal(mosa_gguf_tensor_find(g, "rope_freqs.weight")->dtype, MOSA_F32);
    uint32_t file_type = 0;
    must(mosa_gguf_get_u32(g, "general.file_type", &file_type, &err), &err);
    assert_int_equal(file_type, 7);
    mosa_gguf_close(g);
}

static void mistakes_are_refused_and_leave_nothing_behind(void **state) {
    (void)state;
    const char *model = write_model(), *out = in_folder("out.gguf");
    mosa_error err;
    assert_int_equal(convert(&err, model, out, "--type", "q3_k", NULL), MOSA_EINVALID);
    assert_int_equal(convert(&err, model, in_folder("d"), "--type", "q8_0", NULL), MOSA_EINVALID);
    assert_int_equal(convert(&err, model, model, NULL), MOSA_EEXISTS);
    assert_int_equal(convert(&err, model, model, "--force", NULL), MOSA_EINVALID);
    assert_int_equal(convert(&err, in_folder("absent.gguf"), out, NULL), MOSA_ENOTFOUND);
    assert_int_equal(convert(&err, model, out, "--from", "llama2c", NULL), MOSA_EINVALID);
    assert_int_equal(convert(&err, model, out, "--from", "llama2c", "--tokenizer", model, NULL), MOSA_ECORRUPT);
    assert_false(mosa_file_exists(out));
}

static void llama2c_checkpoints_of_both_layouts_become_the_same_model(void **state) {
    (void)state;
    const char *shared = getenv("MOSA_SHARED");
    char base[3][512];
    static const char *const names[] = {"stories260K_v1.bin", "stories260K_legacy.bin", "tok512.bin"};
    for (int i = 0; i < 3; i++)
        snprintf(base[i], sizeof base[i], "%s/data/weights/stories260K/%s",
                 shared ? shared : MOSA_SOURCE_ROOT "/../shared", names[i]);
    if (access(base[0], R_OK) != 0) {
        print_message("skipped: %s is absent\n", base[0]);
        return;
    }
    mosa_gguf *a, *b;
    mosa_error err;
    const char *first = in_folder("1.gguf"), *second = in_folder("0.gguf");
    must(convert(&err, base[0], first, "--from", "llama2c", "--tokenizer", base[2], NULL), &err);
    must(convert(&err, base[1], second, "--from", "llama2c", "--tokenizer", base[2], NULL), &err);
    must(mosa_gguf_open(first, &a, &err), &err);
    must(mosa_gguf_open(second, &b, &err), &err);
    assert_int_equal(mosa_gguf_tensor_count(a), 47);
    same_metadata(a, b);
    same_tensors(a, b);
    mosa_gguf_close(a);
    mosa_gguf_close(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_model_goes_to_a_folder_and_back_unchanged, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(layers_beyond_the_last_are_left_out, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(experts_part_in_a_folder_and_meet_again, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(folders_of_experts_become_the_files_that_others_write, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(the_folder_orders_rotary_rows_by_halves, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(the_folder_has_the_files_that_transformers_reads, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(types_follow_the_place_of_a_tensor, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(mistakes_are_refused_and_leave_nothing_behind, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(llama2c_checkpoints_of_both_layouts_become_the_same_model, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
