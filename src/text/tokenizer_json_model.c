// The model of tokenizer.json and its added tokens: one table of tokens by id, checked for overlaps and gaps.
#include "text/tokenizer_json_internal.h"

static mosa_status no_memory(mosa_json_tokenizer *load) {
    return mosa_fail(load->err, MOSA_ENOMEM, "%s: out of memory for the vocabulary", load->source);
}

static mosa_status bad(mosa_json_tokenizer *load, const char *field) {
    return mosa_fail(load->err, MOSA_ECORRUPT, "%s: %s is missing or wrong", load->source, field);
}

static mosa_slice slice_of(const json_t *string) {
    return (mosa_slice){json_string_value(string), json_string_length(string)};
}

// --- Ids ------------------------------------------------------------------------------------------------------------

// Room for all ids of vocabulary and added tokens. A few gaps are normal; a file of gaps would only cost memory.
static mosa_status size_table(mosa_json_tokenizer *load, const json_t *vocab, const json_t *added) {
    json_int_t max = -1;
    size_t entries = json_object_size(vocab) + json_array_size(added) + json_array_size(vocab);
    if (json_is_array(vocab)) max = (json_int_t)json_array_size(vocab) - 1;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)vocab, key, value) {
        if (!json_is_integer(value) || json_integer_value(value) < 0) {
            return mosa_fail(load->err, MOSA_ECORRUPT, "%s: model.vocab: the id of \"%.64s\" is not a number from 0 on",
                             load->source, key);
        }
        if (json_integer_value(value) > max) max = json_integer_value(value);
    }
    size_t i;
    json_array_foreach(added, i, value) {
        json_t *id = json_object_get(value, "id");
        if (!json_is_integer(id) || json_integer_value(id) < 0) {
            return mosa_fail(load->err, MOSA_ECORRUPT, "%s: added_tokens[%zu].id is not a number from 0 on",
                             load->source, i);
        }
        if (json_integer_value(id) > max) max = json_integer_value(id);
    }
    if (max >= MOSA_VOCAB_MAX || (size_t)(max + 1) > entries * 4 + 65536) {
        return mosa_fail(load->err, MOSA_ELIMIT, "%s: token id %lld is out of proportion to %zu tokens", load->source,
                         (long long)max, entries);
    }
    if (max < 0) return bad(load, "model.vocab");
    load->spec.token_count = (size_t)max + 1;
    load->tokens = MOSA_ARENA_ARRAY(load->arena, mosa_token_spec, load->spec.token_count);
    return load->tokens ? MOSA_OK : no_memory(load);
}

static mosa_status set_token(mosa_json_tokenizer *load, size_t id, mosa_token_spec token) {
    mosa_token_spec *slot = &load->tokens[id];
    if (slot->text.data) {
        return mosa_fail(load->err, MOSA_ECORRUPT, "%s: tokens \"%.*s\" and \"%.*s\" both have id %zu", load->source,
                         (int)(slot->text.len > 64 ? 64 : slot->text.len), slot->text.data,
                         (int)(token.text.len > 64 ? 64 : token.text.len), token.text.data, id);
    }
    *slot = token;
    return MOSA_OK;
}

static mosa_status read_vocab_object(mosa_json_tokenizer *load, const json_t *vocab) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)vocab, key, value) {
        mosa_token_spec token = {.text = mosa_slice_of(key), .type = MOSA_TOKEN_NORMAL};
        MOSA_TRY(set_token(load, (size_t)json_integer_value(value), token));
    }
    return MOSA_OK;
}

static mosa_status read_vocab_scores(mosa_json_tokenizer *load, const json_t *vocab) {
    size_t i;
    const json_t *entry;
    json_array_foreach(vocab, i, entry) {
        const json_t *text = json_array_get(entry, 0), *score = json_array_get(entry, 1);
        if (!json_is_string(text) || !json_is_number(score)) {
            return mosa_fail(load->err, MOSA_ECORRUPT, "%s: model.vocab[%zu] is not [text, score]", load->source, i);
        }
        mosa_token_spec token = {.text = slice_of(text), .score = json_number_value(score), .type = MOSA_TOKEN_NORMAL};
        MOSA_TRY(set_token(load, i, token));
    }
    return MOSA_OK;
}

