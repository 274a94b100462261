// The greeting: a JSON object, so that either side may grow fields without breaking the other.
#include "link/message.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

void mosa_link_put_hello(mosa_buf *out, const mosa_link_hello *hello) {
    const mosa_engine_info *info = &hello->info;
    json_t *json = json_pack(
        "{ss ss sI  ss ss ss sI sI sI si si si sI sI sI sI si sI ss sb sb sb sI sI}", "version", hello->version,
        "token", hello->token, "pid", (json_int_t)hello->pid, "name", info->name, "architecture", info->architecture,
        "quantization", info->quantization, "parameters", (json_int_t)info->parameters, "context_tokens",
        (json_int_t)info->context_tokens, "train_context_tokens", (json_int_t)info->train_context_tokens, "vocab_size",
        info->vocab_size, "width", info->width, "layers", info->layers, "weight_bytes", (json_int_t)info->weight_bytes,
        "kv_bytes", (json_int_t)info->kv_bytes, "scratch_bytes", (json_int_t)info->scratch_bytes, "kv_pages",
        (json_int_t)info->kv_pages, "page_tokens", info->page_tokens, "load_ns", (json_int_t)info->load_ns, "device",
        info->device, "can_embed", (int)info->can_embed, "can_generate", (int)info->can_generate, "can_score",
        (int)info->can_score, "kv_token_bytes", (json_int_t)info->kv_token_bytes, "draft_weight_bytes",
        (json_int_t)info->draft_weight_bytes);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    if (text) mosa_link_frame_put(out, MOSA_LINK_HELLO, 0, text, strlen(text));
    // json_pack refuses names that are not UTF-8; the buffer's failure flag carries that to the caller.
    else
        out->failed = true;
    free(text);
    json_decref(json);
}

static bool get_string(const json_t *json, const char *key, char *to, size_t capacity) {
    const json_t *value = json_object_get(json, key);
    if (!value) return true;
    if (!json_is_string(value) || json_string_length(value) >= capacity) return false;
    memcpy(to, json_string_value(value), json_string_length(value) + 1);
    return true;
}

static bool get_int(const json_t *json, const char *key, int64_t max, int64_t *to) {
    const json_t *value = json_object_get(json, key);
    if (!value) return true;
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > max) return false;
    *to = json_integer_value(value);
    return true;
}

static bool read_hello(const json_t *json, mosa_link_hello *hello) {
    mosa_engine_info *info = &hello->info;
    int64_t vocab = 0, width = 0, layers = 0, page = 0;
    bool ok =
        get_string(json, "version", hello->version, sizeof hello->version) &&
        get_string(json, "token", hello->token, sizeof hello->token) &&
        get_string(json, "name", info->name, sizeof info->name) &&
        get_string(json, "architecture", info->architecture, sizeof info->architecture) &&
        get_string(json, "quantization", info->quantization, sizeof info->quantization) &&
        get_string(json, "device", info->device, sizeof info->device) && get_int(json, "pid", INT32_MAX, &hello->pid) &&
        get_int(json, "parameters", INT64_MAX, &info->parameters) &&
        get_int(json, "context_tokens", INT64_MAX, &info->context_tokens) &&
        get_int(json, "train_context_tokens", INT64_MAX, &info->train_context_tokens) &&
        get_int(json, "vocab_size", INT32_MAX, &vocab) && get_int(json, "width", MOSA_LINK_EMBEDDING_MAX, &width) &&
        get_int(json, "layers", INT32_MAX, &layers) && get_int(json, "weight_bytes", INT64_MAX, &info->weight_bytes) &&
        get_int(json, "kv_bytes", INT64_MAX, &info->kv_bytes) &&
        get_int(json, "scratch_bytes", INT64_MAX, &info->scratch_bytes) &&
        get_int(json, "kv_pages", INT64_MAX, &info->kv_pages) && get_int(json, "page_tokens", INT32_MAX, &page) &&
        get_int(json, "load_ns", INT64_MAX, &info->load_ns) &&
        get_int(json, "kv_token_bytes", INT64_MAX, &info->kv_token_bytes) &&
        get_int(json, "draft_weight_bytes", INT64_MAX, &info->draft_weight_bytes);
    info->vocab_size = (int)vocab;
    info->width = (int)width;
    info->layers = (int)layers;
    info->page_tokens = (int)page;
    info->can_embed = json_is_true(json_object_get(json, "can_embed"));
    info->can_generate = json_is_true(json_object_get(json, "can_generate"));
    info->can_score = json_is_true(json_object_get(json, "can_score"));
    return ok;
}

mosa_status mosa_link_get_hello(const mosa_link_frame *frame, mosa_link_hello *out, mosa_error *err) {
    if (frame->len > MOSA_LINK_HELLO_BYTES_MAX)
        return mosa_fail(err, MOSA_ECORRUPT, "link message: HELLO of %zu bytes is too long", frame->len);
    json_error_t fault;
    json_t *json = json_loadb((const char *)frame->payload, frame->len, 0, &fault);
    mosa_link_hello hello = {0};
    bool ok = json_is_object(json) && read_hello(json, &hello);
    json_decref(json);
    if (!ok) return mosa_fail(err, MOSA_ECORRUPT, "link message: HELLO is no JSON object with the expected fields");
    *out = hello;
    return MOSA_OK;
}
