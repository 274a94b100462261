// Tensors of a conversion: choice of dtype, row order, and the streaming loop.
//
// Rows are decoded to f32, reordered and encoded a few at a time, so memory stays small whatever the model's size.
#include "cli/convert.h"

#include "tensor/dtype.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { COPY_BYTES = 1 << 20, PROGRESS_COLUMNS = 40, PROGRESS_INTERVAL_MS = 100 };

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
    bool matrix = view->n_dims >= 2;
    if (!job->to_gguf) return job->has_type ? job->type : quantised ? MOSA_F16 : view->dtype;
    if (!matrix) return MOSA_F32; // norms and biases: small, and used in f32
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
    for (size_t at = 0; at < view->bytes;) {
        size_t bytes = view->bytes - at < COPY_BYTES ? view->bytes - at : COPY_BYTES;
        MOSA_TRY(sink_write(job, (const unsigned char *)view->data + at, bytes, err));
        show_progress(p, bytes);
        at += bytes;
    }
    return MOSA_OK;
}

// Encoders divide by the largest magnitude: what is not finite, or beyond a half-float scale, has no quantised form.
static mosa_status check_range(const convert_job *job, const convert_tensor *t, const float *row, int64_t n,
                               mosa_error *err) {
    if (!mosa_dtype_traits_of(t->dtype)->quantised) return MOSA_OK;
    for (int64_t i = 0; i < n; i++)
        if (!(fabsf(row[i]) <= half_float_max))
            return mosa_fail(err, MOSA_EINVALID, "%s: tensor '%s': value %g cannot be stored as %s", job->in,
                             t->view->name, (double)row[i], mosa_dtype_name(t->dtype));
    return MOSA_OK;
}

// Decodes, reorders and encodes row by row. A vector with rotary rows is a matrix of rows of one element.
static mosa_status recode(convert_job *job, const convert_tensor *t, progress *p, mosa_error *err) {
    const mosa_dtype_traits *from = mosa_dtype_traits_of(t->view->dtype), *to = mosa_dtype_traits_of(t->dtype);
    bool vector = t->view->n_dims < 2 && !t->head_width;
    int64_t inner = vector || t->view->n_dims >= 2 ? t->view->dims[t->view->n_dims ? t->view->n_dims - 1 : 0] : 1;
    int64_t rows = inner ? t->view->n_elements / inner : 0;
    size_t in_bytes, out_bytes;
    if (!mosa_dtype_bytes(t->view->dtype, inner, &in_bytes) || !mosa_dtype_bytes(t->dtype, inner, &out_bytes))
        return mosa_fail(err, MOSA_EINVALID, "%s: tensor '%s': rows of %lld do not fit %s", job->in, t->view->name,
                         (long long)inner, to->name);
    MOSA_AUTO_FREE float *row = malloc((size_t)inner * sizeof *row + 1);
    MOSA_AUTO_FREE void *encoded = malloc(out_bytes + 1);
    if (!row || !encoded) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a row of %lld", (long long)inner);
    for (int64_t i = 0; i < rows; i++) {
        int64_t source = t->head_width ? mosa_weight_rotary_row(i, t->head_width, job->to_gguf) : i;
        from->to_f32((const unsigned char *)t->view->data + (size_t)source * in_bytes, row, inner);
        MOSA_TRY(check_range(job, t, row, inner, err));
        to->from_f32(row, encoded, inner);
        MOSA_TRY(sink_write(job, encoded, out_bytes, err));
        show_progress(p, in_bytes);
    }
    return MOSA_OK;
}

mosa_status convert_write(convert_job *job, mosa_error *err) {
    progress p = {.shown = isatty(STDERR_FILENO) == 1};
    for (size_t i = 0; i < job->n_tensors; i++) p.total += job->tensors[i].view->bytes;
    MOSA_TRY(declare(job, err));
    for (size_t i = 0; i < job->n_tensors; i++) {
        const convert_tensor *t = &job->tensors[i];
        bool same = t->dtype == t->view->dtype && !t->head_width;
        MOSA_TRY(same ? copy_bytes(job, t->view, &p, err) : recode(job, t, &p, err));
    }
    return job->gguf ? mosa_gguf_writer_commit(job->gguf, err) : mosa_safetensors_writer_commit(job->safetensors, err);
}
