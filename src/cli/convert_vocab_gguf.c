// tokenizer.json and its companions to tokenizer.* keys.
//
// Byte-level BPE becomes GGUF's "gpt2" model with its merges and the name of its pre-tokenizer. BPE with byte fallback
// (SentencePiece's) becomes "llama", which has scores instead of merges: a token's score is minus the rank of the first
// merge that makes it. Slices borrow from the JSON trees, which live until the keys are written.
#include "cli/convert.h"

#include "base/file.h"
#include "codec/json.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROWS_MAX = 4 << 20, TEMPLATE_MAX = 4 << 20 };

typedef struct vocab {
    const char *path;      // tokenizer.json, for messages
    json_t *root, *config; // tokenizer.json; tokenizer_config.json or NULL
    const json_t *model;
    char *template_text; // chat_template.jinja, or NULL
    mosa_slice *texts;   // (rows)
    int32_t *types;      // (rows) mosa_token_type, 0 = no token yet
    float *scores;       // (rows)
    int64_t rows;
    bool sentencepiece;
} vocab;

static void finish(vocab *v) {
    json_decref(v->root);
    json_decref(v->config);
    free(v->template_text);
}

static mosa_status set_token(vocab *v, const json_t *id, const char *text, size_t len, int32_t type, mosa_error *err) {
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= v->rows)
        return mosa_fail(err, MOSA_EINVALID, "%s: token '%.80s' has no id within the %lld rows of the embedding",
                         v->path, text, (long long)v->rows);
    json_int_t at = json_integer_value(id);
    v->texts[at] = (mosa_slice){text, len};
    v->types[at] = type;
    return MOSA_OK;
}

static bool is_byte_token(mosa_slice text) {
    return text.len == 6 && memcmp(text.data, "<0x", 3) == 0 && text.data[5] == '>';
}

static mosa_status fill_tokens(vocab *v, mosa_error *err) {
    const char *key;
    json_t *value;
    size_t index;
    json_t *words = json_object_get(v->model, "vocab");
    if (!json_is_object(words))
        return mosa_fail(err, MOSA_EINVALID, "%s: field 'model.vocab' is not an object", v->path);
    json_object_foreach(words, key, value) {
        mosa_slice text = mosa_slice_of(key);
        bool byte = v->sentencepiece && is_byte_token(text);
        MOSA_TRY(set_token(v, value, key, text.len, byte ? MOSA_TOKEN_BYTE : MOSA_TOKEN_NORMAL, err));
    }
    json_array_foreach(json_object_get(v->root, "added_tokens"), index, value) {
        const json_t *content = json_object_get(value, "content");
        if (!json_is_string(content))
            return mosa_fail(err, MOSA_EINVALID, "%s: added_tokens[%zu] has no content", v->path, index);
        bool special = json_is_true(json_object_get(value, "special"));
        MOSA_TRY(set_token(v, json_object_get(value, "id"), json_string_value(content), json_string_length(content),
                           special ? MOSA_TOKEN_CONTROL : MOSA_TOKEN_USER_DEFINED, err));
    }
    return MOSA_OK;
}

// Rows of the embedding that no token names still need one.
static mosa_status fill_gaps(vocab *v, mosa_arena *arena, mosa_error *err) {
    for (int64_t i = 0; i < v->rows; i++) {
        if (v->types[i]) continue;
        char *text = mosa_arena_printf(arena, "[PAD%lld]", (long long)i);
        if (!text) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the vocabulary");
        v->texts[i] = mosa_slice_of(text);
        v->types[i] = MOSA_TOKEN_UNUSED;
    }
    return MOSA_OK;
}

// A merge is ["a", "b"] or "a b".
static bool split_merge(const json_t *merge, mosa_slice *left, mosa_slice *right) {
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        const json_t *a = json_array_get(merge, 0), *b = json_array_get(merge, 1);
        if (!json_is_string(a) || !json_is_string(b)) return false;
        *left = (mosa_slice){json_string_value(a), json_string_length(a)};
        *right = (mosa_slice){json_string_value(b), json_string_length(b)};
        return true;
    }
    const char *text = json_string_value(merge);
    const char *space = text ? strchr(text, ' ') : NULL;
    if (!space) return false;
    *left = (mosa_slice){text, (size_t)(space - text)};
    *right = mosa_slice_of(space + 1);
    return true;
}

