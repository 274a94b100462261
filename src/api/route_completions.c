// POST /v1/completions.
//
// A raw prompt is the client's own: control tokens spelled out in it are taken as such. With echo the prompt's text
// comes first; with logprobs as well, its tokens' log-probabilities do too.
#include "api/api_internal.h"
#include "api/legacy_logprobs.h"
#include "api/output.h"
#include "api/output_rule.h"
#include "api/params.h"
#include "api/prompts.h"
#include "api/routes.h"
#include "codec/json.h"

#include <stdlib.h>

// --- answers --------------------------------------------------------------------------------------------------------

static mosa_slice echo_of(const mosa_call *call, const mosa_choice *choice) {
    if (!call->echo) return (mosa_slice){"", 0};
    int prompt = choice->index / call->n_per_prompt;
    size_t start = prompt ? call->echo_ends[prompt - 1] : 0;
    return (mosa_slice){mosa_buf_str(&call->echo_text) + start, call->echo_ends[prompt] - start};
}

static void append_choice(const mosa_call *call, const mosa_choice *choice, mosa_slice text, const char *finish_reason,
                          mosa_buf *out) {
    mosa_buf_append_str(out, "{\"index\":");
    mosa_output_int(out, choice->index);
    mosa_buf_append_str(out, ",\"text\":");
    mosa_json_append_string(out, text);
    mosa_buf_append_str(out, ",\"logprobs\":");
    if (call->logprobs)
        mosa_legacy_logprobs_write(call->http->model, mosa_buf_slice(&choice->logprobs), out);
    else
        mosa_buf_append_str(out, "null");
    mosa_buf_append_str(out, ",\"finish_reason\":");
    if (finish_reason)
        mosa_buf_printf(out, "\"%s\"}", finish_reason);
    else
        mosa_buf_append_str(out, "null}");
}

static void stream_chunk(mosa_call *call, mosa_choice *choice, mosa_slice text, const char *finish_reason) {
    mosa_output_begin_chunk(call);
    append_choice(call, choice, text, finish_reason, &call->out);
    mosa_output_end_chunk(call);
    mosa_buf_clear(&choice->logprobs);
}

static void stream_event(mosa_call *call, mosa_choice *choice, const mosa_event *event) {
    if (call->echo && !choice->said_hello) stream_chunk(call, choice, echo_of(call, choice), NULL);
    choice->said_hello = true;
    if (event->is_prompt) return;
    mosa_slice text = {event->text, choice->hide_output ? 0 : event->text_len};
    if (text.len || choice->logprobs.len) stream_chunk(call, choice, text, NULL);
    if (event->finish != MOSA_FINISH_NONE)
        stream_chunk(call, choice, (mosa_slice){"", 0}, mosa_output_finish_reason(choice->finish));
}

static void completion_event(mosa_call *call, mosa_choice *choice, const mosa_event *event) {
    bool shown = event->is_prompt || !choice->hide_output;
    if (choice->hide_output && choice->finish == MOSA_FINISH_STOP) choice->finish = MOSA_FINISH_LENGTH;
    if (call->logprobs && event->token >= 0 && shown && !mosa_output_is_end(call->http->model, event))
        mosa_legacy_logprobs_add(call->http->model, &choice->logprobs, event, false, &choice->text_offset);
    if (call->stream)
        stream_event(call, choice, event);
    else if (shown && !event->is_prompt)
        mosa_buf_append(&choice->text, event->text, event->text_len);
}

static void completion_finish(mosa_call *call, mosa_buf *body) {
    if (call->stream) {
        if (call->include_usage) mosa_output_usage_chunk(call);
        mosa_output_done(call);
        return;
    }
    mosa_output_prefix(call->http->model, call, "text_completion", body);
    for (int i = 0; i < call->n_choices; i++) {
        mosa_choice *choice = &call->choices[i];
        mosa_buf text = {0};
        mosa_buf_append_slice(&text, echo_of(call, choice));
        mosa_buf_append_slice(&text, mosa_buf_slice(&choice->text));
        if (i) mosa_buf_append_char(body, ',');
        append_choice(call, choice, mosa_buf_slice(&text), mosa_output_finish_reason(choice->finish), body);
        if (mosa_buf_failed(&text) || mosa_buf_failed(&choice->text) || mosa_buf_failed(&choice->logprobs))
            body->failed = true;
        mosa_buf_finish(&text);
    }
    mosa_buf_append_str(body, "],\"usage\":");
    mosa_output_usage(call, body);
    mosa_buf_append_char(body, '}');
}

