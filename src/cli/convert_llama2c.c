// Checkpoints of llama2.c (karpathy/llama2.c), both layouts, with their tokenizer file, to GGUF.
//
// Version 0: seven i32 (width, ffn, layers, heads, kv heads, vocabulary, context; a negative vocabulary says that the
// output matrix is separate), then f32 tensors, all layers of one kind together. Version 1: "ak42", version, the seven
// i32, one byte "output is tied", padding to 256 bytes, tensors in another order. Rotary pairs are adjacent, as in
// GGUF.
#include "cli/convert.h"

#include "base/file.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAGIC = 0x616b3432, HEADER_V1 = 256, DIM_MAX = 1 << 20, TOKEN_BYTES_MAX = 4096 };

typedef struct checkpoint {
    const unsigned char *at, *end; // what is left of the f32 data
    int32_t width, ffn, layers, heads, kv_heads, vocab, context;
    bool tied, version_1;
} checkpoint;

static mosa_status read_header(checkpoint *c, const char *path, mosa_error *err) {
    int32_t words[7], magic;
    size_t skip = sizeof words;
    if (c->end - c->at < HEADER_V1) return mosa_fail(err, MOSA_ECORRUPT, "%s: not a llama2.c checkpoint", path);
    memcpy(&magic, c->at, 4);
    c->version_1 = magic == MAGIC;
    memcpy(words, c->at + (c->version_1 ? 8 : 0), sizeof words);
    for (int i = 0; i < 7; i++)
        if (words[i] == INT32_MIN || abs(words[i]) > DIM_MAX || (words[i] <= 0 && (i != 5 || c->version_1)) ||
            words[i] == 0)
            return mosa_fail(err, MOSA_ECORRUPT, "%s: header field %d is %d", path, i, words[i]);
    c->width = words[0], c->ffn = words[1], c->layers = words[2], c->heads = words[3], c->kv_heads = words[4];
    c->vocab = abs(words[5]), c->context = words[6];
    c->tied = c->version_1 ? c->at[36] != 0 : words[5] > 0;
    if (c->version_1) skip = HEADER_V1;
    c->at += skip;
    if (c->width % c->heads || c->heads % c->kv_heads || c->layers >= MOSA_WEIGHT_LAYERS_MAX)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: width %d, heads %d, kv heads %d, layers %d do not fit together", path,
                         c->width, c->heads, c->kv_heads, c->layers);
    return MOSA_OK;
}

// Takes the next `count` tensors of rows x columns (columns 0: a vector) for layers 0.. or, with layer -1, the model.
static mosa_status take(convert_job *job, checkpoint *c, mosa_weight_slot slot, int layers, int64_t rows,
                        int64_t columns, mosa_error *err) {
    int64_t elements = rows * (columns ? columns : 1);
    for (int i = 0; i < (layers < 0 ? 1 : layers); i++) {
        char name[MOSA_WEIGHT_NAME_MAX];
        mosa_tensor_view *view = MOSA_ARENA_NEW(job->arena, mosa_tensor_view);
        if (!view) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the tensor list");
        mosa_weight_name(MOSA_NAMING_GGUF, NULL, slot, i, name);
        *view = (mosa_tensor_view){.name = mosa_weight_info_of(slot)->label,
                                   .dtype = MOSA_F32,
                                   .n_dims = columns ? 2 : 1,
                                   .dims = {rows, columns ? columns : 1},
                                   .n_elements = elements,
                                   .data = c->at,
                                   .bytes = (size_t)elements * sizeof(float)};
        if (view->bytes > (size_t)(c->end - c->at))
            return mosa_fail(err, MOSA_ECORRUPT, "%s: file ends inside %s", job->in, name);
        c->at += view->bytes;
        MOSA_TRY(convert_add(job, name, view, slot, c->tied, 0, err));
    }
    return MOSA_OK;
}

typedef struct part {
    mosa_weight_slot slot;
    bool per_layer;
    int64_t rows, columns;
} part;

