// JSON text: what parses must survive writing and parsing again.
#include "codec/json.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mosa_error err;
    json_t *tree = NULL, *again = NULL;
    if (mosa_json_parse((mosa_slice){(const char *)data, size}, NULL, &tree, &err) != MOSA_OK) return 0;
    mosa_buf text = {0};
    mosa_json_append(&text, tree);
    if (mosa_buf_failed(&text) || mosa_json_parse(mosa_buf_slice(&text), NULL, &again, &err) != MOSA_OK) abort();
    if (!json_equal(tree, again)) abort();
    mosa_buf_finish(&text);
    json_decref(tree);
    json_decref(again);
    return 0;
}
