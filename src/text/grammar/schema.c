// Goals: sets of schemas to rules.
#include "text/grammar/schema_compiler.h"

#include "codec/json.h"
#include "text/grammar/charset.h"

#include <stdlib.h>
#include <string.h>

mosa_status schema_memory(schema_compiler *c) {
    return mosa_fail(c->err, MOSA_ENOMEM, "out of memory for a schema");
}

mosa_status schema_unsupported(schema_compiler *c, const char *keyword, const char *why) {
    return mosa_fail(c->err, MOSA_EUNSUPPORTED, "schema: %s is not supported%s%s", keyword, *why ? ": " : "", why);
}

mosa_status schema_step(schema_compiler *c, int64_t steps) {
    c->steps += steps;
    if (c->steps <= SCHEMA_STEPS_MAX) return MOSA_OK;
    return mosa_fail(c->err, MOSA_ELIMIT, "schema: its combinations need more than %d steps", SCHEMA_STEPS_MAX);
}

// --- nodes

static bool grow_nodes(schema_compiler *c) {
    if (c->node_count < c->node_capacity) return true;
    size_t capacity = c->node_capacity ? c->node_capacity * 2 : 256;
    schema_node *nodes = realloc(c->nodes, capacity * sizeof *nodes);
    if (nodes) c->nodes = nodes;
    uint32_t *next = realloc(c->node_next, capacity * sizeof *next);
    if (next) c->node_next = next;
    if (!nodes || !next) return false;
    c->node_capacity = capacity;
    return true;
}

mosa_status schema_node_of(schema_compiler *c, json_t *value, uint32_t *out) {
    uint32_t *head = &c->node_heads[mosa_hash_bytes(&value, sizeof value, 0) & (NODE_HEADS - 1)];
    for (uint32_t i = *head; i; i = c->node_next[i - 1])
        if (c->nodes[i - 1].value == value) {
            *out = i - 1;
            return MOSA_OK;
        }
    if (!grow_nodes(c)) return schema_memory(c);
    c->nodes[c->node_count] = (schema_node){.value = value};
    c->node_next[c->node_count] = *head;
    *out = (uint32_t)c->node_count;
    *head = (uint32_t)++c->node_count;
    return MOSA_OK;
}

json_t *schema_keep(schema_compiler *c, json_t *made) {
    uint32_t node;
    if (!made || json_array_append_new(c->made, made) != 0) return NULL;
    if (schema_node_of(c, made, &node) != MOSA_OK) return NULL;
    c->nodes[node].made = true;
    return made;
}

mosa_status schema_add(schema_compiler *c, element_list *list, element_kind kind, json_t *value) {
    element e = {.kind = kind};
    MOSA_TRY(schema_node_of(c, value, &e.node));
    size_t at = list->count;
    while (at > 0 && (list->items[at - 1].node > e.node ||
                      (list->items[at - 1].node == e.node && list->items[at - 1].kind > e.kind)))
        at--;
    if (at > 0 && list->items[at - 1].node == e.node && list->items[at - 1].kind == e.kind) return MOSA_OK;
    if (list->count == GOAL_ELEMENTS_MAX)
        return mosa_fail(c->err, MOSA_ELIMIT, "schema: more than %d schemas apply to one value", GOAL_ELEMENTS_MAX);
    memmove(list->items + at + 1, list->items + at, (list->count - at) * sizeof *list->items);
    list->items[at] = e;
    list->count++;
    return MOSA_OK;
}

json_t *schema_get(const schema_compiler *c, const element_list *bases, size_t i, const char *keyword) {
    const schema_node *node = &c->nodes[bases->items[i].node];
    // Literals with arrays or objects among them were rewritten as a choice that says all they say.
    if (node->rewritten[SLOT_LITERAL] && (strcmp(keyword, "enum") == 0 || strcmp(keyword, "const") == 0)) return NULL;
    return keyword[0] == '%' && !node->made ? NULL : json_object_get(node->value, keyword);
}

// --- goals

static bool grow_goals(schema_compiler *c) {
    if (c->goal_count < c->goal_capacity) return true;
    size_t capacity = c->goal_capacity ? c->goal_capacity * 2 : 256;
    goal *goals = realloc(c->goals, capacity * sizeof *goals);
    if (!goals) return false;
    c->goals = goals;
    c->goal_capacity = capacity;
    return true;
}

