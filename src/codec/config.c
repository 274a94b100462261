// Reading a configuration table's values: defaults, then mosa.yaml, then the environment, then flags.
//
// Each source overwrites what the weaker ones set. A list is replaced as a whole, not added to.
#include "base/file.h"
#include "codec/config_internal.h"
#include "codec/json.h"
#include "codec/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { YAML_SECTION_DEPTH_MAX = 4, WHERE_MAX = 512, WORD_MAX = 64 };

typedef struct reading {
    const mosa_option_table *table;
    const mosa_option_sources *sources;
    mosa_arena *arena;
    void *values;
    bool *from_flag; // (n_options) this list has been given by a flag already
    mosa_error *err;
} reading;

// --- did you mean -------------------------------------------------------------------------------------------------

// Levenshtein distance of short words, by one row of the table.
static size_t edit_distance(const char *a, const char *b) {
    size_t row[WORD_MAX + 1], n = strlen(b);
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t replace = diagonal + (a[i] != b[j]), other = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            diagonal = row[j + 1];
            row[j + 1] = replace < other ? replace : other;
        }
    }
    return row[n];
}

const char *mosa_nearest_word(const char *word, const char *const *words, size_t count) {
    const char *best = NULL;
    size_t len = strlen(word), best_distance = len / 3 + 2; // worse than the worst that is near
    if (len > WORD_MAX) return NULL;
    for (size_t i = 0; i < count; i++) {
        if (!words[i] || strlen(words[i]) > WORD_MAX) continue;
        size_t distance = edit_distance(word, words[i]);
        if (distance >= best_distance) continue;
        best = words[i];
        best_distance = distance;
    }
    return best;
}

static mosa_status unknown(const reading *r, const char *where, const char *what, const char *word, bool flags) {
    const char **words = MOSA_ARENA_ARRAY(r->arena, const char *, r->table->n_options);
    if (!words) return mosa_fail(r->err, MOSA_ENOMEM, "%s: out of memory", word);
    for (size_t i = 0; i < r->table->n_options; i++)
        words[i] = flags ? r->table->options[i].flag : r->table->options[i].key;
    const char *nearest = mosa_nearest_word(word, words, r->table->n_options);
    mosa_status status = mosa_fail(r->err, MOSA_EINVALID, "%s%sunknown %s '%s'", where, *where ? ": " : "", what, word);
    if (nearest) mosa_hint(r->err, "did you mean %s?", nearest);
    return status;
}

// --- defaults and environment -------------------------------------------------------------------------------------

static mosa_status set_comma_list(const reading *r, const mosa_option *option, const char *where, const char *text) {
    mosa_option_clear(option, r->values);
    while (*text) {
        size_t len = strcspn(text, ",");
        char *item = mosa_arena_strndup(r->arena, text, len);
        if (!item) return mosa_fail(r->err, MOSA_ENOMEM, "%s: out of memory", where);
        if (len) MOSA_TRY(mosa_option_set(option, where, item, r->arena, r->values, r->err));
        text += len + (text[len] == ',');
    }
    return MOSA_OK;
}

static mosa_status set_text(const reading *r, const mosa_option *option, const char *where, const char *text) {
    if (option->type == MOSA_OPTION_LIST) return set_comma_list(r, option, where, text);
    return mosa_option_set(option, where, text, r->arena, r->values, r->err);
}

static mosa_status read_defaults(const reading *r) {
    for (size_t i = 0; i < r->table->n_options; i++) {
        const mosa_option *option = &r->table->options[i];
        mosa_option_clear(option, r->values);
        if (option->fallback)
            MOSA_TRY(set_text(r, option, option->flag ? option->flag : option->key, option->fallback));
    }
    return MOSA_OK;
}

static const char *find_env(const char *const *env, const char *name) {
    size_t len = strlen(name);
    for (; len && *env; env++)
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=') return *env + len + 1;
    return NULL;
}

static mosa_status read_env(const reading *r) {
    for (size_t i = 0; r->sources->env && i < r->table->n_options; i++) {
        char name[MOSA_OPTION_NAME_MAX];
        mosa_option_env(&r->table->options[i], name);
        const char *text = find_env(r->sources->env, name);
        if (text && *text) MOSA_TRY(set_text(r, &r->table->options[i], name, text));
    }
    return MOSA_OK;
}

