// tokenizer.json and tokenizer_config.json as a whole: model and steps, then the ids around the text.
#include "text/tokenizer_json.h"

#include "codec/json.h"
#include "text/scan.h"
#include "text/tokenizer_json_internal.h"

static mosa_status no_memory(mosa_json_tokenizer *load) {
    return mosa_fail(load->err, MOSA_ENOMEM, "%s: out of memory", load->source);
}

// --- Post-processor: ids around the text ----------------------------------------------------------------------------

typedef struct id_list {
    mosa_token_id *ids;
    size_t count;
} id_list;

enum { AROUND_MAX = 64 };

static mosa_status bad_processor(mosa_json_tokenizer *load, const char *field) {
    return mosa_fail(load->err, MOSA_ECORRUPT, "%s: post_processor: %s is missing or wrong", load->source, field);
}

// `outer` goes before (prefix) or behind (suffix) what is there.
static mosa_status wrap(mosa_json_tokenizer *load, const mosa_token_id *outer, size_t count, bool prefix) {
    mosa_tokenizer_spec *spec = &load->spec;
    const mosa_token_id *old = prefix ? spec->prefix_ids : spec->suffix_ids;
    size_t old_count = prefix ? spec->prefix_count : spec->suffix_count;
    if (count + old_count > AROUND_MAX) return bad_processor(load, "the number of special tokens");
    mosa_token_id *all = MOSA_ARENA_ARRAY(load->arena, mosa_token_id, count + old_count);
    if (!all) return no_memory(load);
    if (count) memcpy(all + (prefix ? 0 : old_count), outer, count * sizeof *all);
    if (old_count) memcpy(all + (prefix ? count : 0), old, old_count * sizeof *all);
    if (prefix)
        spec->prefix_ids = all;
    else
        spec->suffix_ids = all;
    *(prefix ? &spec->prefix_count : &spec->suffix_count) = count + old_count;
    return MOSA_OK;
}

static bool valid_id(const mosa_json_tokenizer *load, const json_t *id) {
    return json_is_integer(id) && json_integer_value(id) >= 0 &&
           (size_t)json_integer_value(id) < load->spec.token_count;
}

// Adds the ids of a template's special token.
static mosa_status template_token(mosa_json_tokenizer *load, const json_t *tokens, const json_t *item, id_list *list) {
    const char *name = json_string_value(json_object_get(item, "id"));
    const json_t *ids = json_object_get(json_object_get(tokens, name ? name : ""), "ids");
    if (!json_is_array(ids)) return bad_processor(load, "special_tokens");
    size_t i;
    const json_t *id;
    json_array_foreach(ids, i, id) {
        if (!valid_id(load, id) || list->count == AROUND_MAX) return bad_processor(load, "special_tokens.ids");
        list->ids[list->count++] = (mosa_token_id)json_integer_value(id);
    }
    return MOSA_OK;
}

static mosa_status read_template(mosa_json_tokenizer *load, const json_t *value) {
    mosa_token_id before[AROUND_MAX], after[AROUND_MAX];
    id_list prefix = {before, 0}, suffix = {after, 0};
    bool seen = false;
    size_t i;
    const json_t *item, *single = json_object_get(value, "single");
    json_array_foreach(single, i, item) {
        const json_t *special = json_object_get(item, "SpecialToken");
        if (json_object_get(item, "Sequence")) {
            if (seen) return bad_processor(load, "a template with the text twice");
            seen = true;
        } else if (special) {
            MOSA_TRY(template_token(load, json_object_get(value, "special_tokens"), special, seen ? &suffix : &prefix));
        }
    }
    if (!seen) return bad_processor(load, "single");
    MOSA_TRY(wrap(load, before, prefix.count, true));
    return wrap(load, after, suffix.count, false);
}

// BertProcessing and RobertaProcessing: "cls": [text, id], "sep": [text, id].
static mosa_status read_pair(mosa_json_tokenizer *load, const json_t *value) {
    const json_t *cls = json_array_get(json_object_get(value, "cls"), 1);
    const json_t *sep = json_array_get(json_object_get(value, "sep"), 1);
    if (!valid_id(load, cls) || !valid_id(load, sep)) return bad_processor(load, "cls or sep");
    mosa_token_id prefix = (mosa_token_id)json_integer_value(cls), suffix = (mosa_token_id)json_integer_value(sep);
    MOSA_TRY(wrap(load, &prefix, 1, true));
    return wrap(load, &suffix, 1, false);
}

