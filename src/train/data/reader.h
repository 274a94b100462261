// Reader: a file's records one after the other, with the line that each begins on.
//
// .jsonl/.ndjson: a line is a record. .json: an array, cut without parsing it whole, or lines. .yaml/.yml: a list, cut
// at its items. Else plain text, cut as the layout says. The file is mapped, so that it may be larger than memory;
// slices borrow from the map. Thread: one at a time; slices may be read by many.
#ifndef MOSA_TRAIN_DATA_READER_H
#define MOSA_TRAIN_DATA_READER_H

#include "train/data/format.h"

typedef struct mosa_reader mosa_reader;

typedef enum mosa_reader_syntax {
    MOSA_SYNTAX_TEXT,
    MOSA_SYNTAX_LINES,
    MOSA_SYNTAX_ARRAY,
    MOSA_SYNTAX_YAML
} mosa_reader_syntax;

typedef struct mosa_raw_record {
    mosa_slice bytes; // JSON or YAML of one value, or text
    uint64_t offset;  // in the file
    uint64_t line;    // from 1
} mosa_raw_record;

// MOSA_ENOTFOUND, MOSA_EIO, MOSA_EINVALID (a .json that is neither an array nor lines).
MOSA_MUST_USE mosa_status mosa_reader_open(const char *path, const mosa_data_layout *layout, mosa_reader **out,
                                           mosa_error *err);
// A reader of bytes at hand, for tests. `name` is copied.
MOSA_MUST_USE mosa_status mosa_reader_open_bytes(mosa_slice bytes, const char *name, const mosa_data_layout *layout,
                                                 mosa_reader **out, mosa_error *err);
void mosa_reader_close(mosa_reader *reader); // NULL-safe

const char *mosa_reader_path(const mosa_reader *reader);
mosa_reader_syntax mosa_reader_get_syntax(const mosa_reader *reader);
uint64_t mosa_reader_size(const mosa_reader *reader);

// The next record; *more is false at the end. Blank lines are passed over. MOSA_EINVALID "path:line: ..." for broken
// syntax between records.
MOSA_MUST_USE mosa_status mosa_reader_next(mosa_reader *reader, mosa_raw_record *out, bool *more, mosa_error *err);

// Parses a record's bytes to a value: JSON or YAML by the syntax; text becomes {"text": ...}. Messages name the line
// within the file. Thread: reentrant.
MOSA_MUST_USE mosa_status mosa_reader_parse(const mosa_reader *reader, const mosa_raw_record *raw, json_t **out,
                                            mosa_error *err);

// All files that a list of paths names: folders are read in order of name, one level deep, without hidden files.
// *out is malloc'ed with its strings; mosa_data_files_free frees.
MOSA_MUST_USE mosa_status mosa_data_files_find(const char *const *paths, size_t n_paths, char ***out, size_t *count,
                                               mosa_error *err);
void mosa_data_files_free(char **files, size_t count);

#endif
