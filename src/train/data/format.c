// Names of formats, their detection by keys, and LLaMA-Factory's descriptions of data sets.
#include "train/data/format_internal.h"

#include "codec/config.h"
#include "codec/json.h"

#include <string.h>

static const char *const format_names[MOSA_FORMAT_COUNT] = {
    [MOSA_FORMAT_AUTO] = "auto",
    [MOSA_FORMAT_TEXT] = "text",
    [MOSA_FORMAT_OPENAI] = "openai",
    [MOSA_FORMAT_OPENAI_DPO] = "openai-dpo",
    [MOSA_FORMAT_ALPACA] = "alpaca",
    [MOSA_FORMAT_SHAREGPT] = "sharegpt",
    [MOSA_FORMAT_COMPLETION] = "completion",
    [MOSA_FORMAT_PREFERENCE] = "preference",
};

const char *mosa_data_format_name(mosa_data_format format) {
    return format_names[format];
}

bool mosa_data_format_parse(const char *name, mosa_data_format *out) {
    for (int i = 0; i < MOSA_FORMAT_COUNT; i++)
        if (strcmp(format_names[i], name) == 0) {
            *out = (mosa_data_format)i;
            return true;
        }
    return false;
}

const char *mosa_data_kind_name(mosa_data_kind kind) {
    static const char *const names[] = {"text", "chat", "pairs", "labelled"};
    return names[kind];
}

mosa_status format_no_memory(mosa_error *err) {
    return mosa_fail(err, MOSA_ENOMEM, "out of memory for a record");
}

// --- detection ------------------------------------------------------------------------------------------------------

static bool has(const json_t *object, const char *key) {
    return json_object_get(object, key) != NULL;
}

static const json_t *first_of(const json_t *array) {
    return json_is_array(array) ? json_array_get(array, 0) : NULL;
}

static bool is_sharegpt(const json_t *array, const mosa_data_layout *layout) {
    return format_is_turn(first_of(array), layout);
}

bool format_is_turn(const json_t *value, const mosa_data_layout *layout) {
    return has(value, layout->role_tag ? layout->role_tag : "from") &&
           has(value, layout->content_tag ? layout->content_tag : "value");
}

static mosa_data_format by_keys(const json_t *o, const mosa_data_layout *layout) {
    const char *messages = layout->messages;
    if (has(o, "preferred_output") || has(o, "non_preferred_output")) return MOSA_FORMAT_OPENAI_DPO;
    if (messages && has(o, messages))
        return is_sharegpt(json_object_get(o, messages), layout) ? MOSA_FORMAT_SHAREGPT : MOSA_FORMAT_OPENAI;
    if (has(o, "messages"))
        return is_sharegpt(json_object_get(o, "messages"), layout) ? MOSA_FORMAT_SHAREGPT : MOSA_FORMAT_OPENAI;
    if (has(o, "conversations"))
        return has(first_of(json_object_get(o, "conversations")), "role") ? MOSA_FORMAT_OPENAI : MOSA_FORMAT_SHAREGPT;
    if (has(o, "instruction") || layout->prompt || layout->response) return MOSA_FORMAT_ALPACA;
    if (has(o, "chosen") || has(o, "rejected")) return MOSA_FORMAT_PREFERENCE;
    if (has(o, "completion") || has(o, "prompt")) return MOSA_FORMAT_COMPLETION;
    return has(o, layout->text ? layout->text : "text") ? MOSA_FORMAT_TEXT : MOSA_FORMAT_AUTO;
}

mosa_status mosa_data_format_detect(const json_t *object, const mosa_data_layout *layout, mosa_data_format *out,
                                    mosa_error *err) {
    if (!json_is_object(object))
        return mosa_fail(err, MOSA_EINVALID, "a record must be an object, this is %s", mosa_json_type_name(object));
    mosa_data_format format = layout->format ? layout->format : by_keys(object, layout);
    if (format == MOSA_FORMAT_AUTO) {
        const char *key = json_object_iter_key(json_object_iter((json_t *)object));
        (void)mosa_fail(err, MOSA_EINVALID, "no known format has fields such as \"%s\"", key ? key : "");
        return mosa_hint(err, "known: text; messages; conversations; instruction, output; prompt, completion; chosen, "
                              "rejected. Columns of other names can be mapped (--column prompt=question)");
    }
    *out = format;
    return MOSA_OK;
}

