// Building a tokenizer from its description, and everything that only looks things up.
#include "text/tokenizer_spec.h"

#include <stdio.h>
#include <stdlib.h>

#include "text/byte_level.h"
#include "text/tokenizer_internal.h"

// --- Lists of ids ---------------------------------------------------------------------------------------------------

void mosa_token_list_init(mosa_token_list *list, size_t limit) {
    *list = (mosa_token_list){.limit = limit};
}

void mosa_token_list_finish(mosa_token_list *list) {
    free(list->ids);
    *list = (mosa_token_list){.limit = list->limit};
}

void mosa_token_list_clear(mosa_token_list *list) {
    list->len = 0;
    list->failed = false;
}

void mosa_token_list_append(mosa_token_list *list, mosa_token_id id) {
    if (list->failed) return;
    if (list->len == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        mosa_token_id *ids = capacity > SIZE_MAX / sizeof *ids ? NULL : realloc(list->ids, capacity * sizeof *ids);
        if (!ids) {
            list->failed = true;
            return;
        }
        list->ids = ids;
        list->capacity = capacity;
    }
    if (list->limit && list->len >= list->limit) {
        list->failed = true;
        return;
    }
    list->ids[list->len++] = id;
}

// --- Building -------------------------------------------------------------------------------------------------------

void mosa_tokenizer_spec_init(mosa_tokenizer_spec *spec, const char *source) {
    *spec = (mosa_tokenizer_spec){.source = source};
    mosa_token_id none = MOSA_TOKEN_NONE;
    spec->special = (mosa_special_ids){none, none, none, none, none, none, none, none, none};
}

static mosa_status no_memory(const mosa_tokenizer_spec *spec, mosa_error *err) {
    return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory for a vocabulary of %zu tokens", spec->source,
                     spec->token_count);
}

static mosa_status check_id(const mosa_tokenizer_spec *spec, const char *what, mosa_token_id id, mosa_error *err) {
    if (id == MOSA_TOKEN_NONE || (id >= 0 && (size_t)id < spec->token_count)) return MOSA_OK;
    return mosa_fail(err, MOSA_ECORRUPT, "%s: %s is token %d, the vocabulary has %zu", spec->source, what, (int)id,
                     spec->token_count);
}

static mosa_status check_ids(const mosa_tokenizer_spec *spec, mosa_error *err) {
    const mosa_special_ids *s = &spec->special;
    const struct {
        const char *name;
        mosa_token_id id;
    } named[] = {{"bos", s->bos}, {"eos", s->eos},   {"unk", s->unk}, {"pad", s->pad}, {"sep", s->sep},
                 {"cls", s->cls}, {"mask", s->mask}, {"eot", s->eot}, {"eom", s->eom}};
    for (size_t i = 0; i < MOSA_COUNT(named); i++) MOSA_TRY(check_id(spec, named[i].name, named[i].id, err));
    for (size_t i = 0; i < spec->prefix_count; i++) MOSA_TRY(check_id(spec, "a prefix", spec->prefix_ids[i], err));
    for (size_t i = 0; i < spec->suffix_count; i++) MOSA_TRY(check_id(spec, "a suffix", spec->suffix_ids[i], err));
    for (size_t i = 0; i < spec->added_count; i++) {
        if (spec->added[i].id < 0)
            return mosa_fail(err, MOSA_ECORRUPT, "%s: an added token has a negative id", spec->source);
        MOSA_TRY(check_id(spec, "an added token", spec->added[i].id, err));
    }
    return MOSA_OK;
}

