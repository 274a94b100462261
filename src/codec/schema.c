// Compiling a schema document into nodes and rules, and the entry to a check.
#include "codec/schema.h"

#include "codec/json.h"
#include "codec/schema_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    POINTER_MAX = 512,
    COMPILE_DEPTH_MAX = 256,
    ANCHOR_DEPTH_MAX = 256,
    PATTERN_BYTES_MAX = 4096,
    PATTERN_NEST_MAX = 64,
    MATCH_STEPS_MAX = 200000,
    MATCH_HEAP_KIB_MAX = 4096,
};

typedef struct compiler {
    mosa_schema *schema;
    char pointer[POINTER_MAX]; // place in the document, for messages
    int depth;
    mosa_error *err;
} compiler;

static mosa_status compile_node(compiler *c, const json_t *source, schema_node **out);

// --- faults and places --------------------------------------------------------------------------------------------

static mosa_status wrong(compiler *c, mosa_status status, const char *keyword, const char *what) {
    return mosa_fail(c->err, status, "schema %s/%s: %s", c->pointer, keyword, what);
}

static mosa_status no_memory(compiler *c) {
    return mosa_fail(c->err, MOSA_ENOMEM, "schema: out of memory");
}

// Compiles a subschema found at pointer/name(/member).
static mosa_status compile_at(compiler *c, const json_t *source, const char *name, const char *member,
                              schema_node **out) {
    size_t before = strlen(c->pointer);
    snprintf(c->pointer + before, sizeof c->pointer - before, "/%s%s%s", name, member ? "/" : "", member ? member : "");
    mosa_status status = compile_node(c, source, out);
    c->pointer[before] = '\0';
    return status;
}

// --- references ---------------------------------------------------------------------------------------------------

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

// One token of a JSON pointer in a URI fragment, up to the next '/': undoes %XX, then ~1 and ~0.
static const char *pointer_token(const char *at, char *token, size_t size) {
    size_t used = 0;
    while (*at && *at != '/') {
        char ch = *at++;
        if (ch == '%' && hex_digit(at[0]) >= 0 && hex_digit(at[1]) >= 0) {
            ch = (char)(hex_digit(at[0]) * 16 + hex_digit(at[1]));
            at += 2;
        }
        if (ch == '~' && (*at == '0' || *at == '1')) ch = *at++ == '0' ? '~' : '/';
        if (used + 1 < size) token[used++] = ch;
    }
    token[used] = '\0';
    return at;
}

static const json_t *follow_pointer(const json_t *at, const char *pointer) {
    while (at && *pointer == '/') {
        char token[256];
        int64_t index;
        pointer = pointer_token(pointer + 1, token, sizeof token);
        if (json_is_array(at))
            at = mosa_parse_i64(token, &index) && index >= 0 ? json_array_get(at, (size_t)index) : NULL;
        else
            at = json_object_get(at, token);
    }
    return *pointer ? NULL : at;
}

static const json_t *find_anchor(json_t *at, const char *name, int depth) {
    if (depth == ANCHOR_DEPTH_MAX) return NULL;
    const char *key;
    json_t *member;
    const json_t *found = NULL;
    static const char *const keywords[] = {"$anchor", "$dynamicAnchor"};
    for (size_t i = 0; i < MOSA_COUNT(keywords); i++) {
        const char *anchor = json_string_value(json_object_get(at, keywords[i]));
        if (anchor && strcmp(anchor, name) == 0) return at;
    }
    json_object_foreach(at, key, member) {
        if (!found) found = find_anchor(member, name, depth + 1);
    }
    for (size_t i = 0; !found && i < json_array_size(at); i++)
        found = find_anchor(json_array_get(at, i), name, depth + 1);
    return found;
}

static mosa_status compile_ref(compiler *c, schema_rule *rule) {
    const char *text = json_string_value(rule->operand);
    json_t *document = c->schema->document;
    if (!text) return wrong(c, MOSA_EINVALID, "$ref", "must be a string");
    // A reference to the document by its own name is a local one.
    const char *id = json_string_value(json_object_get(document, "$id"));
    size_t id_len = id ? strcspn(id, "#") : 0;
    if (id_len && strncmp(text, id, id_len) == 0 && (text[id_len] == '#' || !text[id_len])) text += id_len;
    if (*text && *text != '#') return wrong(c, MOSA_EUNSUPPORTED, "$ref", "only references within the schema (#...)");
    const char *fragment = *text ? text + 1 : text;
    const json_t *target = !*fragment         ? document
                           : *fragment == '/' ? follow_pointer(document, fragment)
                                              : find_anchor(document, fragment, 0);
    if (!target) return wrong(c, MOSA_EINVALID, "$ref", "points to nothing");
    return compile_at(c, target, "$ref", NULL, &rule->nodes[0]);
}

