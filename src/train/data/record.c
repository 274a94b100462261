// Each format's record, checked field by field and brought into the one form. A parser fills `out` from `out->root`,
// which keeps everything that it borrows alive.
#include "train/data/format_internal.h"

#include "codec/config.h"
#include "codec/json.h"

#include <stdio.h>
#include <string.h>

typedef struct parser {
    json_t *object; // borrowed from out->root
    const mosa_data_layout *layout;
    mosa_record *out;
    mosa_error *err;
} parser;

void mosa_record_finish(mosa_record *record) {
    json_decref(record->messages);
    json_decref(record->rejected);
    json_decref(record->tools);
    json_decref(record->root);
    *record = (mosa_record){0};
}

static mosa_slice string_slice(const json_t *value) {
    return (mosa_slice){json_string_value(value), json_string_length(value)};
}

static json_t *field(const parser *p, const char *name) {
    json_t *value = json_object_get(p->object, name);
    return json_is_null(value) ? NULL : value;
}

static const char *or_name(const char *mapped, const char *own) {
    return mapped ? mapped : own;
}

// --- fields ---------------------------------------------------------------------------------------------------------

// What data sets carry along and no format reads.
static const char *const carried[] = {"id",       "uuid",   "metadata", "meta",      "source",  "dataset", "category",
                                      "language", "lang",   "url",      "tags",      "title",   "date",    "split",
                                      "score",    "scores", "model",    "origin",    "license", "author",  "hash",
                                      "topic",    "domain", "type",     "timestamp", "subset",  "weight"};

// Refuses fields that are neither in `known` (NULL entries are passed over) nor carried along.
static mosa_status check_fields(const parser *p, const char *const *known, size_t n, mosa_error *err) {
    const char *key, *names[64];
    json_t *value;
    size_t n_names = 0;
    for (size_t i = 0; i < n; i++)
        if (known[i]) names[n_names++] = known[i];
    json_object_foreach(p->object, key, value) {
        bool found = p->layout->ignore_unknown || json_is_null(value);
        for (size_t i = 0; i < n_names && !found; i++) found = strcmp(names[i], key) == 0;
        for (size_t i = 0; i < MOSA_COUNT(carried) && !found; i++) found = strcmp(carried[i], key) == 0;
        if (found) continue;
        (void)mosa_fail(err, MOSA_EINVALID, "unknown field \"%.60s\"", key);
        const char *near = mosa_nearest_word(key, names, n_names);
        return near ? mosa_hint(err, "did you mean \"%s\"? Unknown fields are passed over with --ignore-unknown", near)
                    : mosa_hint(err, "remove it, map it with --column, or pass over unknown fields with "
                                     "--ignore-unknown");
    }
    return MOSA_OK;
}
#define CHECK_FIELDS(p, ...)                                                                                           \
    do {                                                                                                               \
        const char *const known_[] = {__VA_ARGS__};                                                                    \
        MOSA_TRY(check_fields((p), known_, MOSA_COUNT(known_), (p)->err));                                             \
    } while (0)

static mosa_status read_common(parser *p) {
    const json_t *weight = field(p, "weight");
    const json_t *id = field(p, or_name(p->layout->id, "id"));
    p->out->weight = 1;
    if (json_is_string(id)) p->out->id = string_slice(id);
    if (!weight) return MOSA_OK;
    p->out->weight = json_number_value(weight);
    if (json_is_number(weight) && p->out->weight >= 0 && p->out->weight <= 1e6) return MOSA_OK;
    return mosa_fail(p->err, MOSA_EINVALID, "weight must be a number from 0 on");
}

static mosa_status read_label(parser *p, const char *name) {
    const json_t *label = field(p, name);
    if (!json_is_boolean(label))
        return mosa_fail(p->err, MOSA_EINVALID, "%s must be true or false, it is %s", name, mosa_json_type_name(label));
    p->out->kind = MOSA_DATA_LABELLED;
    p->out->good = json_is_true(label);
    return MOSA_OK;
}

// --- endings --------------------------------------------------------------------------------------------------------

