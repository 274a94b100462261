// CPU kernels: the table that the executor dispatches from.
//
// The table is filled by ref/ (plain C, obviously right) and overridden per instruction set at start-up, by what the
// processor reports and by what has been tested on such a processor. A kernel is called by every thread of the pool
// with its thread number and does its share of the work; between stages the pool meets at a barrier. A kernel with
// `phases` > 1 is called once per phase with a barrier between.
//
// Kernels of rowwise ops (graph/op.h) give thread t the rows of mosa_cpu_share(rows, 1, t, n_threads), all columns:
// a stage may hold two of them, one fed by the other, with no barrier between.
//
// Determinism contract: every output row depends only on that row's inputs (and, for attention, its sequence): the
// order of operations never depends on rows, threads or neighbours.
#ifndef MOSA_BACKEND_CPU_KERNEL_H
#define MOSA_BACKEND_CPU_KERNEL_H

#include "backend/backend.h"

enum { MOSA_CPU_SCRATCH_BYTES = 4 << 20 };
enum { MOSA_ATTENTION_DX_ROWS_MAX = MOSA_CPU_SCRATCH_BYTES / 8 }; // of one segment

// Rows of the batch that have an adapter, adapter by adapter: what LORA works through.
typedef struct mosa_cpu_lora_group {
    const mosa_adapter *adapter;
    int32_t begin, count; // into mosa_cpu_lora_rows.rows
} mosa_cpu_lora_group;

typedef struct mosa_cpu_lora_rows {
    mosa_cpu_lora_group *groups; // (n_groups)
    int32_t *rows;               // (rows of all groups) ascending within a group
    int32_t *group_of;           // (rows of the batch) group of a row, -1 = no adapter
    int32_t n_groups;
} mosa_cpu_lora_rows;

typedef struct mosa_cpu_args {
    const mosa_graph *graph;
    const mosa_node *node;
    int32_t rows; // rows of the node: its first output's, or its first input's when that
                  // is a state
    const mosa_batch *batch;
    const mosa_cpu_lora_rows *lora;          // of the batch; LORA only
    const void *in[MOSA_NODE_INPUTS_MAX];    // activations: row 0; weights: mosa_weight*; states: mosa_kv*
    void *out[MOSA_NODE_OUTPUTS_MAX];        // states: the same mosa_kv*
    int64_t in_stride[MOSA_NODE_INPUTS_MAX]; // bytes between rows
    int64_t out_stride[MOSA_NODE_OUTPUTS_MAX];
    void *scratch; // this thread's MOSA_CPU_SCRATCH_BYTES, 64-byte aligned
    int phase;
} mosa_cpu_args;

typedef void (*mosa_cpu_kernel_fn)(const mosa_cpu_args *args, int thread, int n_threads);

typedef struct mosa_cpu_kernel {
    mosa_cpu_kernel_fn run;
    int phases;                                  // 1 for most
    const char *isa;                             // "ref", "avx2", "avx512"
    int (*phases_of)(const mosa_cpu_args *args); // NULL, or the number of phases of this run, instead of `phases`
} mosa_cpu_kernel;

typedef struct mosa_cpu_kernels {
    mosa_cpu_kernel op[MOSA_OP_COUNT]; // run == NULL: not provided, the lowering decomposes it
} mosa_cpu_kernels;

void mosa_cpu_kernels_ref(mosa_cpu_kernels *table);    // ref/table.c: every op
void mosa_cpu_kernels_avx2(mosa_cpu_kernels *table);   // avx2/table.c: overrides what it has
void mosa_cpu_kernels_avx512(mosa_cpu_kernels *table); // avx512/table.c: likewise, over AVX2

typedef struct mosa_cpu_features {
    bool avx2, fma, f16c, avx512f, avx512vnni;
    bool avx512; // F, BW, DQ, VL and VNNI: what the kernels of avx512/ need
} mosa_cpu_features;
mosa_cpu_features mosa_cpu_detect(void);

// A weight on the CPU. `view` is the file's own bytes (borrowed); `packed` is what LINEAR reads, made at load by
// mosa_cpu_pack (pack.h), or NULL when this weight is never the matrix of a LINEAR or LINEAR is the reference, which
// reads the view; `vector` is what norms and biases read, or NULL when this weight is never one.
struct mosa_weight {
    mosa_tensor_view view;
    unsigned uses; // set of MOSA_WEIGHT_*
    void *packed;  // owned, 64-byte aligned, huge pages where possible
    size_t packed_bytes;
    const float *vector; // (n_elements) the view's own data when that is aligned f32, else owned
    size_t vector_bytes; // owned bytes, 0 when borrowed
    size_t slice_bytes;  // of `packed`: from one matrix of a stack [E,N,K] to the next; 0 for a single matrix
};