// --- operands -----------------------------------------------------------------------------------------------------

static mosa_status compile_pattern(compiler *c, const char *keyword, const char *text, size_t len, pcre2_code **out) {
    mosa_schema *s = c->schema;
    if (len > PATTERN_BYTES_MAX) return wrong(c, MOSA_ELIMIT, keyword, "pattern is too long");
    if (s->n_patterns == s->patterns_capacity) {
        size_t capacity = s->patterns_capacity ? 2 * s->patterns_capacity : 8;
        pcre2_code **larger = realloc(s->patterns, capacity * sizeof *larger);
        if (!larger) return no_memory(c);
        s->patterns = larger;
        s->patterns_capacity = capacity;
    }
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) return no_memory(c);
    pcre2_set_parens_nest_limit(context, PATTERN_NEST_MAX);
    pcre2_set_compile_extra_options(context, PCRE2_EXTRA_ALT_BSUX);
    int code;
    PCRE2_SIZE offset;
    uint32_t flags = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_BSUX | PCRE2_NEVER_BACKSLASH_C;
    pcre2_code *pattern = pcre2_compile((PCRE2_SPTR)text, len, flags, &code, &offset, context);
    pcre2_compile_context_free(context);
    if (!pattern) {
        char reason[128], what[200];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
        snprintf(what, sizeof what, "bad pattern at offset %zu: %s", (size_t)offset, reason);
        // A property that newer Unicode or ECMAScript knows by another name is no fault of the schema.
        bool unknown = code == PCRE2_ERROR_UNKNOWN_UNICODE_PROPERTY;
        return wrong(c, unknown ? MOSA_EUNSUPPORTED : MOSA_EINVALID, keyword, what);
    }
    *out = s->patterns[s->n_patterns++] = pattern;
    return MOSA_OK;
}

static mosa_status allocate(compiler *c, schema_rule *rule, size_t count) {
    rule->count = count;
    rule->nodes = MOSA_ARENA_ARRAY(&c->schema->arena, schema_node *, count);
    rule->names = MOSA_ARENA_ARRAY(&c->schema->arena, const char *, count);
    rule->patterns = MOSA_ARENA_ARRAY(&c->schema->arena, pcre2_code *, count);
    return rule->nodes && rule->names && rule->patterns ? MOSA_OK : no_memory(c);
}

static mosa_status compile_list(compiler *c, schema_rule *rule) {
    const char *name = rule->keyword->name;
    size_t count = json_array_size(rule->operand);
    if (count == 0) return wrong(c, MOSA_EINVALID, name, "must be a non-empty array of schemas");
    MOSA_TRY(allocate(c, rule, count));
    for (size_t i = 0; i < count; i++) {
        char index[24];
        snprintf(index, sizeof index, "%zu", i);
        MOSA_TRY(compile_at(c, json_array_get(rule->operand, i), name, index, &rule->nodes[i]));
    }
    return MOSA_OK;
}

static mosa_status compile_map(compiler *c, schema_rule *rule) {
    const char *name = rule->keyword->name, *key;
    json_t *member;
    size_t i = 0;
    if (!json_is_object(rule->operand)) return wrong(c, MOSA_EINVALID, name, "must be an object of schemas");
    MOSA_TRY(allocate(c, rule, json_object_size(rule->operand)));
    json_object_foreach((json_t *)rule->operand, key, member) {
        rule->names[i] = key;
        if (rule->keyword->operand == OPERAND_PATTERN_MAP)
            MOSA_TRY(compile_pattern(c, name, key, strlen(key), &rule->patterns[i]));
        MOSA_TRY(compile_at(c, member, name, key, &rule->nodes[i]));
        i++;
    }
    return MOSA_OK;
}

static mosa_status compile_condition(compiler *c, schema_rule *rule) {
    static const char *const names[] = {"if", "then", "else"};
    MOSA_TRY(allocate(c, rule, 3));
    for (int i = 0; i < 3; i++) {
        const json_t *branch = json_object_get(rule->owner->source, names[i]);
        if (branch) MOSA_TRY(compile_at(c, branch, names[i], NULL, &rule->nodes[i]));
    }
    return MOSA_OK;
}

static unsigned type_bit(const json_t *name) {
    static const struct {
        const char *name;
        unsigned bits;
    } types[] = {{"object", TYPE_OBJECT},   {"array", TYPE_ARRAY},  {"string", TYPE_STRING}, {"number", TYPE_NUMBER},
                 {"integer", TYPE_INTEGER}, {"boolean", TYPE_BOOL}, {"null", TYPE_NULL}};
    const char *text = json_string_value(name);
    for (size_t i = 0; text && i < MOSA_COUNT(types); i++)
        if (strcmp(text, types[i].name) == 0) return types[i].bits;
    return 0;
}

