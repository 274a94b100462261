// Tokenizer: text to token ids and back, for every vocabulary that Mosa serves.
//
// A mosa_tokenizer is immutable after creation; any number of threads may use one at the same time, without locks. It
// is made from a GGUF file's metadata (text/tokenizer_gguf.h), from Hugging Face or other files (mosa_tokenizer_load),
// or from a description in memory (text/tokenizer_spec.h). All of them become one pipeline: added tokens, normaliser,
// pre-tokenizer, model (BPE, unigram, WordPiece), special ids around; and back: token bytes, joined by the decoder.
//
// Control tokens (<|im_start|>, </s>, ...) come only from bytes that the caller declares trusted. Text of users is
// passed as untrusted and can never yield one, whatever it says.
//
// Input need not be valid UTF-8: every ill-formed part is read as U+FFFD, as Python's bytes.decode(errors="replace")
// does. Output of decode and of the detokenizer is always valid UTF-8, with the same rule.
#ifndef MOSA_TEXT_TOKENIZER_H
#define MOSA_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "text/text_range.h"

typedef struct mosa_tokenizer mosa_tokenizer;
typedef int32_t mosa_token_id;
enum { MOSA_TOKEN_NONE = -1 }; // "there is no such token"

// What a token is; the values are those of GGUF's tokenizer.ggml.token_type.
typedef enum mosa_token_type {
    MOSA_TOKEN_NORMAL = 1,
    MOSA_TOKEN_UNKNOWN = 2,
    MOSA_TOKEN_CONTROL = 3,      // carries meaning, not text: never made from untrusted text, not decoded by default
    MOSA_TOKEN_USER_DEFINED = 4, // always matched as a whole, in untrusted text too (it is only text)
    MOSA_TOKEN_UNUSED = 5,
    MOSA_TOKEN_BYTE = 6, // one byte of a character that the vocabulary lacks
} mosa_token_type;

// --- Growing array of ids -------------------------------------------------------------------------------------------

// Owned by the caller; remembers failure as mosa_buf does. `limit` bounds len (0 = none).
typedef struct mosa_token_list {
    mosa_token_id *ids;
    size_t len;
    size_t capacity;
    size_t limit;
    bool failed; // out of memory or over the limit; appends are no-ops from then on
} mosa_token_list;

void mosa_token_list_init(mosa_token_list *list, size_t limit);
void mosa_token_list_finish(mosa_token_list *list); // frees; safe on a zeroed struct
void mosa_token_list_clear(mosa_token_list *list);  // len 0, failure forgotten, memory kept
void mosa_token_list_append(mosa_token_list *list, mosa_token_id id);

// --- Making one -----------------------------------------------------------------------------------------------------

// Loads from a path: a folder with tokenizer.json (or vocab.json and merges.txt, or tokenizer.model), a tokenizer.json,
// a .gguf, a SentencePiece .model, or a NAME.tiktoken. tokenizer_config.json beside tokenizer.json is honoured (bos,
// eos, add_bos_token, added_tokens_decoder). The result is the caller's (mosa_tokenizer_destroy). Errors name the file
// and the field: MOSA_ENOTFOUND, MOSA_EIO, MOSA_ECORRUPT, MOSA_EUNSUPPORTED (component named), MOSA_ELIMIT,
// MOSA_ENOMEM.
mosa_status mosa_tokenizer_load(const char *path, mosa_tokenizer **out, mosa_error *err) MOSA_MUST_USE;
void mosa_tokenizer_destroy(mosa_tokenizer *tokenizer); // NULL-safe

// --- Encoding -------------------------------------------------------------------------------------------------------

enum {
    MOSA_ENCODE_ADD_SPECIAL = 1,   // put the model's own BOS/EOS (or CLS/SEP) around, as its files say
    MOSA_ENCODE_PARSE_SPECIAL = 2, // the text is trusted: spelled-out control tokens become their ids
};

// Appends the ids of `text` to *out. Without MOSA_ENCODE_PARSE_SPECIAL no control token is ever made from the text (a
// model's unknown token, which says nothing but "no token", excepted).
// On failure *out keeps what it held before the call. Time O(n log n) at worst; scratch memory O(n), freed on return.
// Errors: MOSA_ENOMEM; MOSA_ELIMIT (text over 1 GiB, out->limit reached, a tokenizer's regex over its match limit);
// MOSA_EINVALID (a character without any token in a vocabulary that has no unknown token and demands one).
mosa_status mosa_tokenizer_encode(const mosa_tokenizer *tokenizer, mosa_slice text, unsigned flags,
                                  mosa_token_list *out, mosa_error *err) MOSA_MUST_USE;