static mosa_status read_added(mosa_json_tokenizer *load, const json_t *added) {
    load->added = MOSA_ARENA_ARRAY(load->arena, mosa_added_token_spec, json_array_size(added));
    if (!load->added) return no_memory(load);
    size_t i;
    const json_t *value;
    json_array_foreach(added, i, value) {
        mosa_added_token_spec token = {
            .text = mosa_json_text(value, "content", (mosa_slice){NULL, 0}),
            .id = (mosa_token_id)json_integer_value(json_object_get(value, "id")),
            .special = mosa_json_bool(value, "special", false),
            .normalized = mosa_json_bool(value, "normalized", !mosa_json_bool(value, "special", false)),
            .lstrip = mosa_json_bool(value, "lstrip", false),
            .rstrip = mosa_json_bool(value, "rstrip", false),
            .single_word = mosa_json_bool(value, "single_word", false),
        };
        if (!token.text.data) {
            return mosa_fail(load->err, MOSA_ECORRUPT, "%s: added_tokens[%zu].content is missing", load->source, i);
        }
        mosa_token_spec *slot = &load->tokens[token.id];
        if (slot->text.data && mosa_slice_eq(slot->text, token.text)) {
            if (token.special) slot->type = MOSA_TOKEN_CONTROL;
        } else {
            mosa_token_type type = token.special ? MOSA_TOKEN_CONTROL : MOSA_TOKEN_USER_DEFINED;
            MOSA_TRY(set_token(load, (size_t)token.id,
                               (mosa_token_spec){.text = token.text, .type = type, .added_only = true}));
        }
        load->added[load->spec.added_count++] = token;
    }
    return MOSA_OK;
}

// The id of a model's unknown token, by its spelling.
static mosa_status find_unk(mosa_json_tokenizer *load, const json_t *vocab, mosa_slice text) {
    if (!text.data) return MOSA_OK;
    const json_t *id = json_object_getn(vocab, text.data, text.len);
    if (!json_is_integer(id)) {
        return mosa_fail(load->err, MOSA_ECORRUPT, "%s: model.unk_token \"%.*s\" is not in the vocabulary",
                         load->source, (int)(text.len > 64 ? 64 : text.len), text.data);
    }
    load->spec.special.unk = (mosa_token_id)json_integer_value(id);
    return MOSA_OK;
}

// --- Merges ---------------------------------------------------------------------------------------------------------

static bool read_merge(const json_t *value, mosa_merge_spec *merge) {
    if (json_is_array(value)) {
        const json_t *left = json_array_get(value, 0), *right = json_array_get(value, 1);
        if (json_array_size(value) != 2 || !json_is_string(left) || !json_is_string(right)) return false;
        *merge = (mosa_merge_spec){slice_of(left), slice_of(right)};
        return true;
    }
    if (!json_is_string(value)) return false;
    mosa_slice text = slice_of(value);
    const char *space = memchr(text.data, ' ', text.len);
    if (!space || memchr(space + 1, ' ', text.len - (size_t)(space + 1 - text.data))) return false;
    size_t at = (size_t)(space - text.data);
    *merge = (mosa_merge_spec){{text.data, at}, {space + 1, text.len - at - 1}};
    return true;
}

static mosa_status read_merges(mosa_json_tokenizer *load, const json_t *list) {
    if (!json_is_array(list)) return bad(load, "model.merges");
    mosa_merge_spec *merges = MOSA_ARENA_ARRAY(load->arena, mosa_merge_spec, json_array_size(list));
    if (!merges) return no_memory(load);
    size_t i;
    const json_t *value;
    json_array_foreach(list, i, value) {
        if (!read_merge(value, &merges[i])) {
            return mosa_fail(load->err, MOSA_ECORRUPT, "%s: model.merges[%zu] is not a pair of tokens", load->source,
                             i);
        }
    }
    load->spec.merges = merges;
    load->spec.merge_count = json_array_size(list);
    return MOSA_OK;
}

// --- Models ---------------------------------------------------------------------------------------------------------

