// Whole models: the source's tensors streamed through, the trained ones replaced.
#include "train/export.h"

#include "base/file.h"
#include "base/out_file.h"
#include "codec/gguf_writer.h"
#include "codec/safetensors_writer.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_FILE_MAX = 256 << 20 };

typedef struct replacing {
    const mosa_export *how;
    const mosa_params *params;
    const float *weights;
    int64_t *weight_of, *a_of, *b_of; // (tensors of the source) parameter, or -1
    float *row;                       // (widest row) f32
    unsigned char *bytes;             // (widest row) in the tensor's type
} replacing;

static int64_t find_tensor(const mosa_model_source *source, const char *name) {
    for (size_t i = 0; i < mosa_model_source_tensor_count(source); i++)
        if (strcmp(mosa_model_source_tensor_at(source, i)->name, name) == 0) return (int64_t)i;
    return -1;
}

mosa_status mosa_export_check(const mosa_step *step, bool merged, mosa_error *err) {
    const mosa_params *params = mosa_step_params(step);
    const mosa_model_source *source = mosa_step_source(step);
    for (size_t p = 0; p < params->count; p++) {
        mosa_step_origin origin = mosa_step_origin_of(step, p);
        int64_t index = origin.derived ? -1 : find_tensor(source, origin.tensor);
        if (index < 0)
            return mosa_fail(err, MOSA_EUNSUPPORTED,
                             "%s: is made of several tensors of the file; it cannot be written back",
                             params->items[p].name);
        const mosa_tensor_view *view = mosa_model_source_tensor_at(source, (size_t)index);
        if ((merged || origin.lora == 0) && !mosa_dtype_traits_of(view->dtype)->from_f32)
            return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: cannot be written as %s", view->name,
                             mosa_dtype_name(view->dtype));
    }
    return MOSA_OK;
}

// --- tensors ------------------------------------------------------------------------------------------------------

static mosa_status prepare(replacing *r, mosa_error *err) {
    const mosa_model_source *source = mosa_step_source(r->how->step);
    size_t n = mosa_model_source_tensor_count(source);
    int64_t widest = 1;
    r->weight_of = malloc(3 * (n + 1) * sizeof *r->weight_of);
    if (!r->weight_of) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the tensor table");
    memset(r->weight_of, -1, 3 * (n + 1) * sizeof *r->weight_of);
    r->a_of = r->weight_of + n + 1, r->b_of = r->a_of + n + 1;
    for (size_t p = 0; p < r->params->count; p++) {
        mosa_step_origin origin = mosa_step_origin_of(r->how->step, p);
        int64_t index = find_tensor(source, origin.tensor);
        if (index < 0)
            return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: has no place in the file", r->params->items[p].name);
        int64_t *of = origin.lora == 1 ? r->a_of : origin.lora == 2 ? r->b_of : r->weight_of;
        of[index] = (int64_t)p;
    }
    for (size_t i = 0; i < n; i++) {
        const mosa_tensor_view *view = mosa_model_source_tensor_at(source, i);
        if (view->n_dims && view->dims[view->n_dims - 1] > widest) widest = view->dims[view->n_dims - 1];
    }
    r->row = malloc((size_t)widest * sizeof *r->row);
    r->bytes = malloc((size_t)widest * sizeof(double));
    return r->row && r->bytes ? MOSA_OK : mosa_fail(err, MOSA_ENOMEM, "out of memory for a row of a tensor");
}

static void finish(replacing *r) {
    free(r->weight_of);
    free(r->row);
    free(r->bytes);
}

