// See op_problem.h.
#include "op_problem.h"

#include "backend/cpu/kv_page.h"
#include "base/rng.h"
#include "graph/op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { GUARD_FLOATS = 64 };
static const float guard = -12345.678f;

static void *must(void *memory) {
    if (!memory) fail_msg("out of memory");
    return memory;
}

void op_begin(op_problem *p, int32_t rows, uint64_t seed) {
    memset(p, 0, sizeof *p);
    p->seed = seed << 32;
    p->graph = must(mosa_graph_create(NULL));
    mosa_segment *segment = must(calloc(1, sizeof *segment));
    segment->row_count = rows;
    p->data[p->n_data++] = segment;
    p->batch = (mosa_batch){rows, 1, segment};
    p->scratch = must(aligned_alloc(64, (size_t)OP_THREADS_MAX * MOSA_CPU_SCRATCH_BYTES));
    memset(p->scratch, 0xff, (size_t)OP_THREADS_MAX * MOSA_CPU_SCRATCH_BYTES); // NaN, if read before written
}

void op_end(op_problem *p) {
    for (int i = 0; i < p->n_data; i++) free(p->data[i]);
    for (int i = 0; i < MOSA_NODE_OUTPUTS_MAX; i++)
        if (p->out[i]) free(p->out[i] - GUARD_FLOATS);
    free(p->scratch);
    mosa_graph_destroy(p->graph);
}

double op_uniform(op_problem *p) {
    return mosa_rng_uniform(1, p->seed++);
}

int64_t op_below(op_problem *p, int64_t n) {
    return (int64_t)mosa_rng_below(2, p->seed++, (uint64_t)n);
}

void op_fill(op_problem *p, float *x, int64_t n, float scale) {
    for (int64_t i = 0; i < n; i++) x[i] = (float)(op_uniform(p) * 2 - 1) * scale;
}

mosa_value op_rows(op_problem *p, int64_t columns, float scale) {
    mosa_value value = mosa_graph_input(p->graph, "x", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, columns));
    float *x = must(malloc((size_t)p->batch.rows * (size_t)columns * sizeof *x));
    op_fill(p, x, p->batch.rows * columns, scale);
    p->data[p->n_data++] = x;
    p->bound[value] = x;
    return value;
}

mosa_value op_vector(op_problem *p, int64_t n, float scale) {
    mosa_value value = mosa_graph_weight(p->graph, "w", MOSA_F32, MOSA_SHAPE1(n));
    float *w = must(malloc((size_t)n * sizeof *w));
    op_fill(p, w, n, scale);
    p->data[p->n_data++] = w;
    mosa_weight *weight = &p->weights[p->graph->values[value].slot];
    weight->vector = w;
    p->bound[value] = weight;
    return value;
}

