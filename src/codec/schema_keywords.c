// The table of keywords, and the check of each. Meaning: JSON Schema Core and Validation, draft 2020-12.
#include "codec/config.h"
#include "codec/json.h"
#include "codec/schema_internal.h"

#include <math.h>

enum { SHOWN_VALUE_MAX = 80 };

// --- values -------------------------------------------------------------------------------------------------------

// Equality of the specification: 1 and 1.0 are equal, true and 1 are not.
static bool values_equal(schema_check *c, const json_t *a, const json_t *b) {
    if (!mosa_schema_spend(c, 1)) return false;
    if (json_is_number(a) && json_is_number(b)) {
        if (json_is_integer(a) && json_is_integer(b)) return json_integer_value(a) == json_integer_value(b);
        return json_number_value(a) == json_number_value(b);
    }
    if (json_typeof(a) != json_typeof(b)) return false;
    if (json_is_array(a)) {
        size_t count = json_array_size(a);
        if (count != json_array_size(b)) return false;
        for (size_t i = 0; i < count; i++)
            if (!values_equal(c, json_array_get(a, i), json_array_get(b, i))) return false;
        return true;
    }
    if (!json_is_object(a)) return json_equal(a, b);
    if (json_object_size(a) != json_object_size(b)) return false;
    json_t *walk = (json_t *)a;
    for (void *at = json_object_iter(walk); at; at = json_object_iter_next(walk, at)) {
        const json_t *other = json_object_getn(b, json_object_iter_key(at), json_object_iter_key_len(at));
        if (!other || !values_equal(c, json_object_iter_value(at), other)) return false;
    }
    return true;
}

static void show_value(const json_t *value, mosa_buf *out) {
    mosa_json_append(out, value);
    if (out->len > SHOWN_VALUE_MAX) {
        mosa_buf_clear(out);
        mosa_buf_append_str(out, mosa_json_type_name(value));
    }
}

static bool check_type(schema_check *c, const schema_rule *rule, const json_t *value) {
    if (rule->types & (1u << json_typeof(value))) return true;
    double number = json_number_value(value);
    if (json_is_real(value) && (rule->types & TYPE_INTEGER) && number == floor(number)) return true;
    if (c->quiet) return mosa_schema_fault(c, NULL, false, "type");
    mosa_buf wanted = {0};
    mosa_schema_type_text(rule->types, &wanted);
    mosa_schema_fault(c, NULL, false, "must be %s, not %s", mosa_buf_str(&wanted), mosa_json_type_name(value));
    mosa_buf_finish(&wanted);
    return false;
}

static bool check_const(schema_check *c, const schema_rule *rule, const json_t *value) {
    if (values_equal(c, rule->operand, value)) return true;
    if (c->quiet) return mosa_schema_fault(c, NULL, true, "const");
    mosa_buf wanted = {0};
    show_value(rule->operand, &wanted);
    mosa_schema_fault(c, NULL, true, "must be %s", mosa_buf_str(&wanted));
    mosa_buf_finish(&wanted);
    return false;
}

static bool check_enum(schema_check *c, const schema_rule *rule, const json_t *value) {
    size_t count = json_array_size(rule->operand);
    for (size_t i = 0; i < count; i++)
        if (values_equal(c, json_array_get(rule->operand, i), value)) return true;
    if (c->quiet) return mosa_schema_fault(c, NULL, true, "enum");
    mosa_buf wanted = {0};
    for (size_t i = 0; i < count && wanted.len < SHOWN_VALUE_MAX; i++) {
        if (i) mosa_buf_append_str(&wanted, ", ");
        mosa_json_append(&wanted, json_array_get(rule->operand, i));
    }
    mosa_schema_fault(c, NULL, true, "must be one of %s", mosa_buf_str(&wanted));
    mosa_buf_finish(&wanted);
    return false;
}

// --- numbers ------------------------------------------------------------------------------------------------------

static bool check_minimum(schema_check *c, const schema_rule *rule, const json_t *value) {
    return json_number_value(value) >= rule->number ||
           mosa_schema_fault(c, NULL, false, "must be at least %.15g", rule->number);
}

static bool check_maximum(schema_check *c, const schema_rule *rule, const json_t *value) {
    return json_number_value(value) <= rule->number ||
           mosa_schema_fault(c, NULL, false, "must be at most %.15g", rule->number);
}

