// GGUF metadata to a tokenizer spec. What a file leaves out follows the conventions of its tokenizer.ggml.model.
#include "text/tokenizer_gguf.h"

#include "text/scan.h"
#include "text/tokenizer_pre.h"
#include "text/tokenizer_spec.h"

typedef struct gguf_load {
    const mosa_gguf *gguf;
    mosa_arena arena;
    mosa_tokenizer_spec spec;
    mosa_token_spec *tokens;
    mosa_normalizer_spec normalizer;
    mosa_pretokenizer_spec pretokenizers[MOSA_PRE_PATTERNS_MAX + 1];
    mosa_decoder_spec decoders[4];
    bool add_bos, add_eos; // defaults of the model kind, then the file's word
    mosa_error *err;
} gguf_load;

static mosa_status no_memory(gguf_load *load) {
    return mosa_fail(load->err, MOSA_ENOMEM, "%s: out of memory for the tokenizer", load->spec.source);
}

static mosa_status bad(gguf_load *load, const char *key, const char *what) {
    return mosa_fail(load->err, MOSA_ECORRUPT, "%s: %s: %s", load->spec.source, key, what);
}

// --- Arrays ---------------------------------------------------------------------------------------------------------

static mosa_status read_types(gguf_load *load) {
    static const char key[] = "tokenizer.ggml.token_type";
    const mosa_gguf_kv *kv = mosa_gguf_kv_find(load->gguf, key);
    if (kv && kv->count != load->spec.token_count) return bad(load, key, "its length is not that of the tokens");
    for (size_t i = 0; i < load->spec.token_count; i++) {
        int64_t type = MOSA_TOKEN_NORMAL;
        if (kv && !mosa_gguf_kv_i64(kv, i, &type)) return bad(load, key, "not an array of integers");
        // 0 is "undefined" in files of early converters.
        if (type == 0) type = MOSA_TOKEN_NORMAL;
        if (type < MOSA_TOKEN_NORMAL || type > MOSA_TOKEN_BYTE) return bad(load, key, "a value is not a token type");
        load->tokens[i].type = (mosa_token_type)type;
    }
    return MOSA_OK;
}

static mosa_status read_scores(gguf_load *load, bool required) {
    static const char key[] = "tokenizer.ggml.scores";
    const mosa_gguf_kv *kv = mosa_gguf_kv_find(load->gguf, key);
    if (!kv) return required ? bad(load, key, "missing") : MOSA_OK;
    if (kv->count != load->spec.token_count) return bad(load, key, "its length is not that of the tokens");
    for (size_t i = 0; i < load->spec.token_count; i++) {
        if (!mosa_gguf_kv_f64(kv, i, &load->tokens[i].score)) return bad(load, key, "not an array of numbers");
    }
    return MOSA_OK;
}

static mosa_status read_tokens(gguf_load *load) {
    const mosa_slice *texts;
    size_t count;
    MOSA_TRY(mosa_gguf_get_strs(load->gguf, "tokenizer.ggml.tokens", &load->arena, &texts, &count, load->err));
    if (count == 0 || count > MOSA_VOCAB_MAX) return bad(load, "tokenizer.ggml.tokens", "its length is out of bounds");
    load->tokens = MOSA_ARENA_ARRAY(&load->arena, mosa_token_spec, count);
    if (!load->tokens) return no_memory(load);
    for (size_t i = 0; i < count; i++) load->tokens[i].text = texts[i].len ? texts[i] : MOSA_SLICE("");
    load->spec.tokens = load->tokens;
    load->spec.token_count = count;
    return read_types(load);
}

// A merge is "left right"; the first space that is not the first byte divides it.
static mosa_status read_merges(gguf_load *load) {
    static const char key[] = "tokenizer.ggml.merges";
    const mosa_slice *texts;
    size_t count;
    MOSA_TRY(mosa_gguf_get_strs(load->gguf, key, &load->arena, &texts, &count, load->err));
    mosa_merge_spec *merges = MOSA_ARENA_ARRAY(&load->arena, mosa_merge_spec, count);
    if (!merges) return no_memory(load);
    for (size_t i = 0; i < count; i++) {
        const char *space = texts[i].len > 1 ? memchr(texts[i].data + 1, ' ', texts[i].len - 1) : NULL;
        if (!space) return bad(load, key, "an entry is not a pair");
        size_t at = (size_t)(space - texts[i].data);
        merges[i] = (mosa_merge_spec){{texts[i].data, at}, {space + 1, texts[i].len - at - 1}};
    }
    load->spec.merges = merges;
    load->spec.merge_count = count;
    return MOSA_OK;
}