static mosa_status read_merge(const vocab *v, const json_t *merges, size_t index, mosa_slice *left, mosa_slice *right,
                              mosa_error *err) {
    if (split_merge(json_array_get(merges, index), left, right)) return MOSA_OK;
    return mosa_fail(err, MOSA_EINVALID, "%s: model.merges[%zu] is no pair", v->path, index);
}

static mosa_status put_merges(const vocab *v, convert_job *job, mosa_error *err) {
    const json_t *merges = json_object_get(v->model, "merges");
    size_t count = json_array_size(merges);
    mosa_slice *lines = MOSA_ARENA_ARRAY(job->arena, mosa_slice, count);
    if (!lines) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the merges");
    for (size_t i = 0; i < count; i++) {
        mosa_slice left, right;
        MOSA_TRY(read_merge(v, merges, i, &left, &right, err));
        char *line = mosa_arena_alloc(job->arena, left.len + right.len + 1);
        if (!line) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the merges");
        memcpy(line, left.data, left.len);
        line[left.len] = ' ';
        memcpy(line + left.len + 1, right.data, right.len);
        lines[i] = (mosa_slice){line, left.len + right.len + 1};
    }
    mosa_gguf_writer_put_strs(job->gguf, "tokenizer.ggml.merges", lines, count);
    return MOSA_OK;
}

static mosa_status score_by_merges(vocab *v, mosa_error *err) {
    const json_t *merges = json_object_get(v->model, "merges");
    const json_t *words = json_object_get(v->model, "vocab");
    mosa_buf joined;
    mosa_buf_init(&joined, 0);
    mosa_status status = MOSA_OK;
    for (size_t i = 0; i < json_array_size(merges) && status == MOSA_OK; i++) {
        mosa_slice left, right;
        status = read_merge(v, merges, i, &left, &right, err);
        if (status != MOSA_OK) break;
        mosa_buf_clear(&joined);
        mosa_buf_append_slice(&joined, left);
        mosa_buf_append_slice(&joined, right);
        const json_t *id = json_object_get(words, mosa_buf_str(&joined));
        if (mosa_buf_failed(&joined)) status = mosa_fail(err, MOSA_ENOMEM, "out of memory for the merges");
        if (id && v->scores[json_integer_value(id)] == 0) v->scores[json_integer_value(id)] = -(float)(i + 1);
    }
    mosa_buf_finish(&joined);
    return status;
}

// Letters that no merge makes: below every merge, so that no pair of them is ever preferred.
static void score_the_rest(vocab *v) {
    float lowest = -(float)(json_array_size(json_object_get(v->model, "merges")) + 1);
    for (int64_t i = 0; i < v->rows; i++)
        if (v->types[i] == MOSA_TOKEN_NORMAL && v->scores[i] == 0) v->scores[i] = lowest;
}

// {"content": "<s>", ...} or "<s>" to its id; -1 when there is none.
static int64_t id_of(const vocab *v, const json_t *token) {
    const char *text = json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
    if (!text) return -1;
    mosa_slice wanted = mosa_slice_of(text);
    for (int64_t i = 0; i < v->rows; i++)
        if (v->types[i] != MOSA_TOKEN_UNUSED && mosa_slice_eq(v->texts[i], wanted)) return i;
    return -1;
}

// The token that tokenizer_config.json names, else the id in config.json.
static int64_t special_id(const vocab *v, const mosa_hf_config *config, const char *token, const char *field) {
    int64_t ids[MOSA_HF_IDS_MAX], id = id_of(v, json_object_get(v->config, token));
    size_t count;
    if (id >= 0) return id;
    if (mosa_hf_config_i64s(config, field, 0, v->rows - 1, ids, MOSA_HF_IDS_MAX, &count, NULL) != MOSA_OK) return -1;
    return count ? ids[0] : -1;
}

