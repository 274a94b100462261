// Arrays: a prefix of positions, then any number of further items.
#include "text/grammar/schema_compiler.h"

enum { PREFIX_MAX = 256 };

typedef struct array {
    uint32_t min, max, prefix; // elements; positions that have a schema of their own
    mosa_symbol open, close, comma, empty;
    mosa_symbol rest; // further items
} array;

// Draft 2020-12 has prefixItems and items; before, an array of schemas in items and additionalItems for the rest.
static json_t *prefix_of(const schema_compiler *c, const element_list *bases, size_t i) {
    json_t *prefix = schema_get(c, bases, i, "prefixItems"), *items = schema_get(c, bases, i, "items");
    return prefix ? prefix : json_is_array(items) ? items : NULL;
}
static json_t *rest_of(const schema_compiler *c, const element_list *bases, size_t i) {
    json_t *items = schema_get(c, bases, i, "items");
    return json_is_array(items) ? schema_get(c, bases, i, "additionalItems") : items;
}

static mosa_status item_goal(schema_compiler *c, const element_list *bases, uint32_t position, json_t *also,
                             mosa_symbol *out) {
    element_list list = {0};
    for (size_t i = 0; i < bases->count; i++) {
        json_t *own = json_array_get(prefix_of(c, bases, i), position);
        if (!own) own = rest_of(c, bases, i);
        if (own) MOSA_TRY(schema_add(c, &list, ELEMENT_FULL, own));
    }
    if (also) MOSA_TRY(schema_add(c, &list, ELEMENT_FULL, also));
    return schema_goal(c, &list, out);
}

static void describe(schema_compiler *c, array *a) {
    mosa_rx open = schema_space(c, "", '[', " "), close = schema_space(c, " ", ']', "");
    if (c->front->spacing == MOSA_JSON_SPACED) open = mosa_rx_byte(c->pool, '[');
    a->open = mosa_cfg_lexeme(c->cfg, open, true);
    a->close = mosa_cfg_lexeme(c->cfg, close, true);
    a->comma = mosa_cfg_lexeme(c->cfg, schema_space(c, " ", ',', " "), true);
    a->empty = mosa_cfg_lexeme(c->cfg, mosa_rx_cat(c->pool, open, mosa_rx_byte(c->pool, ']')), true);
}

// At least one item that satisfies `contains`, among any number.
static mosa_status containing(schema_compiler *c, const element_list *bases, const array *a, json_t *contains,
                              uint32_t rule) {
    mosa_symbol found, before = MOSA_SYMBOL_RULE | mosa_cfg_rule(c->cfg), after;
    MOSA_TRY(item_goal(c, bases, 0, contains, &found));
    mosa_cfg_add(c->cfg, mosa_symbol_index(before), NULL, 0);
    mosa_cfg_add(c->cfg, mosa_symbol_index(before), (mosa_symbol[]){before, a->rest, a->comma}, 3);
    after = MOSA_SYMBOL_RULE | mosa_cfg_rule(c->cfg);
    mosa_cfg_add(c->cfg, mosa_symbol_index(after), NULL, 0);
    mosa_cfg_add(c->cfg, mosa_symbol_index(after), (mosa_symbol[]){after, a->comma, a->rest}, 3);
    mosa_cfg_add(c->cfg, rule, (mosa_symbol[]){a->open, before, found, after, a->close}, 5);
    return MOSA_OK;
}

static mosa_status find_contains(schema_compiler *c, const element_list *bases, const array *a, json_t **out) {
    *out = NULL;
    for (size_t i = 0; i < bases->count; i++) {
        json_t *contains = schema_get(c, bases, i, "contains"), *min = schema_get(c, bases, i, "minContains");
        if (!contains) continue;
        if (schema_get(c, bases, i, "maxContains")) return schema_unsupported(c, "maxContains", "");
        if (min && json_number_value(min) == 0) continue;
        if (min && json_number_value(min) > 1) return schema_unsupported(c, "minContains", "above 1");
        if (*out || a->prefix || a->min > 1 || a->max != MOSA_RX_FOREVER)
            return schema_unsupported(c, "contains", "together with other conditions on the number of items");
        *out = contains;
    }
    return MOSA_OK;
}

// What may stand behind the first j elements, from the last position of the prefix to the first.
static mosa_status positions(schema_compiler *c, const element_list *bases, const array *a, uint32_t rule) {
    mosa_symbol next = MOSA_SYMBOL_RULE | mosa_cfg_rule(c->cfg);
    uint32_t more_min = a->min > a->prefix ? a->min - a->prefix : 0;
    uint32_t more_max = a->max == MOSA_RX_FOREVER ? a->max : a->max > a->prefix ? a->max - a->prefix : 0;
    if (a->max >= a->prefix) {
        uint32_t one = mosa_cfg_rule(c->cfg);
        mosa_cfg_add(c->cfg, one, (mosa_symbol[]){a->comma, a->rest}, 2);
        mosa_symbol more = mosa_cfg_repeat(c->cfg, MOSA_SYMBOL_RULE | one, UINT32_MAX, more_min, more_max);
        mosa_cfg_add(c->cfg, mosa_symbol_index(next), (mosa_symbol[]){more, a->close}, 2);
        if (more_min == 0) mosa_cfg_add(c->cfg, mosa_symbol_index(next), &a->close, 1);
    }
    for (uint32_t j = a->prefix; j-- > 0;) {
        mosa_symbol item, here = j ? MOSA_SYMBOL_RULE | mosa_cfg_rule(c->cfg) : MOSA_SYMBOL_RULE | rule;
        MOSA_TRY(item_goal(c, bases, j, NULL, &item));
        if (j < a->max)
            mosa_cfg_add(c->cfg, mosa_symbol_index(here), (mosa_symbol[]){j ? a->comma : a->open, item, next}, 3);
        if (j >= a->min) mosa_cfg_add(c->cfg, mosa_symbol_index(here), j ? &a->close : &a->empty, 1);
        next = here;
    }
    return MOSA_OK;
}

mosa_status schema_array(schema_compiler *c, const element_list *bases, uint32_t rule) {
    array a = {.max = MOSA_RX_FOREVER};
    json_t *contains;
    MOSA_TRY(schema_bound(c, bases, "minItems", true, &a.min));
    MOSA_TRY(schema_bound(c, bases, "maxItems", false, &a.max));
    if (a.min > a.max) return MOSA_OK;
    for (size_t i = 0; i < bases->count; i++) {
        uint32_t len = (uint32_t)json_array_size(prefix_of(c, bases, i));
        if (len > a.prefix) a.prefix = len;
    }
    if (a.prefix > PREFIX_MAX) return mosa_fail(c->err, MOSA_ELIMIT, "schema: more than %d prefixItems", PREFIX_MAX);
    describe(c, &a);
    MOSA_TRY(find_contains(c, bases, &a, &contains));
    MOSA_TRY(item_goal(c, bases, UINT32_MAX, NULL, &a.rest));
    if (contains) return containing(c, bases, &a, contains, rule);
    if (a.prefix) return positions(c, bases, &a, rule);
    if (a.min == 0) mosa_cfg_add(c->cfg, rule, &a.empty, 1);
    if (a.max == 0) return MOSA_OK;
    mosa_symbol list = mosa_cfg_repeat(c->cfg, a.rest, a.comma, a.min ? a.min : 1, a.max);
    mosa_cfg_add(c->cfg, rule, (mosa_symbol[]){a.open, list, a.close}, 3);
    return MOSA_OK;
}