static const mosa_call_format completion_format = {.event = completion_event, .finish = completion_finish};

// --- requests -------------------------------------------------------------------------------------------------------

static bool check_supported(mosa_http_request *request, const mosa_request_params *params) {
    const json_t *body = request->json;
    if (mosa_body_has(body, "suffix") && json_string_length(json_object_get(body, "suffix")) > 0) {
        mosa_api_fail(&request->error, 400, "unsupported", "suffix", "suffix: is not supported by this server.");
        return false;
    }
    if (mosa_body_int(body, "best_of", params->n) != params->n) {
        mosa_api_fail(&request->error, 400, "unsupported", "best_of", "best_of: only the value of n is supported.");
        return false;
    }
    return true;
}

static bool keep_echo(mosa_http_request *request, const mosa_prompts *prompts) {
    mosa_call *call = request->call;
    const mosa_tokenizer *tokenizer = mosa_model_text_tokenizer(request->model->text);
    call->echo = true;
    call->echo_ends = calloc(prompts->count, sizeof *call->echo_ends);
    if (!call->echo_ends) return false;
    for (size_t i = 0; i < prompts->count; i++) {
        const mosa_prompt *prompt = &prompts->items[i];
        if (prompt->text.data)
            mosa_buf_append_slice(&call->echo_text, prompt->text);
        else if (mosa_tokenizer_decode(tokenizer, prompt->tokens, prompt->n_tokens, MOSA_DECODE_SPECIAL,
                                       &call->echo_text, NULL) != MOSA_OK)
            return false;
        call->echo_ends[i] = call->echo_text.len;
    }
    return !mosa_buf_failed(&call->echo_text);
}

static bool fill_call(mosa_http_request *request, mosa_request_params *params, const mosa_prompts *prompts,
                      const char *constraint_param) {
    mosa_call *call = request->call;
    call->constraint_param = constraint_param;
    bool echo = mosa_body_bool(request->json, "echo", false);
    call->stream = params->stream;
    call->include_usage = params->include_usage;
    call->n_per_prompt = params->n;
    call->logprobs = mosa_body_has(request->json, "logprobs");
    if (call->logprobs) params->request.top_logprobs = (int)mosa_body_int(request->json, "logprobs", 0);
    params->request.prompt_logprobs = call->logprobs && echo;
    if (echo && !keep_echo(request, prompts)) return false;
    if (call->stream) mosa_output_prefix(request->model, call, "text_completion", &call->prefix);
    for (int i = 0; i < call->n_choices; i++) {
        mosa_choice *choice = &call->choices[i];
        const mosa_prompt *prompt = &prompts->items[i / params->n];
        mosa_request_params_encode(params, prompt->tokens, prompt->n_tokens, i % params->n, choice);
        mosa_event first = {.token = prompt->tokens[0]};
        if (params->request.prompt_logprobs)
            mosa_legacy_logprobs_add(request->model, &choice->logprobs, &first, true, &choice->text_offset);
        if (mosa_buf_failed(&choice->frame) || mosa_buf_failed(&choice->logprobs)) return false;
    }
    return !mosa_buf_failed(&call->prefix);
}

void mosa_route_completions(mosa_http_request *request) {
    mosa_request_params params = {0};
    mosa_prompts prompts = {0};
    mosa_output_rule rule = {0};
    if (!mosa_api_choose_model(request)) return;
    if (mosa_request_params_read(request, &params) && check_supported(request, &params) &&
        mosa_output_rule_read(request, &rule) && mosa_prompts_read(request, "prompt", MOSA_PROMPT_CONTINUE, &prompts)) {
        int64_t n_choices = (int64_t)prompts.count * params.n;
        params.request.constraint = (mosa_constraint){rule.kind, mosa_buf_str(&rule.text), rule.text.len};
        if (n_choices > request->api->options.max_choices)
            mosa_api_fail(&request->error, 400, NULL, "n", "n times the number of prompts is more than %d.",
                          request->api->options.max_choices);
        else if (mosa_http_begin_call(request, &completion_format, (int)n_choices, "cmpl-") &&
                 !fill_call(request, &params, &prompts, rule.param))
            mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
    }
    mosa_prompts_finish(&prompts);
    mosa_output_rule_finish(&rule);
    mosa_request_params_finish(&params);
}
