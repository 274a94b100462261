// tokenizer.* keys to tokenizer.json, tokenizer_config.json and generation_config.json.
//
// The two GGUF models that our families use: "gpt2" (byte-level BPE, merges listed) and "llama" (SentencePiece BPE,
// merges found from the scores: every split of a token into two tokens, best score first).
#include "cli/convert.h"

#include "codec/json.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct vocab {
    const mosa_gguf *gguf;
    const mosa_slice *tokens;
    const int32_t *types; // NULL: all normal
    const float *scores;  // of the llama model
    size_t count;
    bool sentencepiece;
    json_t *words; // spelling to id: tokenizer.json's model.vocab
} vocab;

static mosa_status read_vocab(vocab *v, mosa_arena *arena, mosa_error *err) {
    size_t types = 0, scores = 0;
    mosa_slice model;
    const char *path = mosa_gguf_path(v->gguf);
    MOSA_TRY(mosa_gguf_get_str(v->gguf, "tokenizer.ggml.model", &model, err));
    v->sentencepiece = mosa_slice_eq(model, MOSA_SLICE("llama"));
    if (!v->sentencepiece && !mosa_slice_eq(model, MOSA_SLICE("gpt2")))
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: tokenizer model '%.*s' cannot be converted, gpt2 and llama can",
                         path, (int)(model.len < 40 ? model.len : 40), model.data);
    MOSA_TRY(mosa_gguf_get_strs(v->gguf, "tokenizer.ggml.tokens", arena, &v->tokens, &v->count, err));
    if (mosa_gguf_kv_find(v->gguf, "tokenizer.ggml.token_type")) {
        MOSA_TRY(mosa_gguf_get_i32s(v->gguf, "tokenizer.ggml.token_type", arena, &v->types, &types, err));
        if (types != v->count)
            return mosa_fail(err, MOSA_EINVALID, "%s: key 'tokenizer.ggml.token_type' has %zu items for %zu tokens",
                             path, types, v->count);
    }
    if (!v->sentencepiece) return MOSA_OK;
    MOSA_TRY(mosa_gguf_get_f32s(v->gguf, "tokenizer.ggml.scores", arena, &v->scores, &scores, err));
    if (scores != v->count)
        return mosa_fail(err, MOSA_EINVALID, "%s: key 'tokenizer.ggml.scores' has %zu items for %zu tokens", path,
                         scores, v->count);
    return MOSA_OK;
}

static int type_of(const vocab *v, size_t id) {
    return v->types ? v->types[id] : MOSA_TOKEN_NORMAL;
}

// JSON can spell neither ill-formed UTF-8 nor a NUL in a key.
static mosa_status fill_words(vocab *v, json_t *added, mosa_error *err) {
    for (size_t i = 0; i < v->count; i++) {
        mosa_slice text = v->tokens[i];
        int type = type_of(v, i);
        if (type == MOSA_TOKEN_UNUSED) continue;
        json_t *content = json_stringn(text.data, text.len);
        if (!content || memchr(text.data, 0, text.len) ||
            json_object_setn_new(v->words, text.data, text.len, json_integer((json_int_t)i)) != 0) {
            json_decref(content);
            return mosa_fail(err, MOSA_EINVALID, "%s: key 'tokenizer.ggml.tokens': item %zu cannot be written as JSON",
                             mosa_gguf_path(v->gguf), i);
        }
        bool special = type == MOSA_TOKEN_CONTROL || type == MOSA_TOKEN_UNKNOWN;
        if (special || type == MOSA_TOKEN_USER_DEFINED)
            json_array_append_new(added, json_pack("{s:I,s:O,s:b,s:b,s:b,s:b,s:b}", "id", (json_int_t)i, "content",
                                                   content, "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0,
                                                   "special", special));
        json_decref(content);
    }
    return MOSA_OK;
}

