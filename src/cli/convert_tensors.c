// Tensors of a conversion: choice of dtype, row order, and the streaming loop.
//
// Rows are decoded to f32, reordered and encoded a few at a time, on all cores, so memory stays small whatever the
// model's size.
#include "cli/convert.h"

#include "base/pool.h"
#include "tensor/dtype.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { COPY_BYTES = 1 << 20, PROGRESS_COLUMNS = 40, PROGRESS_INTERVAL_MS = 100, BATCH_ROWS = 64 };

static const float half_float_max = 65504.0f;

typedef struct progress {
    bool shown;
    uint64_t total, done;
    int64_t last_ms;
} progress;

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void show_progress(progress *p, uint64_t bytes) {
    p->done += bytes;
    int64_t now = now_ms();
    if (!p->shown || (now - p->last_ms < PROGRESS_INTERVAL_MS && p->done < p->total)) return;
    p->last_ms = now;
    double part = p->total ? (double)p->done / (double)p->total : 1;
    char bar[PROGRESS_COLUMNS + 1];
    for (int i = 0; i < PROGRESS_COLUMNS; i++) bar[i] = i < (int)(part * PROGRESS_COLUMNS) ? '#' : '.';
    bar[PROGRESS_COLUMNS] = '\0';
    fprintf(stderr, "\rconverting [%s] %3d%%  %.1f of %.1f MB", bar, (int)(part * 100), (double)p->done / 1e6,
            (double)p->total / 1e6);
    if (p->done >= p->total) fputc('\n', stderr);
}

// Types whose rows must be whole blocks give way to ones that fit.
static mosa_dtype fitting(mosa_dtype dtype, int64_t inner) {
    if (inner % mosa_dtype_traits_of(dtype)->block_len == 0) return dtype;
    return inner % mosa_dtype_traits_of(MOSA_Q8_0)->block_len == 0 ? MOSA_Q8_0 : MOSA_F16;
}

// The matrix that makes the logits suffers most from rounding, so four- and five-bit models keep it at six bits.
static mosa_dtype output_dtype(mosa_dtype dtype) {
    return dtype == MOSA_Q4_0 || dtype == MOSA_Q4_K || dtype == MOSA_Q5_K ? MOSA_Q6_K : dtype;
}

static mosa_dtype choose_dtype(const convert_job *job, const mosa_tensor_view *view, mosa_weight_slot slot, bool tied) {
    bool quantised = mosa_dtype_traits_of(view->dtype)->quantised;
    bool matrix = view->n_dims >= 2 && (slot == MOSA_W_COUNT || mosa_weight_info_of(slot)->is_matrix);
    if (!job->to_gguf) return job->has_type ? job->type : quantised ? MOSA_F16 : view->dtype;
    if (!matrix) return MOSA_F32; // norms, biases, routers: small, and used in f32
    if (!job->has_type) return view->dtype;
    if (slot == MOSA_W_COUNT) return view->dtype;
    mosa_dtype wanted =
        slot == MOSA_W_OUTPUT || (slot == MOSA_W_TOKEN_EMBD && tied) ? output_dtype(job->type) : job->type;
    return fitting(wanted, view->dims[view->n_dims - 1]);
}

mosa_status convert_add(convert_job *job, const char *name, const mosa_tensor_view *view, mosa_weight_slot slot,
                        bool tied, int64_t head_width, mosa_error *err) {
    convert_tensor tensor = {.view = view,
                             .n_elements = view->n_elements,
                             .head_width = head_width,
                             .dtype = choose_dtype(job, view, slot, tied)};
    bool changes = tensor.dtype != view->dtype || head_width;
    if (changes && !mosa_dtype_traits_of(view->dtype)->to_f32)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: tensor '%s': type %s cannot be decoded", job->in, view->name,
                         mosa_dtype_name(view->dtype));
    if (head_width && view->dims[0] % head_width != 0)
        return mosa_fail(err, MOSA_EINVALID, "%s: tensor '%s': %lld rows are not whole heads of %lld", job->in,
                         view->name, (long long)view->dims[0], (long long)head_width);
    if (job->n_tensors == job->capacity) {
        size_t wanted = job->capacity ? 2 * job->capacity : 512;
        convert_tensor *grown = MOSA_ARENA_ARRAY(job->arena, convert_tensor, wanted);
        if (!grown) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the tensor list");
        if (job->n_tensors) memcpy(grown, job->tensors, job->n_tensors * sizeof *grown);
        job->tensors = grown;
        job->capacity = wanted;
    }
    tensor.name = mosa_arena_strdup(job->arena, name);
    if (!tensor.name) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the tensor list");
    job->tensors[job->n_tensors++] = tensor;
    return MOSA_OK;
}

