// Conversations to prompts: prepares the variables as transformers' apply_chat_template does, renders, and cuts the end
// off when the last message is to be continued. The inputs are shared by reference, never written to.
#include "text/chat_template.h"

#include <stdlib.h>
#include <string.h>

struct mosa_chat_template {
    mosa_jinja_template *jinja;
    char *source;           // NUL-terminated
    json_t *special_tokens; // object
    mosa_jinja_limits limits;
};

// Appended to the message that is to be continued, and looked for in the output.
static const char continue_tag[] = "CONTINUE_FINAL_MESSAGE_TAG ";
enum { CONTINUE_TAG_BARE = sizeof continue_tag - 2 }; // without the blank, which templates may strip

static const char *const reasoning_fields[] = {"reasoning_content", "thinking", "reasoning"};

static void release_json(json_t **json) {
    json_decref(*json);
}
#define OWNED_JSON MOSA_AUTO(release_json) json_t *

static mosa_status no_memory(mosa_error *err) {
    return mosa_fail(err, MOSA_ENOMEM, "chat template: out of memory");
}

mosa_status mosa_chat_template_create(const mosa_chat_template_source *source, mosa_chat_template **out,
                                      mosa_error *err) {
    mosa_slice text = source->template.data ? source->template : mosa_chat_template_chatml();
    mosa_chat_template *tmpl = calloc(1, sizeof *tmpl);
    if (!tmpl) return no_memory(err);
    mosa_status status = MOSA_OK;
    tmpl->limits = source->limits;
    tmpl->source = strndup(text.data, text.len);
    tmpl->special_tokens = source->special_tokens ? json_deep_copy(source->special_tokens) : json_object();
    bool ok = tmpl->source && tmpl->special_tokens;
    if (ok && source->bos_token)
        ok = json_object_set_new(tmpl->special_tokens, "bos_token", json_string(source->bos_token)) == 0;
    if (ok && source->eos_token)
        ok = json_object_set_new(tmpl->special_tokens, "eos_token", json_string(source->eos_token)) == 0;
    status = ok ? mosa_jinja_parse(text, &tmpl->jinja, err) : no_memory(err);
    if (status != MOSA_OK) {
        mosa_chat_template_destroy(tmpl);
        return status;
    }
    *out = tmpl;
    return MOSA_OK;
}

void mosa_chat_template_destroy(mosa_chat_template *tmpl) {
    if (!tmpl) return;
    mosa_jinja_destroy(tmpl->jinja);
    json_decref(tmpl->special_tokens);
    free(tmpl->source);
    free(tmpl);
}

mosa_slice mosa_chat_template_text(const mosa_chat_template *tmpl) {
    return mosa_slice_of(tmpl->source);
}

bool mosa_chat_template_has_generation(const mosa_chat_template *tmpl) {
    return mosa_jinja_has_generation(tmpl->jinja);
}

// Some templates build a special token from the role, '<|' + message.role + '|>'. These are the roles that APIs know;
// a role outside of the list stays untrusted.
static bool trusts_member(const char *key, mosa_slice text) {
    static const char *const roles[] = {"system",  "developer",   "user",        "assistant", "tool",     "function",
                                        "ipython", "observation", "environment", "model",     "documents"};
    if (strcmp(key, "role") != 0) return false;
    for (size_t i = 0; i < MOSA_COUNT(roles); i++)
        if (mosa_slice_eq(text, mosa_slice_of(roles[i]))) return true;
    return false;
}

static bool set_shared(json_t *object, const char *key, json_t *value) {
    return json_object_set(object, key, value) == 0;
}

// A copy of the message without null members, with its reasoning under the names that templates read.
static json_t *prepare_message(json_t *message) {
    const char *key;
    json_t *value, *reasoning = NULL, *copy = json_object();
    bool ok = copy != NULL;
    for (size_t i = 0; i < MOSA_COUNT(reasoning_fields) && !reasoning; i++) {
        reasoning = json_object_get(message, reasoning_fields[i]);
        if (json_is_null(reasoning)) reasoning = NULL;
    }
    if (ok && reasoning) ok = set_shared(copy, "thinking", reasoning);
    json_object_foreach(message, key, value) {
        if (ok && !json_is_null(value)) ok = set_shared(copy, key, value);
    }
    if (ok && reasoning) ok = set_shared(copy, "reasoning_content", reasoning);
    if (ok) return copy;
    json_decref(copy);
    return NULL;
}