// Whether the post-processor puts this id at the start (or end) of a text.
static bool template_adds(const vocab *v, int64_t id, bool at_start) {
    const json_t *post = json_object_get(v->root, "post_processor");
    const json_t *single = json_object_get(post, "single"), *processor;
    size_t index;
    json_array_foreach(json_object_get(post, "processors"), index, processor) if (!single) single =
        json_object_get(processor, "single");
    size_t count = json_array_size(single);
    if (id < 0 || count == 0) return false;
    const json_t *item = json_array_get(single, at_start ? 0 : count - 1);
    const json_t *name = json_object_get(json_object_get(item, "SpecialToken"), "id");
    return name && id_of(v, name) == id;
}

static bool adds(const vocab *v, const char *field, int64_t id, bool at_start) {
    const json_t *flag = json_object_get(v->config, field);
    return json_is_boolean(flag) ? json_is_true(flag) : template_adds(v, id, at_start);
}

static void put_special_ids(const vocab *v, convert_job *job, const mosa_hf_config *config) {
    static const struct {
        const char *token, *field, *key;
    } rows[] = {{"bos_token", "bos_token_id", "tokenizer.ggml.bos_token_id"},
                {"eos_token", "eos_token_id", "tokenizer.ggml.eos_token_id"},
                {"unk_token", "unk_token_id", "tokenizer.ggml.unknown_token_id"},
                {"pad_token", "pad_token_id", "tokenizer.ggml.padding_token_id"}};
    int64_t ids[MOSA_COUNT(rows)];
    for (size_t i = 0; i < MOSA_COUNT(rows); i++) {
        ids[i] = special_id(v, config, rows[i].token, rows[i].field);
        if (ids[i] >= 0) mosa_gguf_writer_put_u32(job->gguf, rows[i].key, (uint32_t)ids[i]);
    }
    mosa_gguf_writer_put_bool(job->gguf, "tokenizer.ggml.add_bos_token", adds(v, "add_bos_token", ids[0], true));
    mosa_gguf_writer_put_bool(job->gguf, "tokenizer.ggml.add_eos_token", adds(v, "add_eos_token", ids[1], false));
}

// chat_template: a string, or a list of named ones of which "default" counts; chat_template.jinja goes first.
static void put_chat_template(const vocab *v, convert_job *job) {
    const json_t *value = json_object_get(v->config, "chat_template"), *item;
    const char *text = v->template_text;
    size_t index;
    json_array_foreach(value, index, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (!text && name && strcmp(name, "default") == 0) text = json_string_value(json_object_get(item, "template"));
    }
    if (!text) text = json_string_value(value);
    if (text) mosa_gguf_writer_put_str(job->gguf, "tokenizer.chat_template", mosa_slice_of(text));
}

// SentencePiece's dummy prefix shows as a Prepend normaliser or a Metaspace step.
static bool prepends_space(const json_t *step) {
    const char *type = json_string_value(json_object_get(step, "type"));
    const char *scheme = json_string_value(json_object_get(step, "prepend_scheme"));
    const json_t *inner;
    size_t index;
    if (!type) return false;
    if (strcmp(type, "Prepend") == 0) return true;
    if (strcmp(type, "Metaspace") == 0)
        return scheme ? strcmp(scheme, "never") != 0 : !json_is_false(json_object_get(step, "add_prefix_space"));
    json_array_foreach(json_object_get(step, "normalizers"), index, inner) if (prepends_space(inner)) return true;
    return false;
}

static mosa_status put_sentencepiece(vocab *v, convert_job *job, mosa_error *err) {
    const char *unk = json_string_value(json_object_get(v->model, "unk_token"));
    for (int64_t i = 0; unk && i < v->rows; i++)
        if (mosa_slice_eq(v->texts[i], mosa_slice_of(unk))) v->types[i] = MOSA_TOKEN_UNKNOWN;
    MOSA_TRY(score_by_merges(v, err));
    score_the_rest(v);
    mosa_gguf_writer_put_str(job->gguf, "tokenizer.ggml.model", MOSA_SLICE("llama"));
    mosa_gguf_writer_put_str(job->gguf, "tokenizer.ggml.pre", MOSA_SLICE("default"));
    mosa_gguf_writer_put_f32s(job->gguf, "tokenizer.ggml.scores", v->scores, (size_t)v->rows);
    bool space = prepends_space(json_object_get(v->root, "normalizer")) ||
                 prepends_space(json_object_get(v->root, "pre_tokenizer"));
    mosa_gguf_writer_put_bool(job->gguf, "tokenizer.ggml.add_space_prefix", space);
    return MOSA_OK;
}

