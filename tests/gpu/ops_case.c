// Running a case: whole, row by row (as decoding does), and in chunks beside other chunks.
#include "ops_case.h"

#include "base/clock.h"
#include "base/rng.h"
#include "graph/pass.h"
#include "tensor/half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int32_t lengths[OPS_SEQUENCES] = {37, 5, 300, 1};
enum { PAGES_PER_SEQUENCE = (300 + OPS_PAGE - 1) / OPS_PAGE };
enum { ADAPTERS = 2 };

static float noise(uint64_t seed, uint64_t i, float scale) {
    return ((float)mosa_rng_uniform(seed, i) * 2 - 1) * scale;
}

static float rounded(const ops_build *b, float x) {
    return b->exact ? mosa_bf16_to_f32(mosa_bf16_from_f32(x)) : x;
}

// --- building -------------------------------------------------------------------------------------------------------

static mosa_value add_input(ops_build *b, ops_input input, mosa_dtype dtype, mosa_shape shape) {
    b->inputs[b->n_inputs++] = input;
    return mosa_graph_input(b->graph, "input", dtype, shape);
}

mosa_value ops_rows(ops_build *b, int64_t columns, float scale) {
    return add_input(b, (ops_input){OPS_NOISE, columns, scale, 0}, MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, columns));
}
mosa_value ops_ids(ops_build *b, int32_t bound) {
    return add_input(b, (ops_input){OPS_IDS, 1, 0, bound}, MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
}
mosa_value ops_positions(ops_build *b) {
    return add_input(b, (ops_input){OPS_POSITIONS, 1, 0, 0}, MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
}
mosa_value ops_reversed(ops_build *b) {
    b->whole_only = true;
    return add_input(b, (ops_input){OPS_REVERSED, 1, 0, 0}, MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
}

mosa_value ops_state(ops_build *b, const mosa_kv_spec *spec) {
    b->kv = *spec;
    b->kv.page_tokens = OPS_PAGE;
    b->kv.pages = OPS_SEQUENCES * PAGES_PER_SEQUENCE + 3;
    b->reference_kv = spec->dtype == MOSA_BF16 ? MOSA_F32 : spec->dtype;
    return mosa_graph_state(b->graph, "kv");
}

mosa_value ops_grads(ops_build *b) {
    b->has_grads = b->whole_only = true;
    return mosa_graph_state(b->graph, "grads");
}

// Blocks of types that nothing here writes: random bytes with plausible scales.
static void random_blocks(mosa_dtype dtype, unsigned char *data, size_t bytes, uint64_t seed) {
    size_t block = mosa_dtype_traits_of(dtype)->block_bytes;
    uint16_t d = mosa_f16_from_f32(0.002f);
    for (size_t i = 0; i < bytes; i++) data[i] = (unsigned char)mosa_rng_u64(seed, i);
    for (size_t at = 0; at < bytes; at += block) {
        if (dtype == MOSA_MXFP4) data[at] = (unsigned char)(122 + mosa_rng_below(seed + 1, at, 3));
        size_t where[2] = {0, 0};
        int count = dtype == MOSA_MXFP4 ? 0 : 1;
        if (dtype == MOSA_Q4_1 || dtype == MOSA_Q5_1) where[1] = 2, count = 2;
        if (dtype == MOSA_Q2_K) where[0] = 80, where[1] = 82, count = 2;
        if (dtype == MOSA_Q3_K) where[0] = 108;
        for (int i = 0; i < count; i++) memcpy(data + at + where[i], &d, 2);
    }
}

mosa_value ops_weight_of(ops_build *b, mosa_dtype dtype, mosa_shape shape, float scale, float offset) {
    ops_weight *w = &b->weights[b->n_weights];
    uint64_t seed = 1000 + (uint64_t)b->n_weights++;
    mosa_tensor_view view = {.name = "w", .dtype = dtype, .n_dims = (uint32_t)shape.ndim, .n_elements = 1};
    for (int i = 0; i < shape.ndim; i++) view.n_elements *= view.dims[i] = shape.dim[i];
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(dtype);
    w->values = malloc((size_t)view.n_elements * sizeof *w->values);
    for (int64_t i = 0; i < view.n_elements; i++) w->values[i] = rounded(b, offset + noise(seed, (uint64_t)i, scale));
    if (!mosa_dtype_bytes(dtype, view.n_elements, &view.bytes)) abort();
    w->data = malloc(view.bytes);
    if (traits->from_f32)
        traits->from_f32(w->values, w->data, view.n_elements);
    else
        random_blocks(dtype, w->data, view.bytes, seed);
    traits->to_f32(w->data, w->values, view.n_elements);
    view.data = w->data;
    if (b->plain) {
        view.dtype = MOSA_F32;
        view.bytes = (size_t)view.n_elements * sizeof *w->values;
        view.data = w->values;
    }
    w->view = view;
    return mosa_graph_weight(b->graph, "w", view.dtype, shape);
}

static void destroy_build(ops_build *b) {
    for (int i = 0; i < b->n_weights; i++) {
        free(b->weights[i].values);
        free(b->weights[i].data);
    }
    mosa_graph_destroy(b->graph);
}

// --- a session ------------------------------------------------------------------------------------------------------

typedef struct session {
    mosa_backend *backend;
    const ops_build *build;
    mosa_graph *adapted, *lowered;
    mosa_plan *plan;
    mosa_weight *weights[OPS_WEIGHTS_MAX];
    mosa_exec *exec;
    mosa_kv *kv;
    mosa_adapter *adapters[ADAPTERS];
    mosa_grads grads;
    int64_t grad_at[OPS_WEIGHTS_MAX];
    int64_t out_at[4], columns; // where each output begins in a row of results; 4-byte words
} session;

static int64_t result_words(const session *s) { // rows, then gradients
    return OPS_ROWS * s->columns + s->grads.count;
}

static void close_session(session *s) {
    free(s->grads.data);
    const mosa_backend_ops *ops = s->backend->ops;
    ops->exec_destroy(s->backend, s->exec);
    for (int i = 0; i < s->build->n_weights; i++)
        if (s->weights[i]) ops->weight_destroy(s->backend, s->weights[i]);
    for (int i = 0; i < ADAPTERS; i++) ops->adapter_destroy(s->backend, s->adapters[i]);
    if (s->kv) ops->kv_destroy(s->backend, s->kv);
    mosa_plan_destroy(s->plan);
    mosa_graph_destroy(s->lowered);
    mosa_graph_destroy(s->adapted);
}

// An adapter for every matrix, of rank 1 + number up to the largest, f32 or f16.
static mosa_status make_adapter(session *s, int number, mosa_error *err) {
    const ops_build *b = s->build;
    mosa_lora_pair pairs[OPS_WEIGHTS_MAX];
    mosa_tensor_view views[2 * OPS_WEIGHTS_MAX];
    float *data[2 * OPS_WEIGHTS_MAX];
    int n = 0;
    for (int i = 0; i < b->n_weights; i++) {
        if (!(mosa_graph_weight_uses(b->graph, i) & MOSA_WEIGHT_MATRIX) || b->weights[i].view.n_dims != 2) continue;
        int64_t rank = number ? b->adapter_rank : 1,
                shape[2][2] = {{rank, b->weights[i].view.dims[1]}, {b->weights[i].view.dims[0], rank}};
        for (int m = 0; m < 2; m++) {
            mosa_tensor_view *v = &views[2 * n + m];
            *v = (mosa_tensor_view){.name = "lora", .dtype = MOSA_F32, .n_dims = 2, .dims = {shape[m][0], shape[m][1]}};
            v->n_elements = shape[m][0] * shape[m][1];
            v->bytes = (size_t)v->n_elements * sizeof(float);
            data[2 * n + m] = malloc(v->bytes);
            for (int64_t e = 0; e < v->n_elements; e++)
                data[2 * n + m][e] = noise(5000 + (uint64_t)(number * 100 + 2 * i + m), (uint64_t)e, 0.2f);
            v->data = data[2 * n + m];
        }
        pairs[n] = (mosa_lora_pair){.target = i, .scale = 0.5f, .a = &views[2 * n], .b = &views[2 * n + 1]};
        n++;
    }
    mosa_status status =
        s->backend->ops->adapter_create(s->backend, pairs, n, s->lowered->n_weights, &s->adapters[number], err);
    for (int i = 0; i < 2 * n; i++) free(data[i]);
    return status;
}

static mosa_status open_session(session *s, mosa_backend *backend, const ops_build *b, bool reference,
                                mosa_error *err) {
    *s = (session){.backend = backend, .build = b};
    const mosa_backend_ops *ops = backend->ops;
    MOSA_TRY(mosa_graph_status(b->graph, err));
    if (b->adapter_rank) MOSA_TRY(mosa_pass_adapters(b->graph, b->adapter_rank, &s->adapted, err));
    MOSA_TRY(ops->lower(backend, s->adapted ? s->adapted : b->graph, &s->lowered, err));
    MOSA_TRY(mosa_plan_create(s->lowered, OPS_ROWS, &s->plan, err));
    for (int i = 0; i < b->n_weights; i++)
        MOSA_TRY(ops->weight_create(backend, &b->weights[i].view, mosa_graph_weight_uses(s->lowered, i), &s->weights[i],
                                    err));
    if (b->kv.layers) {
        mosa_kv_spec spec = b->kv;
        if (reference) spec.dtype = b->reference_kv;
        MOSA_TRY(ops->kv_create(backend, &spec, &s->kv, err));
    }
    for (int i = 0; b->adapter_rank && i < ADAPTERS; i++) MOSA_TRY(make_adapter(s, i, err));
    for (int i = 0; b->has_grads && i < b->n_weights; i++) {
        s->grad_at[i] = s->grads.count;
        s->grads.count += (b->weights[i].view.n_elements + 15) / 16 * 16;
    }
    s->grads.n_slots = b->n_weights;
    s->grads.offset = s->grad_at;
    s->grads.data = calloc((size_t)s->grads.count + 1, sizeof(float));
    MOSA_TRY(ops->exec_create(backend, s->plan, s->weights, &s->exec, err));
    for (int i = 0; i < s->lowered->n_outputs; i++) {
        s->out_at[i] = s->columns;
        s->columns += s->plan->row_stride[s->lowered->outputs[i]] / 4;
    }
    return MOSA_OK;
}

// --- steps ----------------------------------------------------------------------------------------------------------

typedef struct part { // rows [at, at + count) of a sequence
    int sequence;
    int32_t at, count;
} part;

static void fill_inputs(const ops_build *b, const part *parts, int n_parts, int32_t rows, void **inputs) {
    for (int i = 0; i < b->n_inputs; i++) {
        const ops_input *input = &b->inputs[i];
        float *f = inputs[i];
        int32_t *ids = inputs[i], row = 0;
        for (int p = 0; p < n_parts; p++)
            for (int32_t r = 0; r < parts[p].count; r++, row++) {
                uint64_t where = (uint64_t)parts[p].sequence * 1000 + (uint64_t)(parts[p].at + r);
                if (input->kind == OPS_POSITIONS) ids[row] = parts[p].at + r;
                if (input->kind == OPS_REVERSED) ids[row] = rows - 1 - row;
                if (input->kind == OPS_IDS) ids[row] = (int32_t)mosa_rng_below(77, where, (uint64_t)input->bound);
                for (int64_t c = 0; input->kind == OPS_NOISE && c < input->columns; c++)
                    f[row * input->columns + c] =
                        rounded(b, noise(40 + (uint64_t)i, where * 65536 + (uint64_t)c, input->scale));
            }
    }
}

static void page_list(int sequence, int32_t *pages) { // neither contiguous nor ascending
    for (int i = 0; i < PAGES_PER_SEQUENCE; i++) pages[i] = (PAGES_PER_SEQUENCE - 1 - i) * OPS_SEQUENCES + sequence + 1;
}

static int32_t first_row(int sequence) { // of a sequence in the results
    int32_t row = 0;
    for (int i = 0; i < sequence; i++) row += lengths[i];
    return row;
}

static mosa_status step(session *s, const part *parts, int n_parts, void **inputs, uint32_t *results, mosa_error *err) {
    mosa_segment segments[OPS_SEQUENCES];
    int32_t pages[OPS_SEQUENCES][PAGES_PER_SEQUENCE], rows = 0;
    for (int p = 0; p < n_parts; p++) {
        page_list(parts[p].sequence, pages[p]);
        segments[p] = (mosa_segment){.row_begin = rows, .row_count = parts[p].count, .pos_begin = parts[p].at};
        if (s->kv) segments[p].pages = pages[p];
        if (s->kv) segments[p].n_pages = (parts[p].at + parts[p].count + OPS_PAGE - 1) / OPS_PAGE;
        if (s->build->adapter_rank) segments[p].adapter = parts[p].sequence % (ADAPTERS + 1);
        rows += parts[p].count;
    }
    mosa_batch batch = {rows, n_parts, segments, 0, NULL};
    if (s->build->adapter_rank) batch.n_adapters = ADAPTERS, batch.adapters = (const mosa_adapter *const *)s->adapters;
    fill_inputs(s->build, parts, n_parts, rows, inputs);
    const void *outputs[4] = {NULL};
    mosa_kv *states[2] = {s->kv, NULL};
    mosa_bindings bindings = {(const void *const *)inputs, states, outputs, NULL, &s->grads};
    MOSA_TRY(s->backend->ops->exec_run(s->exec, &batch, &bindings, err));
    for (int o = 0; o < s->lowered->n_outputs; o++) {
        int64_t words = s->plan->row_stride[s->lowered->outputs[o]] / 4, row = 0;
        for (int p = 0; p < n_parts; p++)
            for (int32_t r = 0; r < parts[p].count; r++, row++)
                memcpy(results + (first_row(parts[p].sequence) + parts[p].at + r) * s->columns + s->out_at[o],
                       (const uint32_t *)outputs[o] + row * words, (size_t)words * 4);
    }
    return MOSA_OK;
}

typedef enum schedule { WHOLE, ONE_BY_ONE, CHUNKS, SCHEDULES } schedule;
static const char *const schedule_names[] = {"whole", "one by one", "in chunks"};

// The parts of step number `n`; 0 when the sequences are done. One by one, sequences start together; in chunks, two of
// them go side by side, the last first, with chunks of different length.
static int parts_of(schedule how, bool whole_sequences, int n, int32_t *done, part *parts) {
    int count = 0;
    if (how == WHOLE) {
        for (int i = 0; n == 0 && i < OPS_SEQUENCES; i++) parts[count++] = (part){i, 0, lengths[i]};
        return count;
    }
    for (int i = 0; i < OPS_SEQUENCES && count < (how == CHUNKS ? 2 : OPS_SEQUENCES); i++) {
        int sequence = how == CHUNKS ? OPS_SEQUENCES - 1 - i : i;
        int32_t left = lengths[sequence] - done[sequence], most = how == ONE_BY_ONE ? 1 : count ? 23 : 7;
        if (left == 0) continue;
        if (whole_sequences && how == ONE_BY_ONE && count) break;
        int32_t take = whole_sequences || left < most ? left : most;
        parts[count++] = (part){sequence, done[sequence], take};
        done[sequence] += take;
    }
    return count;
}

// Results of all rows (OPS_ROWS, columns), malloc'ed; NULL with err when a run failed.
static uint32_t *run(session *s, schedule how, mosa_error *err) {
    void *inputs[OPS_INPUTS_MAX] = {NULL};
    int32_t done[OPS_SEQUENCES] = {0};
    part parts[OPS_SEQUENCES];
    uint32_t *results = calloc((size_t)result_words(s) + 1, sizeof *results);
    for (int64_t i = 0; i < s->grads.count; i++) s->grads.data[i] = noise(99, (uint64_t)i, 1);
    for (int i = 0; i < s->build->n_inputs; i++)
        inputs[i] = calloc((size_t)OPS_ROWS * (size_t)s->build->inputs[i].columns, 4);
    mosa_status status = MOSA_OK;
    for (int n = 0, count; status == MOSA_OK; n++) {
        count = parts_of(how, s->build->whole_sequences, n, done, parts);
        if (count == 0) break;
        status = step(s, parts, count, inputs, results, err);
    }
    for (int i = 0; i < s->build->n_inputs; i++) free(inputs[i]);
    memcpy(results + OPS_ROWS * s->columns, s->grads.data, (size_t)s->grads.count * sizeof(float));
    if (status == MOSA_OK) return results;
    free(results);
    return NULL;
}

// --- comparing ------------------------------------------------------------------------------------------------------

static float as_float(uint32_t word) {
    return mosa_f32_from_bits(word);
}

// Prints up to four differing words of two results.
static void show(const session *s, const uint32_t *want, const uint32_t *got, double tolerance, bool integers) {
    int shown = 0;
    for (int64_t i = 0; i < OPS_ROWS * s->columns && shown < 4; i++) {
        double a = integers ? (int32_t)want[i] : as_float(want[i]), b = integers ? (int32_t)got[i] : as_float(got[i]);
        bool same = tolerance > 0 ? fabs(a - b) <= tolerance : want[i] == got[i];
        if (same) continue;
        int64_t row = i / s->columns;
        int sequence = OPS_SEQUENCES - 1;
        while (first_row(sequence) > row) sequence--;
        printf("      sequence %d position %d column %d: %.9g, should be %.9g\n", sequence,
               (int)row - first_row(sequence), (int)(i % s->columns), b, a);
        shown++;
    }
}

static bool is_integer(const session *s, int64_t column) {
    int o = s->lowered->n_outputs - 1;
    while (o > 0 && s->out_at[o] > column) o--;
    return s->lowered->values[s->lowered->outputs[o]].dtype == MOSA_I32;
}

// Root mean square of the floats of a result.
static double rms_of(const session *s, const uint32_t *want) {
    double squares = 0;
    int64_t n = OPS_ROWS * s->columns;
    for (int64_t i = 0; i < n; i++)
        if (!is_integer(s, i % s->columns)) squares += (double)as_float(want[i]) * as_float(want[i]);
    return sqrt(squares / (double)n) + 1e-30;
}

static int descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

// The largest error of a row over the root mean square, but for the `strays` worst rows. Integers that differ and
// numbers that are none count as infinite.
static double error_of(const session *s, const uint32_t *want, const uint32_t *got, int strays) {
    double errors[OPS_ROWS], rms = rms_of(s, want);
    for (int64_t row = 0; row < OPS_ROWS; row++) {
        errors[row] = 0;
        for (int64_t i = row * s->columns; i < (row + 1) * s->columns; i++) {
            double difference = is_integer(s, i % s->columns)
                                    ? (want[i] == got[i] ? 0 : INFINITY)
                                    : fabs((double)as_float(want[i]) - as_float(got[i])) / rms;
            if (!(difference <= errors[row])) errors[row] = isnan(difference) ? INFINITY : difference;
        }
    }
    qsort(errors, OPS_ROWS, sizeof *errors, descending);
    return errors[strays];
}

// The largest error of a gradient over the root mean square of all.
static double grad_error_of(const session *s, const uint32_t *want, const uint32_t *got) {
    double squares = 0, largest = 0;
    for (int64_t i = OPS_ROWS * s->columns; i < result_words(s); i++) {
        double difference = fabs((double)as_float(want[i]) - as_float(got[i]));
        if (!(difference <= largest)) largest = isnan(difference) ? INFINITY : difference;
        squares += (double)as_float(want[i]) * as_float(want[i]);
    }
    return largest / (sqrt(squares / (double)(s->grads.count + 1)) + 1e-30);
}

static bool compare(const ops_case *c, const session *s, const uint32_t *want, uint32_t *const got[SCHEDULES]) {
    double error = error_of(s, want, got[WHOLE], c->strays), grad_error = grad_error_of(s, want, got[WHOLE]);
    if (grad_error > error) error = grad_error;
    bool near = error <= c->limit, same = true;
    for (int how = ONE_BY_ONE; how < SCHEDULES; how++)
        same = same && (!got[how] || !memcmp(got[WHOLE], got[how], (size_t)(OPS_ROWS * s->columns) * 4));
    printf("%s  %-34s error %.2e (limit %.0e)%s\n", near && same ? "ok  " : "FAIL", c->name, error, c->limit,
           same ? "" : "  NOT INVARIANT");
    if (!near) show(s, want, got[WHOLE], c->limit * rms_of(s, want), is_integer(s, 0));
    for (int how = ONE_BY_ONE; how < SCHEDULES; how++) {
        if (!got[how] || !memcmp(got[WHOLE], got[how], (size_t)(OPS_ROWS * s->columns) * 4)) continue;
        printf("      %s differs from whole:\n", schedule_names[how]);
        show(s, got[WHOLE], got[how], 0, is_integer(s, 0));
    }
    return near && same;
}

static ops_build make_build(const ops_case *c, bool plain) {
    ops_build b = {.plain = plain, .graph = mosa_graph_create(NULL)};
    c->build(&b, c->config);
    return b;
}

static uint32_t *run_reference(mosa_backend *reference, const ops_case *c, mosa_error *err) {
    ops_build b = make_build(c, true);
    session s;
    uint32_t *want = NULL;
    if (open_session(&s, reference, &b, true, err) == MOSA_OK) want = run(&s, WHOLE, err);
    close_session(&s);
    destroy_build(&b);
    return want;
}

static void check_on(mosa_backend *device, const ops_case *c, const uint32_t *want, ops_totals *totals) {
    mosa_error err = {0};
    ops_build b = make_build(c, false);
    session s;
    uint32_t *got[SCHEDULES] = {NULL};
    mosa_status status = open_session(&s, device, &b, false, &err);
    for (int how = 0; status == MOSA_OK && how < (b.whole_only ? 1 : SCHEDULES); how++) {
        got[how] = run(&s, (schedule)how, &err);
        if (!got[how]) status = err.status;
    }
    if (status == MOSA_EUNSUPPORTED) {
        printf("skip  %-34s %s\n", c->name, err.message);
        totals->skipped++;
    } else if (status != MOSA_OK) {
        printf("FAIL  %-34s %s\n", c->name, err.message);
        totals->failed++;
    } else {
        compare(c, &s, want, got) ? totals->passed++ : totals->failed++;
    }
    for (int how = 0; how < SCHEDULES; how++) free(got[how]);
    close_session(&s);
    destroy_build(&b);
}

void ops_check(mosa_backend *device, mosa_backend *reference, const ops_case *c, ops_totals *totals) {
    mosa_error err = {0};
    uint32_t *want = run_reference(reference, c, &err);
    if (want) {
        check_on(device, c, want, totals);
    } else {
        printf("FAIL  %-34s reference: %s\n", c->name, err.message);
        totals->failed++;
    }
    free(want);
    (void)fflush(stdout);
}