// prompt + ending as one list that shares their messages.
static mosa_status join(json_t *prompt, json_t *ending, json_t **out, mosa_error *err) {
    MOSA_AUTO_JSON json_t *whole = json_array();
    if (!whole || json_array_extend(whole, prompt) != 0 || json_array_extend(whole, ending) != 0)
        return format_no_memory(err);
    *out = json_incref(whole);
    return MOSA_OK;
}

// An ending as a list of checked messages: a string, a message, a list of messages, or ShareGPT's turns.
static mosa_status read_ending(parser *p, const char *name, json_t **out) {
    json_t *value = field(p, name);
    MOSA_AUTO_JSON json_t *list = json_array();
    mosa_status status = MOSA_OK;
    if (!list) return format_no_memory(p->err);
    if (!value) return mosa_fail(p->err, MOSA_EINVALID, "%s is missing", name);
    if (json_is_string(value)) {
        status = format_append(list, "assistant", string_slice(value), p->err);
    } else if (json_is_object(value)) {
        bool turn = format_is_turn(value, p->layout) && !json_object_get(value, "role");
        if (turn)
            status = format_add_turn(list, value, name, p->layout, p->err);
        else if (json_array_append(list, value) != 0)
            status = format_no_memory(p->err);
    } else if (json_is_array(value)) {
        if (json_array_extend(list, value) != 0) status = format_no_memory(p->err);
    } else {
        status = mosa_fail(p->err, MOSA_EINVALID, "%s must be a string or messages, it is %s", name,
                           mosa_json_type_name(value));
    }
    MOSA_TRY(status);
    MOSA_TRY(format_check_messages(list, name, true, p->layout, p->err));
    *out = json_incref(list);
    return MOSA_OK;
}

// Chosen and rejected endings behind a checked prompt.
static mosa_status read_pair(parser *p, json_t *prompt, const char *chosen_name, const char *rejected_name) {
    MOSA_AUTO_JSON json_t *chosen = NULL;
    MOSA_AUTO_JSON json_t *rejected = NULL;
    MOSA_TRY(read_ending(p, chosen_name, &chosen));
    MOSA_TRY(read_ending(p, rejected_name, &rejected));
    if (json_equal(chosen, rejected)) {
        (void)mosa_fail(p->err, MOSA_EINVALID, "%s and %s are the same: no preference", chosen_name, rejected_name);
        return mosa_hint(p->err, "remove the record");
    }
    p->out->kind = MOSA_DATA_PAIRS;
    p->out->chat = true;
    p->out->n_prompt = json_array_size(prompt);
    MOSA_TRY(join(prompt, chosen, &p->out->messages, p->err));
    return join(prompt, rejected, &p->out->rejected, p->err);
}

// --- conversations --------------------------------------------------------------------------------------------------

// The checked list in out->messages becomes a chat, a labelled one or the prompt of a pair, as the other fields say.
static mosa_status finish_chat(parser *p, const char *name) {
    const mosa_data_layout *l = p->layout;
    const char *chosen = or_name(l->chosen, "chosen"), *rejected = or_name(l->rejected, "rejected");
    const char *label = or_name(l->kto_tag, field(p, "kto_tag") ? "kto_tag" : "label");
    mosa_record *out = p->out;
    out->chat = true;
    out->kind = MOSA_DATA_CHAT;
    if (field(p, chosen) || field(p, rejected)) {
        MOSA_AUTO_JSON json_t *prompt = out->messages;
        out->messages = NULL;
        MOSA_TRY(format_check_messages(prompt, name, false, l, p->err));
        return read_pair(p, prompt, chosen, rejected);
    }
    MOSA_TRY(format_check_messages(out->messages, name, true, l, p->err));
    if (!field(p, label)) return MOSA_OK;
    out->n_prompt = json_array_size(out->messages) - 1;
    return read_label(p, label);
}

