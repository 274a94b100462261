// The tokenizer's fields; private to text/tokenizer*.c.
#ifndef MOSA_TEXT_TOKENIZER_INTERNAL_H
#define MOSA_TEXT_TOKENIZER_INTERNAL_H

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

// What the first token of a text loses or keeps.
typedef enum mosa_first_rule {
    MOSA_FIRST_SAME,
    MOSA_FIRST_STRIP,    // up to `first_strip` leading spaces of the text
    MOSA_FIRST_OWN_BYTES // the first token has bytes of its own: see first_bytes
} mosa_first_rule;

struct mosa_tokenizer {
    mosa_arena arena; // everything below, but for what the parts' finish functions free
    char *source;
    mosa_tokenizer_model model;
    size_t token_count;
    mosa_slice *text;        // [token_count] spelling; data NULL in gaps
    mosa_slice *bytes;       // [token_count] what it adds to a text
    mosa_slice *first_bytes; // [token_count] with MOSA_FIRST_OWN_BYTES, else NULL
    uint8_t *type;           // [token_count] mosa_token_type
    uint8_t *skipped;        // [token_count] not decoded without MOSA_DECODE_SPECIAL
    mosa_string_table by_text;
    mosa_special_ids special;
    mosa_token_id *end_ids, *prefix_ids, *suffix_ids;
    size_t end_count, prefix_count, suffix_count;
    mosa_first_rule first_rule;
    uint32_t first_strip;
    bool replace_each_byte; // byte tokens: one U+FFFD for each byte of an ill-formed part, as SentencePiece does
    bool unk_has_surface;   // the unknown token is text of its own, whose space stays at the start
    bool drop_last_space;   // the space of the last word's suffix is not text

    mosa_added_tokens added;
    mosa_normalizer normalizers[MOSA_STEPS_MAX];
    size_t normalizer_count;
    mosa_pretokenizer pretokenizers[2 * MOSA_STEPS_MAX];
    size_t pretokenizer_count;
    bool byte_level;    // the model's words are bytes
    bool spelled;       // words arrive in GPT-2's spelling and must be turned to bytes
    mosa_trie verbatim; // user-defined pieces of a SentencePiece model
    mosa_bpe bpe;
    mosa_unigram unigram;
    mosa_wordpiece wordpiece;
};

// Fills bytes, first_bytes and the first rule from the decoder steps (tokenizer_decode.c).
mosa_status mosa_tokenizer_build_decoder(mosa_tokenizer *tokenizer, const mosa_tokenizer_spec *spec,
                                         mosa_error *err) MOSA_MUST_USE;

#endif
