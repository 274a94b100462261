// Optimiser objects: memory of the state, the loop over chunks, the state's tensors.
#include "train/optimizer_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[MOSA_OPTIMIZER_COUNT] = {"adamw", "adamw_8bit", "sgd", "muon"};

mosa_optimizer_options mosa_optimizer_defaults(mosa_optimizer_kind kind) {
    bool muon = kind == MOSA_OPTIMIZER_MUON;
    return (mosa_optimizer_options){.kind = kind,
                                    .beta1 = 0.9f,
                                    .beta2 = 0.999f,
                                    .eps = 1e-8f,
                                    .momentum = muon ? 0.95f : 0.9f,
                                    .nesterov = muon,
                                    .newton_schulz_steps = 5,
                                    .muon_lr_factor = 1};
}

const char *mosa_optimizer_name(mosa_optimizer_kind kind) {
    return kind_names[kind];
}

bool mosa_optimizer_from_name(const char *name, mosa_optimizer_kind *out) {
    static const struct {
        const char *name;
        mosa_optimizer_kind kind;
    } aliases[] = {{"adamw_torch", MOSA_OPTIMIZER_ADAMW},
                   {"adamw_torch_fused", MOSA_OPTIMIZER_ADAMW},
                   {"adamw_hf", MOSA_OPTIMIZER_ADAMW},
                   {"adamw_bnb_8bit", MOSA_OPTIMIZER_ADAMW_8BIT}};
    for (int kind = 0; kind < MOSA_OPTIMIZER_COUNT; kind++)
        if (strcmp(name, kind_names[kind]) == 0) return *out = (mosa_optimizer_kind)kind, true;
    for (size_t i = 0; i < MOSA_COUNT(aliases); i++)
        if (strcmp(name, aliases[i].name) == 0) return *out = aliases[i].kind, true;
    return false;
}

// --- state --------------------------------------------------------------------------------------------------------

static size_t blocks_of(const mosa_param *param) {
    return ((size_t)param->n + MOSA_MOMENT_BLOCK - 1) / MOSA_MOMENT_BLOCK;
}

static bool by_muon(const mosa_optimizer *optimizer, const mosa_param *param) {
    return optimizer->options.kind == MOSA_OPTIMIZER_MUON && param->matrix;
}

static bool by_codes(const mosa_optimizer *optimizer, const mosa_param *param) {
    return optimizer->options.kind == MOSA_OPTIMIZER_ADAMW_8BIT && param->n >= MOSA_MOMENT_SMALL;
}

// Takes 64-byte aligned room from *at; measures only when base is NULL.
static void *take(char *base, size_t *at, size_t bytes) {
    void *here = base ? base + *at : NULL;
    *at += (bytes + 63) / 64 * 64;
    return here;
}

static size_t carve(mosa_optimizer *optimizer, char *base) {
    size_t at = 0;
    for (size_t p = 0; p < optimizer->params->count; p++) {
        const mosa_param *param = &optimizer->params->items[p];
        mosa_moments *state = &optimizer->states[p];
        size_t n = (size_t)param->n, blocks = blocks_of(param);
        if (by_codes(optimizer, param)) {
            state->m8 = take(base, &at, n);
            state->v8 = take(base, &at, n);
            state->m_max = take(base, &at, blocks * sizeof(float));
            state->v_max = take(base, &at, blocks * sizeof(float));
            continue;
        }
        state->m = take(base, &at, n * sizeof(float));
        if (optimizer->options.kind != MOSA_OPTIMIZER_SGD && !by_muon(optimizer, param))
            state->v = take(base, &at, n * sizeof(float));
    }
    return at;
}

static void describe(mosa_optimizer *optimizer, const mosa_param *param, const char *suffix, mosa_dtype dtype,
                     void *data, bool *failed) {
    if (!data) return;
    mosa_train_tensor *tensor = &optimizer->tensors[optimizer->n_tensors++];
    *tensor = (mosa_train_tensor){.dtype = dtype, .n_dims = param->n_dims, .data = data};
    tensor->name = mosa_arena_printf(&optimizer->arena, "%s.%s", param->name, suffix);
    memcpy(tensor->dims, param->dims, sizeof tensor->dims);
    tensor->bytes = (size_t)param->n * (dtype == MOSA_U8 ? 1 : sizeof(float));
    *failed = *failed || !tensor->name;
}

