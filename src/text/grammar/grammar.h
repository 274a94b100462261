// Structured output: a grammar says which tokens may come next.
//
// A mosa_token_trie holds a model's vocabulary by bytes, once per model. A mosa_grammar is compiled from a JSON Schema,
// a regular expression, a list of choices or a grammar text, and shared by any number of sequences. A mosa_matcher is
// one sequence's place in it: it computes the mask of tokens that may come next, takes the token that was drawn, and
// can go back. Every mask is exact: a token is allowed if and only if some completion of the text behind it is in the
// language, so that a sequence never runs into a dead end.
//
// Threads: a trie and a grammar are immutable to their users (a grammar's lazy automaton grows behind a mutex); a
// matcher belongs to one thread at a time. Memory: a matcher and a grammar reserve address space when they are made and
// touch it as they grow, within fixed bounds; mask, accept and rollback never call the allocator.
#ifndef MOSA_TEXT_GRAMMAR_GRAMMAR_H
#define MOSA_TEXT_GRAMMAR_GRAMMAR_H

#include "base/status.h"
#include "base/str.h"
#include "text/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// --- vocabulary ----------------------------------------------------------------------------------------------------

typedef struct mosa_token_trie mosa_token_trie;

// `end_ids` are the tokens that end a generation (allowed exactly where the grammar may end); `vocab` is the number of
// logits, at least the tokenizer's size. The tokenizer is borrowed and must outlive the trie. MOSA_ENOMEM.
mosa_status mosa_token_trie_create(const mosa_tokenizer *tokenizer, const mosa_token_id *end_ids, size_t end_count,
                                   size_t vocab, mosa_token_trie **out, mosa_error *err) MOSA_MUST_USE;
void mosa_token_trie_destroy(mosa_token_trie *trie); // NULL-safe; no grammar of it may be alive
// Words of a mask over this vocabulary: ceil(vocab / 64).
size_t mosa_token_trie_mask_words(const mosa_token_trie *trie);

// --- grammars ------------------------------------------------------------------------------------------------------

typedef enum mosa_grammar_kind {
    MOSA_GRAMMAR_NONE,
    MOSA_GRAMMAR_JSON_OBJECT, // any JSON object; no text
    MOSA_GRAMMAR_JSON_SCHEMA, // text: a JSON Schema (draft 2020-12 with draft-7 spellings)
    MOSA_GRAMMAR_REGEX,       // text: a regular expression that the whole output matches
    MOSA_GRAMMAR_CHOICE,      // text: a JSON array of strings, one of which is the output
    MOSA_GRAMMAR_TEXT,        // text: a grammar in the Lark-like dialect or in GBNF (docs/structured-output.md)
} mosa_grammar_kind;

// How JSON is spaced. The default leaves a model nothing to choose.
typedef enum mosa_json_spacing {
    MOSA_JSON_SPACED,   // {"a": 1, "b": [2, 3]}
    MOSA_JSON_COMPACT,  // {"a":1,"b":[2,3]}
    MOSA_JSON_FLEXIBLE, // up to 32 white-space characters wherever JSON allows some
} mosa_json_spacing;

enum {
    MOSA_GRAMMAR_BYTES_MAX = 1 << 20,   // of a source text
    MOSA_GRAMMAR_RULES_MAX = 1 << 16,   // rules that a source may become
    MOSA_GRAMMAR_SYMBOLS_MAX = 1 << 19, // symbols on their right sides
    MOSA_GRAMMAR_LEXEMES_MAX = 1 << 14, // distinct terminals
    MOSA_GRAMMAR_NESTING_MAX = 200,     // parentheses, subschemas and rules inside one another
    MOSA_GRAMMAR_REPEAT_MAX = 1 << 16,  // counted repetition, string lengths
    MOSA_GRAMMAR_ITEMS_MAX = 4096,      // minItems, maxItems, repetition of a rule
    MOSA_GRAMMAR_STEPS_MAX = 4 << 20,   // derivations of one compilation, or of one mask
};

typedef struct mosa_grammar mosa_grammar;

// Compiles; the caller owns a reference. Bounded in time and memory by the limits above, whatever the text says.
// MOSA_EINVALID: not well-formed, or no output can match (the message names the place). MOSA_EUNSUPPORTED: a keyword or
// construct that cannot be enforced exactly, by name. MOSA_ELIMIT: a limit, by name. MOSA_ENOMEM.
mosa_status mosa_grammar_compile(const mosa_token_trie *trie, mosa_grammar_kind kind, mosa_slice text,
                                 mosa_json_spacing spacing, mosa_grammar **out, mosa_error *err) MOSA_MUST_USE;
mosa_grammar *mosa_grammar_ref(mosa_grammar *grammar);
void mosa_grammar_unref(mosa_grammar *grammar); // NULL-safe

// Compiled grammars by their source, for servers whose requests repeat a few schemas. Any thread.
typedef struct mosa_grammar_cache mosa_grammar_cache;
mosa_status mosa_grammar_cache_create(const mosa_token_trie *trie, size_t capacity, mosa_grammar_cache **out,
                                      mosa_error *err) MOSA_MUST_USE;
void mosa_grammar_cache_destroy(mosa_grammar_cache *cache); // NULL-safe
// As mosa_grammar_compile, or a reference to what an equal source gave before. *hit (NULL allowed) says which.
mosa_status mosa_grammar_cache_get(mosa_grammar_cache *cache, mosa_grammar_kind kind, mosa_slice text,
                                   mosa_json_spacing spacing, mosa_grammar **out, bool *hit,
                                   mosa_error *err) MOSA_MUST_USE;

// --- matchers ------------------------------------------------------------------------------------------------------

typedef struct mosa_matcher mosa_matcher;

// At the start of the text; takes a reference to the grammar. MOSA_ENOMEM.
mosa_status mosa_matcher_create(mosa_grammar *grammar, mosa_matcher **out, mosa_error *err) MOSA_MUST_USE;
void mosa_matcher_destroy(mosa_matcher *matcher); // NULL-safe

// Sets bit t of mask (mosa_token_trie_mask_words words) exactly for the tokens that may come next; end tokens where the
// text may end. MOSA_ELIMIT when the automaton or the parse outgrows its memory: the sequence cannot go on.
mosa_status mosa_matcher_mask(mosa_matcher *matcher, uint64_t *mask, mosa_error *err) MOSA_MUST_USE;

// Moves behind `token`. False, and nothing changes, when the mask would not allow it. After an end token nothing may
// follow.
bool mosa_matcher_accept(mosa_matcher *matcher, mosa_token_id token);
// How many of tokens[0..count) could be accepted one after another from here; the place is kept.
size_t mosa_matcher_check(mosa_matcher *matcher, const mosa_token_id *tokens, size_t count);
// Takes back the last `count` accepted tokens (at most all).
void mosa_matcher_rollback(mosa_matcher *matcher, size_t count);

bool mosa_matcher_can_end(mosa_matcher *matcher);  // the text so far is a whole output
bool mosa_matcher_must_end(mosa_matcher *matcher); // ... and nothing may follow it
// The tokens that spell what must follow, tokenised as the model's tokenizer does; at most `capacity`. They are not
// accepted yet. A last token that could grow together with what comes after it is left out. 0 when nothing is certain.
// Calls the tokenizer, which allocates.
size_t mosa_matcher_forced(mosa_matcher *matcher, mosa_token_id *tokens, size_t capacity);

#endif
