// Objects: listed properties in the schema's order, then any that patternProperties and additionalProperties admit.
//
// A rule stands for (next listed property, number of properties so far). A key, its braces or comma and its colon are
// one lexeme. Keys that are not listed are split by which patterns they match, so that each class of keys has one goal.
#include "text/grammar/charset.h"
#include "text/grammar/pattern.h"
#include "text/grammar/schema_compiler.h"

#include <stdlib.h>
#include <string.h>

enum { PATTERNS_MAX = 6 };

typedef struct property {
    const char *name;
    bool required, allowed;
    mosa_slice spelt; // as in JSON, without quotes
    mosa_rx key;
    mosa_symbol value;
} property;

typedef struct free_key { // a class of keys that are not listed
    mosa_rx key;
    mosa_symbol value;
} free_key;

typedef struct object {
    schema_compiler *c;
    const element_list *bases;
    json_t *names; // ordered set of the listed names
    property *properties;
    size_t count;
    const char *patterns[PATTERNS_MAX];
    mosa_rx pattern_rx[PATTERNS_MAX];
    size_t pattern_count;
    mosa_rx key_names; // propertyNames, or any
    free_key free_keys[1 << PATTERNS_MAX];
    size_t free_count;
    uint32_t min, max, cap; // counts are told apart up to cap
    uint32_t *rules;        // (cap + 1) of the next listed property
} object;

// --- gathering

static mosa_status gather_names(object *o) {
    const char *name;
    json_t *schema, *item;
    size_t k;
    for (size_t i = 0; i < o->bases->count; i++)
        json_object_foreach(schema_get(o->c, o->bases, i, "properties"), name, schema)
            json_object_set_new(o->names, name, json_false());
    for (size_t i = 0; i < o->bases->count; i++)
        json_array_foreach(schema_get(o->c, o->bases, i, "required"), k, item)
            json_object_set_new(o->names, json_string_value(item), json_true());
    o->count = json_object_size(o->names);
    o->properties = MOSA_ARENA_ARRAY(&o->c->arena, property, o->count);
    if (!o->properties) return schema_memory(o->c);
    k = 0;
    json_object_foreach(o->names, name, item) {
        o->properties[k].name = name;
        o->properties[k++].required = json_is_true(item);
    }
    return MOSA_OK;
}

static mosa_status gather_patterns(object *o) {
    const char *pattern;
    json_t *schema;
    for (size_t i = 0; i < o->bases->count; i++)
        json_object_foreach(schema_get(o->c, o->bases, i, "patternProperties"), pattern, schema) {
            size_t k = 0;
            while (k < o->pattern_count && strcmp(o->patterns[k], pattern) != 0) k++;
            if (k < o->pattern_count) continue;
            if (k == PATTERNS_MAX)
                return mosa_fail(o->c->err, MOSA_ELIMIT, "schema: more than %d patternProperties", PATTERNS_MAX);
            o->patterns[k] = pattern;
            MOSA_TRY(mosa_pattern_rx(o->c->pool, mosa_slice_of(pattern), MOSA_PATTERN_SEARCH | MOSA_PATTERN_JSON,
                                     &o->pattern_rx[k], o->c->err));
            o->pattern_count++;
        }
    return MOSA_OK;
}

static mosa_status gather_key_names(object *o) {
    element_list list = {0};
    for (size_t i = 0; i < o->bases->count; i++) {
        json_t *names = schema_get(o->c, o->bases, i, "propertyNames");
        if (names) MOSA_TRY(schema_add(o->c, &list, ELEMENT_FULL, names));
    }
    o->key_names = mosa_rx_star(o->c->pool, o->c->json_char);
    return list.count ? schema_string_rx(o->c, &list, 0, &o->key_names) : MOSA_OK;
}

// The goal of the value behind a key that matches the patterns of `matches`; `name` when it is a listed one.
static mosa_status value_goal(object *o, const char *name, unsigned matches, mosa_symbol *out) {
    element_list list = {0};
    for (size_t i = 0; i < o->bases->count; i++) {
        json_t *own = name ? json_object_get(schema_get(o->c, o->bases, i, "properties"), name) : NULL;
        json_t *rest = schema_get(o->c, o->bases, i, "additionalProperties");
        bool found = own != NULL;
        if (own) MOSA_TRY(schema_add(o->c, &list, ELEMENT_FULL, own));
        for (size_t k = 0; k < o->pattern_count; k++) {
            json_t *by = json_object_get(schema_get(o->c, o->bases, i, "patternProperties"), o->patterns[k]);
            if (!by || !(matches >> k & 1)) continue;
            found = true;
            MOSA_TRY(schema_add(o->c, &list, ELEMENT_FULL, by));
        }
        if (!found && rest) MOSA_TRY(schema_add(o->c, &list, ELEMENT_FULL, rest));
    }
    return schema_goal(o->c, &list, out);
}