static void describe_blocks(mosa_optimizer *optimizer, const mosa_param *param, const char *suffix, float *data,
                            bool *failed) {
    describe(optimizer, param, suffix, MOSA_F32, data, failed);
    if (!data) return;
    mosa_train_tensor *tensor = &optimizer->tensors[optimizer->n_tensors - 1];
    tensor->n_dims = 1;
    tensor->dims[0] = (int64_t)blocks_of(param);
    tensor->bytes = blocks_of(param) * sizeof(float);
}

static mosa_status describe_all(mosa_optimizer *optimizer, mosa_error *err) {
    enum { TENSORS_MAX = 4 }; // of one parameter
    bool failed = false;
    optimizer->tensors = calloc(optimizer->params->count * TENSORS_MAX + 1, sizeof *optimizer->tensors);
    if (!optimizer->tensors) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the optimiser's tensors");
    for (size_t p = 0; p < optimizer->params->count; p++) {
        const mosa_param *param = &optimizer->params->items[p];
        const mosa_moments *state = &optimizer->states[p];
        describe(optimizer, param, state->v ? "exp_avg" : "momentum_buffer", MOSA_F32, state->m, &failed);
        describe(optimizer, param, "exp_avg_sq", MOSA_F32, state->v, &failed);
        describe(optimizer, param, "exp_avg.codes", MOSA_U8, state->m8, &failed);
        describe(optimizer, param, "exp_avg_sq.codes", MOSA_U8, state->v8, &failed);
        describe_blocks(optimizer, param, "exp_avg.absmax", state->m_max, &failed);
        describe_blocks(optimizer, param, "exp_avg_sq.absmax", state->v_max, &failed);
    }
    return failed ? mosa_fail(err, MOSA_ENOMEM, "out of memory for the optimiser's tensors") : MOSA_OK;
}

static mosa_status check_options(const mosa_optimizer_options *o, mosa_error *err) {
    if (!(o->beta1 >= 0 && o->beta1 < 1)) return mosa_fail(err, MOSA_EINVALID, "adam_beta1 must be in [0, 1)");
    if (!(o->beta2 >= 0 && o->beta2 < 1)) return mosa_fail(err, MOSA_EINVALID, "adam_beta2 must be in [0, 1)");
    if (!(o->eps > 0)) return mosa_fail(err, MOSA_EINVALID, "adam_epsilon must be above 0");
    if (!(o->weight_decay >= 0)) return mosa_fail(err, MOSA_EINVALID, "weight_decay must not be negative");
    if (!(o->momentum >= 0 && o->momentum < 1)) return mosa_fail(err, MOSA_EINVALID, "momentum must be in [0, 1)");
    if (o->newton_schulz_steps < 1 || o->newton_schulz_steps > 99)
        return mosa_fail(err, MOSA_EINVALID, "Muon takes 1 to 99 Newton-Schulz steps, not %d", o->newton_schulz_steps);
    return MOSA_OK;
}

static mosa_status allocate(mosa_optimizer *optimizer, mosa_error *err) {
    const mosa_params *params = optimizer->params;
    optimizer->states = calloc(params->count + 1, sizeof *optimizer->states);
    if (!optimizer->states) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the optimiser");
    optimizer->memory_bytes = carve(optimizer, NULL);
    optimizer->memory = aligned_alloc(64, optimizer->memory_bytes + 64);
    if (!optimizer->memory)
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for %zu bytes of optimiser state", optimizer->memory_bytes);
    memset(optimizer->memory, 0, optimizer->memory_bytes);
    carve(optimizer, optimizer->memory);
    for (size_t p = 0; p < params->count; p++) {
        size_t floats = by_muon(optimizer, &params->items[p]) ? mosa_muon_scratch_floats(&params->items[p]) : 0;
        if (floats > optimizer->muon_floats) optimizer->muon_floats = floats;
    }
    optimizer->muon = optimizer->muon_floats ? malloc(optimizer->muon_floats * sizeof(float)) : NULL;
    if (optimizer->muon_floats && !optimizer->muon) return mosa_fail(err, MOSA_ENOMEM, "out of memory for Muon");
    return describe_all(optimizer, err);
}

mosa_status mosa_optimizer_create(const mosa_optimizer_options *options, const mosa_params *params, mosa_pool *pool,
                                  mosa_optimizer **out, mosa_error *err) {
    MOSA_TRY(check_options(options, err));
    mosa_optimizer *optimizer = calloc(1, sizeof *optimizer);
    if (!optimizer) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the optimiser");
    optimizer->options = *options;
    optimizer->params = params;
    optimizer->pool = pool;
    mosa_arena_init(&optimizer->arena, 0, 0);
    mosa_moment_codes_init();
    mosa_status status = allocate(optimizer, err);
    if (status == MOSA_OK)
        *out = optimizer;
    else
        mosa_optimizer_destroy(optimizer);
    return status;
}