static bool check_above(schema_check *c, const schema_rule *rule, const json_t *value) {
    return json_number_value(value) > rule->number ||
           mosa_schema_fault(c, NULL, false, "must be greater than %.15g", rule->number);
}

static bool check_below(schema_check *c, const schema_rule *rule, const json_t *value) {
    return json_number_value(value) < rule->number ||
           mosa_schema_fault(c, NULL, false, "must be less than %.15g", rule->number);
}

static bool check_multiple(schema_check *c, const schema_rule *rule, const json_t *value) {
    // Decimal fractions are not exact in binary: 0.0075 is a multiple of 0.0001 all the same.
    double quotient = json_number_value(value) / rule->number;
    double rest = fabs(quotient - round(quotient)), slack = 1e-9 * fmax(1, fabs(quotient) * 1e-6);
    return (isfinite(quotient) && rest <= slack) ||
           mosa_schema_fault(c, NULL, false, "must be a multiple of %.15g", rule->number);
}

// --- strings ------------------------------------------------------------------------------------------------------

static double length_of(const json_t *value) {
    const char *text = json_string_value(value);
    size_t count = 0;
    for (size_t i = 0, len = json_string_length(value); i < len; i++) count += (text[i] & 0xc0) != 0x80;
    return (double)count;
}

static bool check_min_length(schema_check *c, const schema_rule *rule, const json_t *value) {
    return length_of(value) >= rule->number ||
           mosa_schema_fault(c, NULL, false, "must have at least %.0f characters", rule->number);
}

static bool check_max_length(schema_check *c, const schema_rule *rule, const json_t *value) {
    return length_of(value) <= rule->number ||
           mosa_schema_fault(c, NULL, false, "must have at most %.0f characters", rule->number);
}

static bool check_pattern(schema_check *c, const schema_rule *rule, const json_t *value) {
    int found = mosa_schema_match(c, rule->patterns[0], json_string_value(value), json_string_length(value));
    if (found) return found > 0;
    return mosa_schema_fault(c, NULL, false, "must match the pattern %.100s", json_string_value(rule->operand));
}

// --- arrays -------------------------------------------------------------------------------------------------------

static bool check_min_items(schema_check *c, const schema_rule *rule, const json_t *value) {
    return (double)json_array_size(value) >= rule->number ||
           mosa_schema_fault(c, NULL, false, "must have at least %.0f items", rule->number);
}

static bool check_max_items(schema_check *c, const schema_rule *rule, const json_t *value) {
    return (double)json_array_size(value) <= rule->number ||
           mosa_schema_fault(c, NULL, false, "must have at most %.0f items", rule->number);
}

static bool check_unique(schema_check *c, const schema_rule *rule, const json_t *value) {
    if (!json_is_true(rule->operand)) return true;
    size_t count = json_array_size(value);
    for (size_t i = 1; i < count; i++)
        for (size_t j = 0; j < i && !c->exhausted; j++)
            if (values_equal(c, json_array_get(value, i), json_array_get(value, j)))
                return mosa_schema_fault(c, NULL, false, "must not repeat items (%zu and %zu are equal)", j, i);
    return !c->exhausted;
}

static bool visit_item(schema_check *c, const schema_node *node, const json_t *array, size_t i) {
    schema_step step = {.outer = c->at, .index = i};
    return mosa_schema_visit(c, node, json_array_get(array, i), &step);
}

static bool check_prefix_items(schema_check *c, const schema_rule *rule, const json_t *value) {
    for (size_t i = 0; i < rule->count && i < json_array_size(value); i++)
        if (!visit_item(c, rule->nodes[i], value, i)) return false;
    return true;
}

static bool check_items(schema_check *c, const schema_rule *rule, const json_t *value) {
    const schema_rule *prefix = mosa_schema_sibling(rule, "prefixItems");
    for (size_t i = prefix ? prefix->count : 0; i < json_array_size(value); i++)
        if (!visit_item(c, rule->nodes[0], value, i)) return false;
    return true;
}

static bool check_contains(schema_check *c, const schema_rule *rule, const json_t *value) {
    const schema_rule *min = mosa_schema_sibling(rule, "minContains"), *max = mosa_schema_sibling(rule, "maxContains");
    double n_found = 0;
    for (size_t i = 0; i < json_array_size(value); i++)
        n_found += mosa_schema_holds(c, rule->nodes[0], json_array_get(value, i));
    if (c->exhausted) return false;
    if (n_found < (min ? min->number : 1)) return mosa_schema_fault(c, NULL, false, "lacks a required item");
    return !max || n_found <= max->number || mosa_schema_fault(c, NULL, false, "has too many items of a kind");
}