static uint64_t hash_elements(const element_list *list) {
    uint64_t h = list->count;
    for (size_t i = 0; i < list->count; i++)
        h = (h ^ ((uint64_t)list->items[i].node << 2 | list->items[i].kind)) * 0x9e3779b97f4a7c15u + (h >> 31);
    return h ^ (h >> 32);
}

static bool same_elements(const goal *g, const element_list *list) {
    if (g->count != list->count) return false;
    for (size_t i = 0; i < g->count; i++)
        if (g->elements[i].node != list->items[i].node || g->elements[i].kind != list->items[i].kind) return false;
    return true;
}

mosa_status schema_goal(schema_compiler *c, const element_list *list, mosa_symbol *out) {
    uint32_t *head = &c->goal_heads[hash_elements(list) & (GOAL_HEADS - 1)];
    for (uint32_t i = *head; i; i = c->goals[i - 1].next)
        if (same_elements(&c->goals[i - 1], list)) {
            *out = MOSA_SYMBOL_RULE | c->goals[i - 1].rule;
            return MOSA_OK;
        }
    if (c->goal_count == GOALS_MAX)
        return mosa_fail(c->err, MOSA_ELIMIT, "schema: more than %d combinations of subschemas", GOALS_MAX);
    goal g = {.elements = MOSA_ARENA_ARRAY(&c->arena, element, list->count), .count = list->count, .next = *head};
    if (!g.elements || !grow_goals(c)) return schema_memory(c);
    memcpy(g.elements, list->items, list->count * sizeof *g.elements);
    g.rule = mosa_cfg_rule(c->cfg);
    c->goals[c->goal_count] = g;
    *head = (uint32_t)++c->goal_count;
    *out = MOSA_SYMBOL_RULE | g.rule;
    return mosa_cfg_report(c->cfg, c->err);
}

// --- flattening

static bool has_plain_keywords(const json_t *schema) {
    static const char *const others[] = {"$ref",
                                         "allOf",
                                         "anyOf",
                                         "oneOf",
                                         "not",
                                         "if",
                                         "then",
                                         "else",
                                         "$defs",
                                         "definitions",
                                         "$schema",
                                         "$id",
                                         "$comment",
                                         "title",
                                         "description",
                                         "default",
                                         "examples",
                                         "dependentRequired",
                                         "dependentSchemas"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)schema, key, value) {
        bool other = false;
        for (size_t i = 0; i < MOSA_COUNT(others); i++) other |= strcmp(key, others[i]) == 0;
        if (!other) return true;
    }
    return false;
}

static mosa_status expand(schema_compiler *c, uint32_t node, element_list *work, element_list *out) {
    json_t *schema = c->nodes[node].value, *target, *all = NULL, *item;
    if (json_is_true(schema)) return MOSA_OK;
    if (json_is_false(schema)) {
        out->never = true;
        return MOSA_OK;
    }
    MOSA_TRY(schema_check(c, node));
    if (has_plain_keywords(schema)) MOSA_TRY(schema_add(c, out, ELEMENT_BASE, schema));
    const char *ref = json_string_value(json_object_get(schema, "$ref"));
    if (ref) {
        MOSA_TRY(schema_resolve(c, ref, &target));
        MOSA_TRY(schema_add(c, work, ELEMENT_FULL, target));
    }
    size_t i;
    all = json_object_get(schema, "allOf");
    json_array_foreach(all, i, item) MOSA_TRY(schema_add(c, work, ELEMENT_FULL, item));
    json_t *any = json_object_get(schema, "anyOf");
    if (any) MOSA_TRY(schema_add(c, out, ELEMENT_ANY, any));
    element_list more = {0};
    MOSA_TRY(schema_rewrite(c, node, &more));
    for (i = 0; i < more.count; i++)
        MOSA_TRY(schema_add(c, more.items[i].kind == ELEMENT_FULL ? work : out, more.items[i].kind,
                            c->nodes[more.items[i].node].value));
    return MOSA_OK;
}

