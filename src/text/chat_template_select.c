// Which template a model brings: the forms of tokenizer_config.json and GGUF, the default, and what a template can do.
#include "text/chat_template.h"

#include <string.h>

mosa_slice mosa_chat_template_chatml(void) {
    static const char source[] =
        "{%- if tools %}\n"
        "{{- '<|im_start|>system\\n' }}\n"
        "{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}\n"
        "{{- '# Tools\\n\\nYou may call one or more functions. Their signatures are within <tools></tools>:\\n<tools>' "
        "}}\n"
        "{%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{%- endfor %}\n"
        "{{- '\\n</tools>\\n\\nFor each call return a JSON object within <tool_call></tool_call>:\\n<tool_call>\\n"
        "{\"name\": <function-name>, \"arguments\": <args-json-object>}\\n</tool_call><|im_end|>\\n' }}\n"
        "{%- endif %}\n"
        "{%- for message in messages %}\n"
        "{%- if message.content is string %}{%- set content = message.content %}\n"
        "{%- else %}{%- set content = message.content | default([], true) | selectattr('text', 'defined')"
        " | map(attribute='text') | join %}{%- endif %}\n"
        "{%- if message.role == 'system' and loop.first and tools %}\n"
        "{%- elif message.role == 'tool' %}\n"
        "{{- '<|im_start|>user\\n<tool_response>\\n' + content + '\\n</tool_response><|im_end|>\\n' }}\n"
        "{%- else %}\n"
        "{{- '<|im_start|>' + message.role + '\\n' + content }}\n"
        "{%- for call in message.tool_calls or [] %}\n"
        "{%- if call.function is defined %}{%- set call = call.function %}{%- endif %}\n"
        "{{- '\\n<tool_call>\\n{\"name\": ' + (call.name | tojson) + ', \"arguments\": ' }}\n"
        "{{- call.arguments if call.arguments is string else call.arguments | tojson }}{{- '}\\n</tool_call>' }}\n"
        "{%- endfor %}\n"
        "{{- '<|im_end|>\\n' }}\n"
        "{%- endif %}\n"
        "{%- endfor %}\n"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}\n";
    return MOSA_SLICE(source);
}

static json_t *find_named(const json_t *value, const char *name) {
    if (json_is_object(value)) return json_object_get(value, name);
    for (size_t i = 0; i < json_array_size(value); i++) {
        json_t *entry = json_array_get(value, i);
        const char *entry_name = json_string_value(json_object_get(entry, "name"));
        if (entry_name && strcmp(entry_name, name) == 0) return json_object_get(entry, "template");
    }
    return NULL;
}

mosa_status mosa_chat_template_select(const json_t *value, const char *wanted, bool has_tools, mosa_slice *out,
                                      mosa_error *err) {
    const json_t *found = NULL;
    if (json_is_string(value)) {
        if (wanted && strcmp(wanted, "default") != 0)
            return mosa_fail(err, MOSA_ENOTFOUND, "chat_template: the model has one template, and no \"%s\"", wanted);
        found = value;
    } else if (json_is_object(value) || json_is_array(value)) {
        if (!wanted && has_tools) found = find_named(value, "tool_use");
        if (!found) found = find_named(value, wanted ? wanted : "default");
        if (!found)
            return mosa_fail(err, MOSA_ENOTFOUND, "chat_template: no template is named \"%s\"",
                             wanted ? wanted : "default");
    }
    if (!json_is_string(found))
        return mosa_fail(err, MOSA_ECORRUPT,
                         "chat_template: a template must be a string, or a list of {name, template}");
    *out = (mosa_slice){json_string_value(found), json_string_length(found)};
    return MOSA_OK;
}

bool mosa_chat_template_add_gguf(json_t *templates, const char *key, mosa_slice text) {
    static const char prefix[] = "tokenizer.chat_template";
    if (strncmp(key, prefix, sizeof prefix - 1) != 0) return false;
    const char *rest = key + sizeof prefix - 1;
    if (*rest && (*rest != '.' || !rest[1])) return false;
    return json_object_set_new(templates, *rest ? rest + 1 : "default", json_stringn(text.data, text.len)) == 0;
}

// --- capabilities ---

static void release_json(json_t **json) {
    json_decref(*json);
}
#define OWNED_JSON MOSA_AUTO(release_json) json_t *

