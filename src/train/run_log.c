// Rows of metrics: kept in memory, appended to metrics.jsonl, passed on to TensorBoard.
#include "train/run_log.h"

#include "base/file.h"
#include "base/out_file.h"
#include "codec/json.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BYTES_MAX = 1 << 30 };

struct mosa_run_log {
    char *path; // of metrics.jsonl
    int fd;
    json_t *rows;
    mosa_tensorboard *board;
};

// --- reading ------------------------------------------------------------------------------------------------------

static mosa_status parse_rows(const char *path, mosa_slice text, json_t *rows, mosa_error *err) {
    int64_t line = 1;
    for (size_t at = 0; at < text.len; line++) {
        const char *end = memchr(text.data + at, '\n', text.len - at);
        if (!end) return MOSA_OK; // cut short by a crash
        mosa_slice row = {text.data + at, (size_t)(end - text.data) - at};
        json_t *value = NULL;
        at += row.len + 1;
        if (row.len == 0) continue;
        if (mosa_json_parse(row, NULL, &value, NULL) != MOSA_OK || !json_is_integer(json_object_get(value, "step"))) {
            json_decref(value);
            return mosa_fail(err, MOSA_ECORRUPT, "%s:%lld: is no row of metrics", path, (long long)line);
        }
        if (json_array_append_new(rows, value) != 0) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    }
    return MOSA_OK;
}

mosa_status mosa_run_log_read(const char *run, json_t **rows, mosa_error *err) {
    MOSA_AUTO_FREE char *path = mosa_path_join(run, "metrics.jsonl");
    MOSA_AUTO_FREE char *bytes = NULL;
    MOSA_AUTO_JSON json_t *all = json_array();
    size_t len = 0;
    if (!path || !all) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", run);
    MOSA_TRY(mosa_file_read(path, BYTES_MAX, &bytes, &len, err));
    MOSA_TRY(parse_rows(path, (mosa_slice){bytes, len}, all, err));
    *rows = all;
    all = NULL;
    return MOSA_OK;
}

// --- opening ------------------------------------------------------------------------------------------------------

// Keeps rows up to resume_step, in memory and in the file.
static mosa_status keep_rows(mosa_run_log *log, const char *run, int64_t resume_step, mosa_error *err) {
    MOSA_AUTO_JSON json_t *old = NULL;
    mosa_buf text = {0};
    json_t *row;
    size_t i;
    if (resume_step >= 0 && mosa_file_exists(log->path)) MOSA_TRY(mosa_run_log_read(run, &old, err));
    json_array_foreach(old, i, row) {
        if (json_integer_value(json_object_get(row, "step")) > resume_step) continue;
        if (json_array_append(log->rows, row) != 0) text.failed = true;
        mosa_json_append(&text, row);
        mosa_buf_append_char(&text, '\n');
    }
    mosa_status status = mosa_buf_failed(&text) ? mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", log->path)
                                                : mosa_out_file_save(log->path, text.data, text.len, err);
    mosa_buf_finish(&text);
    return status;
}

