// SentencePiece models: whatever loads must encode and decode without a fault.
#include <stdlib.h>

#include "text/tokenizer_sentencepiece.h"
#include "text/unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char sample[] = "It's  the </s> end 12345 \xFF\xE6\x97 日本語 e\xCC\x81 ab abab \n x ";
    mosa_tokenizer *tokenizer = NULL;
    mosa_error err;
    if (mosa_tokenizer_from_sentencepiece((mosa_slice){(const char *)data, size}, "fuzz", &tokenizer, &err) != MOSA_OK)
        return 0;
    mosa_token_list ids;
    mosa_buf out;
    mosa_token_list_init(&ids, 1 << 16);
    mosa_buf_init(&out, 1 << 20);
    if (mosa_tokenizer_encode(tokenizer, (mosa_slice){sample, sizeof sample - 1}, MOSA_ENCODE_ADD_SPECIAL, &ids,
                              &err) == MOSA_OK &&
        mosa_tokenizer_decode(tokenizer, ids.ids, ids.len, MOSA_DECODE_SPECIAL, &out, &err) == MOSA_OK &&
        mosa_utf8_valid_prefix(out.data, out.len) != out.len) {
        abort();
    }
    mosa_token_list_finish(&ids);
    mosa_buf_finish(&out);
    mosa_tokenizer_destroy(tokenizer);
    return 0;
}
