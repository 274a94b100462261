// How keys and values lie in pages, shared by reference and fast kernels.
//
// A page of one key/value head holds its positions in groups of 16: first the key groups, then the value groups
// (kv->v_offset). Lanes of a vector are positions for keys and columns for values, so no kernel shuffles:
//   keys   f32, f16  [width][16]
//          q8_0      u8 [ceil(width / 4)][16][4], the int8 element + 128; then f16 scale [ceil(width / 32)][16]
//   values f32, f16  [16][value_width]
//          q8_0      int8 [8][value_width][2], two neighbouring positions side by side; then f32 scale [16]
// Groups are padded to 64 bytes. Whoever reads a group must not mind the lanes of positions that were never written.
//
// q8_0: an element is n * scale with n in [-127, 127]; a key has a scale for each 32 columns, because rotation leaves
// some columns of keys much larger than others; a value has one. Largest magnitudes give the scale; it is rounded to
// its stored type before elements are divided by it. Non-finite input never makes a non-finite scale.
#ifndef MOSA_BACKEND_CPU_KV_PAGE_H
#define MOSA_BACKEND_CPU_KV_PAGE_H

#include "backend/cpu/kernel.h"
#include "tensor/half.h"

#include <string.h>

enum { MOSA_KV_GROUP = 16, MOSA_KV_BLOCK = 32 }; // positions of a group, columns that share a key's scale

static inline int mosa_kv_key_blocks(int width) {
    return (width + MOSA_KV_BLOCK - 1) / MOSA_KV_BLOCK;
}
static inline size_t mosa_kv_key_scales(int width) { // offset of the scales of a q8_0 key group
    return (size_t)(width + 3) / 4 * 4 * MOSA_KV_GROUP;
}
static inline size_t mosa_kv_value_scales(int value_width) { // offset of the scales of a q8_0 value group
    return (size_t)value_width * MOSA_KV_GROUP;
}

static inline size_t mosa_kv_element_bytes(const mosa_kv_spec *spec) { // f32 and f16
    return spec->dtype == MOSA_F16 ? 2 : 4;
}

static inline size_t mosa_kv_key_group_bytes(const mosa_kv_spec *spec) {
    size_t bytes = (size_t)spec->head_width * MOSA_KV_GROUP * mosa_kv_element_bytes(spec);
    if (spec->dtype == MOSA_Q8_0)
        bytes = mosa_kv_key_scales(spec->head_width) + (size_t)mosa_kv_key_blocks(spec->head_width) * MOSA_KV_GROUP * 2;
    return (bytes + 63) / 64 * 64;
}

static inline size_t mosa_kv_value_group_bytes(const mosa_kv_spec *spec) { // 0 when values are part of the keys
    int width = mosa_kv_value_width(spec);
    if (width == 0) return 0;
    size_t bytes = (size_t)width * MOSA_KV_GROUP * mosa_kv_element_bytes(spec);
    if (spec->dtype == MOSA_Q8_0) bytes = mosa_kv_value_scales(width) + MOSA_KV_GROUP * sizeof(float);
    return (bytes + 63) / 64 * 64;
}

// Sets the sizes and strides of a pool from its spec.
static inline void mosa_kv_lay_out(mosa_kv *kv) {
    size_t groups = (size_t)kv->spec.page_tokens / MOSA_KV_GROUP;
    kv->key_group = mosa_kv_key_group_bytes(&kv->spec);
    kv->value_group = mosa_kv_value_group_bytes(&kv->spec);
    kv->v_offset = groups * kv->key_group;
    kv->head_stride = kv->v_offset + groups * kv->value_group;
    kv->page_stride = kv->head_stride * (size_t)kv->spec.kv_heads;
    kv->layer_stride = kv->page_stride * (size_t)kv->spec.pages;
}

// The group of keys (values) that holds a position of a sequence; its lane there is position % 16.
static inline unsigned char *mosa_kv_group_at(const mosa_kv *kv, const mosa_segment *segment, int layer, int kv_head,
                                              int32_t position, bool value) {
    int32_t page = segment->pages[position / kv->spec.page_tokens];
    size_t group = (size_t)(position % kv->spec.page_tokens) / MOSA_KV_GROUP;
    return mosa_kv_head(kv, layer, page, kv_head) +
           (value ? kv->v_offset + group * kv->value_group : group * kv->key_group);
}

// ---- storing. x: [width] of the key or value; what f16 cannot hold becomes the largest that it can

