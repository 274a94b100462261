// What a configuration table prints: help for a terminal, a commented mosa.yaml, Markdown, and the values in effect.
#include "codec/config_internal.h"
#include "codec/json.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

enum { HELP_COLUMNS = 100, HELP_INDENT = 30 };

// --- help ---------------------------------------------------------------------------------------------------------

static size_t next_word(const char *text) {
    return strcspn(text, " ");
}

// "-p, --port PORT": short aliases before the flag; long ones are for the documentation.
static void append_flag(mosa_buf *out, const mosa_option *option) {
    const char *alias = option->aliases;
    bool has_short = false;
    while (alias && *alias) {
        size_t len = next_word(alias);
        if (len == 2) {
            mosa_buf_printf(out, "%.2s, ", alias);
            has_short = true;
        }
        alias += len;
        alias += strspn(alias, " ");
    }
    if (!has_short) mosa_buf_append_str(out, "    ");
    mosa_buf_append_str(out, option->flag);
    const char *placeholder = mosa_option_placeholder(option);
    if (placeholder) mosa_buf_printf(out, " %s", placeholder);
}

static void append_help_row(mosa_buf *out, const mosa_option *option) {
    size_t begin = out->len;
    mosa_buf_append_str(out, "  ");
    append_flag(out, option);
    size_t used = out->len - begin;
    if (used + 2 > HELP_INDENT)
        mosa_buf_printf(out, "\n%*s", HELP_INDENT, "");
    else
        mosa_buf_printf(out, "%*s", (int)(HELP_INDENT - used), "");
    mosa_buf text = {0};
    mosa_buf_append_str(&text, option->help);
    if (option->type == MOSA_OPTION_LIST) mosa_buf_append_str(&text, " Can be repeated.");
    if (option->fallback && *option->fallback && option->type != MOSA_OPTION_BOOL)
        mosa_buf_printf(&text, " (default %s)", option->fallback);
    mosa_buf_append_wrapped(out, mosa_buf_str(&text), HELP_INDENT, HELP_INDENT, HELP_COLUMNS);
    mosa_buf_finish(&text);
}

static bool in_section(const mosa_option *option, const char *section) {
    size_t len = strlen(section);
    return option->key && strncmp(option->key, section, len) == 0 && option->key[len] == '.';
}

static bool has_section(const mosa_option_table *table, const mosa_option *option) {
    for (size_t i = 0; i < table->n_sections; i++)
        if (in_section(option, table->sections[i].name)) return true;
    return false;
}

void mosa_options_help(const mosa_option_table *table, mosa_buf *out) {
    bool any = false;
    for (size_t i = 0; i < table->n_options; i++) {
        if (!table->options[i].flag || !table->options[i].help || has_section(table, &table->options[i])) continue;
        if (!any) mosa_buf_append_str(out, "Options:\n");
        any = true;
        append_help_row(out, &table->options[i]);
    }
    for (size_t s = 0; s < table->n_sections; s++) {
        mosa_buf_printf(out, "%s%s:\n", any || s ? "\n" : "", table->sections[s].title);
        for (size_t i = 0; i < table->n_options; i++)
            if (table->options[i].flag && in_section(&table->options[i], table->sections[s].name))
                append_help_row(out, &table->options[i]);
    }
}

// --- mosa.yaml ----------------------------------------------------------------------------------------------------

static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";

static bool is_yaml_constant(const char *word) {
    static const char *const constants[] = {"null", "true", "false"};
    for (size_t i = 0; i < MOSA_COUNT(constants); i++)
        if (strcasecmp(word, constants[i]) == 0) return true;
    return false;
}

// The default as YAML: numbers and plain words bare, everything else quoted.
static void append_default(mosa_buf *out, const mosa_option *option) {
    const char *text = option->fallback ? option->fallback : "";
    if (option->type == MOSA_OPTION_LIST && !*text)
        mosa_buf_append_str(out, "[]");
    else if (option->type == MOSA_OPTION_BOOL)
        mosa_buf_append_str(out, *text ? text : "false");
    else if (!option->fallback && (option->type == MOSA_OPTION_STRING || option->type == MOSA_OPTION_CHOICE))
        mosa_buf_append_str(out, "null");
    else if (*text && strspn(text, plain) == strlen(text))
        mosa_buf_append_str(out, text);
    else
        mosa_json_append_string(out, mosa_slice_of(text));
}

static void append_yaml_row(mosa_buf *out, const mosa_option *option, const char *name) {
    mosa_buf_append_str(out, "\n  # ");
    mosa_buf_append_str(out, option->help);
    mosa_buf range = {0};
    mosa_option_append_range(option, &range);
    if (range.len) mosa_buf_printf(out, " (%s)", mosa_buf_str(&range));
    mosa_buf_finish(&range);
    mosa_buf_printf(out, "\n  # %s: ", name);
    append_default(out, option);
    mosa_buf_append_char(out, '\n');
}

