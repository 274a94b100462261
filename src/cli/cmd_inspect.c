// mosa inspect: what a model file or folder holds, as a table for people or as JSON for scripts.
#include "cli/command.h"

#include "base/file.h"
#include "base/str.h"
#include "codec/gguf.h"
#include "codec/hf_config.h"
#include "codec/json.h"
#include "codec/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct inspect_values {
    bool tensors, json, all;
} inspect_values;

static const mosa_option options[] = {
    {.flag = "--tensors",
     .type = MOSA_OPTION_BOOL,
     .help = "List every tensor with type, shape and size.",
     MOSA_OPTION_FIELD(inspect_values, tensors)},
    {.flag = "--all",
     .type = MOSA_OPTION_BOOL,
     .help = "Print metadata strings and arrays whole.",
     MOSA_OPTION_FIELD(inspect_values, all)},
    {.flag = "--json",
     .type = MOSA_OPTION_BOOL,
     .help = "Print one JSON object instead of tables.",
     MOSA_OPTION_FIELD(inspect_values, json)},
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

enum { BAR_COLUMNS = 32, STR_SHOWN = 64, ITEMS_SHOWN = 6 };

// The opened model; exactly one of gguf and safetensors, config only beside the latter.
typedef struct model {
    mosa_gguf *gguf;
    mosa_safetensors *safetensors;
    mosa_hf_config *config;
} model;

static mosa_status open_model(const char *path, model *m, mosa_error *err) {
    bool tensors_file = mosa_str_ends_with(path, ".safetensors");
    if (!tensors_file && !mosa_file_is_dir(path)) return mosa_gguf_open(path, &m->gguf, err);
    MOSA_TRY(mosa_safetensors_open(path, &m->safetensors, err));
    MOSA_AUTO_FREE char *config = mosa_path_join(path, "config.json");
    if (!config) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    return !tensors_file && mosa_file_exists(config) ? mosa_hf_config_open(config, &m->config, err) : MOSA_OK;
}

static void close_model(model *m) {
    mosa_gguf_close(m->gguf);
    mosa_safetensors_close(m->safetensors);
    mosa_hf_config_close(m->config);
}

static size_t tensor_count(const model *m) {
    return m->gguf ? mosa_gguf_tensor_count(m->gguf) : mosa_safetensors_tensor_count(m->safetensors);
}

static const mosa_tensor_view *tensor_at(const model *m, size_t index) {
    return m->gguf ? mosa_gguf_tensor_at(m->gguf, index) : mosa_safetensors_tensor_at(m->safetensors, index);
}

typedef struct type_sum {
    mosa_dtype dtype;
    size_t tensors;
    uint64_t elements, bytes;
} type_sum;

static int compare_sums(const void *a, const void *b) {
    const type_sum *x = a, *y = b;
    return x->bytes > y->bytes ? -1 : x->bytes < y->bytes;
}

// Sums by dtype, largest first; returns how many types occur.
static size_t sum_types(const model *m, type_sum sums[MOSA_DTYPE_COUNT], type_sum *total) {
    size_t used = 0;
    *total = (type_sum){0};
    for (unsigned i = 0; i < MOSA_DTYPE_COUNT; i++) sums[i] = (type_sum){.dtype = (mosa_dtype)i};
    for (size_t i = 0; i < tensor_count(m); i++) {
        const mosa_tensor_view *view = tensor_at(m, i);
        type_sum *sum = &sums[view->dtype];
        used += sum->tensors++ == 0;
        sum->elements += (uint64_t)view->n_elements, total->elements += (uint64_t)view->n_elements;
        sum->bytes += view->bytes, total->bytes += view->bytes;
    }
    total->tensors = tensor_count(m);
    qsort(sums, MOSA_DTYPE_COUNT, sizeof *sums, compare_sums);
    return used;
}

// "1.24 GB", "1.10 B": three digits and a unit.
static const char *with_unit(double value, const char *const units[5], char text[32]) {
    int unit = 0;
    for (; value >= 999.5 && unit < 4; unit++) value /= 1000;
    snprintf(text, 32, "%.*f%s", unit == 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2, value, units[unit]);
    return text;
}

static const char *bytes_text(uint64_t bytes, char text[32]) {
    static const char *const units[5] = {" B", " kB", " MB", " GB", " TB"};
    return with_unit((double)bytes, units, text);
}

static const char *count_text(uint64_t count, char text[32]) {
    static const char *const units[5] = {"", " k", " M", " B", " T"};
    return with_unit((double)count, units, text);
}

// --- facts: the few fields that people look for first ---------------------------------------------------------------

typedef struct fact {
    const char *label, *gguf, *hf; // gguf: suffix behind the architecture's name
} fact;

static const fact facts[] = {
    {"context", "context_length", "max_position_embeddings"},
    {"layers", "block_count", "num_hidden_layers"},
    {"width", "embedding_length", "hidden_size"},
    {"feed-forward", "feed_forward_length", "intermediate_size"},
    {"heads", "attention.head_count", "num_attention_heads"},
    {"kv heads", "attention.head_count_kv", "num_key_value_heads"},
    {"head width", "attention.key_length", "head_dim"},
    {"vocabulary", "vocab_size", "vocab_size"},
};

static bool fact_value(const model *m, const fact *f, const char *arch, int64_t *out) {
    char key[MOSA_GGUF_NAME_MAX + 1];
    if (m->config) return mosa_hf_config_i64(m->config, f->hf, 0, INT64_MAX, out, NULL) == MOSA_OK;
    if (!m->gguf) return false;
    snprintf(key, sizeof key, "%s.%s", arch, f->gguf);
    if (mosa_gguf_get_i64(m->gguf, key, out, NULL) == MOSA_OK) return true;
    const mosa_gguf_kv *tokens = mosa_gguf_kv_find(m->gguf, "tokenizer.ggml.tokens");
    if (strcmp(f->gguf, "vocab_size") != 0 || !tokens) return false;
    *out = (int64_t)tokens->count;
    return true;
}

// Architecture and name; "" when the file does not say.
static void identify(const model *m, char arch[128], char name[256]) {
    mosa_slice text = {0};
    const char *type = "";
    arch[0] = name[0] = '\0';
    if (m->config && mosa_hf_config_model_type(m->config, &type, NULL) == MOSA_OK) snprintf(arch, 128, "%s", type);
    if (!m->gguf) return;
    if (mosa_gguf_get_str(m->gguf, "general.architecture", &text, NULL) == MOSA_OK)
        snprintf(arch, 128, "%.*s", (int)(text.len < 127 ? text.len : 127), text.data);
    if (mosa_gguf_get_str(m->gguf, "general.name", &text, NULL) == MOSA_OK)
        snprintf(name, 256, "%.*s", (int)(text.len < 255 ? text.len : 255), text.data);
}

static void format_of(const model *m, char text[64]) {
    if (m->gguf)
        snprintf(text, 64, "GGUF version %u, %u file%s", mosa_gguf_version(m->gguf), mosa_gguf_split_count(m->gguf),
                 mosa_gguf_split_count(m->gguf) == 1 ? "" : "s");
    else
        snprintf(text, 64, "safetensors, %zu file%s", mosa_safetensors_shard_count(m->safetensors),
                 mosa_safetensors_shard_count(m->safetensors) == 1 ? "" : "s");
}

// --- printing -------------------------------------------------------------------------------------------------------

// Text of files reaches the terminal without its control characters.
static void print_safe(const char *data, size_t len) {
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c == '\n')
            fputs("\\n", stdout);
        else if (c < 0x20 || c == 0x7f)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
}

