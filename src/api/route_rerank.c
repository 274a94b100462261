// POST /v1/rerank and /v1/score: pairs of texts, judged by a cross-encoder.
//
// Each pair is one choice of the call. A reranked document waits in its choice until the answer is written.
#include "api/api_internal.h"
#include "api/output.h"
#include "api/params.h"
#include "api/routes.h"
#include "codec/json.h"
#include "link/message.h"

#include <stdlib.h>

// --- answers --------------------------------------------------------------------------------------------------------

static void score_event(mosa_call *call, mosa_choice *choice, const mosa_event *event) {
    (void)call;
    if (event->finish != MOSA_FINISH_NONE) choice->score = event->score;
}

static int by_score(const void *a, const void *b) {
    const mosa_choice *one = *(const mosa_choice *const *)a, *other = *(const mosa_choice *const *)b;
    if (one->score != other->score) return one->score > other->score ? -1 : 1;
    return one->index < other->index ? -1 : 1;
}

static void append_usage(const mosa_call *call, mosa_buf *body) {
    int64_t tokens = 0;
    for (int i = 0; i < call->n_choices; i++) tokens += call->choices[i].prompt_tokens;
    mosa_buf_append_str(body, ",\"usage\":{\"prompt_tokens\":");
    mosa_output_int(body, tokens);
    mosa_buf_append_str(body, ",\"total_tokens\":");
    mosa_output_int(body, tokens);
    mosa_buf_append_str(body, "}}");
}

static void append_head(const mosa_call *call, mosa_buf *body) {
    mosa_buf_append_str(body, "{\"id\":");
    mosa_json_append_string(body, mosa_slice_of(call->id));
    mosa_buf_append_str(body, ",\"object\":\"list\",\"created\":");
    mosa_output_int(body, call->created_s);
    mosa_buf_append_str(body, ",\"model\":");
    mosa_json_append_string(body, mosa_slice_of(call->http->model->name));
}

static void append_result(const mosa_call *call, const mosa_choice *choice, mosa_buf *body) {
    mosa_buf_append_str(body, "{\"index\":");
    mosa_output_int(body, choice->index);
    mosa_buf_append_str(body, ",\"relevance_score\":");
    mosa_json_append_f64(body, choice->score);
    if (call->with_documents) {
        mosa_buf_append_str(body, ",\"document\":{\"text\":");
        mosa_json_append_string(body, mosa_buf_slice(&choice->extra));
        mosa_buf_append_char(body, '}');
    }
    mosa_buf_append_char(body, '}');
    if (mosa_buf_failed(&choice->extra)) body->failed = true;
}

static void rerank_finish(mosa_call *call, mosa_buf *body) {
    MOSA_AUTO_FREE const mosa_choice **order = calloc((size_t)call->n_choices, sizeof(mosa_choice *));
    if (!order) {
        body->failed = true;
        return;
    }
    for (int i = 0; i < call->n_choices; i++) order[i] = &call->choices[i];
    qsort(order, (size_t)call->n_choices, sizeof(mosa_choice *), by_score);
    int n = call->top_n > 0 && call->top_n < call->n_choices ? call->top_n : call->n_choices;
    append_head(call, body);
    mosa_buf_append_str(body, ",\"results\":[");
    for (int i = 0; i < n; i++) {
        if (i) mosa_buf_append_char(body, ',');
        append_result(call, order[i], body);
    }
    mosa_buf_append_char(body, ']');
    append_usage(call, body);
}

static void score_finish(mosa_call *call, mosa_buf *body) {
    append_head(call, body);
    mosa_buf_append_str(body, ",\"data\":[");
    for (int i = 0; i < call->n_choices; i++) {
        mosa_buf_append_str(body, i ? ",{\"index\":" : "{\"index\":");
        mosa_output_int(body, i);
        mosa_buf_append_str(body, ",\"object\":\"score\",\"score\":");
        mosa_json_append_f64(body, call->choices[i].score);
        mosa_buf_append_char(body, '}');
    }
    mosa_buf_append_char(body, ']');
    append_usage(call, body);
}

static const mosa_call_format rerank_format = {.event = score_event, .finish = rerank_finish};
static const mosa_call_format score_format = {.event = score_event, .finish = score_finish};

