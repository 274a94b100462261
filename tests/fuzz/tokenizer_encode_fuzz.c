// Text against fixed tokenizers with every scanner: no fault, no control token from untrusted text, and the ids decode
// to the text itself (repaired) where the vocabulary is byte-level. The first byte picks the pattern.
#include <stdio.h>
#include <stdlib.h>

#include "text/byte_level.h"
#include "text/scan.h"
#include "text/tokenizer_spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CONTROL = 256, VOCAB = 257 + 4 };

static mosa_tokenizer *make(const char *pattern) {
    static mosa_token_spec tokens[VOCAB];
    static mosa_buf spelling[256];
    static const char *const joined[] = {"th", "the", "aa", "aaaa"};
    for (int i = 0; i < 256; i++) {
        char byte = (char)i;
        if (!spelling[i].len) mosa_byte_level_encode((mosa_slice){&byte, 1}, &spelling[i]);
        tokens[i] = (mosa_token_spec){.text = mosa_buf_slice(&spelling[i]), .type = MOSA_TOKEN_NORMAL};
    }
    tokens[CONTROL] = (mosa_token_spec){.text = MOSA_SLICE("<|x|>"), .type = MOSA_TOKEN_CONTROL, .added_only = true};
    for (int i = 0; i < 4; i++)
        tokens[257 + i] = (mosa_token_spec){.text = mosa_slice_of(joined[i]), .type = MOSA_TOKEN_NORMAL};
    const mosa_merge_spec merges[] = {{MOSA_SLICE("t"), MOSA_SLICE("h")},
                                      {MOSA_SLICE("th"), MOSA_SLICE("e")},
                                      {MOSA_SLICE("a"), MOSA_SLICE("a")},
                                      {MOSA_SLICE("aa"), MOSA_SLICE("aa")}};
    const mosa_added_token_spec added = {.text = MOSA_SLICE("<|x|>"), .id = CONTROL, .special = true, .lstrip = true};
    const mosa_pretokenizer_spec steps[] = {
        {.kind = MOSA_PRE_SPLIT, .pattern = mosa_slice_of(pattern), .regex = true, .behavior = MOSA_SPLIT_ISOLATED},
        {.kind = MOSA_PRE_BYTE_LEVEL, .pattern = MOSA_SLICE("")}};
    const mosa_decoder_spec decoder = {
        .kind = MOSA_DEC_BYTE_LEVEL, .pattern = MOSA_SLICE(""), .content = MOSA_SLICE("")};
    mosa_tokenizer_spec spec;
    mosa_tokenizer_spec_init(&spec, "fuzz");
    spec.tokens = tokens;
    spec.token_count = VOCAB;
    spec.merges = merges;
    spec.merge_count = MOSA_COUNT(merges);
    spec.added = &added;
    spec.added_count = 1;
    spec.pretokenizers = steps;
    spec.pretokenizer_count = MOSA_COUNT(steps);
    spec.decoders = &decoder;
    spec.decoder_count = 1;
    mosa_tokenizer *tokenizer = NULL;
    mosa_error err;
    if (mosa_tokenizer_create(&spec, &tokenizer, &err) != MOSA_OK) abort();
    return tokenizer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { PATTERNS_MAX = 32 };
    static mosa_tokenizer *tokenizers[PATTERNS_MAX]; // kept for the whole run
    if (size == 0) return 0;
    size_t count;
    const mosa_scan_pattern *table = mosa_scan_table(&count);
    size_t which = data[0] % (count < PATTERNS_MAX ? count : PATTERNS_MAX);
    if (!tokenizers[which]) tokenizers[which] = make(table[which].pattern);
    mosa_slice text = {(const char *)data + 1, size - 1};
    mosa_token_list ids;
    mosa_buf out, repaired;
    mosa_error err;
    mosa_token_list_init(&ids, 0);
    mosa_buf_init(&out, 0);
    mosa_buf_init(&repaired, 0);
    if (mosa_tokenizer_encode(tokenizers[which], text, 0, &ids, &err) != MOSA_OK) abort();
    for (size_t i = 0; i < ids.len; i++) {
        if (ids.ids[i] == CONTROL) abort();
    }
    if (mosa_tokenizer_decode(tokenizers[which], ids.ids, ids.len, 0, &out, &err) != MOSA_OK) abort();
    mosa_utf8_append_lossy(&repaired, text);
    if (!mosa_slice_eq(mosa_buf_slice(&out), mosa_buf_slice(&repaired))) abort();
    const mosa_text_range half = {.offset = text.len / 3, .len = text.len / 2, .trusted = true};
    mosa_token_list_clear(&ids);
    if (mosa_tokenizer_encode_ranges(tokenizers[which], text, &half, 1, 0, &ids, &err) != MOSA_OK) abort();
    mosa_token_list_finish(&ids);
    mosa_buf_finish(&out);
    mosa_buf_finish(&repaired);
    return 0;
}
