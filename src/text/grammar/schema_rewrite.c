// Keywords that mean a choice, rewritten as one: oneOf, not, if, dependent*, literals that are arrays or objects.
//
// Negation pushes "not" one level down: a value violates a schema when it violates one of its keywords. What that
// cannot say exactly is refused by name.
#include "text/grammar/schema_compiler.h"

#include <string.h>

enum { EXCLUSIVE_MAX = 16, DISJOINT_DEPTH = 4 };

static mosa_status negate(schema_compiler *c, uint32_t node, json_t **out);

// {keyword: value}, taking value's reference.
static json_t *one(const char *keyword, json_t *value) {
    json_t *object = json_object();
    if (!object || !value || json_object_set_new(object, keyword, value) != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *with(json_t *object, const char *keyword, json_t *value) {
    if (object && value && json_object_set_new(object, keyword, value) == 0) return object;
    json_decref(object);
    return NULL;
}

static json_t *typed(unsigned types, const char *keyword, json_t *value) {
    json_t *made = one("%types", json_integer(types));
    return keyword ? with(made, keyword, value) : made;
}

// Made schemas inside a made schema are made as well, so that their own keywords are read.
static void keep_all(schema_compiler *c, json_t *list) {
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) schema_keep(c, json_incref(item));
}

static bool is_compound(const json_t *value) {
    return json_is_array(value) || json_is_object(value);
}

// --- negation

static json_t *not_of(json_t *schema) {
    return one("not", json_incref(schema));
}

static mosa_status push(schema_compiler *c, json_t *list, json_t *made) {
    return made && json_array_append_new(list, made) == 0 ? MOSA_OK : schema_memory(c);
}

static mosa_status negate_types(schema_compiler *c, uint32_t node, json_t *list) {
    element_list base = {.items = {{node, ELEMENT_BASE}}, .count = 1};
    unsigned others = TYPE_ALL & ~schema_types(c, &base);
    return others ? push(c, list, typed(others, NULL, NULL)) : MOSA_OK;
}

static mosa_status negate_literals(schema_compiler *c, json_t *values, json_t *list) {
    json_t *all = json_array(), *value;
    size_t i;
    json_array_foreach(values, i, value) {
        json_array_append_new(all, one("%not-const", json_incref(value)));
        if (!is_compound(value)) continue;
        json_decref(all);
        return schema_unsupported(c, "not", "of a literal array or object");
    }
    keep_all(c, all);
    return push(c, list, one("allOf", all));
}

static mosa_status negate_properties(schema_compiler *c, json_t *properties, json_t *list) {
    const char *name;
    json_t *schema;
    json_object_foreach(properties, name, schema) {
        json_t *made = typed(TYPE_OBJECT, "required", json_pack("[s]", name));
        MOSA_TRY(push(c, list, with(made, "properties", one(name, not_of(schema)))));
    }
    return MOSA_OK;
}

static mosa_status negate_required(schema_compiler *c, json_t *names, json_t *list) {
    size_t i;
    json_t *name;
    json_array_foreach(names, i, name)
        MOSA_TRY(push(c, list, typed(TYPE_OBJECT, "properties", one(json_string_value(name), json_false()))));
    return MOSA_OK;
}

static mosa_status negate_bound(schema_compiler *c, const char *keyword, json_t *value, json_t *list) {
    static const struct {
        const char *keyword, *opposite;
        int shift; // of a count
        unsigned type;
    } table[] = {{"minimum", "exclusiveMaximum", 0, TYPE_NUMBER},
                 {"maximum", "exclusiveMinimum", 0, TYPE_NUMBER},
                 {"exclusiveMinimum", "maximum", 0, TYPE_NUMBER},
                 {"exclusiveMaximum", "minimum", 0, TYPE_NUMBER},
                 {"minLength", "maxLength", -1, TYPE_STRING},
                 {"maxLength", "minLength", 1, TYPE_STRING},
                 {"minItems", "maxItems", -1, TYPE_ARRAY},
                 {"maxItems", "minItems", 1, TYPE_ARRAY},
                 {"minProperties", "maxProperties", -1, TYPE_OBJECT},
                 {"maxProperties", "minProperties", 1, TYPE_OBJECT}};
    for (size_t i = 0; i < MOSA_COUNT(table); i++) {
        if (strcmp(table[i].keyword, keyword) != 0) continue;
        if (json_is_boolean(value)) return schema_unsupported(c, "not", "of draft-4 exclusive bounds");
        if (table[i].type == TYPE_NUMBER)
            return push(c, list, typed(TYPE_NUMBER, table[i].opposite, json_incref(value)));
        json_int_t bound = (json_int_t)json_number_value(value) + table[i].shift;
        return bound < 0 ? MOSA_OK : push(c, list, typed(table[i].type, table[i].opposite, json_integer(bound)));
    }
    return mosa_fail(c->err, MOSA_EUNSUPPORTED,
                     "schema: not (or oneOf of alternatives that may overlap) is not "
                     "supported over %s",
                     keyword);
}

static mosa_status negate_keyword(schema_compiler *c, uint32_t node, const char *keyword, json_t *value, json_t *list) {
    static const char *const silent[] = {
        "$defs",           "definitions",  "$schema", "$id",         "$anchor",         "$comment",
        "title",           "description",  "default", "examples",    "deprecated",      "readOnly",
        "writeOnly",       "then",         "else",    "minContains", "additionalItems", "contentMediaType",
        "contentEncoding", "contentSchema"};
    static const char *const known[] = {"minimum",
                                        "maximum",
                                        "exclusiveMinimum",
                                        "exclusiveMaximum",
                                        "minLength",
                                        "maxLength",
                                        "minItems",
                                        "maxItems",
                                        "minProperties",
                                        "maxProperties",
                                        "multipleOf",
                                        "patternProperties",
                                        "additionalProperties",
                                        "propertyNames",
                                        "prefixItems",
                                        "contains",
                                        "uniqueItems",
                                        "format",
                                        "if",
                                        "oneOf",
                                        "dependentRequired",
                                        "dependentSchemas",
                                        "dependencies",
                                        "maxContains"};
    for (size_t i = 0; i < MOSA_COUNT(silent); i++)
        if (strcmp(silent[i], keyword) == 0) return MOSA_OK;
    if (strcmp(keyword, "type") == 0 || strcmp(keyword, "%types") == 0) return negate_types(c, node, list);
    if (strcmp(keyword, "enum") == 0) return negate_literals(c, value, list);
    if (strcmp(keyword, "const") == 0) {
        json_t *only = json_pack("[O]", value);
        mosa_status status = negate_literals(c, only, list);
        json_decref(only);
        return status;
    }
    if (strcmp(keyword, "properties") == 0) return negate_properties(c, value, list);
    if (strcmp(keyword, "required") == 0) return negate_required(c, value, list);
    if (strcmp(keyword, "pattern") == 0) return push(c, list, typed(TYPE_STRING, "%not-pattern", json_incref(value)));
    if (strcmp(keyword, "items") == 0 && (json_is_object(value) || json_is_boolean(value)) &&
        !json_object_get(c->nodes[node].value, "prefixItems"))
        return push(c, list, typed(TYPE_ARRAY, "contains", not_of(value)));
    if (strcmp(keyword, "not") == 0) return push(c, list, json_incref(value));
    if (strcmp(keyword, "$ref") == 0) {
        json_t *target;
        MOSA_TRY(schema_resolve(c, json_string_value(value), &target));
        return push(c, list, not_of(target));
    }
    if (strcmp(keyword, "anyOf") == 0 || strcmp(keyword, "allOf") == 0) {
        json_t *parts = json_array(), *item;
        size_t i;
        json_array_foreach(value, i, item) json_array_append_new(parts, not_of(item));
        return push(c, list, one(keyword[1] == 'n' ? "allOf" : "anyOf", parts));
    }
    for (size_t i = 0; i < MOSA_COUNT(known); i++)
        if (strcmp(known[i], keyword) == 0) return negate_bound(c, keyword, value, list);
    return MOSA_OK; // no keyword of JSON Schema: says nothing
}

static mosa_status negate(schema_compiler *c, uint32_t node, json_t **out) {
    if (c->nodes[node].negation) {
        *out = c->nodes[node].negation;
        return MOSA_OK;
    }
    json_t *schema = c->nodes[node].value, *list, *value;
    if (json_is_boolean(schema)) {
        *out = json_is_true(schema) ? json_false() : json_true();
        return MOSA_OK;
    }
    MOSA_TRY(schema_check(c, node));
    list = json_array();
    json_t *made = schema_keep(c, one("anyOf", list));
    if (!made) return schema_memory(c);
    c->nodes[node].negation = made;
    const char *keyword;
    json_object_foreach(schema, keyword, value) MOSA_TRY(negate_keyword(c, node, keyword, value, list));
    keep_all(c, list);
    if (json_array_size(list) == 0) json_array_append_new(list, json_false());
    *out = made;
    return MOSA_OK;
}

// --- oneOf

static bool disjoint(schema_compiler *c, const element_list *a, const element_list *b, int depth);

static mosa_status single(schema_compiler *c, json_t *schema, element_list *flat) {
    element_list list = {0};
    MOSA_TRY(schema_add(c, &list, ELEMENT_FULL, schema));
    return schema_flatten(c, &list, flat);
}

// The values that a conjunction lists, or NULL.
static json_t *values_of(schema_compiler *c, const element_list *flat) {
    for (size_t i = 0; i < flat->count; i++) {
        if (flat->items[i].kind != ELEMENT_BASE) continue;
        json_t *list = schema_get(c, flat, i, "enum"), *only = schema_get(c, flat, i, "const");
        if (list) return list;
        if (only) return schema_keep(c, json_pack("[O]", only));
    }
    return NULL;
}

static bool lists_are_disjoint(schema_compiler *c, json_t *a, json_t *b) {
    size_t i, k;
    json_t *x, *y;
    if (schema_step(c, (int64_t)json_array_size(a) * (int64_t)json_array_size(b)) != MOSA_OK) return false;
    json_array_foreach(a, i, x) json_array_foreach(b, k, y) {
        bool equal = json_is_number(x) && json_is_number(y) ? json_number_value(x) == json_number_value(y)
                                                            : json_equal(x, y) != 0;
        if (equal) return false;
    }
    return true;
}

static bool requires(schema_compiler *c, const element_list *flat, const char *name) {
    for (size_t i = 0; i < flat->count; i++) {
        json_t *list = flat->items[i].kind == ELEMENT_BASE ? schema_get(c, flat, i, "required") : NULL, *item;
        size_t k;
        if (schema_step(c, (int64_t)json_array_size(list)) != MOSA_OK) return false;
        json_array_foreach(list, k, item) if (strcmp(json_string_value(item), name) == 0) return true;
    }
    return false;
}

// What the conjunction says about a property.
static mosa_status about(schema_compiler *c, const element_list *flat, const char *name, element_list *out) {
    element_list list = {0};
    for (size_t i = 0; i < flat->count; i++) {
        json_t *of = flat->items[i].kind == ELEMENT_BASE ? schema_get(c, flat, i, "properties") : NULL;
        json_t *schema = json_object_get(of, name);
        if (schema) MOSA_TRY(schema_add(c, &list, ELEMENT_FULL, schema));
    }
    return schema_flatten(c, &list, out);
}

// Some property that both demand has values in one which the other refuses.
static bool differ_in_property(schema_compiler *c, const element_list *a, const element_list *b, int depth) {
    for (size_t i = 0; i < a->count; i++) {
        json_t *list = a->items[i].kind == ELEMENT_BASE ? schema_get(c, a, i, "required") : NULL, *item;
        size_t k;
        json_array_foreach(list, k, item) {
            element_list x, y;
            const char *name = json_string_value(item);
            if (!requires(c, b, name)) continue;
            if (about(c, a, name, &x) != MOSA_OK || about(c, b, name, &y) != MOSA_OK) return false;
            if (disjoint(c, &x, &y, depth + 1)) return true;
        }
    }
    return false;
}

// Arrays of which one must have items, and whose items have nothing in common.
static bool differ_in_items(schema_compiler *c, const element_list *a, const element_list *b, int depth) {
    const element_list *both[2] = {a, b};
    element_list items[2], flat[2];
    uint32_t min = 0;
    memset(items, 0, sizeof items);
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < both[k]->count; i++) {
            json_t *schema = schema_get(c, both[k], i, "items");
            if (schema_get(c, both[k], i, "prefixItems") || json_is_array(schema)) return false;
            if (schema && schema_add(c, &items[k], ELEMENT_FULL, schema) != MOSA_OK) return false;
        }
        if (schema_bound(c, both[k], "minItems", true, &min) != MOSA_OK) return false;
        if (schema_flatten(c, &items[k], &flat[k]) != MOSA_OK) return false;
    }
    return min > 0 && disjoint(c, &flat[0], &flat[1], depth + 1);
}