static mosa_status check_spec(const mosa_tokenizer_spec *spec, mosa_error *err) {
    const char *source = spec->source;
    if (spec->token_count == 0 || spec->token_count > MOSA_VOCAB_MAX) {
        return mosa_fail(err, spec->token_count ? MOSA_ELIMIT : MOSA_ECORRUPT,
                         "%s: a vocabulary of %zu tokens, between 1 and %d are allowed", source, spec->token_count,
                         MOSA_VOCAB_MAX);
    }
    if (spec->normalizer_count > MOSA_STEPS_MAX || spec->pretokenizer_count > MOSA_STEPS_MAX ||
        spec->decoder_count > MOSA_STEPS_MAX) {
        return mosa_fail(err, MOSA_ELIMIT, "%s: more than %d normalizer, pre_tokenizer or decoder steps", source,
                         MOSA_STEPS_MAX);
    }
    if (spec->merge_count > MOSA_MERGES_MAX || spec->added_count > MOSA_ADDED_TOKENS_MAX) {
        return mosa_fail(err, MOSA_ELIMIT, "%s: %zu merges and %zu added tokens, at most %d and %d are allowed", source,
                         spec->merge_count, spec->added_count, MOSA_MERGES_MAX, MOSA_ADDED_TOKENS_MAX);
    }
    size_t bytes_max = spec->model == MOSA_MODEL_BPE ? MOSA_TOKEN_BYTES_MAX : MOSA_TRIE_BYTES_MAX;
    for (size_t i = 0; i < spec->token_count; i++) {
        mosa_slice text = spec->tokens[i].text;
        if (text.len > bytes_max) {
            return mosa_fail(err, MOSA_ELIMIT, "%s: token %zu has %zu bytes, the limit is %zu", source, i, text.len,
                             bytes_max);
        }
        if (mosa_utf8_valid_prefix(text.data, text.len) != text.len) {
            return mosa_fail(err, MOSA_ECORRUPT, "%s: token %zu is not valid UTF-8", source, i);
        }
        if (spec->tokens[i].score != spec->tokens[i].score) {
            return mosa_fail(err, MOSA_ECORRUPT, "%s: the score of token %zu is not a number", source, i);
        }
    }
    return check_ids(spec, err);
}

static mosa_status copy_tokens(mosa_tokenizer *t, const mosa_tokenizer_spec *spec, mosa_error *err) {
    size_t count = spec->token_count, bytes = 0;
    for (size_t i = 0; i < count; i++) bytes += spec->tokens[i].text.len + 1;
    char *at = mosa_arena_alloc(&t->arena, bytes);
    t->text = MOSA_ARENA_ARRAY(&t->arena, mosa_slice, count);
    t->type = MOSA_ARENA_ARRAY(&t->arena, uint8_t, count);
    t->skipped = MOSA_ARENA_ARRAY(&t->arena, uint8_t, count);
    if (!at || !t->text || !t->type || !t->skipped || !mosa_string_table_init(&t->by_text, &t->arena, t->text, count)) {
        return no_memory(spec, err);
    }
    t->token_count = count;
    for (size_t i = 0; i < count; i++) {
        const mosa_token_spec *token = &spec->tokens[i];
        t->type[i] = (uint8_t)(token->text.data ? token->type : MOSA_TOKEN_UNUSED);
        t->skipped[i] = token->type == MOSA_TOKEN_CONTROL || token->type == MOSA_TOKEN_UNKNOWN;
        if (!token->text.data) continue;
        t->text[i] = (mosa_slice){at, token->text.len};
        if (token->text.len) memcpy(at, token->text.data, token->text.len);
        at += token->text.len + 1;
        mosa_string_table_add(&t->by_text, (int32_t)i);
    }
    return MOSA_OK;
}

static mosa_token_id *copy_ids(mosa_tokenizer *t, const mosa_token_id *ids, size_t count) {
    mosa_token_id *copy = MOSA_ARENA_ARRAY(&t->arena, mosa_token_id, count);
    if (copy && count) memcpy(copy, ids, count * sizeof *ids);
    return copy;
}

// Spellings that end a turn or a message wherever they are control tokens, whatever the file calls eos.
static const struct {
    const char *text;
    enum { ENDS, ENDS_TURN, ENDS_MESSAGE } what;
} end_spellings[] = {
    {"<|eot_id|>", ENDS_TURN},
    {"<|im_end|>", ENDS_TURN},
    {"<|end|>", ENDS_TURN},
    {"<end_of_turn>", ENDS_TURN},
    {"<turn|>", ENDS_TURN},
    {"<|endoftext|>", ENDS},
    {"<|end_of_text|>", ENDS},
    {"<|eom_id|>", ENDS_MESSAGE},
    {"<EOT>", ENDS},
    {"<|end_of_turn|>", ENDS_TURN},
    {"<|return|>", ENDS},
    {"<|call|>", ENDS_MESSAGE},
    {"<|calls|>", ENDS_MESSAGE},
    {"<|eot|>", ENDS_TURN},
    {"<end_of_utterance>", ENDS_TURN},
    {"<|END_OF_TURN_TOKEN|>", ENDS_TURN},
};

static void add_end(mosa_tokenizer *t, mosa_token_id id) {
    if (id < 0) return;
    for (size_t i = 0; i < t->end_count; i++) {
        if (t->end_ids[i] == id) return;
    }
    t->end_ids[t->end_count++] = id;
}