static mosa_status read_bpe(mosa_json_tokenizer *load, const json_t *model) {
    mosa_tokenizer_spec *spec = &load->spec;
    spec->model = MOSA_MODEL_BPE;
    spec->merge_source = MOSA_MERGES_LISTED;
    spec->ignore_merges = mosa_json_bool(model, "ignore_merges", false);
    spec->byte_fallback = mosa_json_bool(model, "byte_fallback", false);
    spec->fuse_unk = mosa_json_bool(model, "fuse_unk", false);
    spec->subword_prefix = mosa_json_text(model, "continuing_subword_prefix", MOSA_SLICE(""));
    spec->word_suffix = mosa_json_text(model, "end_of_word_suffix", MOSA_SLICE(""));
    if (json_number_value(json_object_get(model, "dropout")) > 0) {
        return mosa_fail(load->err, MOSA_EUNSUPPORTED, "%s: model.dropout above 0 makes tokenization random",
                         load->source);
    }
    return read_merges(load, json_object_get(model, "merges"));
}

static mosa_status read_unigram(mosa_json_tokenizer *load, const json_t *model) {
    mosa_tokenizer_spec *spec = &load->spec;
    spec->model = MOSA_MODEL_UNIGRAM;
    spec->byte_fallback = mosa_json_bool(model, "byte_fallback", false);
    spec->fuse_unk = true;
    const json_t *unk = json_object_get(model, "unk_id");
    if (!unk || json_is_null(unk)) return MOSA_OK;
    json_int_t id = json_integer_value(unk);
    if (!json_is_integer(unk) || id < 0 || (size_t)id >= spec->token_count) return bad(load, "model.unk_id");
    spec->special.unk = (mosa_token_id)id;
    return MOSA_OK;
}

static mosa_status read_wordpiece(mosa_json_tokenizer *load, const json_t *model) {
    mosa_tokenizer_spec *spec = &load->spec;
    spec->model = MOSA_MODEL_WORDPIECE;
    spec->subword_prefix = mosa_json_text(model, "continuing_subword_prefix", MOSA_SLICE("##"));
    const json_t *max = json_object_get(model, "max_input_chars_per_word");
    if (max && (!json_is_integer(max) || json_integer_value(max) < 0))
        return bad(load, "model.max_input_chars_per_word");
    spec->word_chars_max = max ? (size_t)json_integer_value(max) : 100;
    return MOSA_OK;
}

// Old files leave the model's type out; its fields tell.
static const char *model_type(const json_t *model) {
    const char *type = json_string_value(json_object_get(model, "type"));
    if (type) return type;
    if (json_object_get(model, "merges")) return "BPE";
    return json_is_array(json_object_get(model, "vocab")) ? "Unigram" : "WordPiece";
}

mosa_status mosa_json_read_model(mosa_json_tokenizer *load, const json_t *model, const json_t *added) {
    if (!json_is_object(model)) return bad(load, "model");
    const json_t *vocab = json_object_get(model, "vocab");
    const char *type = model_type(model);
    bool unigram = strcmp(type, "Unigram") == 0, wordpiece = strcmp(type, "WordPiece") == 0;
    if (!unigram && !wordpiece && strcmp(type, "BPE") != 0) {
        return mosa_fail(load->err, MOSA_EUNSUPPORTED, "%s: model of type \"%.64s\" is not supported", load->source,
                         type);
    }
    if (unigram ? !json_is_array(vocab) : !json_is_object(vocab)) return bad(load, "model.vocab");
    if (added && !json_is_null(added) && !json_is_array(added)) return bad(load, "added_tokens");
    MOSA_TRY(size_table(load, vocab, added));
    MOSA_TRY(unigram ? read_vocab_scores(load, vocab) : read_vocab_object(load, vocab));
    MOSA_TRY(read_added(load, added));
    load->spec.tokens = load->tokens;
    load->spec.added = load->added;
    if (unigram) return read_unigram(load, model);
    mosa_slice unk = mosa_json_text(model, "unk_token", wordpiece ? MOSA_SLICE("[UNK]") : (mosa_slice){NULL, 0});
    MOSA_TRY(find_unk(load, vocab, unk));
    return wordpiece ? read_wordpiece(load, model) : read_bpe(load, model);
}