mosa_value op_positions(op_problem *p, int32_t begin) {
    mosa_value value = mosa_graph_input(p->graph, "positions", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    int32_t *positions = must(malloc((size_t)p->batch.rows * sizeof *positions));
    for (int32_t i = 0; i < p->batch.rows; i++) positions[i] = begin + i;
    p->data[p->n_data++] = positions;
    p->bound[value] = positions;
    return value;
}

mosa_value op_state(op_problem *p, mosa_kv *kv) {
    mosa_value value = mosa_graph_state(p->graph, "kv");
    p->bound[value] = kv;
    return value;
}

float *op_data(op_problem *p, mosa_value value) {
    return (float *)p->bound[value];
}

void op_apply(op_problem *p, mosa_op op, const mosa_value *in, int n_in, const mosa_attrs *attrs,
              const mosa_attrs *attrs2) {
    mosa_graph_apply2(p->graph, op, in, n_in, attrs, attrs2);
    mosa_error err;
    if (mosa_graph_status(p->graph, &err) != MOSA_OK) fail_msg("%s", err.message);
    const mosa_node *node = &p->graph->nodes[0];
    p->args = (mosa_cpu_args){.graph = p->graph, .node = node, .rows = p->batch.rows, .batch = &p->batch};
    for (int i = 0; i < n_in; i++) {
        const mosa_value_info *value = &p->graph->values[in[i]];
        p->args.in[i] = p->bound[in[i]];
        if (value->kind == MOSA_VALUE_INPUT) p->args.in_stride[i] = mosa_shape_row_elements(&value->shape) * 4;
    }
    for (int i = 0; i < node->n_out; i++) {
        const mosa_value_info *value = &p->graph->values[node->out[i]];
        if (value->kind == MOSA_VALUE_STATE) continue;
        p->out_columns[i] = value->shape.dim[1];
        size_t floats = (size_t)p->batch.rows * (size_t)p->out_columns[i] + 2 * GUARD_FLOATS;
        p->out[i] = (float *)must(malloc(floats * sizeof(float))) + GUARD_FLOATS;
        p->args.out[i] = p->out[i];
        p->args.out_stride[i] = p->out_columns[i] * 4;
    }
}

static void assert_guard(const op_problem *p, int number, int64_t row_begin, int64_t row_end, const char *what) {
    for (int64_t i = row_begin * p->out_columns[number]; i < row_end * p->out_columns[number]; i++)
        if (memcmp(&p->out[number][i], &guard, sizeof guard) != 0)
            fail_msg("%s: output %d row %lld was written by another thread", what, number,
                     (long long)(i / p->out_columns[number]));
}

static void fill_outputs(op_problem *p) {
    for (int o = 0; o < MOSA_NODE_OUTPUTS_MAX; o++)
        for (int64_t i = -GUARD_FLOATS; p->out[o] && i < p->batch.rows * p->out_columns[o] + GUARD_FLOATS; i++)
            p->out[o][i] = guard;
}

static void run_thread(op_problem *p, const mosa_cpu_kernel *kernel, int phase, int thread, int n_threads) {
    mosa_cpu_args args = p->args;
    args.scratch = p->scratch + (size_t)thread * MOSA_CPU_SCRATCH_BYTES;
    args.phase = phase;
    kernel->run(&args, thread, n_threads);
}

// A stage may hold two rowwise nodes with no barrier between, so a thread's rows are its own.
static void check_rowwise(op_problem *p, const mosa_cpu_kernel *kernel, int n_threads) {
    for (int t = 0; t < n_threads; t++) {
        int64_t begin, end;
        mosa_cpu_share(p->batch.rows, 1, t, n_threads, &begin, &end);
        fill_outputs(p);
        run_thread(p, kernel, 0, t, n_threads);
        for (int o = 0; o < MOSA_NODE_OUTPUTS_MAX; o++) {
            if (!p->out[o]) continue;
            assert_guard(p, o, 0, begin, mosa_op_get(p->args.node->op)->name);
            assert_guard(p, o, end, p->batch.rows, mosa_op_get(p->args.node->op)->name);
        }
    }
}

void op_run(op_problem *p, const mosa_cpu_kernel *kernel, int n_threads) {
    if (mosa_op_get(p->args.node->op)->rowwise) check_rowwise(p, kernel, n_threads);
    fill_outputs(p);
    for (int phase = 0; phase < kernel->phases; phase++)
        for (int t = n_threads; t-- > 0;) run_thread(p, kernel, phase, t, n_threads);
    for (int o = 0; o < MOSA_NODE_OUTPUTS_MAX; o++)
        for (int i = 0; p->out[o] && i < GUARD_FLOATS; i++) {
            const float *after = p->out[o] + p->batch.rows * p->out_columns[o] + i;
            if (memcmp(&p->out[o][-1 - i], &guard, 4) != 0 || memcmp(after, &guard, 4) != 0)
                fail_msg("%s: wrote outside output %d", mosa_op_get(p->args.node->op)->name, o);
        }
}

float *op_take_output(op_problem *p, int number) {
    size_t bytes = (size_t)p->batch.rows * (size_t)p->out_columns[number] * sizeof(float);
    return memcpy(must(malloc(bytes)), p->out[number], bytes);
}

void op_assert_same(const op_problem *p, int number, const float *expected, const char *what) {
    int64_t columns = p->out_columns[number];
    for (int64_t i = 0; i < p->batch.rows * columns; i++)
        if (memcmp(&p->out[number][i], &expected[i], sizeof *expected) != 0)
            fail_msg("%s %s: output %d row %lld of %d column %lld of %lld: %.9g is not %.9g",
                     mosa_op_get(p->args.node->op)->name, what, number, (long long)(i / columns), p->batch.rows,
                     (long long)(i % columns), (long long)columns, (double)p->out[number][i], (double)expected[i]);
}

mosa_cpu_kernel op_kernel(mosa_op op, op_isa isa) {
    mosa_cpu_kernels table;
    mosa_cpu_kernels_ref(&table);
#if defined(__x86_64__)
    if (isa >= OP_AVX2) mosa_cpu_kernels_avx2(&table);
    if (isa >= OP_AVX512) mosa_cpu_kernels_avx512(&table);
#endif
    return table.op[op];
}

op_isa op_best_isa(void) {
    mosa_cpu_features features = mosa_cpu_detect();
    if (!features.avx2 || !features.fma || !features.f16c) return OP_REF;
    return features.avx512 ? OP_AVX512 : OP_AVX2;
}

bool op_has_avx2(void) {
    return op_best_isa() >= OP_AVX2;
}

void op_compare(op_problem *p) {
    static const int threads[] = {1, 2, 3, OP_THREADS_MAX};
    mosa_cpu_kernel ref = op_kernel(p->args.node->op, OP_REF);
    op_run(p, &ref, 3);
    float *expected[MOSA_NODE_OUTPUTS_MAX] = {NULL};
    for (int o = 0; o < MOSA_NODE_OUTPUTS_MAX; o++)
        if (p->out[o]) expected[o] = op_take_output(p, o);
    for (op_isa isa = OP_AVX2; isa <= op_best_isa(); isa++) {
        mosa_cpu_kernel fast = op_kernel(p->args.node->op, isa);
        for (size_t i = 0; i < MOSA_COUNT(threads); i++) {
            op_run(p, &fast, threads[i]);
            for (int o = 0; o < MOSA_NODE_OUTPUTS_MAX; o++)
                if (p->out[o]) op_assert_same(p, o, expected[o], fast.isa);
        }
    }
    for (int o = 0; o < MOSA_NODE_OUTPUTS_MAX; o++) free(expected[o]);
}

// Time of this thread on a processor, so that a busy machine shows less.
static double thread_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double op_time(op_problem *p, const mosa_cpu_kernel *kernel) {
    double best = 1e30, begin = thread_seconds(), last = begin;
    for (int rounds = 0; rounds < 5 || last - begin < 0.3; rounds++) {
        for (int phase = 0; phase < kernel->phases; phase++) run_thread(p, kernel, phase, 0, 1);
        double now = thread_seconds();
        best = now - last < best ? now - last : best;
        last = now;
    }
    return best;
}

// Random keys and values for all positions of a page's head.
static void fill_head(op_problem *p, const mosa_kv *kv, unsigned char *head) {
    float x[MOSA_HEAD_WIDTH_MAX];
    for (int position = 0; position < kv->spec.page_tokens; position++) {
        size_t group = (size_t)position / MOSA_KV_GROUP;
        op_fill(p, x, kv->spec.head_width, 1);
        mosa_kv_store_key(kv, head + group * kv->key_group, position % MOSA_KV_GROUP, x);
        int value_width = mosa_kv_value_width(&kv->spec);
        op_fill(p, x, value_width, 1);
        if (value_width)
            mosa_kv_store_value(kv, head + kv->v_offset + group * kv->value_group, position % MOSA_KV_GROUP, x);
    }
}

mosa_kv *op_kv_create(op_problem *p, const mosa_kv_spec *spec) {
    mosa_kv *kv = must(calloc(1, sizeof *kv));
    kv->spec = *spec;
    mosa_kv_lay_out(kv);
    size_t bytes = kv->layer_stride * (size_t)spec->layers;
    kv->data = must(aligned_alloc(64, bytes));
    memset(kv->data, 0, bytes);
    for (int layer = 0; layer < spec->layers; layer++)
        for (int64_t page = 0; page < spec->pages; page++)
            for (int g = 0; g < spec->kv_heads; g++) fill_head(p, kv, mosa_kv_head(kv, layer, page, g));
    return kv;
}

void op_kv_destroy(mosa_kv *kv) {
    if (!kv) return;
    free(kv->data);
    free(kv);
}
