// What a step trains: which weights, under which names, where in the arenas, and with which first values.
#include "train/step_internal.h"

#include "base/rng.h"
#include "graph/pass.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_plain(mosa_dtype dtype) {
    return dtype == MOSA_F32 || dtype == MOSA_F16 || dtype == MOSA_BF16;
}

static const char *file_name(const mosa_decoder_weight *weight) {
    return weight->tensor ? weight->tensor->name : weight->name;
}

static const mosa_decoder_weight *weight_of(const mosa_step *step, int32_t slot) {
    return &step->model.weights[step->model.slot_weight[slot]];
}

// ---- choosing

// Linears that "all-linear" means: those of the layers but routers.
static void mark_linears(const mosa_step *step, bool *linear) {
    const mosa_graph *graph = step->model.graph;
    for (int n = 0; n < graph->n_nodes; n++) {
        if (graph->nodes[n].op != MOSA_OP_LINEAR) continue;
        int32_t slot = graph->values[graph->nodes[n].in[1]].slot;
        mosa_weight_slot kind = weight_of(step, slot)->slot;
        linear[slot] = kind != MOSA_W_ROUTER && kind != MOSA_W_SHARED_ROUTER;
    }
}

static bool matches(const mosa_step *step, int32_t slot, const char *target, const bool *linear) {
    if (strcmp(target, "all-linear") == 0) return linear[slot];
    return mosa_model_training_named(&step->model, weight_of(step, slot), target);
}

static mosa_status choose_named(const mosa_step *step, const mosa_step_options *o, const bool *linear, bool *chosen,
                                mosa_error *err) {
    bool lora = o->train == MOSA_STEP_LORA;
    for (size_t i = 0; i < o->n_targets; i++) {
        bool found = false, other = false;
        for (int s = 0; s < step->model.graph->n_weights; s++) {
            if (!matches(step, s, o->targets[i], linear)) continue;
            other |= lora && !linear[s];
            if (lora && !linear[s]) continue;
            found = chosen[s] = true;
        }
        if (found) continue;
        (void)mosa_fail(err, MOSA_EINVALID, "%s: \"%.100s\" %s", o->model, o->targets[i],
                        other ? "takes no adapter" : "names none of its weights");
        return mosa_hint(err, "names are those of the files, or parts of them: q_proj, attn_q, mlp; see mosa inspect");
    }
    return MOSA_OK;
}

static mosa_status choose(const mosa_step *step, const mosa_step_options *o, bool *chosen, mosa_error *err) {
    int n = step->model.graph->n_weights;
    MOSA_AUTO_FREE bool *linear = calloc((size_t)n + 1, sizeof *linear);
    if (!linear) return mosa_fail(err, MOSA_ENOMEM, "step: out of memory");
    mark_linears(step, linear);
    if (o->n_targets > 0 && o->train != MOSA_STEP_FULL) return choose_named(step, o, linear, chosen, err);
    if (o->train == MOSA_STEP_NAMED)
        return mosa_fail(err, MOSA_EINVALID, "%s: no weight is named that should be trained", o->model);
    for (int s = 0; s < n; s++) {
        mosa_weight_slot kind = weight_of(step, s)->slot; // the bias of a choice among experts has no derivative
        chosen[s] = o->train == MOSA_STEP_LORA ? linear[s] : kind != MOSA_W_COUNT && kind != MOSA_W_ROUTER_CHOICE;
    }
    return MOSA_OK;
}

static mosa_status check_plain(const mosa_step *step, const bool *chosen, mosa_error *err) {
    for (int s = 0; s < step->model.graph->n_weights; s++) {
        const mosa_decoder_weight *w = weight_of(step, s);
        if (!chosen[s] || is_plain(w->view.dtype)) continue;
        (void)mosa_fail(err, MOSA_EUNSUPPORTED, "tensor %.160s is %s: only f32, f16 and bf16 weights are trained",
                        file_name(w), mosa_dtype_name(w->view.dtype));
        return mosa_hint(err, "train a LoRA adapter beside it, or take the unquantised model");
    }
    return MOSA_OK;
}

// ---- the table

static mosa_status add_param(mosa_step *step, mosa_param *spec, const mosa_step_origin *origin, step_slot *slot,
                             mosa_error *err) {
    slot->param = mosa_params_find(&step->params, spec->name);
    if (slot->param >= 0) return MOSA_OK;
    MOSA_TRY(mosa_params_add(&step->params, spec, err));
    slot->param = (int64_t)step->params.count - 1;
    step->origins[slot->param] = *origin;
    return MOSA_OK;
}