// --- requests -------------------------------------------------------------------------------------------------------

static bool check_model(mosa_http_request *request) {
    mosa_engine_status status;
    mosa_gateway_get_status(request->model->gateway, &status);
    if (status.state != MOSA_ENGINE_READY || status.hello.info.can_score) return true;
    mosa_api_fail(&request->error, 400, "unsupported", "model",
                  "The model '%s' is no cross-encoder with one label: it scores no texts.", request->model->name);
    return false;
}

static bool check_count(mosa_http_request *request, const char *param, size_t count) {
    if (count <= (size_t)request->api->options.max_choices) return true;
    mosa_api_fail(&request->error, 400, NULL, param, "%s: %zu texts are more than the %d that one request may have.",
                  param, count, request->api->options.max_choices);
    return false;
}

// Text `index` of a string (the same for every index), of strings, or of objects with "text".
static mosa_slice text_at(const json_t *value, size_t index) {
    const json_t *item = json_is_array(value) ? json_array_get(value, index) : value;
    if (json_is_object(item)) item = json_object_get(item, "text");
    return (mosa_slice){json_string_value(item), json_string_length(item)};
}

// Encodes the engine's request of one pair. False with request->error.
static bool submit_pair(mosa_http_request *request, int index, mosa_slice first, mosa_slice second, const char *param) {
    MOSA_AUTO_FREE int32_t *tokens = NULL;
    mosa_request score = mosa_request_default();
    mosa_error err;
    bool cut = mosa_body_bool(request->json, "truncate", false);
    size_t limit = cut ? (size_t)mosa_gateway_context_tokens(request->model->gateway) : 0;
    if (mosa_model_text_encode_pair(request->model->text, first, second, limit, &tokens, &score.n_tokens,
                                    &score.n_first, &err) != MOSA_OK) {
        mosa_api_error_set(&request->error, &err, param);
        return false;
    }
    if (!mosa_request_params_check_length(request, score.n_tokens, 0, param)) return false;
    mosa_buf *frame = &request->call->choices[index].frame;
    score.kind = MOSA_SCORE;
    score.caller = mosa_request_params_caller(request);
    score.tokens = tokens;
    mosa_link_put_submit(frame, 0, &score);
    if (!mosa_buf_failed(frame)) return true;
    mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
    return false;
}

void mosa_route_rerank(mosa_http_request *request) {
    const json_t *documents = json_object_get(request->json, "documents");
    size_t count = json_array_size(documents);
    if (!mosa_api_choose_model(request) || !check_model(request) || !check_count(request, "documents", count) ||
        !mosa_http_begin_call(request, &rerank_format, (int)count, "rerank-"))
        return;
    mosa_call *call = request->call;
    call->top_n = (int)mosa_body_int(request->json, "top_n", 0);
    call->with_documents = mosa_body_bool(request->json, "return_documents", false);
    mosa_slice query = text_at(json_object_get(request->json, "query"), 0);
    for (size_t i = 0; i < count; i++) {
        mosa_slice document = text_at(documents, i);
        if (!submit_pair(request, (int)i, query, document, "documents")) return;
        if (call->with_documents) mosa_buf_append(&call->choices[i].extra, document.data, document.len);
    }
}

void mosa_route_score(mosa_http_request *request) {
    const json_t *first = json_object_get(request->json, "text_1"), *second = json_object_get(request->json, "text_2");
    size_t n_first = json_is_array(first) ? json_array_size(first) : 1;
    size_t count = json_is_array(second) ? json_array_size(second) : 1;
    if (!mosa_api_choose_model(request) || !check_model(request) || !check_count(request, "text_2", count)) return;
    if (n_first != 1 && n_first != count) {
        mosa_api_fail(&request->error, 400, NULL, "text_1",
                      "text_1: it holds %zu texts and text_2 %zu; one, or as many, can be paired.", n_first, count);
        return;
    }
    if (!mosa_http_begin_call(request, &score_format, (int)count, "score-")) return;
    for (size_t i = 0; i < count; i++)
        if (!submit_pair(request, (int)i, text_at(first, n_first == 1 ? 0 : i), text_at(second, i), "text_2")) return;
}