static inline uint16_t mosa_kv_half(float x) {
    return mosa_f16_from_f32(x > 65504.0f ? 65504.0f : x < -65504.0f ? -65504.0f : x);
}

// n[count] = x / scale, rounded to nearest, ties to even, within [-127, 127]; a NaN becomes -127.
static inline void mosa_kv_quantize(const float *x, int count, float scale, int8_t *n) {
    const float magic = 12582912.0f; // 1.5 * 2^23: the sum's low bits are the rounded integer
    float inverse = scale > 0 ? 1.0f / scale : 0;
    for (int i = 0; i < count; i++) {
        float v = x[i] * inverse;
        v = v > -127.0f ? v : -127.0f;
        v = v < 127.0f ? v : 127.0f;
        v += magic;
        int32_t bits;
        memcpy(&bits, &v, sizeof bits);
        n[i] = (int8_t)(bits & 0xff);
    }
}

static inline float mosa_kv_largest(const float *x, int count) { // magnitude; NaN does not count
    float largest = 0;
    for (int i = 0; i < count; i++) {
        float a = x[i] < 0 ? -x[i] : x[i];
        largest = a > largest ? a : largest;
    }
    return largest;
}

static inline void mosa_kv_store_key_q8(unsigned char *group, int lane, const float *x, int width) {
    uint16_t *scales = (uint16_t *)(void *)(group + mosa_kv_key_scales(width));
    for (int c = 0; c < (width + 3) / 4 * 4; c++) group[c / 4 * 64 + lane * 4 + c % 4] = 128;
    for (int b = 0; b * MOSA_KV_BLOCK < width; b++) {
        int8_t n[MOSA_KV_BLOCK];
        int first = b * MOSA_KV_BLOCK, count = width - first < MOSA_KV_BLOCK ? width - first : MOSA_KV_BLOCK;
        uint16_t scale = mosa_kv_half(mosa_kv_largest(x + first, count) / 127.0f);
        mosa_kv_quantize(x + first, count, mosa_f16_to_f32(scale), n);
        scales[b * MOSA_KV_GROUP + lane] = scale;
        for (int i = 0; i < count; i++) group[(first + i) / 4 * 64 + lane * 4 + i % 4] = (unsigned char)(n[i] + 128);
    }
}

static inline void mosa_kv_store_value_q8(unsigned char *group, int lane, const float *x, int width) {
    int8_t n[MOSA_HEAD_WIDTH_MAX];
    float scale = mosa_kv_largest(x, width) / 127.0f;
    scale = scale < 1e-30f ? 0 : scale > 1e30f ? 1e30f : scale;
    mosa_kv_quantize(x, width, scale, n);
    memcpy(group + mosa_kv_value_scales(width) + (size_t)lane * sizeof scale, &scale, sizeof scale);
    unsigned char *to = group + (size_t)(lane / 2) * (size_t)width * 2 + lane % 2;
    for (int c = 0; c < width; c++) to[2 * c] = (unsigned char)n[c];
}

static inline void mosa_kv_store_key(const mosa_kv *kv, unsigned char *group, int lane, const float *x) {
    int width = kv->spec.head_width;
    if (kv->spec.dtype == MOSA_Q8_0) {
        mosa_kv_store_key_q8(group, lane, x, width);
    } else if (kv->spec.dtype == MOSA_F32) {
        float *to = (float *)(void *)group + lane;
        for (int c = 0; c < width; c++) to[c * MOSA_KV_GROUP] = x[c];
    } else {
        uint16_t *to = (uint16_t *)(void *)group + lane;
        for (int c = 0; c < width; c++) to[c * MOSA_KV_GROUP] = mosa_kv_half(x[c]);
    }
}

static inline void mosa_kv_store_value(const mosa_kv *kv, unsigned char *group, int lane, const float *x) {
    int width = mosa_kv_value_width(&kv->spec);
    if (kv->spec.dtype == MOSA_Q8_0) {
        mosa_kv_store_value_q8(group, lane, x, width);
    } else if (kv->spec.dtype == MOSA_F32) {
        memcpy((float *)(void *)group + (size_t)lane * (size_t)width, x, (size_t)width * sizeof *x);
    } else {
        uint16_t *to = (uint16_t *)(void *)group + (size_t)lane * (size_t)width;
        for (int c = 0; c < width; c++) to[c] = mosa_kv_half(x[c]);
    }
}

#endif