mosa_status mosa_run_log_open(const char *run, int64_t resume_step, mosa_run_log **out, mosa_error *err) {
    mosa_status status;
    mosa_run_log *log = calloc(1, sizeof *log);
    if (!log) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", run);
    log->fd = -1;
    log->rows = json_array();
    log->path = mosa_path_join(run, "metrics.jsonl");
    if (!log->rows || !log->path) {
        status = mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", run);
        goto fail;
    }
    MOSA_TRY_GOTO(keep_rows(log, run, resume_step, err), fail);
    log->fd = open(log->path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (log->fd < 0) {
        status = mosa_fail_errno(err, errno, "%s: cannot open", log->path);
        goto fail;
    }
    MOSA_TRY_GOTO(mosa_tensorboard_open(run, resume_step + 1, &log->board, err), fail);
    *out = log;
    return MOSA_OK;
fail:
    mosa_run_log_close(log);
    return status;
}

void mosa_run_log_close(mosa_run_log *log) {
    if (!log) return;
    mosa_tensorboard_close(log->board);
    if (log->fd >= 0) close(log->fd);
    json_decref(log->rows);
    free(log->path);
    free(log);
}

// --- rows ---------------------------------------------------------------------------------------------------------

static json_t *make_row(int64_t step, double epoch, const mosa_scalar *scalars, size_t count) {
    json_t *row = json_pack("{s:I, s:f}", "step", (json_int_t)step, "epoch", epoch);
    for (size_t i = 0; row && i < count; i++) {
        json_t *value = isfinite(scalars[i].value) ? json_real(scalars[i].value) : json_null();
        if (json_object_set_new(row, scalars[i].tag, value) != 0) {
            json_decref(row);
            row = NULL;
        }
    }
    return row;
}

static mosa_status append(mosa_run_log *log, json_t *row, mosa_error *err) {
    mosa_buf text = {0};
    mosa_json_append(&text, row);
    mosa_buf_append_char(&text, '\n');
    mosa_status status = MOSA_OK;
    if (mosa_buf_failed(&text))
        status = mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", log->path);
    else if (write(log->fd, text.data, text.len) != (ssize_t)text.len)
        status = mosa_fail_errno(err, errno, "%s: cannot write", log->path);
    mosa_buf_finish(&text);
    return status;
}

static mosa_status show(mosa_run_log *log, int64_t step, const mosa_scalar *scalars, size_t count, mosa_error *err) {
    mosa_scalar tagged[MOSA_RUN_LOG_SCALARS_MAX];
    char tags[MOSA_RUN_LOG_SCALARS_MAX][96];
    size_t n = 0;
    for (size_t i = 0; i < count && n < MOSA_RUN_LOG_SCALARS_MAX; i++) {
        bool eval = strncmp(scalars[i].tag, "eval_", 5) == 0;
        snprintf(tags[n], sizeof tags[n], "%s/%s", eval ? "eval" : "train", scalars[i].tag + (eval ? 5 : 0));
        tagged[n] = (mosa_scalar){tags[n], scalars[i].value};
        n++;
    }
    return mosa_tensorboard_add(log->board, step, tagged, n, err);
}

mosa_status mosa_run_log_add(mosa_run_log *log, int64_t step, double epoch, const mosa_scalar *scalars, size_t count,
                             mosa_error *err) {
    json_t *row = make_row(step, epoch, scalars, count);
    if (!row || json_array_append_new(log->rows, row) != 0)
        return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", log->path);
    MOSA_TRY(append(log, row, err));
    return show(log, step, scalars, count, err);
}

const json_t *mosa_run_log_rows(const mosa_run_log *log) {
    return log->rows;
}

// --- trainer_state.json -------------------------------------------------------------------------------------------

void mosa_run_log_state(const mosa_run_log *log, const mosa_trainer_state *s, mosa_buf *out) {
    json_t *best = isfinite(s->best_metric) ? json_real(s->best_metric) : json_null();
    json_t *checkpoint = s->best_model_checkpoint ? json_string(s->best_model_checkpoint) : json_null();
    MOSA_AUTO_JSON json_t *state = json_pack(
        "{s:o, s:o, s:I, s:f, s:I, s:I, s:b, s:b, s:b, s:O, s:I, s:I, s:f, s:I, s:I, s:f, s:I, s:n, s:n}",
        "best_metric", best, "best_model_checkpoint", checkpoint, "best_global_step", (json_int_t)s->best_global_step,
        "epoch", s->epoch, "eval_steps", (json_int_t)s->eval_steps, "global_step", (json_int_t)s->global_step,
        "is_hyper_param_search", 0, "is_local_process_zero", 1, "is_world_process_zero", 1, "log_history", log->rows,
        "logging_steps", (json_int_t)s->logging_steps, "max_steps", (json_int_t)s->max_steps, "num_train_epochs",
        s->num_train_epochs, "num_input_tokens_seen", (json_int_t)s->num_input_tokens_seen, "save_steps",
        (json_int_t)s->save_steps, "total_flos", s->total_flos, "train_batch_size", (json_int_t)s->train_batch_size,
        "trial_name", "trial_params");
    if (!state) {
        out->failed = true;
        return;
    }
    mosa_json_append_pretty(out, state);
    mosa_buf_append_char(out, '\n');
}