static void whole_dims(const mosa_decoder_weight *w, mosa_param *spec) {
    const mosa_tensor_view *view = w->tensor ? w->tensor : &w->view;
    spec->n_dims = view->n_dims;
    for (uint32_t i = 0; i < view->n_dims && i < MOSA_PARAM_DIMS_MAX; i++) spec->dims[i] = view->dims[i];
}

static mosa_status add_weight_param(mosa_step *step, int32_t s, mosa_error *err) {
    step_slot *slot = &step->slots[s];
    const mosa_decoder_weight *w = slot->weight;
    mosa_param spec = {.name = file_name(w), .lr_factor = 1};
    whole_dims(w, &spec);
    bool vector = spec.n_dims < 2 || w->uses == MOSA_WEIGHT_VECTOR;
    spec.decay = !vector;
    spec.matrix = spec.n_dims == 2 && !vector && w->slot != MOSA_W_TOKEN_EMBD && w->slot != MOSA_W_OUTPUT;
    slot->begin = w->row * (w->view.n_elements / w->view.dims[0]);
    mosa_step_origin origin = {.tensor = file_name(w), .added = w->added, .derived = w->tensor == NULL};
    return add_param(step, &spec, &origin, slot, err);
}

// Parts of one tensor (Q, K and V below each other) share A and have their rows of B.
static mosa_status add_lora_param(mosa_step *step, int32_t s, mosa_error *err) {
    step_slot *slot = &step->slots[s];
    const mosa_decoder_weight *w = slot->weight;
    const char *tensor = file_name(w);
    int base = (int)strlen(tensor), end = (int)strlen(".weight");
    if (base > end && strcmp(tensor + base - end, ".weight") == 0) base -= end;
    char name[256];
    (void)snprintf(name, sizeof name, "%.*s.%s", base < 200 ? base : 200, tensor,
                   slot->lora == 1 ? "lora_a" : "lora_b");
    mosa_param spec = {.name = name, .n_dims = 2, .decay = true, .matrix = true, .lr_factor = 1};
    const mosa_tensor_view *whole = w->tensor ? w->tensor : &w->view;
    int64_t rank = step->options.lora_rank;
    spec.dims[0] = slot->lora == 1 ? rank : whole->dims[0];
    spec.dims[1] = slot->lora == 1 ? w->view.dims[1] : rank;
    slot->begin = slot->lora == 1 ? 0 : w->row * rank;
    mosa_step_origin origin = {.tensor = tensor, .derived = w->tensor == NULL, .lora = slot->lora};
    return add_param(step, &spec, &origin, slot, err);
}

static mosa_status make_slots(mosa_step *step, const bool *chosen, const int32_t *pair_target, int n_pairs,
                              mosa_error *err) {
    int base = step->model.graph->n_weights;
    bool lora = step->options.train == MOSA_STEP_LORA;
    step->n_slots = base + 2 * n_pairs;
    step->slots = calloc((size_t)step->n_slots + 1, sizeof *step->slots);
    step->trained = calloc((size_t)step->n_slots + 1, sizeof *step->trained);
    step->grad_offset = calloc((size_t)step->n_slots + 1, sizeof *step->grad_offset);
    step->origins = calloc((size_t)step->n_slots + 1, sizeof *step->origins);
    if (!step->slots || !step->trained || !step->grad_offset || !step->origins)
        return mosa_fail(err, MOSA_ENOMEM, "step: out of memory");
    for (int s = 0; s < step->n_slots; s++) {
        step->slots[s] =
            (step_slot){.weight = weight_of(step, s < base ? s : pair_target[(s - base) / 2]), .param = -1};
        step->slots[s].lora = s < base ? 0 : (s - base) % 2 + 1;
        step->trained[s] = s < base ? chosen[s] && !lora : true;
        if (step->trained[s]) MOSA_TRY((s < base ? add_weight_param : add_lora_param)(step, s, err));
    }
    if (step->params.count == 0) return mosa_fail(err, MOSA_EINVALID, "%s: nothing is trained", step->options.model);
    return mosa_params_finish_layout(&step->params, err);
}

// ---- first values

static void copy_view(const mosa_tensor_view *view, float *out) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(view->dtype);
    int64_t each = view->parts ? view->n_elements / view->dims[0] : view->n_elements;
    for (int64_t i = 0; i < view->n_elements / each; i++)
        traits->to_f32(view->parts ? view->parts[i] : view->data, out + i * each, each);
}

