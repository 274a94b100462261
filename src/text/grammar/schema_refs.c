// Which keywords there are, what their values must look like, and where references lead.
#include "text/grammar/schema_compiler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum shape {
    ANY,
    SCHEMA,
    SCHEMAS,
    SCHEMA_MAP,
    STRING,
    STRINGS,
    COUNT,
    NUMBER,
    BOOLEAN,
    ARRAY,
    TYPES,
    REFUSED
} shape;

static const struct {
    const char *keyword;
    shape shape;
    const char *why; // REFUSED
} table[] = {
    {"type", TYPES, ""},
    {"enum", ARRAY, ""},
    {"const", ANY, ""},
    {"$ref", STRING, ""},
    {"$defs", SCHEMA_MAP, ""},
    {"definitions", SCHEMA_MAP, ""},
    {"allOf", SCHEMAS, ""},
    {"anyOf", SCHEMAS, ""},
    {"oneOf", SCHEMAS, ""},
    {"not", SCHEMA, ""},
    {"if", SCHEMA, ""},
    {"then", SCHEMA, ""},
    {"else", SCHEMA, ""},
    {"properties", SCHEMA_MAP, ""},
    {"patternProperties", SCHEMA_MAP, ""},
    {"additionalProperties", SCHEMA, ""},
    {"propertyNames", SCHEMA, ""},
    {"required", STRINGS, ""},
    {"minProperties", COUNT, ""},
    {"maxProperties", COUNT, ""},
    {"dependentRequired", ANY, ""},
    {"dependentSchemas", SCHEMA_MAP, ""},
    {"dependencies", ANY, ""},
    {"prefixItems", SCHEMAS, ""},
    {"items", ANY, ""},
    {"additionalItems", SCHEMA, ""},
    {"contains", SCHEMA, ""},
    {"minContains", COUNT, ""},
    {"maxContains", COUNT, ""},
    {"minItems", COUNT, ""},
    {"maxItems", COUNT, ""},
    {"uniqueItems", BOOLEAN, ""},
    {"minLength", COUNT, ""},
    {"maxLength", COUNT, ""},
    {"pattern", STRING, ""},
    {"format", STRING, ""},
    {"minimum", NUMBER, ""},
    {"maximum", NUMBER, ""},
    {"exclusiveMinimum", ANY, ""},
    {"exclusiveMaximum", ANY, ""},
    {"multipleOf", NUMBER, ""},
    {"unevaluatedProperties", REFUSED, ""},
    {"unevaluatedItems", REFUSED, ""},
    {"$dynamicRef", REFUSED, ""},
    {"$recursiveRef", REFUSED, ""},
};

static bool is_schema(const json_t *value) {
    return json_is_object(value) || json_is_boolean(value);
}

static bool all_are(json_t *list, bool (*is)(const json_t *)) {
    size_t i;
    json_t *item;
    if (!json_is_array(list)) return false;
    json_array_foreach(list, i, item) if (!is(item)) return false;
    return true;
}

static bool is_string(const json_t *value) {
    return json_is_string(value);
}
static bool is_type(const json_t *value) {
    static const char *const names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    for (size_t i = 0; json_is_string(value) && i < MOSA_COUNT(names); i++)
        if (strcmp(json_string_value(value), names[i]) == 0) return true;
    return false;
}

static bool is_schema_map(json_t *value) {
    const char *key;
    json_t *item;
    if (!json_is_object(value)) return false;
    json_object_foreach(value, key, item) if (!is_schema(item)) return false;
    return true;
}

static bool has_shape(json_t *value, shape wanted) {
    switch (wanted) {
    case SCHEMA:
        return is_schema(value);
    case SCHEMAS:
        return all_are(value, is_schema) && json_array_size(value) > 0;
    case SCHEMA_MAP:
        return is_schema_map(value);
    case STRING:
        return json_is_string(value);
    case STRINGS:
        return all_are(value, is_string);
    case COUNT:
        return json_is_number(value) && json_number_value(value) >= 0 &&
               floor(json_number_value(value)) == json_number_value(value);
    case NUMBER:
        return json_is_number(value);
    case BOOLEAN:
        return json_is_boolean(value);
    case ARRAY:
        return json_is_array(value);
    case TYPES:
        return is_type(value) || all_are(value, is_type);
    default:
        return true;
    }
}

// Beyond its shape, what a value says that is not supported.
static mosa_status check_value(schema_compiler *c, json_t *schema, const char *keyword, json_t *value) {
    if (strcmp(keyword, "uniqueItems") == 0 && json_is_true(value)) {
        json_t *max = json_object_get(schema, "maxItems");
        if (!max || json_number_value(max) > 1) return schema_unsupported(c, "uniqueItems", "");
    }
    if (strcmp(keyword, "items") == 0 && !is_schema(value) && !all_are(value, is_schema))
        return mosa_fail(c->err, MOSA_EINVALID, "schema: items is no schema and no array of schemas");
    if (strcmp(keyword, "multipleOf") == 0 && !(json_number_value(value) > 0))
        return mosa_fail(c->err, MOSA_EINVALID, "schema: multipleOf must be greater than 0");
    if (strncmp(keyword, "exclusiveM", 10) == 0 && !json_is_number(value) && !json_is_boolean(value))
        return mosa_fail(c->err, MOSA_EINVALID, "schema: %s must be a number", keyword);
    return MOSA_OK;
}

