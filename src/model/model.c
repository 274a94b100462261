// Opening a model: files -> config -> graphs -> lowering -> plans -> resident weights -> execs.
#include "model/model.h"

#include "base/pool.h"
#include "graph/pass.h"
#include "model/encoder.h"
#include "model/model_internal.h"
#include "model/pooling.h"

#include <stdlib.h>
#include <string.h>

void mosa_model_close(mosa_model *model) {
    if (!model) return;
    const mosa_backend_ops *ops = model->backend->ops;
    for (int i = 0; i < MOSA_PART_COUNT; i++) {
        mosa_model_part *p = &model->parts[i];
        if (p->exec) ops->exec_destroy(model->backend, p->exec);
        mosa_plan_destroy(p->plan);
        mosa_graph_destroy(p->lowered);
        mosa_graph_destroy(p->graph);
    }
    for (int i = 0; i < model->n_weights; i++) {
        if (model->weights && model->weights[i]) ops->weight_destroy(model->backend, model->weights[i]);
        if (model->quantized) free(model->quantized[i]);
    }
    mosa_model_source_close(model->source);
    mosa_arena_finish(&model->arena);
    free(model);
}

static mosa_status build_part(mosa_model *model, mosa_decoder *decoder, int which, int64_t max_rows, mosa_error *err) {
    mosa_model_part *p = &model->parts[which];
    bool encoder = model->config.encoder;
    if (encoder && (which == MOSA_PART_EMBED || (which == MOSA_PART_HEAD && model->config.labels == 0))) return MOSA_OK;
    MOSA_TRY(mosa_decoder_begin(decoder, err));
    if (which == MOSA_PART_BODY)
        (encoder ? mosa_encoder_build_body : mosa_decoder_build_body)(decoder, model->family->block);
    if (which == MOSA_PART_HEAD) (encoder ? mosa_encoder_build_score : mosa_decoder_build_head)(decoder);
    if (which == MOSA_PART_EMBED) mosa_decoder_build_embed(decoder);
    MOSA_TRY(mosa_decoder_end(decoder, &p->graph, &p->slot_weight, err));
    MOSA_TRY(model->backend->ops->lower(model->backend, p->graph, &p->lowered, err));
    return mosa_plan_create(p->lowered, max_rows, &p->plan, err);
}

// The body once more, with LORA nodes. It names the weights of the body, so a model without adapter rows runs as
// before.
static mosa_status build_adapted(mosa_model *model, int64_t max_rows, mosa_error *err) {
    mosa_model_part *p = &model->parts[MOSA_PART_ADAPTED];
    const mosa_model_part *body = &model->parts[MOSA_PART_BODY];
    MOSA_TRY(mosa_pass_adapters(body->graph, model->max_adapter_rank, &p->graph, err));
    p->slot_weight = body->slot_weight;
    MOSA_TRY(model->backend->ops->lower(model->backend, p->graph, &p->lowered, err));
    return mosa_plan_create(p->lowered, max_rows, &p->plan, err);
}

// Rows of a matrix on their way to a quantised type; every row by itself, so threads share them freely.
typedef struct quantize_job {
    const mosa_tensor_view *view;
    const mosa_dtype_traits *from, *to;
    size_t row_in, row_out; // bytes
    float *rows;            // (threads, K) one decoded row per thread
    unsigned char *out;
} quantize_job;

static void quantize_share(void *arg, int thread, int n_threads) {
    const quantize_job *job = arg;
    const mosa_tensor_view *view = job->view;
    int64_t k = view->dims[view->n_dims - 1], rows = view->n_elements / k, slice_rows = rows / view->dims[0];
    float *row = job->rows + (size_t)thread * (size_t)k;
    for (int64_t r = rows * thread / n_threads; r < rows * (thread + 1) / n_threads; r++) {
        const char *from = view->parts
                               ? (const char *)view->parts[r / slice_rows] + (size_t)(r % slice_rows) * job->row_in
                               : (const char *)view->data + (size_t)r * job->row_in;
        job->from->to_f32(from, row, k);
        job->to->from_f32(row, job->out + (size_t)r * job->row_out, k);
    }
}