static mosa_status prepare_messages(json_t *messages, json_t **out, mosa_error *err) {
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return mosa_fail(err, MOSA_EINVALID, "messages must be a non-empty array");
    OWNED_JSON prepared = json_array();
    if (!prepared) return no_memory(err);
    size_t i;
    json_t *message;
    json_array_foreach(messages, i, message) {
        if (!json_is_object(message)) return mosa_fail(err, MOSA_EINVALID, "messages[%zu] must be an object", i);
        if (json_array_append_new(prepared, prepare_message(message)) != 0) return no_memory(err);
    }
    *out = json_incref(prepared);
    return MOSA_OK;
}

static json_t *with_tag(json_t *text) {
    return json_sprintf("%s%s", json_string_value(text), continue_tag);
}

// Tags the last text part of content given as an array; *text is what it said.
static mosa_status tag_parts(json_t *message, const char *field, json_t *parts, json_t **text, mosa_error *err) {
    OWNED_JSON copy = json_copy(parts);
    if (!copy) return no_memory(err);
    for (size_t i = json_array_size(copy); i-- > 0;) {
        json_t *part = json_array_get(copy, i), *said = json_object_get(part, "text");
        if (!said) continue;
        if (!json_is_string(said)) return mosa_fail(err, MOSA_EINVALID, "the text to continue is not a string");
        json_t *tagged = json_copy(part);
        *text = said;
        if (!tagged || json_object_set_new(tagged, "text", with_tag(said)) != 0 ||
            json_array_set_new(copy, i, tagged) != 0 || !set_shared(message, field, copy))
            return no_memory(err);
        return MOSA_OK;
    }
    return mosa_fail(err, MOSA_EINVALID, "continue_final_message is set but the final message has no text to continue");
}

static bool is_reasoning(const char *field) {
    for (size_t i = 0; i < MOSA_COUNT(reasoning_fields); i++)
        if (strcmp(field, reasoning_fields[i]) == 0) return true;
    return false;
}

// Tags the field, and the other names of the reasoning that say the same. *read: the template mentions one of them.
static mosa_status tag_field(const mosa_chat_template *tmpl, json_t *message, const char *field, json_t *said,
                             bool *read, mosa_error *err) {
    bool aliased = is_reasoning(field);
    const char *const *fields = aliased ? reasoning_fields : &field;
    for (size_t i = 0; i < (aliased ? MOSA_COUNT(reasoning_fields) : 1); i++) {
        json_t *value = json_object_get(message, fields[i]);
        if (!json_equal(value, said)) continue;
        *read |= strstr(tmpl->source, fields[i]) != NULL;
        if (json_is_string(said) && json_object_set_new(message, fields[i], with_tag(said)) != 0) return no_memory(err);
    }
    return MOSA_OK;
}

// *said: the text that is continued, owned by the caller's messages.
static mosa_status tag_final_message(const mosa_chat_template *tmpl, json_t *messages, const char *field, json_t **said,
                                     mosa_error *err) {
    json_t *message = json_array_get(messages, json_array_size(messages) - 1), *value = json_object_get(message, field);
    if (!value)
        return mosa_fail(err, MOSA_EINVALID,
                         "continue_final_message is set but the final message has no \"%s\" to continue", field);
    OWNED_JSON kept = json_incref(value);
    bool read = false;
    MOSA_TRY(tag_field(tmpl, message, field, kept, &read, err));
    if (!read)
        return mosa_fail(err, MOSA_EINVALID, "continue_final_message: the chat template does not read \"%s\"", field);
    *said = value;
    if (json_is_array(value)) return tag_parts(message, field, value, said, err);
    if (!json_is_string(value)) return mosa_fail(err, MOSA_EINVALID, "the text to continue is not a string");
    return MOSA_OK;
}

static bool is_blank(unsigned char c) {
    return c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31);
}

static mosa_slice stripped(mosa_slice text) {
    while (text.len && is_blank((unsigned char)text.data[0])) text.data++, text.len--;
    while (text.len && is_blank((unsigned char)text.data[text.len - 1])) text.len--;
    return text;
}

static void cut_output(mosa_jinja_output *out, size_t len) {
    out->len = len;
    out->text[len] = '\0';
    while (out->n_ranges && out->ranges[out->n_ranges - 1].offset >= len) out->n_ranges--;
    if (out->n_ranges) out->ranges[out->n_ranges - 1].len = len - out->ranges[out->n_ranges - 1].offset;
}

