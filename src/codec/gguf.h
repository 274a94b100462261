// GGUF reader (versions 2 and 3, little-endian) over a read-only mapping, without copying tensor data or strings.
//
// Everything is checked while opening: counts, lengths, nesting, alignment, dims, offsets, duplicates. A file that
// opens cannot make a getter read out of bounds. A split model ("-00001-of-0000N.gguf") is opened by its first file and
// looks like one: metadata of the first, tensors of all. Errors name the file and the key or tensor. Ownership: the
// object owns the mapping, names and table; all pointers handed out live until mosa_gguf_close. Thread: immutable after
// open; any number of threads may read. Source: the GGUF specification.
#ifndef MOSA_CODEC_GGUF_H
#define MOSA_CODEC_GGUF_H

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"
#include "tensor/view.h"

typedef enum mosa_gguf_type {
    MOSA_GGUF_U8 = 0,
    MOSA_GGUF_I8 = 1,
    MOSA_GGUF_U16 = 2,
    MOSA_GGUF_I16 = 3,
    MOSA_GGUF_U32 = 4,
    MOSA_GGUF_I32 = 5,
    MOSA_GGUF_F32 = 6,
    MOSA_GGUF_BOOL = 7,
    MOSA_GGUF_STR = 8,
    MOSA_GGUF_ARRAY = 9,
    MOSA_GGUF_U64 = 10,
    MOSA_GGUF_I64 = 11,
    MOSA_GGUF_F64 = 12,
    MOSA_GGUF_TYPE_COUNT
} mosa_gguf_type;

enum {
    MOSA_GGUF_KV_MAX = 65536,        // metadata pairs
    MOSA_GGUF_TENSORS_MAX = 1 << 18, // over all parts of a split
    MOSA_GGUF_NAME_MAX = 255,        // bytes of a key or tensor name
    MOSA_GGUF_DEPTH_MAX = 3,         // arrays of arrays of arrays
    MOSA_GGUF_DIMS_MAX = 4,
    MOSA_GGUF_SPLITS_MAX = 1024,
    MOSA_GGUF_ALIGNMENT_MAX = 1 << 20,
    MOSA_GGUF_STR_MAX = 64 * 1024 * 1024,  // bytes of one string value
    MOSA_GGUF_ITEMS_MAX = 64 * 1024 * 1024 // items of one array
};

// One metadata pair. For an array `type` is MOSA_GGUF_ARRAY, `item_type` its element type and `count` its length; for
// others item_type equals type and count is 1. `data` points at the first item in the mapping (unaligned).
typedef struct mosa_gguf_kv {
    const char *key;
    mosa_gguf_type type, item_type;
    uint64_t count;
    const void *data;
    size_t bytes; // of all items
} mosa_gguf_kv;

typedef struct mosa_gguf mosa_gguf;

// Opens a file or the first part of a split. MOSA_ENOTFOUND, MOSA_EIO, MOSA_ECORRUPT, MOSA_EUNSUPPORTED (version, big
// endian, unknown tensor type), MOSA_ELIMIT, MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_gguf_open(const char *path, mosa_gguf **out, mosa_error *err);

// As mosa_gguf_open over borrowed bytes that must outlive the object; a split is refused. `name` is for messages.
MOSA_MUST_USE mosa_status mosa_gguf_parse(const void *data, size_t len, const char *name, mosa_gguf **out,
                                          mosa_error *err);
void mosa_gguf_close(mosa_gguf *gguf); // NULL-safe

const char *mosa_gguf_path(const mosa_gguf *gguf); // as given to open, or the name given to parse
uint32_t mosa_gguf_version(const mosa_gguf *gguf);
uint32_t mosa_gguf_split_count(const mosa_gguf *gguf);  // files mapped, 1 when not split
uint64_t mosa_gguf_tensor_bytes(const mosa_gguf *gguf); // sum over all tensors, padding excluded

// Tensors, in file order. GGUF's dims are turned to row-major: see tensor/view.h. find returns NULL when absent.
size_t mosa_gguf_tensor_count(const mosa_gguf *gguf);
const mosa_tensor_view *mosa_gguf_tensor_at(const mosa_gguf *gguf, size_t index);
const mosa_tensor_view *mosa_gguf_tensor_find(const mosa_gguf *gguf, const char *name);

