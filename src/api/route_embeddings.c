// POST /v1/embeddings.
#include "api/api_internal.h"
#include "api/output.h"
#include "api/params.h"
#include "api/prompts.h"
#include "api/routes.h"
#include "codec/json.h"
#include "link/message.h"

#include <math.h>
#include <openssl/evp.h>
#include <stdlib.h>

static void embedding_event(mosa_call *call, mosa_choice *choice, const mosa_event *event) {
    if (!event->embedding) return;
    mosa_engine_status status;
    mosa_gateway_get_status(call->http->model->gateway, &status);
    mosa_buf_append(&choice->extra, event->embedding, (size_t)status.hello.info.width * sizeof(float));
}

// Keeps the first `dimensions` numbers and gives them length 1 again, as models trained for it expect.
static size_t shorten(float *values, size_t n, size_t dimensions) {
    double sum = 0;
    if (dimensions == 0 || dimensions >= n) return n;
    for (size_t i = 0; i < dimensions; i++) sum += (double)values[i] * values[i];
    double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (size_t i = 0; i < dimensions; i++) values[i] = (float)(values[i] * scale);
    return dimensions;
}

static void append_base64(const float *values, size_t n, mosa_buf *out) {
    size_t bytes = n * sizeof *values, room = (bytes + 2) / 3 * 4 + 1;
    mosa_buf_append_char(out, '"');
    if (!mosa_buf_reserve(out, room)) return;
    out->len +=
        (size_t)EVP_EncodeBlock((unsigned char *)out->data + out->len, (const unsigned char *)values, (int)bytes);
    mosa_buf_append_char(out, '"');
}

static void append_vector(const mosa_call *call, mosa_choice *choice, mosa_buf *out) {
    float *values = (float *)(void *)choice->extra.data;
    size_t n = shorten(values, choice->extra.len / sizeof(float), (size_t)call->dimensions);
    if (call->base64) {
        append_base64(values, n, out);
        return;
    }
    mosa_buf_append_char(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i) mosa_buf_append_char(out, ',');
        mosa_json_append_f64(out, values[i]);
    }
    mosa_buf_append_char(out, ']');
}

static void embedding_finish(mosa_call *call, mosa_buf *body) {
    int64_t tokens = 0;
    mosa_buf_append_str(body, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < call->n_choices; i++) {
        mosa_choice *choice = &call->choices[i];
        if (i) mosa_buf_append_char(body, ',');
        mosa_buf_append_str(body, "{\"object\":\"embedding\",\"index\":");
        mosa_output_int(body, i);
        mosa_buf_append_str(body, ",\"embedding\":");
        append_vector(call, choice, body);
        mosa_buf_append_char(body, '}');
        tokens += choice->prompt_tokens;
        if (mosa_buf_failed(&choice->extra)) body->failed = true;
    }
    mosa_buf_append_str(body, "],\"model\":");
    mosa_json_append_string(body, mosa_slice_of(mosa_api_answer_name(call->http)));
    mosa_buf_append_str(body, ",\"usage\":{\"prompt_tokens\":");
    mosa_output_int(body, tokens);
    mosa_buf_append_str(body, ",\"total_tokens\":");
    mosa_output_int(body, tokens);
    mosa_buf_append_str(body, "}}");
}

static const mosa_call_format embedding_format = {.event = embedding_event, .finish = embedding_finish};

static bool check_engine(mosa_http_request *request) {
    mosa_engine_status status;
    mosa_gateway_get_status(request->model->gateway, &status);
    const mosa_engine_info *info = &status.hello.info;
    if (status.state == MOSA_ENGINE_READY && !info->can_embed) {
        mosa_api_fail(&request->error, 400, "unsupported", "model", "The model '%s' makes no embeddings.",
                      request->model->name);
        return false;
    }
    int64_t dimensions = mosa_body_int(request->json, "dimensions", 0);
    if (info->width && dimensions > info->width) {
        mosa_api_fail(&request->error, 400, NULL, "dimensions", "dimensions: this model's embeddings have %d.",
                      info->width);
        return false;
    }
    return true;
}

static mosa_request_kind pooling_kind(const char *name) {
    if (!name) return MOSA_EMBED;
    return strcmp(name, "last") == 0 ? MOSA_EMBED_LAST : strcmp(name, "cls") == 0 ? MOSA_EMBED_CLS : MOSA_EMBED_MEAN;
}

void mosa_route_embeddings(mosa_http_request *request) {
    mosa_prompts prompts = {0};
    if (!mosa_api_choose_model(request) || !check_engine(request)) return;
    if (mosa_prompts_read(request, "input", MOSA_PROMPT_EMBED, &prompts) &&
        mosa_http_begin_call(request, &embedding_format, (int)prompts.count, "embd-")) {
        const char *encoding = json_string_value(json_object_get(request->json, "encoding_format"));
        mosa_call *call = request->call;
        call->base64 = encoding && strcmp(encoding, "base64") == 0;
        call->dimensions = (int)mosa_body_int(request->json, "dimensions", 0);
        mosa_request embed = mosa_request_default();
        embed.caller = mosa_request_params_caller(request);
        embed.kind = pooling_kind(json_string_value(json_object_get(request->json, "pooling")));
        if (request->adapter[0]) embed.adapter = request->adapter;
        bool failed = false;
        for (size_t i = 0; i < prompts.count; i++) {
            embed.tokens = prompts.items[i].tokens;
            embed.n_tokens = prompts.items[i].n_tokens;
            mosa_link_put_submit(&call->choices[i].frame, 0, &embed);
            failed = failed || mosa_buf_failed(&call->choices[i].frame);
        }
        if (failed)
            mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
    }
    mosa_prompts_finish(&prompts);
}