static mosa_status compile_types(compiler *c, schema_rule *rule) {
    size_t count = json_array_size(rule->operand);
    rule->types = type_bit(rule->operand);
    for (size_t i = 0; i < count; i++) {
        unsigned bits = type_bit(json_array_get(rule->operand, i));
        if (!bits) return wrong(c, MOSA_EINVALID, "type", "names no type");
        rule->types |= bits;
    }
    return rule->types ? MOSA_OK : wrong(c, MOSA_EINVALID, "type", "names no type");
}

static bool all_strings(const json_t *array) {
    for (size_t i = 0; i < json_array_size(array); i++)
        if (!json_is_string(json_array_get(array, i))) return false;
    return json_is_array(array);
}

static bool plain_operand_ok(schema_rule *rule) {
    const json_t *operand = rule->operand;
    const char *key;
    json_t *member;
    switch (rule->keyword->operand) {
    case OPERAND_BOOL:
        return json_is_boolean(operand);
    case OPERAND_VALUES:
        return json_is_array(operand);
    case OPERAND_STRINGS:
        return all_strings(operand);
    case OPERAND_STRINGS_MAP:
        json_object_foreach((json_t *)operand, key, member) {
            if (!all_strings(member)) return false;
        }
        return json_is_object(operand);
    case OPERAND_NUMBER:
        rule->number = json_number_value(operand);
        return json_is_number(operand);
    case OPERAND_COUNT:
        rule->number = json_number_value(operand);
        return json_is_number(operand) && rule->number >= 0 && rule->number == floor(rule->number);
    default:
        return true;
    }
}

static mosa_status compile_rule(compiler *c, schema_rule *rule) {
    const char *name = rule->keyword->name;
    switch (rule->keyword->operand) {
    case OPERAND_TYPES:
        return compile_types(c, rule);
    case OPERAND_SCHEMAS:
        return compile_list(c, rule);
    case OPERAND_SCHEMA_MAP:
    case OPERAND_PATTERN_MAP:
        return compile_map(c, rule);
    case OPERAND_CONDITION:
        return compile_condition(c, rule);
    case OPERAND_REF:
        MOSA_TRY(allocate(c, rule, 1));
        return compile_ref(c, rule);
    case OPERAND_SCHEMA:
        MOSA_TRY(allocate(c, rule, 1));
        return compile_at(c, rule->operand, name, NULL, &rule->nodes[0]);
    case OPERAND_PATTERN:
        if (!json_is_string(rule->operand)) return wrong(c, MOSA_EINVALID, name, "must be a string");
        MOSA_TRY(allocate(c, rule, 1));
        return compile_pattern(c, name, json_string_value(rule->operand), json_string_length(rule->operand),
                               &rule->patterns[0]);
    default:
        return plain_operand_ok(rule) ? MOSA_OK : wrong(c, MOSA_EINVALID, name, "has an operand of the wrong type");
    }
}

// --- nodes --------------------------------------------------------------------------------------------------------

static bool is_annotation(const char *name) {
    static const char *const names[] = {
        "title",    "description",     "default",          "examples",     "$comment", "deprecated",
        "readOnly", "writeOnly",       "format",           "$schema",      "$defs",    "definitions",
        "$anchor",  "contentEncoding", "contentMediaType", "contentSchema"};
    for (size_t i = 0; i < MOSA_COUNT(names); i++)
        if (strcmp(name, names[i]) == 0) return true;
    return strncmp(name, "x-", 2) == 0;
}

static bool is_keyword(const char *name) {
    for (const schema_keyword *k = mosa_schema_keywords; k->name; k++)
        if (strcmp(name, k->name) == 0) return true;
    return false;
}

// Other vocabularies than the standard ones may give keywords another meaning.
static bool is_standard(const json_t *uri) {
    const char *text = json_string_value(uri);
    return text &&
           (strncmp(text, "https://json-schema.org/", 24) == 0 || strncmp(text, "http://json-schema.org/", 23) == 0);
}

// Every member is a keyword, an annotation, or the document's own $id.
static mosa_status check_members(compiler *c, const json_t *source, int *n_rules) {
    const char *name;
    json_t *operand;
    const json_t *dialect = json_object_get(source, "$schema");
    if (dialect && !is_standard(dialect)) return wrong(c, MOSA_EUNSUPPORTED, "$schema", "is not a known dialect");
    *n_rules = 0;
    json_object_foreach((json_t *)source, name, operand) {
        if (is_keyword(name))
            ++*n_rules;
        else if (!is_annotation(name) && !(strcmp(name, "$id") == 0 && source == c->schema->document))
            return wrong(c, MOSA_EUNSUPPORTED, name, "keyword is not supported");
    }
    return MOSA_OK;
}

