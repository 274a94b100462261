// ATTENTION_DX by blocks of rows: five products of matrices and, between them, what turns scores into slopes.
//
// A thread takes whole items, a key/value head of a segment, as the reference does. A block's scores s and dy . v lie
// in scratch, up to BLOCK_ROWS rows by the keys that the block sees. Keys that a row does not see have p = ds = 0, and
// a product with 0 changes no sum, so the sums are those of the reference.
#include "backend/cpu/attention_grad.h"

#include "backend/cpu/ref/ref.h"
#include "backend/cpu/rows.h"

#include <string.h>

enum { BLOCK_ROWS = 64, LANES = 32, LINE_FLOATS = 16 };
enum { ROOM = (MOSA_CPU_SCRATCH_BYTES - MOSA_GEMM_SCRATCH_BYTES) / 4 }; // floats

typedef struct item {
    const mosa_cpu_args *args;
    const mosa_attention_grad_isa *isa;
    const mosa_segment *segment;
    const float *sinks; // or NULL
    int kv_head, width, value_width;
} item;

// Rows [row, row + rows) of the batch against keys [key, key + keys) of it.
typedef struct block {
    int32_t row, rows, key, keys;
    int64_t stride; // of s and d
    float *s, *d, *slope;
    int head;
} block;

static int64_t floats(int64_t bytes) {
    return bytes / (int64_t)sizeof(float);
}

// Where the columns of a head begin in a row of an operand.
static const float *in_head(const item *it, int operand, int32_t row, int head, int width) {
    return mosa_cpu_in_row(it->args, operand, row) + (int64_t)head * width;
}

static mosa_gemm product(const item *it, int64_t m, int64_t n, int64_t k) {
    return (mosa_gemm){.m = m, .n = n, .k = k, .alpha = 1, .b_dtype = MOSA_F32, .scratch = it->args->scratch};
}

// to[rows, keys] = (operand 1 or 0 of the rows) (operand 2 or 3 of the keys)^T
static void multiply_keys(const item *it, const block *b, bool values, float *to) {
    int width = values ? it->value_width : it->width;
    mosa_gemm g = product(it, b->rows, b->keys, width);
    g.a = in_head(it, values ? 0 : 1, b->row, b->head, width);
    g.lda = floats(it->args->in_stride[values ? 0 : 1]);
    g.b = in_head(it, values ? 3 : 2, b->key, it->kv_head, width);
    g.b_row_bytes = (size_t)it->args->in_stride[values ? 3 : 2];
    g.b_transposed = true;
    g.c = to;
    g.ldc = b->stride;
    it->isa->gemm(&g, 0, 1);
}

// dq[rows] = ds k
static void multiply_dq(const item *it, const block *b) {
    mosa_gemm g = product(it, b->rows, it->width, b->keys);
    g.a = b->d;
    g.lda = b->stride;
    g.b = in_head(it, 2, b->key, it->kv_head, it->width);
    g.b_row_bytes = (size_t)it->args->in_stride[2];
    g.c = mosa_cpu_out_row(it->args, 0, b->row) + (int64_t)b->head * it->width;
    g.ldc = floats(it->args->out_stride[0]);
    it->isa->gemm(&g, 0, 1);
}

// dk += ds^T q, or dv += p^T dy
static void add_keys(const item *it, const block *b, bool values) {
    int width = values ? it->value_width : it->width, output = values ? 2 : 1;
    mosa_gemm g = product(it, b->keys, width, b->rows);
    g.a = values ? b->s : b->d;
    g.lda = b->stride;
    g.a_transposed = g.add = true;
    g.b = in_head(it, values ? 0 : 1, b->row, b->head, width);
    g.b_row_bytes = (size_t)it->args->in_stride[values ? 0 : 1];
    g.c = mosa_cpu_out_row(it->args, output, b->key) + (int64_t)it->kv_head * width;
    g.ldc = floats(it->args->out_stride[output]);
    it->isa->gemm(&g, 0, 1);
}

static int32_t position_of(const item *it, int32_t row) {
    return it->segment->pos_begin + (row - it->segment->row_begin);
}