// Control, unknown and user-defined tokens are matched in the text as given.
static mosa_status read_added(gguf_load *load) {
    mosa_tokenizer_spec *spec = &load->spec;
    mosa_added_token_spec *added = MOSA_ARENA_ARRAY(&load->arena, mosa_added_token_spec, spec->token_count);
    if (!added) return no_memory(load);
    for (size_t i = 0; i < spec->token_count; i++) {
        mosa_token_type type = load->tokens[i].type;
        bool special = type == MOSA_TOKEN_CONTROL || type == MOSA_TOKEN_UNKNOWN;
        if ((!special && type != MOSA_TOKEN_USER_DEFINED) || load->tokens[i].text.len == 0) continue;
        added[spec->added_count++] =
            (mosa_added_token_spec){.text = load->tokens[i].text, .id = (mosa_token_id)i, .special = special};
    }
    spec->added = added;
    return MOSA_OK;
}

// --- Special ids ----------------------------------------------------------------------------------------------------

static mosa_status read_id(gguf_load *load, const char *key, mosa_token_id *id) {
    int64_t value;
    MOSA_TRY(mosa_gguf_get_i64_or(load->gguf, key, *id, &value, load->err));
    // Some converters write -1 or 0xFFFFFFFF for "none".
    if (value == -1 || value == UINT32_MAX) value = MOSA_TOKEN_NONE;
    if (value >= (int64_t)load->spec.token_count || value < MOSA_TOKEN_NONE) return bad(load, key, "no such token");
    *id = (mosa_token_id)value;
    return MOSA_OK;
}

static mosa_status read_special(gguf_load *load) {
    mosa_special_ids *s = &load->spec.special;
    const struct {
        const char *key;
        mosa_token_id *id;
    } ids[] = {{"tokenizer.ggml.bos_token_id", &s->bos},       {"tokenizer.ggml.eos_token_id", &s->eos},
               {"tokenizer.ggml.unknown_token_id", &s->unk},   {"tokenizer.ggml.padding_token_id", &s->pad},
               {"tokenizer.ggml.seperator_token_id", &s->sep}, {"tokenizer.ggml.cls_token_id", &s->cls},
               {"tokenizer.ggml.mask_token_id", &s->mask},     {"tokenizer.ggml.eot_token_id", &s->eot},
               {"tokenizer.ggml.eom_token_id", &s->eom}};
    for (size_t i = 0; i < MOSA_COUNT(ids); i++) {
        if (*ids[i].id >= (mosa_token_id)load->spec.token_count) *ids[i].id = MOSA_TOKEN_NONE;
        MOSA_TRY(read_id(load, ids[i].key, ids[i].id));
    }
    MOSA_TRY(
        mosa_gguf_get_bool_or(load->gguf, "tokenizer.ggml.add_bos_token", load->add_bos, &load->add_bos, load->err));
    return mosa_gguf_get_bool_or(load->gguf, "tokenizer.ggml.add_eos_token", load->add_eos, &load->add_eos, load->err);
}

static void set_around(gguf_load *load) {
    mosa_tokenizer_spec *spec = &load->spec;
    bool bert = spec->model == MOSA_MODEL_WORDPIECE;
    if (bert && spec->special.bos < 0) spec->special.bos = spec->special.cls;
    const mosa_token_id *first = &spec->special.bos;
    const mosa_token_id *last = bert && spec->special.sep >= 0 ? &spec->special.sep : &spec->special.eos;
    if (load->add_bos && *first >= 0) {
        spec->prefix_ids = first;
        spec->prefix_count = 1;
    }
    if (load->add_eos && *last >= 0) {
        spec->suffix_ids = last;
        spec->suffix_count = 1;
    }
}

// --- Kinds ----------------------------------------------------------------------------------------------------------