mosa_status convert_add_stack(convert_job *job, const char *name, const mosa_expert_stack *stack, mosa_weight_slot slot,
                              mosa_error *err) {
    if (!stack->found) return mosa_fail(err, MOSA_ENOTFOUND, "%s: has no tensor for %s", job->in, name);
    mosa_expert_stack *copy = MOSA_ARENA_NEW(job->arena, mosa_expert_stack);
    if (!copy) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the tensor list");
    *copy = *stack;
    MOSA_TRY(convert_add(job, name, &copy->view, slot, false, 0, err));
    job->tensors[job->n_tensors - 1].how = copy->how.make ? &copy->how : NULL;
    return MOSA_OK;
}

uint32_t convert_file_type(mosa_dtype dtype) {
    switch (dtype) {
    case MOSA_F32:
        return 0;
    case MOSA_F16:
        return 1;
    case MOSA_Q4_0:
        return 2;
    case MOSA_Q8_0:
        return 7;
    case MOSA_Q4_K:
        return 14;
    case MOSA_Q5_K:
        return 16;
    case MOSA_Q6_K:
        return 18;
    case MOSA_BF16:
        return 32;
    default:
        return 1024; // "guessed from the tensors"
    }
}

mosa_dtype convert_main_dtype(const convert_job *job) {
    int64_t elements[MOSA_DTYPE_COUNT] = {0};
    mosa_dtype main_dtype = MOSA_F32;
    for (size_t i = 0; i < job->n_tensors; i++) elements[job->tensors[i].dtype] += job->tensors[i].n_elements;
    for (unsigned i = 0; i < MOSA_DTYPE_COUNT; i++)
        if (elements[i] > elements[main_dtype]) main_dtype = (mosa_dtype)i;
    return main_dtype;
}

static mosa_status sink_write(convert_job *job, const void *data, size_t bytes, mosa_error *err) {
    return job->gguf ? mosa_gguf_writer_write(job->gguf, data, bytes, err)
                     : mosa_safetensors_writer_write(job->safetensors, data, bytes, err);
}

static mosa_status declare(convert_job *job, mosa_error *err) {
    for (size_t i = 0; i < job->n_tensors; i++) {
        const convert_tensor *t = &job->tensors[i];
        MOSA_TRY(job->gguf
                     ? mosa_gguf_writer_add_tensor(job->gguf, t->name, t->dtype, t->view->n_dims, t->view->dims, err)
                     : mosa_safetensors_writer_add_tensor(job->safetensors, t->name, t->dtype, t->view->n_dims,
                                                          t->view->dims, err));
    }
    return job->gguf ? mosa_gguf_writer_begin(job->gguf, err) : mosa_safetensors_writer_begin(job->safetensors, err);
}

static mosa_status copy_bytes(convert_job *job, const mosa_tensor_view *view, progress *p, mosa_error *err) {
    int64_t slices = view->parts ? view->dims[0] : 1;
    size_t slice_bytes = view->bytes / (size_t)slices;
    for (int64_t s = 0; s < slices; s++) {
        const unsigned char *data = view->parts ? view->parts[s] : view->data;
        for (size_t at = 0; at < slice_bytes;) {
            size_t bytes = slice_bytes - at < COPY_BYTES ? slice_bytes - at : COPY_BYTES;
            MOSA_TRY(sink_write(job, data + at, bytes, err));
            show_progress(p, bytes);
            at += bytes;
        }
    }
    return MOSA_OK;
}

// A run of rows that the threads decode, reorder and encode together. Each row is the work of one thread, so the
// result does not depend on their number.
typedef struct row_batch {
    const convert_tensor *tensor;
    bool to_gguf;
    int64_t inner;              // elements of a row
    size_t in_bytes, out_bytes; // of a row
    int64_t first, count;       // rows of the output
    float *scratch;             // (threads, inner)
    unsigned char *encoded;     // (BATCH_ROWS, out_bytes)
    _Atomic bool out_of_range;
} row_batch;

// Encoders divide by the largest magnitude: what is not finite, or beyond a half-float scale, has no quantised form.
static bool in_range(const float *row, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabsf(row[i]) <= half_float_max)) return false;
    return true;
}

// Row `row` of a tensor, which may lie in parts.
static const unsigned char *row_of(const mosa_tensor_view *view, int64_t row, size_t row_bytes) {
    if (!view->parts) return (const unsigned char *)view->data + (size_t)row * row_bytes;
    int64_t slice_rows = view->dims[1];
    return (const unsigned char *)view->parts[row / slice_rows] + (size_t)(row % slice_rows) * row_bytes;
}

