// One checkpoint into a temporary folder, made durable, then renamed into place.
#include "base/file.h"
#include "base/out_file.h"
#include "codec/json.h"
#include "codec/safetensors_writer.h"
#include "train/checkpoint_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct writing {
    const char *run, *folder; // folder: the temporary one
    const mosa_checkpoint_content *content;
    mosa_buf tensors, files; // JSON arrays, open
} writing;

static void auto_writer(mosa_safetensors_writer **writer) {
    mosa_safetensors_writer_destroy(*writer);
}

static mosa_status declare(mosa_safetensors_writer *writer, const mosa_train_tensor *tensors, size_t count,
                           mosa_error *err) {
    for (size_t i = 0; i < count; i++)
        MOSA_TRY(mosa_safetensors_writer_add_tensor(writer, tensors[i].name, tensors[i].dtype, tensors[i].n_dims,
                                                    tensors[i].dims, err));
    return mosa_safetensors_writer_begin(writer, err);
}

static void describe(mosa_buf *json, const mosa_train_tensor *tensor, const char *stem, const char *sum) {
    mosa_buf_append_str(json, json->len ? ",\n    {\"name\": " : "{\"name\": ");
    mosa_json_append_string(json, mosa_slice_of(tensor->name));
    mosa_buf_printf(json, ", \"dtype\": \"%s\", \"shape\": [", mosa_dtype_name(tensor->dtype));
    for (uint32_t d = 0; d < tensor->n_dims; d++)
        mosa_buf_printf(json, "%s%lld", d ? ", " : "", (long long)tensor->dims[d]);
    mosa_buf_printf(json, "], \"file\": \"%s.safetensors\", \"sha256\": \"%s\"}", stem, sum);
}

// Streams tensors into <stem>.safetensors; what is left then is commit.
static mosa_status stream(writing *w, const char *stem, const mosa_train_tensor *tensors, size_t count,
                          mosa_safetensors_writer **out, mosa_error *err) {
    if (count == 0) return MOSA_OK;
    MOSA_TRY(mosa_safetensors_writer_create(w->folder, UINT64_MAX, out, err));
    MOSA_TRY(mosa_safetensors_writer_set_stem(*out, stem, err));
    MOSA_TRY(declare(*out, tensors, count, err));
    for (size_t i = 0; i < count; i++) {
        char sum[MOSA_SHA256_HEX];
        MOSA_TRY(mosa_checkpoint_sum(tensors[i].data, tensors[i].bytes, sum, err));
        MOSA_TRY(mosa_safetensors_writer_write(*out, tensors[i].data, tensors[i].bytes, err));
        describe(&w->tensors, &tensors[i], stem, sum);
    }
    return MOSA_OK;
}

static mosa_status write_tensors(writing *w, void (*settled)(void *arg), void *arg, mosa_error *err) {
    MOSA_AUTO(auto_writer) mosa_safetensors_writer *weights = NULL;
    MOSA_AUTO(auto_writer) mosa_safetensors_writer *moments = NULL;
    const mosa_checkpoint_content *content = w->content;
    mosa_status status = stream(w, "model", content->weights, content->n_weights, &weights, err);
    if (status == MOSA_OK) status = stream(w, "optimizer", content->moments, content->n_moments, &moments, err);
    settled(arg);
    if (status == MOSA_OK && weights) status = mosa_safetensors_writer_commit(weights, err);
    if (status == MOSA_OK && moments) status = mosa_safetensors_writer_commit(moments, err);
    return status;
}

static mosa_status write_file(writing *w, const char *name, mosa_slice bytes, mosa_error *err) {
    char sum[MOSA_SHA256_HEX];
    MOSA_AUTO_FREE char *path = mosa_path_join(w->folder, name);
    if (!path) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", w->folder);
    MOSA_TRY(mosa_checkpoint_sum(bytes.data ? bytes.data : "", bytes.len, sum, err));
    mosa_buf_append_str(&w->files, w->files.len ? ",\n    {\"name\": " : "{\"name\": ");
    mosa_json_append_string(&w->files, mosa_slice_of(name));
    mosa_buf_printf(&w->files, ", \"bytes\": %zu, \"sha256\": \"%s\"}", bytes.len, sum);
    return mosa_out_file_save(path, bytes.data, bytes.len, err);
}

