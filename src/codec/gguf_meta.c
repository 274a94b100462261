// Typed access to GGUF metadata. Values were bounds-checked when the file was opened, so nothing here can overrun.
#include "codec/gguf_internal.h"

const char *mosa_gguf_type_name(mosa_gguf_type type) {
    static const char *const names[MOSA_GGUF_TYPE_COUNT] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                            "bool", "string", "array", "u64", "i64", "f64"};
    return (unsigned)type < MOSA_GGUF_TYPE_COUNT ? names[type] : "unknown";
}

static const void *item_at(const mosa_gguf_kv *kv, uint64_t index) {
    return (const unsigned char *)kv->data + index * gguf_type_bytes(kv->item_type);
}

#define LOAD(type, from)                                                                                               \
    ({                                                                                                                 \
        type loaded_;                                                                                                  \
        memcpy(&loaded_, (from), sizeof loaded_);                                                                      \
        loaded_;                                                                                                       \
    })

bool mosa_gguf_kv_i64(const mosa_gguf_kv *kv, uint64_t index, int64_t *out) {
    const void *item = item_at(kv, index);
    switch (kv->item_type) {
    case MOSA_GGUF_U8:
    case MOSA_GGUF_BOOL:
        *out = LOAD(uint8_t, item);
        return true;
    case MOSA_GGUF_I8:
        *out = LOAD(int8_t, item);
        return true;
    case MOSA_GGUF_U16:
        *out = LOAD(uint16_t, item);
        return true;
    case MOSA_GGUF_I16:
        *out = LOAD(int16_t, item);
        return true;
    case MOSA_GGUF_U32:
        *out = LOAD(uint32_t, item);
        return true;
    case MOSA_GGUF_I32:
        *out = LOAD(int32_t, item);
        return true;
    case MOSA_GGUF_I64:
        *out = LOAD(int64_t, item);
        return true;
    case MOSA_GGUF_U64: {
        uint64_t value = LOAD(uint64_t, item);
        if (value > INT64_MAX) return false;
        *out = (int64_t)value;
        return true;
    }
    default:
        return false;
    }
}

bool mosa_gguf_kv_f64(const mosa_gguf_kv *kv, uint64_t index, double *out) {
    const void *item = item_at(kv, index);
    int64_t integer;
    switch (kv->item_type) {
    case MOSA_GGUF_F32:
        *out = (double)LOAD(float, item);
        return true;
    case MOSA_GGUF_F64:
        *out = LOAD(double, item);
        return true;
    case MOSA_GGUF_U64:
        *out = (double)LOAD(uint64_t, item);
        return true;
    default:
        if (!mosa_gguf_kv_i64(kv, index, &integer)) return false;
        *out = (double)integer;
        return true;
    }
}

mosa_gguf_str_iter mosa_gguf_strs(const mosa_gguf_kv *kv) {
    return (mosa_gguf_str_iter){kv->data, kv->item_type == MOSA_GGUF_STR ? kv->count : 0};
}

bool mosa_gguf_str_next(mosa_gguf_str_iter *iter, mosa_slice *out) {
    if (iter->left == 0) return false;
    uint64_t len = LOAD(uint64_t, iter->at);
    *out = (mosa_slice){(const char *)iter->at + 8, len};
    iter->at += 8 + len;
    iter->left--;
    return true;
}

static mosa_status missing(const mosa_gguf *gguf, const char *key, mosa_error *err) {
    return mosa_fail(err, MOSA_ENOTFOUND, "%s: key '%s' is missing", gguf->path, key);
}

static mosa_status wrong_type(const mosa_gguf *gguf, const mosa_gguf_kv *kv, const char *wanted, mosa_error *err) {
    bool array = kv->type == MOSA_GGUF_ARRAY;
    return mosa_fail(err, MOSA_EINVALID, "%s: key '%s' is %s%s, wanted %s", gguf->path, kv->key,
                     array ? "an array of " : "", mosa_gguf_type_name(kv->item_type), wanted);
}

static bool is_integer(mosa_gguf_type type) {
    return type != MOSA_GGUF_F32 && type != MOSA_GGUF_F64 && type != MOSA_GGUF_STR && type != MOSA_GGUF_ARRAY &&
           type != MOSA_GGUF_BOOL;
}