// Quantises a plain matrix into memory that the model owns, and points the view at it.
static mosa_status quantize_view(mosa_pool *pool, const mosa_decoder_weight *weight, mosa_tensor_view *view,
                                 void **owned, mosa_error *err) {
    quantize_job job = {
        .view = view, .from = mosa_dtype_traits_of(view->dtype), .to = mosa_dtype_traits_of(weight->dtype)};
    int64_t k = view->dims[view->n_dims - 1];
    size_t rows = (size_t)(view->n_elements / k);
    if (!mosa_dtype_bytes(view->dtype, k, &job.row_in) || !mosa_dtype_bytes(weight->dtype, k, &job.row_out) ||
        !job.to->from_f32)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "tensor %s cannot be quantised to %s", weight->name, job.to->name);
    MOSA_AUTO_FREE float *scratch = calloc((size_t)k * (size_t)mosa_pool_threads(pool), sizeof *scratch);
    job.rows = scratch;
    job.out = calloc(rows, job.row_out);
    if (!job.rows || !job.out) {
        free(job.out);
        return mosa_fail(err, MOSA_ENOMEM, "out of memory while quantising tensor %s", weight->name);
    }
    mosa_pool_run(pool, quantize_share, &job);
    view->dtype = weight->dtype;
    view->data = *owned = job.out;
    view->bytes = rows * job.row_out;
    view->parts = NULL;
    return MOSA_OK;
}

static mosa_status make_view(const mosa_decoder_weight *weight, mosa_tensor_view *view, void **owned, mosa_error *err) {
    *owned = calloc(1, view->bytes);
    if (!*owned) return mosa_fail(err, MOSA_ENOMEM, "out of memory while making tensor %s", weight->name);
    weight->how->make(weight->how, view, *owned);
    view->data = *owned;
    return MOSA_OK;
}

mosa_status mosa_model_weight_data(mosa_pool *pool, const mosa_decoder_weight *weight, mosa_tensor_view *view,
                                   void **owned, mosa_error *err) {
    MOSA_AUTO_FREE void *made = NULL;
    *view = weight->view;
    *owned = NULL;
    if (weight->how) MOSA_TRY(make_view(weight, view, &made, err));
    if (pool && weight->dtype != view->dtype && weight->uses & (MOSA_WEIGHT_MATRIX | MOSA_WEIGHT_TABLE))
        return quantize_view(pool, weight, view, owned, err);
    *owned = made;
    made = NULL;
    return MOSA_OK;
}

// Before anything is read: a machine that runs out of memory on the way kills somebody.
static mosa_status check_fits(const mosa_decoder *decoder, const mosa_model_options *options, mosa_error *err) {
    int64_t need = 0;
    for (int i = 0; i < decoder->n_weights; i++) {
        const mosa_decoder_weight *weight = &decoder->weights[i];
        size_t bytes = weight->view.bytes;
        (void)mosa_dtype_bytes(weight->dtype, weight->view.n_elements, &bytes); // as stored where it is not block-sized
        need += (int64_t)bytes;
    }
    if (options->memory_bytes == 0 || need <= options->memory_bytes) return MOSA_OK;
    mosa_fail(err, MOSA_ELIMIT, "%s: the weights take %.1f GiB, there are %.1f GiB of memory", options->path,
              (double)need / (1 << 30), (double)options->memory_bytes / (1 << 30));
    return mosa_hint(err, "take a smaller or more strongly quantised model, or raise the memory limit");
}

static mosa_status load_weights(mosa_model *model, const mosa_decoder *decoder, mosa_pool *pool, mosa_error *err) {
    int count = decoder->n_weights;
    model->weights = MOSA_ARENA_ARRAY(&model->arena, mosa_weight *, (size_t)count);
    model->quantized = MOSA_ARENA_ARRAY(&model->arena, void *, (size_t)count);
    if (!model->weights || !model->quantized) return mosa_fail(err, MOSA_ENOMEM, "out of memory while loading weights");
    model->n_weights = count;
    model->listed = decoder->weights;
    for (int i = 0; i < count; i++) {
        const mosa_decoder_weight *weight = &decoder->weights[i];
        mosa_tensor_view view;
        MOSA_TRY(mosa_model_weight_data(pool, weight, &view, &model->quantized[i], err));
        mosa_status status =
            model->backend->ops->weight_create(model->backend, &view, weight->uses, &model->weights[i], err);
        if (status != MOSA_OK) return mosa_fail_prefix(err, weight->name);
        bool in_place = weight->uses & (MOSA_WEIGHT_TABLE | MOSA_WEIGHT_VECTOR);
        model->weight_bytes += model->backend->ops->weight_bytes(model->weights[i]) + (in_place ? view.bytes : 0);
    }
    return MOSA_OK;
}

static mosa_status create_exec(mosa_model *model, mosa_model_part *p, mosa_error *err) {
    MOSA_AUTO_FREE mosa_weight **slots = calloc((size_t)p->graph->n_weights + 1, sizeof(mosa_weight *));
    if (!slots) return mosa_fail(err, MOSA_ENOMEM, "out of memory while binding weights");
    for (int i = 0; i < p->graph->n_weights; i++) slots[i] = model->weights[p->slot_weight[i]];
    return model->backend->ops->exec_create(model->backend, p->plan, slots, &p->exec, err);
}

