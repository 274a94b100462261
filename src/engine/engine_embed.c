// Pooling hidden rows into embeddings.
#include "engine/engine_internal.h"

#include <math.h>

static void finish_embedding(mosa_engine *e, mosa_sequence *q) {
    double square = 0;
    for (int i = 0; i < e->limits.width; i++) square += q->embedding_sum[i] * q->embedding_sum[i];
    double scale = square > 0 ? 1 / sqrt(square) : 0;
    for (int i = 0; i < e->limits.width; i++) q->embedding[i] = (float)(q->embedding_sum[i] * scale);
    mosa_event *event = mosa_engine_add_event(e, q);
    event->embedding = q->embedding;
    mosa_engine_finish(e, q, event, MOSA_FINISH_STOP);
}

// The normalised direction of a mean is that of the sum, so rows are only added up.
mosa_status mosa_engine_pool_embeddings(mosa_engine *e, const float *hidden, mosa_error *err) {
    for (int i = e->scheduler.n_running - 1; i >= 0; i--) {
        mosa_sequence *q = e->scheduler.running[i];
        if (q->rows == 0 || !mosa_sequence_embeds(q)) continue;
        bool complete = q->n_computed == q->n_tokens;
        int32_t known = q->n_reported - (q->n_computed - q->rows);
        int32_t first = q->request.kind == MOSA_EMBED_LAST ? q->rows - 1 : known > 0 ? known : 0;
        if (first >= q->rows || (q->request.kind == MOSA_EMBED_LAST && !complete)) continue;
        const float *normed;
        size_t width = (size_t)e->limits.width;
        MOSA_TRY(mosa_model_normed(e->model, hidden + (size_t)(q->row_begin + first) * width, q->rows - first, &normed,
                                   err));
        for (int32_t r = 0; r < q->rows - first; r++)
            for (size_t d = 0; d < width; d++) q->embedding_sum[d] += normed[(size_t)r * width + d];
        if (complete) finish_embedding(e, q);
    }
    return MOSA_OK;
}