// True only when no value satisfies both; choices inside are not looked into.
static bool disjoint(schema_compiler *c, const element_list *a, const element_list *b, int depth) {
    if (a->never || b->never) return true;
    if (depth > DISJOINT_DEPTH) return false;
    element_list bases_a = {0}, bases_b = {0};
    for (size_t i = 0; i < a->count; i++)
        if (a->items[i].kind == ELEMENT_BASE) bases_a.items[bases_a.count++] = a->items[i];
    for (size_t i = 0; i < b->count; i++)
        if (b->items[i].kind == ELEMENT_BASE) bases_b.items[bases_b.count++] = b->items[i];
    unsigned both = schema_types(c, &bases_a) & schema_types(c, &bases_b);
    if (both == 0) return true;
    json_t *x = values_of(c, &bases_a), *y = values_of(c, &bases_b);
    if (x && y && lists_are_disjoint(c, x, y)) return true;
    if (both == TYPE_ARRAY) return differ_in_items(c, &bases_a, &bases_b, depth);
    return both == TYPE_OBJECT && differ_in_property(c, &bases_a, &bases_b, depth);
}

// Alternative i and none of the others that could hold at the same time.
static mosa_status exclusive(schema_compiler *c, json_t *list, size_t at, const bool *overlaps, json_t **out) {
    json_t *all = json_array(), *item;
    size_t i;
    json_array_foreach(list, i, item) {
        if (i == at)
            json_array_append(all, item);
        else if (overlaps[i])
            json_array_append_new(all, not_of(item));
    }
    *out = one("allOf", all);
    return *out ? MOSA_OK : schema_memory(c);
}

