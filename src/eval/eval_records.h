// Data files of JSON lines: read whole, checked line by line, with the line in every message; and outcome files.
#ifndef MOSA_EVAL_EVAL_RECORDS_H
#define MOSA_EVAL_EVAL_RECORDS_H

#include "base/status.h"

#include <jansson.h>
#include <stdio.h>

// An array of the file's objects (blank lines are skipped), at most `limit` of them when that is not 0. The caller owns
// *out. MOSA_EINVALID names file and line; a file without records is one too.
MOSA_MUST_USE mosa_status mosa_eval_records_load(const char *path, int64_t limit, json_t **out, mosa_error *err);

// The text of the first field of `names` (NULL-terminated) that the record has; NULL when none is a string.
const char *mosa_eval_record_text(const json_t *record, const char *const *names);

// A fault of record `index`, naming the file.
mosa_status mosa_eval_record_fail(const char *path, size_t index, const char *what, mosa_error *err);

// Opens a file of outcomes for writing; *out is NULL when path is. Each line is one object, which is consumed.
MOSA_MUST_USE mosa_status mosa_eval_outcomes_open(const char *path, FILE **out, mosa_error *err);
void mosa_eval_outcomes_add(FILE *file, json_t *outcome); // nothing but the decref when file is NULL
MOSA_MUST_USE mosa_status mosa_eval_outcomes_close(const char *path, FILE *file, mosa_error *err); // NULL-safe

#endif