// Matrix e of a stack [E,N,K], as a view [N,K].
static inline mosa_tensor_view mosa_cpu_slice(const mosa_tensor_view *stack, int64_t e) {
    mosa_tensor_view slice = {.name = stack->name, .dtype = stack->dtype, .n_dims = 2};
    slice.dims[0] = stack->dims[1];
    slice.dims[1] = stack->dims[2];
    slice.n_elements = stack->n_elements / stack->dims[0];
    slice.bytes = stack->bytes / (size_t)stack->dims[0];
    slice.data = stack->parts ? stack->parts[e] : (const char *)stack->data + (size_t)e * slice.bytes;
    return slice;
}

// A resident adapter. Of target t: A as [K][rank_padded] and B as [rank][N], so that both products run along memory.
typedef struct mosa_cpu_lora {
    int32_t rank;        // 0: the adapter leaves this target alone
    int32_t rank_padded; // to MOSA_LORA_LANES, with zeros
    float scale;
    mosa_dtype dtype; // of both: MOSA_F32, MOSA_F16 or MOSA_BF16
    int64_t k, n;
    const void *a, *b; // into the adapter's memory, 64-byte aligned
} mosa_cpu_lora;

enum { MOSA_LORA_LANES = 8 };

struct mosa_adapter {
    int n_targets;
    mosa_cpu_lora *targets; // (n_targets)
    unsigned char *memory;  // owned
    size_t bytes;
};

// Where the gradient that a node adds to begins; `grads` is its operand number.
static inline float *mosa_cpu_grad(const mosa_cpu_args *args, int operand) {
    const mosa_grads *grads = args->in[operand];
    return grads->data + grads->offset[args->node->attrs2.grad.slot];
}

// What the adapter of a group adds to this LORA node; rank 0 when nothing.
static inline const mosa_cpu_lora *mosa_cpu_lora_of(const mosa_cpu_args *args, const mosa_cpu_lora_group *group) {
    return &group->adapter->targets[args->node->attrs.lora.target];
}

// A vector operand (norm weight, bias, frequencies): f32, whether it is a weight or an activation.
static inline const float *mosa_cpu_vector(const mosa_cpu_args *args, int operand) {
    bool is_weight = mosa_graph_value(args->graph, args->node->in[operand])->kind == MOSA_VALUE_WEIGHT;
    return is_weight ? ((const mosa_weight *)args->in[operand])->vector : (const float *)args->in[operand];
}
static inline int64_t mosa_cpu_columns(const mosa_cpu_args *args, int operand) { // of rows [T,n]
    return mosa_graph_value(args->graph, args->node->in[operand])->shape.dim[1];
}
static inline const float *mosa_cpu_in_row(const mosa_cpu_args *args, int operand, int64_t row) {
    return (const float *)((const char *)args->in[operand] + row * args->in_stride[operand]);
}
static inline float *mosa_cpu_out_row(const mosa_cpu_args *args, int output, int64_t row) {
    return (float *)((char *)args->out[output] + row * args->out_stride[output]);
}

// KV pages on the CPU: for layer l, page p, kv head g: groups of keys, then groups of values (kv_page.h).
struct mosa_kv {
    mosa_kv_spec spec;
    unsigned char *data;                                     // owned, zeroed, 64-byte aligned
    size_t layer_stride, page_stride, head_stride, v_offset; // bytes
    size_t key_group, value_group;                           // bytes of 16 positions
};

static inline unsigned char *mosa_kv_head(const mosa_kv *kv, int layer, int64_t page, int kv_head) {
    return kv->data + (size_t)layer * kv->layer_stride + (size_t)page * kv->page_stride +
           (size_t)kv_head * kv->head_stride; // K; add kv->v_offset for V
}

// The contiguous share [*begin, *end) of `count` items for a thread, in multiples of `unit`.
static inline void mosa_cpu_share(int64_t count, int64_t unit, int thread, int n_threads, int64_t *begin,
                                  int64_t *end) {
    int64_t units = (count + unit - 1) / unit;
    *begin = units * thread / n_threads * unit;
    *end = units * (thread + 1) / n_threads * unit;
    if (*begin > count) *begin = count;
    if (*end > count) *end = count;
}

#endif