static mosa_status describe_properties(object *o) {
    mosa_rx_pool *pool = o->c->pool;
    for (size_t i = 0; i < o->count; i++) {
        property *p = &o->properties[i];
        mosa_buf spelt = {0};
        unsigned matches = 0;
        mosa_spell(&spelt, mosa_slice_of(p->name), MOSA_SPELL_JSON);
        mosa_slice key = mosa_buf_slice(&spelt);
        for (size_t k = 0; k < o->pattern_count; k++)
            matches |= (unsigned)mosa_rx_matches(pool, o->pattern_rx[k], key) << k;
        p->allowed = mosa_rx_matches(pool, o->key_names, key);
        p->key = mosa_rx_literal(pool, key);
        p->spelt = (mosa_slice){mosa_arena_strndup(&o->c->arena, mosa_buf_str(&spelt), spelt.len), spelt.len};
        bool failed = mosa_buf_failed(&spelt) || !p->spelt.data;
        mosa_buf_finish(&spelt);
        if (failed) return schema_memory(o->c);
        MOSA_TRY(value_goal(o, p->name, matches, &p->value));
    }
    return mosa_cfg_report(o->c->cfg, o->c->err);
}

static bool admits_others(const object *o) {
    for (size_t i = 0; i < o->bases->count; i++)
        if (json_is_false(schema_get(o->c, o->bases, i, "additionalProperties"))) return false;
    return true;
}

static mosa_status describe_free_keys(object *o) {
    mosa_rx_pool *pool = o->c->pool;
    MOSA_AUTO_FREE mosa_slice *keys = calloc(o->count + 1, sizeof *keys);
    if (!keys) return schema_memory(o->c);
    for (size_t i = 0; i < o->count; i++) keys[i] = o->properties[i].spelt;
    mosa_rx listed = mosa_rx_one_of(pool, keys, o->count);
    for (unsigned matches = 0; matches < 1u << o->pattern_count; matches++) {
        if (matches == 0 && !admits_others(o)) continue;
        mosa_rx key = o->key_names;
        for (size_t k = 0; k < o->pattern_count; k++)
            key = mosa_rx_and(pool, key, matches >> k & 1 ? o->pattern_rx[k] : mosa_rx_not(pool, o->pattern_rx[k]));
        if (listed != MOSA_RX_NONE) key = mosa_rx_and(pool, key, mosa_rx_not(pool, listed));
        key = mosa_rx_prune(pool, key);
        if (key == MOSA_RX_NONE) continue;
        free_key *f = &o->free_keys[o->free_count++];
        f->key = key;
        MOSA_TRY(value_goal(o, NULL, matches, &f->value));
    }
    return MOSA_OK;
}

static mosa_status describe_counts(object *o) {
    uint32_t required = 0;
    o->max = MOSA_RX_FOREVER;
    MOSA_TRY(schema_bound(o->c, o->bases, "minProperties", true, &o->min));
    MOSA_TRY(schema_bound(o->c, o->bases, "maxProperties", false, &o->max));
    for (size_t i = 0; i < o->count; i++) required += o->properties[i].required;
    if (o->min <= required) o->min = 0;
    if (o->min > required + 1 && o->free_count)
        return schema_unsupported(o->c, "minProperties", "when keys that are not listed would have to differ");
    o->cap = o->min > 1 ? o->min : 1;
    if (o->max != MOSA_RX_FOREVER) {
        size_t most = o->free_count ? o->max : o->count; // without free keys there are no more than are listed
        if (!o->free_count && o->max >= o->count)
            o->max = MOSA_RX_FOREVER;
        else if (most > o->cap)
            o->cap = o->max;
    }
    if (o->cap > MOSA_GRAMMAR_ITEMS_MAX)
        return mosa_fail(o->c->err, MOSA_ELIMIT, "schema: minProperties or maxProperties is more than %d",
                         MOSA_GRAMMAR_ITEMS_MAX);
    return MOSA_OK;
}

// --- rules

// {"key": or , "key": as one lexeme.
static mosa_symbol key_lexeme(object *o, mosa_rx key, bool first) {
    mosa_rx_pool *pool = o->c->pool;
    mosa_rx quote = mosa_rx_byte(pool, '"'), colon = schema_space(o->c, " ", ':', " ");
    mosa_rx open = first ? schema_space(o->c, "", '{', o->c->front->spacing == MOSA_JSON_FLEXIBLE ? " " : "")
                         : schema_space(o->c, " ", ',', " ");
    mosa_rx quoted = mosa_rx_cat(pool, quote, mosa_rx_cat(pool, key, mosa_rx_cat(pool, quote, colon)));
    return mosa_cfg_lexeme(o->c->cfg, mosa_rx_cat(pool, open, quoted), true);
}