static mosa_status parse_openai(parser *p) {
    const mosa_data_layout *l = p->layout;
    const char *name = or_name(l->messages, field(p, "messages") ? "messages" : "conversations");
    const char *tools = or_name(l->tools, "tools");
    CHECK_FIELDS(p, name, tools, "parallel_tool_calls", or_name(l->chosen, "chosen"), or_name(l->rejected, "rejected"),
                 "label", or_name(l->kto_tag, "kto_tag"), l->id);
    MOSA_TRY(format_tools(field(p, tools), tools, &p->out->tools, p->err));
    p->out->messages = json_incref(field(p, name));
    if (!p->out->messages) return mosa_fail(p->err, MOSA_EINVALID, "%s is missing", name);
    return finish_chat(p, name);
}

static mosa_status parse_openai_dpo(parser *p) {
    static const char chosen[] = "preferred_output", rejected[] = "non_preferred_output";
    CHECK_FIELDS(p, "input", chosen, rejected, p->layout->id);
    const json_t *input = field(p, "input");
    if (!json_is_object(input)) return mosa_fail(p->err, MOSA_EINVALID, "input must be an object with messages");
    json_t *messages = json_object_get(input, "messages");
    MOSA_TRY(format_tools(json_object_get(input, "tools"), "input.tools", &p->out->tools, p->err));
    MOSA_TRY(format_check_messages(messages, "input.messages", false, p->layout, p->err));
    return read_pair(p, messages, chosen, rejected);
}

// A system text that a field gives goes first.
static mosa_status add_system(parser *p, json_t *messages, const char *name) {
    mosa_slice system;
    MOSA_TRY(format_string(p->object, name, false, &system, p->err));
    return system.len ? format_append(messages, "system", system, p->err) : MOSA_OK;
}

static mosa_status parse_sharegpt(parser *p) {
    const mosa_data_layout *l = p->layout;
    const char *name = or_name(l->messages, field(p, "conversations") ? "conversations" : "messages");
    const char *tools = or_name(l->tools, "tools"), *system = or_name(l->system, "system");
    CHECK_FIELDS(p, name, tools, system, or_name(l->chosen, "chosen"), or_name(l->rejected, "rejected"), "label",
                 or_name(l->kto_tag, "kto_tag"), l->id);
    MOSA_AUTO_JSON json_t *head = json_array();
    MOSA_AUTO_JSON json_t *turns = NULL;
    if (!head) return format_no_memory(p->err);
    MOSA_TRY(format_tools(field(p, tools), tools, &p->out->tools, p->err));
    MOSA_TRY(add_system(p, head, system));
    MOSA_TRY(format_from_sharegpt(field(p, name), name, l, &turns, p->err));
    MOSA_TRY(join(head, turns, &p->out->messages, p->err));
    return finish_chat(p, name);
}

// --- Alpaca ---------------------------------------------------------------------------------------------------------

static mosa_status add_history(parser *p, json_t *messages, const char *name) {
    const json_t *history = field(p, name);
    if (history && !json_is_array(history)) return mosa_fail(p->err, MOSA_EINVALID, "%s must be a list of pairs", name);
    for (size_t i = 0; i < json_array_size(history); i++) {
        const json_t *pair = json_array_get(history, i), *asked = json_array_get(pair, 0),
                     *said = json_array_get(pair, 1);
        if (json_array_size(pair) != 2 || !json_is_string(asked) || !json_is_string(said))
            return mosa_fail(p->err, MOSA_EINVALID, "%s[%zu] must be a list of two strings", name, i);
        MOSA_TRY(format_append(messages, "user", string_slice(asked), p->err));
        MOSA_TRY(format_append(messages, "assistant", string_slice(said), p->err));
    }
    return MOSA_OK;
}

// The instruction, a newline, and the input where there is one.
static mosa_status add_instruction(parser *p, json_t *messages, const char *prompt, const char *query) {
    mosa_slice instruction, input;
    MOSA_TRY(format_string(p->object, prompt, true, &instruction, p->err));
    MOSA_TRY(format_string(p->object, query, false, &input, p->err));
    mosa_buf text = {0};
    mosa_buf_append_slice(&text, instruction);
    if (instruction.len && input.len) mosa_buf_append_char(&text, '\n');
    mosa_buf_append_slice(&text, input);
    mosa_status status = mosa_buf_failed(&text) ? format_no_memory(p->err)
                                                : format_append(messages, "user", mosa_buf_slice(&text), p->err);
    mosa_buf_finish(&text);
    return status;
}

