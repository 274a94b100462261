// Ranges of a rendered prompt: who wrote the bytes, and whether the assistant did.
//
// A renderer hands (text, ranges) to the tokenizer, which recognises special tokens in trusted ranges only: what a user
// wrote can look like "<|im_end|>" and is still plain text. A range list covers the text without gaps or overlaps, in
// order, and neighbours differ in at least one flag.
#ifndef MOSA_TEXT_TEXT_RANGE_H
#define MOSA_TEXT_TEXT_RANGE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct mosa_text_range {
    size_t offset;  // bytes from the start of the text
    size_t len;     // bytes, never 0
    bool trusted;   // written by the template or the model's files, not by a request
    bool generated; // inside {% generation %}: the assistant's own words, which training computes its loss on
} mosa_text_range;

#endif