// --- mosa.yaml ----------------------------------------------------------------------------------------------------

static const mosa_option *option_by_key(const mosa_option_table *table, const char *key) {
    for (size_t i = 0; i < table->n_options; i++)
        if (table->options[i].key && strcmp(table->options[i].key, key) == 0) return &table->options[i];
    return NULL;
}

static bool is_section(const mosa_option_table *table, const char *key) {
    size_t len = strlen(key);
    for (size_t i = 0; i < table->n_options; i++) {
        const char *full = table->options[i].key;
        if (full && strncmp(full, key, len) == 0 && full[len] == '.') return true;
    }
    return false;
}

static mosa_status set_scalar(const reading *r, const mosa_option *option, const char *where, const json_t *value) {
    mosa_buf text = {0};
    if (json_is_string(value))
        mosa_buf_append_str(&text, json_string_value(value));
    else if (json_is_boolean(value) || json_is_number(value))
        mosa_json_append(&text, value);
    mosa_status status = MOSA_OK;
    if (json_is_object(value) || json_is_array(value) || json_is_null(value))
        status = mosa_fail(r->err, MOSA_EINVALID, "%s: must be one value, not %s", where, mosa_json_type_name(value));
    else if (mosa_buf_failed(&text))
        status = mosa_fail(r->err, MOSA_ENOMEM, "%s: out of memory", where);
    else
        status = mosa_option_set(option, where, mosa_buf_str(&text), r->arena, r->values, r->err);
    mosa_buf_finish(&text);
    return status;
}

static mosa_status set_yaml(const reading *r, const mosa_option *option, const char *where, const json_t *value) {
    if (json_is_null(value)) return MOSA_OK;
    if (option->type != MOSA_OPTION_LIST) return set_scalar(r, option, where, value);
    mosa_option_clear(option, r->values);
    if (!json_is_array(value)) return set_scalar(r, option, where, value);
    for (size_t i = 0; i < json_array_size(value); i++)
        MOSA_TRY(set_scalar(r, option, where, json_array_get(value, i)));
    return MOSA_OK;
}

static mosa_status read_mapping(const reading *r, json_t *mapping, const char *prefix, int depth) {
    const char *name;
    json_t *value;
    json_object_foreach(mapping, name, value) {
        char key[MOSA_OPTION_NAME_MAX], where[WHERE_MAX];
        snprintf(key, sizeof key, "%s%s%s", prefix, *prefix ? "." : "", name);
        snprintf(where, sizeof where, "%s: %s", r->sources->yaml_path, key);
        const mosa_option *option = option_by_key(r->table, key);
        if (option)
            MOSA_TRY(set_yaml(r, option, where, value));
        else if (!is_section(r->table, key) || depth == YAML_SECTION_DEPTH_MAX)
            return unknown(r, r->sources->yaml_path, "key", key, false);
        else if (json_is_object(value))
            MOSA_TRY(read_mapping(r, value, key, depth + 1));
        else if (!json_is_null(value))
            return mosa_fail(r->err, MOSA_EINVALID, "%s: is a section, must hold keys", where);
    }
    return MOSA_OK;
}

static mosa_status read_yaml(const reading *r) {
    if (!r->sources->yaml_path) return MOSA_OK;
    MOSA_AUTO_JSON json_t *document = NULL;
    MOSA_TRY(mosa_yaml_load(r->sources->yaml_path, &document, r->err));
    if (json_is_null(document)) return MOSA_OK;
    if (!json_is_object(document))
        return mosa_fail(r->err, MOSA_EINVALID, "%s: must be a mapping of keys, not %s", r->sources->yaml_path,
                         mosa_json_type_name(document));
    return read_mapping(r, document, "", 0);
}

// --- flags --------------------------------------------------------------------------------------------------------

// Equal names of flags: '-' and '_' are the same.
static bool same_flag(const char *a, const char *b, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (a[i] != b[i] && !((a[i] == '-' || a[i] == '_') && (b[i] == '-' || b[i] == '_'))) return false;
    return true;
}

static bool has_alias(const char *aliases, const char *name, size_t len) {
    for (const char *at = aliases; at && *at; at += strspn(at, " ")) {
        size_t word = strcspn(at, " ");
        if (word == len && same_flag(at, name, len)) return true;
        at += word;
    }
    return false;
}

