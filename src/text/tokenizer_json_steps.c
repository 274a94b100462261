// Components of tokenizer.json: normalizer, pre_tokenizer, decoder. Sequences are flattened in order.
#include "text/base64.h"
#include "text/tokenizer_json_internal.h"

static mosa_status unsupported(mosa_json_tokenizer *load, const char *part, const char *type) {
    return mosa_fail(load->err, MOSA_EUNSUPPORTED, "%s: %s of type \"%.64s\" is not supported", load->source, part,
                     type);
}

static mosa_status bad_field(mosa_json_tokenizer *load, const char *part, const char *type, const char *field) {
    return mosa_fail(load->err, MOSA_ECORRUPT, "%s: %s %.64s: field \"%s\" is missing or wrong", load->source, part,
                     type, field);
}

static mosa_status too_many(mosa_json_tokenizer *load, const char *part) {
    return mosa_fail(load->err, MOSA_ELIMIT, "%s: %s has more than %d steps", load->source, part, MOSA_STEPS_MAX);
}

// The component's type; an empty string when it has none.
static const char *type_of(const json_t *value) {
    const char *type = json_string_value(json_object_get(value, "type"));
    return type ? type : "";
}

static bool is(const char *type, const char *name) {
    return strcmp(type, name) == 0;
}

typedef mosa_status (*read_fn)(mosa_json_tokenizer *load, const json_t *value);

static mosa_status read_sequence(mosa_json_tokenizer *load, const json_t *value, const char *part, const char *list,
                                 read_fn read) {
    const json_t *items = json_object_get(value, list);
    if (!json_is_array(items)) return bad_field(load, part, "Sequence", list);
    size_t i;
    const json_t *item;
    json_array_foreach(items, i, item) MOSA_TRY(read(load, item));
    return MOSA_OK;
}

// {"String": "x"} or {"Regex": "x"}
static bool read_pattern(const json_t *value, mosa_slice *pattern, bool *regex) {
    const json_t *holder = json_object_get(value, "pattern");
    *regex = json_object_get(holder, "Regex") != NULL;
    *pattern = mosa_json_text(holder, *regex ? "Regex" : "String", (mosa_slice){NULL, 0});
    return pattern->data != NULL;
}

// --- Normalizers ----------------------------------------------------------------------------------------------------

static mosa_status read_charsmap(mosa_json_tokenizer *load, const json_t *value, mosa_normalizer_spec *step) {
    step->kind = MOSA_NORM_CHARSMAP;
    mosa_slice text = mosa_json_text(value, "precompiled_charsmap", MOSA_SLICE(""));
    char *bytes = mosa_arena_alloc(load->arena, text.len);
    ptrdiff_t len = bytes ? mosa_base64_decode(text, bytes) : -1;
    if (len < 0) return bad_field(load, "normalizer", "Precompiled", "precompiled_charsmap");
    step->content = (mosa_slice){bytes, (size_t)len};
    return MOSA_OK;
}

static mosa_status read_bert(mosa_json_tokenizer *load, const json_t *value, mosa_normalizer_spec *step) {
    (void)load;
    step->kind = MOSA_NORM_BERT;
    step->clean = mosa_json_bool(value, "clean_text", true);
    step->cjk = mosa_json_bool(value, "handle_chinese_chars", true);
    step->lowercase = mosa_json_bool(value, "lowercase", true);
    step->strip_accents = mosa_json_bool(value, "strip_accents", step->lowercase);
    return MOSA_OK;
}

static mosa_status read_replace(mosa_json_tokenizer *load, const json_t *value, mosa_normalizer_spec *step) {
    step->kind = MOSA_NORM_REPLACE;
    step->content = mosa_json_text(value, "content", (mosa_slice){NULL, 0});
    if (!step->content.data) return bad_field(load, "normalizer", "Replace", "content");
    if (!read_pattern(value, &step->pattern, &step->regex)) return bad_field(load, "normalizer", "Replace", "pattern");
    return MOSA_OK;
}

static mosa_status fill_normalizer(mosa_json_tokenizer *load, const json_t *value, mosa_normalizer_spec *step) {
    static const struct {
        const char *type;
        mosa_normalizer_kind kind;
        mosa_unicode_form form;
    } plain[] = {{"NFC", MOSA_NORM_FORM, MOSA_NFC},
                 {"NFD", MOSA_NORM_FORM, MOSA_NFD},
                 {"NFKC", MOSA_NORM_FORM, MOSA_NFKC},
                 {"NFKD", MOSA_NORM_FORM, MOSA_NFKD},
                 {"Lowercase", MOSA_NORM_LOWERCASE, MOSA_NFC},
                 {"StripAccents", MOSA_NORM_STRIP_ACCENTS, MOSA_NFC},
                 {"Nmt", MOSA_NORM_NMT, MOSA_NFC},
                 {"ByteLevel", MOSA_NORM_BYTE_LEVEL, MOSA_NFC}};
    const char *type = type_of(value);
    for (size_t i = 0; i < MOSA_COUNT(plain); i++) {
        if (!is(type, plain[i].type)) continue;
        step->kind = plain[i].kind;
        step->form = plain[i].form;
        return MOSA_OK;
    }
    if (is(type, "BertNormalizer")) return read_bert(load, value, step);
    if (is(type, "Replace")) return read_replace(load, value, step);
    if (is(type, "Precompiled")) return read_charsmap(load, value, step);
    if (is(type, "Strip")) {
        step->kind = MOSA_NORM_STRIP;
        step->left = mosa_json_bool(value, "strip_left", true);
        step->right = mosa_json_bool(value, "strip_right", true);
        return MOSA_OK;
    }
    if (is(type, "Prepend")) {
        step->kind = MOSA_NORM_PREPEND;
        step->content = mosa_json_text(value, "prepend", (mosa_slice){NULL, 0});
        return step->content.data ? MOSA_OK : bad_field(load, "normalizer", type, "prepend");
    }
    return unsupported(load, "normalizer", type);
}

