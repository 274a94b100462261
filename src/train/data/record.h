// A record of a data file in the one form that all formats become.
//
// Two shapes: plain texts (documents; prompts with completions as strings), and messages in OpenAI's form with tools.
// Preferences have a second ending. JSON values are the record's own; strings borrow from them or from the file.
#ifndef MOSA_TRAIN_DATA_RECORD_H
#define MOSA_TRAIN_DATA_RECORD_H

#include "base/str.h"
#include "train/data/store.h"

#include <jansson.h>

typedef struct mosa_record {
    mosa_data_kind kind;
    bool chat; // messages below; else texts

    // Texts. kind TEXT: `text` is the document. Otherwise `text` is the prompt (may be empty) and answers follow it.
    mosa_slice text;
    mosa_slice answer, rejected_answer; // rejected_answer: PAIRS only

    // Chats: `messages` is the conversation up to and with the answer. Of PAIRS and LABELLED only what follows the
    // first n_prompt messages is supervised; rejected = the prompt and the other ending.
    json_t *messages, *rejected; // arrays of OpenAI messages; rejected: PAIRS only
    size_t n_prompt;             // 0 = by role
    json_t *tools;               // array in OpenAI's form, or NULL

    bool good;     // LABELLED
    double weight; // of the record, 1 unless it says otherwise
    mosa_slice id; // of the record, empty if it has none
    json_t *root;  // owns the above
} mosa_record;

void mosa_record_finish(mosa_record *record); // safe on a zeroed struct

#endif
