// The step: graphs, plans and execs over resident weights, and their runs.
#include "train/step.h"

#include "graph/op.h"
#include "graph/pass.h"
#include "train/step_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool always(mosa_op op, const void *context) {
    (void)op;
    (void)context;
    return true;
}

// Fused before it is differentiated, so that less is kept for the way back.
static mosa_status fuse(const mosa_graph *graph, mosa_graph **out, mosa_error *err) {
    mosa_graph *clean = NULL;
    MOSA_TRY(mosa_pass_clean(graph, &clean, err));
    mosa_status status = mosa_pass_fuse(clean, always, NULL, out, err);
    mosa_graph_destroy(clean);
    return status;
}

// A graph of forward and backward with so many layers recomputed, lowered and planned; replaces the part's.
static mosa_status plan_training(mosa_step *step, const mosa_graph *both, int n_forward, int layers, int *n_layers,
                                 mosa_error *err) {
    step_part *part = &step->parts[STEP_TRAIN];
    mosa_graph *again = NULL;
    mosa_plan_destroy(part->plan);
    mosa_graph_destroy(part->graph);
    part->plan = NULL;
    part->graph = NULL;
    MOSA_TRY(mosa_pass_recompute(both, n_forward, layers, n_layers, &again, err));
    mosa_status status = step->backend->ops->lower(step->backend, again, &part->graph, err);
    mosa_graph_destroy(again);
    if (status != MOSA_OK) return status;
    step->memory.recomputed = layers;
    return mosa_plan_create(part->graph, step->options.max_rows, &part->plan, err);
}

// The fewest recomputed layers that fit the budget.
static mosa_status fit_training(mosa_step *step, const mosa_graph *both, int n_forward, mosa_error *err) {
    const step_part *part = &step->parts[STEP_TRAIN];
    int64_t budget = step->options.activation_bytes;
    int few = 0, many, n_layers;
    MOSA_TRY(plan_training(step, both, n_forward, 0, &n_layers, err));
    if (budget <= 0 || part->plan->arena_bytes <= budget) return MOSA_OK;
    many = n_layers;
    MOSA_TRY(plan_training(step, both, n_forward, many, &n_layers, err));
    if (part->plan->arena_bytes > budget) {
        (void)mosa_fail(
            err, MOSA_ELIMIT,
            "activations of %d rows take %.1f MB even when every layer is recomputed, the budget is %.1f MB",
            step->options.max_rows, (double)part->plan->arena_bytes / 1e6, (double)budget / 1e6);
        return mosa_hint(err, "take fewer rows per batch and accumulate gradients over more of them");
    }
    while (many - few > 1) { // `many` fits, `few` does not
        int middle = few + (many - few) / 2;
        MOSA_TRY(plan_training(step, both, n_forward, middle, &n_layers, err));
        if (part->plan->arena_bytes <= budget)
            many = middle;
        else
            few = middle;
    }
    return step->memory.recomputed == many ? MOSA_OK : plan_training(step, both, n_forward, many, &n_layers, err);
}

static mosa_status lower(mosa_step *step, int which, const mosa_graph *graph, mosa_error *err) {
    step_part *part = &step->parts[which];
    MOSA_TRY(step->backend->ops->lower(step->backend, graph, &part->graph, err));
    MOSA_TRY(mosa_plan_create(part->graph, step->options.max_rows, &part->plan, err));
    step->memory.activations += (size_t)part->plan->arena_bytes;
    return MOSA_OK;
}

static mosa_status make_parts(mosa_step *step, mosa_error *err) {
    mosa_graph *fused = NULL, *both = NULL;
    mosa_autodiff wanted = {.weights = step->trained};
    mosa_status status;
    MOSA_TRY_GOTO(fuse(mosa_step_graph(step), &fused, err), done);
    MOSA_TRY_GOTO(mosa_pass_autodiff(fused, &wanted, &both, err), done);
    MOSA_TRY_GOTO(fit_training(step, both, fused->n_nodes, err), done);
    step->memory.activations += (size_t)step->parts[STEP_TRAIN].plan->arena_bytes;
    MOSA_TRY_GOTO(lower(step, STEP_FORWARD, fused, err), done);
    status = step->options.reference ? lower(step, STEP_REFERENCE, step->model.graph, err) : MOSA_OK;
done:
    mosa_graph_destroy(fused);
    mosa_graph_destroy(both);
    return status;
}

