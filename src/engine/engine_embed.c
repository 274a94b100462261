// Pooling hidden rows into embeddings, and scoring pairs of texts.
#include "engine/engine_internal.h"

#include <math.h>
#include <string.h>

static void finish_embedding(mosa_engine *e, mosa_sequence *q) {
    double square = 0;
    for (int i = 0; i < e->limits.width; i++) square += q->embedding_sum[i] * q->embedding_sum[i];
    double scale = square > 0 ? 1 / sqrt(square) : 0;
    for (int i = 0; i < e->limits.width; i++) q->embedding[i] = (float)(q->embedding_sum[i] * scale);
    mosa_event *event = mosa_engine_add_event(e, q);
    event->embedding = q->embedding;
    mosa_engine_finish(e, q, event, MOSA_FINISH_STOP);
}

// Rows [*first, *end) of this step that are pooled, counted from the sequence's first row.
static void pooled_rows(const mosa_sequence *q, int32_t *first, int32_t *end) {
    int32_t begin = q->n_computed - q->rows, known = q->n_reported - begin;
    *first = known > 0 ? known : 0;
    *end = q->rows;
    if (q->request.kind == MOSA_EMBED_LAST) *first = q->n_computed == q->n_tokens ? q->rows - 1 : q->rows;
    if (q->request.kind == MOSA_EMBED_CLS) *end = begin == 0 && known <= 0;
}

// The normalised direction of a mean is that of the sum, so rows [first, end) of the batch are only added up.
static mosa_status add_rows(mosa_engine *e, mosa_sequence *q, int32_t first, int32_t end, mosa_error *err) {
    size_t width = (size_t)e->limits.width;
    while (first < end) {
        int32_t n = end - first < e->max_outputs ? end - first : e->max_outputs;
        for (int32_t r = 0; r < n; r++) e->picked[r] = first + r;
        MOSA_TRY(mosa_model_normed(e->model, e->picked, n, e->normed, err));
        for (int32_t r = 0; r < n; r++)
            for (size_t d = 0; d < width; d++) q->embedding_sum[d] += e->normed[(size_t)r * width + d];
        first += n;
    }
    return MOSA_OK;
}

mosa_status mosa_engine_pool_embeddings(mosa_engine *e, mosa_error *err) {
    for (int i = e->scheduler.n_running - 1; i >= 0; i--) {
        mosa_sequence *q = e->scheduler.running[i];
        if (q->rows == 0 || !mosa_sequence_embeds(q) || q->request.kind == MOSA_SCORE) continue;
        int32_t first, end;
        pooled_rows(q, &first, &end);
        MOSA_TRY(add_rows(e, q, q->row_begin + first, q->row_begin + end, err));
        if (q->n_computed == q->n_tokens) finish_embedding(e, q);
    }
    return MOSA_OK;
}

// A score is made of the first token's row. Sequences that are scored run whole.
mosa_status mosa_engine_score(mosa_engine *e, mosa_error *err) {
    int n = 0;
    for (int i = 0; i < e->scheduler.n_running; i++) {
        mosa_sequence *q = e->scheduler.running[i];
        if (q->rows > 0 && q->request.kind == MOSA_SCORE) e->wanted[n++] = (mosa_wanted_row){q, q->row_begin, 0, false};
    }
    for (int begin = 0; begin < n; begin += e->max_outputs) {
        int count = n - begin < e->max_outputs ? n - begin : e->max_outputs;
        const float *scores;
        for (int i = 0; i < count; i++) e->picked[i] = e->wanted[begin + i].row;
        MOSA_TRY(mosa_model_scores(e->model, e->picked, count, &scores, err));
        for (int i = 0; i < count; i++) {
            mosa_event *event = mosa_engine_add_event(e, e->wanted[begin + i].sequence);
            event->score = scores[i];
            mosa_engine_finish(e, e->wanted[begin + i].sequence, event, MOSA_FINISH_STOP);
        }
    }
    return MOSA_OK;
}