// row += scale * B[i] A
static void add_product(const replacing *r, size_t tensor, int64_t i, int64_t columns) {
    const mosa_export *how = r->how;
    const mosa_param *a = &r->params->items[r->a_of[tensor]], *b = &r->params->items[r->b_of[tensor]];
    int64_t rank = a->dims[0];
    double scale = how->rslora ? how->alpha / sqrt((double)rank) : (double)how->alpha / (double)rank;
    const float *weights_a = r->weights + a->offset, *weights_b = r->weights + b->offset + i * rank;
    for (int64_t j = 0; j < columns; j++) {
        double sum = 0;
        for (int64_t k = 0; k < rank; k++) sum += (double)weights_b[k] * weights_a[k * columns + j];
        r->row[j] = (float)(r->row[j] + scale * sum);
    }
}

typedef mosa_status (*write_fn)(void *sink, const void *data, size_t bytes, mosa_error *err);

static mosa_status write_tensor(replacing *r, size_t index, write_fn write, void *sink, mosa_error *err) {
    const mosa_tensor_view *view = mosa_model_source_tensor_at(mosa_step_source(r->how->step), index);
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(view->dtype);
    int64_t columns = view->n_dims ? view->dims[view->n_dims - 1] : 1, rows = columns ? view->n_elements / columns : 0;
    size_t row_bytes = rows ? view->bytes / (size_t)rows : 0;
    if (r->weight_of[index] < 0 && r->a_of[index] < 0) return write(sink, view->data, view->bytes, err);
    for (int64_t i = 0; i < rows; i++) {
        if (r->weight_of[index] >= 0)
            memcpy(r->row, r->weights + r->params->items[r->weight_of[index]].offset + i * columns,
                   (size_t)columns * sizeof *r->row);
        else
            traits->to_f32((const char *)view->data + (size_t)i * row_bytes, r->row, columns);
        if (r->a_of[index] >= 0) add_product(r, index, i, columns);
        traits->from_f32(r->row, r->bytes, columns);
        MOSA_TRY(write(sink, r->bytes, row_bytes, err));
    }
    return MOSA_OK;
}

// --- safetensors --------------------------------------------------------------------------------------------------

static mosa_status write_st(void *sink, const void *data, size_t bytes, mosa_error *err) {
    return bytes ? mosa_safetensors_writer_write(sink, data, bytes, err) : MOSA_OK;
}

static mosa_status stream_st(replacing *r, mosa_safetensors_writer *writer, mosa_error *err) {
    const mosa_model_source *source = mosa_step_source(r->how->step);
    size_t n = mosa_model_source_tensor_count(source);
    for (size_t i = 0; i < n; i++) {
        const mosa_tensor_view *view = mosa_model_source_tensor_at(source, i);
        MOSA_TRY(mosa_safetensors_writer_add_tensor(writer, view->name, view->dtype, view->n_dims, view->dims, err));
    }
    MOSA_TRY(mosa_safetensors_writer_begin(writer, err));
    for (size_t i = 0; i < n; i++) MOSA_TRY(write_tensor(r, i, write_st, writer, err));
    return mosa_safetensors_writer_commit(writer, err);
}

// "model.safetensors", shards, their index, adapters, optimiser states: not carried along.
static bool is_companion(const char *name) {
    static const char *const suffixes[] = {".json", ".jinja", ".txt", ".model", ".tiktoken"};
    if (name[0] == '.' || mosa_str_ends_with(name, ".index.json") || strncmp(name, "adapter_", 8) == 0 ||
        strcmp(name, "trainer_state.json") == 0 || mosa_str_ends_with(name, "_results.json"))
        return false;
    for (size_t i = 0; i < MOSA_COUNT(suffixes); i++)
        if (mosa_str_ends_with(name, suffixes[i])) return true;
    return false;
}