static uint32_t behind(const object *o, uint32_t count) {
    return count + 1 < o->cap ? count + 1 : o->cap;
}

// Whether one more property may follow `count`; counts from cap on are one when there is no maximum.
static bool may_add(const object *o, uint32_t count) {
    return o->max == MOSA_RX_FOREVER || count < o->max;
}

static void close_object(object *o, uint32_t rule, uint32_t count) {
    if (count < o->min) return;
    mosa_rx open = schema_space(o->c, "", '{', o->c->front->spacing == MOSA_JSON_FLEXIBLE ? " " : "");
    mosa_rx close =
        count ? schema_space(o->c, " ", '}', "") : mosa_rx_cat(o->c->pool, open, mosa_rx_byte(o->c->pool, '}'));
    mosa_symbol symbol = mosa_cfg_lexeme(o->c->cfg, close, true);
    mosa_cfg_add(o->c->cfg, rule, &symbol, 1);
}

// Behind the listed properties: free keys while the count allows, then the brace. Where the count no longer matters the
// list is left-recursive, so that a long object stays cheap.
static void add_tail(object *o, const uint32_t *rules) {
    mosa_cfg *cfg = o->c->cfg;
    uint32_t list = mosa_cfg_rule(cfg);
    bool endless = o->max == MOSA_RX_FOREVER;
    mosa_cfg_add(cfg, list, NULL, 0);
    for (size_t i = 0; endless && i < o->free_count; i++)
        mosa_cfg_add(
            cfg, list,
            (mosa_symbol[]){MOSA_SYMBOL_RULE | list, key_lexeme(o, o->free_keys[i].key, false), o->free_keys[i].value},
            3);
    uint32_t close = mosa_cfg_rule(cfg);
    close_object(o, close, o->cap);
    for (uint32_t count = 0; count <= o->cap; count++) {
        if (endless && count == o->cap) {
            mosa_cfg_add(cfg, rules[count], (mosa_symbol[]){MOSA_SYMBOL_RULE | list, MOSA_SYMBOL_RULE | close}, 2);
            continue;
        }
        close_object(o, rules[count], count);
        for (size_t i = 0; may_add(o, count) && i < o->free_count; i++)
            mosa_cfg_add(cfg, rules[count],
                         (mosa_symbol[]){key_lexeme(o, o->free_keys[i].key, count == 0), o->free_keys[i].value,
                                         MOSA_SYMBOL_RULE | rules[behind(o, count)]},
                         3);
    }
}

static void add_property(object *o, const property *p, const uint32_t *rules, const uint32_t *next) {
    mosa_cfg *cfg = o->c->cfg;
    for (uint32_t count = 0; count <= o->cap; count++) {
        mosa_symbol skipped = MOSA_SYMBOL_RULE | next[count];
        if (!p->required) mosa_cfg_add(cfg, rules[count], &skipped, 1);
        if (!p->allowed || !may_add(o, count)) continue;
        mosa_cfg_add(
            cfg, rules[count],
            (mosa_symbol[]){key_lexeme(o, p->key, count == 0), p->value, MOSA_SYMBOL_RULE | next[behind(o, count)]}, 3);
    }
}

static mosa_status write_rules(object *o, uint32_t start) {
    size_t width = (size_t)o->cap + 1;
    uint32_t *next = MOSA_ARENA_ARRAY(&o->c->arena, uint32_t, width), *rules;
    if (!next) return schema_memory(o->c);
    for (size_t k = 0; k < width; k++) next[k] = mosa_cfg_rule(o->c->cfg);
    add_tail(o, next);
    for (size_t i = o->count; i-- > 0 && !mosa_cfg_failed(o->c->cfg);) {
        rules = MOSA_ARENA_ARRAY(&o->c->arena, uint32_t, width);
        if (!rules) return schema_memory(o->c);
        for (size_t k = 0; k < width; k++) rules[k] = mosa_cfg_rule(o->c->cfg);
        add_property(o, &o->properties[i], rules, next);
        next = rules;
    }
    mosa_symbol first = MOSA_SYMBOL_RULE | next[0];
    mosa_cfg_add(o->c->cfg, start, &first, 1);
    return mosa_cfg_report(o->c->cfg, o->c->err);
}

static mosa_status build(object *o, uint32_t rule) {
    MOSA_TRY(gather_names(o));
    MOSA_TRY(gather_patterns(o));
    MOSA_TRY(gather_key_names(o));
    MOSA_TRY(describe_properties(o));
    MOSA_TRY(describe_free_keys(o));
    MOSA_TRY(describe_counts(o));
    return write_rules(o, rule);
}

mosa_status schema_object(schema_compiler *c, const element_list *bases, uint32_t rule) {
    object o = {.c = c, .bases = bases, .names = json_object()};
    mosa_status status = o.names ? build(&o, rule) : schema_memory(c);
    json_decref(o.names);
    return status;
}
