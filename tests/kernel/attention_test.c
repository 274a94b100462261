// Attention: the fast kernels against the reference bit for bit, over pages and over packed rows, with windows, caps,
// groups, sinks, values of other widths and any number of threads.
//
// attention_test --bench [f32|f16|q8_0] prints GFLOP/s and GB/s of keys and values by one thread.
#include "op_problem.h"

#include "backend/cpu/kv_page.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PAGES = 160, SEGMENTS_MAX = 5 };

typedef struct attention_case {
    op_problem p;
    mosa_attrs attrs;
    mosa_kv *kv;
    mosa_segment segments[SEGMENTS_MAX];
    int32_t pages[PAGES];
    mosa_value q, k, v;
    bool sinks;
} attention_case;

static void set_attrs(attention_case *c, int group, int kv_heads, int width) {
    memset(&c->attrs, 0, sizeof c->attrs);
    c->attrs.attention.heads = group * kv_heads;
    c->attrs.attention.kv_heads = kv_heads;
    c->attrs.attention.head_width = width;
    c->attrs.attention.scale = 2 / sqrtf((float)width);
    c->attrs.attention.causal = true;
}

// Cuts the batch's rows into random segments; with pages, each begins somewhere in its sequence.
static void cut_segments(attention_case *c, int32_t longest, bool paged) {
    op_problem *p = &c->p;
    for (int i = 0; i < PAGES; i++) c->pages[i] = (int32_t)((i * 37) % PAGES);
    int32_t row = 0, n = 0;
    while (row < p->batch.rows) {
        int32_t left = p->batch.rows - row, count = n + 1 == SEGMENTS_MAX ? left : 1 + (int32_t)op_below(p, left);
        int32_t begin = paged ? (int32_t)op_below(p, longest - count) : 0;
        int32_t first = (int32_t)op_below(p, 8), n_pages = (begin + count + 15) / 16;
        c->segments[n++] = (mosa_segment){row, count, begin, n_pages, paged ? c->pages + first : NULL};
        row += count;
    }
    p->batch.n_segments = n;
    p->batch.segments = c->segments;
}

// Appends the sinks to n operands where the case has them.
static int add_sinks(attention_case *c, mosa_value *in, int n) {
    if (c->sinks) in[n++] = op_vector(&c->p, c->attrs.attention.heads, 4);
    return n;
}

static void over_pages(attention_case *c, int page_tokens, mosa_dtype dtype) {
    mosa_kv_spec spec = {2,     c->attrs.attention.kv_heads,    c->attrs.attention.head_width,  page_tokens, PAGES,
                         dtype, c->attrs.attention.value_width, c->attrs.attention.value_in_key};
    c->kv = op_kv_create(&c->p, &spec);
    c->attrs.attention.layer = 1;
    mosa_value q = op_rows(&c->p, (int64_t)c->attrs.attention.heads * spec.head_width, 1);
    mosa_value in[3] = {q, op_state(&c->p, c->kv)};
    op_apply(&c->p, MOSA_OP_ATTENTION, in, add_sinks(c, in, 2), &c->attrs, NULL);
}

static void over_rows(attention_case *c) {
    int64_t width = c->attrs.attention.head_width;
    c->q = op_rows(&c->p, c->attrs.attention.heads * width, 1);
    c->k = op_rows(&c->p, c->attrs.attention.kv_heads * width, 1);
    mosa_value in[4] = {c->q, c->k};
    int n = 2;
    if (!c->attrs.attention.value_in_key)
        in[n++] = c->v =
            op_rows(&c->p, (int64_t)c->attrs.attention.kv_heads * mosa_attention_value_width(&c->attrs), 1);
    op_apply(&c->p, MOSA_OP_ATTENTION, in, add_sinks(c, in, n), &c->attrs, NULL);
}

static void close_case(attention_case *c) {
    op_kv_destroy(c->kv);
    op_end(&c->p);
}