static mosa_status load_gpt2(gguf_load *load) {
    mosa_tokenizer_spec *spec = &load->spec;
    mosa_slice name;
    MOSA_TRY(mosa_gguf_get_str_or(load->gguf, "tokenizer.ggml.pre", MOSA_SLICE("default"), &name, load->err));
    const mosa_pre_rules *rules = mosa_pre_find(name);
    if (!rules) {
        return mosa_fail(load->err, MOSA_EUNSUPPORTED, "%s: tokenizer.ggml.pre \"%.*s\" is not supported", spec->source,
                         (int)(name.len > 64 ? 64 : name.len), name.data);
    }
    spec->model = MOSA_MODEL_BPE;
    spec->merge_source = MOSA_MERGES_LISTED;
    spec->ignore_merges = rules->ignore_merges;
    load->add_bos = rules->add_bos;
    spec->normalizer_count = rules->nfc;
    load->normalizer = (mosa_normalizer_spec){
        .kind = MOSA_NORM_FORM, .form = MOSA_NFC, .pattern = MOSA_SLICE(""), .content = MOSA_SLICE("")};
    for (size_t i = 0; i < MOSA_PRE_PATTERNS_MAX && rules->patterns[i]; i++) {
        load->pretokenizers[spec->pretokenizer_count++] =
            (mosa_pretokenizer_spec){.kind = MOSA_PRE_SPLIT,
                                     .pattern = mosa_slice_of(rules->patterns[i]),
                                     .regex = true,
                                     .behavior = MOSA_SPLIT_ISOLATED};
    }
    load->pretokenizers[spec->pretokenizer_count++] =
        (mosa_pretokenizer_spec){.kind = MOSA_PRE_BYTE_LEVEL, .pattern = MOSA_SLICE("")};
    load->decoders[spec->decoder_count++] =
        (mosa_decoder_spec){.kind = MOSA_DEC_BYTE_LEVEL, .pattern = MOSA_SLICE(""), .content = MOSA_SLICE("")};
    for (size_t i = 0; i < spec->token_count; i++) {
        if (load->tokens[i].type == MOSA_TOKEN_USER_DEFINED) load->tokens[i].added_only = true;
    }
    return read_merges(load);
}

static mosa_status read_normalizer(gguf_load *load, bool remove_extra) {
    mosa_normalizer_spec *step = &load->normalizer;
    *step = (mosa_normalizer_spec){
        .kind = MOSA_NORM_SENTENCEPIECE, .pattern = MOSA_SLICE(""), .content = MOSA_SLICE(""), .escape_spaces = true};
    const mosa_gguf_kv *map = mosa_gguf_kv_find(load->gguf, "tokenizer.ggml.precompiled_charsmap");
    if (map && map->item_type != MOSA_GGUF_U8 && map->item_type != MOSA_GGUF_I8) {
        return bad(load, "tokenizer.ggml.precompiled_charsmap", "not an array of bytes");
    }
    if (map) step->content = (mosa_slice){map->data, map->bytes};
    MOSA_TRY(
        mosa_gguf_get_bool_or(load->gguf, "tokenizer.ggml.add_space_prefix", true, &step->dummy_prefix, load->err));
    load->spec.normalizer_count = 1;
    return mosa_gguf_get_bool_or(load->gguf, "tokenizer.ggml.remove_extra_whitespaces", remove_extra,
                                 &step->remove_extra_spaces, load->err);
}

static void set_space_decoder(gguf_load *load) {
    static const mosa_decoder_spec steps[] = {
        {.kind = MOSA_DEC_REPLACE, .pattern = MOSA_SLICE("\xE2\x96\x81"), .content = MOSA_SLICE(" ")},
        {.kind = MOSA_DEC_BYTE_FALLBACK, .pattern = MOSA_SLICE(""), .content = MOSA_SLICE("")},
        {.kind = MOSA_DEC_FUSE, .pattern = MOSA_SLICE(""), .content = MOSA_SLICE("")},
        {.kind = MOSA_DEC_STRIP, .pattern = MOSA_SLICE(" "), .content = MOSA_SLICE(""), .start = 1},
    };
    memcpy(load->decoders, steps, sizeof steps);
    load->spec.decoder_count = load->normalizer.dummy_prefix ? 4 : 3;
}

static mosa_status load_llama(gguf_load *load) {
    mosa_tokenizer_spec *spec = &load->spec;
    spec->model = MOSA_MODEL_BPE;
    spec->merge_source = MOSA_MERGES_BY_SCORE;
    spec->byte_fallback = spec->fuse_unk = true;
    spec->special.bos = 1;
    spec->special.eos = 2;
    spec->special.unk = 0;
    load->add_bos = true;
    MOSA_TRY(read_scores(load, true));
    MOSA_TRY(read_normalizer(load, false));
    set_space_decoder(load);
    return MOSA_OK;
}

static mosa_status load_t5(gguf_load *load) {
    mosa_tokenizer_spec *spec = &load->spec;
    spec->model = MOSA_MODEL_UNIGRAM;
    spec->byte_fallback = spec->fuse_unk = true;
    spec->special.eos = 1;
    spec->special.unk = 2;
    load->add_eos = true;
    MOSA_TRY(read_scores(load, true));
    MOSA_TRY(read_normalizer(load, true));
    set_space_decoder(load);
    return MOSA_OK;
}

