// Description of a tokenizer in memory: what every loader fills, and the one way to create a tokenizer.
//
// The parts mirror Hugging Face's tokenizer.json, which can express all others: normaliser steps, pre-tokenizer steps,
// a model, added tokens, ids around the text, decoder steps. Everything in a spec is borrowed during
// mosa_tokenizer_create and copied. Loaders keep a spec and its strings in one arena and throw it away afterwards.
#ifndef MOSA_TEXT_TOKENIZER_SPEC_H
#define MOSA_TEXT_TOKENIZER_SPEC_H

#include "base/arena.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

enum {
    MOSA_VOCAB_MAX = 4 << 20,       // tokens, gaps included
    MOSA_TOKEN_BYTES_MAX = 1 << 16, // bytes of one token
    MOSA_MERGES_MAX = 16 << 20,
    MOSA_ADDED_TOKENS_MAX = 1 << 18,
    MOSA_TRIE_BYTES_MAX = 1024, // bytes of an added token or a unigram or WordPiece token: tried at every character
    MOSA_STEPS_MAX = 24,        // of one kind
};

typedef enum mosa_tokenizer_model { MOSA_MODEL_BPE, MOSA_MODEL_UNIGRAM, MOSA_MODEL_WORDPIECE } mosa_tokenizer_model;

typedef struct mosa_token_spec {
    mosa_slice text; // data NULL = a gap in the ids
    double score;    // unigram log-probability, or BPE priority with MOSA_MERGES_BY_SCORE
    mosa_token_type type;
    bool added_only; // not in the model's own vocabulary: matched as an added token or not at all
} mosa_token_spec;

typedef struct mosa_merge_spec {
    mosa_slice left, right;
} mosa_merge_spec;

// Where a BPE model's merges come from.
typedef enum mosa_merge_source {
    MOSA_MERGES_LISTED,   // spec.merges, best first (Hugging Face, GGUF "gpt2")
    MOSA_MERGES_BY_RANK,  // any two tokens whose concatenation is a token; lower id first (tiktoken)
    MOSA_MERGES_BY_SCORE, // likewise, higher score first (SentencePiece, GGUF "llama")
} mosa_merge_source;

typedef struct mosa_added_token_spec {
    mosa_slice text;
    mosa_token_id id;
    bool special;    // type control
    bool normalized; // matched after normalisation, else on the text as given
    bool lstrip, rstrip, single_word;
} mosa_added_token_spec;

typedef enum mosa_normalizer_kind {
    MOSA_NORM_FORM, // form
    MOSA_NORM_LOWERCASE,
    MOSA_NORM_STRIP, // left, right
    MOSA_NORM_STRIP_ACCENTS,
    MOSA_NORM_REPLACE, // pattern (string or regex) by content
    MOSA_NORM_PREPEND, // content, unless the text is empty
    MOSA_NORM_BERT,    // clean, cjk, strip_accents, lowercase
    MOSA_NORM_NMT,
    MOSA_NORM_CHARSMAP,     // SentencePiece's compiled map, applied as Hugging Face does (by grapheme)
    MOSA_NORM_BYTE_LEVEL,   // bytes to GPT-2's visible characters
    MOSA_NORM_SENTENCEPIECE // charsmap (longest prefix), spaces, dummy prefix: sentencepiece's own normaliser
} mosa_normalizer_kind;

typedef struct mosa_normalizer_spec {
    mosa_normalizer_kind kind;
    mosa_unicode_form form;
    mosa_slice pattern, content; // content also: the bytes of a charsmap
    bool regex;
    bool left, right;
    bool clean, cjk, strip_accents, lowercase;
    bool dummy_prefix, remove_extra_spaces, escape_spaces, space_suffix; // of MOSA_NORM_SENTENCEPIECE
} mosa_normalizer_spec;

// What happens to the matches of a pre-tokenizer's pattern, and to what lies between (Hugging Face's names).
typedef enum mosa_split_behavior {
    MOSA_SPLIT_REMOVED,
    MOSA_SPLIT_ISOLATED,
    MOSA_SPLIT_MERGED_WITH_PREVIOUS,
    MOSA_SPLIT_MERGED_WITH_NEXT,
    MOSA_SPLIT_CONTIGUOUS
} mosa_split_behavior;