mosa_status mosa_model_describe(const mosa_model_source *source, int64_t context, mosa_arena *arena,
                                const mosa_family **family, mosa_model_config *c, mosa_error *err) {
    MOSA_TRY(mosa_family_find(source, family, err));
    MOSA_TRY(mosa_model_config_read(source, c, err));
    c->encoder = (*family)->encoder;
    MOSA_TRY(mosa_model_pooling_read(source, &c->pooling, err));
    MOSA_TRY((*family)->configure(source, c, err));
    return c->learned_positions ? MOSA_OK : mosa_model_rope_read(source, context, arena, c, err);
}

static mosa_status read_config(mosa_model *model, const mosa_model_options *options, mosa_error *err) {
    mosa_model_config *c = &model->config;
    MOSA_TRY(mosa_model_describe(model->source, options->context, &model->arena, &model->family, c, err));
    model->max_rows = options->max_rows;
    if (!c->encoder) return MOSA_OK;
    model->max_adapter_rank = 0;
    int64_t whole = c->context < options->encoder_rows ? c->context : options->encoder_rows;
    if (whole > model->max_rows) model->max_rows = whole;
    return MOSA_OK;
}

static mosa_status open_into(mosa_model *model, const mosa_model_options *options, mosa_error *err) {
    MOSA_TRY(mosa_model_source_open(options->path, &model->source, err));
    MOSA_TRY(read_config(model, options, err));
    mosa_decoder decoder;
    mosa_decoder_init(&decoder, &model->config, model->source, &model->arena);
    decoder.quantize = options->quantize;
    for (int i = 0; i < MOSA_PART_ADAPTED; i++) {
        int64_t rows = i == MOSA_PART_HEAD ? options->max_outputs : model->max_rows;
        MOSA_TRY(build_part(model, &decoder, i, rows, err));
    }
    if (model->max_adapter_rank > 0) MOSA_TRY(build_adapted(model, model->max_rows, err));
    MOSA_TRY(check_fits(&decoder, options, err));
    // Only quantising needs threads here: packing is the backend's, with its own.
    mosa_pool *pool = NULL;
    if (options->quantize != MOSA_F32) MOSA_TRY(mosa_pool_create(options->threads, &pool, err));
    mosa_status status = load_weights(model, &decoder, pool, err);
    mosa_pool_destroy(pool);
    if (status != MOSA_OK) return status;
    for (int i = 0; i < MOSA_PART_COUNT; i++)
        if (model->parts[i].plan) MOSA_TRY(create_exec(model, &model->parts[i], err));
    return MOSA_OK;
}

mosa_status mosa_model_open(mosa_backend *backend, const mosa_model_options *options, mosa_model **out,
                            mosa_error *err) {
    mosa_model *model = calloc(1, sizeof *model);
    if (!model) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", options->path);
    model->backend = backend;
    mosa_arena_init(&model->arena, 0, 0);
    model->max_adapter_rank = options->max_adapter_rank;
    static const char *const names[MOSA_PART_COUNT] = {"body", "head", "embed", "adapted body"};
    for (int i = 0; i < MOSA_PART_COUNT; i++) model->parts[i].name = names[i];
    mosa_status status = open_into(model, options, err);
    if (status != MOSA_OK) {
        mosa_model_close(model);
        return status;
    }
    *out = model;
    return MOSA_OK;
}

int64_t mosa_model_max_rows(const mosa_model *model) {
    return model->max_rows;
}
const mosa_model_config *mosa_model_get_config(const mosa_model *model) {
    return &model->config;
}
const mosa_model_source *mosa_model_get_source(const mosa_model *model) {
    return model->source;
}
size_t mosa_model_weight_bytes(const mosa_model *model) {
    return model->weight_bytes;
}

size_t mosa_model_scratch_bytes(const mosa_model *model) {
    size_t sum = 0;
    for (int i = 0; i < MOSA_PART_COUNT; i++)
        if (model->parts[i].plan) sum += (size_t)model->parts[i].plan->arena_bytes;
    return sum;
}

void mosa_model_set_profiling(mosa_model *model, bool on) {
    if (on) model->profile = (mosa_profile){0};
    model->profile.on = on;
    for (int i = 0; i < MOSA_PART_COUNT; i++)
        if (model->parts[i].exec) model->backend->ops->exec_profile(model->parts[i].exec, on);
}