// An integer within [low, high]; u64 beyond INT64_MAX is handled by its own getter.
static mosa_status get_integer(const mosa_gguf *gguf, const char *key, int64_t low, int64_t high, int64_t *out,
                               mosa_error *err) {
    const mosa_gguf_kv *kv = mosa_gguf_kv_find(gguf, key);
    int64_t value;
    if (!kv) return missing(gguf, key, err);
    if (!is_integer(kv->type)) return wrong_type(gguf, kv, "an integer", err);
    if (!mosa_gguf_kv_i64(kv, 0, &value) || value < low || value > high)
        return mosa_fail(err, MOSA_EINVALID, "%s: key '%s' is not in %lld to %lld", gguf->path, key, (long long)low,
                         (long long)high);
    *out = value;
    return MOSA_OK;
}

mosa_status mosa_gguf_get_u32(const mosa_gguf *gguf, const char *key, uint32_t *out, mosa_error *err) {
    int64_t value;
    MOSA_TRY(get_integer(gguf, key, 0, UINT32_MAX, &value, err));
    *out = (uint32_t)value;
    return MOSA_OK;
}

mosa_status mosa_gguf_get_u64(const mosa_gguf *gguf, const char *key, uint64_t *out, mosa_error *err) {
    const mosa_gguf_kv *kv = mosa_gguf_kv_find(gguf, key);
    if (kv && kv->type == MOSA_GGUF_U64) {
        *out = LOAD(uint64_t, kv->data);
        return MOSA_OK;
    }
    int64_t value;
    MOSA_TRY(get_integer(gguf, key, 0, INT64_MAX, &value, err));
    *out = (uint64_t)value;
    return MOSA_OK;
}

mosa_status mosa_gguf_get_i64(const mosa_gguf *gguf, const char *key, int64_t *out, mosa_error *err) {
    return get_integer(gguf, key, INT64_MIN, INT64_MAX, out, err);
}

mosa_status mosa_gguf_get_f32(const mosa_gguf *gguf, const char *key, float *out, mosa_error *err) {
    const mosa_gguf_kv *kv = mosa_gguf_kv_find(gguf, key);
    double value;
    if (!kv) return missing(gguf, key, err);
    if (kv->type != MOSA_GGUF_F32 && kv->type != MOSA_GGUF_F64) return wrong_type(gguf, kv, "a float", err);
    if (!mosa_gguf_kv_f64(kv, 0, &value)) return wrong_type(gguf, kv, "a float", err);
    *out = (float)value;
    return MOSA_OK;
}

mosa_status mosa_gguf_get_bool(const mosa_gguf *gguf, const char *key, bool *out, mosa_error *err) {
    const mosa_gguf_kv *kv = mosa_gguf_kv_find(gguf, key);
    if (!kv) return missing(gguf, key, err);
    if (kv->type != MOSA_GGUF_BOOL) return wrong_type(gguf, kv, "a bool", err);
    *out = LOAD(uint8_t, kv->data) != 0;
    return MOSA_OK;
}

mosa_status mosa_gguf_get_str(const mosa_gguf *gguf, const char *key, mosa_slice *out, mosa_error *err) {
    const mosa_gguf_kv *kv = mosa_gguf_kv_find(gguf, key);
    if (!kv) return missing(gguf, key, err);
    if (kv->type != MOSA_GGUF_STR) return wrong_type(gguf, kv, "a string", err);
    mosa_gguf_str_iter iter = mosa_gguf_strs(kv);
    mosa_gguf_str_next(&iter, out);
    return MOSA_OK;
}

mosa_status mosa_gguf_get_u32_or(const mosa_gguf *gguf, const char *key, uint32_t fallback, uint32_t *out,
                                 mosa_error *err) {
    if (mosa_gguf_kv_find(gguf, key)) return mosa_gguf_get_u32(gguf, key, out, err);
    *out = fallback;
    return MOSA_OK;
}

mosa_status mosa_gguf_get_i64_or(const mosa_gguf *gguf, const char *key, int64_t fallback, int64_t *out,
                                 mosa_error *err) {
    if (mosa_gguf_kv_find(gguf, key)) return mosa_gguf_get_i64(gguf, key, out, err);
    *out = fallback;
    return MOSA_OK;
}