static mosa_status fill_weight(mosa_step *step, const step_slot *slot, mosa_error *err) {
    float *out = step->weights + step->params.items[slot->param].offset;
    if (slot->weight->tensor) {
        copy_view(slot->weight->tensor, out);
        return MOSA_OK;
    }
    mosa_tensor_view view;
    MOSA_AUTO_FREE void *owned = NULL;
    MOSA_TRY(mosa_model_training_data(slot->weight, NULL, &view, &owned, err));
    copy_view(&view, out);
    return MOSA_OK;
}

// As PEFT begins: uniform within 1 / sqrt(in).
static void fill_a(mosa_step *step, int64_t p) {
    const mosa_param *param = &step->params.items[p];
    double bound = 1 / sqrt((double)param->dims[1]);
    uint64_t stream = mosa_rng_mix(step->options.seed ^ mosa_rng_mix((uint64_t)p + 1));
    for (int64_t i = 0; i < param->n; i++)
        step->weights[param->offset + (size_t)i] = (float)((2 * mosa_rng_uniform(stream, (uint64_t)i) - 1) * bound);
}

static mosa_status fill(mosa_step *step, mosa_error *err) {
    MOSA_TRY(mosa_params_alloc(&step->params, &step->weights, err));
    MOSA_TRY(mosa_params_alloc(&step->params, &step->grads, err));
    MOSA_AUTO_FREE bool *done = calloc(step->params.count + 1, sizeof *done);
    if (!done) return mosa_fail(err, MOSA_ENOMEM, "step: out of memory");
    for (int s = 0; s < step->n_slots; s++) {
        const step_slot *slot = &step->slots[s];
        step->grad_offset[s] = slot->param < 0 ? -1 : (int64_t)step->params.items[slot->param].offset + slot->begin;
        if (slot->param < 0 || done[slot->param]) continue;
        done[slot->param] = true;
        if (slot->lora == 0) MOSA_TRY(fill_weight(step, slot, err));
        if (slot->lora == 1) fill_a(step, slot->param);
    }
    step->state = (mosa_grads){.data = step->grads,
                               .count = (int64_t)step->params.elements,
                               .n_slots = step->n_slots,
                               .offset = step->grad_offset};
    step->memory.arenas = 2 * step->params.elements * sizeof(float);
    return MOSA_OK;
}

// Trained matrices and tables are computed with in a type of their own.
static void set_dtypes(mosa_step *step) {
    mosa_graph *graph = step->model.graph;
    for (mosa_value v = 0; v < graph->n_values; v++) {
        mosa_value_info *value = &graph->values[v];
        if (value->kind != MOSA_VALUE_WEIGHT || !step->trained[value->slot] || value->shape.ndim < 2) continue;
        bool vector = step->slots[value->slot].weight->uses == MOSA_WEIGHT_VECTOR;
        value->dtype = vector ? MOSA_F32 : step->options.compute;
    }
}

mosa_status mosa_step_make_params(mosa_step *step, const mosa_step_options *o, mosa_error *err) {
    int n = step->model.graph->n_weights, n_pairs = 0;
    MOSA_AUTO_FREE bool *chosen = calloc((size_t)n + 1, sizeof *chosen);
    MOSA_AUTO_FREE int32_t *pair_target = calloc((size_t)n + 1, sizeof *pair_target);
    if (!chosen || !pair_target) return mosa_fail(err, MOSA_ENOMEM, "step: out of memory");
    MOSA_TRY(choose(step, o, chosen, err));
    if (o->train == MOSA_STEP_LORA) {
        float scale = o->lora_alpha / (o->lora_rslora ? sqrtf((float)o->lora_rank) : (float)o->lora_rank);
        MOSA_AUTO_FREE const char **names = calloc((size_t)n + 1, sizeof *names);
        if (!names) return mosa_fail(err, MOSA_ENOMEM, "step: out of memory");
        for (int s = 0; s < n; s++) names[s] = chosen[s] ? file_name(weight_of(step, s)) : NULL;
        MOSA_TRY(
            mosa_pass_lora(step->model.graph, names, o->lora_rank, scale, pair_target, &n_pairs, &step->adapted, err));
    } else {
        MOSA_TRY(check_plain(step, chosen, err));
    }
    MOSA_TRY(make_slots(step, chosen, pair_target, n_pairs, err));
    set_dtypes(step);
    return fill(step, err);
}
