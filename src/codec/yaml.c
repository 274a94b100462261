// libyaml's events composed into json_t, with the YAML 1.2 core schema for plain scalars.
//
// One recursive reader. Invariants: `event` is the event at hand and is owned; every value read counts against
// MOSA_YAML_VALUES_MAX, an alias as much as what it stands for; an anchor is known only once its node is complete.
#include "codec/yaml.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { ANCHORS_MAX = 256 };

typedef struct anchor {
    char *name;    // owned
    json_t *value; // owned reference
    size_t n_values;
} anchor;

typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    int depth;
    size_t n_values;
    anchor anchors[ANCHORS_MAX];
    int n_anchors;
    mosa_error *err;
} reader;

static mosa_status read_node(reader *r, json_t **out);

static mosa_status fault(reader *r, mosa_status status, const char *what) {
    return mosa_fail(r->err, status, "YAML line %zu column %zu: %s", r->event.start_mark.line + 1,
                     r->event.start_mark.column + 1, what);
}

static mosa_status no_memory(reader *r) {
    return mosa_fail(r->err, MOSA_ENOMEM, "YAML: out of memory");
}

static mosa_status next_event(reader *r) {
    if (r->has_event) yaml_event_delete(&r->event);
    r->has_event = yaml_parser_parse(&r->parser, &r->event);
    if (r->has_event) return MOSA_OK;
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR) return no_memory(r);
    // The reader (encoding) knows an offset, scanner and parser a mark.
    if (p->error == YAML_READER_ERROR)
        return mosa_fail(r->err, MOSA_EINVALID, "YAML byte %zu: %s", p->problem_offset, p->problem);
    return mosa_fail(r->err, MOSA_EINVALID, "YAML line %zu column %zu: %s%s%s", p->problem_mark.line + 1,
                     p->problem_mark.column + 1, p->problem ? p->problem : "syntax error", p->context ? " " : "",
                     p->context ? p->context : "");
}

// --- scalars ------------------------------------------------------------------------------------------------------

static bool is_one_of(const char *text, const char *const *words, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, words[i]) == 0) return true;
    return false;
}

// [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? ; *integer when there is neither point nor exponent.
static bool looks_decimal(const char *p, bool *integer) {
    if (*p == '-' || *p == '+') p++;
    size_t whole = strspn(p, "0123456789"), fraction = 0;
    p += whole;
    *integer = *p == '\0';
    if (*p == '.') p += 1 + (fraction = strspn(p + 1, "0123456789"));
    if (whole + fraction == 0) return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '-' || *p == '+') p++;
        size_t digits = strspn(p, "0123456789");
        if (digits == 0) return false;
        p += digits;
    }
    return *p == '\0';
}

// 0o17 and 0x1f. Returns NULL when the text is neither, or does not fit.
static json_t *based_integer(const char *text) {
    int base = strncmp(text, "0o", 2) == 0 ? 8 : strncmp(text, "0x", 2) == 0 ? 16 : 0;
    const char *digits = base == 8 ? "01234567" : "0123456789abcdefABCDEF";
    if (!base || !text[2] || text[2 + strspn(text + 2, digits)] || strlen(text) > 2 + 21) return NULL;
    unsigned long long value = strtoull(text + 2, NULL, base);
    return value <= INT64_MAX ? json_integer((json_int_t)value) : NULL;
}

static mosa_status plain_scalar(reader *r, const char *text, size_t len, json_t **out) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    static const char *const trues[] = {"true", "True", "TRUE"};
    static const char *const falses[] = {"false", "False", "FALSE"};
    static const char *const not_finite[] = {".inf",  ".Inf",  ".INF",  "+.inf", "+.Inf", "+.INF",
                                             "-.inf", "-.Inf", "-.INF", ".nan",  ".NaN",  ".NAN"};
    bool integer;
    int64_t i64;
    double f64;
    if (strlen(text) != len) return fault(r, MOSA_EINVALID, "NUL character");
    if (is_one_of(text, not_finite, MOSA_COUNT(not_finite)))
        return fault(r, MOSA_EUNSUPPORTED, "infinity and NaN are not supported");
    if (is_one_of(text, nulls, MOSA_COUNT(nulls)))
        *out = json_null();
    else if (is_one_of(text, trues, MOSA_COUNT(trues)))
        *out = json_true();
    else if (is_one_of(text, falses, MOSA_COUNT(falses)))
        *out = json_false();
    else if ((*out = based_integer(text)))
        return MOSA_OK;
    else if (!looks_decimal(text, &integer))
        *out = json_string(text);
    else if (integer && mosa_parse_i64(text, &i64))
        *out = json_integer(i64);
    else if (mosa_parse_f64(text, &f64))
        *out = json_real(f64);
    else
        return fault(r, MOSA_EINVALID, "number out of range");
    return *out ? MOSA_OK : no_memory(r);
}