static mosa_status listed_merges(const vocab *v, json_t *merges, mosa_error *err) {
    const mosa_gguf_kv *kv = mosa_gguf_kv_find(v->gguf, "tokenizer.ggml.merges");
    mosa_slice line;
    if (!kv)
        return mosa_fail(err, MOSA_ENOTFOUND, "%s: key 'tokenizer.ggml.merges' is missing", mosa_gguf_path(v->gguf));
    for (mosa_gguf_str_iter iter = mosa_gguf_strs(kv); mosa_gguf_str_next(&iter, &line);) {
        const char *space = line.len > 1 ? memchr(line.data + 1, ' ', line.len - 1) : NULL;
        size_t left = space ? (size_t)(space - line.data) : 0;
        json_t *pair = space ? json_pack("[s%,s%]", line.data, left, space + 1, line.len - left - 1) : NULL;
        if (!pair)
            return mosa_fail(err, MOSA_EINVALID,
                             "%s: key 'tokenizer.ggml.merges': item %zu is no pair of UTF-8 strings",
                             mosa_gguf_path(v->gguf), json_array_size(merges));
        json_array_append_new(merges, pair);
    }
    return MOSA_OK;
}

typedef struct merge {
    float score; // of the token that it makes
    uint32_t left, right;
    uint32_t order; // keeps the sort stable
} merge;

static int compare_merges(const void *a, const void *b) {
    const merge *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static int64_t find_word(const vocab *v, const char *data, size_t len) {
    const json_t *id = json_object_getn(v->words, data, len);
    return id && type_of(v, (size_t)json_integer_value(id)) == MOSA_TOKEN_NORMAL ? json_integer_value(id) : -1;
}

static mosa_status scored_merges(const vocab *v, json_t *merges, mosa_error *err) {
    size_t count = 0, capacity = 0;
    MOSA_AUTO_FREE merge *all = NULL;
    for (size_t i = 0; i < v->count; i++) {
        mosa_slice text = v->tokens[i];
        if (type_of(v, i) != MOSA_TOKEN_NORMAL || text.len > 256) continue;
        for (size_t cut = 1; cut < text.len; cut++) {
            if (((unsigned char)text.data[cut] & 0xc0) == 0x80) continue;
            int64_t left = find_word(v, text.data, cut), right = find_word(v, text.data + cut, text.len - cut);
            if (left < 0 || right < 0) continue;
            if (count == capacity) {
                capacity = capacity ? 2 * capacity : 65536;
                merge *grown = realloc(all, capacity * sizeof *grown);
                if (!grown) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the merges");
                all = grown;
            }
            all[count] = (merge){v->scores[i], (uint32_t)left, (uint32_t)right, (uint32_t)count};
            count++;
        }
    }
    if (count) qsort(all, count, sizeof *all, compare_merges);
    for (size_t i = 0; i < count; i++) {
        mosa_slice left = v->tokens[all[i].left], right = v->tokens[all[i].right];
        json_array_append_new(merges, json_pack("[s%,s%]", left.data, left.len, right.data, right.len));
    }
    return MOSA_OK;
}

// Whether a flag is set, by its key or else by the model's habit.
static bool flag(const vocab *v, const char *key, bool fallback) {
    bool value;
    return mosa_gguf_get_bool_or(v->gguf, key, fallback, &value, NULL) == MOSA_OK ? value : fallback;
}

static mosa_status special_token(const vocab *v, const char *key, mosa_slice *text, int64_t *id, mosa_error *err) {
    uint32_t value;
    *id = -1;
    if (!mosa_gguf_kv_find(v->gguf, key)) return MOSA_OK;
    MOSA_TRY(mosa_gguf_get_u32(v->gguf, key, &value, err));
    if (value >= v->count)
        return mosa_fail(err, MOSA_EINVALID, "%s: key '%s': %u is not below %zu tokens", mosa_gguf_path(v->gguf), key,
                         value, v->count);
    *id = value;
    *text = v->tokens[value];
    return MOSA_OK;
}

// The SentencePiece pipeline as transformers' converters write it.
static void set_sentencepiece_steps(const vocab *v, json_t *root) {
    json_t *steps = json_array();
    bool space = flag(v, "tokenizer.ggml.add_space_prefix", true);
    if (space) json_array_append_new(steps, json_pack("{s:s,s:s}", "type", "Prepend", "prepend", "▁"));
    json_array_append_new(steps,
                          json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "String", " ", "content", "▁"));
    json_object_set_new(root, "normalizer", json_pack("{s:s,s:o}", "type", "Sequence", "normalizers", steps));
    json_object_set_new(root, "pre_tokenizer", json_null());
    steps = json_array();
    json_array_append_new(steps,
                          json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "String", "▁", "content", " "));
    json_array_append_new(steps, json_pack("{s:s}", "type", "ByteFallback"));
    json_array_append_new(steps, json_pack("{s:s}", "type", "Fuse"));
    if (space)
        json_array_append_new(steps,
                              json_pack("{s:s,s:s,s:i,s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
    json_object_set_new(root, "decoder", json_pack("{s:s,s:o}", "type", "Sequence", "decoders", steps));
}

static mosa_status set_byte_level_steps(const vocab *v, json_t *root, mosa_error *err) {
    mosa_slice pre;
    char name[64];
    MOSA_TRY(mosa_gguf_get_str_or(v->gguf, "tokenizer.ggml.pre", MOSA_SLICE("gpt-2"), &pre, err));
    snprintf(name, sizeof name, "%.*s", (int)(pre.len < sizeof name ? pre.len : sizeof name - 1), pre.data);
    json_t *steps = convert_pre_json(name);
    if (!steps)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: key 'tokenizer.ggml.pre': '%s' has no tokenizer.json form here",
                         mosa_gguf_path(v->gguf), name);
    json_object_set_new(root, "normalizer",
                        strcmp(name, "qwen2") == 0 ? json_pack("{s:s}", "type", "NFC") : json_null());
    json_object_set_new(root, "pre_tokenizer", steps);
    json_object_set_new(
        root, "decoder",
        json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 0));
    return MOSA_OK;
}