static void print_string(mosa_slice text, bool all) {
    size_t shown = all || text.len <= STR_SHOWN ? text.len : STR_SHOWN;
    while (shown < text.len && shown > 0 && ((unsigned char)text.data[shown] & 0xc0) == 0x80)
        shown--; // whole characters
    putchar('"');
    print_safe(text.data, shown);
    putchar('"');
    if (shown < text.len) printf("... (%zu bytes)", text.len);
}

static void print_number(const mosa_gguf_kv *kv, uint64_t index) {
    int64_t integer;
    double real;
    if (kv->item_type == MOSA_GGUF_BOOL && mosa_gguf_kv_i64(kv, index, &integer))
        fputs(integer ? "true" : "false", stdout);
    else if (mosa_gguf_kv_i64(kv, index, &integer))
        printf("%lld", (long long)integer);
    else if (mosa_gguf_kv_f64(kv, index, &real))
        printf("%g", real);
}

static void print_value(const mosa_gguf_kv *kv, bool all) {
    mosa_gguf_str_iter iter = mosa_gguf_strs(kv);
    bool array = kv->type == MOSA_GGUF_ARRAY, strings = kv->item_type == MOSA_GGUF_STR;
    uint64_t shown = all || kv->count <= ITEMS_SHOWN ? kv->count : ITEMS_SHOWN;
    if (array) printf("%s[%llu] ", mosa_gguf_type_name(kv->item_type), (unsigned long long)kv->count);
    if (array && kv->item_type == MOSA_GGUF_ARRAY) return;
    for (uint64_t i = 0; i < shown; i++) {
        mosa_slice text;
        if (i) fputs(", ", stdout);
        if (strings && mosa_gguf_str_next(&iter, &text))
            print_string(text, all);
        else if (!strings)
            print_number(kv, i);
    }
    if (shown < kv->count) fputs(", ...", stdout);
}