mosa_status schema_check(schema_compiler *c, uint32_t node) {
    json_t *schema = c->nodes[node].value;
    if (c->nodes[node].checked) return MOSA_OK;
    c->nodes[node].checked = true;
    if (!json_is_object(schema)) return mosa_fail(c->err, MOSA_EINVALID, "schema: a subschema is no object or boolean");
    if (schema != c->root && json_is_string(json_object_get(schema, "$id")))
        return schema_unsupported(c, "$id", "inside a schema");
    const char *dialect = json_string_value(json_object_get(schema, "$schema"));
    if (dialect && !strstr(dialect, "json-schema.org/"))
        return schema_unsupported(c, "$schema", "of another vocabulary");
    for (size_t i = 0; i < MOSA_COUNT(table); i++) {
        json_t *value = json_object_get(schema, table[i].keyword);
        if (!value) continue;
        if (table[i].shape == REFUSED) return schema_unsupported(c, table[i].keyword, table[i].why);
        if (!has_shape(value, table[i].shape))
            return mosa_fail(c->err, MOSA_EINVALID, "schema: %s has a value that it must not have", table[i].keyword);
        MOSA_TRY(check_value(c, schema, table[i].keyword, value));
    }
    return MOSA_OK;
}

// --- references

static int hex(char ch) {
    return ch >= '0' && ch <= '9' ? ch - '0' : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10 : -1;
}

// One step of a JSON pointer: %XX, then ~1 and ~0. The text grows never.
static void decode_step(const char *from, size_t len, char *to) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char ch = from[i];
        if (ch == '%' && i + 2 < len + 0 && hex(from[i + 1]) >= 0 && hex(from[i + 2]) >= 0) {
            ch = (char)(hex(from[i + 1]) << 4 | hex(from[i + 2]));
            i += 2;
        }
        if (ch == '~' && i + 1 < len && (from[i + 1] == '0' || from[i + 1] == '1')) ch = from[++i] == '0' ? '~' : '/';
        to[n++] = ch;
    }
    to[n] = '\0';
}

static mosa_status follow_pointer(schema_compiler *c, const char *ref, const char *pointer, json_t **out) {
    json_t *at = c->root;
    MOSA_AUTO_FREE char *step = malloc(strlen(pointer) + 1);
    if (!step) return schema_memory(c);
    while (*pointer == '/' && at) {
        const char *end = strchr(pointer + 1, '/');
        size_t len = end ? (size_t)(end - pointer - 1) : strlen(pointer + 1);
        decode_step(pointer + 1, len, step);
        char *rest;
        unsigned long index = strtoul(step, &rest, 10);
        at = json_is_array(at) ? (*step && !*rest ? json_array_get(at, index) : NULL) : json_object_get(at, step);
        if (at != c->root && json_is_string(json_object_get(at, "$id")) && end)
            return schema_unsupported(c, "$id", "inside a schema");
        pointer += 1 + len;
    }
    if (!at || *pointer) return mosa_fail(c->err, MOSA_EINVALID, "schema: $ref \"%.100s\" leads nowhere", ref);
    *out = at;
    return MOSA_OK;
}

static json_t *find_anchor(json_t *at, const char *name) {
    const char *key, *anchor = json_string_value(json_object_get(at, "$anchor"));
    const char *dynamic = json_string_value(json_object_get(at, "$dynamicAnchor"));
    json_t *item, *found = NULL;
    size_t i;
    if (dynamic && strcmp(dynamic, name) == 0) return at;
    if (anchor && strcmp(anchor, name) == 0) return at;
    json_object_foreach(at, key, item) {
        if (!found && strcmp(key, "enum") != 0 && strcmp(key, "const") != 0) found = find_anchor(item, name);
    }
    json_array_foreach(at, i, item) if (!found) found = find_anchor(item, name);
    return found;
}

mosa_status schema_resolve(schema_compiler *c, const char *ref, json_t **out) {
    const char *fragment = strchr(ref, '#');
    size_t base = fragment ? (size_t)(fragment - ref) : strlen(ref);
    size_t own = c->root_id ? strcspn(c->root_id, "#") : 0;
    if (base && !(own == base && strncmp(ref, c->root_id, base) == 0))
        return schema_unsupported(c, "$ref", "to another document");
    if (!fragment || !fragment[1])
        *out = c->root;
    else if (fragment[1] == '/')
        MOSA_TRY(follow_pointer(c, ref, fragment + 1, out));
    else if (!(*out = find_anchor(c->root, fragment + 1)))
        return mosa_fail(c->err, MOSA_EINVALID, "schema: $ref \"%.100s\" leads nowhere", ref);
    if (!is_schema(*out)) return mosa_fail(c->err, MOSA_EINVALID, "schema: $ref \"%.100s\" leads to no schema", ref);
    json_t *at = *out;
    for (int i = 0; i < MOSA_GRAMMAR_NESTING_MAX; i++) { // a chain of references alone that never ends
        const char *next = json_string_value(json_object_get(at, "$ref"));
        if (!next || json_object_size(at) > 1 || strcmp(next, "#") != 0) return MOSA_OK;
        at = c->root;
        if (at == *out) return mosa_fail(c->err, MOSA_EINVALID, "schema: $ref \"%.100s\" refers to itself", ref);
    }
    return MOSA_OK;
}