static mosa_status put_byte_level(const vocab *v, convert_job *job, mosa_error *err) {
    const char *pre = job->pre ? job->pre : convert_pre_name(json_object_get(v->root, "pre_tokenizer"));
    if (!pre) {
        mosa_fail(err, MOSA_EUNSUPPORTED, "%s: GGUF has no name known here for its pre_tokenizer", v->path);
        mosa_hint(err, "give the name with --pre, for example --pre llama-bpe");
        return MOSA_EUNSUPPORTED;
    }
    mosa_gguf_writer_put_str(job->gguf, "tokenizer.ggml.model", MOSA_SLICE("gpt2"));
    mosa_gguf_writer_put_str(job->gguf, "tokenizer.ggml.pre", mosa_slice_of(pre));
    return put_merges(v, job, err);
}

// An optional file of the folder.
static mosa_status load_beside(const char *folder, const char *name, json_t **out, mosa_error *err) {
    MOSA_AUTO_FREE char *path = mosa_path_join(folder, name);
    if (!path) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", name);
    return mosa_file_exists(path) ? mosa_json_load(path, NULL, out, err) : MOSA_OK;
}

static mosa_status load(vocab *v, const char *folder, mosa_arena *arena, mosa_error *err) {
    size_t len;
    v->path = mosa_arena_printf(arena, "%s/tokenizer.json", folder);
    char *template_path = mosa_arena_printf(arena, "%s/chat_template.jinja", folder);
    v->texts = MOSA_ARENA_ARRAY(arena, mosa_slice, (size_t)v->rows);
    v->types = MOSA_ARENA_ARRAY(arena, int32_t, (size_t)v->rows);
    v->scores = MOSA_ARENA_ARRAY(arena, float, (size_t)v->rows);
    if (!v->path || !template_path || !v->texts || !v->types || !v->scores)
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for a vocabulary of %lld", (long long)v->rows);
    MOSA_TRY(mosa_json_load(v->path, NULL, &v->root, err));
    MOSA_TRY(load_beside(folder, "tokenizer_config.json", &v->config, err));
    if (mosa_file_exists(template_path))
        MOSA_TRY(mosa_file_read(template_path, TEMPLATE_MAX, &v->template_text, &len, err));
    v->model = json_object_get(v->root, "model");
    const char *type = json_string_value(json_object_get(v->model, "type"));
    if ((type && strcmp(type, "BPE") != 0) || !json_is_array(json_object_get(v->model, "merges")))
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: tokenizer model '%s' cannot be converted, BPE can", v->path,
                         type ? type : "(unnamed)");
    v->sentencepiece = json_is_true(json_object_get(v->model, "byte_fallback"));
    return MOSA_OK;
}

static mosa_status put_all(vocab *v, convert_job *job, const mosa_model_source *source, mosa_error *err) {
    MOSA_TRY(load(v, mosa_model_source_path(source), job->arena, err));
    MOSA_TRY(fill_tokens(v, err));
    MOSA_TRY(fill_gaps(v, job->arena, err));
    MOSA_TRY(v->sentencepiece ? put_sentencepiece(v, job, err) : put_byte_level(v, job, err));
    mosa_gguf_writer_put_strs(job->gguf, "tokenizer.ggml.tokens", v->texts, (size_t)v->rows);
    mosa_gguf_writer_put_i32s(job->gguf, "tokenizer.ggml.token_type", v->types, (size_t)v->rows);
    put_special_ids(v, job, mosa_model_source_hf_config(source));
    put_chat_template(v, job);
    return MOSA_OK;
}

mosa_status convert_vocab_to_gguf(convert_job *job, const mosa_model_source *source, int64_t rows, mosa_error *err) {
    if (rows > ROWS_MAX)
        return mosa_fail(err, MOSA_ELIMIT, "%s: %lld rows of embedding, at most %d are allowed", job->in,
                         (long long)rows, ROWS_MAX);
    vocab v = {.rows = rows};
    mosa_status status = put_all(&v, job, source, err);
    finish(&v);
    return status;
}
