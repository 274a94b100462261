// The text side of a model: tokenizer, chat template, end tokens and sampling defaults, without its weights.
//
// Opened from the same path as the model (GGUF file or Hugging Face folder) in milliseconds, so that a gateway can
// render, tokenize and count a request exactly without holding the model. Immutable and thread-safe after opening.
#ifndef MOSA_TEXT_MODEL_TEXT_H
#define MOSA_TEXT_MODEL_TEXT_H

#include "base/status.h"
#include "base/str.h"
#include "text/chat_template.h"
#include "text/dialect/dialect.h"
#include "text/tokenizer.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct mosa_model_text mosa_model_text;

typedef struct mosa_model_text_info {
    const char *name;       // general.name or the file's name without suffix; borrowed
    int64_t context_tokens; // the model's own limit, 0 if unknown
    bool has_chat_template; // false: ChatML is used
    // generation_config.json, or NAN / -1 where the model gives no default
    double temperature, top_p, min_p, repetition_penalty;
    int top_k;
    const mosa_dialect *dialect;           // of its tool calls
    const mosa_reasoning_style *reasoning; // NULL: its template knows none, or the dialect has its own
    bool marks_are_control;                // some of their marks are control tokens
} mosa_model_text_info;

// chat_template_path: a file that overrides the model's own template, or NULL.
mosa_status mosa_model_text_open(const char *model_path, const char *chat_template_path, mosa_model_text **out,
                                 mosa_error *err);
void mosa_model_text_close(mosa_model_text *text); // NULL-safe

const mosa_model_text_info *mosa_model_text_get_info(const mosa_model_text *text);
const mosa_tokenizer *mosa_model_text_tokenizer(const mosa_model_text *text);
const mosa_chat_template *mosa_model_text_template(const mosa_model_text *text, bool with_tools);

// Ids that end a generation: the tokenizer's, and those that generation_config.json adds. Borrowed.
const mosa_token_id *mosa_model_text_end_ids(const mosa_model_text *text, size_t *count);

// messages: OpenAI messages array; tools: array or NULL; kwargs: object of further template variables or NULL.
// Renders with a generation prompt (or continuing the last assistant message) and tokenizes by the render's trust
// ranges. *tokens is malloc'ed, the caller frees it.
mosa_status mosa_model_text_chat(const mosa_model_text *text, json_t *messages, json_t *tools, json_t *kwargs,
                                 bool add_generation_prompt, bool continue_final_message, int32_t **tokens,
                                 size_t *n_tokens, mosa_error *err);

// Plain prompt with the model's BOS rule. *tokens is malloc'ed.
mosa_status mosa_model_text_encode(const mosa_model_text *text, mosa_slice prompt, bool add_special, bool parse_special,
                                   int32_t **tokens, size_t *n_tokens, mosa_error *err);

// Two texts as cross-encoders read them: [CLS] first [SEP] second [SEP]; *n_first: tokens before the second text.
// Models whose tokenizer is not WordPiece are of RoBERTa's kind: they have two separators between, and one type of
// token, so that *n_first is 0. With `limit` above 0 the second text is cut to keep the whole within it, where that is
// possible. MOSA_EUNSUPPORTED when the tokenizer puts nothing around a text. *tokens is malloc'ed.
mosa_status mosa_model_text_encode_pair(const mosa_model_text *text, mosa_slice first, mosa_slice second, size_t limit,
                                        int32_t **tokens, size_t *n_tokens, size_t *n_first, mosa_error *err);

#endif