static mosa_status make_execs(mosa_step *step, mosa_error *err) {
    MOSA_AUTO_FREE mosa_weight **slots = calloc((size_t)step->n_slots + 1, sizeof(mosa_weight *));
    if (!slots) return mosa_fail(err, MOSA_ENOMEM, "step: out of memory");
    for (int s = 0; s < step->n_slots; s++) slots[s] = step->resident[step->slots[s].resident].weight;
    for (int p = 0; p < STEP_PARTS; p++)
        if (step->parts[p].plan)
            MOSA_TRY(
                step->backend->ops->exec_create(step->backend, step->parts[p].plan, slots, &step->parts[p].exec, err));
    return MOSA_OK;
}

static mosa_status check_options(const mosa_step_options *o, mosa_error *err) {
    if (o->max_rows <= 0) return mosa_fail(err, MOSA_EINVALID, "step: batches of %d rows", o->max_rows);
    if (o->kv != MOSA_F16 && o->kv != MOSA_F32)
        return mosa_fail(err, MOSA_EINVALID, "step: keys and values cannot be %s", mosa_dtype_name(o->kv));
    if (o->compute != MOSA_F32 && o->compute != MOSA_BF16)
        return mosa_fail(err, MOSA_EINVALID, "step: weights cannot be trained as %s", mosa_dtype_name(o->compute));
    if (o->train != MOSA_STEP_LORA) {
        if (o->quantize != MOSA_F32) return mosa_fail(err, MOSA_EINVALID, "step: a base is quantised for LoRA alone");
        return o->reference ? mosa_fail(err, MOSA_EINVALID, "step: only LoRA has a base to refer to") : MOSA_OK;
    }
    if (o->lora_rank < 1 || o->lora_rank > 4096)
        return mosa_fail(err, MOSA_EINVALID, "step: the LoRA rank is %d, must be 1 to 4096", o->lora_rank);
    if (!isfinite(o->lora_alpha))
        return mosa_fail(err, MOSA_EINVALID, "step: the LoRA alpha is %g", (double)o->lora_alpha);
    return MOSA_OK;
}

static mosa_status make_buffers(mosa_step *step, mosa_error *err) {
    size_t rows = (size_t)step->options.max_rows;
    step->segments = calloc(rows, sizeof *step->segments);
    step->positions = calloc(rows, sizeof *step->positions);
    step->zeros = calloc(rows, sizeof *step->zeros);
    step->stats = calloc(rows, sizeof *step->stats);
    if (!step->segments || !step->positions || !step->zeros || !step->stats)
        return mosa_fail(err, MOSA_ENOMEM, "step: out of memory");
    return MOSA_OK;
}

static mosa_status open_into(mosa_step *step, const mosa_step_options *o, mosa_error *err) {
    mosa_model_training_options model = {
        .path = o->model, .context = o->context, .quantize = o->quantize, .kv_dtype = o->kv};
    MOSA_TRY(check_options(o, err));
    MOSA_TRY(make_buffers(step, err));
    MOSA_TRY(mosa_pool_create(0, &step->pool, err));
    MOSA_TRY(mosa_model_training_init(&step->model, &model, err));
    MOSA_TRY(mosa_step_make_params(step, o, err));
    MOSA_TRY(make_parts(step, err));
    MOSA_TRY(mosa_step_make_resident(step, err));
    MOSA_TRY(make_execs(step, err));
    return mosa_step_refresh(step, false, 0, 0, err);
}

mosa_status mosa_step_open(mosa_backend *backend, const mosa_step_options *options, mosa_step **out, mosa_error *err) {
    mosa_step *step = calloc(1, sizeof *step);
    if (!step) return mosa_fail(err, MOSA_ENOMEM, "step: out of memory");
    step->backend = backend;
    step->options = *options;
    mosa_params_init(&step->params);
    mosa_status status = open_into(step, options, err);
    step->options.model = NULL;
    step->options.targets = NULL;
    if (status == MOSA_OK)
        *out = step;
    else
        mosa_step_close(step);
    return status;
}

void mosa_step_close(mosa_step *step) {
    if (!step) return;
    for (int p = 0; p < STEP_PARTS; p++) {
        if (step->parts[p].exec) step->backend->ops->exec_destroy(step->backend, step->parts[p].exec);
        mosa_plan_destroy(step->parts[p].plan);
        mosa_graph_destroy(step->parts[p].graph);
    }
    mosa_step_free_resident(step);
    mosa_graph_destroy(step->adapted);
    mosa_model_training_finish(&step->model);
    mosa_params_finish(&step->params);
    mosa_pool_destroy(step->pool);
    free(step->slots);
    free(step->trained);
    free(step->origins);
    free(step->grad_offset);
    free(step->weights);
    free(step->grads);
    free(step->segments);
    free(step->positions);
    free(step->zeros);
    free(step->stats);
    free(step);
}

