// A check in progress: visiting nodes, budgets, and the place and text of the fault.
#include "base/utf8.h"
#include "codec/schema_internal.h"

#include <stdarg.h>
#include <stdio.h>

enum { RANK_MEANT = 1 << 16 }; // above any level

bool mosa_schema_spend(schema_check *c, long steps) {
    c->steps += steps;
    if (c->steps > MOSA_SCHEMA_STEPS_MAX) c->exhausted = true;
    return !c->exhausted;
}

static bool run_rules(schema_check *c, const schema_node *node, const json_t *value) {
    unsigned type = 1u << json_typeof(value);
    for (int i = 0; i < node->n_rules; i++) {
        const schema_rule *rule = &node->rules[i];
        if (!rule->keyword->check || !(rule->keyword->applies & type)) continue;
        if (!mosa_schema_spend(c, 1) || !rule->keyword->check(c, rule, value)) return false;
    }
    return true;
}

bool mosa_schema_visit(schema_check *c, const schema_node *node, const json_t *value, const schema_step *step) {
    if (c->exhausted || json_is_true(node->source)) return !c->exhausted;
    if (c->depth == MOSA_SCHEMA_DEPTH_MAX) {
        c->exhausted = true;
        return false;
    }
    const schema_step *before = c->at;
    if (step) {
        c->at = step;
        c->level++;
    }
    c->depth++;
    bool ok =
        json_is_false(node->source) ? mosa_schema_fault(c, NULL, false, "is not allowed") : run_rules(c, node, value);
    c->depth--;
    c->at = before;
    c->level -= step != NULL;
    return ok;
}

// --- faults -------------------------------------------------------------------------------------------------------

static void append_path(mosa_buf *out, const schema_step *step) {
    if (!step) return;
    append_path(out, step->outer);
    if (step->key)
        mosa_buf_printf(out, "%s%.64s", out->len ? "." : "", step->key);
    else
        mosa_buf_printf(out, "[%zu]", step->index);
}

// A path that was cut must still be text.
static void copy_path(char *path, const char *text) {
    size_t used = 0, left = strlen(text);
    for (size_t len; left && (len = mosa_utf8_len((const unsigned char *)text, left)); text += len, left -= len) {
        if (used + len >= MOSA_SCHEMA_PATH_MAX) break;
        memcpy(path + used, text, len);
        used += len;
    }
    path[used] = '\0';
}

bool mosa_schema_fault(schema_check *c, const char *key, bool constant, const char *format, ...) {
    c->fault_rank = c->level + (key != NULL) + (constant ? 0 : RANK_MEANT);
    if (c->quiet || c->exhausted) return false;
    schema_step member = {.outer = c->at, .key = key};
    mosa_buf path = {0};
    append_path(&path, key ? &member : c->at);
    copy_path(c->path, mosa_buf_str(&path));
    mosa_buf_finish(&path);
    char what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    mosa_fail(c->err, MOSA_EINVALID, "%s%s%s", c->path, *c->path ? ": " : "", what);
    return false;
}

// --- patterns and types -------------------------------------------------------------------------------------------

int mosa_schema_match(schema_check *c, const pcre2_code *pattern, const char *text, size_t len) {
    // Patterns are the dear ones: a long text costs more of the budget.
    if (!mosa_schema_spend(c, 16 + (long)(len / 16))) return -1;
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (!data) {
        c->exhausted = true;
        return -1;
    }
    int found = pcre2_match(pattern, (PCRE2_SPTR)text, len, 0, PCRE2_NO_UTF_CHECK, data, c->schema->match);
    pcre2_match_data_free(data);
    if (found >= 0) return 1;
    if (found == PCRE2_ERROR_NOMATCH) return 0;
    c->exhausted = true;
    return -1;
}

const schema_rule *mosa_schema_sibling(const schema_rule *rule, const char *name) {
    for (int i = 0; i < rule->owner->n_rules; i++)
        if (strcmp(rule->owner->rules[i].keyword->name, name) == 0) return &rule->owner->rules[i];
    return NULL;
}

unsigned mosa_schema_types_of(const schema_node *node) {
    for (int hop = 0; hop < 8; hop++) {
        const schema_node *target = NULL;
        for (int i = 0; i < node->n_rules; i++) {
            if (node->rules[i].keyword->operand == OPERAND_TYPES) return node->rules[i].types;
            if (node->rules[i].keyword->operand == OPERAND_REF) target = node->rules[i].nodes[0];
        }
        if (!target) break;
        node = target;
    }
    return TYPE_ANY;
}

void mosa_schema_type_text(unsigned types, mosa_buf *out) {
    static const struct {
        unsigned bits;
        const char *text;
    } names[] = {{TYPE_STRING, "a string"}, {TYPE_NUMBER, "a number"},  {TYPE_INTEGER, "an integer"},
                 {TYPE_BOOL, "a boolean"},  {TYPE_OBJECT, "an object"}, {TYPE_ARRAY, "an array"},
                 {TYPE_NULL, "null"}};
    for (size_t i = 0; i < MOSA_COUNT(names); i++) {
        if ((types & names[i].bits) != names[i].bits) continue;
        types &= ~names[i].bits;
        mosa_buf_printf(out, "%s%s", !out->len ? "" : types ? ", " : " or ", names[i].text);
    }
}
