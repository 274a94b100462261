// Grammars of answers, one rule for each part: reasoning, content, each function's call and its arguments.
#include "text/dialect/answer_grammar.h"

#include "codec/json.h"

#include <stdio.h>

typedef struct writer {
    const mosa_answer_grammar *what;
    mosa_buf *out;
} writer;

static void put(writer *w, const char *text) {
    mosa_buf_append_str(w->out, text);
}

static void put_string(writer *w, const char *text) {
    mosa_buf_append_char(w->out, ' ');
    mosa_json_append_string(w->out, mosa_slice_of(text));
}

// The control token that is spelt so, or MOSA_TOKEN_NONE: its spelling as ordinary text means nothing then.
static mosa_token_id control_token(const writer *w, mosa_slice mark) {
    mosa_token_id id = mosa_tokenizer_find(w->what->tokenizer, mark);
    bool control = id != MOSA_TOKEN_NONE && mosa_tokenizer_token_type(w->what->tokenizer, id) == MOSA_TOKEN_CONTROL;
    return control ? id : MOSA_TOKEN_NONE;
}

static bool is_control(const writer *w, const char *mark) {
    return control_token(w, mosa_slice_of(mark)) != MOSA_TOKEN_NONE;
}

// The longest control token that `text` begins with: its length, or 0.
static size_t control_prefix(const writer *w, mosa_slice text, mosa_token_id *id) {
    if (*text.data != '<' && *text.data != '[') return 0;
    for (size_t len = text.len; len > 1; len--) {
        *id = control_token(w, (mosa_slice){text.data, len});
        if (*id != MOSA_TOKEN_NONE) return len;
    }
    return 0;
}

// A mark where there is one: its control tokens as such, what is between them as text.
static void put_mark(writer *w, const char *mark) {
    mosa_slice rest = mosa_slice_of(mark);
    while (rest.len) {
        size_t text = 0, control = 0;
        mosa_token_id id = MOSA_TOKEN_NONE;
        while (text < rest.len && !(control = control_prefix(w, (mosa_slice){rest.data + text, rest.len - text}, &id)))
            text++;
        if (text) {
            mosa_buf_append_char(w->out, ' ');
            mosa_json_append_string(w->out, (mosa_slice){rest.data, text});
        }
        if (control) mosa_buf_printf(w->out, " <[%d]>", (int)id);
        rest.data += text + control;
        rest.len -= text + control;
    }
}

// Any text without the marks (those that are control tokens are no text).
static void put_text_without(writer *w, const char *first, const char *second) {
    const char *const marks[] = {first, second};
    int n = 0;
    for (size_t i = 0; i < MOSA_COUNT(marks); i++) {
        if (!marks[i] || is_control(w, marks[i])) continue;
        if (n++ == 0) put(w, " (%without"); // in brackets: strings behind it would be further ones
        put_string(w, marks[i]);
    }
    put(w, n ? ")" : " /[\\s\\S]*/");
}

// Any text up to and with the mark.
static void put_text_until(writer *w, const char *mark) {
    put(w, is_control(w, mark) ? " /[\\s\\S]*/" : " %until");
    put_mark(w, mark);
}

void mosa_answer_grammar_choice(const json_t *texts, mosa_buf *out) {
    size_t i;
    json_t *text;
    mosa_buf_append_char(out, '(');
    json_array_foreach(texts, i, text) {
        if (i) mosa_buf_append_str(out, " | ");
        mosa_json_append_string(out, (mosa_slice){json_string_value(text), json_string_length(text)});
    }
    mosa_buf_append_char(out, ')');
}

void mosa_answer_grammar_pattern(mosa_slice pattern, mosa_buf *out) {
    bool escaped = false;
    mosa_buf_append_char(out, '/');
    for (size_t i = 0; i < pattern.len; i++) {
        char c = pattern.data[i];
        if (c == '/' && !escaped) mosa_buf_append_char(out, '\\');
        if (c == '\n')
            mosa_buf_append_str(out, escaped ? "n" : "\\n");
        else
            mosa_buf_append_char(out, c);
        escaped = c == '\\' && !escaped;
    }
    mosa_buf_append_char(out, '/');
}

// --- arguments ------------------------------------------------------------------------------------------------------

static const json_t *function_of(const writer *w, size_t i) {
    return json_object_get(json_array_get(w->what->tools, i), "function");
}

static const char *name_of(const writer *w, size_t i) {
    return json_string_value(json_object_get(function_of(w, i), "name"));
}

// A function without a schema has no arguments.
static void put_arguments_rule(writer *w, size_t i) {
    const json_t *parameters = json_object_get(function_of(w, i), "parameters");
    mosa_buf_printf(w->out, "arguments_%zu: %%json ", i);
    if (json_object_size(parameters) > 0)
        mosa_json_append(w->out, parameters);
    else
        put(w, "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}");
    put(w, "\n");
}

