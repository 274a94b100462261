// EMBED and GATHER_ROWS, reference. The executor has checked every index against its bound.
#include "backend/cpu/ref/ref.h"

#include <string.h>

void mosa_ref_embed(const mosa_cpu_args *args, int thread, int n_threads) {
    const int32_t *ids = args->in[0];
    const mosa_weight *table = args->in[1];
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(table->view.dtype);
    int64_t width = table->view.dims[1], begin, end;
    size_t row_bytes = (size_t)(width / traits->block_len) * traits->block_bytes;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        traits->to_f32((const char *)table->view.data + (size_t)ids[t] * row_bytes, mosa_cpu_out_row(args, 0, t),
                       width);
}

void mosa_ref_gather_rows(const mosa_cpu_args *args, int thread, int n_threads) {
    const int32_t *index = args->in[1];
    size_t bytes = (size_t)mosa_cpu_columns(args, 0) * sizeof(float);
    int64_t begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t r = begin; r < end; r++)
        memcpy(mosa_cpu_out_row(args, 0, r), mosa_cpu_in_row(args, 0, index[r]), bytes);
}
