// Cuts mapped files into records. Nothing is parsed here beyond what finds the ends: brackets and strings of JSON,
// dashes at the list's own indent of YAML, line ends.
#include "train/data/reader.h"

#include "base/file.h"
#include "codec/json.h"
#include "codec/yaml.h"
#include "text/unicode.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mosa_reader {
    mosa_file_map map; // zeroed for bytes at hand
    char *path;
    mosa_slice bytes;
    mosa_reader_syntax syntax;
    mosa_text_unit unit;
    size_t at;
    uint64_t line;    // of `at`
    size_t indent;    // YAML: of the list's dashes
    bool started;     // ARRAY: behind its bracket
    bool ended;       // ARRAY: its closing bracket was read
    bool needs_comma; // ARRAY: an element was read
};

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t line_end(mosa_slice bytes, size_t at) { // of the newline, or the file's end
    const char *end = at < bytes.len ? memchr(bytes.data + at, '\n', bytes.len - at) : NULL;
    return end ? (size_t)(end - bytes.data) : bytes.len;
}

static uint64_t count_lines(mosa_slice bytes, size_t from, size_t to) {
    uint64_t n = 0;
    for (size_t i = from; i < to; n++) {
        const char *end = memchr(bytes.data + i, '\n', to - i);
        if (!end) break;
        i = (size_t)(end - bytes.data) + 1;
    }
    return n;
}

static void advance(mosa_reader *r, size_t to) {
    r->line += count_lines(r->bytes, r->at, to);
    r->at = to;
}

static mosa_status fail_at(const mosa_reader *r, mosa_error *err, const char *what) {
    return mosa_fail(err, MOSA_EINVALID, "%s:%llu: %s", r->path, (unsigned long long)r->line, what);
}

// --- opening --------------------------------------------------------------------------------------------------------

static void skip_blanks(mosa_reader *r) {
    size_t i = r->at;
    while (i < r->bytes.len && is_blank(r->bytes.data[i])) i++;
    advance(r, i);
}

static bool has_suffix(const char *path, const char *const *suffixes) {
    for (; *suffixes; suffixes++)
        if (mosa_str_ends_with(path, *suffixes)) return true;
    return false;
}

// Passes over comments, blank lines and the document's mark; finds the indent of the first dash.
static mosa_status start_yaml(mosa_reader *r, mosa_error *err) {
    while (r->at < r->bytes.len) {
        size_t end = line_end(r->bytes, r->at), i = r->at;
        while (i < end && is_blank(r->bytes.data[i])) i++;
        bool mark = end - r->at >= 3 && memcmp(r->bytes.data + r->at, "---", 3) == 0;
        if (i < end && r->bytes.data[i] != '#' && !mark) {
            r->indent = i - r->at;
            if (r->bytes.data[i] == '-') return MOSA_OK;
            (void)fail_at(r, err, "a YAML data file is a list: its records begin with \"- \"");
            return mosa_hint(err, "write one record per dash, or use JSON lines");
        }
        advance(r, end < r->bytes.len ? end + 1 : end);
    }
    return MOSA_OK;
}

static mosa_status start(mosa_reader *r, mosa_error *err) {
    static const char *const json[] = {".jsonl", ".ndjson", ".json", NULL}, *const yaml[] = {".yaml", ".yml", NULL};
    if (r->bytes.len >= 3 && memcmp(r->bytes.data, "\xEF\xBB\xBF", 3) == 0) r->at = 3;
    r->line = 1;
    if (has_suffix(r->path, yaml)) {
        r->syntax = MOSA_SYNTAX_YAML;
        return start_yaml(r, err);
    }
    if (!has_suffix(r->path, json)) return MOSA_OK;
    r->syntax = MOSA_SYNTAX_LINES;
    skip_blanks(r);
    if (r->at == r->bytes.len) return MOSA_OK;
    if (r->bytes.data[r->at] == '[') r->syntax = MOSA_SYNTAX_ARRAY;
    if (r->bytes.data[r->at] == '[' || r->bytes.data[r->at] == '{') return MOSA_OK;
    (void)fail_at(r, err, "this is neither a JSON array nor JSON lines");
    return mosa_hint(err, "give the file the ending .txt if it is plain text");
}

