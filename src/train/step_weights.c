// Resident weights of a step. Frozen ones are the files'; trained ones are views of the weights arena, or of a rounded
// copy of it, which refresh makes anew.
#include "train/step_internal.h"

#include "base/rng.h"
#include "tensor/half.h"

#include <stdlib.h>
#include <string.h>

static unsigned uses_of(const mosa_step *step, int32_t slot) {
    unsigned uses = 0;
    for (int p = 0; p < STEP_PARTS; p++)
        if (step->parts[p].graph && slot < step->parts[p].graph->n_weights)
            uses |= mosa_graph_weight_uses(step->parts[p].graph, slot);
    return uses;
}

// The resident weight that a slot shares with an earlier one: of the same listed weight, or of the same part of a pair.
static int32_t shared_with(const mosa_step *step, int32_t s) {
    const step_slot *slot = &step->slots[s];
    for (int32_t i = 0; i < s; i++) {
        const step_slot *other = &step->slots[i];
        bool same =
            slot->lora ? other->param == slot->param && other->begin == slot->begin : other->weight == slot->weight;
        if (other->lora == slot->lora && same) return other->resident;
    }
    return -1;
}

static bool is_rounded(const mosa_step *step, const step_resident *r) {
    return step->options.compute == MOSA_BF16 && r->uses != MOSA_WEIGHT_VECTOR && step->slots[r->slot].lora == 0;
}

static mosa_status trained_view(mosa_step *step, step_resident *r, mosa_error *err) {
    const step_slot *slot = &step->slots[r->slot];
    mosa_tensor_view *view = &r->view;
    *view = slot->weight->view;
    view->parts = NULL;
    if (slot->lora) {
        int64_t rank = step->options.lora_rank, rows = view->dims[0], columns = view->dims[1];
        view->dims[0] = slot->lora == 1 ? rank : rows;
        view->dims[1] = slot->lora == 1 ? columns : rank;
        view->n_elements = view->dims[0] * view->dims[1];
        view->name = step->params.items[slot->param].name;
    }
    bool rounded = is_rounded(step, r);
    view->dtype = rounded ? MOSA_BF16 : MOSA_F32;
    view->bytes = (size_t)view->n_elements * (rounded ? 2 : 4);
    if (rounded || slot->weight->added != 0) {
        r->owned = calloc(1, view->bytes);
        if (!r->owned) return mosa_fail(err, MOSA_ENOMEM, "%.200s: out of memory", view->name ? view->name : "weight");
        step->memory.trained += view->bytes;
    }
    view->data = r->owned ? r->owned : step->weights + step->params.items[slot->param].offset + slot->begin;
    return MOSA_OK;
}

static mosa_status make_one(mosa_step *step, step_resident *r, mosa_error *err) {
    const step_slot *slot = &step->slots[r->slot];
    r->trained = slot->param >= 0;
    if (r->trained)
        MOSA_TRY(trained_view(step, r, err));
    else
        MOSA_TRY(mosa_model_training_data(slot->weight, step->options.quantize == MOSA_F32 ? NULL : step->pool,
                                          &r->view, &r->owned, err));
    unsigned uses = r->uses | (r->trained ? MOSA_WEIGHT_LIVE : 0u);
    mosa_status status = step->backend->ops->weight_create(step->backend, &r->view, uses, &r->weight, err);
    if (status != MOSA_OK) return mosa_fail_prefix(err, slot->weight->name);
    size_t bytes = step->backend->ops->weight_bytes(r->weight);
    bool in_place = r->uses & (MOSA_WEIGHT_TABLE | MOSA_WEIGHT_VECTOR);
    if (r->trained)
        step->memory.trained += bytes;
    else
        step->memory.base += bytes + (in_place ? r->view.bytes : 0);
    return MOSA_OK;
}

mosa_status mosa_step_make_resident(mosa_step *step, mosa_error *err) {
    step->resident = calloc((size_t)step->n_slots + 1, sizeof *step->resident);
    if (!step->resident) return mosa_fail(err, MOSA_ENOMEM, "step: out of memory");
    for (int32_t s = 0; s < step->n_slots; s++) {
        int32_t known = shared_with(step, s);
        if (known < 0) {
            known = step->n_resident++;
            step->resident[known].slot = s;
        }
        step->slots[s].resident = known;
        step->resident[known].uses |= uses_of(step, s);
    }
    for (int i = 0; i < step->n_resident; i++)
        if (step->resident[i].uses) MOSA_TRY(make_one(step, &step->resident[i], err));
    return MOSA_OK;
}

void mosa_step_free_resident(mosa_step *step) {
    for (int i = 0; i < step->n_resident; i++) {
        if (step->resident[i].weight) step->backend->ops->weight_destroy(step->backend, step->resident[i].weight);
        free(step->resident[i].owned);
    }
    free(step->resident);
}

typedef struct rounding {
    const float *from;
    const step_resident *r;
    float added;
    uint64_t stream; // of the random bits
    bool stochastic;
} rounding;

static uint16_t round_stochastic(float x, uint64_t bits) {
    uint32_t u = mosa_f32_bits(x);
    if ((u & 0x7f800000u) == 0x7f800000u) return mosa_bf16_from_f32(x);
    return (uint16_t)((u + (uint32_t)(bits & 0xffff)) >> 16);
}

static void round_share(void *arg, int thread, int n_threads) {
    const rounding *job = arg;
    int64_t n = job->r->view.n_elements;
    uint16_t *half = job->r->owned;
    float *whole = job->r->owned;
    for (int64_t i = n * thread / n_threads; i < n * (thread + 1) / n_threads; i++) {
        float x = job->from[i] + job->added;
        if (job->r->view.dtype == MOSA_F32)
            whole[i] = x;
        else
            half[i] =
                job->stochastic ? round_stochastic(x, mosa_rng_u64(job->stream, (uint64_t)i)) : mosa_bf16_from_f32(x);
    }
}

mosa_status mosa_step_refresh(mosa_step *step, bool stochastic, uint64_t seed, uint64_t number, mosa_error *err) {
    if (!step->backend->ops->weight_refresh)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: weights on this device cannot change", step->backend->ops->name);
    for (int i = 0; i < step->n_resident; i++) {
        step_resident *r = &step->resident[i];
        const step_slot *slot = &step->slots[r->slot];
        if (!r->trained || !r->weight) continue;
        rounding job = {.r = r, .stochastic = stochastic, .added = slot->lora ? 0 : slot->weight->added};
        job.from = step->weights + step->params.items[slot->param].offset + slot->begin;
        job.stream = mosa_rng_mix(seed ^ mosa_rng_mix(number * 65536 + (uint64_t)i));
        if (r->owned) mosa_pool_run(step->pool, round_share, &job);
        step->backend->ops->weight_refresh(step->backend, r->weight);
    }
    return MOSA_OK;
}