mosa_status schema_flatten(schema_compiler *c, const element_list *list, element_list *out) {
    element_list work = {0}; // full elements seen; those before `next` in order of arrival are done
    bool done[GOAL_ELEMENTS_MAX] = {false};
    out->count = 0;
    out->never = list->never;
    MOSA_TRY(schema_step(c, SCHEMA_STEPS_FLATTEN));
    for (size_t i = 0; i < list->count; i++)
        MOSA_TRY(schema_add(c, list->items[i].kind == ELEMENT_FULL ? &work : out, list->items[i].kind,
                            c->nodes[list->items[i].node].value));
    for (size_t i = 0; i < work.count && !out->never;) {
        if (done[i]) {
            i++;
            continue;
        }
        element_list more = {0};
        MOSA_TRY(schema_step(c, SCHEMA_STEPS_FLATTEN));
        done[i] = true;
        MOSA_TRY(expand(c, work.items[i].node, &more, out));
        for (size_t k = 0; k < more.count; k++) {
            // Insertion keeps the list sorted; the flags move along.
            size_t before = work.count, at = 0;
            MOSA_TRY(schema_add(c, &work, ELEMENT_FULL, c->nodes[more.items[k].node].value));
            if (work.count == before) continue;
            while (work.items[at].node != more.items[k].node) at++;
            memmove(done + at + 1, done + at, before - at);
            done[at] = false;
        }
        i = 0;
    }
    return MOSA_OK;
}

// --- defining a goal

static unsigned type_bits(const char *name) {
    static const struct {
        const char *name;
        unsigned bits;
    } table[] = {{"null", TYPE_NULL},     {"boolean", TYPE_BOOL}, {"integer", TYPE_INT},  {"number", TYPE_NUMBER},
                 {"string", TYPE_STRING}, {"array", TYPE_ARRAY},  {"object", TYPE_OBJECT}};
    for (size_t i = 0; i < MOSA_COUNT(table); i++)
        if (strcmp(table[i].name, name) == 0) return table[i].bits;
    return 0;
}

unsigned schema_types(const schema_compiler *c, const element_list *bases) {
    unsigned types = TYPE_ALL;
    for (size_t i = 0; i < bases->count; i++) {
        json_t *type = schema_get(c, bases, i, "type"), *bits = schema_get(c, bases, i, "%types"), *item;
        if (bits) types &= (unsigned)json_integer_value(bits);
        unsigned allowed = 0;
        size_t k;
        if (json_is_string(type)) allowed = type_bits(json_string_value(type));
        json_array_foreach(type, k, item) allowed |= type_bits(json_string_value(item));
        if (type) types &= allowed;
    }
    return types;
}

mosa_status schema_bound(schema_compiler *c, const element_list *bases, const char *keyword, bool lower,
                         uint32_t *out) {
    for (size_t i = 0; i < bases->count; i++) {
        json_t *value = schema_get(c, bases, i, keyword);
        if (!value) continue;
        double number = json_number_value(value);
        if (!(number < MOSA_RX_FOREVER)) number = MOSA_RX_FOREVER - 1.0;
        uint32_t bound = (uint32_t)number;
        if (lower ? bound > *out : bound < *out) *out = bound;
    }
    return MOSA_OK;
}

static mosa_status define_choice(schema_compiler *c, uint32_t rule, const element_list *flat, size_t choice) {
    json_t *alternatives = c->nodes[flat->items[choice].node].value, *item;
    size_t i;
    json_array_foreach(alternatives, i, item) {
        element_list with = *flat;
        memmove(with.items + choice, with.items + choice + 1, (with.count - choice - 1) * sizeof *with.items);
        with.count--;
        mosa_symbol symbol;
        MOSA_TRY(schema_add(c, &with, ELEMENT_FULL, item));
        MOSA_TRY(schema_goal(c, &with, &symbol));
        mosa_cfg_add(c->cfg, rule, &symbol, 1);
    }
    return MOSA_OK;
}

static mosa_status define(schema_compiler *c, const goal *g) {
    element_list list = {.count = g->count}, flat;
    memcpy(list.items, g->elements, g->count * sizeof *g->elements);
    uint32_t rule = g->rule;
    MOSA_TRY(schema_flatten(c, &list, &flat));
    if (flat.never) return MOSA_OK; // a rule without alternatives: nothing matches
    for (size_t i = 0; i < flat.count; i++)
        if (flat.items[i].kind == ELEMENT_ANY) return define_choice(c, rule, &flat, i);
    unsigned types = schema_types(c, &flat);
    MOSA_TRY(schema_literals(c, &flat, types, rule));
    if (types & TYPE_STRING) MOSA_TRY(schema_string(c, &flat, rule));
    if (types & TYPE_NUMBER) MOSA_TRY(schema_number(c, &flat, types & TYPE_NUMBER, rule));
    for (size_t i = 0; i < flat.count; i++) // what a list of literals names is scalar here: arrays were rewritten
        if (schema_get(c, &flat, i, "enum") || schema_get(c, &flat, i, "const")) types &= ~(TYPE_ARRAY | TYPE_OBJECT);
    if (types & TYPE_ARRAY) MOSA_TRY(schema_array(c, &flat, rule));
    if (types & TYPE_OBJECT) MOSA_TRY(schema_object(c, &flat, rule));
    return mosa_cfg_report(c->cfg, c->err);
}