static mosa_reader *reader_new(const char *path, const mosa_data_layout *layout) {
    mosa_reader *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->path = strdup(path);
    r->unit = layout ? layout->text_unit : MOSA_TEXT_BY_FILE;
    if (r->path) return r;
    free(r);
    return NULL;
}

static mosa_status finish_open(mosa_reader *r, mosa_reader **out, mosa_error *err) {
    mosa_status status = start(r, err);
    if (status == MOSA_OK)
        *out = r;
    else
        mosa_reader_close(r);
    return status;
}

mosa_status mosa_reader_open(const char *path, const mosa_data_layout *layout, mosa_reader **out, mosa_error *err) {
    mosa_reader *r = reader_new(path, layout);
    if (!r) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    mosa_status status = mosa_file_map_open(path, &r->map, err);
    if (status != MOSA_OK) {
        mosa_reader_close(r);
        return status;
    }
    r->bytes = (mosa_slice){(const char *)r->map.data, r->map.size};
    return finish_open(r, out, err);
}

mosa_status mosa_reader_open_bytes(mosa_slice bytes, const char *name, const mosa_data_layout *layout,
                                   mosa_reader **out, mosa_error *err) {
    mosa_reader *r = reader_new(name, layout);
    if (!r) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", name);
    r->bytes = bytes;
    return finish_open(r, out, err);
}

void mosa_reader_close(mosa_reader *reader) {
    if (!reader) return;
    mosa_file_map_close(&reader->map);
    free(reader->path);
    free(reader);
}

const char *mosa_reader_path(const mosa_reader *reader) {
    return reader->path;
}
mosa_reader_syntax mosa_reader_get_syntax(const mosa_reader *reader) {
    return reader->syntax;
}
uint64_t mosa_reader_size(const mosa_reader *reader) {
    return reader->bytes.len;
}

// --- records --------------------------------------------------------------------------------------------------------

// Hands out [begin, end) and goes on behind `next`.
static void take(mosa_reader *r, size_t begin, size_t end, size_t next, mosa_raw_record *out) {
    advance(r, begin);
    *out = (mosa_raw_record){{r->bytes.data + begin, end - begin}, begin, r->line};
    advance(r, next);
}

static bool next_line(mosa_reader *r, mosa_raw_record *out) {
    while (r->at < r->bytes.len) {
        size_t end = line_end(r->bytes, r->at), next = end < r->bytes.len ? end + 1 : end, i = r->at;
        while (i < end && is_blank(r->bytes.data[i])) i++;
        while (end > i && is_blank(r->bytes.data[end - 1])) end--;
        if (i < end) {
            *out = (mosa_raw_record){{r->bytes.data + r->at, end - r->at}, r->at, r->line};
            r->at = next;
            r->line++;
            return true;
        }
        r->at = next;
        r->line++;
    }
    return false;
}

static size_t skip_string(mosa_slice b, size_t i) { // i is at the opening quote; behind the closing one
    for (i++; i < b.len && b.data[i] != '"'; i++)
        if (b.data[i] == '\\') i++;
    return i < b.len ? i + 1 : b.len;
}

// Behind the value that begins at i: a balanced object or array, a string, or a scalar.
static size_t value_end(mosa_slice b, size_t i) {
    size_t depth = 0;
    while (i < b.len) {
        char c = b.data[i];
        if (c == '"') {
            i = skip_string(b, i);
            if (depth == 0) return i;
            continue;
        }
        if (c == '{' || c == '[') depth++;
        if (c == '}' || c == ']') {
            if (depth == 0) return i;
            if (--depth == 0) return i + 1;
        }
        if (depth == 0 && (c == ',' || is_blank(c))) return i;
        i++;
    }
    return i;
}

static mosa_status next_element(mosa_reader *r, mosa_raw_record *out, bool *more, mosa_error *err) {
    *more = false;
    if (!r->started) advance(r, r->at + 1);
    r->started = true;
    skip_blanks(r);
    if (r->ended) return r->at == r->bytes.len ? MOSA_OK : fail_at(r, err, "there is something behind the JSON array");
    if (r->at == r->bytes.len) return fail_at(r, err, "the JSON array does not end: the file was cut short");
    char c = r->bytes.data[r->at];
    if (c == ']') {
        r->ended = true;
        advance(r, r->at + 1);
        return next_element(r, out, more, err);
    }
    if (r->needs_comma) {
        if (c != ',') return fail_at(r, err, "a comma is missing between elements of the JSON array");
        advance(r, r->at + 1);
        skip_blanks(r);
    }
    size_t end = value_end(r->bytes, r->at);
    if (end == r->at) return fail_at(r, err, "a value is missing in the JSON array");
    r->needs_comma = true;
    *more = true;
    take(r, r->at, end, end, out);
    return MOSA_OK;
}

