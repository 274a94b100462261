// Streaming answers: the first byte picks the dialect, the rest is the answer. Cut into bytes it must give what it
// gives in one piece, and an answer without calls must keep every byte that is not blank.
#include "codec/json.h"
#include "text/dialect/answer_parser.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct trace {
    mosa_buf all;     // kinds and texts
    mosa_buf content; // content alone
    mosa_buf other;   // reasoning and arguments
    int kind, calls;
} trace;

static void record(void *user, const mosa_answer_delta *delta) {
    trace *t = user;
    if (delta->text.len == 0) abort();
    if (delta->kind == MOSA_ANSWER_CALL) {
        if (delta->call != t->calls++) abort();
        mosa_buf_append_char(&t->all, '\1');
        t->kind = -1;
    } else if ((int)delta->kind != t->kind) {
        mosa_buf_append_char(&t->all, (char)(2 + delta->kind));
        t->kind = (int)delta->kind;
    }
    mosa_buf_append_slice(&t->all, delta->text);
    mosa_buf_append_slice(delta->kind == MOSA_ANSWER_CONTENT ? &t->content : &t->other, delta->text);
}

static void parse(const mosa_answer_options *options, mosa_slice text, size_t piece, trace *t) {
    mosa_answer_parser *parser;
    *t = (trace){.kind = -1};
    if (mosa_answer_parser_create(options, &parser, NULL) != MOSA_OK) abort();
    for (size_t at = 0; at < text.len; at += piece) {
        size_t n = text.len - at < piece ? text.len - at : piece;
        mosa_answer_parser_feed(parser, (mosa_slice){text.data + at, n}, record, t);
    }
    mosa_answer_parser_finish(parser, record, t);
    if (mosa_answer_parser_failed(parser)) abort();
    mosa_answer_parser_destroy(parser);
}

static void finish(trace *t) {
    mosa_buf_finish(&t->all);
    mosa_buf_finish(&t->content);
    mosa_buf_finish(&t->other);
}

static void check_lossless(mosa_slice text, mosa_slice content) {
    size_t k = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (strchr(" \n\r\t", text.data[i]) && text.data[i]) continue;
        while (k < content.len && content.data[k] && strchr(" \n\r\t", content.data[k])) k++;
        if (k == content.len || content.data[k++] != text.data[i]) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static json_t *tools;
    static const char tools_text[] = "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{"
                                     "\"properties\":{\"a\":{\"type\":\"string\"}}}}}]";
    static const mosa_reasoning_style think = {"<think>", "</think>"};
    if (size == 0) return 0;
    if (!tools && mosa_json_parse(mosa_slice_of(tools_text), NULL, &tools, NULL) != MOSA_OK) abort();
    size_t count;
    const mosa_dialect *const *all = mosa_dialects(&count);
    const mosa_dialect *dialect = all[(data[0] & 31) % count];
    mosa_answer_options options = {dialect, &think, data[0] & 64, tools};
    mosa_slice text = {(const char *)data + 1, size - 1};
    trace whole, bytes;
    parse(&options, text, text.len ? text.len : 1, &whole);
    parse(&options, text, 1, &bytes);
    if (!mosa_slice_eq(mosa_buf_slice(&whole.all), mosa_buf_slice(&bytes.all))) abort();
    bool marked = memmem(text.data, text.len, "think>", 6) || dialect->form == MOSA_CALL_HARMONY || (data[0] & 64);
    if (whole.calls == 0 && !marked) check_lossless(text, mosa_buf_slice(&whole.content));
    finish(&whole);
    finish(&bytes);
    return 0;
}