static void random_shapes_match_the_reference(void **state) {
    (void)state;
    static const int widths[] = {8, 16, 24, 40, 64, 80, 96, 128, 160, 256, 12};
    static const int groups[] = {1, 2, 3, 4, 5, 7, 8, 12, 33};
    for (uint64_t i = 0; i < 120; i++) {
        attention_case c = {0};
        op_begin(&c.p, 1, 600 + i);
        op_problem draws = c.p;
        op_end(&c.p);
        op_begin(&c.p, i % 3 == 0 ? 1 + (int32_t)op_below(&draws, 4) : 1 + (int32_t)op_below(&draws, 70), 700 + i);
        set_attrs(&c, groups[op_below(&c.p, (int64_t)MOSA_COUNT(groups))], 1 + (int)op_below(&c.p, 2),
                  widths[i % MOSA_COUNT(widths)]);
        if (i % 4 == 1) c.attrs.attention.window = 1 + (int)op_below(&c.p, 400);
        if (i % 5 == 2) c.attrs.attention.softcap = 3;
        c.sinks = i % 7 > 4;
        if (i % 5 > 2) c.attrs.attention.value_width = widths[op_below(&c.p, (int64_t)(i % MOSA_COUNT(widths)) + 1)];
        c.attrs.attention.value_in_key = i % 10 > 6 && c.attrs.attention.value_width <= c.attrs.attention.head_width;
        bool paged = i % 3 != 2;
        cut_segments(&c, 600, paged);
        if (paged) {
            static const mosa_dtype dtypes[] = {MOSA_F16, MOSA_Q8_0, MOSA_F32, MOSA_Q8_0};
            over_pages(&c, i % 2 ? 16 : 32, dtypes[i % 4]);
        } else {
            c.attrs.attention.causal = i % 2;
            over_rows(&c);
        }
        op_compare(&c.p);
        close_case(&c);
    }
}

static void packed_rows_and_pages_agree(void **state) {
    (void)state;
    enum { ROWS = 300, WIDTH = 32, HEADS = 2 };
    attention_case packed = {0}, paged = {0};
    op_begin(&packed.p, ROWS, 31);
    op_begin(&paged.p, ROWS, 32);
    set_attrs(&packed, 3, HEADS, WIDTH);
    set_attrs(&paged, 3, HEADS, WIDTH);
    over_rows(&packed);
    cut_segments(&paged, ROWS + 1, true);
    paged.segments[0] = (mosa_segment){0, ROWS, 0, (ROWS + 15) / 16, paged.pages};
    paged.p.batch.n_segments = 1;
    over_pages(&paged, 16, MOSA_F32);
    memcpy((float *)paged.p.args.in[0], op_data(&packed.p, packed.q), sizeof(float) * ROWS * 3 * HEADS * WIDTH);
    for (int j = 0; j < ROWS; j++)
        for (int g = 0; g < HEADS; g++) {
            unsigned char *head = mosa_kv_head(paged.kv, 1, paged.pages[j / 16], g);
            size_t from = ((size_t)j * HEADS + (size_t)g) * WIDTH;
            mosa_kv_store_key(paged.kv, head, j % 16, op_data(&packed.p, packed.k) + from);
            mosa_kv_store_value(paged.kv, head + paged.kv->v_offset, j % 16, op_data(&packed.p, packed.v) + from);
        }
    for (op_isa isa = OP_REF; isa <= op_best_isa(); isa++) {
        mosa_cpu_kernel kernel = op_kernel(MOSA_OP_ATTENTION, isa);
        op_run(&packed.p, &kernel, 2);
        op_run(&paged.p, &kernel, 3);
        op_assert_same(&paged.p, 0, packed.p.out[0], kernel.isa);
    }
    close_case(&packed);
    close_case(&paged);
}

// The same draws go into both kinds of pages. Values lie in [-1, 1), so a result is off by a few of their steps at
// most.
static void q8_0_pages_come_close_to_f32_pages(void **state) {
    (void)state;
    for (int in_key = 0; in_key < 2; in_key++) {
        attention_case exact = {0}, coarse = {0};
        attention_case *cases[] = {&exact, &coarse};
        for (int i = 0; i < 2; i++) {
            op_begin(&cases[i]->p, 8, 61);
            set_attrs(cases[i], 4, 2, 80);
            cases[i]->attrs.attention.value_in_key = in_key;
            for (int j = 0; j < PAGES; j++) cases[i]->pages[j] = j;
            cases[i]->segments[0] = (mosa_segment){0, 8, 500, 40, cases[i]->pages};
            cases[i]->p.batch.segments = cases[i]->segments;
            over_pages(cases[i], 16, i ? MOSA_Q8_0 : MOSA_F32);
            mosa_cpu_kernel kernel = op_kernel(MOSA_OP_ATTENTION, OP_REF);
            op_run(&cases[i]->p, &kernel, 1);
        }
        float worst = 0;
        for (int i = 0; i < 8 * 8 * 80; i++) worst = fmaxf(worst, fabsf(exact.p.out[0][i] - coarse.p.out[0][i]));
        assert_true(worst > 0 && worst < 0.01f);
        close_case(&exact);
        close_case(&coarse);
    }
}