static mosa_status write_index(writing *w, mosa_error *err) {
    mosa_buf json = {0};
    MOSA_AUTO_FREE char *path = mosa_path_join(w->folder, "index.json");
    mosa_buf_printf(&json, "{\n  \"format\": \"%s\",\n  \"version\": %d,\n  \"step\": %lld,\n  \"metric\": ",
                    MOSA_CHECKPOINT_FORMAT, MOSA_CHECKPOINT_VERSION, (long long)w->content->step);
    mosa_json_append_f64(&json, w->content->metric);
    mosa_buf_printf(&json, ",\n  \"files\": [\n    %s\n  ],\n  \"tensors\": [\n    %s\n  ]\n}\n",
                    mosa_buf_str(&w->files), mosa_buf_str(&w->tensors));
    mosa_status status = !path || mosa_buf_failed(&json) || mosa_buf_failed(&w->files) || mosa_buf_failed(&w->tensors)
                             ? mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", w->folder)
                             : mosa_out_file_save(path, json.data, json.len, err);
    mosa_buf_finish(&json);
    return status;
}

// A checkpoint of the same step changes places with the new one, so that at every instant one of them is there.
static mosa_status publish(const writing *w, mosa_error *err) {
    MOSA_AUTO_FREE char *folder = mosa_checkpoint_folder(w->run, w->content->step);
    if (!folder) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", w->run);
    MOSA_TRY(mosa_checkpoint_sync_folder(w->folder, err));
    bool replaces = mosa_file_is_dir(folder);
    int done = replaces ? renameat2(AT_FDCWD, w->folder, AT_FDCWD, folder, RENAME_EXCHANGE) : rename(w->folder, folder);
    if (done != 0) return mosa_fail_errno(err, errno, "%s: cannot rename into place", folder);
    MOSA_TRY(mosa_checkpoint_sync_folder(w->run, err));
    return replaces ? mosa_checkpoint_remove_folder(w->folder, err) : MOSA_OK;
}

static mosa_status fill(writing *w, const char *state, void (*settled)(void *arg), void *arg, mosa_error *err) {
    const mosa_checkpoint_content *content = w->content;
    MOSA_TRY(write_tensors(w, settled, arg, err));
    MOSA_TRY(write_file(w, "state.json", mosa_slice_of(state), err));
    for (size_t i = 0; i < content->n_files; i++)
        MOSA_TRY(write_file(w, content->files[i].name, content->files[i].bytes, err));
    MOSA_TRY(write_index(w, err));
    return publish(w, err);
}

mosa_status mosa_checkpoint_write(const char *run, const mosa_checkpoint_content *content, const char *state,
                                  void (*settled)(void *arg), void *arg, mosa_error *err) {
    MOSA_AUTO_FREE char *folder = NULL;
    if (asprintf(&folder, "%s/.checkpoint-%lld.%ld.part", run, (long long)content->step, (long)getpid()) < 0) {
        settled(arg);
        return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", run);
    }
    if (mkdir(folder, 0777) != 0) {
        int failure = errno;
        settled(arg);
        return mosa_fail_errno(err, failure, "%s: cannot create", folder);
    }
    writing w = {.run = run, .folder = folder, .content = content};
    mosa_status status = fill(&w, state, settled, arg, err);
    mosa_buf_finish(&w.tensors);
    mosa_buf_finish(&w.files);
    if (status == MOSA_OK) return MOSA_OK;
    mosa_error ignored = {0};
    (void)!mosa_checkpoint_remove_folder(folder, &ignored); // what stays is removed when the run starts again
    return status;
}