static bool is_required(const json_t *parameters, const char *key) {
    size_t i;
    json_t *name;
    json_array_foreach(json_object_get(parameters, "required"), i,
                       name) if (json_is_string(name) && strcmp(json_string_value(name), key) == 0) return true;
    return false;
}

// A parameter's value: a string as it is, anything else as JSON.
static void put_value(writer *w, const json_t *parameters, const json_t *schema) {
    const mosa_dialect *d = w->what->dialect;
    const char *type = json_string_value(json_object_get(schema, "type"));
    if (type && strcmp(type, "string") == 0 && !json_object_get(schema, "enum")) {
        put_text_without(w, d->param_close, NULL);
        return;
    }
    if (type && strcmp(type, "string") == 0) {
        mosa_buf_append_char(w->out, ' ');
        mosa_answer_grammar_choice(json_object_get(schema, "enum"), w->out);
        return;
    }
    // References point into the whole schema, which comes along.
    MOSA_AUTO_JSON json_t *copy = json_is_object(schema) ? json_copy((json_t *)schema) : json_object();
    static const char *const kept[] = {"$defs", "definitions"};
    for (size_t i = 0; i < MOSA_COUNT(kept); i++)
        if (json_object_get(parameters, kept[i])) json_object_set(copy, kept[i], json_object_get(parameters, kept[i]));
    put(w, " %json ");
    mosa_json_append(w->out, copy);
}

static void put_parameters(writer *w, size_t i) {
    const mosa_dialect *d = w->what->dialect;
    const json_t *parameters = json_object_get(function_of(w, i), "parameters");
    const char *key;
    json_t *schema;
    json_object_foreach(json_object_get(parameters, "properties"), key, schema) {
        put(w, " (");
        put_mark(w, d->param_open);
        put_string(w, key);
        put_mark(w, d->param_mid);
        if (d->param_mid2) put(w, " \"\\n\"");
        put_mark(w, d->param_mid2);
        if (d->value_lines) put(w, " \"\\n\"");
        put_value(w, parameters, schema);
        if (d->value_lines) put(w, " \"\\n\"");
        put_mark(w, d->param_close);
        put(w, is_required(parameters, key) ? " \"\\n\")" : " \"\\n\")?");
    }
}

// --- calls ----------------------------------------------------------------------------------------------------------

// The object alone; marks are put around it, or around the list.
static void put_object(writer *w, size_t i) {
    mosa_buf text = {0};
    mosa_buf_printf(&text, "{\"%s\": \"%s\", \"%s\": ", w->what->dialect == &mosa_dialect_cohere ? "tool_name" : "name",
                    name_of(w, i), w->what->dialect->arguments_key);
    put_string(w, mosa_buf_str(&text));
    mosa_buf_printf(w->out, " arguments_%zu \"}\"", i);
    if (mosa_buf_failed(&text)) w->out->failed = true;
    mosa_buf_finish(&text);
}

static void put_header(writer *w, size_t i) {
    const mosa_dialect *d = w->what->dialect;
    put_mark(w, d->call_open);
    put_mark(w, d->name_open);
    put_string(w, name_of(w, i));
    if (d == &mosa_dialect_kimi) put(w, " \":\" /[0-9]{1,3}/");
    put_mark(w, d->arguments_open);
    mosa_buf_printf(w->out, " arguments_%zu", i);
    put_mark(w, d->arguments_close);
    put_mark(w, d->call_close);
}

static void put_params(writer *w, size_t i) {
    const mosa_dialect *d = w->what->dialect;
    put_mark(w, d->call_open);
    if (d->name_open) put(w, " \"\\n\"");
    put_mark(w, d->name_open);
    put_string(w, name_of(w, i));
    put_mark(w, d->name_close);
    if (d->name_open) put(w, " \"\\n\"");
    put_parameters(w, i);
    put_mark(w, d->params_close);
    if (d->params_close) put(w, " \"\\n\"");
    put_mark(w, d->call_close);
}

static void put_harmony(writer *w, size_t i) {
    put_mark(w, "<|channel|>");
    put(w, " \"commentary to=functions.");
    put(w, name_of(w, i));
    put(w, " \"");
    put_mark(w, "<|constrain|>");
    put(w, " \"json\"");
    put_mark(w, "<|message|>");
    mosa_buf_printf(w->out, " arguments_%zu", i);
}