typedef enum mosa_pretokenizer_kind {
    MOSA_PRE_SPLIT,      // pattern (string or regex), behavior, invert
    MOSA_PRE_BYTE_LEVEL, // prefix_space; use_regex: split by GPT-2's pattern
    MOSA_PRE_METASPACE,  // replacement, scheme, split
    MOSA_PRE_BERT,
    MOSA_PRE_WHITESPACE, // \w+|[^\w\s]+
    MOSA_PRE_WHITESPACE_SPLIT,
    MOSA_PRE_PUNCTUATION,  // behavior
    MOSA_PRE_DIGITS,       // individual
    MOSA_PRE_DELIMITER,    // pattern: one character, removed
    MOSA_PRE_FIXED_LENGTH, // length
    MOSA_PRE_SPELL_BYTES   // not for loaders: stands behind a ByteLevel that other steps follow
} mosa_pretokenizer_kind;

typedef enum mosa_prepend_scheme { MOSA_PREPEND_ALWAYS, MOSA_PREPEND_FIRST, MOSA_PREPEND_NEVER } mosa_prepend_scheme;

typedef struct mosa_pretokenizer_spec {
    mosa_pretokenizer_kind kind;
    mosa_slice pattern; // also: the replacement of Metaspace
    bool regex, invert;
    mosa_split_behavior behavior;
    bool prefix_space, use_regex;
    mosa_prepend_scheme scheme;
    bool split;
    bool individual;
    size_t length;
} mosa_pretokenizer_spec;

typedef enum mosa_decoder_kind {
    MOSA_DEC_BYTE_LEVEL,
    MOSA_DEC_REPLACE,       // pattern (string) by content, in each token
    MOSA_DEC_BYTE_FALLBACK, // "<0x41>" to the byte
    MOSA_DEC_FUSE,          // later steps see the whole text
    MOSA_DEC_STRIP,         // pattern (one character): up to `start` at the left, `stop` at the right of each token
    MOSA_DEC_METASPACE,     // pattern: the replacement; scheme
    MOSA_DEC_WORDPIECE,     // pattern: the prefix; cleanup
    MOSA_DEC_BPE            // pattern: the suffix, becomes a space
} mosa_decoder_kind;

typedef struct mosa_decoder_spec {
    mosa_decoder_kind kind;
    mosa_slice pattern, content;
    size_t start, stop;
    mosa_prepend_scheme scheme;
    bool cleanup;
} mosa_decoder_spec;

typedef struct mosa_tokenizer_spec {
    const char *source; // name for messages, usually the file
    mosa_tokenizer_model model;
    const mosa_token_spec *tokens; // index = id
    size_t token_count;
    mosa_special_ids special; // ids or MOSA_TOKEN_NONE, all fields set

    // BPE
    mosa_merge_source merge_source;
    const mosa_merge_spec *merges;
    size_t merge_count;
    bool ignore_merges;                     // a word that is a token is that token
    mosa_slice subword_prefix, word_suffix; // "##", "</w>" or empty
    // BPE and unigram
    bool byte_fallback, fuse_unk;
    mosa_slice unk_surface; // what the unknown token decodes to; data NULL = it is left out like a control token
    bool sentencepiece;     // unigram scores and user-defined tokens as sentencepiece computes them
    // WordPiece (subword_prefix too)
    size_t word_chars_max;

    const mosa_added_token_spec *added;
    size_t added_count;
    const mosa_normalizer_spec *normalizers;
    size_t normalizer_count;
    const mosa_pretokenizer_spec *pretokenizers;
    size_t pretokenizer_count;
    const mosa_decoder_spec *decoders;
    size_t decoder_count;
    const mosa_token_id *prefix_ids, *suffix_ids; // around the text with MOSA_ENCODE_ADD_SPECIAL
    size_t prefix_count, suffix_count;
} mosa_tokenizer_spec;

// Sets every special id to MOSA_TOKEN_NONE and the rest to zero.
void mosa_tokenizer_spec_init(mosa_tokenizer_spec *spec, const char *source);

// Checks the description and builds the tokenizer. Errors name spec->source and the component.
mosa_status mosa_tokenizer_create(const mosa_tokenizer_spec *spec, mosa_tokenizer **out, mosa_error *err) MOSA_MUST_USE;

#endif