mosa_status mosa_export_copy_files(const char *from, const char *to, mosa_error *err) {
    DIR *dir = opendir(from);
    if (!dir) return mosa_fail_errno(err, errno, "%s: cannot open", from);
    mosa_status status = MOSA_OK;
    for (struct dirent *entry; status == MOSA_OK && (entry = readdir(dir));) {
        if (!is_companion(entry->d_name)) continue;
        size_t len = 0;
        MOSA_AUTO_FREE char *source = mosa_path_join(from, entry->d_name), *target = mosa_path_join(to, entry->d_name);
        MOSA_AUTO_FREE char *bytes = NULL;
        if (!source || !target) status = mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", from);
        if (status == MOSA_OK) status = mosa_file_read(source, SMALL_FILE_MAX, &bytes, &len, err);
        if (status == MOSA_OK) status = mosa_out_file_save(target, bytes, len, err);
    }
    closedir(dir);
    return status;
}

static mosa_status export_folder(replacing *r, const char *path, mosa_error *err) {
    mosa_safetensors_writer *writer = NULL;
    MOSA_TRY(mosa_file_mkdirs(path, err));
    MOSA_TRY(mosa_safetensors_writer_create(path, r->how->shard_bytes, &writer, err));
    mosa_status status = stream_st(r, writer, err);
    mosa_safetensors_writer_destroy(writer);
    MOSA_TRY(status);
    const char *source = mosa_model_source_path(mosa_step_source(r->how->step));
    MOSA_AUTO_FREE char *folder = mosa_file_is_dir(source) ? strdup(source)
                                  : strrchr(source, '/')   ? strndup(source, (size_t)(strrchr(source, '/') - source))
                                                           : strdup(".");
    if (!folder) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    MOSA_TRY(mosa_export_copy_files(folder, path, err));
    return r->how->tokenizer ? mosa_export_copy_files(r->how->tokenizer, path, err) : MOSA_OK;
}

// --- GGUF ---------------------------------------------------------------------------------------------------------

static mosa_status write_gguf(void *sink, const void *data, size_t bytes, mosa_error *err) {
    return bytes ? mosa_gguf_writer_write(sink, data, bytes, err) : MOSA_OK;
}

static mosa_status stream_gguf(replacing *r, mosa_gguf_writer *writer, mosa_error *err) {
    const mosa_model_source *source = mosa_step_source(r->how->step);
    const mosa_gguf *gguf = mosa_model_source_gguf(source);
    size_t n = mosa_model_source_tensor_count(source);
    for (size_t i = 0; i < mosa_gguf_kv_count(gguf); i++) {
        const mosa_gguf_kv *kv = mosa_gguf_kv_at(gguf, i);
        bool left_out = strncmp(kv->key, "split.", 6) == 0 || strcmp(kv->key, "general.alignment") == 0;
        if (!left_out) mosa_gguf_writer_put_kv(writer, kv);
    }
    for (size_t i = 0; i < n; i++) {
        const mosa_tensor_view *view = mosa_model_source_tensor_at(source, i);
        MOSA_TRY(mosa_gguf_writer_add_tensor(writer, view->name, view->dtype, view->n_dims, view->dims, err));
    }
    MOSA_TRY(mosa_gguf_writer_begin(writer, err));
    for (size_t i = 0; i < n; i++) MOSA_TRY(write_tensor(r, i, write_gguf, writer, err));
    return mosa_gguf_writer_commit(writer, err);
}

static mosa_status export_gguf(replacing *r, const char *path, mosa_error *err) {
    mosa_gguf_writer *writer = NULL;
    MOSA_TRY(mosa_gguf_writer_create(path, &writer, err));
    mosa_status status = stream_gguf(r, writer, err);
    mosa_gguf_writer_destroy(writer);
    return status;
}

mosa_status mosa_export_model(const mosa_export *how, const char *path, mosa_error *err) {
    replacing r = {.how = how, .params = mosa_step_params(how->step), .weights = mosa_step_weights(how->step)};
    mosa_status status = mosa_export_check(how->step, true, err);
    if (status == MOSA_OK) status = prepare(&r, err);
    if (status == MOSA_OK)
        status = mosa_model_source_is_gguf(mosa_step_source(how->step)) ? export_gguf(&r, path, err)
                                                                        : export_folder(&r, path, err);
    finish(&r);
    return status;
}