static mosa_status rewrite_one_of(schema_compiler *c, json_t *list, json_t **out) {
    size_t n = json_array_size(list), i, k;
    bool any = false;
    json_t *made = schema_keep(c, json_array()), *x, *y;
    if (!made) return schema_memory(c);
    json_array_foreach(list, i, x) {
        bool overlaps[GOAL_ELEMENTS_MAX] = {false};
        element_list a, b;
        if (n > GOAL_ELEMENTS_MAX) return schema_unsupported(c, "oneOf", "of so many alternatives");
        MOSA_TRY(single(c, x, &a));
        json_array_foreach(list, k, y) {
            if (k == i) continue;
            MOSA_TRY(single(c, y, &b));
            overlaps[k] = !disjoint(c, &a, &b, 0);
            any |= overlaps[k];
        }
        json_t *alternative;
        if (any && n > EXCLUSIVE_MAX) return schema_unsupported(c, "oneOf", "of many alternatives that may overlap");
        MOSA_TRY(exclusive(c, list, i, overlaps, &alternative));
        MOSA_TRY(push(c, made, alternative));
    }
    *out = made;
    return MOSA_OK;
}

// --- conditions

static json_t *rewrite_if(json_t *schema) {
    json_t *condition = json_object_get(schema, "if"), *then = json_object_get(schema, "then"),
           *other = json_object_get(schema, "else");
    json_t *yes = json_pack("[O]", condition), *no = json_pack("[{s:O}]", "not", condition);
    if (then) json_array_append(yes, then);
    if (other) json_array_append(no, other);
    return json_pack("[{s:o},{s:o}]", "allOf", yes, "allOf", no);
}

