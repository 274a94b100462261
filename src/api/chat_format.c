// Answers of /v1/chat/completions, from events to JSON.
#include "api/api_internal.h"
#include "api/chat_answer.h"
#include "api/chat_chunk.h"
#include "api/output.h"
#include "codec/json.h"

void mosa_chat_chunk_begin(mosa_call *call, const mosa_choice *choice) {
    mosa_output_begin_chunk(call);
    mosa_buf_append_str(&call->out, "{\"index\":");
    mosa_output_int(&call->out, choice->index);
    mosa_buf_append_str(&call->out, ",\"delta\":{");
}

void mosa_chat_chunk_end(mosa_call *call, const char *finish_reason) {
    mosa_buf_append_str(&call->out, ",\"finish_reason\":");
    if (finish_reason)
        mosa_buf_printf(&call->out, "\"%s\"}", finish_reason);
    else
        mosa_buf_append_str(&call->out, "null}");
    mosa_output_end_chunk(call);
}

static const char *finish_reason(const mosa_choice *choice) {
    bool calls = choice->finish == MOSA_FINISH_STOP && mosa_chat_answer_calls(choice->answer) > 0;
    return calls ? "tool_calls" : mosa_output_finish_reason(choice->finish);
}

static void stream_content(mosa_call *call, const mosa_choice *choice, const mosa_event *event, bool entry) {
    if (!event->text_len && !entry) return;
    mosa_chat_chunk_begin(call, choice);
    mosa_buf_append_str(&call->out, "\"content\":");
    mosa_json_append_string(&call->out, (mosa_slice){event->text, event->text_len});
    mosa_buf_append_char(&call->out, '}');
    if (entry) {
        mosa_buf_append_str(&call->out, ",\"logprobs\":{\"content\":[");
        mosa_output_chat_logprob(call->http->model, event, &call->out);
        mosa_buf_append_str(&call->out, "],\"refusal\":null}");
    }
    mosa_chat_chunk_end(call, NULL);
}

static void stream_event(mosa_call *call, mosa_choice *choice, const mosa_event *event, bool entry) {
    if (!choice->said_hello) {
        mosa_chat_chunk_begin(call, choice);
        // There may be no content at all where there are calls.
        mosa_buf_append_str(&call->out, "\"role\":\"assistant\",\"content\":");
        mosa_buf_append_str(&call->out, choice->answer ? "null}" : "\"\"}");
        mosa_chat_chunk_end(call, NULL);
        choice->said_hello = true;
    }
    if (choice->answer)
        mosa_chat_answer_take(call, choice, event, entry);
    else
        stream_content(call, choice, event, entry);
    if (event->finish == MOSA_FINISH_NONE) return;
    mosa_chat_chunk_begin(call, choice);
    mosa_buf_append_char(&call->out, '}');
    mosa_chat_chunk_end(call, finish_reason(choice));
}

static void chat_event(mosa_call *call, mosa_choice *choice, const mosa_event *event) {
    const mosa_api_model *model = call->http->model;
    bool entry = call->logprobs && event->token >= 0 && !event->is_prompt && !mosa_output_is_end(model, event);
    if (call->stream) {
        stream_event(call, choice, event, entry);
        return;
    }
    if (choice->answer) {
        mosa_chat_answer_take(call, choice, event, entry);
        return;
    }
    mosa_buf_append(&choice->text, event->text, event->text_len);
    if (!entry) return;
    if (choice->logprobs.len) mosa_buf_append_char(&choice->logprobs, ',');
    mosa_output_chat_logprob(model, event, &choice->logprobs);
}

static void append_choice(const mosa_call *call, const mosa_choice *choice, mosa_buf *out) {
    mosa_buf_append_str(out, "{\"index\":");
    mosa_output_int(out, choice->index);
    mosa_buf_append_str(out, ",\"message\":{\"role\":\"assistant\",\"content\":");
    if (choice->text.len == 0 && mosa_chat_answer_calls(choice->answer) > 0)
        mosa_buf_append_str(out, "null");
    else
        mosa_json_append_string(out, mosa_buf_slice(&choice->text));
    mosa_buf_append_str(out, ",\"refusal\":null");
    if (choice->answer) mosa_chat_answer_append(choice->answer, out);
    mosa_buf_append_str(out, "},\"logprobs\":");
    if (call->logprobs) {
        mosa_buf_append_str(out, "{\"content\":[");
        mosa_buf_append_slice(out, mosa_buf_slice(&choice->logprobs));
        mosa_buf_append_str(out, "],\"refusal\":null}");
    } else {
        mosa_buf_append_str(out, "null");
    }
    mosa_buf_printf(out, ",\"finish_reason\":\"%s\"}", finish_reason(choice));
    if (mosa_buf_failed(&choice->text) || mosa_buf_failed(&choice->logprobs)) out->failed = true;
}

static void chat_finish(mosa_call *call, mosa_buf *body) {
    if (call->stream) {
        if (call->include_usage) mosa_output_usage_chunk(call);
        mosa_output_done(call);
        return;
    }
    mosa_output_prefix(call->http->model, call, "chat.completion", body);
    for (int i = 0; i < call->n_choices; i++) {
        if (i) mosa_buf_append_char(body, ',');
        append_choice(call, &call->choices[i], body);
    }
    mosa_buf_append_str(body, "],\"usage\":");
    mosa_output_usage(call, body);
    mosa_buf_append_char(body, '}');
}

const mosa_call_format mosa_chat_format = {.event = chat_event, .finish = chat_finish};
