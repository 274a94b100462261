// The thread that writes checkpoints, and which of them stay.
#include "train/checkpoint_saver.h"

#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "codec/json.h"
#include "train/checkpoint_internal.h"

#include <math.h>
#include <stdlib.h>

struct mosa_checkpoint_saver {
    char *run;
    mosa_checkpoint_saver_options options;
    mosa_thread thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    // guarded by lock
    bool pending, reading, stopping; // pending: from save until its end; reading: tensors are borrowed
    mosa_status outcome;             // of the last save, until it is told
    mosa_error error;
    // the thread's own while pending
    mosa_checkpoint_content content;
    mosa_arena copies; // files
    char *state;
};

static void tensors_settled(void *arg) {
    mosa_checkpoint_saver *saver = arg;
    pthread_mutex_lock(&saver->lock);
    saver->reading = false;
    pthread_cond_broadcast(&saver->changed);
    pthread_mutex_unlock(&saver->lock);
}

// --- which stay ---------------------------------------------------------------------------------------------------

typedef struct kept {
    int64_t step;
    double metric;
} kept;

static bool is_better(const mosa_checkpoint_saver *saver, const kept *a, const kept *b) {
    if (isnan(a->metric)) return false;
    if (isnan(b->metric)) return true;
    return saver->options.greater_is_better ? a->metric > b->metric : a->metric < b->metric;
}

static bool is_among_best(const mosa_checkpoint_saver *saver, const kept *all, size_t count, size_t index) {
    int64_t better = 0;
    if (isnan(all[index].metric)) return false;
    for (size_t i = 0; i < count; i++) // of equals the earlier one counts as better
        if (i != index &&
            (is_better(saver, &all[i], &all[index]) || (i < index && !is_better(saver, &all[index], &all[i]))))
            better++;
    return better < saver->options.keep_best;
}

static mosa_status rotate(const mosa_checkpoint_saver *saver, mosa_error *err) {
    MOSA_AUTO_FREE int64_t *steps = NULL;
    size_t count = 0;
    if (saver->options.keep_last == 0) return MOSA_OK;
    MOSA_TRY(mosa_checkpoint_list(saver->run, &steps, &count, err));
    MOSA_AUTO_FREE kept *all = calloc(count + 1, sizeof *all);
    if (!all) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", saver->run);
    for (size_t i = 0; i < count; i++) {
        all[i] = (kept){steps[i], NAN};
        if (saver->options.keep_best > 0) all[i].metric = mosa_checkpoint_metric_of(saver->run, steps[i]);
    }
    for (size_t i = 0; i + (size_t)saver->options.keep_last < count; i++)
        if (steps[i] != saver->content.step && !is_among_best(saver, all, count, i))
            MOSA_TRY(mosa_checkpoint_remove(saver->run, steps[i], err));
    return MOSA_OK;
}

// --- the thread ---------------------------------------------------------------------------------------------------

static void save_one(mosa_checkpoint_saver *saver) {
    mosa_error error = {0};
    mosa_status status =
        mosa_checkpoint_write(saver->run, &saver->content, saver->state, tensors_settled, saver, &error);
    if (status == MOSA_OK) status = rotate(saver, &error);
    pthread_mutex_lock(&saver->lock);
    saver->outcome = status;
    saver->error = error;
    saver->pending = false;
    pthread_cond_broadcast(&saver->changed);
    pthread_mutex_unlock(&saver->lock);
}

static void work(void *arg) {
    mosa_checkpoint_saver *saver = arg;
    for (;;) {
        pthread_mutex_lock(&saver->lock);
        while (!saver->pending && !saver->stopping) pthread_cond_wait(&saver->changed, &saver->lock);
        bool pending = saver->pending;
        pthread_mutex_unlock(&saver->lock);
        if (!pending) return;
        save_one(saver);
    }
}