static mosa_status parse_alpaca(parser *p) {
    const mosa_data_layout *l = p->layout;
    const char *prompt = or_name(l->prompt, "instruction"), *query = or_name(l->query, "input");
    const char *response = or_name(l->response, "output"), *history = or_name(l->history, "history");
    const char *system = or_name(l->system, "system");
    const char *chosen = or_name(l->chosen, "chosen"), *rejected = or_name(l->rejected, "rejected");
    CHECK_FIELDS(p, prompt, query, response, history, system, chosen, rejected, or_name(l->kto_tag, "kto_tag"), "label",
                 "text", or_name(l->tools, "tools"), l->id);
    json_t *messages = p->out->messages = json_array();
    if (!messages) return format_no_memory(p->err);
    MOSA_TRY(format_tools(field(p, or_name(l->tools, "tools")), "tools", &p->out->tools, p->err));
    MOSA_TRY(add_system(p, messages, system));
    MOSA_TRY(add_history(p, messages, history));
    MOSA_TRY(add_instruction(p, messages, prompt, query));
    if (field(p, chosen) || field(p, rejected)) return finish_chat(p, prompt);
    mosa_slice answer;
    MOSA_TRY(format_string(p->object, response, true, &answer, p->err));
    MOSA_TRY(format_append(messages, "assistant", answer, p->err));
    return finish_chat(p, "messages");
}

// --- TRL ------------------------------------------------------------------------------------------------------------

static mosa_status parse_text(parser *p) {
    const char *name = or_name(p->layout->text, "text");
    CHECK_FIELDS(p, name, p->layout->id);
    p->out->kind = MOSA_DATA_TEXT;
    MOSA_TRY(format_string(p->object, name, true, &p->out->text, p->err));
    return p->out->text.len ? MOSA_OK : mosa_fail(p->err, MOSA_EINVALID, "%s is empty", name);
}

static mosa_status parse_completion(parser *p) {
    const mosa_data_layout *l = p->layout;
    CHECK_FIELDS(p, "prompt", "completion", "label", or_name(l->kto_tag, "kto_tag"), "tools", l->id);
    mosa_record *out = p->out;
    const char *label = or_name(l->kto_tag, field(p, "kto_tag") ? "kto_tag" : "label");
    json_t *prompt = field(p, "prompt");
    out->kind = MOSA_DATA_CHAT;
    MOSA_TRY(format_tools(field(p, "tools"), "tools", &out->tools, p->err));
    if (field(p, label)) MOSA_TRY(read_label(p, label));
    if (json_is_array(prompt)) {
        MOSA_AUTO_JSON json_t *ending = NULL;
        MOSA_TRY(format_check_messages(prompt, "prompt", false, l, p->err));
        MOSA_TRY(read_ending(p, "completion", &ending));
        out->chat = true;
        out->n_prompt = json_array_size(prompt);
        return join(prompt, ending, &out->messages, p->err);
    }
    MOSA_TRY(format_string(p->object, "prompt", true, &out->text, p->err));
    MOSA_TRY(format_string(p->object, "completion", true, &out->answer, p->err));
    return out->answer.len ? MOSA_OK : mosa_fail(p->err, MOSA_EINVALID, "completion is empty");
}

// What two conversations begin with is their prompt.
static mosa_status split_messages(parser *p, json_t *chosen, json_t *rejected) {
    mosa_record *out = p->out;
    size_t n = 0;
    MOSA_TRY(format_check_messages(chosen, "chosen", true, p->layout, p->err));
    MOSA_TRY(format_check_messages(rejected, "rejected", true, p->layout, p->err));
    while (n < json_array_size(chosen) && json_equal(json_array_get(chosen, n), json_array_get(rejected, n))) n++;
    if (n == json_array_size(chosen) || n == json_array_size(rejected))
        return mosa_fail(p->err, MOSA_EINVALID, "chosen and rejected are the same, or one begins the other");
    if (n == 0)
        return mosa_fail(p->err, MOSA_EINVALID, "chosen and rejected have no message in common: where is the prompt?");
    out->chat = true;
    out->n_prompt = n;
    out->messages = json_incref(chosen);
    out->rejected = json_incref(rejected);
    return MOSA_OK;
}

