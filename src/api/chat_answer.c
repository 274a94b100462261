// Choices of a chat answer with reasoning and tool calls.
//
// Which tokens are content is known by what the parser does with their text. An entry of the log-probabilities goes out
// with the first content that its token brings; entries of tokens whose text is held back wait with it; those of marks,
// reasoning and calls are dropped.
#include "api/chat_answer.h"
#include "api/chat_chunk.h"
#include "api/http.h"
#include "api/output.h"
#include "codec/json.h"

#include <stdlib.h>

enum { ID_LEN = 24 };

struct mosa_chat_answer {
    mosa_answer_parser *parser;
    int id_len;
    bool hide_reasoning;
    mosa_buf reasoning; // not streamed
    mosa_buf calls;     // not streamed: JSON of the calls so far, the last one's arguments still open
    mosa_buf entries;   // JSON of log-probabilities whose tokens' text is not decided

    // During an event.
    mosa_call *call;
    mosa_choice *choice;
    bool has_content; // it has brought some
};

mosa_chat_answer *mosa_chat_answer_create(const mosa_answer_options *options, int id_len, bool hide_reasoning) {
    mosa_chat_answer *answer = calloc(1, sizeof *answer);
    if (!answer) return NULL;
    answer->id_len = id_len;
    answer->hide_reasoning = hide_reasoning;
    if (mosa_answer_parser_create(options, &answer->parser, NULL) == MOSA_OK) return answer;
    free(answer);
    return NULL;
}

void mosa_chat_answer_destroy(mosa_chat_answer *answer) {
    if (!answer) return;
    mosa_answer_parser_destroy(answer->parser);
    mosa_buf_finish(&answer->reasoning);
    mosa_buf_finish(&answer->calls);
    mosa_buf_finish(&answer->entries);
    free(answer);
}

// --- calls ----------------------------------------------------------------------------------------------------------

// "call_" and 24 letters and digits, or as many as the model's template wants; different in every answer.
void mosa_chat_answer_call_id(const mosa_chat_answer *answer, int index, mosa_buf *out) {
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const char *id = answer->call->id;
    int len = answer->id_len ? answer->id_len : ID_LEN;
    uint64_t seed = (uint64_t)(unsigned)answer->choice->index << 32 | (uint64_t)(unsigned)index << 8, bits = 0;
    if (!answer->id_len) mosa_buf_append_str(out, "call_");
    for (int i = 0; i < len; i++) {
        if (i % 8 == 0) bits = mosa_hash_bytes(id, strlen(id), seed + (uint64_t)(i / 8));
        mosa_buf_append_char(out, digits[bits % (sizeof digits - 1)]);
        bits /= sizeof digits - 1;
    }
}

static void append_call_head(const mosa_chat_answer *answer, const mosa_answer_delta *delta, mosa_buf *out) {
    mosa_buf_append_str(out, "\"id\":\"");
    mosa_chat_answer_call_id(answer, delta->call, out);
    mosa_buf_append_str(out, "\",\"type\":\"function\",\"function\":{\"name\":");
    mosa_json_append_string(out, delta->text);
    mosa_buf_append_str(out, ",\"arguments\":\"");
}

// The text as inside of a JSON string, without the quotes.
static void append_escaped(mosa_buf *out, mosa_slice text) {
    size_t begin = out->len;
    mosa_json_append_string(out, text);
    if (mosa_buf_failed(out)) return;
    memmove(out->data + begin, out->data + begin + 1, out->len - begin - 2);
    out->len -= 2;
    out->data[out->len] = '\0';
}

// --- deltas ---------------------------------------------------------------------------------------------------------

static void stream_call(mosa_chat_answer *answer, const mosa_answer_delta *delta) {
    mosa_buf *out = &answer->call->out;
    mosa_buf_append_str(out, "\"tool_calls\":[{\"index\":");
    mosa_output_int(out, delta->call);
    mosa_buf_append_char(out, ',');
    if (delta->kind == MOSA_ANSWER_CALL) {
        append_call_head(answer, delta, out);
        mosa_buf_append_str(out, "\"}}]}");
    } else {
        mosa_buf_append_str(out, "\"function\":{\"arguments\":");
        mosa_json_append_string(out, delta->text);
        mosa_buf_append_str(out, "}}]}");
    }
}

static void stream_text(mosa_chat_answer *answer, const mosa_answer_delta *delta) {
    mosa_buf *out = &answer->call->out;
    bool content = delta->kind == MOSA_ANSWER_CONTENT;
    mosa_buf_append_str(out, content ? "\"content\":" : "\"reasoning_content\":");
    mosa_json_append_string(out, delta->text);
    mosa_buf_append_char(out, '}');
    if (!content || !answer->entries.len) return;
    mosa_buf_append_str(out, ",\"logprobs\":{\"content\":[");
    mosa_buf_append_slice(out, mosa_buf_slice(&answer->entries));
    mosa_buf_append_str(out, "],\"refusal\":null}");
    mosa_buf_clear(&answer->entries);
}