static mosa_status take_all(convert_job *job, checkpoint *c, mosa_error *err) {
    int64_t kv = (int64_t)c->width / c->heads * c->kv_heads;
    int64_t rotary_tables = (int64_t)c->context * (c->width / c->heads) * (int64_t)sizeof(float);
    const part norms[] = {{MOSA_W_ATTN_NORM, true, c->width, 0}, {MOSA_W_FFN_NORM, true, c->width, 0}};
    const part attention[] = {{MOSA_W_ATTN_Q, true, c->width, c->width},
                              {MOSA_W_ATTN_K, true, kv, c->width},
                              {MOSA_W_ATTN_V, true, kv, c->width},
                              {MOSA_W_ATTN_OUT, true, c->width, c->width}};
    const part ffn[] = {{MOSA_W_FFN_GATE, true, c->ffn, c->width},
                        {MOSA_W_FFN_DOWN, true, c->width, c->ffn},
                        {MOSA_W_FFN_UP, true, c->ffn, c->width}};
    const part embedding = {MOSA_W_TOKEN_EMBD, false, c->vocab, c->width};
    const part last_norm = {MOSA_W_OUTPUT_NORM, false, c->width, 0},
               output = {MOSA_W_OUTPUT, false, c->vocab, c->width};
    part order[12];
    size_t n = 0;
    if (c->version_1)
        order[n++] = norms[0], order[n++] = norms[1], order[n++] = last_norm, order[n++] = embedding;
    else
        order[n++] = embedding, order[n++] = norms[0];
    for (size_t i = 0; i < MOSA_COUNT(attention); i++) order[n++] = attention[i];
    if (!c->version_1) order[n++] = norms[1];
    for (size_t i = 0; i < MOSA_COUNT(ffn); i++) order[n++] = ffn[i];
    if (!c->version_1) order[n++] = last_norm;
    for (size_t i = 0; i < n; i++)
        MOSA_TRY(
            take(job, c, order[i].slot, order[i].per_layer ? c->layers : -1, order[i].rows, order[i].columns, err));
    if (c->tied) return MOSA_OK;
    if (!c->version_1) { // version 0 stores the rotary tables before the output matrix
        if (rotary_tables > c->end - c->at) return mosa_fail(err, MOSA_ECORRUPT, "%s: file ends early", job->in);
        c->at += rotary_tables;
    }
    return take(job, c, output.slot, -1, output.rows, output.columns, err);
}

static void put_hparams(convert_job *job, const checkpoint *c) {
    mosa_gguf_writer *w = job->gguf;
    mosa_gguf_writer_put_str(w, "general.architecture", MOSA_SLICE("llama"));
    mosa_gguf_writer_put_str(w, "general.type", MOSA_SLICE("model"));
    mosa_gguf_writer_put_str(w, "general.name", MOSA_SLICE("llama2.c"));
    mosa_gguf_writer_put_u32(w, "general.file_type", convert_file_type(convert_main_dtype(job)));
    mosa_gguf_writer_put_u32(w, "llama.block_count", (uint32_t)c->layers);
    mosa_gguf_writer_put_u32(w, "llama.context_length", (uint32_t)c->context);
    mosa_gguf_writer_put_u32(w, "llama.embedding_length", (uint32_t)c->width);
    mosa_gguf_writer_put_u32(w, "llama.feed_forward_length", (uint32_t)c->ffn);
    mosa_gguf_writer_put_u32(w, "llama.attention.head_count", (uint32_t)c->heads);
    mosa_gguf_writer_put_u32(w, "llama.attention.head_count_kv", (uint32_t)c->kv_heads);
    mosa_gguf_writer_put_u32(w, "llama.rope.dimension_count", (uint32_t)(c->width / c->heads));
    mosa_gguf_writer_put_u32(w, "llama.vocab_size", (uint32_t)c->vocab);
    mosa_gguf_writer_put_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    mosa_gguf_writer_put_f32(w, "llama.rope.freq_base", 10000.0f);
}

// llama2.c spells SentencePiece's space mark as a space, and puts newlines around BOS and EOS.
static mosa_status respell(mosa_arena *arena, int id, const unsigned char *text, size_t len, mosa_slice *out,
                           mosa_error *err) {
    static const mosa_slice fixed[] = {{"<unk>", 5}, {"<s>", 3}, {"</s>", 4}};
    if (id < 3) {
        *out = fixed[id];
        return MOSA_OK;
    }
    char *copy = mosa_arena_alloc(arena, 3 * len + 1);
    if (!copy) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the vocabulary");
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        size_t bytes = text[i] == ' ' ? 3 : 1;
        memcpy(copy + used, text[i] == ' ' ? "\xe2\x96\x81" : (const char *)text + i, bytes);
        used += bytes;
    }
    *out = (mosa_slice){copy, used};
    return MOSA_OK;
}

