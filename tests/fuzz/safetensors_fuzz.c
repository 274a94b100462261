// safetensors: whatever opens can be read to the last byte, and every name finds its row again.
#include "codec/safetensors.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink; // keeps the reads

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mosa_safetensors *st;
    mosa_error err;
    if (mosa_safetensors_parse(data, size, "fuzz.safetensors", &st, &err) != MOSA_OK) return 0;
    for (size_t i = 0; i < mosa_safetensors_tensor_count(st); i++) {
        const mosa_tensor_view *view = mosa_safetensors_tensor_at(st, i);
        sink += mosa_hash_bytes(view->data, view->bytes, 0);
        if (mosa_safetensors_tensor_find(st, view->name) != view) abort();
    }
    for (size_t i = 0; i < mosa_safetensors_metadata_count(st); i++) {
        const char *key, *value;
        mosa_safetensors_metadata_at(st, i, &key, &value);
        sink += mosa_hash_bytes(value, strlen(value), 0);
        if (!mosa_safetensors_metadata_find(st, key, &value)) abort();
    }
    mosa_safetensors_close(st);
    return 0;
}