// ---- running

// Numbers the positions of every segment from 0.
static mosa_status set_segments(mosa_step *step, const mosa_step_batch *batch, mosa_error *err) {
    int32_t row = 0;
    if (batch->rows < 1 || batch->rows > step->options.max_rows)
        return mosa_fail(err, MOSA_EINVALID, "step: a batch of %d rows, at most %d are possible", batch->rows,
                         step->options.max_rows);
    for (int32_t s = 0; s < batch->n_segments; s++) {
        const mosa_step_segment *segment = &batch->segments[s];
        if (segment->row_begin != row || segment->row_count < 1 || segment->row_count > batch->rows - row)
            return mosa_fail(err, MOSA_EINVALID, "step: segment %d does not continue at row %d", s, row);
        step->segments[s] = (mosa_segment){.row_begin = row, .row_count = segment->row_count};
        for (int32_t i = 0; i < segment->row_count; i++) step->positions[row++] = i;
    }
    if (row != batch->rows)
        return mosa_fail(err, MOSA_EINVALID, "step: segments cover %d of %d rows", row, batch->rows);
    return MOSA_OK;
}

static mosa_status run(mosa_step *step, int which, const mosa_step_batch *batch, const mosa_step_stats **stats,
                       mosa_error *err) {
    MOSA_TRY(set_segments(step, batch, err));
    const float *coef = which == STEP_TRAIN ? batch->coef : step->zeros;
    if (!coef) return mosa_fail(err, MOSA_EINVALID, "step: a run needs the rows' coefficients");
    const void *inputs[] = {batch->tokens, step->positions, batch->labels, coef}, *outputs[1] = {NULL};
    mosa_batch rows = {.rows = batch->rows, .n_segments = batch->n_segments, .segments = step->segments};
    mosa_bindings bindings = {.inputs = inputs, .outputs = outputs, .grads = &step->state};
    MOSA_TRY(step->backend->ops->exec_run(step->parts[which].exec, &rows, &bindings, err));
    memcpy(step->stats, outputs[0], (size_t)batch->rows * sizeof *step->stats);
    *stats = step->stats;
    return MOSA_OK;
}

mosa_status mosa_step_run(mosa_step *step, const mosa_step_batch *batch, const mosa_step_stats **stats,
                          mosa_error *err) {
    return run(step, STEP_TRAIN, batch, stats, err);
}

mosa_status mosa_step_forward(mosa_step *step, const mosa_step_batch *batch, const mosa_step_stats **stats,
                              mosa_error *err) {
    return run(step, STEP_FORWARD, batch, stats, err);
}

mosa_status mosa_step_reference(mosa_step *step, const mosa_step_batch *batch, const mosa_step_stats **stats,
                                mosa_error *err) {
    if (!step->options.reference) return mosa_fail(err, MOSA_EINVALID, "step: was opened without a reference");
    return run(step, STEP_REFERENCE, batch, stats, err);
}

// ---- what it knows

const mosa_params *mosa_step_params(const mosa_step *step) {
    return &step->params;
}
float *mosa_step_weights(mosa_step *step) {
    return step->weights;
}
float *mosa_step_grads(mosa_step *step) {
    return step->grads;
}
const mosa_model_config *mosa_step_config(const mosa_step *step) {
    return &step->model.config;
}
const mosa_model_source *mosa_step_source(const mosa_step *step) {
    return step->model.source;
}
mosa_step_memory mosa_step_memory_of(const mosa_step *step) {
    return step->memory;
}
mosa_step_origin mosa_step_origin_of(const mosa_step *step, size_t param) {
    return step->origins[param];
}

double mosa_step_flops(const mosa_step *step, int32_t rows) {
    const mosa_graph *graph = step->parts[STEP_TRAIN].graph;
    double sum = 0;
    for (int n = 0; n < graph->n_nodes; n++) {
        double flops = 0, bytes = 0;
        mosa_op_get(graph->nodes[n].op)->cost(graph, &graph->nodes[n], rows, &flops, &bytes);
        sum += flops;
    }
    return sum;
}