static bool is_item(const mosa_reader *r, size_t begin, size_t end) {
    size_t dash = begin + r->indent;
    for (size_t i = begin; i < dash; i++)
        if (i >= end || r->bytes.data[i] != ' ') return false;
    if (dash >= end || r->bytes.data[dash] != '-') return false;
    return dash + 1 == end || is_blank(r->bytes.data[dash + 1]);
}

static bool next_item(mosa_reader *r, mosa_raw_record *out) {
    if (r->at >= r->bytes.len) return false;
    size_t end = r->at;
    do {
        size_t stop = line_end(r->bytes, end);
        end = stop < r->bytes.len ? stop + 1 : stop;
    } while (end < r->bytes.len && !is_item(r, end, line_end(r->bytes, end)));
    take(r, r->at, end, end, out);
    return true;
}

static bool blank_between(mosa_slice b, size_t begin, size_t end) {
    while (begin < end && is_blank(b.data[begin])) begin++;
    return begin == end;
}

// A paragraph ends at a blank line.
static bool next_paragraph(mosa_reader *r, mosa_raw_record *out) {
    skip_blanks(r);
    if (r->at == r->bytes.len) return false;
    size_t end = r->at, next = r->at;
    while (next < r->bytes.len) {
        size_t stop = line_end(r->bytes, next);
        if (blank_between(r->bytes, next, stop)) break;
        end = stop;
        next = stop < r->bytes.len ? stop + 1 : stop;
    }
    take(r, r->at, end, next, out);
    return true;
}

static bool next_text(mosa_reader *r, mosa_raw_record *out) {
    if (r->unit == MOSA_TEXT_BY_LINE) return next_line(r, out);
    if (r->unit == MOSA_TEXT_BY_PARAGRAPH) return next_paragraph(r, out);
    if (r->at == r->bytes.len || blank_between(r->bytes, r->at, r->bytes.len)) return false;
    take(r, r->at, r->bytes.len, r->bytes.len, out);
    return true;
}

mosa_status mosa_reader_next(mosa_reader *reader, mosa_raw_record *out, bool *more, mosa_error *err) {
    switch (reader->syntax) {
    case MOSA_SYNTAX_ARRAY:
        return next_element(reader, out, more, err);
    case MOSA_SYNTAX_LINES:
        *more = next_line(reader, out);
        break;
    case MOSA_SYNTAX_YAML:
        *more = next_item(reader, out);
        break;
    case MOSA_SYNTAX_TEXT:
        *more = next_text(reader, out);
        break;
    }
    return MOSA_OK;
}

// --- values ---------------------------------------------------------------------------------------------------------

// "JSON line 3 column 4: x" of a record's bytes becomes "path:line: column 4: x" of the file.
static mosa_status place_fault(const mosa_reader *r, const mosa_raw_record *raw, mosa_error *err) {
    unsigned long long line = 1, column = 0;
    int used = 0;
    if (!err) return MOSA_EINVALID;
    const char *text = err->message;
    if (sscanf(text, "%*[JSONYAML] line %llu column %llu: %n", &line, &column, &used) == 2 && used > 0) text += used;
    char what[MOSA_ERROR_MESSAGE_MAX];
    (void)snprintf(what, sizeof what, "%s", text);
    mosa_status status = err->status;
    (void)mosa_fail(err, status, "%s:%llu: column %llu: %s", r->path, (unsigned long long)raw->line + line - 1, column,
                    what);
    if (mosa_utf8_valid_prefix(raw->bytes.data, raw->bytes.len) != raw->bytes.len)
        return mosa_hint(err, "the file is not UTF-8; `iconv -f latin1 -t utf-8` converts one that is Latin-1");
    if (r->syntax == MOSA_SYNTAX_LINES)
        return mosa_hint(err, "each line must be one JSON object; a list in [...] is read too");
    return status;
}