static mosa_status read_processor(mosa_json_tokenizer *load, const json_t *value) {
    if (!value || json_is_null(value)) return MOSA_OK;
    const char *type = json_string_value(json_object_get(value, "type"));
    if (!type) return bad_processor(load, "type");
    if (strcmp(type, "ByteLevel") == 0) return MOSA_OK; // changes offsets only
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(load, value);
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) return read_pair(load, value);
    if (strcmp(type, "Sequence") != 0) {
        return mosa_fail(load->err, MOSA_EUNSUPPORTED, "%s: post_processor of type \"%.64s\" is not supported",
                         load->source, type);
    }
    size_t i;
    const json_t *item;
    json_array_foreach(json_object_get(value, "processors"), i, item) MOSA_TRY(read_processor(load, item));
    return MOSA_OK;
}

// --- tokenizer_config.json ------------------------------------------------------------------------------------------

static mosa_token_id find_token(const mosa_json_tokenizer *load, mosa_slice text) {
    for (size_t i = 0; text.data && i < load->spec.added_count; i++) {
        if (mosa_slice_eq(load->spec.added[i].text, text)) return load->spec.added[i].id;
    }
    for (size_t i = 0; text.data && i < load->spec.token_count; i++) {
        if (load->spec.tokens[i].text.data && mosa_slice_eq(load->spec.tokens[i].text, text)) return (mosa_token_id)i;
    }
    return MOSA_TOKEN_NONE;
}

// A special token is a string or an object with "content".
static mosa_token_id config_token(const mosa_json_tokenizer *load, const json_t *config, const char *key) {
    const json_t *value = json_object_get(config, key);
    const mosa_slice none = {NULL, 0};
    mosa_slice text =
        json_is_object(value) ? mosa_json_text(value, "content", none) : mosa_json_text(config, key, none);
    return find_token(load, text);
}

// Classes whose code builds the ids around the text from add_bos_token and add_eos_token, whatever tokenizer.json says.
static bool class_sets_ends(const json_t *config) {
    static const char *const classes[] = {"LlamaTokenizer",         "LlamaTokenizerFast", "CodeLlamaTokenizer",
                                          "CodeLlamaTokenizerFast", "GemmaTokenizer",     "GemmaTokenizerFast",
                                          "CohereTokenizer",        "CohereTokenizerFast"};
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    for (size_t i = 0; class && i < MOSA_COUNT(classes); i++) {
        if (strcmp(class, classes[i]) == 0) return true;
    }
    return false;
}

static mosa_status apply_ends(mosa_json_tokenizer *load, const json_t *config) {
    const json_t *bos = json_object_get(config, "add_bos_token"), *eos = json_object_get(config, "add_eos_token");
    if (!class_sets_ends(config) || (!json_is_boolean(bos) && !json_is_boolean(eos))) return MOSA_OK;
    mosa_special_ids *special = &load->spec.special;
    load->spec.prefix_count = load->spec.suffix_count = 0;
    if (json_is_true(bos) && special->bos >= 0) MOSA_TRY(wrap(load, &special->bos, 1, true));
    if (json_is_true(eos) && special->eos >= 0) MOSA_TRY(wrap(load, &special->eos, 1, false));
    return MOSA_OK;
}

static mosa_status read_config(mosa_json_tokenizer *load, const json_t *config) {
    if (!json_is_object(config)) return MOSA_OK;
    mosa_special_ids *special = &load->spec.special;
    special->bos = config_token(load, config, "bos_token");
    special->eos = config_token(load, config, "eos_token");
    special->pad = config_token(load, config, "pad_token");
    special->sep = config_token(load, config, "sep_token");
    special->cls = config_token(load, config, "cls_token");
    special->mask = config_token(load, config, "mask_token");
    return apply_ends(load, config);
}

static void note_known(json_t *known, const json_t *token) {
    char id[32];
    snprintf(id, sizeof id, "%lld", (long long)json_integer_value(json_object_get(token, "id")));
    json_object_set_new(json_object_get(known, "id"), id, json_true());
    const json_t *text = json_object_get(token, "content");
    if (json_is_string(text)) {
        json_object_setn_new(json_object_get(known, "text"), json_string_value(text), json_string_length(text),
                             json_true());
    }
}

static bool is_known(const json_t *known, const char *id, const json_t *token) {
    const json_t *text = json_object_get(token, "content");
    if (json_object_get(json_object_get(known, "id"), id) || !json_is_string(text)) return true;
    return json_object_getn(json_object_get(known, "text"), json_string_value(text), json_string_length(text)) != NULL;
}

// added_tokens of tokenizer.json, and those that only tokenizer_config.json's added_tokens_decoder knows. A new array.
static json_t *all_added(const json_t *added, const json_t *config) {
    json_t *all = json_is_array(added) ? json_copy((json_t *)added) : json_array();
    MOSA_AUTO_JSON json_t *known = json_pack("{s:{}, s:{}}", "id", "text");
    size_t i;
    const json_t *token;
    json_array_foreach(added, i, token) note_known(known, token);
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(config, "added_tokens_decoder"), key, value) {
        int64_t id;
        if (!mosa_parse_i64(key, &id) || !json_is_object(value) || is_known(known, key, value)) continue;
        json_t *copy = json_copy(value);
        if (copy) json_object_set_new(copy, "id", json_integer(id));
        if (copy) json_array_append_new(all, copy);
    }
    return all;
}