mosa_status mosa_checkpoint_saver_create(const mosa_checkpoint_saver_options *options, mosa_checkpoint_saver **out,
                                         mosa_error *err) {
    MOSA_TRY(mosa_checkpoint_clean(options->run, err));
    mosa_checkpoint_saver *saver = calloc(1, sizeof *saver);
    if (!saver) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", options->run);
    pthread_mutex_init(&saver->lock, NULL);
    mosa_cond_init(&saver->changed);
    mosa_arena_init(&saver->copies, 0, 0);
    saver->options = *options;
    saver->run = strdup(options->run);
    mosa_status status = saver->run ? mosa_thread_start(&saver->thread, "checkpoint", work, saver, err)
                                    : mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", options->run);
    if (status == MOSA_OK)
        *out = saver;
    else
        mosa_checkpoint_saver_destroy(saver);
    return status;
}

void mosa_checkpoint_saver_destroy(mosa_checkpoint_saver *saver) {
    if (!saver) return;
    pthread_mutex_lock(&saver->lock);
    saver->stopping = true;
    pthread_cond_broadcast(&saver->changed);
    pthread_mutex_unlock(&saver->lock);
    mosa_thread_join(&saver->thread);
    pthread_cond_destroy(&saver->changed);
    pthread_mutex_destroy(&saver->lock);
    mosa_arena_finish(&saver->copies);
    free(saver->state);
    free(saver->run);
    free(saver);
}

// --- the caller's side --------------------------------------------------------------------------------------------

static mosa_status copy_content(mosa_checkpoint_saver *saver, const mosa_checkpoint_content *content, mosa_error *err) {
    mosa_buf state = {0};
    mosa_arena_finish(&saver->copies);
    free(saver->state);
    mosa_json_append_pretty(&state, content->state);
    saver->state = mosa_buf_take(&state);
    saver->content = *content;
    saver->content.state = NULL;
    mosa_checkpoint_file *files = MOSA_ARENA_ARRAY(&saver->copies, mosa_checkpoint_file, content->n_files);
    saver->content.files = files;
    bool failed = !saver->state || !files;
    for (size_t i = 0; i < content->n_files && !failed; i++) {
        const mosa_checkpoint_file *file = &content->files[i];
        files[i].name = mosa_arena_strdup(&saver->copies, file->name);
        files[i].bytes =
            (mosa_slice){mosa_arena_strndup(&saver->copies, file->bytes.data ? file->bytes.data : "", file->bytes.len),
                         file->bytes.len};
        failed = !files[i].name || !files[i].bytes.data;
    }
    return failed ? mosa_fail(err, MOSA_ENOMEM, "%s: out of memory for a checkpoint", saver->run) : MOSA_OK;
}

mosa_status mosa_checkpoint_saver_save(mosa_checkpoint_saver *saver, const mosa_checkpoint_content *content,
                                       mosa_error *err) {
    mosa_error earlier = {0};
    if (mosa_checkpoint_saver_wait(saver, &earlier) != MOSA_OK)
        mosa_log_failure(MOSA_LOG_WARN, "checkpoint_failed", &earlier);
    MOSA_TRY(copy_content(saver, content, err));
    pthread_mutex_lock(&saver->lock);
    saver->pending = saver->reading = true;
    pthread_cond_broadcast(&saver->changed);
    pthread_mutex_unlock(&saver->lock);
    return MOSA_OK;
}

void mosa_checkpoint_saver_settle(mosa_checkpoint_saver *saver) {
    pthread_mutex_lock(&saver->lock);
    while (saver->reading) pthread_cond_wait(&saver->changed, &saver->lock);
    pthread_mutex_unlock(&saver->lock);
}

mosa_status mosa_checkpoint_saver_wait(mosa_checkpoint_saver *saver, mosa_error *err) {
    pthread_mutex_lock(&saver->lock);
    while (saver->pending) pthread_cond_wait(&saver->changed, &saver->lock);
    mosa_status status = saver->outcome;
    if (status != MOSA_OK && err) *err = saver->error;
    saver->outcome = MOSA_OK;
    pthread_mutex_unlock(&saver->lock);
    return status;
}