static void print_summary(const model *m, const char *path, const type_sum *total) {
    char arch[128], name[256], format[64], text[32];
    identify(m, arch, name);
    format_of(m, format);
    printf("%s\n", path);
    printf("  %-14s %s, %s\n", "format", format, bytes_text(total->bytes, text));
    if (name[0]) printf("  %-14s %s\n", "name", name);
    if (arch[0]) printf("  %-14s %s\n", "architecture", arch);
    printf("  %-14s %s in %zu tensors\n", "parameters", count_text(total->elements, text), total->tensors);
    for (size_t i = 0; i < MOSA_COUNT(facts); i++) {
        int64_t value;
        if (fact_value(m, &facts[i], arch, &value)) printf("  %-14s %lld\n", facts[i].label, (long long)value);
    }
}

static void print_types(const type_sum *sums, size_t used, const type_sum *total) {
    printf("\n  %-9s %8s %12s %11s %6s\n", "type", "tensors", "parameters", "bytes", "bits");
    for (size_t i = 0; i < used; i++) {
        char elements[32], bytes[32];
        double part = total->bytes ? (double)sums[i].bytes / (double)total->bytes : 0;
        int columns = (int)lround(part * BAR_COLUMNS);
        printf("  %-9s %8zu %12s %11s %6.2f  ", mosa_dtype_name(sums[i].dtype), sums[i].tensors,
               count_text(sums[i].elements, elements), bytes_text(sums[i].bytes, bytes),
               mosa_dtype_bits(sums[i].dtype));
        for (int k = 0; k < BAR_COLUMNS; k++) fputs(k < columns ? "█" : "·", stdout);
        printf(" %3.0f%%\n", part * 100);
    }
}

static void print_metadata(const model *m, bool all) {
    size_t count = m->gguf ? mosa_gguf_kv_count(m->gguf) : mosa_safetensors_metadata_count(m->safetensors);
    if (count) puts("\nmetadata");
    for (size_t i = 0; i < count; i++) {
        if (m->gguf) {
            const mosa_gguf_kv *kv = mosa_gguf_kv_at(m->gguf, i);
            printf("  %-42s ", kv->key);
            print_value(kv, all);
        } else {
            const char *key, *value;
            mosa_safetensors_metadata_at(m->safetensors, i, &key, &value);
            fputs("  ", stdout);
            print_safe(key, strlen(key));
            putchar(' ');
            print_string(mosa_slice_of(value), all);
        }
        putchar('\n');
    }
}

static void print_tensors(const model *m) {
    puts("\ntensors");
    for (size_t i = 0; i < tensor_count(m); i++) {
        const mosa_tensor_view *view = tensor_at(m, i);
        char shape[128] = "", bytes[32];
        for (uint32_t d = 0; d < view->n_dims; d++) {
            size_t used = strlen(shape);
            snprintf(shape + used, sizeof shape - used, "%s%lld", d ? " x " : "", (long long)view->dims[d]);
        }
        printf("  %-48s %-7s %-20s %10s\n", view->name, mosa_dtype_name(view->dtype), shape,
               bytes_text(view->bytes, bytes));
    }
}

// --- JSON -----------------------------------------------------------------------------------------------------------

static json_t *json_text(mosa_slice text) {
    json_t *value = json_stringn(text.data, text.len);
    return value ? value : json_null(); // bytes that are no UTF-8
}

static json_t *json_item(const mosa_gguf_kv *kv, uint64_t index) {
    int64_t integer;
    double real;
    if (mosa_gguf_kv_i64(kv, index, &integer))
        return kv->item_type == MOSA_GGUF_BOOL ? json_boolean(integer) : json_integer(integer);
    return mosa_gguf_kv_f64(kv, index, &real) && isfinite(real) ? json_real(real) : json_null();
}

// Long arrays give their type and length only, unless all is asked for.
static json_t *json_value(const mosa_gguf_kv *kv, bool all) {
    mosa_gguf_str_iter iter = mosa_gguf_strs(kv);
    mosa_slice text;
    if (kv->type != MOSA_GGUF_ARRAY) return mosa_gguf_str_next(&iter, &text) ? json_text(text) : json_item(kv, 0);
    if (kv->item_type == MOSA_GGUF_ARRAY || (!all && kv->count > ITEMS_SHOWN))
        return json_pack("{s:s,s:I}", "array_of", mosa_gguf_type_name(kv->item_type), "count", (json_int_t)kv->count);
    json_t *list = json_array();
    if (kv->item_type == MOSA_GGUF_STR)
        while (mosa_gguf_str_next(&iter, &text)) json_array_append_new(list, json_text(text));
    else
        for (uint64_t i = 0; i < kv->count; i++) json_array_append_new(list, json_item(kv, i));
    return list;
}

