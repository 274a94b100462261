// The list of a dense decoder's tensors, and their first values.
#include "train/init.h"

#include "base/file.h"
#include "base/out_file.h"
#include "base/rng.h"
#include "codec/json.h"
#include "codec/safetensors_writer.h"
#include "model/weight_map.h"
#include "train/export.h"

#include <math.h>
#include <stdlib.h>

enum { CHUNK = 4096 };

typedef struct shape {
    int64_t width, ffn, layers, heads, kv_heads, head_width, vocab;
    bool tied, qkv_bias, out_bias, mlp_bias, qk_norm;
    double range;
    const char *type;
} shape;

typedef struct tensor {
    mosa_weight_slot slot;
    int64_t rows, columns; // columns 0 = a vector
    bool wanted;
    double first; // of vectors
} tensor;

typedef struct init {
    shape s;
    uint64_t seed, stream;
    mosa_safetensors_writer *writer;
    bool declares; // first pass
} init;

static mosa_status read_i64(const json_t *config, const char *field, int64_t fallback, int64_t *out, mosa_error *err) {
    const json_t *value = json_object_get(config, field);
    *out = json_is_integer(value) ? json_integer_value(value) : fallback;
    if (*out > 0 && *out < INT32_MAX) return MOSA_OK;
    return mosa_fail(err, MOSA_EINVALID, "config_name: %s must be a number above 0", field);
}

static bool is_true(const json_t *config, const char *field) {
    return json_is_true(json_object_get(config, field));
}

static mosa_status read_shape(const json_t *config, shape *s, mosa_error *err) {
    static const char *const types[] = {"llama", "mistral", "qwen2", "qwen3"};
    const json_t *range = json_object_get(config, "initializer_range");
    bool known = false;
    s->type = json_string_value(json_object_get(config, "model_type"));
    for (size_t i = 0; s->type && i < MOSA_COUNT(types); i++) known = known || strcmp(s->type, types[i]) == 0;
    if (!known)
        return mosa_fail(err, MOSA_EUNSUPPORTED,
                         "config_name: model_type '%s' cannot be made from scratch; llama, "
                         "mistral, qwen2 and qwen3 can",
                         s->type ? s->type : "");
    MOSA_TRY(read_i64(config, "hidden_size", 0, &s->width, err));
    MOSA_TRY(read_i64(config, "intermediate_size", 0, &s->ffn, err));
    MOSA_TRY(read_i64(config, "num_hidden_layers", 0, &s->layers, err));
    MOSA_TRY(read_i64(config, "num_attention_heads", 0, &s->heads, err));
    MOSA_TRY(read_i64(config, "num_key_value_heads", s->heads, &s->kv_heads, err));
    MOSA_TRY(read_i64(config, "head_dim", s->width / s->heads, &s->head_width, err));
    MOSA_TRY(read_i64(config, "vocab_size", 0, &s->vocab, err));
    s->tied = is_true(config, "tie_word_embeddings");
    s->qkv_bias = strcmp(s->type, "qwen2") == 0 || is_true(config, "attention_bias");
    s->out_bias = is_true(config, "attention_bias") && strcmp(s->type, "qwen2") != 0;
    s->mlp_bias = is_true(config, "mlp_bias");
    s->qk_norm = strcmp(s->type, "qwen3") == 0;
    s->range = json_is_number(range) ? json_number_value(range) : 0.02;
    return MOSA_OK;
}

// --- values -------------------------------------------------------------------------------------------------------

static float normal(const init *x, uint64_t index) {
    uint64_t counter = x->stream << 40 | index / 2;
    double u = 1 - mosa_rng_uniform(x->seed, 2 * counter), v = mosa_rng_uniform(x->seed, 2 * counter + 1);
    double radius = sqrt(-2 * log(u)), angle = 2 * M_PI * v;
    return (float)(x->s.range * radius * (index % 2 ? sin(angle) : cos(angle)));
}

static mosa_status write_values(init *x, const tensor *t, mosa_error *err) {
    float chunk[CHUNK];
    uint64_t n = (uint64_t)t->rows * (uint64_t)(t->columns ? t->columns : 1);
    for (uint64_t at = 0; at < n;) {
        size_t count = n - at < CHUNK ? (size_t)(n - at) : CHUNK;
        for (size_t i = 0; i < count; i++) chunk[i] = t->columns ? normal(x, at + i) : (float)t->first;
        MOSA_TRY(mosa_safetensors_writer_write(x->writer, chunk, count * sizeof *chunk, err));
        at += count;
    }
    x->stream++;
    return MOSA_OK;
}

