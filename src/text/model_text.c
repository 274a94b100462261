// Gathers tokenizer, chat template and generation defaults from a GGUF file or a Hugging Face folder.
#include "text/model_text.h"

#include "base/file.h"
#include "codec/gguf.h"
#include "codec/hf_config.h"
#include "codec/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEMPLATE_BYTES_MAX = 1 << 20, TOKENIZER_CONFIG_BYTES_MAX = 64 << 20, END_IDS_MAX = 128 };

struct mosa_model_text {
    mosa_tokenizer *tokenizer;
    mosa_chat_template *plain;      // without tools
    mosa_chat_template *with_tools; // NULL when the model has one template for both
    char *name;
    mosa_model_text_info info;
    mosa_token_id end_ids[END_IDS_MAX];
    size_t n_end_ids;
};

void mosa_model_text_close(mosa_model_text *text) {
    if (!text) return;
    mosa_chat_template_destroy(text->plain);
    mosa_chat_template_destroy(text->with_tools);
    mosa_tokenizer_destroy(text->tokenizer);
    free(text->name);
    free(text);
}

static void add_end_id(mosa_model_text *text, mosa_token_id id) {
    for (size_t i = 0; i < text->n_end_ids; i++)
        if (text->end_ids[i] == id) return;
    if (text->n_end_ids < END_IDS_MAX) text->end_ids[text->n_end_ids++] = id;
}

static const char *token_string(const mosa_tokenizer *tokenizer, mosa_token_id id, char *buffer, size_t size) {
    mosa_slice text = mosa_tokenizer_token_text(tokenizer, id);
    if (id == MOSA_TOKEN_NONE || !text.len || text.len >= size) return NULL;
    memcpy(buffer, text.data, text.len);
    buffer[text.len] = '\0';
    return buffer;
}

static mosa_status make_template(const mosa_model_text *text, mosa_slice source, mosa_chat_template **out,
                                 mosa_error *err) {
    char bos[256], eos[256];
    const mosa_special_ids *ids = mosa_tokenizer_special(text->tokenizer);
    mosa_chat_template_source from = {
        .template = source,
        .bos_token = token_string(text->tokenizer, ids->bos, bos, sizeof bos),
        .eos_token = token_string(text->tokenizer, ids->eos, eos, sizeof eos),
    };
    return mosa_chat_template_create(&from, out, err);
}

// `templates` is what mosa_chat_template_select takes, or NULL when the model has none.
static mosa_status make_templates(mosa_model_text *text, const json_t *templates, mosa_error *err) {
    mosa_slice plain = mosa_chat_template_chatml(), with_tools = {0};
    if (templates) {
        MOSA_TRY(mosa_chat_template_select(templates, NULL, false, &plain, err));
        MOSA_TRY(mosa_chat_template_select(templates, NULL, true, &with_tools, err));
        text->info.has_chat_template = true;
    }
    MOSA_TRY(make_template(text, plain, &text->plain, err));
    if (!with_tools.len || mosa_slice_eq(plain, with_tools)) return MOSA_OK;
    return make_template(text, with_tools, &text->with_tools, err);
}

// A GGUF file's templates as the object that mosa_chat_template_select takes; NULL in *out when it has none.
static mosa_status gguf_templates(const mosa_gguf *gguf, json_t **out, mosa_error *err) {
    json_t *templates = json_object();
    if (!templates) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", mosa_gguf_path(gguf));
    for (size_t i = 0; i < mosa_gguf_kv_count(gguf); i++) {
        const mosa_gguf_kv *kv = mosa_gguf_kv_at(gguf, i);
        mosa_slice value;
        if (kv->type != MOSA_GGUF_STR || mosa_gguf_get_str(gguf, kv->key, &value, NULL) != MOSA_OK) continue;
        mosa_chat_template_add_gguf(templates, kv->key, value);
    }
    if (json_object_size(templates) == 0) {
        json_decref(templates);
        templates = NULL;
    }
    *out = templates;
    return MOSA_OK;
}