static void encode_rows(void *arg, int thread, int n_threads) {
    row_batch *batch = arg;
    const convert_tensor *t = batch->tensor;
    const mosa_dtype_traits *from = mosa_dtype_traits_of(t->view->dtype), *to = mosa_dtype_traits_of(t->dtype);
    float *row = batch->scratch + thread * batch->inner;
    for (int64_t i = thread; i < batch->count; i += n_threads) {
        int64_t at = batch->first + i;
        int64_t source = t->head_width ? mosa_weight_rotary_row(at, t->head_width, batch->to_gguf) : at;
        from->to_f32(row_of(t->view, source, batch->in_bytes), row, batch->inner);
        if (to->quantised && !in_range(row, batch->inner))
            batch->out_of_range = true;
        else
            to->from_f32(row, batch->encoded + (size_t)i * batch->out_bytes, batch->inner);
    }
}

// The shape of a tensor as rows. A vector with rotary rows is a matrix of rows of one element.
static mosa_status plan_rows(const convert_job *job, const convert_tensor *t, row_batch *batch, int64_t *rows,
                             mosa_error *err) {
    const mosa_tensor_view *view = t->view;
    bool scalar_rows = t->head_width && view->n_dims < 2;
    *batch = (row_batch){.tensor = t, .to_gguf = job->to_gguf};
    batch->inner = scalar_rows || view->n_dims == 0 ? 1 : view->dims[view->n_dims - 1];
    *rows = batch->inner ? view->n_elements / batch->inner : 0;
    if (!mosa_dtype_bytes(view->dtype, batch->inner, &batch->in_bytes) ||
        !mosa_dtype_bytes(t->dtype, batch->inner, &batch->out_bytes))
        return mosa_fail(err, MOSA_EINVALID, "%s: tensor '%s': rows of %lld do not fit %s", job->in, view->name,
                         (long long)batch->inner, mosa_dtype_name(t->dtype));
    return MOSA_OK;
}

static mosa_status recode(convert_job *job, const convert_tensor *t, mosa_pool *pool, progress *p, mosa_error *err) {
    row_batch batch;
    int64_t rows;
    MOSA_TRY(plan_rows(job, t, &batch, &rows, err));
    MOSA_AUTO_FREE float *scratch = calloc((size_t)mosa_pool_threads(pool), (size_t)batch.inner * sizeof *scratch + 1);
    MOSA_AUTO_FREE unsigned char *encoded = calloc(BATCH_ROWS, batch.out_bytes + 1);
    if (!scratch || !encoded)
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for rows of %lld", (long long)batch.inner);
    batch.scratch = scratch;
    batch.encoded = encoded;
    for (batch.first = 0; batch.first < rows; batch.first += batch.count) {
        batch.count = rows - batch.first < BATCH_ROWS ? rows - batch.first : BATCH_ROWS;
        mosa_pool_run(pool, encode_rows, &batch);
        if (batch.out_of_range)
            return mosa_fail(err, MOSA_EINVALID, "%s: tensor '%s': a value beyond %g cannot be stored as %s", job->in,
                             t->view->name, (double)half_float_max, mosa_dtype_name(t->dtype));
        MOSA_TRY(sink_write(job, encoded, (size_t)batch.count * batch.out_bytes, err));
        show_progress(p, (uint64_t)batch.count * batch.in_bytes);
    }
    return MOSA_OK;
}

static mosa_status write_tensor(convert_job *job, convert_tensor t, mosa_pool *pool, progress *p, mosa_error *err) {
    MOSA_AUTO_FREE unsigned char *made = NULL;
    mosa_tensor_view view = *t.view;
    if (t.how) {
        made = calloc(1, view.bytes + 1);
        if (!made) return mosa_fail(err, MOSA_ENOMEM, "out of memory for tensor '%s'", t.name);
        t.how->make(t.how, &view, made);
        view.data = made;
        t.view = &view;
    }
    bool same = t.dtype == view.dtype && !t.head_width;
    return same ? copy_bytes(job, &view, p, err) : recode(job, &t, pool, p, err);
}

static mosa_status stream(convert_job *job, mosa_pool *pool, mosa_error *err) {
    progress p = {.shown = isatty(STDERR_FILENO) == 1};
    for (size_t i = 0; i < job->n_tensors; i++) p.total += job->tensors[i].view->bytes;
    for (size_t i = 0; i < job->n_tensors; i++) {
        MOSA_TRY(write_tensor(job, job->tensors[i], pool, &p, err));
    }
    return MOSA_OK;
}

mosa_status convert_write(convert_job *job, mosa_error *err) {
    mosa_pool *pool;
    MOSA_TRY(declare(job, err));
    MOSA_TRY(mosa_pool_create(0, &pool, err));
    mosa_status status = stream(job, pool, err);
    mosa_pool_destroy(pool);
    if (status != MOSA_OK) return status;
    return job->gguf ? mosa_gguf_writer_commit(job->gguf, err) : mosa_safetensors_writer_commit(job->safetensors, err);
}