static mosa_status put(init *x, const tensor *t, int layer, mosa_error *err) {
    char name[MOSA_WEIGHT_NAME_MAX];
    if (!t->wanted) return MOSA_OK;
    if (!mosa_weight_name(MOSA_NAMING_HF, x->s.type, t->slot, layer, name))
        return mosa_fail(err, MOSA_EINTERNAL, "%s: has no Hugging Face name", mosa_weight_info_of(t->slot)->label);
    const int64_t dims[2] = {t->rows, t->columns};
    if (x->declares)
        return mosa_safetensors_writer_add_tensor(x->writer, name, MOSA_F32, t->columns ? 2 : 1, dims, err);
    return write_values(x, t, err);
}

static mosa_status put_layer(init *x, int layer, mosa_error *err) {
    const shape *s = &x->s;
    const int64_t q = s->heads * s->head_width, kv = s->kv_heads * s->head_width;
    const tensor tensors[] = {
        {MOSA_W_ATTN_NORM, s->width, 0, true, 1},
        {MOSA_W_ATTN_Q, q, s->width, true, 0},
        {MOSA_W_ATTN_K, kv, s->width, true, 0},
        {MOSA_W_ATTN_V, kv, s->width, true, 0},
        {MOSA_W_ATTN_Q_BIAS, q, 0, s->qkv_bias, 0},
        {MOSA_W_ATTN_K_BIAS, kv, 0, s->qkv_bias, 0},
        {MOSA_W_ATTN_V_BIAS, kv, 0, s->qkv_bias, 0},
        {MOSA_W_ATTN_Q_NORM, s->head_width, 0, s->qk_norm, 1},
        {MOSA_W_ATTN_K_NORM, s->head_width, 0, s->qk_norm, 1},
        {MOSA_W_ATTN_OUT, s->width, q, true, 0},
        {MOSA_W_ATTN_OUT_BIAS, s->width, 0, s->out_bias, 0},
        {MOSA_W_FFN_NORM, s->width, 0, true, 1},
        {MOSA_W_FFN_GATE, s->ffn, s->width, true, 0},
        {MOSA_W_FFN_UP, s->ffn, s->width, true, 0},
        {MOSA_W_FFN_DOWN, s->width, s->ffn, true, 0},
        {MOSA_W_FFN_GATE_BIAS, s->ffn, 0, s->mlp_bias, 0},
        {MOSA_W_FFN_UP_BIAS, s->ffn, 0, s->mlp_bias, 0},
        {MOSA_W_FFN_DOWN_BIAS, s->width, 0, s->mlp_bias, 0},
    };
    for (size_t i = 0; i < MOSA_COUNT(tensors); i++) MOSA_TRY(put(x, &tensors[i], layer, err));
    return MOSA_OK;
}

static mosa_status put_all(init *x, mosa_error *err) {
    const tensor table = {MOSA_W_TOKEN_EMBD, x->s.vocab, x->s.width, true, 0};
    const tensor norm = {MOSA_W_OUTPUT_NORM, x->s.width, 0, true, 1};
    const tensor output = {MOSA_W_OUTPUT, x->s.vocab, x->s.width, !x->s.tied, 0};
    MOSA_TRY(put(x, &table, -1, err));
    for (int layer = 0; layer < x->s.layers; layer++) MOSA_TRY(put_layer(x, layer, err));
    MOSA_TRY(put(x, &norm, -1, err));
    return put(x, &output, -1, err);
}

static mosa_status write_weights(init *x, const char *folder, mosa_error *err) {
    MOSA_TRY(mosa_safetensors_writer_create(folder, 0, &x->writer, err));
    x->declares = true;
    MOSA_TRY(put_all(x, err));
    MOSA_TRY(mosa_safetensors_writer_begin(x->writer, err));
    x->declares = false;
    MOSA_TRY(put_all(x, err));
    return mosa_safetensors_writer_commit(x->writer, err);
}

mosa_status mosa_train_init(const char *config, const char *tokenizer, uint64_t seed, const char *folder,
                            mosa_error *err) {
    MOSA_AUTO_JSON json_t *tree = NULL;
    MOSA_AUTO_FREE char *bytes = NULL, *path = mosa_path_join(folder, "config.json");
    init x = {.seed = mosa_rng_mix(seed ^ 0x696e6974u)};
    size_t len;
    if (!path) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", folder);
    MOSA_TRY(mosa_json_load(config, NULL, &tree, err));
    MOSA_TRY(read_shape(tree, &x.s, err));
    MOSA_TRY(mosa_file_mkdirs(folder, err));
    if (mosa_file_is_dir(tokenizer)) MOSA_TRY(mosa_export_copy_files(tokenizer, folder, err));
    MOSA_TRY(mosa_file_read(config, 64 << 20, &bytes, &len, err));
    MOSA_TRY(mosa_out_file_save(path, bytes, len, err));
    mosa_status status = write_weights(&x, folder, err);
    mosa_safetensors_writer_destroy(x.writer);
    return status;
}