static mosa_status read_scalar(reader *r, json_t **out) {
    const char *text = (const char *)r->event.data.scalar.value;
    size_t len = r->event.data.scalar.length;
    const char *tag = (const char *)r->event.data.scalar.tag;
    static const char *const resolved[] = {YAML_NULL_TAG, YAML_BOOL_TAG, YAML_INT_TAG, YAML_FLOAT_TAG};
    if (tag && is_one_of(tag, resolved, MOSA_COUNT(resolved))) return plain_scalar(r, text, len, out);
    if (tag && strcmp(tag, YAML_STR_TAG) != 0 && strcmp(tag, "!") != 0)
        return fault(r, MOSA_EUNSUPPORTED, "tag is not supported");
    if (!tag && r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE) return plain_scalar(r, text, len, out);
    *out = json_stringn(text, len);
    return *out ? MOSA_OK : no_memory(r);
}

// --- anchors ------------------------------------------------------------------------------------------------------

static mosa_status read_alias(reader *r, json_t **out) {
    const char *name = (const char *)r->event.data.alias.anchor;
    for (int i = r->n_anchors - 1; i >= 0; i--) {
        const anchor *a = &r->anchors[i];
        if (strcmp(a->name, name) != 0) continue;
        r->n_values += a->n_values;
        if (r->n_values > MOSA_YAML_VALUES_MAX) return fault(r, MOSA_ELIMIT, "too many values");
        *out = json_deep_copy(a->value);
        return *out ? MOSA_OK : no_memory(r);
    }
    return fault(r, MOSA_EINVALID, "alias to an unknown or enclosing anchor");
}

static mosa_status add_anchor(reader *r, const char *name, json_t *value, size_t n_values) {
    if (r->n_anchors == ANCHORS_MAX) return fault(r, MOSA_ELIMIT, "too many anchors");
    char *copy = strdup(name);
    if (!copy) return no_memory(r);
    r->anchors[r->n_anchors++] = (anchor){copy, json_incref(value), n_values};
    return MOSA_OK;
}

// --- nodes --------------------------------------------------------------------------------------------------------

static mosa_status read_sequence(reader *r, json_t *array) {
    for (;;) {
        MOSA_TRY(next_event(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT) return MOSA_OK;
        json_t *item = NULL;
        mosa_status status = read_node(r, &item);
        if (status == MOSA_OK && json_array_append(array, item) != 0) status = no_memory(r);
        json_decref(item);
        if (status != MOSA_OK) return status;
    }
}

static mosa_status read_member(reader *r, json_t *object) {
    if (r->event.type != YAML_SCALAR_EVENT) return fault(r, MOSA_EUNSUPPORTED, "a key must be a plain word or string");
    size_t len = r->event.data.scalar.length;
    MOSA_AUTO_FREE char *key = malloc(len + 1);
    if (!key) return no_memory(r);
    memcpy(key, r->event.data.scalar.value, len + 1);
    if (json_object_getn(object, key, len)) return fault(r, MOSA_EINVALID, "duplicate key");
    MOSA_TRY(next_event(r));
    json_t *value = NULL;
    mosa_status status = read_node(r, &value);
    if (status == MOSA_OK && json_object_setn(object, key, len, value) != 0) status = no_memory(r);
    json_decref(value);
    return status;
}

static mosa_status read_mapping(reader *r, json_t *object) {
    for (;;) {
        MOSA_TRY(next_event(r));
        if (r->event.type == YAML_MAPPING_END_EVENT) return MOSA_OK;
        MOSA_TRY(read_member(r, object));
    }
}

static mosa_status read_collection(reader *r, json_t **out) {
    bool mapping = r->event.type == YAML_MAPPING_START_EVENT;
    const char *tag = (const char *)(mapping ? r->event.data.mapping_start.tag : r->event.data.sequence_start.tag);
    if (tag && strcmp(tag, mapping ? YAML_MAP_TAG : YAML_SEQ_TAG) != 0)
        return fault(r, MOSA_EUNSUPPORTED, "tag is not supported");
    if (r->depth == MOSA_YAML_DEPTH_MAX) return fault(r, MOSA_ELIMIT, "nested too deeply");
    json_t *value = mapping ? json_object() : json_array();
    if (!value) return no_memory(r);
    r->depth++;
    mosa_status status = mapping ? read_mapping(r, value) : read_sequence(r, value);
    r->depth--;
    if (status == MOSA_OK)
        *out = value;
    else
        json_decref(value);
    return status;
}

static const char *anchor_of(const yaml_event_t *event) {
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return (const char *)event->data.scalar.anchor;
    case YAML_SEQUENCE_START_EVENT:
        return (const char *)event->data.sequence_start.anchor;
    case YAML_MAPPING_START_EVENT:
        return (const char *)event->data.mapping_start.anchor;
    default:
        return NULL;
    }
}

