// Walks values in the order of the record.
#include "train/data/content.h"

#include "codec/json.h"

#include <string.h>

static const char *const passed_over[] = {"id", "uuid", "hash", "url", "timestamp", "date", "metadata", "meta"};

static bool is_passed_over(const char *key) {
    for (size_t i = 0; i < MOSA_COUNT(passed_over); i++)
        if (strcmp(passed_over[i], key) == 0) return true;
    return false;
}

static void append_value(const json_t *value, bool top, mosa_buf *out) {
    const char *key;
    json_t *inner;
    size_t i;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)value, key, inner) {
            if (top && is_passed_over(key)) continue;
            append_value(inner, false, out);
        }
    } else if (json_is_array(value)) {
        json_array_foreach((json_t *)value, i, inner) append_value(inner, false, out);
    } else if (json_is_string(value)) {
        mosa_buf_append(out, json_string_value(value), json_string_length(value));
        mosa_buf_append_char(out, '\n');
    } else {
        mosa_json_append(out, value);
        mosa_buf_append_char(out, '\n');
    }
}

static mosa_status finish(const mosa_buf *out, mosa_error *err) {
    return mosa_buf_failed(out) ? mosa_fail(err, MOSA_ENOMEM, "out of memory for a record") : MOSA_OK;
}

mosa_status mosa_content_append(const mosa_reader *reader, const mosa_raw_record *raw, mosa_buf *out, mosa_error *err) {
    json_t *value;
    if (mosa_reader_get_syntax(reader) == MOSA_SYNTAX_TEXT) {
        mosa_buf_append_slice(out, raw->bytes);
        return finish(out, err);
    }
    MOSA_TRY(mosa_reader_parse(reader, raw, &value, err));
    append_value(value, true, out);
    json_decref(value);
    return finish(out, err);
}

mosa_status mosa_content_rewrite(const mosa_reader *reader, const mosa_raw_record *raw, mosa_text_unit unit,
                                 mosa_buf *out, mosa_error *err) {
    mosa_reader_syntax syntax = mosa_reader_get_syntax(reader);
    json_t *value;
    bool text = syntax == MOSA_SYNTAX_TEXT && unit != MOSA_TEXT_BY_FILE;
    if (text || syntax == MOSA_SYNTAX_LINES) {
        mosa_buf_append_slice(out, raw->bytes);
        mosa_buf_append_str(out, text && unit == MOSA_TEXT_BY_PARAGRAPH ? "\n\n" : "\n");
        return finish(out, err);
    }
    MOSA_TRY(mosa_reader_parse(reader, raw, &value, err));
    mosa_json_append(out, value);
    mosa_buf_append_char(out, '\n');
    json_decref(value);
    return finish(out, err);
}

const char *mosa_content_suffix(const mosa_reader *reader, mosa_text_unit unit) {
    bool text = mosa_reader_get_syntax(reader) == MOSA_SYNTAX_TEXT && unit != MOSA_TEXT_BY_FILE;
    return text ? ".txt" : ".jsonl";
}