static int32_t type_of(int id, mosa_slice text) {
    if (id == 0) return MOSA_TOKEN_UNKNOWN;
    if (id < 3) return MOSA_TOKEN_CONTROL;
    return text.len == 6 && memcmp(text.data, "<0x", 3) == 0 ? MOSA_TOKEN_BYTE : MOSA_TOKEN_NORMAL;
}

static mosa_status put_vocab(convert_job *job, const mosa_file_map *file, const char *path, int32_t count,
                             mosa_error *err) {
    mosa_slice *texts = MOSA_ARENA_ARRAY(job->arena, mosa_slice, (size_t)count);
    int32_t *types = MOSA_ARENA_ARRAY(job->arena, int32_t, (size_t)count);
    float *scores = MOSA_ARENA_ARRAY(job->arena, float, (size_t)count);
    if (!texts || !types || !scores) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the vocabulary");
    const unsigned char *at = file->data + 4, *end = file->data + file->size;
    for (int i = 0; i < count; i++) {
        int32_t len;
        if (end - at < 8) return mosa_fail(err, MOSA_ECORRUPT, "%s: ends at token %d of %d", path, i, count);
        memcpy(&scores[i], at, 4);
        memcpy(&len, at + 4, 4);
        at += 8;
        if (len < 0 || len > TOKEN_BYTES_MAX || len > end - at)
            return mosa_fail(err, MOSA_ECORRUPT, "%s: token %d has %d bytes", path, i, len);
        MOSA_TRY(respell(job->arena, i, at, (size_t)len, &texts[i], err));
        types[i] = type_of(i, texts[i]);
        at += len;
    }
    mosa_gguf_writer *w = job->gguf;
    mosa_gguf_writer_put_str(w, "tokenizer.ggml.model", MOSA_SLICE("llama"));
    mosa_gguf_writer_put_str(w, "tokenizer.ggml.pre", MOSA_SLICE("default"));
    mosa_gguf_writer_put_strs(w, "tokenizer.ggml.tokens", texts, (size_t)count);
    mosa_gguf_writer_put_f32s(w, "tokenizer.ggml.scores", scores, (size_t)count);
    mosa_gguf_writer_put_i32s(w, "tokenizer.ggml.token_type", types, (size_t)count);
    mosa_gguf_writer_put_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    mosa_gguf_writer_put_u32(w, "tokenizer.ggml.bos_token_id", 1);
    mosa_gguf_writer_put_u32(w, "tokenizer.ggml.eos_token_id", 2);
    mosa_gguf_writer_put_bool(w, "tokenizer.ggml.add_bos_token", true);
    mosa_gguf_writer_put_bool(w, "tokenizer.ggml.add_eos_token", false);
    return MOSA_OK;
}

static mosa_status convert_mapped(convert_job *job, const mosa_file_map *model, const mosa_file_map *vocab,
                                  const char *vocab_path, mosa_error *err) {
    checkpoint c = {.at = model->data, .end = model->data + model->size};
    MOSA_TRY(read_header(&c, job->in, err));
    MOSA_TRY(take_all(job, &c, err));
    MOSA_TRY(mosa_gguf_writer_create(job->out, &job->gguf, err));
    put_hparams(job, &c);
    MOSA_TRY(put_vocab(job, vocab, vocab_path, c.vocab, err));
    return convert_write(job, err);
}

mosa_status convert_llama2c(convert_job *job, const char *tokenizer, mosa_error *err) {
    mosa_file_map model, vocab;
    MOSA_TRY(mosa_file_map_open(job->in, &model, err));
    mosa_status status = mosa_file_map_open(tokenizer, &vocab, err);
    if (status == MOSA_OK) {
        status = vocab.size < 4 ? mosa_fail(err, MOSA_ECORRUPT, "%s: too short", tokenizer)
                                : convert_mapped(job, &model, &vocab, tokenizer, err);
        mosa_file_map_close(&vocab);
    }
    mosa_file_map_close(&model);
    return status;
}