mosa_status mosa_gguf_get_f32_or(const mosa_gguf *gguf, const char *key, float fallback, float *out, mosa_error *err) {
    if (mosa_gguf_kv_find(gguf, key)) return mosa_gguf_get_f32(gguf, key, out, err);
    *out = fallback;
    return MOSA_OK;
}

mosa_status mosa_gguf_get_bool_or(const mosa_gguf *gguf, const char *key, bool fallback, bool *out, mosa_error *err) {
    if (mosa_gguf_kv_find(gguf, key)) return mosa_gguf_get_bool(gguf, key, out, err);
    *out = fallback;
    return MOSA_OK;
}

mosa_status mosa_gguf_get_str_or(const mosa_gguf *gguf, const char *key, mosa_slice fallback, mosa_slice *out,
                                 mosa_error *err) {
    if (mosa_gguf_kv_find(gguf, key)) return mosa_gguf_get_str(gguf, key, out, err);
    *out = fallback;
    return MOSA_OK;
}

// Finds an array and gives room for its items in the arena. Whether item types fit is checked by the caller.
static mosa_status find_array(const mosa_gguf *gguf, const char *key, mosa_arena *arena, size_t item_bytes,
                              const mosa_gguf_kv **kv, void **items, mosa_error *err) {
    *kv = mosa_gguf_kv_find(gguf, key);
    if (!*kv) return missing(gguf, key, err);
    if ((*kv)->type != MOSA_GGUF_ARRAY) return wrong_type(gguf, *kv, "an array", err);
    *items = mosa_arena_alloc_array(arena, (*kv)->count, item_bytes);
    if (!*items)
        return mosa_fail(err, MOSA_ENOMEM, "%s: key '%s': no memory for %llu items", gguf->path, key,
                         (unsigned long long)(*kv)->count);
    return MOSA_OK;
}

mosa_status mosa_gguf_get_strs(const mosa_gguf *gguf, const char *key, mosa_arena *arena, const mosa_slice **out,
                               size_t *count, mosa_error *err) {
    const mosa_gguf_kv *kv;
    void *items;
    MOSA_TRY(find_array(gguf, key, arena, sizeof **out, &kv, &items, err));
    if (kv->item_type != MOSA_GGUF_STR) return wrong_type(gguf, kv, "an array of strings", err);
    mosa_gguf_str_iter iter = mosa_gguf_strs(kv);
    for (mosa_slice *at = items; mosa_gguf_str_next(&iter, at);) at++;
    *out = items;
    *count = kv->count;
    return MOSA_OK;
}

mosa_status mosa_gguf_get_i32s(const mosa_gguf *gguf, const char *key, mosa_arena *arena, const int32_t **out,
                               size_t *count, mosa_error *err) {
    const mosa_gguf_kv *kv;
    void *items;
    MOSA_TRY(find_array(gguf, key, arena, sizeof **out, &kv, &items, err));
    if (!is_integer(kv->item_type) && kv->item_type != MOSA_GGUF_BOOL)
        return wrong_type(gguf, kv, "an array of integers", err);
    for (uint64_t i = 0; i < kv->count; i++) {
        int64_t value;
        if (!mosa_gguf_kv_i64(kv, i, &value) || value < INT32_MIN || value > INT32_MAX)
            return mosa_fail(err, MOSA_EINVALID, "%s: key '%s': item %llu does not fit in 32 bits", gguf->path, key,
                             (unsigned long long)i);
        ((int32_t *)items)[i] = (int32_t)value;
    }
    *out = items;
    *count = kv->count;
    return MOSA_OK;
}

mosa_status mosa_gguf_get_f32s(const mosa_gguf *gguf, const char *key, mosa_arena *arena, const float **out,
                               size_t *count, mosa_error *err) {
    const mosa_gguf_kv *kv;
    void *items;
    MOSA_TRY(find_array(gguf, key, arena, sizeof **out, &kv, &items, err));
    if (kv->item_type != MOSA_GGUF_F32 && kv->item_type != MOSA_GGUF_F64)
        return wrong_type(gguf, kv, "an array of floats", err);
    for (uint64_t i = 0; i < kv->count; i++) {
        double value = 0;
        mosa_gguf_kv_f64(kv, i, &value);
        ((float *)items)[i] = (float)value;
    }
    *out = items;
    *count = kv->count;
    return MOSA_OK;
}
