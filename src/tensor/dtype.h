// Element and block types: one table with name, GGUF id, block geometry and reference codecs.
//
// A tensor row of n elements is n / block_len blocks of block_bytes each; plain types have block_len 1. Rows are
// contiguous along the innermost dimension and a block never crosses a row. The reference decoders are bit-exact to the
// formulas in tensor/quant.h; fast kernels elsewhere are checked against them.
// Thread: the table is constant; all functions are pure and reentrant.
#ifndef MOSA_TENSOR_DTYPE_H
#define MOSA_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mosa_dtype {
    // Plain types, block_len 1.
    MOSA_F32,
    MOSA_F16,
    MOSA_BF16,
    MOSA_F64,
    MOSA_I8,
    MOSA_I16,
    MOSA_I32,
    MOSA_I64,
    MOSA_U8,
    MOSA_BOOL,
    // Block-quantised types that we decode.
    MOSA_Q4_0,
    MOSA_Q4_1,
    MOSA_Q5_0,
    MOSA_Q5_1,
    MOSA_Q8_0,
    MOSA_Q2_K,
    MOSA_Q3_K,
    MOSA_Q4_K,
    MOSA_Q5_K,
    MOSA_Q6_K,
    MOSA_IQ4_NL,
    MOSA_IQ4_XS,
    MOSA_MXFP4,
    // Known by size only, so that a file holding them can be listed: to_f32 is NULL.
    MOSA_IQ1_S,
    MOSA_IQ1_M,
    MOSA_IQ2_XXS,
    MOSA_IQ2_XS,
    MOSA_IQ2_S,
    MOSA_IQ3_XXS,
    MOSA_IQ3_S,
    MOSA_TQ1_0,
    MOSA_TQ2_0,
    MOSA_NVFP4,
    MOSA_F8_E4M3,
    MOSA_F8_E5M2,
    MOSA_DTYPE_COUNT
} mosa_dtype;

typedef struct mosa_dtype_traits {
    const char *name;     // "q4_k": as the command line and error messages spell it
    const char *st_name;  // safetensors spelling ("BF16"), NULL when that format has no such type
    int32_t ggml_type;    // type id in a GGUF file, -1 when that format has no such type
    uint32_t block_len;   // elements per block, 1 for plain types
    uint32_t block_bytes; // bytes per block
    bool quantised;       // block type: a scale shared by block_len elements
    // Decodes n elements (a multiple of block_len) to f32. `blocks` needs no alignment. NULL when we cannot read the
    // type as numbers.
    void (*to_f32)(const void *blocks, float *out, int64_t n);
    // Encodes n elements (a multiple of block_len); deterministic. NaN and infinity are the caller's to refuse for
    // quantised types. NULL when we do not write the type.
    void (*from_f32)(const float *in, void *blocks, int64_t n);
} mosa_dtype_traits;

// Traits of a valid dtype; asserts on anything else.
const mosa_dtype_traits *mosa_dtype_traits_of(mosa_dtype dtype);

static inline const char *mosa_dtype_name(mosa_dtype dtype) {
    return mosa_dtype_traits_of(dtype)->name;
}

// Lookups; false when nothing matches, and then *out is untouched.
bool mosa_dtype_from_name(const char *name, mosa_dtype *out);    // "q8_0", case-insensitive
bool mosa_dtype_from_ggml(uint32_t ggml_type, mosa_dtype *out);  // id in a GGUF tensor table
bool mosa_dtype_from_st_name(const char *name, mosa_dtype *out); // "F16" as in a safetensors header

// Bytes of n elements; false when n is negative, not a multiple of block_len, or the product overflows size_t.
bool mosa_dtype_bytes(mosa_dtype dtype, int64_t n, size_t *out);

// Average bits per element, for tables: 4.5 for q4_k.
double mosa_dtype_bits(mosa_dtype dtype);

#endif
