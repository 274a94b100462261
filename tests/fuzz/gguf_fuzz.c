// GGUF: whatever opens can be read to the last byte, and every name finds its row again.
#include "codec/gguf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink; // keeps the reads

static void touch_kv(const mosa_gguf *gguf, const mosa_gguf_kv *kv, mosa_arena *arena) {
    const mosa_slice *strings;
    const int32_t *integers;
    const float *reals;
    size_t count;
    uint32_t small;
    double value;
    mosa_gguf_str_iter iter = mosa_gguf_strs(kv);
    for (mosa_slice text; mosa_gguf_str_next(&iter, &text);) sink += mosa_hash_bytes(text.data, text.len, 0);
    for (uint64_t i = 0; i < kv->count && mosa_gguf_kv_f64(kv, i, &value); i++) sink++;
    if (mosa_gguf_get_strs(gguf, kv->key, arena, &strings, &count, NULL) == MOSA_OK) sink += count;
    if (mosa_gguf_get_i32s(gguf, kv->key, arena, &integers, &count, NULL) == MOSA_OK) sink += count;
    if (mosa_gguf_get_f32s(gguf, kv->key, arena, &reals, &count, NULL) == MOSA_OK) sink += count;
    if (mosa_gguf_get_u32(gguf, kv->key, &small, NULL) == MOSA_OK) sink += small;
    if (mosa_gguf_kv_find(gguf, kv->key) != kv) abort();
}

static void touch_tensor(const mosa_gguf *gguf, const mosa_tensor_view *view) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(view->dtype);
    float block[256];
    sink += mosa_hash_bytes(view->data, view->bytes, 0);
    if (traits->to_f32) traits->to_f32(view->data, block, traits->block_len);
    if (mosa_gguf_tensor_find(gguf, view->name) != view) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mosa_gguf *gguf;
    mosa_error err;
    mosa_arena arena;
    if (mosa_gguf_parse(data, size, "fuzz.gguf", &gguf, &err) != MOSA_OK) return 0;
    mosa_arena_init(&arena, 0, 0);
    for (size_t i = 0; i < mosa_gguf_kv_count(gguf); i++) touch_kv(gguf, mosa_gguf_kv_at(gguf, i), &arena);
    for (size_t i = 0; i < mosa_gguf_tensor_count(gguf); i++) touch_tensor(gguf, mosa_gguf_tensor_at(gguf, i));
    mosa_arena_finish(&arena);
    mosa_gguf_close(gguf);
    return 0;
}
