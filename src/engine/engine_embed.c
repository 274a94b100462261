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

// The normalised direction of a mean is that of the sum, so rows are only added up.
mosa_status mosa_engine_pool_embeddings(mosa_engine *e, const float *hidden, mosa_error *err) {
    size_t width = (size_t)e->limits.width;
    for (int i = e->scheduler.n_running - 1; i >= 0; i--) {
        mosa_sequence *q = e->scheduler.running[i];
        if (q->rows == 0 || !mosa_sequence_embeds(q) || q->request.kind == MOSA_SCORE) continue;
        int32_t first, end;
        pooled_rows(q, &first, &end);
        if (first < end) {
            const float *normed;
            MOSA_TRY(mosa_model_normed(e->model, hidden + (size_t)(q->row_begin + first) * width, end - first, &normed,
                                       err));
            for (int32_t r = 0; r < end - first; r++)
                for (size_t d = 0; d < width; d++) q->embedding_sum[d] += normed[(size_t)r * width + d];
        }
        if (q->n_computed == q->n_tokens) finish_embedding(e, q);
    }
    return MOSA_OK;
}

// A score is made of the first token's row. Sequences that are scored run whole.
mosa_status mosa_engine_score(mosa_engine *e, const float *hidden, mosa_error *err) {
    size_t width = (size_t)e->limits.width;
    int n = 0;
    for (int i = 0; i < e->scheduler.n_running; i++) {
        mosa_sequence *q = e->scheduler.running[i];
        if (q->rows > 0 && q->request.kind == MOSA_SCORE) e->wanted[n++] = (mosa_wanted_row){q, q->row_begin, 0, false};
    }
    for (int begin = 0; begin < n; begin += e->max_outputs) {
        int count = n - begin < e->max_outputs ? n - begin : e->max_outputs;
        const float *scores;
        for (int i = 0; i < count; i++)
            memcpy(e->selected + (size_t)i * width, hidden + (size_t)e->wanted[begin + i].row * width,
                   width * sizeof *hidden);
        MOSA_TRY(mosa_model_scores(e->model, e->selected, count, &scores, err));
        for (int i = 0; i < count; i++) {
            mosa_event *event = mosa_engine_add_event(e, e->wanted[begin + i].sequence);
            event->score = scores[i];
            mosa_engine_finish(e, e->wanted[begin + i].sequence, event, MOSA_FINISH_STOP);
        }
    }
    return MOSA_OK;
}
