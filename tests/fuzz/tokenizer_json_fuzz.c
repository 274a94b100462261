// tokenizer.json: a file that loads must also encode and decode whatever text comes, and never yield a control token
// from untrusted text.
#include <stdlib.h>

#include "codec/json.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void exercise(const mosa_tokenizer *tokenizer, mosa_slice text) {
    mosa_token_list ids;
    mosa_buf out;
    mosa_error err;
    mosa_token_list_init(&ids, 1 << 16);
    mosa_buf_init(&out, 1 << 20);
    if (mosa_tokenizer_encode(tokenizer, text, 0, &ids, &err) == MOSA_OK) {
        for (size_t i = 0; i < ids.len; i++) {
            if (mosa_tokenizer_token_type(tokenizer, ids.ids[i]) == MOSA_TOKEN_CONTROL &&
                ids.ids[i] != mosa_tokenizer_special(tokenizer)->unk) {
                abort();
            }
        }
        if (mosa_tokenizer_decode(tokenizer, ids.ids, ids.len, 0, &out, &err) == MOSA_OK &&
            mosa_utf8_valid_prefix(out.data, out.len) != out.len) {
            abort();
        }
    }
    mosa_token_list_clear(&ids);
    (void)!mosa_tokenizer_encode(tokenizer, text, MOSA_ENCODE_PARSE_SPECIAL | MOSA_ENCODE_ADD_SPECIAL, &ids, &err);
    mosa_token_list_finish(&ids);
    mosa_buf_finish(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char sample[] = "It's the <|end|> of </s> 12345 \xFF\xE6\x97 日本語 e\xCC\x81  \n\n x";
    mosa_json_limits limits = {.bytes_max = 1 << 20, .depth_max = 64};
    MOSA_AUTO_JSON json_t *root = NULL;
    mosa_error err;
    if (mosa_json_parse((mosa_slice){(const char *)data, size}, &limits, &root, &err) != MOSA_OK) return 0;
    mosa_tokenizer *tokenizer = NULL;
    if (mosa_tokenizer_from_json(root, root, "fuzz", &tokenizer, &err) != MOSA_OK) return 0;
    exercise(tokenizer, (mosa_slice){sample, sizeof sample - 1});
    exercise(tokenizer, (mosa_slice){(const char *)data, size > 512 ? 512 : size});
    mosa_tokenizer_destroy(tokenizer);
    return 0;
}