static void run_block(const item *it, int head, int32_t row, int32_t rows) {
    const mosa_attrs *attrs = &it->args->node->attrs;
    const mosa_segment *segment = it->segment;
    int32_t lo, end, last_lo, last_end;
    mosa_cpu_visible(it->args, segment, position_of(it, row), &lo, &end);
    mosa_cpu_visible(it->args, segment, position_of(it, row + rows - 1), &last_lo, &last_end);
    block b = {.row = row, .rows = rows, .head = head};
    int32_t skipped = (lo - segment->pos_begin) / LANES * LANES; // keys before the block's
    b.key = segment->row_begin + skipped;
    b.keys = last_end - segment->pos_begin - skipped;
    b.stride = (b.keys + LINE_FLOATS - 1) / LINE_FLOATS * LINE_FLOATS;
    b.s = (float *)((char *)it->args->scratch + MOSA_GEMM_SCRATCH_BYTES);
    b.d = b.s + rows * b.stride;
    b.slope = b.d + rows * b.stride;
    multiply_keys(it, &b, false, b.s);
    multiply_keys(it, &b, true, b.d);
    for (int32_t r = 0; r < rows; r++) {
        mosa_cpu_visible(it->args, segment, position_of(it, row + r), &lo, &end);
        it->isa->slopes(&(mosa_attention_slopes){
            .s = b.s + r * b.stride,
            .d = b.d + r * b.stride,
            .slope = b.slope,
            .n = b.keys,
            .begin = lo - segment->pos_begin - skipped,
            .end = end - segment->pos_begin - skipped,
            .scale = attrs->attention.scale,
            .cap = attrs->attention.softcap,
            .sink = it->sinks ? it->sinks + head : NULL,
        });
    }
    multiply_dq(it, &b);
    add_keys(it, &b, false);
    add_keys(it, &b, true);
}

static void clear_item(const item *it) {
    for (int32_t t = it->segment->row_begin; t < it->segment->row_begin + it->segment->row_count; t++) {
        memset(mosa_cpu_out_row(it->args, 1, t) + (int64_t)it->kv_head * it->width, 0,
               (size_t)it->width * sizeof(float));
        memset(mosa_cpu_out_row(it->args, 2, t) + (int64_t)it->kv_head * it->value_width, 0,
               (size_t)it->value_width * sizeof(float));
    }
}

// Rows of a block over a segment, 0 when not even one fits.
static int32_t block_rows(const mosa_batch *batch) {
    int64_t longest = 0;
    for (int32_t s = 0; s < batch->n_segments; s++)
        if (batch->segments[s].row_count > longest) longest = batch->segments[s].row_count;
    int64_t stride = longest + LANES + LINE_FLOATS, rows = (ROOM / stride - 1) / 2;
    return rows < 0 ? 0 : rows < BLOCK_ROWS ? (int32_t)rows : BLOCK_ROWS;
}

void mosa_cpu_attention_dx(const mosa_cpu_args *args, int thread, int n_threads, const mosa_attention_grad_isa *isa) {
    const mosa_attrs *attrs = &args->node->attrs;
    int32_t most = block_rows(args->batch);
    if (attrs->attention.value_in_key || most == 0) {
        mosa_ref_attention_dx(args, thread, n_threads);
        return;
    }
    int kv_heads = attrs->attention.kv_heads, group = attrs->attention.heads / kv_heads;
    item it = {.args = args, .isa = isa, .width = attrs->attention.head_width};
    it.value_width = mosa_attention_value_width(attrs);
    it.sinks = args->node->n_in > 4 ? mosa_cpu_vector(args, 4) : NULL;
    for (int64_t i = thread; i < (int64_t)args->batch->n_segments * kv_heads; i += n_threads) {
        it.segment = &args->batch->segments[i / kv_heads];
        it.kv_head = (int)(i % kv_heads);
        clear_item(&it);
        int32_t end = it.segment->row_begin + it.segment->row_count;
        for (int head = it.kv_head * group; head < (it.kv_head + 1) * group; head++)
            for (int32_t row = it.segment->row_begin; row < end; row += most)
                run_block(&it, head, row, end - row < most ? end - row : most);
    }
}
