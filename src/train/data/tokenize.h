// Records to examples: ids and loss weights from one rendering of the chat template.
//
// What is supervised:
//   text                 every token but the first; the tokenizer's EOS is added
//   prompt, completion   the completion, with EOS added to it (as TRL does)
//   chat                 what the assistant wrote, by train_on and each message's weight
// The bytes that the assistant wrote are, in order of preference: those inside {% generation %}; else what follows the
// template's generation prompt, up to and with the token that ends the turn. A token is supervised when one of its
// bytes is (transformers' return_assistant_tokens_mask). Message and record weights multiply.
//
// Users' text never yields a control token, as when serving; transformers would make one of a spelled-out "<|im_end|>".
// Thread: a tokenizer object is immutable; each thread has a scratch of its own.
#ifndef MOSA_TRAIN_DATA_TOKENIZE_H
#define MOSA_TRAIN_DATA_TOKENIZE_H

#include "text/model_text.h"
#include "train/data/example.h"
#include "train/data/record.h"

typedef enum mosa_train_on {
    MOSA_TRAIN_ASSISTANT, // every assistant message
    MOSA_TRAIN_LAST,      // the last one of each conversation
    MOSA_TRAIN_ALL,       // every token
} mosa_train_on;

// What becomes of an example with more than max_tokens.
typedef enum mosa_overlong {
    MOSA_OVERLONG_DEFAULT,  // split text, refuse the rest
    MOSA_OVERLONG_REFUSE,   //
    MOSA_OVERLONG_TRUNCATE, // keep the first max_tokens; refused when nothing supervised is left
    MOSA_OVERLONG_DROP,     //
    MOSA_OVERLONG_SPLIT,    // text only: pieces that overlap by one token, so that each token is predicted once
} mosa_overlong;

typedef enum mosa_eos_rule {
    MOSA_EOS_DEFAULT, // text and completions get EOS; a supervised last turn of a chat must end in an end token
    MOSA_EOS_APPEND,  // chats get EOS where the template wrote no end token
    MOSA_EOS_NONE,    // add nothing, demand nothing
} mosa_eos_rule;

typedef struct mosa_tokenize_options {
    mosa_train_on train_on;
    mosa_eos_rule eos;
    mosa_overlong overlong;
    int32_t max_tokens;    // of an example; 0 = no limit
    bool trusted;          // texts and completions may spell out control tokens (ready-made chats)
    bool allow_empty_mask; // records without any supervised token are dropped instead of refused
    json_t *kwargs;        // object: further template variables (enable_thinking, ...), or NULL; borrowed
} mosa_tokenize_options;

// What is known of a model's template, found out once. Borrows text and options->kwargs.
typedef struct mosa_text_trainer mosa_text_trainer;
MOSA_MUST_USE mosa_status mosa_text_trainer_create(const mosa_model_text *text, const mosa_tokenize_options *options,
                                                   mosa_text_trainer **out, mosa_error *err);
void mosa_text_trainer_destroy(mosa_text_trainer *trainer); // NULL-safe

// Examples of one record. Zero it before first use; may be used again; finish frees.
typedef struct mosa_example_list {
    mosa_train_example *items; // (count) their arrays are this list's
    size_t count, capacity;
    int32_t *ids;  // (n_tokens) of all items
    float *weight; // (n_tokens)
    size_t n_tokens, cap_tokens;
    bool truncated, split, dropped;
} mosa_example_list;
void mosa_example_list_finish(mosa_example_list *list);

// Fills *out with the record's examples (none when it is dropped). MOSA_EINVALID with a hint for what cannot be trained
// on: a template that refuses the conversation, nothing or everything supervised, no end token, too long.
MOSA_MUST_USE mosa_status mosa_text_trainer_run(const mosa_text_trainer *trainer, const mosa_record *record,
                                                mosa_example_list *out, mosa_error *err);

#endif
