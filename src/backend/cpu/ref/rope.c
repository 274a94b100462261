// ROPE_TABLE and ROPE, reference.
//
// The angle is the f32 product of position and frequency, as Hugging Face computes it; its cosine and sine are those of
// that f32 angle, rounded from double precision. A table row holds rot/2 cosines, then rot/2 sines.
#include "backend/cpu/ref/rope_row.h"

#include "backend/cpu/ref/ref.h"

#include <math.h>

void mosa_ref_rope_table(const mosa_cpu_args *args, int thread, int n_threads) {
    const int32_t *positions = args->in[0];
    const float *inv_freq = mosa_cpu_vector(args, 1);
    int half = args->node->attrs.rope_table.rot / 2;
    float mscale = args->node->attrs.rope_table.mscale;
    int64_t begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *row = mosa_cpu_out_row(args, 0, t);
        for (int i = 0; i < half; i++) {
            float angle = (float)positions[t] * inv_freq[i];
            row[i] = (float)cos((double)angle) * mscale;
            row[half + i] = (float)sin((double)angle) * mscale;
        }
    }
}

void mosa_ref_rope(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_attrs *attrs = &args->node->attrs;
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t c = 0; c < columns; c += attrs->rope.head_width)
            mosa_ref_rope_head(attrs, mosa_cpu_in_row(args, 0, t) + c, mosa_cpu_in_row(args, 1, t),
                               mosa_cpu_out_row(args, 0, t) + c);
}