static mosa_status find_ends(mosa_tokenizer *t, const mosa_tokenizer_spec *spec, mosa_error *err) {
    t->special = spec->special;
    t->end_ids = MOSA_ARENA_ARRAY(&t->arena, mosa_token_id, MOSA_COUNT(end_spellings) + 3);
    t->prefix_ids = copy_ids(t, spec->prefix_ids, spec->prefix_count);
    t->suffix_ids = copy_ids(t, spec->suffix_ids, spec->suffix_count);
    if (!t->end_ids || !t->prefix_ids || !t->suffix_ids) return no_memory(spec, err);
    t->prefix_count = spec->prefix_count;
    t->suffix_count = spec->suffix_count;
    add_end(t, t->special.eos);
    for (size_t i = 0; i < MOSA_COUNT(end_spellings); i++) {
        mosa_token_id id = mosa_tokenizer_find(t, mosa_slice_of(end_spellings[i].text));
        if (id < 0 || t->type[id] != MOSA_TOKEN_CONTROL) continue;
        if (end_spellings[i].what == ENDS_TURN && t->special.eot < 0) t->special.eot = id;
        if (end_spellings[i].what == ENDS_MESSAGE && t->special.eom < 0) t->special.eom = id;
        add_end(t, id);
    }
    add_end(t, t->special.eot);
    add_end(t, t->special.eom);
    return MOSA_OK;
}

static mosa_status build_steps(mosa_tokenizer *t, const mosa_tokenizer_spec *spec, mosa_error *err) {
    for (size_t i = 0; i < spec->normalizer_count; i++) {
        mosa_normalizer *step = &t->normalizers[t->normalizer_count++];
        MOSA_TRY(mosa_normalizer_build(step, &t->arena, &spec->normalizers[i], t->source, err));
        if (spec->normalizers[i].kind == MOSA_NORM_BYTE_LEVEL) t->byte_level = t->spelled = true;
    }
    for (size_t i = 0; i < spec->pretokenizer_count; i++) {
        mosa_pretokenizer *step = &t->pretokenizers[t->pretokenizer_count++];
        MOSA_TRY(mosa_pretokenizer_build(step, &t->arena, &spec->pretokenizers[i], t->source, err));
        if (spec->pretokenizers[i].kind != MOSA_PRE_BYTE_LEVEL) continue;
        if (t->byte_level) {
            return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: more than one ByteLevel step before the model", t->source);
        }
        t->byte_level = true;
        t->spelled = i + 1 < spec->pretokenizer_count;
        const mosa_pretokenizer_spec spell = {.kind = MOSA_PRE_SPELL_BYTES, .pattern = MOSA_SLICE("")};
        if (!t->spelled) continue;
        step = &t->pretokenizers[t->pretokenizer_count++];
        MOSA_TRY(mosa_pretokenizer_build(step, &t->arena, &spell, t->source, err));
    }
    return MOSA_OK;
}

// What each token looks like to the model: data NULL for those that it may not make, raw bytes for byte-level BPE.
static mosa_status model_texts(mosa_tokenizer *t, const mosa_tokenizer_spec *spec, mosa_slice **out, mosa_error *err) {
    mosa_slice *text = MOSA_ARENA_ARRAY(&t->arena, mosa_slice, t->token_count);
    mosa_buf bytes;
    mosa_buf_init(&bytes, 0);
    bool ok = text != NULL;
    for (size_t i = 0; ok && i < t->token_count; i++) {
        if (spec->tokens[i].added_only || !t->text[i].data) continue;
        if (t->type[i] == MOSA_TOKEN_CONTROL || t->type[i] == MOSA_TOKEN_UNKNOWN || t->type[i] == MOSA_TOKEN_BYTE)
            continue;
        if (t->type[i] == MOSA_TOKEN_UNUSED && spec->sentencepiece && t->model == MOSA_MODEL_UNIGRAM) continue;
        text[i] = t->text[i];
        if (!t->byte_level || t->model != MOSA_MODEL_BPE) continue;
        mosa_buf_clear(&bytes);
        bool spelled = mosa_byte_level_decode(t->text[i], &bytes);
        text[i] =
            (mosa_slice){spelled ? mosa_arena_strndup(&t->arena, mosa_buf_str(&bytes), bytes.len) : NULL, bytes.len};
        ok = !mosa_buf_failed(&bytes) && (!spelled || text[i].data);
    }
    mosa_buf_finish(&bytes);
    *out = text;
    return ok ? MOSA_OK : no_memory(spec, err);
}