static json_t *json_metadata(const model *m, bool all) {
    json_t *object = json_object();
    if (m->gguf)
        for (size_t i = 0; i < mosa_gguf_kv_count(m->gguf); i++)
            json_object_set_new(object, mosa_gguf_kv_at(m->gguf, i)->key, json_value(mosa_gguf_kv_at(m->gguf, i), all));
    else
        for (size_t i = 0; i < mosa_safetensors_metadata_count(m->safetensors); i++) {
            const char *key, *value;
            mosa_safetensors_metadata_at(m->safetensors, i, &key, &value);
            json_object_set_new(object, key, json_text(mosa_slice_of(value)));
        }
    return object;
}

static json_t *json_tensors(const model *m) {
    json_t *list = json_array();
    for (size_t i = 0; i < tensor_count(m); i++) {
        const mosa_tensor_view *view = tensor_at(m, i);
        json_t *shape = json_array();
        for (uint32_t d = 0; d < view->n_dims; d++) json_array_append_new(shape, json_integer(view->dims[d]));
        json_array_append_new(list,
                              json_pack("{s:s,s:s,s:o,s:I}", "name", view->name, "type", mosa_dtype_name(view->dtype),
                                        "shape", shape, "bytes", (json_int_t)view->bytes));
    }
    return list;
}

static mosa_status print_json(const model *m, const char *path, const inspect_values *values, const type_sum *sums,
                              size_t used, const type_sum *total, mosa_error *err) {
    char arch[128], name[256];
    MOSA_AUTO_JSON json_t *root = json_object();
    json_t *types = json_object();
    identify(m, arch, name);
    json_object_set_new(root, "path", json_string(path));
    json_object_set_new(root, "format", json_string(m->gguf ? "gguf" : "safetensors"));
    json_object_set_new(root, "architecture", arch[0] ? json_string(arch) : json_null());
    json_object_set_new(root, "name", name[0] ? json_string(name) : json_null());
    json_object_set_new(root, "parameters", json_integer((json_int_t)total->elements));
    json_object_set_new(root, "bytes", json_integer((json_int_t)total->bytes));
    for (size_t i = 0; i < MOSA_COUNT(facts); i++) {
        int64_t value;
        if (fact_value(m, &facts[i], arch, &value)) json_object_set_new(root, facts[i].hf, json_integer(value));
    }
    for (size_t i = 0; i < used; i++)
        json_object_set_new(types, mosa_dtype_name(sums[i].dtype),
                            json_pack("{s:I,s:I,s:I}", "tensors", (json_int_t)sums[i].tensors, "parameters",
                                      (json_int_t)sums[i].elements, "bytes", (json_int_t)sums[i].bytes));
    json_object_set_new(root, "types", types);
    json_object_set_new(root, "metadata", json_metadata(m, values->all));
    if (values->tensors) json_object_set_new(root, "tensors", json_tensors(m));
    mosa_buf text;
    mosa_buf_init(&text, 0);
    mosa_json_append_pretty(&text, root);
    mosa_status status = mosa_buf_failed(&text) ? mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path) : MOSA_OK;
    if (status == MOSA_OK) puts(mosa_buf_str(&text));
    mosa_buf_finish(&text);
    return status;
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    const inspect_values *values = call->values;
    const char *path = call->arguments.items[0];
    type_sum sums[MOSA_DTYPE_COUNT], total;
    model m = {0};
    mosa_status status = open_model(path, &m, err);
    if (status == MOSA_OK) {
        size_t used = sum_types(&m, sums, &total);
        if (values->json) {
            status = print_json(&m, path, values, sums, used, &total, err);
        } else {
            print_summary(&m, path, &total);
            print_types(sums, used, &total);
            print_metadata(&m, values->all);
            if (values->tensors) print_tensors(&m);
        }
    }
    close_model(&m);
    return status;
}

extern const mosa_command mosa_command_inspect;
const mosa_command mosa_command_inspect = {
    .name = "inspect",
    .group = MOSA_GROUP_MODELS,
    .summary = "Show what a model file holds",
    .usage = "FILE|FOLDER",
    .description =
        "Reads headers only, so it is quick on any size. Long strings and arrays are shortened unless --all is "
        "given.\n\n"
        "  mosa inspect model.gguf\n"
        "  mosa inspect --tensors --json ./Qwen3-0.6B",
    .options = &table,
    .values_bytes = sizeof(inspect_values),
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