// Each name: the object lacks it, or has it and what depends on it.
static mosa_status rewrite_dependent(schema_compiler *c, json_t *map, json_t *list) {
    const char *name;
    json_t *needs;
    json_object_foreach(map, name, needs) {
        json_t *absent = schema_keep(c, typed(TYPE_OBJECT, "properties", one(name, json_false())));
        json_t *present = schema_keep(c, typed(TYPE_OBJECT, "required", json_pack("[s]", name)));
        if (!absent || !present) return schema_memory(c);
        if (json_is_array(needs)) {
            size_t i;
            json_t *item;
            json_array_foreach(needs, i, item) {
                if (!json_is_string(item))
                    return mosa_fail(c->err, MOSA_EINVALID, "schema: dependentRequired names no string");
                json_array_append(json_object_get(present, "required"), item);
            }
        } else if (json_is_object(needs) || json_is_boolean(needs))
            json_object_set_new(present, "allOf", json_pack("[O]", needs));
        else
            return mosa_fail(c->err, MOSA_EINVALID, "schema: dependencies has a value that it must not have");
        json_t *choice = json_pack("[O,O,o]", absent, present, typed(TYPE_ALL & ~TYPE_OBJECT, NULL, NULL));
        keep_all(c, choice);
        MOSA_TRY(push(c, list, one("anyOf", choice)));
    }
    return MOSA_OK;
}