// --- dataset_info.json ----------------------------------------------------------------------------------------------

typedef struct member {
    const char *name;
    size_t offset; // of a const char * in the layout
} member;
#define MEMBER(key, field)                                                                                             \
    { key, offsetof(mosa_data_layout, field) }

static const member column_members[] = {
    MEMBER("prompt", prompt),     MEMBER("query", query),     MEMBER("response", response), MEMBER("history", history),
    MEMBER("system", system),     MEMBER("tools", tools),     MEMBER("messages", messages), MEMBER("chosen", chosen),
    MEMBER("rejected", rejected), MEMBER("kto_tag", kto_tag), MEMBER("text", text),         MEMBER("id", id),
};
static const member tag_members[] = {
    MEMBER("role_tag", role_tag),
    MEMBER("content_tag", content_tag),
    MEMBER("user_tag", user_tag),
    MEMBER("assistant_tag", assistant_tag),
    MEMBER("observation_tag", observation_tag),
    MEMBER("function_tag", function_tag),
    MEMBER("system_tag", system_tag),
};

mosa_status mosa_data_layout_column(mosa_data_layout *layout, mosa_slice name, const char *column, mosa_error *err) {
    const char *names[MOSA_COUNT(column_members)];
    char word[64];
    for (size_t i = 0; i < MOSA_COUNT(column_members); i++) {
        names[i] = column_members[i].name;
        if (!mosa_slice_eq(name, mosa_slice_of(names[i]))) continue;
        memcpy((char *)layout + column_members[i].offset, &column, sizeof column);
        return MOSA_OK;
    }
    size_t len = name.len < sizeof word - 1 ? name.len : sizeof word - 1;
    memcpy(word, name.data, len);
    word[len] = '\0';
    (void)mosa_fail(err, MOSA_EINVALID, "there is no column \"%s\" to map", word);
    const char *near = mosa_nearest_word(word, names, MOSA_COUNT(names));
    return mosa_hint(err,
                     near ? "did you mean \"%s\"?"
                          : "%s prompt, query, response, history, system, tools, messages, chosen, rejected, "
                            "kto_tag, text, id",
                     near ? near : "columns are");
}

static mosa_status read_members(const json_t *object, const char *where, const member *members, size_t n,
                                mosa_data_layout *out, mosa_error *err) {
    const char *key;
    json_t *value;
    if (object && !json_is_object(object)) return mosa_fail(err, MOSA_EINVALID, "%s must be an object", where);
    json_object_foreach((json_t *)object, key, value) {
        const member *found = NULL;
        for (size_t i = 0; i < n && !found; i++)
            if (strcmp(members[i].name, key) == 0) found = &members[i];
        if (!found) return mosa_fail(err, MOSA_EUNSUPPORTED, "%s.%s is not known or not supported", where, key);
        if (json_is_null(value)) continue;
        const char *text = json_string_value(value);
        if (!text) return mosa_fail(err, MOSA_EINVALID, "%s.%s must be a string", where, key);
        memcpy((char *)out + found->offset, &text, sizeof text);
    }
    return MOSA_OK;
}

mosa_status mosa_data_layout_read(const json_t *entry, mosa_data_layout *out, mosa_error *err) {
    mosa_data_layout layout = {.ignore_unknown = true}; // columns that are not named are not used, as there
    const char *formatting = json_string_value(json_object_get(entry, "formatting"));
    MOSA_TRY(read_members(json_object_get(entry, "columns"), "columns", column_members, MOSA_COUNT(column_members),
                          &layout, err));
    MOSA_TRY(read_members(json_object_get(entry, "tags"), "tags", tag_members, MOSA_COUNT(tag_members), &layout, err));
    if (!formatting || strcmp(formatting, "alpaca") == 0)
        layout.format = layout.messages ? MOSA_FORMAT_SHAREGPT : MOSA_FORMAT_ALPACA;
    else if (strcmp(formatting, "sharegpt") == 0)
        layout.format = MOSA_FORMAT_SHAREGPT;
    else if (strcmp(formatting, "openai") == 0)
        layout.format = MOSA_FORMAT_OPENAI;
    else
        return mosa_fail(err, MOSA_EINVALID, "formatting is \"%s\"; alpaca, sharegpt and openai are known", formatting);
    *out = layout;
    return MOSA_OK;
}