static mosa_status open_gguf(mosa_model_text *text, const char *path, json_t **templates, mosa_error *err) {
    mosa_gguf *gguf;
    MOSA_TRY(mosa_gguf_open(path, &gguf, err));
    mosa_slice name = {0}, arch = {0};
    mosa_status status;
    MOSA_TRY_GOTO(mosa_gguf_get_str_or(gguf, "general.name", (mosa_slice){0}, &name, err), done);
    MOSA_TRY_GOTO(mosa_gguf_get_str_or(gguf, "general.architecture", (mosa_slice){0}, &arch, err), done);
    if (name.len) text->name = strndup(name.data, name.len);
    char key[MOSA_GGUF_NAME_MAX + 1];
    snprintf(key, sizeof key, "%.*s.context_length", (int)(arch.len < 64 ? arch.len : 64), arch.data ? arch.data : "");
    MOSA_TRY_GOTO(mosa_gguf_get_i64_or(gguf, key, 0, &text->info.context_tokens, err), done);
    status = gguf_templates(gguf, templates, err);
done:
    mosa_gguf_close(gguf);
    return status;
}

static bool path_in(const char *folder, const char *file, char *buffer, size_t size) {
    int len = snprintf(buffer, size, "%s/%s", folder, file);
    return len > 0 && (size_t)len < size && access(buffer, R_OK) == 0;
}

static mosa_status read_generation_config(mosa_model_text *text, const char *path, mosa_error *err) {
    mosa_hf_config *config;
    MOSA_TRY(mosa_hf_config_open(path, &config, err));
    mosa_model_text_info *info = &text->info;
    int64_t top_k = -1, ends[MOSA_HF_IDS_MAX];
    size_t n_ends = 0;
    mosa_status status;
    MOSA_TRY_GOTO(mosa_hf_config_f64_or(config, "temperature", 0, 100, NAN, &info->temperature, err), done);
    MOSA_TRY_GOTO(mosa_hf_config_f64_or(config, "top_p", 0, 1, NAN, &info->top_p, err), done);
    MOSA_TRY_GOTO(mosa_hf_config_f64_or(config, "min_p", 0, 1, NAN, &info->min_p, err), done);
    MOSA_TRY_GOTO(mosa_hf_config_f64_or(config, "repetition_penalty", 0, 100, NAN, &info->repetition_penalty, err),
                  done);
    MOSA_TRY_GOTO(mosa_hf_config_i64_or(config, "top_k", 0, 1 << 30, -1, &top_k, err), done);
    MOSA_TRY_GOTO(mosa_hf_config_i64s(config, "eos_token_id", 0, INT32_MAX, ends, MOSA_HF_IDS_MAX, &n_ends, err), done);
    info->top_k = (int)top_k;
    for (size_t i = 0; i < n_ends; i++) add_end_id(text, (mosa_token_id)ends[i]);
done:
    mosa_hf_config_close(config);
    return status;
}

static mosa_status read_template_file(const char *path, json_t **templates, mosa_error *err) {
    char *bytes;
    size_t len;
    MOSA_TRY(mosa_file_read(path, TEMPLATE_BYTES_MAX, &bytes, &len, err));
    *templates = json_stringn(bytes, len);
    free(bytes);
    return *templates ? MOSA_OK : mosa_fail(err, MOSA_ECORRUPT, "%s: not valid UTF-8", path);
}

static mosa_status folder_templates(const char *folder, json_t **templates, mosa_error *err) {
    char path[4096];
    if (path_in(folder, "chat_template.jinja", path, sizeof path)) return read_template_file(path, templates, err);
    if (!path_in(folder, "tokenizer_config.json", path, sizeof path)) return MOSA_OK;
    char *bytes;
    size_t len;
    json_t *config;
    MOSA_TRY(mosa_file_read(path, TOKENIZER_CONFIG_BYTES_MAX, &bytes, &len, err));
    mosa_status status = mosa_json_parse((mosa_slice){bytes, len}, NULL, &config, err);
    free(bytes);
    if (status != MOSA_OK) {
        mosa_fail_prefix(err, path);
        return status;
    }
    json_t *value = json_object_get(config, "chat_template");
    if (value && !json_is_null(value)) *templates = json_incref(value);
    json_decref(config);
    return MOSA_OK;
}

static mosa_status open_folder(mosa_model_text *text, const char *folder, json_t **templates, mosa_error *err) {
    char path[4096];
    if (path_in(folder, "config.json", path, sizeof path)) {
        mosa_hf_config *config;
        MOSA_TRY(mosa_hf_config_open(path, &config, err));
        mosa_status status =
            mosa_hf_config_i64_or(config, "max_position_embeddings", 0, INT32_MAX, 0, &text->info.context_tokens, err);
        mosa_hf_config_close(config);
        if (status != MOSA_OK) return status;
    }
    if (path_in(folder, "generation_config.json", path, sizeof path)) MOSA_TRY(read_generation_config(text, path, err));
    return folder_templates(folder, templates, err);
}