// --- literals and punctuation

mosa_symbol schema_text(schema_compiler *c, const char *text) {
    return mosa_cfg_lexeme(c->cfg, mosa_rx_literal(c->pool, mosa_slice_of(text)), true);
}

// Whether every base that lists its values lists this one.
static bool listed(const schema_compiler *c, const element_list *bases, const json_t *literal) {
    for (size_t i = 0; i < bases->count; i++) {
        json_t *list = schema_get(c, bases, i, "enum"), *one = schema_get(c, bases, i, "const"), *item;
        size_t k;
        bool found = !list;
        json_array_foreach(list, k, item) found |= json_equal(item, literal);
        if (!found || (one && !json_equal(one, literal))) return false;
    }
    return true;
}

mosa_status schema_literals(schema_compiler *c, const element_list *bases, unsigned types, uint32_t rule) {
    const struct {
        unsigned type;
        json_t *value;
        const char *text;
    } table[] = {
        {TYPE_NULL, json_null(), "null"}, {TYPE_BOOL, json_true(), "true"}, {TYPE_BOOL, json_false(), "false"}};
    for (size_t i = 0; i < MOSA_COUNT(table); i++) {
        if (!(types & table[i].type) || !listed(c, bases, table[i].value)) continue;
        bool refused = false;
        for (size_t b = 0; b < bases->count; b++) {
            json_t *other = schema_get(c, bases, b, "%not-const");
            refused |= other && json_equal(other, table[i].value);
        }
        mosa_symbol symbol = schema_text(c, table[i].text);
        if (!refused) mosa_cfg_add(c->cfg, rule, &symbol, 1);
    }
    return MOSA_OK;
}

mosa_rx schema_space(schema_compiler *c, const char *before, char mark, const char *after) {
    mosa_rx middle = mosa_rx_byte(c->pool, (unsigned char)mark);
    if (c->front->spacing == MOSA_JSON_COMPACT) return middle;
    if (c->front->spacing == MOSA_JSON_SPACED)
        return mosa_rx_cat(c->pool, middle, mosa_rx_literal(c->pool, mosa_slice_of(after[0] == ' ' ? " " : "")));
    mosa_byte_set set = {0};
    mosa_byte_set_add(&set, ' ', ' ');
    mosa_byte_set_add(&set, '\t', '\n');
    mosa_byte_set_add(&set, '\r', '\r');
    mosa_rx space = mosa_rx_repeat(c->pool, mosa_rx_set(c->pool, &set), 0, 32);
    if (*after) middle = mosa_rx_cat(c->pool, middle, space);
    return *before ? mosa_rx_cat(c->pool, space, middle) : middle;
}

// --- the front end

static mosa_status work_off(schema_compiler *c, mosa_symbol *start) {
    element_list list = {0};
    MOSA_TRY(schema_add(c, &list, ELEMENT_FULL, c->root));
    MOSA_TRY(schema_goal(c, &list, start));
    while (c->goal_done < c->goal_count) {
        goal g = c->goals[c->goal_done++]; // a copy: the array may move
        MOSA_TRY(define(c, &g));
    }
    return mosa_cfg_report(c->cfg, c->err);
}

mosa_status mosa_front_schema_tree(mosa_front *front, json_t *schema, mosa_symbol *start, mosa_error *err) {
    schema_compiler *c = calloc(1, sizeof *c);
    if (!c) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a schema");
    *c = (schema_compiler){.front = front, .cfg = front->cfg, .pool = &front->cfg->pool, .root = schema, .err = err};
    c->root_id = json_string_value(json_object_get(schema, "$id"));
    c->made = json_array();
    c->json_char = mosa_any_char_rx(c->pool, MOSA_SPELL_JSON);
    mosa_arena_init(&c->arena, 0, (size_t)64 << 20);
    mosa_status status = c->made ? work_off(c, start) : schema_memory(c);
    mosa_arena_finish(&c->arena);
    json_decref(c->made);
    free(c->nodes);
    free(c->node_next);
    free(c->goals);
    free(c);
    return status;
}

mosa_status mosa_front_schema(mosa_front *front, mosa_slice text, mosa_symbol *start, mosa_error *err) {
    MOSA_AUTO_JSON json_t *schema = NULL;
    MOSA_TRY(mosa_json_parse(text, NULL, &schema, err));
    return mosa_front_schema_tree(front, schema, start, err);
}
