// Strings: lengths, patterns, formats and literals as one term.
#include "text/grammar/charset.h"
#include "text/grammar/pattern.h"
#include "text/grammar/schema_compiler.h"

#include <stdlib.h>
#include <string.h>

enum { CHOICE_DEPTH_MAX = 16 };

static mosa_rx literal(schema_compiler *c, const json_t *value) {
    mosa_buf text = {0};
    mosa_spell(&text, (mosa_slice){json_string_value(value), json_string_length(value)}, MOSA_SPELL_JSON);
    c->cfg->out_of_memory |= mosa_buf_failed(&text);
    mosa_rx r = mosa_rx_literal(c->pool, mosa_buf_slice(&text));
    mosa_buf_finish(&text);
    return r;
}

// The strings of a list as one term, prefixes shared.
static mosa_status listed(schema_compiler *c, json_t *values, mosa_rx *out) {
    size_t i, n = 0, count = json_array_size(values);
    json_t *value;
    MOSA_AUTO_FREE mosa_slice *spelt = calloc(count + 1, sizeof *spelt);
    if (!spelt) return schema_memory(c);
    json_array_foreach(values, i, value) {
        if (!json_is_string(value)) continue;
        mosa_buf text = {0};
        mosa_spell(&text, (mosa_slice){json_string_value(value), json_string_length(value)}, MOSA_SPELL_JSON);
        char *copy = mosa_arena_strndup(&c->arena, mosa_buf_str(&text), text.len);
        spelt[n++] = (mosa_slice){copy, text.len};
        bool failed = mosa_buf_failed(&text) || !copy;
        mosa_buf_finish(&text);
        if (failed) return schema_memory(c);
    }
    *out = mosa_rx_one_of(c->pool, spelt, n);
    return MOSA_OK;
}

static mosa_status and_pattern(schema_compiler *c, const char *pattern, bool negative, mosa_rx *all) {
    mosa_rx r;
    MOSA_TRY(mosa_pattern_rx(c->pool, mosa_slice_of(pattern), MOSA_PATTERN_SEARCH | MOSA_PATTERN_JSON, &r, c->err));
    *all = mosa_rx_and(c->pool, *all, negative ? mosa_rx_not(c->pool, r) : r);
    return MOSA_OK;
}

static mosa_status base_rx(schema_compiler *c, const element_list *bases, size_t i, mosa_rx *all) {
    const char *pattern = json_string_value(schema_get(c, bases, i, "pattern"));
    const char *not_pattern = json_string_value(schema_get(c, bases, i, "%not-pattern"));
    const char *format = json_string_value(schema_get(c, bases, i, "format"));
    const char *format_pattern = format ? schema_format_pattern(format) : NULL;
    json_t *list = schema_get(c, bases, i, "enum"), *only = schema_get(c, bases, i, "const"),
           *other = schema_get(c, bases, i, "%not-const");
    mosa_rx r;
    if (pattern) MOSA_TRY(and_pattern(c, pattern, false, all));
    if (not_pattern) MOSA_TRY(and_pattern(c, not_pattern, true, all));
    if (format_pattern) MOSA_TRY(and_pattern(c, format_pattern, false, all));
    if (list) {
        MOSA_TRY(listed(c, list, &r));
        *all = mosa_rx_and(c->pool, *all, r);
    }
    if (only) *all = mosa_rx_and(c->pool, *all, json_is_string(only) ? literal(c, only) : MOSA_RX_NONE);
    if (json_is_string(other)) *all = mosa_rx_and(c->pool, *all, mosa_rx_not(c->pool, literal(c, other)));
    return MOSA_OK;
}

// The inside of a string under plain keywords.
static mosa_status bases_rx(schema_compiler *c, const element_list *bases, mosa_rx *out) {
    uint32_t min = 0, max = MOSA_RX_FOREVER;
    MOSA_TRY(schema_bound(c, bases, "minLength", true, &min));
    MOSA_TRY(schema_bound(c, bases, "maxLength", false, &max));
    if (min > MOSA_GRAMMAR_REPEAT_MAX)
        return mosa_fail(c->err, MOSA_ELIMIT, "schema: minLength is more than %d", MOSA_GRAMMAR_REPEAT_MAX);
    if (max < min) {
        *out = MOSA_RX_NONE;
        return MOSA_OK;
    }
    mosa_rx any = mosa_rx_star(c->pool, c->json_char), all = MOSA_RX_ALL;
    for (size_t i = 0; i < bases->count; i++) MOSA_TRY(base_rx(c, bases, i, &all));
    // What a pattern matches or a list names is spelt as JSON spells it already; a complement is not.
    bool length = min > 0 || max != MOSA_RX_FOREVER;
    mosa_rx chars = length ? mosa_rx_repeat(c->pool, c->json_char, min, max) : any;
    bool bounded = length;
    for (size_t i = 0; i < bases->count; i++)
        bounded |= schema_get(c, bases, i, "%not-pattern") || schema_get(c, bases, i, "%not-const");
    *out = all == MOSA_RX_ALL ? chars : bounded ? mosa_rx_and(c->pool, all, chars) : all;
    return MOSA_OK;
}

mosa_status schema_string(schema_compiler *c, const element_list *bases, uint32_t rule) {
    mosa_rx inside, quote = mosa_rx_byte(c->pool, '"');
    MOSA_TRY(bases_rx(c, bases, &inside));
    mosa_symbol symbol = mosa_cfg_lexeme(
        c->cfg, mosa_rx_cat(c->pool, quote, mosa_rx_cat(c->pool, mosa_rx_prune(c->pool, inside), quote)), true);
    mosa_cfg_add(c->cfg, rule, &symbol, 1);
    return MOSA_OK;
}

mosa_status schema_string_rx(schema_compiler *c, const element_list *list, int depth, mosa_rx *out) {
    element_list flat;
    if (depth > CHOICE_DEPTH_MAX)
        return mosa_fail(c->err, MOSA_ELIMIT, "schema: propertyNames nests deeper than %d choices", CHOICE_DEPTH_MAX);
    MOSA_TRY(schema_flatten(c, list, &flat));
    *out = MOSA_RX_NONE;
    if (flat.never) return MOSA_OK;
    for (size_t i = 0; i < flat.count; i++) {
        if (flat.items[i].kind != ELEMENT_ANY) continue;
        json_t *item;
        size_t k;
        json_array_foreach(c->nodes[flat.items[i].node].value, k, item) {
            element_list with = flat;
            mosa_rx r;
            memmove(with.items + i, with.items + i + 1, (with.count - i - 1) * sizeof *with.items);
            with.count--;
            MOSA_TRY(schema_add(c, &with, ELEMENT_FULL, item));
            MOSA_TRY(schema_string_rx(c, &with, depth + 1, &r));
            *out = mosa_rx_or(c->pool, *out, r);
        }
        return MOSA_OK;
    }
    return schema_types(c, &flat) & TYPE_STRING ? bases_rx(c, &flat, out) : MOSA_OK;
}