mosa_status mosa_json_read_normalizer(mosa_json_tokenizer *load, const json_t *value) {
    if (!value || json_is_null(value)) return MOSA_OK;
    if (is(type_of(value), "Sequence")) {
        return read_sequence(load, value, "normalizer", "normalizers", mosa_json_read_normalizer);
    }
    if (load->spec.normalizer_count == MOSA_STEPS_MAX) return too_many(load, "normalizer");
    mosa_normalizer_spec *step = &load->normalizers[load->spec.normalizer_count++];
    *step = (mosa_normalizer_spec){.pattern = MOSA_SLICE(""), .content = MOSA_SLICE("")};
    return fill_normalizer(load, value, step);
}

// --- Pre-tokenizers -------------------------------------------------------------------------------------------------

static bool read_behavior(const json_t *value, mosa_split_behavior *behavior) {
    static const char *const names[] = {
        [MOSA_SPLIT_REMOVED] = "Removed",
        [MOSA_SPLIT_ISOLATED] = "Isolated",
        [MOSA_SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [MOSA_SPLIT_MERGED_WITH_NEXT] = "MergedWithNext",
        [MOSA_SPLIT_CONTIGUOUS] = "Contiguous",
    };
    mosa_slice name = mosa_json_text(value, "behavior", MOSA_SLICE("Isolated"));
    for (size_t i = 0; i < MOSA_COUNT(names); i++) {
        if (!mosa_slice_eq(name, mosa_slice_of(names[i]))) continue;
        *behavior = (mosa_split_behavior)i;
        return true;
    }
    return false;
}

// Older files have add_prefix_space instead of prepend_scheme.
static bool read_scheme(const json_t *value, mosa_prepend_scheme *scheme) {
    const char *name = json_string_value(json_object_get(value, "prepend_scheme"));
    if (!name) name = mosa_json_bool(value, "add_prefix_space", true) ? "always" : "never";
    if (is(name, "always"))
        *scheme = MOSA_PREPEND_ALWAYS;
    else if (is(name, "first"))
        *scheme = MOSA_PREPEND_FIRST;
    else if (is(name, "never"))
        *scheme = MOSA_PREPEND_NEVER;
    else
        return false;
    return true;
}

static mosa_status read_metaspace(mosa_json_tokenizer *load, const json_t *value, mosa_pretokenizer_spec *step) {
    step->kind = MOSA_PRE_METASPACE;
    step->pattern = mosa_json_text(value, "replacement", MOSA_SLICE("\xE2\x96\x81"));
    step->split = mosa_json_bool(value, "split", true);
    if (step->pattern.len == 0) return bad_field(load, "pre_tokenizer", "Metaspace", "replacement");
    if (!read_scheme(value, &step->scheme)) return bad_field(load, "pre_tokenizer", "Metaspace", "prepend_scheme");
    return MOSA_OK;
}

static mosa_status read_split(mosa_json_tokenizer *load, const json_t *value, mosa_pretokenizer_spec *step) {
    step->kind = MOSA_PRE_SPLIT;
    step->invert = mosa_json_bool(value, "invert", false);
    if (!read_behavior(value, &step->behavior)) return bad_field(load, "pre_tokenizer", "Split", "behavior");
    if (!read_pattern(value, &step->pattern, &step->regex)) return bad_field(load, "pre_tokenizer", "Split", "pattern");
    return MOSA_OK;
}

static mosa_status fill_pretokenizer(mosa_json_tokenizer *load, const json_t *value, mosa_pretokenizer_spec *step) {
    const char *type = type_of(value);
    if (is(type, "Split")) return read_split(load, value, step);
    if (is(type, "Metaspace")) return read_metaspace(load, value, step);
    if (is(type, "ByteLevel")) {
        step->kind = MOSA_PRE_BYTE_LEVEL;
        step->prefix_space = mosa_json_bool(value, "add_prefix_space", true);
        step->use_regex = mosa_json_bool(value, "use_regex", true);
    } else if (is(type, "BertPreTokenizer")) {
        step->kind = MOSA_PRE_BERT;
    } else if (is(type, "Whitespace")) {
        step->kind = MOSA_PRE_WHITESPACE;
    } else if (is(type, "WhitespaceSplit")) {
        step->kind = MOSA_PRE_WHITESPACE_SPLIT;
    } else if (is(type, "Punctuation")) {
        step->kind = MOSA_PRE_PUNCTUATION;
        if (!read_behavior(value, &step->behavior)) return bad_field(load, "pre_tokenizer", type, "behavior");
    } else if (is(type, "Digits")) {
        step->kind = MOSA_PRE_DIGITS;
        step->individual = mosa_json_bool(value, "individual_digits", false);
    } else if (is(type, "CharDelimiterSplit")) {
        step->kind = MOSA_PRE_DELIMITER;
        step->pattern = mosa_json_text(value, "delimiter", MOSA_SLICE(""));
        if (step->pattern.len == 0) return bad_field(load, "pre_tokenizer", type, "delimiter");
    } else if (is(type, "FixedLength")) {
        json_int_t length = json_integer_value(json_object_get(value, "length"));
        if (length <= 0) return bad_field(load, "pre_tokenizer", type, "length");
        step->kind = MOSA_PRE_FIXED_LENGTH;
        step->length = (size_t)length;
    } else {
        return unsupported(load, "pre_tokenizer", type);
    }
    return MOSA_OK;
}

mosa_status mosa_json_read_pretokenizer(mosa_json_tokenizer *load, const json_t *value) {
    if (!value || json_is_null(value)) return MOSA_OK;
    if (is(type_of(value), "Sequence")) {
        return read_sequence(load, value, "pre_tokenizer", "pretokenizers", mosa_json_read_pretokenizer);
    }
    if (load->spec.pretokenizer_count == MOSA_STEPS_MAX) return too_many(load, "pre_tokenizer");
    mosa_pretokenizer_spec *step = &load->pretokenizers[load->spec.pretokenizer_count++];
    *step = (mosa_pretokenizer_spec){.pattern = MOSA_SLICE("")};
    return fill_pretokenizer(load, value, step);
}

// --- Decoders -------------------------------------------------------------------------------------------------------

static mosa_status read_strip(mosa_json_tokenizer *load, const json_t *value, mosa_decoder_spec *step) {
    step->kind = MOSA_DEC_STRIP;
    step->pattern = mosa_json_text(value, "content", MOSA_SLICE(" "));
    json_int_t start = json_integer_value(json_object_get(value, "start"));
    json_int_t stop = json_integer_value(json_object_get(value, "stop"));
    if (start < 0 || stop < 0) return bad_field(load, "decoder", "Strip", "start or stop");
    step->start = (size_t)start;
    step->stop = (size_t)stop;
    return MOSA_OK;
}

static mosa_status fill_decoder(mosa_json_tokenizer *load, const json_t *value, mosa_decoder_spec *step) {
    const char *type = type_of(value);
    bool regex = false;
    if (is(type, "ByteLevel")) {
        step->kind = MOSA_DEC_BYTE_LEVEL;
    } else if (is(type, "ByteFallback")) {
        step->kind = MOSA_DEC_BYTE_FALLBACK;
    } else if (is(type, "Fuse")) {
        step->kind = MOSA_DEC_FUSE;
    } else if (is(type, "Strip")) {
        return read_strip(load, value, step);
    } else if (is(type, "Replace")) {
        step->kind = MOSA_DEC_REPLACE;
        step->content = mosa_json_text(value, "content", MOSA_SLICE(""));
        if (!read_pattern(value, &step->pattern, &regex)) return bad_field(load, "decoder", type, "pattern");
        if (regex) return unsupported(load, "decoder", "Replace with a Regex");
    } else if (is(type, "Metaspace")) {
        step->kind = MOSA_DEC_METASPACE;
        step->pattern = mosa_json_text(value, "replacement", MOSA_SLICE("\xE2\x96\x81"));
        if (!read_scheme(value, &step->scheme)) return bad_field(load, "decoder", type, "prepend_scheme");
    } else if (is(type, "WordPiece")) {
        step->kind = MOSA_DEC_WORDPIECE;
        step->pattern = mosa_json_text(value, "prefix", MOSA_SLICE("##"));
        step->cleanup = mosa_json_bool(value, "cleanup", true);
    } else if (is(type, "BPEDecoder")) {
        step->kind = MOSA_DEC_BPE;
        step->pattern = mosa_json_text(value, "suffix", MOSA_SLICE("</w>"));
    } else {
        return unsupported(load, "decoder", type);
    }
    return MOSA_OK;
}

mosa_status mosa_json_read_decoder(mosa_json_tokenizer *load, const json_t *value) {
    if (!value || json_is_null(value)) return MOSA_OK;
    if (is(type_of(value), "Sequence")) {
        return read_sequence(load, value, "decoder", "decoders", mosa_json_read_decoder);
    }
    if (load->spec.decoder_count == MOSA_STEPS_MAX) return too_many(load, "decoder");
    mosa_decoder_spec *step = &load->decoders[load->spec.decoder_count++];
    *step = (mosa_decoder_spec){.pattern = MOSA_SLICE(""), .content = MOSA_SLICE("")};
    return fill_decoder(load, value, step);
}