static mosa_status build_model(mosa_tokenizer *t, const mosa_tokenizer_spec *spec, mosa_error *err) {
    mosa_slice *text;
    MOSA_TRY(model_texts(t, spec, &text, err));
    if (t->model == MOSA_MODEL_WORDPIECE) return mosa_wordpiece_build(&t->wordpiece, spec, text, err);
    if (t->model == MOSA_MODEL_BPE) {
        return mosa_bpe_build(&t->bpe, &t->arena, spec, text, &t->by_text, t->byte_level, err);
    }
    int32_t bytes[256];
    for (int i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        bytes[i] = mosa_string_table_find(&t->by_text, name, 6);
    }
    return mosa_unigram_build(&t->unigram, &t->arena, spec, text, bytes, err);
}

// A SentencePiece model's normaliser lets user-defined pieces through as they are.
static mosa_status build_verbatim(mosa_tokenizer *t, const mosa_tokenizer_spec *spec, mosa_error *err) {
    mosa_normalizer *step = NULL;
    for (size_t i = 0; i < t->normalizer_count; i++) {
        if (t->normalizers[i].spec.kind == MOSA_NORM_SENTENCEPIECE) step = &t->normalizers[i];
    }
    if (!step || !spec->sentencepiece) return MOSA_OK;
    for (size_t i = 0; i < t->token_count; i++) {
        if (t->type[i] != MOSA_TOKEN_USER_DEFINED || t->text[i].len == 0) continue;
        if (!t->verbatim.edges && !mosa_trie_init(&t->verbatim)) return no_memory(spec, err);
        if (!mosa_trie_add(&t->verbatim, t->text[i], (int32_t)i)) return no_memory(spec, err);
    }
    if (t->verbatim.edges) step->verbatim = t->bpe.verbatim = &t->verbatim;
    return MOSA_OK;
}

static mosa_status add_added(mosa_tokenizer *t, mosa_trie *trie, mosa_slice key, size_t index, mosa_error *err) {
    if (key.len == 0) return MOSA_OK;
    if ((!trie->edges && !mosa_trie_init(trie)) || !mosa_trie_add(trie, key, (int32_t)index)) {
        return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory for added tokens", t->source);
    }
    return MOSA_OK;
}

static mosa_status build_added(mosa_tokenizer *t, const mosa_tokenizer_spec *spec, mosa_encoder *encoder,
                               mosa_error *err) {
    t->added.specs = MOSA_ARENA_ARRAY(&t->arena, mosa_added_token_spec, spec->added_count);
    if (!t->added.specs) return no_memory(spec, err);
    for (size_t i = 0; i < spec->added_count; i++) {
        if (spec->added[i].normalized && spec->added[i].special) t->added.has_mixed = true;
    }
    for (size_t i = 0; i < spec->added_count; i++) {
        mosa_added_token_spec *added = &t->added.specs[i];
        *added = spec->added[i];
        if (added->text.len > MOSA_TRIE_BYTES_MAX ||
            mosa_utf8_valid_prefix(added->text.data, added->text.len) != added->text.len) {
            return mosa_fail(err, MOSA_ELIMIT, "%s: added token %d is over %d bytes or not UTF-8", t->source,
                             (int)added->id, MOSA_TRIE_BYTES_MAX);
        }
        added->text.data = mosa_arena_strndup(&t->arena, added->text.data, added->text.len);
        if (!added->text.data) return no_memory(spec, err);
        mosa_slice key = added->text;
        if (!added->normalized) MOSA_TRY(add_added(t, &t->added.raw, key, i, err));
        if (t->added.has_mixed && (!added->normalized || added->special)) {
            MOSA_TRY(add_added(t, &t->added.mixed, key, i, err));
        }
        if (!added->normalized) continue;
        MOSA_TRY(mosa_normalize(encoder, t->normalizers, t->normalizer_count, key, &key));
        MOSA_TRY(add_added(t, &t->added.normalized, key, i, err));
    }
    t->added.count = spec->added_count;
    return MOSA_OK;
}