void mosa_options_yaml(const mosa_option_table *table, mosa_buf *out) {
    mosa_buf_append_str(out,
                        "# Configuration of Mosa. Every line shows a default; remove the leading \"# \" to change it.\n"
                        "# Flags and MOSA_* environment variables are stronger than this file.\n");
    for (size_t s = 0; s < table->n_sections; s++) {
        const mosa_option_section *section = &table->sections[s];
        mosa_buf_printf(out, "\n# %s%s%s\n%s:\n", section->title, section->help ? ": " : "",
                        section->help ? section->help : "", section->name);
        for (size_t i = 0; i < table->n_options; i++)
            if (in_section(&table->options[i], section->name))
                append_yaml_row(out, &table->options[i], table->options[i].key + strlen(section->name) + 1);
    }
}

// A word that YAML reads back as the same text.
static void append_word(mosa_buf *out, const char *word) {
    if (isalpha((unsigned char)*word) && !is_yaml_constant(word) && strspn(word, plain) == strlen(word))
        mosa_buf_append_str(out, word);
    else
        mosa_json_append_string(out, mosa_slice_of(word));
}

static void append_shown(const mosa_option *option, const void *values, const char *indent, const char *name,
                         mosa_buf *out) {
    mosa_buf text = {0};
    mosa_option_append(option, values, &text);
    mosa_buf_printf(out, "%s%s: ", indent, name);
    if (option->secret && text.len)
        mosa_buf_append_str(out, "\"********\"");
    else if (option->type == MOSA_OPTION_LIST) {
        const mosa_string_list *list = (const mosa_string_list *)((const char *)values + option->offset);
        mosa_buf_append_char(out, '[');
        for (size_t i = 0; i < list->count; i++) {
            if (i) mosa_buf_append_str(out, ",");
            append_word(out, list->items[i]);
        }
        mosa_buf_append_char(out, ']');
    } else if (!text.data)
        mosa_buf_append_str(out, "null");
    else if (option->type == MOSA_OPTION_STRING || option->type == MOSA_OPTION_CHOICE)
        mosa_json_append_string(out, mosa_buf_slice(&text));
    else
        mosa_buf_append_str(out, mosa_buf_str(&text));
    mosa_buf_append_char(out, '\n');
    mosa_buf_finish(&text);
}

void mosa_options_show(const mosa_option_table *table, const void *values, mosa_buf *out) {
    for (size_t i = 0; i < table->n_options; i++)
        if (table->options[i].key && table->options[i].help && !has_section(table, &table->options[i]))
            append_shown(&table->options[i], values, "", table->options[i].key, out);
    for (size_t s = 0; s < table->n_sections; s++) {
        const char *section = table->sections[s].name;
        mosa_buf_printf(out, "%s:\n", section);
        for (size_t i = 0; i < table->n_options; i++)
            if (in_section(&table->options[i], section))
                append_shown(&table->options[i], values, "  ", table->options[i].key + strlen(section) + 1, out);
    }
}

// --- documentation ------------------------------------------------------------------------------------------------

static void append_cell(mosa_buf *out, const char *text) {
    for (; *text; text++) {
        if (*text == '|') mosa_buf_append_char(out, '\\');
        mosa_buf_append_char(out, *text);
    }
}

static void append_docs_row(mosa_buf *out, const mosa_option *option) {
    char env[MOSA_OPTION_NAME_MAX];
    mosa_option_env(option, env);
    const char *placeholder = mosa_option_placeholder(option);
    mosa_buf_printf(out, "| `%s` | ", option->key);
    if (option->flag) {
        mosa_buf_printf(out, "`%s%s", option->flag, placeholder ? " " : "");
        append_cell(out, placeholder ? placeholder : "");
        mosa_buf_append_char(out, '`');
    }
    for (const char *at = option->aliases; at && *at; at += strspn(at, " ")) {
        size_t len = next_word(at);
        mosa_buf_printf(out, ", `%.*s`", (int)len, at);
        at += len;
    }
    mosa_buf_printf(out, " | %s%s%s | ", *env ? "`" : "", env, *env ? "`" : "");
    if (option->fallback && *option->fallback) mosa_buf_printf(out, "`%s`", option->fallback);
    mosa_buf_append_str(out, " | ");
    append_cell(out, option->help);
    mosa_buf range = {0};
    if (option->type != MOSA_OPTION_CHOICE) mosa_option_append_range(option, &range);
    if (range.len) mosa_buf_printf(out, " (%s)", mosa_buf_str(&range));
    mosa_buf_finish(&range);
    mosa_buf_append_str(out, " |\n");
}

void mosa_options_docs(const mosa_option_table *table, mosa_buf *out) {
    for (size_t s = 0; s < table->n_sections; s++) {
        const mosa_option_section *section = &table->sections[s];
        mosa_buf_printf(out, "\n## %s\n\n", section->title);
        if (section->help) mosa_buf_printf(out, "%s\n\n", section->help);
        mosa_buf_append_str(out, "| key | flag | environment | default | meaning |\n|---|---|---|---|---|\n");
        for (size_t i = 0; i < table->n_options; i++)
            if (in_section(&table->options[i], section->name)) append_docs_row(out, &table->options[i]);
    }
}
