// The fields that chat and completions share. A silent request gets the model's own defaults (generation_config.json),
// then OpenAI's.
#include "api/params.h"
#include "api/api_internal.h"
#include "base/rng.h"
#include "link/message.h"

#include <math.h>
#include <stdlib.h>

bool mosa_body_has(const json_t *body, const char *key) {
    const json_t *value = json_object_get(body, key);
    return value && !json_is_null(value);
}

bool mosa_body_bool(const json_t *body, const char *key, bool fallback) {
    const json_t *value = json_object_get(body, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

int64_t mosa_body_int(const json_t *body, const char *key, int64_t fallback) {
    const json_t *value = json_object_get(body, key);
    if (json_is_integer(value)) return json_integer_value(value);
    // JSON Schema counts 1.0 as an integer; ranges have been checked.
    return json_is_real(value) ? (int64_t)json_real_value(value) : fallback;
}

double mosa_body_number(const json_t *body, const char *key, double fallback) {
    const json_t *value = json_object_get(body, key);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

static double known_or(double value, double fallback) {
    return isnan(value) ? fallback : value;
}

static void read_sampling(const json_t *body, const mosa_model_text_info *info, mosa_sampling *out) {
    out->temperature = (float)mosa_body_number(body, "temperature", known_or(info->temperature, 1));
    out->top_p = (float)mosa_body_number(body, "top_p", known_or(info->top_p, 1));
    out->min_p = (float)mosa_body_number(body, "min_p", known_or(info->min_p, 0));
    out->repetition_penalty =
        (float)mosa_body_number(body, "repetition_penalty", known_or(info->repetition_penalty, 1));
    out->frequency_penalty = (float)mosa_body_number(body, "frequency_penalty", 0);
    out->presence_penalty = (float)mosa_body_number(body, "presence_penalty", 0);
    int64_t top_k = mosa_body_int(body, "top_k", info->top_k);
    out->top_k = top_k > 0 ? (int)top_k : 0;
    if (out->top_p <= 0) out->top_p = 1e-9f; // OpenAI takes 0 for "only the best"
}

static bool read_bias(mosa_http_request *request, mosa_request_params *out) {
    json_t *bias = json_object_get(request->json, "logit_bias");
    const char *key;
    json_t *value;
    if (json_object_size(bias) == 0) return true;
    out->bias = calloc(json_object_size(bias), sizeof *out->bias);
    if (!out->bias) {
        mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
        return false;
    }
    int64_t size = (int64_t)mosa_tokenizer_size(mosa_model_text_tokenizer(request->model->text));
    json_object_foreach(bias, key, value) {
        int64_t token;
        if (!mosa_parse_i64(key, &token) || token < 0 || token >= size) {
            mosa_api_fail(&request->error, 400, NULL, "logit_bias",
                          "logit_bias: '%.40s' is not one of the model's tokens.", key);
            return false;
        }
        out->bias[out->request.sampling.n_logit_bias++] =
            (mosa_logit_bias){(int32_t)token, (float)json_number_value(value)};
    }
    out->request.sampling.logit_bias = out->bias;
    return true;
}

static bool add_stop(mosa_http_request *request, mosa_request_params *out, const json_t *value) {
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    if (len == 0) return true;
    if (len > MOSA_STOP_BYTES_MAX || strlen(text) != len) {
        mosa_api_fail(&request->error, 400, NULL, "stop", "stop: a stop string has at most %d bytes and no NUL.",
                      MOSA_STOP_BYTES_MAX);
        return false;
    }
    out->stop[out->request.n_stop++] = text;
    return true;
}

static bool read_stop(mosa_http_request *request, mosa_request_params *out) {
    const json_t *stop = json_object_get(request->json, "stop");
    if (json_is_string(stop) && !add_stop(request, out, stop)) return false;
    for (size_t i = 0; i < json_array_size(stop); i++)
        if (!add_stop(request, out, json_array_get(stop, i))) return false;
    out->request.stop = out->stop;
    return true;
}

uint64_t mosa_request_params_caller(const mosa_http_request *request) {
    enum { USER_SEED = 2 };
    const json_t *user = json_object_get(request->json, "user");
    if (request->key_hash || !json_is_string(user)) return request->key_hash;
    return mosa_hash_bytes(json_string_value(user), json_string_length(user), USER_SEED);
}

bool mosa_request_params_read(mosa_http_request *request, mosa_request_params *out) {
    const json_t *body = request->json;
    *out = (mosa_request_params){.request = mosa_request_default(), .n = (int)mosa_body_int(body, "n", 1)};
    read_sampling(body, mosa_model_text_get_info(request->model->text), &out->request.sampling);
    int64_t seed = mosa_body_int(body, "seed", request->api->options.seed);
    bool fresh = seed == -1 && !mosa_body_has(body, "seed");
    out->request.sampling.seed = fresh ? mosa_api_random(request->api) : (uint64_t)seed;
    int64_t max_tokens = mosa_body_int(body, "max_completion_tokens", mosa_body_int(body, "max_tokens", -1));
    out->no_output = max_tokens == 0;
    out->request.max_tokens = max_tokens < 0 ? 0 : max_tokens == 0 ? 1 : max_tokens;
    out->request.min_tokens = mosa_body_int(body, "min_tokens", 0);
    out->request.ignore_eos = mosa_body_bool(body, "ignore_eos", false);
    if (request->adapter[0]) out->request.adapter = request->adapter;
    out->request.priority = (int)mosa_body_int(body, "priority", 0);
    out->request.caller = mosa_request_params_caller(request);
    out->stream = mosa_body_bool(body, "stream", false);
    out->include_usage = mosa_body_bool(json_object_get(body, "stream_options"), "include_usage", false);
    if (mosa_body_has(body, "stream_options") && !out->stream) {
        mosa_api_fail(&request->error, 400, NULL, "stream_options", "stream_options is only for streamed answers.");
        return false;
    }
    if (out->request.max_tokens && out->request.min_tokens > out->request.max_tokens) {
        mosa_api_fail(&request->error, 400, NULL, "min_tokens", "min_tokens is larger than max_tokens.");
        return false;
    }
    if (out->n > request->api->options.max_choices) {
        mosa_api_fail(&request->error, 400, NULL, "n", "n: this server allows at most %d.",
                      request->api->options.max_choices);
        return false;
    }
    return read_bias(request, out) && read_stop(request, out);
}

void mosa_request_params_finish(mosa_request_params *params) {
    free(params->bias);
}

void mosa_request_params_encode(const mosa_request_params *params, const int32_t *tokens, size_t n_tokens, int sample,
                                mosa_choice *choice) {
    mosa_request request = params->request;
    request.tokens = tokens;
    request.n_tokens = n_tokens;
    if (sample > 0) request.sampling.seed = mosa_rng_u64(request.sampling.seed, (uint64_t)sample);
    mosa_link_put_submit(&choice->frame, 0, &request);
    choice->hide_output = params->no_output;
}

bool mosa_request_params_check_length(mosa_http_request *request, size_t n_tokens, int room, const char *param) {
    int64_t context = mosa_gateway_context_tokens(request->model->gateway);
    if (!context) context = mosa_model_text_get_info(request->model->text)->context_tokens;
    if (!context || (int64_t)n_tokens + room <= context) return true;
    mosa_api_fail(&request->error, 400, "context_length_exceeded", param,
                  "This model's maximum context length is %lld tokens, but the prompt has %zu. Please shorten it.",
                  (long long)context, n_tokens);
    return false;
}