// Reads the node that begins with the event at hand; on success the event at hand is its last.
static mosa_status read_node(reader *r, json_t **out) {
    size_t before = r->n_values;
    if (++r->n_values > MOSA_YAML_VALUES_MAX) return fault(r, MOSA_ELIMIT, "too many values");
    if (r->event.type == YAML_ALIAS_EVENT) return read_alias(r, out);
    const char *borrowed = anchor_of(&r->event);
    MOSA_AUTO_FREE char *name = borrowed ? strdup(borrowed) : NULL;
    if (borrowed && !name) return no_memory(r);
    json_t *value = NULL;
    MOSA_TRY(r->event.type == YAML_SCALAR_EVENT ? read_scalar(r, &value) : read_collection(r, &value));
    mosa_status status = name ? add_anchor(r, name, value, r->n_values - before) : MOSA_OK;
    if (status == MOSA_OK)
        *out = value;
    else
        json_decref(value);
    return status;
}

static mosa_status read_stream(reader *r, json_t **out) {
    MOSA_TRY(next_event(r)); // stream start
    MOSA_TRY(next_event(r));
    if (r->event.type == YAML_STREAM_END_EVENT) {
        *out = json_null();
        return MOSA_OK;
    }
    MOSA_TRY(next_event(r)); // after document start
    json_t *value = NULL;
    MOSA_TRY(read_node(r, &value));
    mosa_status status = next_event(r); // document end
    if (status == MOSA_OK) status = next_event(r);
    if (status == MOSA_OK && r->event.type != YAML_STREAM_END_EVENT)
        status = fault(r, MOSA_EUNSUPPORTED, "only one document is supported");
    if (status == MOSA_OK)
        *out = value;
    else
        json_decref(value);
    return status;
}

mosa_status mosa_yaml_parse(mosa_slice text, json_t **out, mosa_error *err) {
    if (text.len > MOSA_YAML_BYTES_MAX)
        return mosa_fail(err, MOSA_ELIMIT, "YAML text has %zu bytes, at most %d are read", text.len,
                         MOSA_YAML_BYTES_MAX);
    reader *r = calloc(1, sizeof *r);
    if (!r || !yaml_parser_initialize(&r->parser)) {
        free(r);
        return mosa_fail(err, MOSA_ENOMEM, "YAML: out of memory");
    }
    r->err = err;
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)(text.data ? text.data : ""), text.len);
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    mosa_status status = read_stream(r, out);
    for (int i = 0; i < r->n_anchors; i++) {
        free(r->anchors[i].name);
        json_decref(r->anchors[i].value);
    }
    if (r->has_event) yaml_event_delete(&r->event);
    yaml_parser_delete(&r->parser);
    free(r);
    return status;
}

mosa_status mosa_yaml_load(const char *path, json_t **out, mosa_error *err) {
    MOSA_AUTO_FREE char *bytes = NULL;
    size_t len;
    MOSA_TRY(mosa_file_read(path, MOSA_YAML_BYTES_MAX, &bytes, &len, err));
    mosa_status status = mosa_yaml_parse((mosa_slice){bytes, len}, out, err);
    if (status != MOSA_OK) mosa_fail_prefix(err, path);
    return status;
}