void mosa_optimizer_destroy(mosa_optimizer *optimizer) {
    if (!optimizer) return;
    free(optimizer->states);
    free(optimizer->memory);
    free(optimizer->tensors);
    free(optimizer->muon);
    mosa_arena_finish(&optimizer->arena);
    free(optimizer);
}

int64_t mosa_optimizer_steps(const mosa_optimizer *optimizer) {
    return optimizer->steps;
}

void mosa_optimizer_set_steps(mosa_optimizer *optimizer, int64_t steps) {
    optimizer->steps = steps;
}

size_t mosa_optimizer_state_bytes(const mosa_optimizer *optimizer) {
    return optimizer->memory_bytes;
}

size_t mosa_optimizer_tensor_count(const mosa_optimizer *optimizer) {
    return optimizer->n_tensors;
}

const mosa_train_tensor *mosa_optimizer_tensor_at(const mosa_optimizer *optimizer, size_t index) {
    return &optimizer->tensors[index];
}

// --- a step -------------------------------------------------------------------------------------------------------

typedef struct step_job {
    mosa_optimizer *optimizer;
    float *weights;
    const float *grads;
    float lr, grad_scale;
    double bias1, sqrt_bias2;
} step_job;

static mosa_step_values values_of(const step_job *job, const mosa_param *param) {
    const mosa_optimizer_options *o = &job->optimizer->options;
    float lr = job->lr * param->lr_factor * (by_muon(job->optimizer, param) ? o->muon_lr_factor : 1);
    return (mosa_step_values){.lr = lr,
                              .grad_scale = job->grad_scale,
                              .weight_decay = param->decay ? o->weight_decay : 0,
                              .beta1 = o->beta1,
                              .beta2 = o->beta2,
                              .eps = o->eps,
                              .step_size = (float)(lr / job->bias1),
                              .sqrt_bias2 = (float)job->sqrt_bias2,
                              .momentum = o->momentum,
                              .nesterov = o->nesterov,
                              .first = job->optimizer->steps == 1};
}

static void step_chunks(void *arg, int thread, int n_threads) {
    const step_job *job = arg;
    const mosa_params *params = job->optimizer->params;
    size_t n = params->n_chunks, begin = n * thread / n_threads, end = n * (thread + 1) / n_threads;
    for (size_t c = begin; c < end; c++) {
        const mosa_param_chunk *chunk = &params->chunks[c];
        const mosa_param *param = &params->items[chunk->param];
        const mosa_moments *state = &job->optimizer->states[chunk->param];
        if (by_muon(job->optimizer, param)) continue;
        mosa_step_values s = values_of(job, param);
        size_t at = param->offset + (size_t)chunk->begin, block = (size_t)chunk->begin / MOSA_MOMENT_BLOCK;
        float *w = job->weights + at;
        const float *g = job->grads + at;
        if (state->m8)
            mosa_adamw_8bit_chunk(&s, w, g, state->m8 + chunk->begin, state->v8 + chunk->begin, state->m_max + block,
                                  state->v_max + block, chunk->count);
        else if (state->v)
            mosa_adamw_chunk(&s, w, g, state->m + chunk->begin, state->v + chunk->begin, chunk->count);
        else
            mosa_sgd_chunk(&s, w, g, state->m + chunk->begin, chunk->count);
    }
}

void mosa_optimizer_step(mosa_optimizer *optimizer, float *weights, const float *grads, float lr, float grad_scale) {
    double t = (double)++optimizer->steps;
    step_job job = {.optimizer = optimizer, .weights = weights, .grads = grads, .lr = lr, .grad_scale = grad_scale};
    job.bias1 = 1 - pow((double)optimizer->options.beta1, t);
    job.sqrt_bias2 = sqrt(1 - pow((double)optimizer->options.beta2, t));
    mosa_pool_run(optimizer->pool, step_chunks, &job);
    for (size_t p = 0; p < optimizer->params->count; p++) {
        const mosa_param *param = &optimizer->params->items[p];
        if (!by_muon(optimizer, param)) continue;
        mosa_step_values s = values_of(&job, param);
        mosa_muon_matrix(optimizer, &s, param, weights + param->offset, grads + param->offset, optimizer->states[p].m);
    }
}