// --- objects ------------------------------------------------------------------------------------------------------

static bool check_min_properties(schema_check *c, const schema_rule *rule, const json_t *value) {
    return (double)json_object_size(value) >= rule->number ||
           mosa_schema_fault(c, NULL, false, "must have at least %.0f fields", rule->number);
}

static bool check_max_properties(schema_check *c, const schema_rule *rule, const json_t *value) {
    return (double)json_object_size(value) <= rule->number ||
           mosa_schema_fault(c, NULL, false, "must have at most %.0f fields", rule->number);
}

static bool require_all(schema_check *c, const json_t *names, const json_t *value) {
    for (size_t i = 0; i < json_array_size(names); i++) {
        const json_t *name = json_array_get(names, i);
        if (!json_object_getn(value, json_string_value(name), json_string_length(name)))
            return mosa_schema_fault(c, json_string_value(name), false, "is required");
    }
    return true;
}

static bool check_required(schema_check *c, const schema_rule *rule, const json_t *value) {
    return require_all(c, rule->operand, value);
}

static bool check_dependent_required(schema_check *c, const schema_rule *rule, const json_t *value) {
    const char *name;
    json_t *needed;
    json_object_foreach((json_t *)rule->operand, name, needed) {
        if (json_object_get(value, name) && !require_all(c, needed, value)) return false;
    }
    return true;
}

static bool check_dependent_schemas(schema_check *c, const schema_rule *rule, const json_t *value) {
    for (size_t i = 0; i < rule->count; i++)
        if (json_object_get(value, rule->names[i]) && !mosa_schema_visit(c, rule->nodes[i], value, NULL)) return false;
    return true;
}

static bool visit_member(schema_check *c, const schema_node *node, const json_t *member, const char *key) {
    schema_step step = {.outer = c->at, .key = key};
    return mosa_schema_visit(c, node, member, &step);
}

static bool check_properties(schema_check *c, const schema_rule *rule, const json_t *value) {
    for (size_t i = 0; i < rule->count; i++) {
        const json_t *member = json_object_get(value, rule->names[i]);
        if (member && !visit_member(c, rule->nodes[i], member, rule->names[i])) return false;
    }
    return true;
}

static bool check_pattern_properties(schema_check *c, const schema_rule *rule, const json_t *value) {
    json_t *walk = (json_t *)value;
    for (void *at = json_object_iter(walk); at; at = json_object_iter_next(walk, at)) {
        const char *key = json_object_iter_key(at);
        for (size_t i = 0; i < rule->count; i++) {
            int found = mosa_schema_match(c, rule->patterns[i], key, json_object_iter_key_len(at));
            if (found < 0) return false;
            if (found && !visit_member(c, rule->nodes[i], json_object_iter_value(at), key)) return false;
        }
    }
    return true;
}

static bool check_property_names(schema_check *c, const schema_rule *rule, const json_t *value) {
    json_t *walk = (json_t *)value;
    for (void *at = json_object_iter(walk); at; at = json_object_iter_next(walk, at)) {
        json_t *name = json_stringn(json_object_iter_key(at), json_object_iter_key_len(at));
        bool ok = name && visit_member(c, rule->nodes[0], name, json_object_iter_key(at));
        json_decref(name);
        if (!ok) return false;
    }
    return true;
}

// Whether "properties" or "patternProperties" of the same schema speak about a member.
static bool is_described(schema_check *c, const schema_rule *properties, const schema_rule *patterns, const char *key,
                         size_t len) {
    if (properties && json_object_getn(properties->operand, key, len)) return true;
    for (size_t i = 0; patterns && i < patterns->count; i++)
        if (mosa_schema_match(c, patterns->patterns[i], key, len) > 0) return true;
    return false;
}

static bool unknown_member(schema_check *c, const schema_rule *properties, const char *key) {
    mosa_schema_fault(c, key, false, "is not a known field");
    const char *nearest = !c->quiet && properties ? mosa_nearest_word(key, properties->names, properties->count) : NULL;
    if (nearest) mosa_hint(c->err, "did you mean '%s'?", nearest);
    return false;
}

