// Chat templates: from OpenAI messages to the text that a model was trained on.
//
// Does what transformers' apply_chat_template does up to, and without, tokenization: null members of messages are
// dropped, reasoning fields are aliased, special tokens are variables, continue_final_message cuts the end off. The
// output's ranges say which bytes a request wrote, so that the tokenizer never makes a special token of them.
//
// A chat template is immutable after creation and may be used by several threads at once.
#ifndef MOSA_TEXT_CHAT_TEMPLATE_H
#define MOSA_TEXT_CHAT_TEMPLATE_H

#include "base/status.h"
#include "base/str.h"
#include "text/jinja.h"
#include "text/text_range.h"

#include <jansson.h>
#include <stdbool.h>
#include <time.h>

typedef struct mosa_chat_template mosa_chat_template;

typedef struct mosa_chat_template_source {
    mosa_slice template;          // Jinja source; data NULL = mosa_chat_template_chatml()
    const char *bos_token;        // text, NULL = the model has none (the variable is undefined, as in transformers)
    const char *eos_token;        // likewise
    const json_t *special_tokens; // object name -> string for further ones (pad_token, ...), NULL = none; copied
    mosa_jinja_limits limits;
} mosa_chat_template_source;

typedef struct mosa_chat_options {
    bool add_generation_prompt;
    bool continue_final_message; // leave the last message open; excludes add_generation_prompt
    const char *continue_field;  // which field of it, NULL = "content"
    json_t *tools;               // array, NULL = none
    json_t *documents;           // array of objects, NULL = none
    json_t *kwargs;              // object: further variables (enable_thinking, ...), NULL = none
    const struct tm *now;        // clock of strftime_now, NULL = local time
} mosa_chat_options;

// What a template can do, found out by rendering small conversations with it.
typedef struct mosa_chat_capabilities {
    bool system_role;       // the system message's text appears
    bool tools;             // the tools' names appear
    bool tool_calls;        // an assistant message's tool calls appear
    bool tool_results;      // a `tool` message's text appears
    bool content_parts;     // content as [{"type": "text", "text": ...}] renders its text
    bool reasoning_content; // the reasoning of an assistant message since the last user message appears
    bool enable_thinking;   // the variable enable_thinking changes the output
    bool generation_prompt; // add_generation_prompt changes the output
    bool generation_marks;  // the source has {% generation %}
} mosa_chat_capabilities;

// Parses the template. *out is freed with mosa_chat_template_destroy (NULL-safe).
mosa_status mosa_chat_template_create(const mosa_chat_template_source *source, mosa_chat_template **out,
                                      mosa_error *err);
void mosa_chat_template_destroy(mosa_chat_template *tmpl);

// Renders `messages`, a non-empty array of objects; no input is modified. options may be NULL. On success *out is to be
// released with mosa_jinja_output_finish. MOSA_EINVALID with the template's own words when it refuses the conversation.
mosa_status mosa_chat_template_render(const mosa_chat_template *tmpl, json_t *messages,
                                      const mosa_chat_options *options, mosa_jinja_output *out, mosa_error *err);

// The source as it was given; borrowed.
mosa_slice mosa_chat_template_text(const mosa_chat_template *tmpl);

// Whether the source has {% generation %}, i.e. whether `generated` ranges can appear.
bool mosa_chat_template_has_generation(const mosa_chat_template *tmpl);

// A dozen small renderings; never fails: what a template refuses counts as not supported.
mosa_chat_capabilities mosa_chat_template_probe(const mosa_chat_template *tmpl);

// The template for models that have none: ChatML, with system, tools and tool results.
mosa_slice mosa_chat_template_chatml(void);

// Picks one template of those that a model brings. `value` is tokenizer_config.json's chat_template: a string, a list
// of {"name", "template"}, or an object name -> template. wanted: a name, or NULL for "tool_use" if has_tools and there
// is one, else "default". *out borrows from `value`. MOSA_ENOTFOUND when there is no such name.
mosa_status mosa_chat_template_select(const json_t *value, const char *wanted, bool has_tools, mosa_slice *out,
                                      mosa_error *err);

// Adds a GGUF metadata pair to `templates`, an object that mosa_chat_template_select takes: "tokenizer.chat_template"
// becomes "default", "tokenizer.chat_template.<name>" becomes "<name>". Returns false for any other key.
bool mosa_chat_template_add_gguf(json_t *templates, const char *key, mosa_slice text);

#endif
