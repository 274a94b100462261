// anyOf, oneOf, not and if: keywords that try subschemas and may do without one.
//
// Branches are tried quietly. When all fail, the one that the author of the value most likely meant (the highest rank)
// is run once more to write its message. So a nested failure costs one more run per level, never one per combination.
#include "codec/schema_internal.h"

#include "codec/json.h"

bool mosa_schema_holds(schema_check *c, const schema_node *node, const json_t *value) {
    bool before = c->quiet;
    c->quiet = true;
    bool ok = mosa_schema_visit(c, node, value, NULL);
    c->quiet = before;
    return ok;
}

typedef struct trial {
    size_t n_ok;
    size_t best;   // branch with the highest rank
    size_t n_best; // how many share it
    int rank;
    unsigned types;
} trial;

static trial try_branches(schema_check *c, const schema_rule *rule, const json_t *value, size_t enough) {
    trial t = {.rank = -1};
    for (size_t i = 0; i < rule->count && t.n_ok < enough && !c->exhausted; i++) {
        t.types |= mosa_schema_types_of(rule->nodes[i]);
        if (mosa_schema_holds(c, rule->nodes[i], value)) {
            t.n_ok++;
        } else if (c->fault_rank > t.rank) {
            t.rank = c->fault_rank;
            t.best = i;
            t.n_best = 1;
        } else {
            t.n_best += c->fault_rank == t.rank;
        }
    }
    return t;
}

// No branch holds: says what the value should have been.
static bool none_holds(schema_check *c, const schema_rule *rule, const json_t *value, const trial *t) {
    if (c->exhausted) return false;
    if (c->quiet) {
        c->fault_rank = t->rank;
        return false;
    }
    if (!(t->types & (1u << json_typeof(value)))) {
        mosa_buf wanted = {0};
        mosa_schema_type_text(t->types, &wanted);
        mosa_schema_fault(c, NULL, false, "must be %s, not %s", mosa_buf_str(&wanted), mosa_json_type_name(value));
        mosa_buf_finish(&wanted);
        return false;
    }
    if (t->n_best == 1 || t->rank % (1 << 16) > c->level)
        return mosa_schema_visit(c, rule->nodes[t->best], value, NULL);
    return mosa_schema_fault(c, NULL, false, "has none of the allowed forms");
}

bool mosa_schema_check_any_of(schema_check *c, const schema_rule *rule, const json_t *value) {
    trial t = try_branches(c, rule, value, 1);
    return (t.n_ok > 0 && !c->exhausted) || none_holds(c, rule, value, &t);
}

bool mosa_schema_check_one_of(schema_check *c, const schema_rule *rule, const json_t *value) {
    trial t = try_branches(c, rule, value, 2);
    if (t.n_ok == 0 || c->exhausted) return none_holds(c, rule, value, &t);
    return t.n_ok == 1 || mosa_schema_fault(c, NULL, false, "fits more than one of the allowed forms");
}

bool mosa_schema_check_not(schema_check *c, const schema_rule *rule, const json_t *value) {
    bool holds = mosa_schema_holds(c, rule->nodes[0], value);
    return !c->exhausted && (!holds || mosa_schema_fault(c, NULL, false, "has a form that is not allowed"));
}

bool mosa_schema_check_if(schema_check *c, const schema_rule *rule, const json_t *value) {
    const schema_node *branch = rule->nodes[mosa_schema_holds(c, rule->nodes[0], value) ? 1 : 2];
    if (c->exhausted) return false;
    return !branch || mosa_schema_visit(c, branch, value, NULL);
}