static void a_long_sequence_is_split_among_threads(void **state) {
    (void)state;
    attention_case c = {0};
    op_begin(&c.p, 1, 41);
    set_attrs(&c, 4, 2, 64);
    for (int i = 0; i < PAGES; i++) c.pages[i] = PAGES - 1 - i;
    c.segments[0] = (mosa_segment){0, 1, PAGES * 16 - 3, PAGES, c.pages};
    c.p.batch.segments = c.segments;
    over_pages(&c, 16, MOSA_F16);
    op_compare(&c.p);
    close_case(&c);
}

static void values_of_later_positions_do_not_leak(void **state) {
    (void)state;
    enum { ROWS = 40, WIDTH = 16 };
    attention_case c = {0};
    op_begin(&c.p, ROWS, 51);
    set_attrs(&c, 2, 1, WIDTH);
    over_rows(&c);
    for (int i = 0; i < WIDTH; i++) {
        op_data(&c.p, c.k)[20 * WIDTH + i] = NAN;
        op_data(&c.p, c.v)[20 * WIDTH + i] = INFINITY;
    }
    for (op_isa isa = OP_REF; isa <= op_best_isa(); isa++) {
        mosa_cpu_kernel kernel = op_kernel(MOSA_OP_ATTENTION, isa);
        op_run(&c.p, &kernel, 2);
        for (int i = 0; i < 20 * 2 * WIDTH; i++) assert_true(isfinite(c.p.out[0][i]));
        assert_false(isfinite(c.p.out[0][20 * 2 * WIDTH]));
    }
    close_case(&c);
}

static void bench_case(const char *name, int32_t rows, int32_t begin, int group, int kv_heads, int width,
                       mosa_dtype dtype, op_isa isa) {
    attention_case c = {0};
    op_begin(&c.p, rows, 1);
    set_attrs(&c, group, kv_heads, width);
    int32_t n_pages = (begin + rows + 15) / 16, *pages = calloc((size_t)n_pages, sizeof *pages);
    for (int32_t i = 0; i < n_pages; i++) pages[i] = i % PAGES;
    c.segments[0] = (mosa_segment){0, rows, begin, n_pages, pages};
    c.p.batch.segments = c.segments;
    over_pages(&c, 16, dtype);
    double positions = 0;
    for (int32_t r = 0; r < rows; r++) positions += begin + r + 1;
    double flops = positions * group * kv_heads * width * 4;
    double bytes = (double)(begin + rows) * kv_heads * width * 2 * mosa_dtype_bits(dtype) / 8;
    mosa_cpu_kernel fast = op_kernel(MOSA_OP_ATTENTION, isa);
    double seconds = op_time(&c.p, &fast);
    printf("%-6s %-7s rows %3d at %5d, %2d x %d heads of %3d, %-4s: %9.1f us %6.1f GFLOP/s %6.2f GB/s\n", fast.isa,
           name, rows, begin, kv_heads, group, width, mosa_dtype_name(dtype), seconds * 1e6, flops / seconds * 1e-9,
           bytes / seconds * 1e-9);
    free(pages);
    close_case(&c);
}

static int bench(const char *only) {
    static const struct { int group, kv_heads, width; } models[] = {{8, 4, 64}, {4, 8, 128}, {1, 32, 64}};
    static const mosa_dtype dtypes[] = {MOSA_F32, MOSA_F16, MOSA_Q8_0};
    for (op_isa isa = OP_AVX2; isa <= op_best_isa(); isa++)
        for (size_t m = 0; m < MOSA_COUNT(models); m++)
            for (size_t d = 0; d < MOSA_COUNT(dtypes); d++) {
                if (only && strcmp(only, mosa_dtype_name(dtypes[d])) != 0) continue;
                int group = models[m].group, kv_heads = models[m].kv_heads, width = models[m].width;
                bench_case("decode", 1, 500, group, kv_heads, width, dtypes[d], isa);
                bench_case("decode", 1, 8000, group, kv_heads, width, dtypes[d], isa);
                bench_case("prefill", 128, 0, group, kv_heads, width, dtypes[d], isa);
                bench_case("prefill", 48, 8000, group, kv_heads, width, dtypes[d], isa);
            }
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) return bench(argc > 2 ? argv[2] : NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes_match_the_reference),
        cmocka_unit_test(packed_rows_and_pages_agree),
        cmocka_unit_test(q8_0_pages_come_close_to_f32_pages),
        cmocka_unit_test(a_long_sequence_is_split_among_threads),
        cmocka_unit_test(values_of_later_positions_do_not_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
