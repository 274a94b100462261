// Opening a checkpoint: the index, then every tensor and file against its sum.
#include "train/checkpoint.h"

#include "base/file.h"
#include "base/log.h"
#include "codec/json.h"
#include "codec/safetensors.h"
#include "train/checkpoint_internal.h"

#include <math.h>
#include <stdlib.h>

enum { FILE_BYTES_MAX = 1 << 30 };

struct mosa_checkpoint {
    char *folder;
    json_t *index, *state;
    mosa_safetensors *weights, *moments; // NULL without tensors
    int64_t step;
    double metric;
};

static mosa_status load_json(const char *folder, const char *name, json_t **out, mosa_error *err) {
    MOSA_AUTO_FREE char *path = mosa_path_join(folder, name);
    if (!path) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", folder);
    mosa_status status = mosa_json_load(path, NULL, out, err);
    if (status == MOSA_EINVALID && err) err->status = MOSA_ECORRUPT;
    return status == MOSA_EINVALID ? MOSA_ECORRUPT : status;
}

static mosa_status read_index(mosa_checkpoint *c, mosa_error *err) {
    MOSA_TRY(load_json(c->folder, "index.json", &c->index, err));
    const char *format = json_string_value(json_object_get(c->index, "format"));
    const json_t *version = json_object_get(c->index, "version"), *step = json_object_get(c->index, "step");
    if (!format || strcmp(format, MOSA_CHECKPOINT_FORMAT) != 0 || !json_is_integer(version) || !json_is_integer(step))
        return mosa_fail(err, MOSA_ECORRUPT, "%s: its index.json is none of a checkpoint", c->folder);
    if (json_integer_value(version) > MOSA_CHECKPOINT_VERSION)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: a checkpoint of version %lld, this program knows %d", c->folder,
                         (long long)json_integer_value(version), MOSA_CHECKPOINT_VERSION);
    c->step = json_integer_value(step);
    const json_t *metric = json_object_get(c->index, "metric");
    c->metric = json_is_number(metric) ? json_number_value(metric) : NAN;
    return MOSA_OK;
}

static mosa_status open_tensors(const mosa_checkpoint *c, const char *name, mosa_safetensors **out, mosa_error *err) {
    MOSA_AUTO_FREE char *path = mosa_path_join(c->folder, name);
    if (!path) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", c->folder);
    return mosa_file_exists(path) ? mosa_safetensors_open(path, out, err) : MOSA_OK;
}

static const mosa_tensor_view *find_tensor(const mosa_checkpoint *c, const char *name) {
    const mosa_tensor_view *view = c->weights ? mosa_safetensors_tensor_find(c->weights, name) : NULL;
    return view || !c->moments ? view : mosa_safetensors_tensor_find(c->moments, name);
}

static mosa_status check_sum(const mosa_checkpoint *c, const char *what, const void *data, size_t bytes,
                             const json_t *expected, mosa_error *err) {
    char sum[MOSA_SHA256_HEX];
    const char *text = json_string_value(expected);
    MOSA_TRY(mosa_checkpoint_sum(data, bytes, sum, err));
    if (text && strcmp(text, sum) == 0) return MOSA_OK;
    return mosa_fail(err, MOSA_ECORRUPT, "%s: the checksum of %s does not match", c->folder, what);
}

static bool same_shape(const json_t *shape, const mosa_tensor_view *view) {
    bool same = json_array_size(shape) == view->n_dims;
    for (uint32_t d = 0; same && d < view->n_dims; d++)
        same = json_integer_value(json_array_get(shape, d)) == view->dims[d];
    return same;
}

static mosa_status check_tensor(const mosa_checkpoint *c, const json_t *entry, mosa_error *err) {
    const char *name = json_string_value(json_object_get(entry, "name"));
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!name || !dtype) return mosa_fail(err, MOSA_ECORRUPT, "%s: its index.json is damaged", c->folder);
    const mosa_tensor_view *view = find_tensor(c, name);
    if (!view) return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor %s is missing", c->folder, name);
    if (strcmp(dtype, mosa_dtype_name(view->dtype)) != 0 || !same_shape(json_object_get(entry, "shape"), view))
        return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor %s is not as the index describes it", c->folder, name);
    return check_sum(c, name, view->data, view->bytes, json_object_get(entry, "sha256"), err);
}