// Cuts the output before the last tag; blanks before it too, when the template stripped the tag's own.
static mosa_status cut_at_tag(mosa_jinja_output *out, json_t *said, mosa_error *err) {
    mosa_slice words = stripped((mosa_slice){json_string_value(said), json_string_length(said)});
    size_t at = SIZE_MAX;
    for (size_t i = out->len >= CONTINUE_TAG_BARE ? out->len - CONTINUE_TAG_BARE + 1 : 0; i-- > 0 && at == SIZE_MAX;)
        if (memcmp(out->text + i, continue_tag, CONTINUE_TAG_BARE) == 0) at = i;
    bool whole = words.len == 0 || memmem(out->text, out->len, words.data, words.len);
    if (at == SIZE_MAX || !whole)
        return mosa_fail(err, MOSA_EINVALID,
                         "continue_final_message is set but the final message does not appear in the rendered chat");
    bool kept = out->len - at > CONTINUE_TAG_BARE && out->text[at + CONTINUE_TAG_BARE] == ' ';
    if (!kept)
        at -= at - (size_t)(stripped((mosa_slice){out->text, at}).data - out->text) -
              stripped((mosa_slice){out->text, at}).len;
    cut_output(out, at);
    return MOSA_OK;
}

static mosa_status check_objects(json_t *array, const char *name, mosa_error *err) {
    if (!array || json_is_null(array)) return MOSA_OK;
    if (!json_is_array(array)) return mosa_fail(err, MOSA_EINVALID, "%s must be an array", name);
    for (size_t i = 0; i < json_array_size(array); i++)
        if (!json_is_object(json_array_get(array, i)))
            return mosa_fail(err, MOSA_EINVALID, "%s[%zu] must be an object", name, i);
    return MOSA_OK;
}

static mosa_status make_variables(json_t *messages, const mosa_chat_options *options, json_t **out, mosa_error *err) {
    static const char *const reserved[] = {"messages", "tools", "documents", "add_generation_prompt"};
    if (options->kwargs && !json_is_object(options->kwargs))
        return mosa_fail(err, MOSA_EINVALID, "chat_template_kwargs must be an object");
    for (size_t i = 0; i < MOSA_COUNT(reserved); i++)
        if (options->kwargs && json_object_get(options->kwargs, reserved[i]))
            return mosa_fail(err, MOSA_EINVALID, "chat_template_kwargs may not contain \"%s\"", reserved[i]);
    MOSA_TRY(check_objects(options->tools, "tools", err));
    MOSA_TRY(check_objects(options->documents, "documents", err));
    OWNED_JSON variables = options->kwargs ? json_copy(options->kwargs) : json_object();
    bool ok = variables && set_shared(variables, "messages", messages) &&
              set_shared(variables, "tools", options->tools ? options->tools : json_null()) &&
              set_shared(variables, "documents", options->documents ? options->documents : json_null()) &&
              set_shared(variables, "add_generation_prompt", json_boolean(options->add_generation_prompt));
    if (!ok) return no_memory(err);
    *out = json_incref(variables);
    return MOSA_OK;
}

mosa_status mosa_chat_template_render(const mosa_chat_template *tmpl, json_t *messages,
                                      const mosa_chat_options *options, mosa_jinja_output *out, mosa_error *err) {
    static const mosa_chat_options plain;
    OWNED_JSON prepared = NULL;
    OWNED_JSON variables = NULL;
    json_t *said = NULL;
    if (!options) options = &plain;
    if (options->continue_final_message && options->add_generation_prompt)
        return mosa_fail(err, MOSA_EINVALID, "continue_final_message and add_generation_prompt exclude each other");
    MOSA_TRY(prepare_messages(messages, &prepared, err));
    if (options->continue_final_message)
        MOSA_TRY(tag_final_message(tmpl, prepared, options->continue_field ? options->continue_field : "content", &said,
                                   err));
    MOSA_TRY(make_variables(prepared, options, &variables, err));
    mosa_jinja_inputs inputs = {.variables = variables,
                                .trusted = tmpl->special_tokens,
                                .trusts_member = trusts_member,
                                .now = options->now,
                                .limits = tmpl->limits};
    mosa_jinja_output result;
    MOSA_TRY(mosa_jinja_render(tmpl->jinja, &inputs, &result, err));
    mosa_status status = said ? cut_at_tag(&result, said, err) : MOSA_OK;
    if (status != MOSA_OK)
        mosa_jinja_output_finish(&result);
    else
        *out = result;
    return status;
}
