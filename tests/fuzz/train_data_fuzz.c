// A letter for the file's kind (j array or lines, y YAML, l, p or f text), then its bytes: cut into records, each
// parsed, detected and made canonical. Checks that records lie in the file, in order, and that lines count up.
#include "train/data/format.h"
#include "train/data/reader.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take(const mosa_reader *reader, const mosa_raw_record *raw, const mosa_data_layout *layout) {
    json_t *value;
    mosa_data_format format;
    mosa_record record;
    mosa_error err;
    if (mosa_reader_parse(reader, raw, &value, &err) != MOSA_OK) {
        if (!err.message[0]) abort();
        return;
    }
    if (mosa_data_format_detect(value, layout, &format, &err) != MOSA_OK) {
        json_decref(value);
        return;
    }
    if (mosa_record_parse(value, format, layout, &record, &err) != MOSA_OK) return;
    if (record.chat != (record.messages != NULL) || (record.kind == MOSA_DATA_PAIRS && record.chat && !record.rejected))
        abort();
    if (record.n_prompt > json_array_size(record.messages)) abort();
    mosa_record_finish(&record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const mosa_text_unit units[] = {MOSA_TEXT_BY_LINE, MOSA_TEXT_BY_PARAGRAPH, MOSA_TEXT_BY_FILE};
    mosa_reader *reader;
    mosa_raw_record raw;
    mosa_error err;
    size_t at = 0;
    uint64_t line = 0;
    bool more = true;
    if (size == 0) return 0;
    char kind = (char)data[0];
    const char *name = kind == 'j' ? "x.jsonl" : kind == 'y' ? "x.yaml" : "x.txt";
    mosa_data_layout layout = {.text_unit = units[(unsigned char)kind % 3], .ignore_unknown = kind != 'j'};
    mosa_slice bytes = {(const char *)data + 1, size - 1};
    if (mosa_reader_open_bytes(bytes, name, &layout, &reader, &err) != MOSA_OK) return 0;
    while (mosa_reader_next(reader, &raw, &more, &err) == MOSA_OK && more) {
        if (raw.offset < at || raw.offset + raw.bytes.len > bytes.len || raw.line < line) abort();
        at = raw.offset + raw.bytes.len;
        line = raw.line;
        take(reader, &raw, &layout);
    }
    mosa_reader_close(reader);
    return 0;
}