static mosa_status check_file(const mosa_checkpoint *c, const json_t *entry, mosa_error *err) {
    const char *name = json_string_value(json_object_get(entry, "name"));
    if (!name || strchr(name, '/')) return mosa_fail(err, MOSA_ECORRUPT, "%s: its index.json is damaged", c->folder);
    MOSA_AUTO_FREE char *path = mosa_path_join(c->folder, name);
    MOSA_AUTO_FREE char *bytes = NULL;
    size_t len = 0;
    if (!path) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", c->folder);
    MOSA_TRY(mosa_file_read(path, FILE_BYTES_MAX, &bytes, &len, err));
    return check_sum(c, name, bytes, len, json_object_get(entry, "sha256"), err);
}

static mosa_status check_all(const mosa_checkpoint *c, mosa_error *err) {
    const json_t *entry;
    size_t i;
    json_array_foreach(json_object_get(c->index, "tensors"), i, entry) MOSA_TRY(check_tensor(c, entry, err));
    json_array_foreach(json_object_get(c->index, "files"), i, entry) MOSA_TRY(check_file(c, entry, err));
    return MOSA_OK;
}

mosa_status mosa_checkpoint_open(const char *folder, mosa_checkpoint **out, mosa_error *err) {
    mosa_status status;
    mosa_checkpoint *c = calloc(1, sizeof *c);
    if (!c) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", folder);
    c->folder = strdup(folder);
    if (!c->folder) {
        status = mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", folder);
        goto fail;
    }
    MOSA_TRY_GOTO(read_index(c, err), fail);
    MOSA_TRY_GOTO(open_tensors(c, "model.safetensors", &c->weights, err), fail);
    MOSA_TRY_GOTO(open_tensors(c, "optimizer.safetensors", &c->moments, err), fail);
    MOSA_TRY_GOTO(check_all(c, err), fail);
    MOSA_TRY_GOTO(load_json(c->folder, "state.json", &c->state, err), fail);
    *out = c;
    return MOSA_OK;
fail:
    mosa_checkpoint_close(c);
    return status;
}

void mosa_checkpoint_close(mosa_checkpoint *checkpoint) {
    if (!checkpoint) return;
    mosa_safetensors_close(checkpoint->weights);
    mosa_safetensors_close(checkpoint->moments);
    json_decref(checkpoint->index);
    json_decref(checkpoint->state);
    free(checkpoint->folder);
    free(checkpoint);
}

mosa_status mosa_checkpoint_open_latest(const char *run, mosa_checkpoint **out, mosa_error *err) {
    MOSA_AUTO_FREE int64_t *steps = NULL;
    size_t count = 0;
    MOSA_TRY(mosa_checkpoint_list(run, &steps, &count, err));
    while (count-- > 0) {
        mosa_error why = {0};
        MOSA_AUTO_FREE char *folder = mosa_checkpoint_folder(run, steps[count]);
        if (!folder) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", run);
        if (mosa_checkpoint_open(folder, out, &why) == MOSA_OK) return MOSA_OK;
        mosa_log_failure(MOSA_LOG_WARN, "checkpoint_passed_over", &why);
    }
    return mosa_fail(err, MOSA_ENOTFOUND, "%s: no checkpoint", run);
}

const char *mosa_checkpoint_path(const mosa_checkpoint *checkpoint) {
    return checkpoint->folder;
}

int64_t mosa_checkpoint_step(const mosa_checkpoint *checkpoint) {
    return checkpoint->step;
}

double mosa_checkpoint_metric(const mosa_checkpoint *checkpoint) {
    return checkpoint->metric;
}

const json_t *mosa_checkpoint_state(const mosa_checkpoint *checkpoint) {
    return checkpoint->state;
}

size_t mosa_checkpoint_tensor_count(const mosa_checkpoint *checkpoint) {
    return json_array_size(json_object_get(checkpoint->index, "tensors"));
}

mosa_status mosa_checkpoint_read(const mosa_checkpoint *checkpoint, const mosa_train_tensor *tensor, mosa_error *err) {
    const mosa_tensor_view *view = find_tensor(checkpoint, tensor->name);
    if (!view) return mosa_fail(err, MOSA_ENOTFOUND, "%s: has no tensor %s", checkpoint->folder, tensor->name);
    bool same = view->dtype == tensor->dtype && view->n_dims == tensor->n_dims && view->bytes == tensor->bytes &&
                memcmp(view->dims, tensor->dims, tensor->n_dims * sizeof *tensor->dims) == 0;
    if (!same)
        return mosa_fail(err, MOSA_EINVALID, "%s: tensor %s has another type or shape than this run's",
                         checkpoint->folder, tensor->name);
    memcpy(tensor->data, view->data, tensor->bytes);
    return MOSA_OK;
}
