// What a raw record says, apart from how it is written: for finding copies and for writing records out again.
// Thread: reentrant.
#ifndef MOSA_TRAIN_DATA_CONTENT_H
#define MOSA_TRAIN_DATA_CONTENT_H

#include "base/str.h"
#include "train/data/reader.h"

// Appends the record's words: the text, or every value of the object but ids and the like (id, uuid, hash, url,
// timestamp, date, metadata), a line each. Two records that differ in these only, or in blanks and the order of what is
// around them in the file, say the same. Errors as mosa_reader_parse.
MOSA_MUST_USE mosa_status mosa_content_append(const mosa_reader *reader, const mosa_raw_record *raw, mosa_buf *out,
                                              mosa_error *err);

// Appends the record so that files of them are read again as the same records: a line of JSON, or of paragraphs and
// lines of plain text themselves. `unit` is the layout's.
MOSA_MUST_USE mosa_status mosa_content_rewrite(const mosa_reader *reader, const mosa_raw_record *raw,
                                               mosa_text_unit unit, mosa_buf *out, mosa_error *err);
// The ending of such a file: ".jsonl" or ".txt".
const char *mosa_content_suffix(const mosa_reader *reader, mosa_text_unit unit);

#endif