// --- literals

// The schema of one value: arrays and objects item by item.
static json_t *exactly(json_t *value) {
    if (json_is_array(value)) {
        json_t *items = json_array(), *item;
        size_t i, n = json_array_size(value);
        json_array_foreach(value, i, item) json_array_append_new(items, exactly(item));
        json_t *made =
            json_pack("{s:s,s:I,s:I}", "type", "array", "minItems", (json_int_t)n, "maxItems", (json_int_t)n);
        if (n == 0) {
            json_decref(items);
            return made;
        }
        return with(made, "prefixItems", items);
    }
    if (json_is_object(value)) {
        json_t *properties = json_object(), *required = json_array(), *item;
        const char *name;
        json_object_foreach(value, name, item) {
            json_object_set_new(properties, name, exactly(item));
            json_array_append_new(required, json_string(name));
        }
        return json_pack("{s:s,s:o,s:o,s:b}", "type", "object", "properties", properties, "required", required,
                         "additionalProperties", 0);
    }
    return one("const", json_incref(value));
}

// An array of alternatives when the list holds arrays or objects, else NULL.
static json_t *rewrite_literals(json_t *values) {
    bool compound = false;
    json_t *value, *list = json_array(), *plain = json_array();
    size_t i;
    json_array_foreach(values, i, value) {
        compound |= is_compound(value);
        if (is_compound(value))
            json_array_append_new(list, exactly(value));
        else
            json_array_append(plain, value);
    }
    if (compound && json_array_size(plain)) json_array_append_new(list, one("enum", json_incref(plain)));
    json_decref(plain);
    if (compound) return list;
    json_decref(list);
    return NULL;
}