// --- Loading --------------------------------------------------------------------------------------------------------

static mosa_status load_all(mosa_json_tokenizer *load, const json_t *root, const json_t *added, const json_t *config,
                            mosa_tokenizer **out) {
    mosa_tokenizer_spec *spec = &load->spec;
    spec->normalizers = load->normalizers;
    spec->pretokenizers = load->pretokenizers;
    spec->decoders = load->decoders;
    MOSA_TRY(mosa_json_read_model(load, json_object_get(root, "model"), added));
    MOSA_TRY(mosa_json_read_normalizer(load, json_object_get(root, "normalizer")));
    MOSA_TRY(mosa_json_read_pretokenizer(load, json_object_get(root, "pre_tokenizer")));
    MOSA_TRY(mosa_json_read_decoder(load, json_object_get(root, "decoder")));
    if (spec->decoder_count == 0) { // without a decoder tokens are joined by spaces
        load->decoders[spec->decoder_count++] =
            (mosa_decoder_spec){.kind = MOSA_DEC_WORDPIECE, .pattern = MOSA_SLICE("")};
    }
    MOSA_TRY(read_processor(load, json_object_get(root, "post_processor")));
    MOSA_TRY(read_config(load, config));
    return mosa_tokenizer_create(spec, out, load->err);
}

mosa_status mosa_tokenizer_from_json(const json_t *tokenizer, const json_t *config, const char *source,
                                     mosa_tokenizer **out, mosa_error *err) {
    if (!json_is_object(tokenizer)) return mosa_fail(err, MOSA_ECORRUPT, "%s: not a JSON object", source);
    mosa_arena arena;
    mosa_arena_init(&arena, 1 << 20, 0);
    mosa_json_tokenizer *load = MOSA_ARENA_NEW(&arena, mosa_json_tokenizer);
    json_t *added = all_added(json_object_get(tokenizer, "added_tokens"), config);
    mosa_status status = MOSA_ENOMEM;
    if (load && added) {
        *load = (mosa_json_tokenizer){.source = source, .arena = &arena, .err = err};
        mosa_tokenizer_spec_init(&load->spec, source);
        status = load_all(load, tokenizer, added, config, out);
    } else {
        status = mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", source);
    }
    json_decref(added);
    mosa_arena_finish(&arena);
    return status;
}

// --- vocab.json and merges.txt --------------------------------------------------------------------------------------

static json_t *merges_array(mosa_slice text) {
    json_t *list = json_array();
    for (size_t at = 0; list && at < text.len;) {
        const char *newline = memchr(text.data + at, '\n', text.len - at);
        size_t end = newline ? (size_t)(newline - text.data) : text.len;
        size_t len = end - at;
        if (len && text.data[end - 1] == '\r') len--;
        bool comment = at == 0 && len >= 8 && memcmp(text.data, "#version", 8) == 0;
        if (len && !comment && json_array_append_new(list, json_stringn(text.data + at, len)) != 0) {
            json_decref(list);
            list = NULL;
        }
        at = end + 1;
    }
    return list;
}

static json_t *byte_level(const char *pattern) {
    if (!pattern) {
        return json_pack("{s:s, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 1);
    }
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, {s:s, s:b, s:b}]}", "type", "Sequence", "pretokenizers",
                     "type", "Split", "pattern", "Regex", pattern, "behavior", "Isolated", "invert", 0, "type",
                     "ByteLevel", "add_prefix_space", 0, "use_regex", 0);
}

mosa_status mosa_tokenizer_from_vocab(const json_t *vocab, mosa_slice merges, const json_t *config, const char *source,
                                      mosa_tokenizer **out, mosa_error *err) {
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    bool qwen = class && strncmp(class, "Qwen2Tokenizer", 14) == 0;
    json_t *list = merges_array(merges);
    json_t *root =
        json_pack("{s:{s:s, s:O, s:o?}, s:o?, s:{s:s}}", "model", "type", "BPE", "vocab", vocab, "merges", list,
                  "pre_tokenizer", byte_level(qwen ? mosa_pattern_qwen2 : NULL), "decoder", "type", "ByteLevel");
    if (!root || !list) {
        json_decref(root);
        return mosa_fail(err, MOSA_ECORRUPT, "%s: merges.txt is not UTF-8, or there is no memory for it", source);
    }
    if (qwen) json_object_set_new(root, "normalizer", json_pack("{s:s}", "type", "NFC"));
    mosa_status status = mosa_tokenizer_from_json(root, config, source, out, err);
    json_decref(root);
    return status;
}
