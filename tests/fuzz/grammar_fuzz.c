// Grammar sources: the first byte picks the front end, the rest is its text. What compiles must give masks whose tokens
// are accepted, and go back to where it was.
#include "text/grammar/grammar.h"
#include "text/tokenizer_spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TOKENS = 260, WORDS = (TOKENS + 63) / 64, STEPS = 24 };

static mosa_tokenizer *tokenizer;
static mosa_token_trie *trie;

// Every byte a token, an end token, and two longer ones.
static void make_vocabulary(void) {
    static char bytes[256][8];
    static mosa_token_spec tokens[TOKENS];
    for (int b = 0; b < 256; b++) {
        snprintf(bytes[b], sizeof bytes[b], "<0x%02X>", (unsigned)b);
        tokens[b] = (mosa_token_spec){.text = mosa_slice_of(bytes[b]), .type = MOSA_TOKEN_BYTE};
    }
    tokens[256] = (mosa_token_spec){.text = MOSA_SLICE("</s>"), .type = MOSA_TOKEN_CONTROL};
    tokens[257] = (mosa_token_spec){.text = MOSA_SLICE("\": "), .type = MOSA_TOKEN_NORMAL};
    tokens[258] = (mosa_token_spec){.text = MOSA_SLICE("aa"), .type = MOSA_TOKEN_NORMAL};
    tokens[259] = (mosa_token_spec){.text = MOSA_SLICE("<unk>"), .type = MOSA_TOKEN_UNKNOWN};
    static const mosa_decoder_spec decoders[] = {{.kind = MOSA_DEC_BYTE_FALLBACK}, {.kind = MOSA_DEC_FUSE}};
    mosa_tokenizer_spec spec;
    mosa_tokenizer_spec_init(&spec, "fuzz");
    spec.tokens = tokens;
    spec.token_count = TOKENS;
    spec.merge_source = MOSA_MERGES_BY_SCORE;
    spec.byte_fallback = true;
    spec.special.unk = 259;
    spec.decoders = decoders;
    spec.decoder_count = 2;
    mosa_token_id end = 256;
    if (mosa_tokenizer_create(&spec, &tokenizer, NULL) != MOSA_OK) abort();
    if (mosa_tokenizer_token_bytes(tokenizer, 65).len != 1) abort();
    if (mosa_token_trie_create(tokenizer, &end, 1, TOKENS, &trie, NULL) != MOSA_OK) abort();
}

static void walk(mosa_grammar *grammar, size_t seed) {
    mosa_matcher *m;
    uint64_t mask[WORDS], again[WORDS];
    mosa_error err;
    if (mosa_matcher_create(grammar, &m, NULL) != MOSA_OK) return;
    for (size_t step = 0; step < STEPS; step++) {
        if (mosa_matcher_mask(m, mask, &err) != MOSA_OK) break; // a limit
        int32_t token = -1;
        for (size_t k = 0; k < TOKENS && token < 0; k++) {
            size_t t = (seed + step * 37 + k) % TOKENS;
            if (mask[t / 64] >> (t % 64) & 1) token = (int32_t)t;
        }
        if (token < 0) abort(); // a dead end
        if (!mosa_matcher_accept(m, token)) abort();
        if (token == 256) break;
        mosa_matcher_rollback(m, 1);
        if (mosa_matcher_mask(m, again, &err) == MOSA_OK && memcmp(mask, again, sizeof mask) != 0) abort();
        if (!mosa_matcher_accept(m, token)) abort();
    }
    mosa_matcher_destroy(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!trie) make_vocabulary();
    if (size == 0) return 0;
    mosa_grammar_kind kind = (mosa_grammar_kind)(MOSA_GRAMMAR_JSON_SCHEMA + data[0] % 4);
    mosa_json_spacing spacing = (mosa_json_spacing)(data[0] / 4 % 3);
    mosa_grammar *grammar;
    mosa_error err;
    mosa_slice text = {(const char *)data + 1, size - 1};
    if (mosa_grammar_compile(trie, kind, text, spacing, &grammar, &err) != MOSA_OK) return 0;
    walk(grammar, size);
    mosa_grammar_unref(grammar);
    return 0;
}