const mosa_profile *mosa_model_get_profile(const mosa_model *model) {
    return &model->profile;
}

static mosa_status run(mosa_model *model, int which, const mosa_batch *batch, const mosa_bindings *bindings,
                       mosa_error *err) {
    mosa_exec *exec = model->parts[which].exec;
    MOSA_TRY(model->backend->ops->exec_run(exec, batch, bindings, err));
    if (model->profile.on)
        mosa_profile_add(&model->profile, model->parts[which].lowered, batch, model->backend->ops->exec_times(exec),
                         bindings->states ? model->backend->ops->kv_element_bytes(bindings->states[0]) : 0);
    return MOSA_OK;
}

static mosa_status run_body(mosa_model *model, int which, const mosa_batch *batch, const void *const *inputs,
                            mosa_kv *const *states, mosa_error *err) {
    mosa_bindings bindings = {.inputs = inputs, .states = states};
    model->body = NULL;
    MOSA_TRY(run(model, which, batch, &bindings, err));
    model->body = model->parts[which].exec;
    return MOSA_OK;
}

mosa_status mosa_model_forward(mosa_model *model, const int32_t *tokens, const int32_t *positions,
                               const mosa_batch *batch, mosa_kv *kv, mosa_error *err) {
    const void *inputs[] = {tokens, positions};
    mosa_kv *states[] = {kv, NULL}; // the adapters' state comes with the batch
    bool adapted = false;
    for (int32_t s = 0; s < batch->n_segments; s++) adapted |= batch->segments[s].adapter != 0;
    if (adapted && model->max_adapter_rank == 0)
        return mosa_fail(err, MOSA_EINVALID, "batch: a segment names an adapter, the model was opened without");
    return run_body(model, adapted ? MOSA_PART_ADAPTED : MOSA_PART_BODY, batch, inputs, states, err);
}

mosa_status mosa_model_encode(mosa_model *model, const int32_t *tokens, const int32_t *positions, const int32_t *types,
                              const mosa_batch *batch, mosa_error *err) {
    const void *inputs[] = {tokens, positions, types};
    return run_body(model, MOSA_PART_BODY, batch, inputs, NULL, err);
}

// Runs a row-wise part over rows of the last body run. `out` NULL: what it gives stays with the exec.
static mosa_status run_rowwise(mosa_model *model, int which, const int32_t *rows, int32_t n, const float **out,
                               mosa_error *err) {
    if (!model->body) return mosa_fail(err, MOSA_EINTERNAL, "no rows: the body has not run");
    const void *inputs[] = {NULL}, *outputs[] = {NULL};
    mosa_rows source = {.exec = model->body, .index = rows};
    mosa_bindings bindings = {.inputs = inputs, .rows = &source, .outputs = out ? outputs : NULL};
    mosa_batch batch = {.rows = n};
    MOSA_TRY(run(model, which, &batch, &bindings, err));
    if (out) *out = outputs[0];
    return MOSA_OK;
}

mosa_status mosa_model_logits(mosa_model *model, const int32_t *rows, int32_t n, const float **logits,
                              mosa_error *err) {
    return run_rowwise(model, MOSA_PART_HEAD, rows, n, logits, err);
}

bool mosa_model_draws(const mosa_model *model) {
    return model->backend->ops->exec_draw != NULL;
}

mosa_status mosa_model_draw(mosa_model *model, const mosa_draw *draws, int32_t n, mosa_drawn *drawn, mosa_error *err) {
    return model->backend->ops->exec_draw(model->parts[MOSA_PART_HEAD].exec, 0, draws, n, drawn, err);
}

mosa_status mosa_model_read_logits(mosa_model *model, int32_t row, float *logits, mosa_error *err) {
    return model->backend->ops->exec_read(model->parts[MOSA_PART_HEAD].exec, 0, &row, 1, logits, err);
}

mosa_status mosa_model_scores(mosa_model *model, const int32_t *rows, int32_t n, const float **scores,
                              mosa_error *err) {
    return run_rowwise(model, MOSA_PART_HEAD, rows, n, scores, err);
}

mosa_status mosa_model_normed(mosa_model *model, const int32_t *rows, int32_t n, float *normed, mosa_error *err) {
    const mosa_backend_ops *ops = model->backend->ops;
    if (model->config.encoder) return ops->exec_read(model->body, 0, rows, n, normed, err);
    MOSA_TRY(run_rowwise(model, MOSA_PART_EMBED, rows, n, NULL, err));
    return ops->exec_read(model->parts[MOSA_PART_EMBED].exec, 0, NULL, n, normed, err);
}