static void stream_delta(mosa_chat_answer *answer, const mosa_answer_delta *delta) {
    mosa_chat_chunk_begin(answer->call, answer->choice);
    if (delta->kind >= MOSA_ANSWER_CALL)
        stream_call(answer, delta);
    else
        stream_text(answer, delta);
    mosa_chat_chunk_end(answer->call, NULL);
}

static void keep_entries(mosa_chat_answer *answer) {
    mosa_buf *kept = &answer->choice->logprobs;
    if (!answer->entries.len) return;
    if (kept->len) mosa_buf_append_char(kept, ',');
    mosa_buf_append_slice(kept, mosa_buf_slice(&answer->entries));
    mosa_buf_clear(&answer->entries);
}

static void keep_delta(mosa_chat_answer *answer, const mosa_answer_delta *delta) {
    switch (delta->kind) {
    case MOSA_ANSWER_CONTENT:
        mosa_buf_append_slice(&answer->choice->text, delta->text);
        keep_entries(answer);
        break;
    case MOSA_ANSWER_REASONING:
        mosa_buf_append_slice(&answer->reasoning, delta->text);
        break;
    case MOSA_ANSWER_CALL:
        mosa_buf_append_str(&answer->calls, delta->call ? "\"}},{" : "{");
        append_call_head(answer, delta, &answer->calls);
        break;
    case MOSA_ANSWER_ARGUMENTS:
        append_escaped(&answer->calls, delta->text);
        break;
    }
}

static void take_delta(void *user, const mosa_answer_delta *delta) {
    mosa_chat_answer *answer = user;
    if (delta->kind == MOSA_ANSWER_CONTENT) answer->has_content = true;
    if (delta->kind == MOSA_ANSWER_REASONING && answer->hide_reasoning) return;
    if (answer->call->format->delta)
        answer->call->format->delta(answer->call, answer->choice, delta);
    else if (answer->call->stream)
        stream_delta(answer, delta);
    else
        keep_delta(answer, delta);
}

// --- events ---------------------------------------------------------------------------------------------------------

// The token's text was decided to be something else than content, or is not decided yet.
static void settle_entries(mosa_chat_answer *answer, const mosa_event *event) {
    const mosa_answer_parser *parser = answer->parser;
    bool waits = mosa_answer_parser_in_content(parser) && (mosa_answer_parser_holds(parser) || event->text_len == 0);
    if (answer->has_content || !waits) mosa_buf_clear(&answer->entries);
}

void mosa_chat_answer_take(mosa_call *call, mosa_choice *choice, const mosa_event *event, bool entry) {
    mosa_chat_answer *answer = choice->answer;
    answer->call = call;
    answer->choice = choice;
    answer->has_content = false;
    if (entry) {
        if (answer->entries.len) mosa_buf_append_char(&answer->entries, ',');
        mosa_output_chat_logprob(call->http->model, event, &answer->entries);
    }
    bool reasoned = mosa_answer_parser_in_reasoning(answer->parser);
    mosa_answer_parser_feed(answer->parser, (mosa_slice){event->text, event->text_len}, take_delta, answer);
    if (reasoned || mosa_answer_parser_in_reasoning(answer->parser)) choice->reasoning_tokens += event->token >= 0;
    if (event->finish != MOSA_FINISH_NONE) mosa_answer_parser_finish(answer->parser, take_delta, answer);
    settle_entries(answer, event);
    if (mosa_chat_answer_failed(answer)) (call->stream ? &call->out : &choice->text)->failed = true;
}

void mosa_chat_answer_append(const mosa_chat_answer *answer, mosa_buf *out) {
    if (answer->reasoning.len) {
        mosa_buf_append_str(out, ",\"reasoning_content\":");
        mosa_json_append_string(out, mosa_buf_slice(&answer->reasoning));
    }
    if (!answer->calls.len) return;
    mosa_buf_append_str(out, ",\"tool_calls\":[");
    mosa_buf_append_slice(out, mosa_buf_slice(&answer->calls));
    mosa_buf_append_str(out, "\"}}]");
}

int mosa_chat_answer_calls(const mosa_chat_answer *answer) {
    return answer ? mosa_answer_parser_calls(answer->parser) : 0;
}

bool mosa_chat_answer_failed(const mosa_chat_answer *answer) {
    return mosa_answer_parser_failed(answer->parser) || mosa_buf_failed(&answer->reasoning) ||
           mosa_buf_failed(&answer->calls) || mosa_buf_failed(&answer->entries);
}
