// Pieces of answers.
#include "api/output.h"
#include "api/api_internal.h"
#include "codec/json.h"

#include <math.h>

void mosa_output_int(mosa_buf *out, int64_t value) {
    char digits[24];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0) digits[--at] = '-';
    mosa_buf_append(out, digits + at, sizeof digits - at);
}

void mosa_output_logprob(mosa_buf *out, float value) {
    if (value == 0)
        mosa_buf_append_char(out, '0'); // never "-0.0"
    else
        mosa_json_append_f64(out, isfinite(value) ? (double)value : -9999.0);
}

const char *mosa_output_finish_reason(mosa_finish finish) {
    return finish == MOSA_FINISH_LENGTH ? "length" : "stop";
}

void mosa_output_prefix(const mosa_api_model *model, const mosa_call *call, const char *object, mosa_buf *out) {
    mosa_buf_append_str(out, "{\"id\":\"");
    mosa_buf_append_str(out, call->id);
    mosa_buf_append_str(out, "\",\"object\":\"");
    mosa_buf_append_str(out, object);
    mosa_buf_append_str(out, "\",\"created\":");
    mosa_output_int(out, call->created_s);
    mosa_buf_append_str(out, ",\"model\":");
    mosa_json_append_string(out, mosa_slice_of(mosa_api_answer_name(call->http)));
    mosa_buf_append_str(out, ",\"system_fingerprint\":\"");
    mosa_buf_append_str(out, model->fingerprint);
    mosa_buf_append_str(out, "\",\"choices\":[");
}

void mosa_output_begin_chunk(mosa_call *call) {
    mosa_buf_append(&call->out, "data: ", 6);
    mosa_buf_append_slice(&call->out, mosa_buf_slice(&call->prefix));
}

void mosa_output_end_chunk(mosa_call *call) {
    mosa_buf_append_str(&call->out, call->include_usage ? "],\"usage\":null}\n\n" : "]}\n\n");
}

void mosa_output_usage_chunk(mosa_call *call) {
    mosa_output_begin_chunk(call);
    mosa_buf_append_str(&call->out, "],\"usage\":");
    mosa_output_usage(call, &call->out);
    mosa_buf_append_str(&call->out, "}\n\n");
}

void mosa_output_done(mosa_call *call) {
    mosa_buf_append_str(&call->out, "data: [DONE]\n\n");
}

void mosa_output_usage(const mosa_call *call, mosa_buf *out) {
    int64_t prompt = 0, cached = 0, completion = 0, reasoning = 0;
    for (int i = 0; i < call->n_choices; i++) {
        const mosa_choice *choice = &call->choices[i];
        if (!choice->hide_output) completion += choice->completion_tokens;
        reasoning += choice->reasoning_tokens;
        if (i % call->n_per_prompt) continue; // a prompt counts once, however many samples it has
        prompt += choice->prompt_tokens;
        cached += choice->cached_tokens;
    }
    mosa_buf_append_str(out, "{\"prompt_tokens\":");
    mosa_output_int(out, prompt);
    mosa_buf_append_str(out, ",\"completion_tokens\":");
    mosa_output_int(out, completion);
    mosa_buf_append_str(out, ",\"total_tokens\":");
    mosa_output_int(out, prompt + completion);
    mosa_buf_append_str(out, ",\"prompt_tokens_details\":{\"cached_tokens\":");
    mosa_output_int(out, cached);
    mosa_buf_append_str(out, "},\"completion_tokens_details\":{\"reasoning_tokens\":");
    mosa_output_int(out, reasoning);
    mosa_buf_append_str(out, "}}");
}

static void append_token(const mosa_api_model *model, int32_t token, float logprob, mosa_buf *out) {
    mosa_slice bytes = mosa_tokenizer_token_bytes(mosa_model_text_tokenizer(model->text), token);
    mosa_buf_append_str(out, "{\"token\":");
    mosa_json_append_string(out, bytes);
    mosa_buf_append_str(out, ",\"logprob\":");
    mosa_output_logprob(out, logprob);
    mosa_buf_append_str(out, ",\"bytes\":[");
    for (size_t i = 0; i < bytes.len; i++) {
        if (i) mosa_buf_append_char(out, ',');
        mosa_output_int(out, (unsigned char)bytes.data[i]);
    }
    mosa_buf_append_char(out, ']');
}

void mosa_output_chat_logprob(const mosa_api_model *model, const mosa_event *event, mosa_buf *out) {
    append_token(model, event->token, event->logprob, out);
    mosa_buf_append_str(out, ",\"top_logprobs\":[");
    for (int i = 0; i < event->n_top; i++) {
        if (i) mosa_buf_append_char(out, ',');
        append_token(model, event->top[i].token, event->top[i].logprob, out);
        mosa_buf_append_char(out, '}');
    }
    mosa_buf_append_str(out, "]}");
}

bool mosa_output_is_end(const mosa_api_model *model, const mosa_event *event) {
    if (event->finish != MOSA_FINISH_STOP || event->stop_index >= 0) return false;
    size_t count;
    const mosa_token_id *ends = mosa_model_text_end_ids(model->text, &count);
    for (size_t i = 0; i < count; i++)
        if (ends[i] == event->token) return true;
    return false;
}