// Renders `messages` (JSON text) and says whether `marker` appears; false when the template refuses.
static bool shows(const mosa_chat_template *tmpl, const char *messages_text, const char *tools_text,
                  const char *marker) {
    OWNED_JSON messages = json_loads(messages_text, 0, NULL);
    OWNED_JSON tools = tools_text ? json_loads(tools_text, 0, NULL) : NULL;
    mosa_chat_options options = {.tools = tools};
    mosa_jinja_output out = {0};
    if (mosa_chat_template_render(tmpl, messages, &options, &out, NULL) != MOSA_OK) return false;
    bool found = memmem(out.text, out.len, marker, strlen(marker)) != NULL;
    mosa_jinja_output_finish(&out);
    return found;
}

// Whether two sets of options give different texts for one question.
static bool differs(const mosa_chat_template *tmpl, const mosa_chat_options *a, const mosa_chat_options *b) {
    OWNED_JSON messages = json_loads("[{\"role\": \"user\", \"content\": \"USER\"}]", 0, NULL);
    mosa_jinja_output first = {0}, second = {0};
    bool different = false;
    if (mosa_chat_template_render(tmpl, messages, a, &first, NULL) == MOSA_OK &&
        mosa_chat_template_render(tmpl, messages, b, &second, NULL) == MOSA_OK)
        different = first.len != second.len || memcmp(first.text, second.text, first.len) != 0;
    mosa_jinja_output_finish(&first);
    mosa_jinja_output_finish(&second);
    return different;
}

static bool toggles_thinking(const mosa_chat_template *tmpl) {
    OWNED_JSON on = json_pack("{s:b}", "enable_thinking", 1);
    OWNED_JSON off = json_pack("{s:b}", "enable_thinking", 0);
    mosa_chat_options a = {.add_generation_prompt = true, .kwargs = on},
                      b = {.add_generation_prompt = true, .kwargs = off};
    return differs(tmpl, &a, &b);
}

#define PROBE_USER "{\"role\": \"user\", \"content\": \"USER\"}"
#define PROBE_TOOL                                                                                                     \
    "[{\"type\": \"function\", \"function\": {\"name\": \"probe_tool\", \"description\": \"d\", \"parameters\": "      \
    "{\"type\": \"object\", \"properties\": {\"x\": {\"type\": \"string\", \"description\": \"d\"}}, \"required\": "   \
    "[\"x\"]}}}]"
#define PROBE_CALL(id, arguments)                                                                                      \
    "{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"id\": \"" id "\", \"type\": \"function\", "      \
    "\"function\": {\"name\": \"probe_call\", \"arguments\": " arguments "}}]}"
#define PROBE_RESULT                                                                                                   \
    "{\"role\": \"tool\", \"tool_call_id\": \"abcdefghi\", \"name\": \"probe_call\", \"content\": \"PROBE_RESULT\"}"

// Templates take a call's arguments as an object or as JSON text, and some want ids of nine characters.
static bool shows_call(const mosa_chat_template *tmpl, const char *marker) {
    static const char object[] = "[" PROBE_USER "," PROBE_CALL("abcdefghi", "{\"x\": \"v\"}") "," PROBE_RESULT "]";
    static const char text[] = "[" PROBE_USER "," PROBE_CALL("abcdefghi", "\"{}\"") "," PROBE_RESULT "]";
    return shows(tmpl, object, PROBE_TOOL, marker) || shows(tmpl, text, PROBE_TOOL, marker);
}

mosa_chat_capabilities mosa_chat_template_probe(const mosa_chat_template *tmpl) {
    mosa_chat_options bare = {0}, prompt = {.add_generation_prompt = true};
    return (mosa_chat_capabilities){
        .system_role =
            shows(tmpl, "[{\"role\": \"system\", \"content\": \"PROBE_SYSTEM\"}," PROBE_USER "]", NULL, "PROBE_SYSTEM"),
        .tools = shows(tmpl, "[" PROBE_USER "]", PROBE_TOOL, "probe_tool"),
        .tool_calls = shows_call(tmpl, "probe_call"),
        .tool_results = shows_call(tmpl, "PROBE_RESULT"),
        .content_parts =
            shows(tmpl, "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"PROBE_PART\"}]}]", NULL,
                  "PROBE_PART") &&
            !shows(tmpl, "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"PROBE_PART\"}]}]", NULL,
                   "'type'"),
        .reasoning_content = shows(tmpl,
                                   "[" PROBE_USER ",{\"role\": \"assistant\", \"content\": \"A\", "
                                   "\"reasoning_content\": \"PROBE_THOUGHT\"}]",
                                   NULL, "PROBE_THOUGHT"),
        .enable_thinking = toggles_thinking(tmpl),
        .generation_prompt = differs(tmpl, &bare, &prompt),
        .generation_marks = mosa_chat_template_has_generation(tmpl),
    };
}