// Two strings begin with the prompt; a blank at its end belongs to the answers (as TRL's extract_prompt has it).
static mosa_status split_texts(parser *p, mosa_slice chosen, mosa_slice rejected) {
    size_t n = 0;
    while (n < chosen.len && n < rejected.len && chosen.data[n] == rejected.data[n]) n++;
    if (n && n < chosen.len && chosen.data[n - 1] == ' ') n--;
    while (n && n < chosen.len && (chosen.data[n] & 0xC0) == 0x80) n--; // not inside a character
    p->out->text = (mosa_slice){chosen.data, n};
    p->out->answer = (mosa_slice){chosen.data + n, chosen.len - n};
    p->out->rejected_answer = (mosa_slice){rejected.data + n, rejected.len - n};
    return MOSA_OK;
}

static mosa_status parse_preference(parser *p) {
    const mosa_data_layout *l = p->layout;
    const char *chosen_name = or_name(l->chosen, "chosen"), *rejected_name = or_name(l->rejected, "rejected");
    CHECK_FIELDS(p, "prompt", chosen_name, rejected_name, "tools", "score_chosen", "score_rejected", "margin", l->id);
    json_t *prompt = field(p, "prompt"), *chosen = field(p, chosen_name), *rejected = field(p, rejected_name);
    mosa_record *out = p->out;
    out->kind = MOSA_DATA_PAIRS;
    MOSA_TRY(format_tools(field(p, "tools"), "tools", &out->tools, p->err));
    if (json_is_array(prompt)) {
        MOSA_TRY(format_check_messages(prompt, "prompt", false, l, p->err));
        return read_pair(p, prompt, chosen_name, rejected_name);
    }
    // UltraFeedback's layout: the prompt as a string beside two whole conversations.
    if (json_is_array(chosen) && json_is_array(rejected)) return split_messages(p, chosen, rejected);
    mosa_slice good, bad;
    MOSA_TRY(format_string(p->object, chosen_name, true, &good, p->err));
    MOSA_TRY(format_string(p->object, rejected_name, true, &bad, p->err));
    MOSA_TRY(format_string(p->object, "prompt", false, &out->text, p->err));
    if (mosa_slice_eq(good, bad))
        return mosa_fail(p->err, MOSA_EINVALID, "%s and %s are the same: no preference", chosen_name, rejected_name);
    if (!prompt) MOSA_TRY(split_texts(p, good, bad));
    if (prompt) out->answer = good, out->rejected_answer = bad;
    if (out->answer.len && out->rejected_answer.len) return MOSA_OK;
    return mosa_fail(p->err, MOSA_EINVALID, "%s is empty", out->answer.len ? rejected_name : chosen_name);
}

// --- entry ----------------------------------------------------------------------------------------------------------

mosa_status mosa_record_parse(json_t *object, mosa_data_format format, const mosa_data_layout *layout, mosa_record *out,
                              mosa_error *err) {
    static mosa_status (*const parsers[MOSA_FORMAT_COUNT])(parser *) = {
        [MOSA_FORMAT_TEXT] = parse_text,
        [MOSA_FORMAT_OPENAI] = parse_openai,
        [MOSA_FORMAT_OPENAI_DPO] = parse_openai_dpo,
        [MOSA_FORMAT_ALPACA] = parse_alpaca,
        [MOSA_FORMAT_SHAREGPT] = parse_sharegpt,
        [MOSA_FORMAT_COMPLETION] = parse_completion,
        [MOSA_FORMAT_PREFERENCE] = parse_preference,
    };
    mosa_record record = {.root = object};
    parser p = {object, layout, &record, err};
    mosa_status status = read_common(&p);
    if (status == MOSA_OK) status = parsers[format](&p);
    if (status != MOSA_OK) {
        mosa_record_finish(&record);
        return status;
    }
    *out = record;
    return MOSA_OK;
}