// --- all together

// The made value of a slot, made once per schema, so that recursive schemas come back to the same goals.
static mosa_status slot(schema_compiler *c, uint32_t node, int which, json_t *made, element_kind kind,
                        element_list *work) {
    if (!made || !schema_keep(c, made)) return schema_memory(c);
    c->nodes[node].rewritten[which] = made;
    return schema_add(c, work, kind, made);
}

static mosa_status add_dependent(schema_compiler *c, uint32_t node, element_list *work) {
    static const char *const keywords[] = {"dependentRequired", "dependentSchemas", "dependencies"};
    json_t *schema = c->nodes[node].value, *list = NULL;
    if (c->nodes[node].rewritten[SLOT_DEPENDENT])
        return schema_add(c, work, ELEMENT_FULL, c->nodes[node].rewritten[SLOT_DEPENDENT]);
    for (size_t i = 0; i < MOSA_COUNT(keywords); i++) {
        json_t *map = json_object_get(schema, keywords[i]);
        if (!json_is_object(map) || json_object_size(map) == 0) continue;
        if (!list) list = schema_keep(c, json_array());
        if (!list) return schema_memory(c);
        MOSA_TRY(rewrite_dependent(c, map, list));
    }
    return list ? slot(c, node, SLOT_DEPENDENT, one("allOf", json_incref(list)), ELEMENT_FULL, work) : MOSA_OK;
}

static mosa_status add_literals(schema_compiler *c, uint32_t node, element_list *work) {
    json_t *schema = c->nodes[node].value, *values = json_object_get(schema, "enum"),
           *only = json_object_get(schema, "const"), *made = c->nodes[node].rewritten[SLOT_LITERAL];
    if (made) return schema_add(c, work, ELEMENT_ANY, made);
    if (values && (made = rewrite_literals(values))) return slot(c, node, SLOT_LITERAL, made, ELEMENT_ANY, work);
    if (!only || !is_compound(only)) return MOSA_OK;
    return slot(c, node, SLOT_LITERAL, json_pack("[o]", exactly(only)), ELEMENT_ANY, work);
}

mosa_status schema_rewrite(schema_compiler *c, uint32_t node, element_list *work) {
    json_t *schema = c->nodes[node].value, *made;
    json_t *one_of = json_object_get(schema, "oneOf"), *not = json_object_get(schema, "not");
    if (one_of && c->nodes[node].rewritten[SLOT_ONE_OF])
        MOSA_TRY(schema_add(c, work, ELEMENT_ANY, c->nodes[node].rewritten[SLOT_ONE_OF]));
    else if (one_of) {
        c->nodes[node].rewritten[SLOT_ONE_OF] = one_of; // what a recursive alternative sees while it is compared
        MOSA_TRY(rewrite_one_of(c, one_of, &made));
        c->nodes[node].rewritten[SLOT_ONE_OF] = made;
        MOSA_TRY(schema_add(c, work, ELEMENT_ANY, made));
    }
    if (not ) {
        uint32_t inner;
        MOSA_TRY(schema_node_of(c, not, &inner));
        MOSA_TRY(negate(c, inner, &made));
        MOSA_TRY(schema_add(c, work, ELEMENT_FULL, made));
    }
    if (json_object_get(schema, "if") && (json_object_get(schema, "then") || json_object_get(schema, "else"))) {
        if (c->nodes[node].rewritten[SLOT_IF])
            MOSA_TRY(schema_add(c, work, ELEMENT_ANY, c->nodes[node].rewritten[SLOT_IF]));
        else
            MOSA_TRY(slot(c, node, SLOT_IF, rewrite_if(schema), ELEMENT_ANY, work));
    }
    MOSA_TRY(add_dependent(c, node, work));
    return add_literals(c, node, work);
}