static void put_call_rules(writer *w) {
    size_t n = json_array_size(w->what->tools);
    mosa_call_form form = w->what->dialect->form;
    for (size_t i = 0; i < n; i++) {
        if (form != MOSA_CALL_PARAMS) put_arguments_rule(w, i);
        mosa_buf_printf(w->out, "call_%zu:", i);
        if (form == MOSA_CALL_OBJECT) put_object(w, i);
        if (form == MOSA_CALL_HEADER) put_header(w, i);
        if (form == MOSA_CALL_PARAMS) put_params(w, i);
        if (form == MOSA_CALL_HARMONY) put_harmony(w, i);
        put(w, "\n");
    }
    put(w, "one:");
    for (size_t i = 0; i < n; i++) mosa_buf_printf(w->out, "%s call_%zu", i ? " |" : "", i);
    put(w, "\n");
}

// One call and, where there may be more, those that follow it behind `separator`.
static void put_sequence(writer *w, const char *item, const char *separator) {
    bool several = w->what->parallel && w->what->dialect->form != MOSA_CALL_HARMONY;
    mosa_buf_printf(w->out, " %s", item);
    if (several) mosa_buf_printf(w->out, " (%s %s)*", separator, item);
}

static void put_calls_rule(writer *w) {
    const mosa_dialect *d = w->what->dialect;
    bool object = d->form == MOSA_CALL_OBJECT;
    bool marked = object && !d->list && d->call_close;
    if (marked) { // each object between marks of its own
        put(w, "marked:");
        put_mark(w, d->call_open);
        put(w, " \"\\n\" one \"\\n\"");
        put_mark(w, d->call_close);
        put(w, "\n");
    }
    put(w, "calls:");
    put_mark(w, d->section_open);
    if (d->list) {
        put_mark(w, d->call_open);
        put(w, " \"[\"");
        put_sequence(w, "one", "\", \"");
        put(w, " \"]\"");
        put_mark(w, d->call_close);
    } else if (object) {
        put_sequence(w, marked ? "marked" : "one", marked ? "\"\\n\"" : "\"; \"");
    } else {
        put_sequence(w, "one", d->form == MOSA_CALL_PARAMS ? "\"\\n\"" : "");
    }
    put_mark(w, d->section_close);
    put(w, "\n");
}

// --- the answer -----------------------------------------------------------------------------------------------------

static void put_reasoning_rule(writer *w) {
    const mosa_answer_grammar *what = w->what;
    put(w, "reasoning:");
    if (what->dialect->form == MOSA_CALL_HARMONY) {
        put_mark(w, "<|channel|>");
        put(w, " \"analysis\"");
        put_mark(w, "<|message|>");
        put(w, " /[\\s\\S]*/");
        put_mark(w, "<|end|>");
        put_mark(w, "<|start|>");
        put(w, " \"assistant\"\n");
        return;
    }
    if (what->state == MOSA_REASONING_MAYBE) put_mark(w, what->reasoning->open);
    put_text_until(w, what->reasoning->close);
    put(w, " /\\n{0,2}/\n");
}

static void put_content_rule(writer *w) {
    const mosa_answer_grammar *what = w->what;
    const mosa_dialect *d = what->dialect;
    put(w, "content:");
    if (d->form == MOSA_CALL_HARMONY) {
        put_mark(w, "<|channel|>");
        put(w, " \"final\"");
        put_mark(w, "<|message|>");
    }
    if (what->content.len) {
        put(w, " ");
        mosa_buf_append_slice(w->out, what->content);
    } else if (!what->tools) {
        put(w, " /[\\s\\S]*/");
    } else if (d->form == MOSA_CALL_OBJECT && d->bare && !d->call_close) {
        put(w, " /([^{][\\s\\S]*)?/"); // what begins with a brace is a call
    } else {
        put_text_without(w, d->section_open, d->call_open);
    }
    put(w, "\n");
}

void mosa_answer_grammar_write(const mosa_answer_grammar *what, mosa_buf *out) {
    writer w = {what, out};
    bool harmony = what->dialect->form == MOSA_CALL_HARMONY;
    bool reasons = harmony || (what->reasoning && what->state != MOSA_REASONING_NONE);
    bool content = !what->forced || !what->tools;
    put(&w, "start:");
    if (reasons) put(&w, what->state == MOSA_REASONING_OPEN && !harmony ? " reasoning" : " reasoning?");
    // Text before a call is the model's to write where nothing says what content must be.
    if (content) put(&w, what->tools ? what->content.len ? " (content | calls)" : " content calls?" : " content");
    if (!content) put(&w, " calls");
    put(&w, "\n");
    if (reasons) put_reasoning_rule(&w);
    if (content) put_content_rule(&w);
    if (!what->tools) return;
    put_call_rules(&w);
    put_calls_rule(&w);
}
