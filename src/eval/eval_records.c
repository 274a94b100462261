// Lines to objects and back.
#include "eval/eval_records.h"

#include "base/file.h"
#include "codec/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DATA_BYTES_MAX = 1 << 30, RECORDS_MAX = 10000000 };

static mosa_status add_line(json_t *records, mosa_slice line, mosa_error *err) {
    json_t *record = NULL;
    MOSA_TRY(mosa_json_parse(line, NULL, &record, err));
    if (!json_is_object(record)) {
        json_decref(record);
        return mosa_fail(err, MOSA_EINVALID, "this is no JSON object");
    }
    if (json_array_append_new(records, record) != 0) return mosa_fail(err, MOSA_ENOMEM, "out of memory");
    return MOSA_OK;
}

static mosa_status add_lines(json_t *records, const char *path, mosa_slice bytes, int64_t limit, mosa_error *err) {
    size_t number = 0;
    for (size_t at = 0; at < bytes.len; number++) {
        const char *newline = memchr(bytes.data + at, '\n', bytes.len - at);
        size_t end = newline ? (size_t)(newline - bytes.data) : bytes.len;
        mosa_slice line = {bytes.data + at, end - at};
        at = end + 1;
        if (strspn(line.data, " \t\r") >= line.len) continue; // the file ends in a NUL
        if (limit && json_array_size(records) >= (size_t)limit) return MOSA_OK;
        mosa_status status = add_line(records, line, err);
        if (status == MOSA_OK) continue;
        char where[512];
        (void)snprintf(where, sizeof where, "%s:%zu", path, number + 1);
        return mosa_fail_prefix(err, where);
    }
    return MOSA_OK;
}

mosa_status mosa_eval_records_load(const char *path, int64_t limit, json_t **out, mosa_error *err) {
    MOSA_AUTO_FREE char *bytes = NULL;
    MOSA_AUTO_JSON json_t *records = json_array();
    size_t len = 0;
    MOSA_TRY(mosa_file_read(path, DATA_BYTES_MAX, &bytes, &len, err));
    MOSA_TRY(add_lines(records, path, (mosa_slice){bytes, len}, limit ? limit : RECORDS_MAX, err));
    if (json_array_size(records) == 0) return mosa_fail(err, MOSA_EINVALID, "%s: there are no records", path);
    *out = records;
    records = NULL;
    return MOSA_OK;
}

const char *mosa_eval_record_text(const json_t *record, const char *const *names) {
    for (; *names; names++) {
        const char *text = json_string_value(json_object_get(record, *names));
        if (text) return text;
    }
    return NULL;
}

mosa_status mosa_eval_record_fail(const char *path, size_t index, const char *what, mosa_error *err) {
    return mosa_fail(err, MOSA_EINVALID, "%s: record %zu: %s", path, index + 1, what);
}

mosa_status mosa_eval_outcomes_open(const char *path, FILE **out, mosa_error *err) {
    *out = path ? fopen(path, "we") : NULL;
    if (path && !*out) return mosa_fail_errno(err, errno, "%s: cannot create", path);
    return MOSA_OK;
}

void mosa_eval_outcomes_add(FILE *file, json_t *outcome) {
    if (file && outcome) {
        (void)json_dumpf(outcome, file, JSON_COMPACT);
        fputc('\n', file);
    }
    json_decref(outcome);
}

mosa_status mosa_eval_outcomes_close(const char *path, FILE *file, mosa_error *err) {
    if (!file) return MOSA_OK;
    bool failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed) return mosa_fail(err, MOSA_EIO, "%s: cannot write", path);
    return MOSA_OK;
}