static const mosa_option *option_by_flag(const mosa_option_table *table, const char *name, size_t len) {
    for (size_t i = 0; i < table->n_options; i++) {
        const mosa_option *option = &table->options[i];
        if (!option->flag) continue;
        if (strlen(option->flag) == len && same_flag(option->flag, name, len)) return option;
        if (has_alias(option->aliases, name, len)) return option;
    }
    return NULL;
}

// "--no-x" of a boolean "--x".
static const mosa_option *negated(const mosa_option_table *table, const char *name) {
    if (strncmp(name, "--no-", 5) != 0) return NULL;
    char positive[MOSA_OPTION_NAME_MAX];
    int len = snprintf(positive, sizeof positive, "--%s", name + 5);
    if (len < 0 || (size_t)len >= sizeof positive) return NULL;
    const mosa_option *option = option_by_flag(table, positive, (size_t)len);
    return option && option->type == MOSA_OPTION_BOOL ? option : NULL;
}

static mosa_status set_flag(const reading *r, const mosa_option *option, const char *text) {
    bool *seen = &r->from_flag[option - r->table->options];
    if (option->type == MOSA_OPTION_LIST && !*seen) mosa_option_clear(option, r->values);
    *seen = true;
    return mosa_option_set(option, option->flag, text, r->arena, r->values, r->err);
}

// Whether the argument after a worded boolean is its value.
static bool says_bool(const reading *r, const mosa_option *option, int index) {
    if (!option->worded || index >= r->sources->argc) return false;
    const char *word = r->sources->argv[index];
    return strcasecmp(word, "true") == 0 || strcasecmp(word, "false") == 0;
}

// Reads the flag at argv[*index]; moves *index over a value that is an argument of its own.
static mosa_status read_flag(const reading *r, int *index) {
    const char *argument = r->sources->argv[*index];
    size_t len = strcspn(argument, "=");
    const mosa_option *option = option_by_flag(r->table, argument, len);
    if (option && argument[len]) return set_flag(r, option, argument + len + 1);
    if (option && option->type == MOSA_OPTION_BOOL && !says_bool(r, option, *index + 1))
        return set_flag(r, option, "true");
    if (option && *index + 1 < r->sources->argc) return set_flag(r, option, r->sources->argv[++*index]);
    if (option)
        return mosa_fail(r->err, MOSA_EINVALID, "%s: needs a value (%s)", argument, mosa_option_placeholder(option));
    option = negated(r->table, argument);
    if (option) return set_flag(r, option, "false");
    const char *name = mosa_arena_strndup(r->arena, argument, len);
    if (!name) return mosa_fail(r->err, MOSA_ENOMEM, "out of memory for flags");
    return unknown(r, "", "flag", name, true);
}

static mosa_status read_flags(const reading *r, mosa_string_list *arguments) {
    const mosa_option_sources *from = r->sources;
    const char **items = MOSA_ARENA_ARRAY(r->arena, const char *, (size_t)from->argc + 1);
    if (!items) return mosa_fail(r->err, MOSA_ENOMEM, "out of memory for %d arguments", from->argc);
    size_t count = 0;
    bool flags = true;
    for (int i = 0; i < from->argc; i++) {
        const char *argument = from->argv[i];
        if (flags && strcmp(argument, "--") == 0)
            flags = false;
        else if (flags && argument[0] == '-' && argument[1])
            MOSA_TRY(read_flag(r, &i));
        else
            items[count++] = argument;
    }
    *arguments = (mosa_string_list){items, count};
    return MOSA_OK;
}

mosa_status mosa_options_read(const mosa_option_table *table, const mosa_option_sources *sources, mosa_arena *arena,
                              void *values, mosa_string_list *arguments, mosa_error *err) {
    reading r = {.table = table, .sources = sources, .arena = arena, .values = values, .err = err};
    r.from_flag = MOSA_ARENA_ARRAY(arena, bool, table->n_options);
    if (!r.from_flag) return mosa_fail(err, MOSA_ENOMEM, "out of memory for %zu settings", table->n_options);
    MOSA_TRY(read_defaults(&r));
    MOSA_TRY(read_yaml(&r));
    MOSA_TRY(read_env(&r));
    return read_flags(&r, arguments);
}