// GGUF marks the words' first pieces with "▁" where BERT marks the others with "##"; turn that back.
static mosa_status restore_wordpieces(gguf_load *load, bool *cased) {
    mosa_slice marker = MOSA_SLICE("\xE2\x96\x81");
    for (size_t i = 0; i < load->spec.token_count; i++) {
        mosa_token_spec *token = &load->tokens[i];
        if (token->type != MOSA_TOKEN_NORMAL) continue;
        for (size_t k = 0; k < token->text.len; k++) *cased |= token->text.data[k] >= 'A' && token->text.data[k] <= 'Z';
        if (mosa_slice_starts_with(token->text, marker)) {
            token->text = (mosa_slice){token->text.data + marker.len, token->text.len - marker.len};
            continue;
        }
        char *text = mosa_arena_printf(&load->arena, "##%.*s", (int)token->text.len, token->text.data);
        if (!text) return no_memory(load);
        token->text = mosa_slice_of(text);
    }
    return MOSA_OK;
}

static mosa_status load_bert(gguf_load *load) {
    mosa_tokenizer_spec *spec = &load->spec;
    spec->model = MOSA_MODEL_WORDPIECE;
    spec->subword_prefix = MOSA_SLICE("##");
    spec->word_chars_max = 100;
    spec->special.unk = 100;
    spec->special.cls = 101;
    spec->special.sep = 102;
    spec->special.mask = 103;
    load->add_bos = load->add_eos = true;
    bool cased = false;
    MOSA_TRY(restore_wordpieces(load, &cased));
    // The file does not say whether the model is cased; its vocabulary does.
    load->normalizer = (mosa_normalizer_spec){.kind = MOSA_NORM_BERT,
                                              .pattern = MOSA_SLICE(""),
                                              .content = MOSA_SLICE(""),
                                              .clean = true,
                                              .cjk = true,
                                              .lowercase = !cased,
                                              .strip_accents = !cased};
    spec->normalizer_count = 1;
    load->pretokenizers[0] = (mosa_pretokenizer_spec){.kind = MOSA_PRE_BERT, .pattern = MOSA_SLICE("")};
    spec->pretokenizer_count = 1;
    load->decoders[0] = (mosa_decoder_spec){
        .kind = MOSA_DEC_WORDPIECE, .pattern = MOSA_SLICE("##"), .content = MOSA_SLICE(""), .cleanup = true};
    spec->decoder_count = 1;
    return MOSA_OK;
}

static mosa_status load_all(gguf_load *load, mosa_tokenizer **out) {
    static const struct {
        const char *model;
        mosa_status (*load)(gguf_load *load);
    } kinds[] = {{"gpt2", load_gpt2}, {"llama", load_llama}, {"t5", load_t5}, {"bert", load_bert}};
    mosa_slice model;
    MOSA_TRY(mosa_gguf_get_str(load->gguf, "tokenizer.ggml.model", &model, load->err));
    MOSA_TRY(read_tokens(load));
    mosa_tokenizer_spec *spec = &load->spec;
    spec->normalizers = &load->normalizer;
    spec->pretokenizers = load->pretokenizers;
    spec->decoders = load->decoders;
    for (size_t i = 0; i < MOSA_COUNT(kinds); i++) {
        if (!mosa_slice_eq(model, mosa_slice_of(kinds[i].model))) continue;
        MOSA_TRY(kinds[i].load(load));
        MOSA_TRY(read_special(load));
        MOSA_TRY(read_added(load));
        set_around(load);
        return mosa_tokenizer_create(spec, out, load->err);
    }
    return mosa_fail(load->err, MOSA_EUNSUPPORTED, "%s: tokenizer.ggml.model \"%.*s\" is not supported", spec->source,
                     (int)(model.len > 64 ? 64 : model.len), model.data);
}

mosa_status mosa_tokenizer_from_gguf(const mosa_gguf *gguf, mosa_tokenizer **out, mosa_error *err) {
    gguf_load load = {.gguf = gguf, .err = err};
    mosa_arena_init(&load.arena, 1 << 20, 0);
    mosa_tokenizer_spec_init(&load.spec, mosa_gguf_path(gguf));
    mosa_status status = load_all(&load, out);
    mosa_arena_finish(&load.arena);
    return status;
}