static mosa_status open_into(mosa_model_text *text, const char *model_path, const char *template_path,
                             mosa_error *err) {
    struct stat info;
    if (stat(model_path, &info) != 0) {
        mosa_fail(err, MOSA_ENOTFOUND, "%s: no such file or folder", model_path);
        mosa_hint(err, "give a .gguf file or a Hugging Face folder; `mosa pull hf:org/name` fetches one");
        return MOSA_ENOTFOUND;
    }
    MOSA_TRY(mosa_tokenizer_load(model_path, &text->tokenizer, err));
    size_t n_ends;
    const mosa_token_id *ends = mosa_tokenizer_end_ids(text->tokenizer, &n_ends);
    for (size_t i = 0; i < n_ends; i++) add_end_id(text, ends[i]);
    json_t *templates = NULL;
    mosa_status status = S_ISDIR(info.st_mode) ? open_folder(text, model_path, &templates, err)
                                               : open_gguf(text, model_path, &templates, err);
    if (status == MOSA_OK && template_path) {
        json_decref(templates);
        templates = NULL;
        status = read_template_file(template_path, &templates, err);
    }
    if (status == MOSA_OK) {
        status = make_templates(text, templates, err);
        if (status != MOSA_OK) mosa_fail_prefix(err, template_path ? template_path : model_path);
    }
    json_decref(templates);
    if (status == MOSA_OK && !text->name) text->name = mosa_path_stem(model_path, ".gguf");
    text->info.name = text->name;
    if (status == MOSA_OK && !text->name) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", model_path);
    return status;
}

static bool is_control(const mosa_model_text *text, const char *mark) {
    mosa_token_id id = mark ? mosa_tokenizer_find(text->tokenizer, mosa_slice_of(mark)) : MOSA_TOKEN_NONE;
    return id != MOSA_TOKEN_NONE && mosa_tokenizer_token_type(text->tokenizer, id) == MOSA_TOKEN_CONTROL;
}

// What the templates say about the form of answers.
static void find_dialect(mosa_model_text *text) {
    mosa_model_text_info *info = &text->info;
    mosa_slice plain = mosa_chat_template_text(text->plain);
    info->dialect = mosa_dialect_find(text->with_tools ? mosa_chat_template_text(text->with_tools) : plain);
    if (info->dialect->form != MOSA_CALL_HARMONY) info->reasoning = mosa_reasoning_style_find(plain);
    const mosa_dialect *d = info->dialect;
    const char *const marks[] = {d->section_open,
                                 d->call_open,
                                 d->arguments_open,
                                 info->reasoning ? info->reasoning->open : NULL,
                                 info->reasoning ? info->reasoning->close : NULL,
                                 d->form == MOSA_CALL_HARMONY ? "<|channel|>" : NULL};
    for (size_t i = 0; i < MOSA_COUNT(marks); i++) info->marks_are_control |= is_control(text, marks[i]);
}

mosa_status mosa_model_text_open(const char *model_path, const char *chat_template_path, mosa_model_text **out,
                                 mosa_error *err) {
    mosa_model_text *text = calloc(1, sizeof *text);
    if (!text) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", model_path);
    text->info =
        (mosa_model_text_info){.temperature = NAN, .top_p = NAN, .min_p = NAN, .repetition_penalty = NAN, .top_k = -1};
    mosa_status status = open_into(text, model_path, chat_template_path, err);
    if (status != MOSA_OK) {
        mosa_model_text_close(text);
        return status;
    }
    find_dialect(text);
    *out = text;
    return MOSA_OK;
}

const mosa_model_text_info *mosa_model_text_get_info(const mosa_model_text *text) {
    return &text->info;
}
const mosa_tokenizer *mosa_model_text_tokenizer(const mosa_model_text *text) {
    return text->tokenizer;
}
const mosa_chat_template *mosa_model_text_template(const mosa_model_text *text, bool with_tools) {
    return with_tools && text->with_tools ? text->with_tools : text->plain;
}

const mosa_token_id *mosa_model_text_end_ids(const mosa_model_text *text, size_t *count) {
    *count = text->n_end_ids;
    return text->end_ids;
}