// Raw metadata, in file order. find returns NULL when absent.
size_t mosa_gguf_kv_count(const mosa_gguf *gguf);
const mosa_gguf_kv *mosa_gguf_kv_at(const mosa_gguf *gguf, size_t index);
const mosa_gguf_kv *mosa_gguf_kv_find(const mosa_gguf *gguf, const char *key);
const char *mosa_gguf_type_name(mosa_gguf_type type); // "u32"

// Typed getters. A missing key is MOSA_ENOTFOUND, a value of another type or out of the result's range MOSA_EINVALID,
// both naming file and key. Integer getters take any integer type that fits; f32 takes f32 and f64. *out is written on
// success only.
MOSA_MUST_USE mosa_status mosa_gguf_get_u32(const mosa_gguf *gguf, const char *key, uint32_t *out, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_gguf_get_u64(const mosa_gguf *gguf, const char *key, uint64_t *out, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_gguf_get_i64(const mosa_gguf *gguf, const char *key, int64_t *out, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_gguf_get_f32(const mosa_gguf *gguf, const char *key, float *out, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_gguf_get_bool(const mosa_gguf *gguf, const char *key, bool *out, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_gguf_get_str(const mosa_gguf *gguf, const char *key, mosa_slice *out, mosa_error *err);

// As above for an optional key: MOSA_OK and *out = fallback when the key is absent, an error when it has a wrong type.
MOSA_MUST_USE mosa_status mosa_gguf_get_u32_or(const mosa_gguf *gguf, const char *key, uint32_t fallback, uint32_t *out,
                                               mosa_error *err);
MOSA_MUST_USE mosa_status mosa_gguf_get_i64_or(const mosa_gguf *gguf, const char *key, int64_t fallback, int64_t *out,
                                               mosa_error *err);
MOSA_MUST_USE mosa_status mosa_gguf_get_f32_or(const mosa_gguf *gguf, const char *key, float fallback, float *out,
                                               mosa_error *err);
MOSA_MUST_USE mosa_status mosa_gguf_get_bool_or(const mosa_gguf *gguf, const char *key, bool fallback, bool *out,
                                                mosa_error *err);
MOSA_MUST_USE mosa_status mosa_gguf_get_str_or(const mosa_gguf *gguf, const char *key, mosa_slice fallback,
                                               mosa_slice *out, mosa_error *err);

// Arrays, copied into `arena` (strings: the slices are, their bytes stay in the mapping). A missing key is
// MOSA_ENOTFOUND: test with mosa_gguf_kv_find when it is optional. i32s takes any integer or bool items that fit.
MOSA_MUST_USE mosa_status mosa_gguf_get_strs(const mosa_gguf *gguf, const char *key, mosa_arena *arena,
                                             const mosa_slice **out, size_t *count, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_gguf_get_i32s(const mosa_gguf *gguf, const char *key, mosa_arena *arena,
                                             const int32_t **out, size_t *count, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_gguf_get_f32s(const mosa_gguf *gguf, const char *key, mosa_arena *arena,
                                             const float **out, size_t *count, mosa_error *err);

// Walks the string items of a pair (a single string counts as one item) without allocating:
//   mosa_gguf_str_iter it = mosa_gguf_strs(kv); mosa_slice s; while (mosa_gguf_str_next(&it, &s)) ...
// A pair of another type gives no items.
typedef struct mosa_gguf_str_iter {
    const unsigned char *at;
    uint64_t left;
} mosa_gguf_str_iter;
mosa_gguf_str_iter mosa_gguf_strs(const mosa_gguf_kv *kv);
bool mosa_gguf_str_next(mosa_gguf_str_iter *iter, mosa_slice *out);

// Numeric item `index` (< kv->count) of a number, bool or array of them; false for strings and nested arrays, and for
// i64 also for floats and u64 beyond INT64_MAX.
bool mosa_gguf_kv_i64(const mosa_gguf_kv *kv, uint64_t index, int64_t *out);
bool mosa_gguf_kv_f64(const mosa_gguf_kv *kv, uint64_t index, double *out);

#endif
