// A body's prompt or input.
#include "api/prompts.h"
#include "api/api_internal.h"
#include "api/params.h"

#include <stdlib.h>

static bool fail(mosa_http_request *request, const char *key, const char *what) {
    mosa_api_fail(&request->error, 400, NULL, key, "%s: %s", key, what);
    return false;
}

static bool read_text(mosa_http_request *request, const char *key, const json_t *value, bool parse_special,
                      mosa_prompt *out) {
    mosa_error err;
    out->text = (mosa_slice){json_string_value(value), json_string_length(value)};
    mosa_status status = mosa_model_text_encode(request->model->text, out->text, true, parse_special, &out->tokens,
                                                &out->n_tokens, &err);
    if (status != MOSA_OK) mosa_api_error_set(&request->error, &err, key);
    return status == MOSA_OK;
}

static bool read_ids(mosa_http_request *request, const char *key, const json_t *value, mosa_prompt *out) {
    size_t n = json_array_size(value);
    int64_t size = (int64_t)mosa_tokenizer_size(mosa_model_text_tokenizer(request->model->text));
    out->tokens = malloc((n ? n : 1) * sizeof *out->tokens);
    if (!out->tokens) return fail(request, key, "out of memory.");
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(value, i);
        int64_t id = json_is_integer(item) ? json_integer_value(item) : -1;
        if (id < 0 || id >= size)
            return fail(request, key, "it holds something that is not one of the model's tokens.");
        out->tokens[out->n_tokens++] = (int32_t)id;
    }
    return true;
}

static bool read_one(mosa_http_request *request, const char *key, const json_t *value, mosa_prompt_use use,
                     mosa_prompt *out) {
    bool generates = use == MOSA_PROMPT_CONTINUE;
    bool ok = json_is_string(value)  ? read_text(request, key, value, generates, out)
              : json_is_array(value) ? read_ids(request, key, value, out)
                                     : fail(request, key, "texts and token ids cannot be mixed.");
    if (ok && out->n_tokens == 0) return fail(request, key, "it is empty.");
    return ok && mosa_request_params_check_length(request, out->n_tokens, generates ? 1 : 0, key);
}

bool mosa_prompts_read(mosa_http_request *request, const char *key, mosa_prompt_use use, mosa_prompts *out) {
    const json_t *value = json_object_get(request->json, key);
    bool single = !json_is_array(value) || json_is_integer(json_array_get(value, 0));
    size_t count = single ? 1 : json_array_size(value);
    *out = (mosa_prompts){0};
    if (count > (size_t)request->api->options.max_choices)
        return fail(request, key, "it has more texts than this server allows in one request.");
    out->items = calloc(count, sizeof *out->items);
    if (!out->items) return fail(request, key, "out of memory.");
    for (size_t i = 0; i < count; i++) {
        out->count++;
        const json_t *item = single ? value : json_array_get(value, i);
        if (!read_one(request, key, item, use, &out->items[i])) return false;
    }
    return true;
}

void mosa_prompts_finish(mosa_prompts *prompts) {
    for (size_t i = 0; i < prompts->count; i++) free(prompts->items[i].tokens);
    free(prompts->items);
}