static bool check_additional(schema_check *c, const schema_rule *rule, const json_t *value) {
    const schema_rule *properties = mosa_schema_sibling(rule, "properties");
    const schema_rule *patterns = mosa_schema_sibling(rule, "patternProperties");
    json_t *walk = (json_t *)value;
    for (void *at = json_object_iter(walk); at; at = json_object_iter_next(walk, at)) {
        const char *key = json_object_iter_key(at);
        if (is_described(c, properties, patterns, key, json_object_iter_key_len(at))) continue;
        if (c->exhausted) return false;
        if (json_is_false(rule->operand)) return unknown_member(c, properties, key);
        if (!visit_member(c, rule->nodes[0], json_object_iter_value(at), key)) return false;
    }
    return !c->exhausted;
}

// --- references and lists -----------------------------------------------------------------------------------------

static bool check_ref(schema_check *c, const schema_rule *rule, const json_t *value) {
    return mosa_schema_visit(c, rule->nodes[0], value, NULL);
}

static bool check_all_of(schema_check *c, const schema_rule *rule, const json_t *value) {
    for (size_t i = 0; i < rule->count; i++)
        if (!mosa_schema_visit(c, rule->nodes[i], value, NULL)) return false;
    return true;
}

const schema_keyword mosa_schema_keywords[] = {
    {"type", OPERAND_TYPES, TYPE_ANY, check_type},
    {"const", OPERAND_ANY, TYPE_ANY, check_const},
    {"enum", OPERAND_VALUES, TYPE_ANY, check_enum},
    {"minimum", OPERAND_NUMBER, TYPE_NUMBER, check_minimum},
    {"maximum", OPERAND_NUMBER, TYPE_NUMBER, check_maximum},
    {"exclusiveMinimum", OPERAND_NUMBER, TYPE_NUMBER, check_above},
    {"exclusiveMaximum", OPERAND_NUMBER, TYPE_NUMBER, check_below},
    {"multipleOf", OPERAND_NUMBER, TYPE_NUMBER, check_multiple},
    {"minLength", OPERAND_COUNT, TYPE_STRING, check_min_length},
    {"maxLength", OPERAND_COUNT, TYPE_STRING, check_max_length},
    {"pattern", OPERAND_PATTERN, TYPE_STRING, check_pattern},
    {"minItems", OPERAND_COUNT, TYPE_ARRAY, check_min_items},
    {"maxItems", OPERAND_COUNT, TYPE_ARRAY, check_max_items},
    {"uniqueItems", OPERAND_BOOL, TYPE_ARRAY, check_unique},
    {"minProperties", OPERAND_COUNT, TYPE_OBJECT, check_min_properties},
    {"maxProperties", OPERAND_COUNT, TYPE_OBJECT, check_max_properties},
    {"required", OPERAND_STRINGS, TYPE_OBJECT, check_required},
    {"dependentRequired", OPERAND_STRINGS_MAP, TYPE_OBJECT, check_dependent_required},
    {"properties", OPERAND_SCHEMA_MAP, TYPE_OBJECT, check_properties},
    {"patternProperties", OPERAND_PATTERN_MAP, TYPE_OBJECT, check_pattern_properties},
    {"additionalProperties", OPERAND_SCHEMA, TYPE_OBJECT, check_additional},
    {"propertyNames", OPERAND_SCHEMA, TYPE_OBJECT, check_property_names},
    {"dependentSchemas", OPERAND_SCHEMA_MAP, TYPE_OBJECT, check_dependent_schemas},
    {"prefixItems", OPERAND_SCHEMAS, TYPE_ARRAY, check_prefix_items},
    {"items", OPERAND_SCHEMA, TYPE_ARRAY, check_items},
    {"contains", OPERAND_SCHEMA, TYPE_ARRAY, check_contains},
    {"minContains", OPERAND_COUNT, TYPE_ARRAY, NULL},
    {"maxContains", OPERAND_COUNT, TYPE_ARRAY, NULL},
    {"$ref", OPERAND_REF, TYPE_ANY, check_ref},
    {"allOf", OPERAND_SCHEMAS, TYPE_ANY, check_all_of},
    {"anyOf", OPERAND_SCHEMAS, TYPE_ANY, mosa_schema_check_any_of},
    {"oneOf", OPERAND_SCHEMAS, TYPE_ANY, mosa_schema_check_one_of},
    {"not", OPERAND_SCHEMA, TYPE_ANY, mosa_schema_check_not},
    {"if", OPERAND_CONDITION, TYPE_ANY, mosa_schema_check_if},
    {"then", OPERAND_LATER, TYPE_ANY, NULL},
    {"else", OPERAND_LATER, TYPE_ANY, NULL},
    {0},
};
