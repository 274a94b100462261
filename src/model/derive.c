// Rearrangements of tensors, element by element.
#include "model/derive.h"

#include "tensor/quant.h"

#include <string.h>

void mosa_derive_mxfp4(const mosa_derivation *how, const mosa_tensor_view *to, unsigned char *out) {
    enum { LEN = 32, BYTES = LEN / 2 };
    int64_t blocks = to->dims[2] / LEN, from_rows = how->from.dims[1];
    for (int64_t e = 0; e < to->dims[0]; e++)
        for (int64_t n = 0; n < to->dims[1]; n++) {
            int64_t first = (e * from_rows + how->first + how->step * n) * blocks;
            for (int64_t b = 0; b < blocks; b++, out += BYTES + 1) {
                const unsigned char *pairs = (const unsigned char *)how->from.data + (first + b) * BYTES;
                out[0] = ((const unsigned char *)how->scales.data)[first + b];
                for (int i = 0; i < BYTES; i++) { // element i low, element i + 16 high
                    int low = pairs[i / 2] >> 4 * (i % 2) & 15, high = pairs[BYTES / 2 + i / 2] >> 4 * (i % 2) & 15;
                    out[1 + i] = (unsigned char)(low | high << 4);
                }
            }
        }
}

void mosa_derive_transposed(const mosa_derivation *how, const mosa_tensor_view *to, unsigned char *out) {
    size_t unit = mosa_dtype_traits_of(to->dtype)->block_bytes;
    int64_t columns = how->from.dims[2], k = to->dims[2];
    for (int64_t e = 0; e < to->dims[0]; e++) {
        const unsigned char *matrix = (const unsigned char *)how->from.data + (size_t)(e * k * columns) * unit;
        for (int64_t n = 0; n < to->dims[1]; n++) {
            const unsigned char *at = matrix + (size_t)(how->first + how->step * n) * unit;
            for (int64_t i = 0; i < k; i++, out += unit, at += (size_t)columns * unit) memcpy(out, at, unit);
        }
    }
}

void mosa_derive_columns(const mosa_derivation *how, const mosa_tensor_view *to, unsigned char *out) {
    size_t unit = mosa_dtype_traits_of(to->dtype)->block_bytes;
    for (int64_t e = 0; e < to->dims[0]; e++)
        for (int64_t n = 0; n < to->dims[1]; n++, out += unit) {
            int64_t at = e * how->from.dims[1] + how->first + how->step * n;
            memcpy(out, (const unsigned char *)how->from.data + (size_t)at * unit, unit);
        }
}

// The column of a head that one row of the file becomes.
static void put_column(const mosa_derivation *how, const mosa_tensor_view *to, int64_t row, unsigned char *column) {
    enum { CHUNK = 256 }; // the longest block
    const mosa_dtype_traits *from = mosa_dtype_traits_of(how->from.dtype), *type = mosa_dtype_traits_of(to->dtype);
    int64_t latent = to->dims[1], row_bytes = latent / from->block_len * from->block_bytes;
    const unsigned char *data = (const unsigned char *)how->from.data + row * row_bytes;
    float values[CHUNK];
    for (int64_t at = 0; at < latent; at += CHUNK) {
        int64_t count = latent - at < CHUNK ? latent - at : CHUNK;
        from->to_f32(data + at / from->block_len * from->block_bytes, values, count);
        for (int64_t i = 0; i < count; i++)
            type->from_f32(&values[i], column + (size_t)((at + i) * to->dims[2]) * type->block_bytes, 1);
    }
}

void mosa_derive_head_keys(const mosa_derivation *how, const mosa_tensor_view *to, unsigned char *out) {
    size_t unit = mosa_dtype_traits_of(to->dtype)->block_bytes;
    for (int64_t h = 0; h < to->dims[0]; h++)
        for (int64_t n = 0; n < to->dims[2]; n++)
            put_column(how, to, h * how->step + n, out + (size_t)(h * to->dims[1] * to->dims[2] + n) * unit);
}