// The one element of a list of one.
static mosa_status unwrap(json_t *list, json_t **out, mosa_error *err) {
    json_t *value = json_array_size(list) == 1 ? json_incref(json_array_get(list, 0)) : NULL;
    json_decref(list);
    if (!value) return mosa_fail(err, MOSA_EINVALID, "YAML line 1 column 1: this is not one item of a list");
    *out = value;
    return MOSA_OK;
}

static mosa_status parse_text(const mosa_reader *r, const mosa_raw_record *raw, json_t **out, mosa_error *err) {
    size_t valid = mosa_utf8_valid_prefix(raw->bytes.data, raw->bytes.len);
    if (valid != raw->bytes.len) {
        uint64_t line = raw->line + count_lines(raw->bytes, 0, valid);
        (void)mosa_fail(err, MOSA_EINVALID, "%s:%llu: byte 0x%02x is not UTF-8", r->path, (unsigned long long)line,
                        (unsigned char)raw->bytes.data[valid]);
        return mosa_hint(err, "`iconv -f latin1 -t utf-8` converts a file that is Latin-1");
    }
    json_t *text = json_stringn_nocheck(raw->bytes.data, raw->bytes.len), *object = json_object();
    if (object && text && json_object_set_new(object, "text", text) == 0) {
        *out = object;
        return MOSA_OK;
    }
    json_decref(object);
    return mosa_fail(err, MOSA_ENOMEM, "out of memory for a text");
}

mosa_status mosa_reader_parse(const mosa_reader *reader, const mosa_raw_record *raw, json_t **out, mosa_error *err) {
    mosa_status status;
    if (reader->syntax == MOSA_SYNTAX_TEXT) return parse_text(reader, raw, out, err);
    if (reader->syntax == MOSA_SYNTAX_YAML) {
        json_t *list;
        status = mosa_yaml_parse(raw->bytes, &list, err);
        if (status == MOSA_OK) status = unwrap(list, out, err);
    } else {
        status = mosa_json_parse(raw->bytes, NULL, out, err);
    }
    return status == MOSA_OK || status == MOSA_ENOMEM ? status : place_fault(reader, raw, err);
}

// --- files ----------------------------------------------------------------------------------------------------------

typedef struct file_list {
    char **items;
    size_t count, capacity;
} file_list;

static bool add_file(file_list *list, char *path) {
    if (path && list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        char **items = realloc(list->items, capacity * sizeof *items);
        if (items) list->items = items, list->capacity = capacity;
    }
    if (!path || list->count == list->capacity) {
        free(path);
        return false;
    }
    list->items[list->count++] = path;
    return true;
}

static int not_hidden(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static mosa_status add_folder(file_list *list, const char *path, mosa_error *err) {
    struct dirent **entries;
    int n = scandir(path, &entries, not_hidden, alphasort);
    size_t before = list->count;
    bool ok = true;
    if (n < 0) return mosa_fail(err, MOSA_EIO, "%s: cannot read this folder", path);
    for (int i = 0; i < n; i++) {
        char *file = mosa_path_join(path, entries[i]->d_name);
        if (file && mosa_file_is_dir(file))
            free(file);
        else
            ok = ok && add_file(list, file);
        free(entries[i]);
    }
    free(entries);
    if (!ok) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    return list->count > before ? MOSA_OK : mosa_fail(err, MOSA_ENOTFOUND, "%s: there is no file in this folder", path);
}

mosa_status mosa_data_files_find(const char *const *paths, size_t n_paths, char ***out, size_t *count,
                                 mosa_error *err) {
    file_list list = {0};
    mosa_status status = MOSA_OK;
    for (size_t i = 0; i < n_paths && status == MOSA_OK; i++) {
        if (mosa_file_is_dir(paths[i]))
            status = add_folder(&list, paths[i], err);
        else if (!mosa_file_exists(paths[i]))
            status = mosa_fail(err, MOSA_ENOTFOUND, "%s: no such file or folder", paths[i]);
        else if (!add_file(&list, strdup(paths[i])))
            status = mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", paths[i]);
    }
    if (status != MOSA_OK) {
        mosa_data_files_free(list.items, list.count);
        return status;
    }
    *out = list.items;
    *count = list.count;
    return MOSA_OK;
}

void mosa_data_files_free(char **files, size_t count) {
    for (size_t i = 0; i < count; i++) free(files[i]);
    free(files);
}