// As mosa_tokenizer_encode, but trust is given per range of bytes (text/text_range.h; a rendered chat template has
// them): a control token is recognised only where all of its bytes are trusted. A border between ranges has no other
// effect: words, merges and normalisation run across it exactly as without ranges, and a control token's spelling may
// span two trusted neighbours. Bytes that no range covers are untrusted; ranges are in order and do not overlap, or the
// call fails with MOSA_EINVALID. Control tokens that the tokenizer's file marks "normalized" are matched after
// normalisation if the whole text is trusted, and on the bytes as given otherwise. flags: MOSA_ENCODE_ADD_SPECIAL only.
mosa_status mosa_tokenizer_encode_ranges(const mosa_tokenizer *tokenizer, mosa_slice text,
                                         const mosa_text_range *ranges, size_t range_count, unsigned flags,
                                         mosa_token_list *out, mosa_error *err) MOSA_MUST_USE;

// --- Decoding -------------------------------------------------------------------------------------------------------

enum { MOSA_DECODE_SPECIAL = 1 }; // write control tokens too, by their spelling; else they are left out

// Appends the text of ids[0..count) to *out: what the incremental detokenizer gives for the same ids.
// Errors: MOSA_EINVALID for an id outside the vocabulary (position and id named); MOSA_ENOMEM (or out->limit).
mosa_status mosa_tokenizer_decode(const mosa_tokenizer *tokenizer, const mosa_token_id *ids, size_t count,
                                  unsigned flags, mosa_buf *out, mosa_error *err) MOSA_MUST_USE;

// The bytes that a token adds in the middle of a text: " hello" for "▁hello", one byte for a byte token; for control
// tokens their spelling. May be part of a character. Borrowed from the tokenizer; {NULL, 0} for an id out of range.
mosa_slice mosa_tokenizer_token_bytes(const mosa_tokenizer *tokenizer, mosa_token_id id);

// --- Vocabulary -----------------------------------------------------------------------------------------------------

// The entry as the vocabulary spells it ("Ġhello", "▁hello", "<0x0A>"). Borrowed; {NULL, 0} for an id out of range.
mosa_slice mosa_tokenizer_token_text(const mosa_tokenizer *tokenizer, mosa_token_id id);
mosa_token_type mosa_tokenizer_token_type(const mosa_tokenizer *tokenizer, mosa_token_id id); // UNUSED if out of range
// By spelling as in mosa_tokenizer_token_text; MOSA_TOKEN_NONE when there is none.
mosa_token_id mosa_tokenizer_find(const mosa_tokenizer *tokenizer, mosa_slice text);
size_t mosa_tokenizer_size(const mosa_tokenizer *tokenizer); // ids are 0 .. size-1; gaps are of type UNUSED, no bytes

// MOSA_TOKEN_NONE where the model has none.
typedef struct mosa_special_ids {
    mosa_token_id bos, eos, unk, pad, sep, cls, mask;
    mosa_token_id eot, eom; // end of turn, end of message (tool call); end-of-generation too when present
} mosa_special_ids;

const mosa_special_ids *mosa_tokenizer_special(const mosa_tokenizer *tokenizer);
bool mosa_tokenizer_adds_bos(const mosa_tokenizer *tokenizer); // MOSA_ENCODE_ADD_SPECIAL puts bos first
// Every id that ends a generation: eos, eot, eom and well-known spellings (<|im_end|>, <|eot_id|>, ...). Borrowed.
const mosa_token_id *mosa_tokenizer_end_ids(const mosa_tokenizer *tokenizer, size_t *count);
bool mosa_tokenizer_is_end(const mosa_tokenizer *tokenizer, mosa_token_id id);
const char *mosa_tokenizer_model_name(const mosa_tokenizer *tokenizer); // "bpe", "unigram", "wordpiece"

// --- Incremental detokenizer ----------------------------------------------------------------------------------------

// One per generated sequence; plain storage, nothing to free; belongs to one thread at a time. Bytes of a character
// that is not complete yet are held back (at most 3), so that every piece that push appends is valid UTF-8 by itself,
// and all pieces joined are what mosa_tokenizer_decode gives for all the ids.
typedef struct mosa_detokenizer {
    const mosa_tokenizer *tokenizer;
    unsigned flags;        // MOSA_DECODE_*
    uint32_t strip_left;   // characters still to be dropped at the start of the text (SentencePiece's added space)
    bool started;          // a token has been pushed
    bool held_space;       // the space behind a word, written when another word follows
    uint8_t held_len;      // bytes in held
    unsigned char held[4]; // start of a character whose rest has not come
} mosa_detokenizer;

void mosa_detokenizer_init(mosa_detokenizer *detokenizer, const mosa_tokenizer *tokenizer, unsigned flags);
// For a generation that continues a prompt: no leading-space rule, the first token's space is kept.
void mosa_detokenizer_init_continue(mosa_detokenizer *detokenizer, const mosa_tokenizer *tokenizer, unsigned flags);
// Appends the text that this token completes (possibly nothing). An id out of range adds nothing. Allocates only when
// *out grows; check mosa_buf_failed(out) afterwards.
void mosa_detokenizer_push(mosa_detokenizer *detokenizer, mosa_token_id id, mosa_buf *out);
// End of sequence: a held incomplete character becomes U+FFFD.
void mosa_detokenizer_flush(mosa_detokenizer *detokenizer, mosa_buf *out);

#endif