static schema_node **bucket_of(mosa_schema *schema, const json_t *source) {
    return &schema->buckets[mosa_hash_bytes(&source, sizeof source, 0) % SCHEMA_BUCKETS];
}

static mosa_status compile_rules(compiler *c, schema_node *node) {
    int n_rules;
    MOSA_TRY(check_members(c, node->source, &n_rules));
    node->rules = MOSA_ARENA_ARRAY(&c->schema->arena, schema_rule, (size_t)n_rules);
    if (!node->rules) return no_memory(c);
    for (const schema_keyword *k = mosa_schema_keywords; k->name; k++) {
        const json_t *operand = json_object_get(node->source, k->name);
        if (!operand) continue;
        schema_rule *rule = &node->rules[node->n_rules++];
        *rule = (schema_rule){.keyword = k, .operand = operand, .owner = node};
        MOSA_TRY(compile_rule(c, rule));
    }
    return MOSA_OK;
}

static mosa_status compile_node(compiler *c, const json_t *source, schema_node **out) {
    mosa_schema *s = c->schema;
    schema_node **bucket = bucket_of(s, source);
    for (schema_node *node = *bucket; node; node = node->next) {
        // jansson's true and false are singletons, which is what we want here.
        if (node->source != source) continue;
        *out = node;
        return MOSA_OK;
    }
    if (!json_is_object(source) && !json_is_boolean(source))
        return mosa_fail(c->err, MOSA_EINVALID, "schema %s: must be an object or a boolean", c->pointer);
    if (++s->n_nodes > MOSA_SCHEMA_NODES_MAX || c->depth == COMPILE_DEPTH_MAX)
        return mosa_fail(c->err, MOSA_ELIMIT, "schema %s: too many subschemas", c->pointer);
    schema_node *node = MOSA_ARENA_NEW(&s->arena, schema_node);
    if (!node) return no_memory(c);
    *node = (schema_node){.source = source, .next = *bucket};
    *bucket = node;
    c->depth++;
    mosa_status status = json_is_object(source) ? compile_rules(c, node) : MOSA_OK;
    c->depth--;
    if (status == MOSA_OK) *out = node;
    return status;
}

// --- public -------------------------------------------------------------------------------------------------------

static mosa_status schema_init(mosa_schema *schema, json_t *document, mosa_error *err) {
    mosa_arena_init(&schema->arena, 0, 0);
    schema->document = json_incref(document);
    schema->match = pcre2_match_context_create(NULL);
    if (!schema->match) return mosa_fail(err, MOSA_ENOMEM, "schema: out of memory");
    pcre2_set_match_limit(schema->match, MATCH_STEPS_MAX);
    pcre2_set_heap_limit(schema->match, MATCH_HEAP_KIB_MAX);
    compiler c = {.schema = schema, .pointer = "#", .err = err};
    return compile_node(&c, document, &schema->root);
}

mosa_status mosa_schema_compile(json_t *document, mosa_schema **out, mosa_error *err) {
    mosa_schema *schema = calloc(1, sizeof *schema);
    if (!schema) return mosa_fail(err, MOSA_ENOMEM, "schema: out of memory");
    mosa_status status = schema_init(schema, document, err);
    if (status == MOSA_OK)
        *out = schema;
    else
        mosa_schema_destroy(schema);
    return status;
}

mosa_status mosa_schema_compile_text(const char *text, mosa_schema **out, mosa_error *err) {
    MOSA_AUTO_JSON json_t *document = NULL;
    MOSA_TRY(mosa_json_parse(mosa_slice_of(text), NULL, &document, err));
    return mosa_schema_compile(document, out, err);
}

void mosa_schema_destroy(mosa_schema *schema) {
    if (!schema) return;
    for (size_t i = 0; i < schema->n_patterns; i++) pcre2_code_free(schema->patterns[i]);
    free(schema->patterns);
    pcre2_match_context_free(schema->match);
    json_decref(schema->document);
    mosa_arena_finish(&schema->arena);
    free(schema);
}

mosa_status mosa_schema_check(const mosa_schema *schema, const json_t *value, char path[MOSA_SCHEMA_PATH_MAX],
                              mosa_error *err) {
    char own_path[MOSA_SCHEMA_PATH_MAX] = "";
    schema_check c = {.schema = schema, .path = path ? path : own_path, .err = err};
    if (path) path[0] = '\0';
    if (mosa_schema_visit(&c, schema->root, value, NULL)) return MOSA_OK;
    if (c.exhausted) return mosa_fail(err, MOSA_ELIMIT, "the value is too large or too deep to be checked");
    return MOSA_EINVALID;
}