// TemplateProcessing that puts BOS and EOS around, or null.
static mosa_status set_post_processor(const vocab *v, json_t *root, mosa_error *err) {
    mosa_slice text[2] = {{0}};
    int64_t id[2];
    MOSA_TRY(special_token(v, "tokenizer.ggml.bos_token_id", &text[0], &id[0], err));
    MOSA_TRY(special_token(v, "tokenizer.ggml.eos_token_id", &text[1], &id[1], err));
    bool add[2] = {id[0] >= 0 && flag(v, "tokenizer.ggml.add_bos_token", v->sentencepiece),
                   id[1] >= 0 && flag(v, "tokenizer.ggml.add_eos_token", false)};
    json_object_set_new(root, "post_processor", json_null());
    if (!add[0] && !add[1]) return MOSA_OK;
    json_t *single = json_array(), *pair = json_array(), *specials = json_object();
    for (int side = 0; side < 2; side++) {        // 0: the text; 1: the second text of a pair
        for (int place = 0; place < 3; place++) { // BOS, text, EOS
            int which = place == 2;
            if (place != 1 && !add[which]) continue;
            json_t *item = place == 1 ? json_pack("{s:{s:s,s:i}}", "Sequence", "id", side ? "B" : "A", "type_id", side)
                                      : json_pack("{s:{s:s%,s:i}}", "SpecialToken", "id", text[which].data,
                                                  text[which].len, "type_id", side);
            if (!side) json_array_append(single, item);
            json_array_append_new(pair, item);
        }
    }
    for (int which = 0; which < 2; which++)
        if (add[which])
            json_object_setn_new(specials, text[which].data, text[which].len,
                                 json_pack("{s:s%,s:[I],s:[s%]}", "id", text[which].data, text[which].len, "ids",
                                           (json_int_t)id[which], "tokens", text[which].data, text[which].len));
    json_object_set_new(root, "post_processor",
                        json_pack("{s:s,s:o,s:o,s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                                  "special_tokens", specials));
    return MOSA_OK;
}

static mosa_status save_tokenizer(vocab *v, convert_job *job, mosa_error *err) {
    MOSA_AUTO_JSON json_t *root = json_pack("{s:s,s:n,s:n}", "version", "1.0", "truncation", "padding");
    json_t *added = json_array(), *merges = json_array(), *model;
    mosa_slice unk = {0};
    int64_t unk_id;
    json_object_set_new(root, "added_tokens", added);
    model = json_pack("{s:s,s:n,s:n,s:n,s:n,s:b,s:b,s:b}", "type", "BPE", "dropout", "unk_token",
                      "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", v->sentencepiece, "byte_fallback",
                      v->sentencepiece, "ignore_merges", 0);
    v->words = json_object();
    json_object_set_new(model, "vocab", v->words);
    json_object_set_new(model, "merges", merges);
    json_object_set_new(root, "model", model);
    MOSA_TRY(fill_words(v, added, err));
    MOSA_TRY(v->sentencepiece ? scored_merges(v, merges, err) : listed_merges(v, merges, err));
    MOSA_TRY(special_token(v, "tokenizer.ggml.unknown_token_id", &unk, &unk_id, err));
    if (unk_id >= 0 && v->sentencepiece) json_object_set_new(model, "unk_token", json_stringn(unk.data, unk.len));
    if (v->sentencepiece)
        set_sentencepiece_steps(v, root);
    else
        MOSA_TRY(set_byte_level_steps(v, root, err));
    mosa_slice pre;
    if (mosa_gguf_get_str(v->gguf, "tokenizer.ggml.pre", &pre, NULL) == MOSA_OK &&
        mosa_slice_eq(pre, MOSA_SLICE("llama-bpe")))
        json_object_set_new(model, "ignore_merges", json_true());
    MOSA_TRY(set_post_processor(v, root, err));
    return convert_save_json(job, "tokenizer.json", root, err);
}

static mosa_status save_configs(const vocab *v, convert_job *job, mosa_error *err) {
    static const struct {
        const char *key, *token, *field;
    } rows[] = {{"tokenizer.ggml.bos_token_id", "bos_token", "bos_token_id"},
                {"tokenizer.ggml.eos_token_id", "eos_token", "eos_token_id"},
                {"tokenizer.ggml.unknown_token_id", "unk_token", NULL},
                {"tokenizer.ggml.padding_token_id", "pad_token", "pad_token_id"}};
    MOSA_AUTO_JSON json_t *config = json_object();
    MOSA_AUTO_JSON json_t *generation = json_object();
    mosa_slice chat;
    for (size_t i = 0; i < MOSA_COUNT(rows); i++) {
        mosa_slice text;
        int64_t id;
        MOSA_TRY(special_token(v, rows[i].key, &text, &id, err));
        if (id < 0) continue;
        json_object_set_new(config, rows[i].token, json_stringn(text.data, text.len));
        if (rows[i].field) json_object_set_new(generation, rows[i].field, json_integer(id));
    }
    json_object_set_new(config, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    json_object_set_new(config, "clean_up_tokenization_spaces", json_false());
    json_object_set_new(config, "add_bos_token",
                        json_boolean(flag(v, "tokenizer.ggml.add_bos_token", v->sentencepiece)));
    json_object_set_new(config, "add_eos_token", json_boolean(flag(v, "tokenizer.ggml.add_eos_token", false)));
    if (mosa_gguf_get_str(v->gguf, "tokenizer.chat_template", &chat, NULL) == MOSA_OK)
        json_object_set_new(config, "chat_template", json_stringn(chat.data, chat.len));
    MOSA_TRY(convert_save_json(job, "tokenizer_config.json", config, err));
    return convert_save_json(job, "generation_config.json", generation, err);
}

mosa_status convert_vocab_to_hf(convert_job *job, const mosa_gguf *gguf, mosa_error *err) {
    vocab v = {.gguf = gguf};
    MOSA_TRY(read_vocab(&v, job->arena, err));
    MOSA_TRY(save_tokenizer(&v, job, err));
    return save_configs(&v, job, err);
}
