// The log-probabilities of /v1/completions.
#include "api/legacy_logprobs.h"
#include "api/api_internal.h"
#include "api/output.h"
#include "codec/json.h"

typedef struct record {
    int32_t token;
    float logprob;
    int64_t offset;
    bool no_logprob;
    int32_t n_top; // mosa_logprob that follow the record
} record;

static mosa_slice bytes_of(const mosa_api_model *model, int32_t token) {
    return mosa_tokenizer_token_bytes(mosa_model_text_tokenizer(model->text), token);
}

void mosa_legacy_logprobs_add(const mosa_api_model *model, mosa_buf *records, const mosa_event *event, bool no_logprob,
                              int64_t *offset) {
    record row = {event->token, event->logprob, *offset, no_logprob, event->n_top};
    mosa_buf_append(records, &row, sizeof row);
    mosa_buf_append(records, event->top, (size_t)event->n_top * sizeof *event->top);
    mosa_slice bytes = bytes_of(model, event->token);
    for (size_t i = 0; i < bytes.len; i++) *offset += ((unsigned char)bytes.data[i] & 0xc0) != 0x80;
}

static void write_top(const mosa_api_model *model, const char *tops, const record *row, mosa_buf *out) {
    if (row->no_logprob) {
        mosa_buf_append_str(out, "null");
        return;
    }
    mosa_buf_append_char(out, '{');
    for (int i = 0; i < row->n_top; i++) {
        mosa_logprob top;
        memcpy(&top, tops + (size_t)i * sizeof top, sizeof top);
        if (i) mosa_buf_append_char(out, ',');
        mosa_json_append_string(out, bytes_of(model, top.token));
        mosa_buf_append_char(out, ':');
        mosa_output_logprob(out, top.logprob);
    }
    mosa_buf_append_char(out, '}');
}

typedef enum column { OFFSETS, LOGPROBS, TOKENS, TOPS } column;

static void write_column(const mosa_api_model *model, mosa_slice records, column which, mosa_buf *out) {
    mosa_buf_append_char(out, '[');
    for (size_t at = 0; at < records.len;) {
        record row;
        memcpy(&row, records.data + at, sizeof row);
        if (at) mosa_buf_append_char(out, ',');
        at += sizeof row;
        if (which == OFFSETS)
            mosa_output_int(out, row.offset);
        else if (which == TOKENS)
            mosa_json_append_string(out, bytes_of(model, row.token));
        else if (which == TOPS)
            write_top(model, records.data + at, &row, out);
        else if (row.no_logprob)
            mosa_buf_append_str(out, "null");
        else
            mosa_output_logprob(out, row.logprob);
        at += (size_t)row.n_top * sizeof(mosa_logprob);
    }
    mosa_buf_append_char(out, ']');
}

void mosa_legacy_logprobs_write(const mosa_api_model *model, mosa_slice records, mosa_buf *out) {
    mosa_buf_append_str(out, "{\"text_offset\":");
    write_column(model, records, OFFSETS, out);
    mosa_buf_append_str(out, ",\"token_logprobs\":");
    write_column(model, records, LOGPROBS, out);
    mosa_buf_append_str(out, ",\"tokens\":");
    write_column(model, records, TOKENS, out);
    mosa_buf_append_str(out, ",\"top_logprobs\":");
    write_column(model, records, TOPS, out);
    mosa_buf_append_char(out, '}');
}
