// Answers of /v1/messages: content blocks, streamed as events or gathered into one message.
//
// Blocks follow one another: a delta of another kind, or of another call, closes the open one. Not streamed, the
// choice's `text` is the JSON of the blocks so far, and `logprobs` the arguments of the call that is open.
#include "api/api_internal.h"
#include "api/chat_answer.h"
#include "api/messages.h"
#include "api/output.h"
#include "codec/json.h"
#include "text/dialect/answer_parser.h"

// --- pieces ---------------------------------------------------------------------------------------------------------

static void begin_event(mosa_call *call, const char *type) {
    mosa_buf_printf(&call->out, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}

static void end_event(mosa_call *call) {
    mosa_buf_append_str(&call->out, "}\n\n");
}

static void put_int(mosa_buf *out, const char *key, int64_t value) {
    mosa_buf_append_str(out, key);
    mosa_output_int(out, value);
}

// Tokens that the cache knew are counted apart.
static void put_usage(const mosa_choice *choice, mosa_buf *out) {
    put_int(out, "{\"input_tokens\":", choice->prompt_tokens - choice->cached_tokens);
    put_int(out, ",\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":", choice->cached_tokens);
    put_int(out, ",\"output_tokens\":", choice->completion_tokens);
    mosa_buf_append_char(out, '}');
}

static void put_message_head(const mosa_call *call, mosa_buf *out) {
    mosa_buf_printf(out, "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", call->id);
    mosa_json_append_string(out, mosa_slice_of(mosa_api_answer_name(call->http)));
    mosa_buf_append_str(out, ",\"content\":[");
}

static void put_stop(const mosa_choice *choice, mosa_buf *out) {
    bool sequence = choice->stop_sequence != NULL;
    bool calls = choice->finish == MOSA_FINISH_STOP && mosa_chat_answer_calls(choice->answer) > 0;
    const char *reason = choice->finish == MOSA_FINISH_LENGTH ? "max_tokens"
                         : sequence                           ? "stop_sequence"
                         : calls                              ? "tool_use"
                                                              : "end_turn";
    mosa_buf_printf(out, "\"stop_reason\":\"%s\",\"stop_sequence\":", reason);
    if (sequence)
        mosa_json_append_string(out, mosa_slice_of(choice->stop_sequence));
    else
        mosa_buf_append_str(out, "null");
}

// --- blocks ---------------------------------------------------------------------------------------------------------

// An empty block of the delta's kind, without its last brace.
static void put_block(const mosa_choice *choice, const mosa_answer_delta *delta, mosa_buf *out) {
    switch (delta->kind) {
    case MOSA_ANSWER_CONTENT:
        mosa_buf_append_str(out, "{\"type\":\"text\",\"text\":");
        break;
    case MOSA_ANSWER_REASONING:
        mosa_buf_append_str(out, "{\"type\":\"thinking\",\"signature\":\"\",\"thinking\":");
        break;
    default:
        mosa_buf_append_str(out, "{\"type\":\"tool_use\",\"id\":\"");
        mosa_chat_answer_call_id(choice->answer, delta->call, out);
        mosa_buf_append_str(out, "\",\"name\":");
        mosa_json_append_string(out, delta->text);
        mosa_buf_append_str(out, ",\"input\":");
    }
}

static bool is_call(const mosa_choice *choice) {
    return choice->open_block == MOSA_ANSWER_CALL + 1;
}

// Arguments that were cut off are no JSON, and cannot be shown as an input.
static void put_input(mosa_choice *choice, mosa_buf *out) {
    MOSA_AUTO_JSON json_t *object = NULL;
    mosa_slice text = mosa_buf_slice(&choice->logprobs);
    if (mosa_json_parse(text, NULL, &object, NULL) == MOSA_OK && json_is_object(object))
        mosa_buf_append_slice(out, text);
    else
        mosa_buf_append_str(out, "{}");
    if (mosa_buf_failed(&choice->logprobs)) out->failed = true;
    mosa_buf_clear(&choice->logprobs);
}

static void close_block(mosa_call *call, mosa_choice *choice) {
    if (!choice->open_block) return;
    if (call->stream) {
        begin_event(call, "content_block_stop");
        put_int(&call->out, ",\"index\":", choice->n_blocks - 1);
        end_event(call);
    } else if (is_call(choice)) {
        put_input(choice, &choice->text);
        mosa_buf_append_char(&choice->text, '}');
    } else {
        mosa_json_append_string(&choice->text, mosa_buf_slice(&choice->logprobs));
        if (mosa_buf_failed(&choice->logprobs)) choice->text.failed = true;
        mosa_buf_clear(&choice->logprobs);
        mosa_buf_append_char(&choice->text, '}');
    }
    choice->open_block = 0;
}

static void open_block(mosa_call *call, mosa_choice *choice, const mosa_answer_delta *delta) {
    close_block(call, choice);
    choice->open_block = (int)delta->kind + 1;
    choice->n_blocks++;
    if (!call->stream) {
        if (choice->n_blocks > 1) mosa_buf_append_char(&choice->text, ',');
        put_block(choice, delta, &choice->text);
        return;
    }
    begin_event(call, "content_block_start");
    put_int(&call->out, ",\"index\":", choice->n_blocks - 1);
    mosa_buf_append_str(&call->out, ",\"content_block\":");
    put_block(choice, delta, &call->out);
    mosa_buf_append_str(&call->out, is_call(choice) ? "{}}" : "\"\"}");
    end_event(call);
}

static void continue_block(mosa_call *call, mosa_choice *choice, const mosa_answer_delta *delta) {
    if (!call->stream) {
        mosa_buf_append_slice(&choice->logprobs, delta->text);
        return;
    }
    begin_event(call, "content_block_delta");
    put_int(&call->out, ",\"index\":", choice->n_blocks - 1);
    mosa_buf_append_str(&call->out, ",\"delta\":{\"type\":");
    mosa_buf_append_str(&call->out, is_call(choice)                        ? "\"input_json_delta\",\"partial_json\":"
                                    : delta->kind == MOSA_ANSWER_REASONING ? "\"thinking_delta\",\"thinking\":"
                                                                           : "\"text_delta\",\"text\":");
    mosa_json_append_string(&call->out, delta->text);
    mosa_buf_append_char(&call->out, '}');
    end_event(call);
}

static void take_delta(mosa_call *call, mosa_choice *choice, const mosa_answer_delta *delta) {
    if (delta->kind == MOSA_ANSWER_CALL) {
        open_block(call, choice, delta);
        return;
    }
    if (delta->kind != MOSA_ANSWER_ARGUMENTS && choice->open_block != (int)delta->kind + 1)
        open_block(call, choice, delta);
    continue_block(call, choice, delta);
}

// --- events ---------------------------------------------------------------------------------------------------------

static void say_hello(mosa_call *call, mosa_choice *choice) {
    begin_event(call, "message_start");
    mosa_buf_append_str(&call->out, ",\"message\":");
    put_message_head(call, &call->out);
    mosa_buf_append_str(&call->out, "],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
    put_usage(choice, &call->out);
    mosa_buf_append_char(&call->out, '}');
    end_event(call);
    choice->said_hello = true;
}

static const char *find_stop(const mosa_choice *choice, int index) {
    const char *at = choice->extra.data, *end = at + choice->extra.len;
    for (; at && at < end && index > 0; index--) at += strlen(at) + 1;
    return at && at < end && index == 0 ? at : NULL;
}

static void take_event(mosa_call *call, mosa_choice *choice, const mosa_event *event) {
    if (call->stream && !choice->said_hello) say_hello(call, choice);
    if (choice->answer) {
        mosa_chat_answer_take(call, choice, event, false);
    } else if (event->text_len) {
        mosa_answer_delta delta = {.kind = MOSA_ANSWER_CONTENT, .text = {event->text, event->text_len}};
        take_delta(call, choice, &delta);
    }
    if (event->finish == MOSA_FINISH_NONE) return;
    close_block(call, choice);
    choice->stop_sequence = find_stop(choice, event->stop_index);
}

static void finish(mosa_call *call, mosa_buf *body) {
    mosa_choice *choice = &call->choices[0];
    if (!call->stream) {
        put_message_head(call, body);
        mosa_buf_append_slice(body, mosa_buf_slice(&choice->text));
        if (mosa_buf_failed(&choice->text)) body->failed = true;
        mosa_buf_append_str(body, "],");
        put_stop(choice, body);
        mosa_buf_append_str(body, ",\"usage\":");
        put_usage(choice, body);
        mosa_buf_append_char(body, '}');
        return;
    }
    begin_event(call, "message_delta");
    mosa_buf_append_str(&call->out, ",\"delta\":{");
    put_stop(choice, &call->out);
    mosa_buf_append_str(&call->out, "},\"usage\":");
    put_usage(choice, &call->out);
    end_event(call);
    begin_event(call, "message_stop");
    end_event(call);
}

const mosa_call_format mosa_messages_format = {.event = take_event, .finish = finish, .delta = take_delta};

// --- errors ---------------------------------------------------------------------------------------------------------

static const char *error_type(int http) {
    switch (http) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 413:
        return "request_too_large";
    case 429:
        return "rate_limit_error";
    case 503:
        return "overloaded_error";
    case 504:
        return "timeout_error";
    default:
        return http >= 500 ? "api_error" : "invalid_request_error";
    }
}

void mosa_messages_error_append(mosa_buf *out, const mosa_api_error *error, const char *request_id) {
    mosa_buf_printf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", error_type(error->http));
    mosa_json_append_string(out, mosa_slice_of(error->message));
    mosa_buf_append_str(out, "},\"request_id\":");
    mosa_json_append_string(out, mosa_slice_of(request_id));
    mosa_buf_append_char(out, '}');
}