mosa_status mosa_model_text_chat(const mosa_model_text *text, json_t *messages, json_t *tools, json_t *kwargs,
                                 bool add_generation_prompt, bool continue_final_message, int32_t **tokens,
                                 size_t *n_tokens, mosa_error *err) {
    mosa_chat_options options = {.add_generation_prompt = add_generation_prompt,
                                 .continue_final_message = continue_final_message,
                                 .tools = tools,
                                 .kwargs = kwargs};
    const mosa_chat_template *tmpl = mosa_model_text_template(text, tools != NULL);
    mosa_jinja_output output;
    MOSA_TRY(mosa_chat_template_render(tmpl, messages, &options, &output, err));
    mosa_token_list list;
    mosa_token_list_init(&list, 0);
    // The template writes BOS itself where the model wants one.
    mosa_status status = mosa_tokenizer_encode_ranges(text->tokenizer, (mosa_slice){output.text, output.len},
                                                      output.ranges, output.n_ranges, 0, &list, err);
    mosa_jinja_output_finish(&output);
    if (status != MOSA_OK) {
        mosa_token_list_finish(&list);
        return status;
    }
    *tokens = list.ids;
    *n_tokens = list.len;
    return MOSA_OK;
}

mosa_status mosa_model_text_encode(const mosa_model_text *text, mosa_slice prompt, bool add_special, bool parse_special,
                                   int32_t **tokens, size_t *n_tokens, mosa_error *err) {
    mosa_token_list list;
    mosa_token_list_init(&list, 0);
    unsigned flags = (add_special ? MOSA_ENCODE_ADD_SPECIAL : 0) | (parse_special ? MOSA_ENCODE_PARSE_SPECIAL : 0);
    mosa_status status = mosa_tokenizer_encode(text->tokenizer, prompt, flags, &list, err);
    if (status != MOSA_OK) {
        mosa_token_list_finish(&list);
        return status;
    }
    *tokens = list.ids;
    *n_tokens = list.len;
    return MOSA_OK;
}

// The ids around a text.
static mosa_status read_frame(const mosa_model_text *text, mosa_token_id frame[2], mosa_error *err) {
    int32_t *ids;
    size_t n;
    MOSA_TRY(mosa_model_text_encode(text, MOSA_SLICE(""), true, false, &ids, &n, err));
    bool pair = n == 2;
    for (size_t i = 0; pair && i < 2; i++) frame[i] = ids[i];
    free(ids);
    if (pair) return MOSA_OK;
    return mosa_fail(err, MOSA_EUNSUPPORTED, "this model's tokenizer has no form for a pair of texts");
}

mosa_status mosa_model_text_encode_pair(const mosa_model_text *text, mosa_slice first, mosa_slice second, size_t limit,
                                        int32_t **tokens, size_t *n_tokens, size_t *n_first, mosa_error *err) {
    bool bert = strcmp(mosa_tokenizer_model_name(text->tokenizer), "wordpiece") == 0;
    mosa_token_id frame[2];
    mosa_token_list a, b;
    MOSA_TRY(read_frame(text, frame, err));
    mosa_token_list_init(&a, 0);
    mosa_token_list_init(&b, 0);
    mosa_status status = mosa_tokenizer_encode(text->tokenizer, first, 0, &a, err);
    if (status == MOSA_OK) status = mosa_tokenizer_encode(text->tokenizer, second, 0, &b, err);
    size_t separators = bert ? 1 : 2, around = 2 + separators, kept = b.len, at = 0;
    if (limit > a.len + around && a.len + around + kept > limit) kept = limit - a.len - around;
    int32_t *ids = status == MOSA_OK ? malloc((a.len + kept + around) * sizeof *ids) : NULL;
    if (status == MOSA_OK && !ids) status = mosa_fail(err, MOSA_ENOMEM, "out of memory for a pair of texts");
    if (ids) {
        ids[at++] = frame[0];
        for (size_t i = 0; i < a.len; i++) ids[at++] = a.ids[i];
        for (size_t i = 0; i < separators; i++) ids[at++] = frame[1];
        *n_first = bert ? at : 0;
        for (size_t i = 0; i < kept; i++) ids[at++] = b.ids[i];
        ids[at++] = frame[1];
        *tokens = ids;
        *n_tokens = at;
    }
    mosa_token_list_finish(&a);
    mosa_token_list_finish(&b);
    return status;
}