static mosa_status build(mosa_tokenizer *t, const mosa_tokenizer_spec *spec, mosa_error *err) {
    t->source = mosa_arena_strdup(&t->arena, spec->source);
    if (!t->source) return no_memory(spec, err);
    t->model = spec->model;
    MOSA_TRY(copy_tokens(t, spec, err));
    MOSA_TRY(find_ends(t, spec, err));
    MOSA_TRY(build_steps(t, spec, err));
    MOSA_TRY(build_model(t, spec, err));
    MOSA_TRY(build_verbatim(t, spec, err));
    mosa_encoder encoder;
    mosa_encoder_init(&encoder, t, NULL, err);
    mosa_status status = build_added(t, spec, &encoder, err);
    mosa_encoder_finish(&encoder);
    if (status != MOSA_OK) return status;
    return mosa_tokenizer_build_decoder(t, spec, err);
}

mosa_status mosa_tokenizer_create(const mosa_tokenizer_spec *spec, mosa_tokenizer **out, mosa_error *err) {
    MOSA_TRY(check_spec(spec, err));
    mosa_tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (!tokenizer) return no_memory(spec, err);
    mosa_arena_init(&tokenizer->arena, 256 * 1024, 0);
    mosa_status status = build(tokenizer, spec, err);
    if (status != MOSA_OK) {
        mosa_tokenizer_destroy(tokenizer);
        return status;
    }
    *out = tokenizer;
    return MOSA_OK;
}

void mosa_tokenizer_destroy(mosa_tokenizer *tokenizer) {
    if (!tokenizer) return;
    for (size_t i = 0; i < tokenizer->normalizer_count; i++) mosa_normalizer_finish(&tokenizer->normalizers[i]);
    for (size_t i = 0; i < tokenizer->pretokenizer_count; i++) mosa_pretokenizer_finish(&tokenizer->pretokenizers[i]);
    mosa_added_tokens_finish(&tokenizer->added);
    mosa_trie_finish(&tokenizer->verbatim);
    mosa_unigram_finish(&tokenizer->unigram);
    mosa_wordpiece_finish(&tokenizer->wordpiece);
    mosa_arena_finish(&tokenizer->arena);
    free(tokenizer);
}

// --- Looking up -----------------------------------------------------------------------------------------------------

static bool in_range(const mosa_tokenizer *tokenizer, mosa_token_id id) {
    return id >= 0 && (size_t)id < tokenizer->token_count;
}

mosa_slice mosa_tokenizer_token_text(const mosa_tokenizer *tokenizer, mosa_token_id id) {
    return in_range(tokenizer, id) ? tokenizer->text[id] : (mosa_slice){NULL, 0};
}

mosa_slice mosa_tokenizer_token_bytes(const mosa_tokenizer *tokenizer, mosa_token_id id) {
    return in_range(tokenizer, id) ? tokenizer->bytes[id] : (mosa_slice){NULL, 0};
}

mosa_token_type mosa_tokenizer_token_type(const mosa_tokenizer *tokenizer, mosa_token_id id) {
    return in_range(tokenizer, id) ? (mosa_token_type)tokenizer->type[id] : MOSA_TOKEN_UNUSED;
}

mosa_token_id mosa_tokenizer_find(const mosa_tokenizer *tokenizer, mosa_slice text) {
    return mosa_string_table_find(&tokenizer->by_text, text.len ? text.data : "", text.len);
}

size_t mosa_tokenizer_size(const mosa_tokenizer *tokenizer) {
    return tokenizer->token_count;
}
const mosa_special_ids *mosa_tokenizer_special(const mosa_tokenizer *tokenizer) {
    return &tokenizer->special;
}

bool mosa_tokenizer_adds_bos(const mosa_tokenizer *tokenizer) {
    return tokenizer->prefix_count && tokenizer->special.bos >= 0 && tokenizer->prefix_ids[0] == tokenizer->special.bos;
}

const mosa_token_id *mosa_tokenizer_end_ids(const mosa_tokenizer *tokenizer, size_t *count) {
    *count = tokenizer->end_count;
    return tokenizer->end_ids;
}

bool mosa_tokenizer_is_end(const mosa_tokenizer *tokenizer, mosa_token_id id) {
    for (size_t i = 0; i < tokenizer->end_count; i++) {
        if (tokenizer->end_ids[i] == id) return true;
    }
    return false;
}

const char *mosa_tokenizer_model_name(const mosa_tokenizer *tokenizer) {
    static const char *const names[] = {"bpe", "unigram", "wordpiece"};
    return names[tokenizer->model];
}
