// Writing results, converting them where the wanted form is another, and comparing log-probabilities.
#include "cli/train_export.h"

#include "base/file.h"
#include "cli/convert.h"
#include "eval/eval_batch.h"
#include "train/export.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { EXAMPLES = 4, TOKENS_MAX = 512, ADAPTER_RANK_MAX = 4096 };

typedef struct exporting {
    const mosa_train_config *config;
    const mosa_train_plan *plan;
    const char *model;
    mosa_step *step;
    char *result;             // what the engine opens
    bool adapter;             // the result is beside the model
    double allowed, narrowed; // difference per token; narrowed: the result's type is narrower than what was computed
} exporting;

static bool is(const char *text, const char *word) {
    return strcmp(text, word) == 0;
}

static mosa_status no_memory(mosa_error *err) {
    return mosa_fail(err, MOSA_ENOMEM, "out of memory for the result");
}

mosa_status train_export_check(const mosa_train_config *config, const mosa_train_plan *plan, const mosa_step *step,
                               mosa_error *err) {
    if (is(config->export_format, "none")) return MOSA_OK;
    if (plan->lora && !is(config->export_format, "merged")) return MOSA_OK;
    if (mosa_export_check(step, plan->lora, err) == MOSA_OK) return MOSA_OK;
    return mosa_hint(err, "%s",
                     plan->lora ? "export_format hf keeps the adapter apart"
                                : "export_format none leaves the result in checkpoints");
}

// --- writing ------------------------------------------------------------------------------------------------------

static mosa_status convert_model(const char *from, const char *to, bool to_gguf, uint64_t shard_bytes,
                                 mosa_error *err) {
    mosa_arena arena;
    mosa_model_source *source;
    mosa_arena_init(&arena, 0, 0);
    convert_job job = {.in = from, .out = to, .to_gguf = to_gguf, .arena = &arena, .shard_bytes = shard_bytes};
    mosa_status status = to_gguf ? MOSA_OK : mosa_file_mkdirs(to, err);
    if (status == MOSA_OK) status = mosa_model_source_open(from, &source, err);
    if (status == MOSA_OK) {
        status = to_gguf ? convert_hf_to_gguf(&job, source, err) : convert_gguf_to_hf(&job, source, err);
        mosa_model_source_close(source);
    }
    mosa_gguf_writer_destroy(job.gguf);
    mosa_safetensors_writer_destroy(job.safetensors);
    mosa_arena_finish(&arena);
    return status;
}

// The whole model in its source's form, then, where the other form is wanted, converted beside it.
static mosa_status write_model(exporting *x, const mosa_export *how, mosa_error *err) {
    const char *run = x->config->output_dir;
    bool from_gguf = mosa_model_source_is_gguf(mosa_step_source(x->step));
    bool merged = is(x->config->export_format, "merged");
    bool to_gguf = merged ? from_gguf : is(x->config->export_format, "gguf");
    MOSA_AUTO_FREE char *folder = mosa_path_join(run, merged ? "merged" : from_gguf == to_gguf ? "." : "model");
    MOSA_AUTO_FREE char *file = mosa_path_join(run, merged ? "merged.gguf" : "model.gguf");
    if (!folder || !file) return no_memory(err);
    const char *native = from_gguf ? file : folder;
    MOSA_TRY(mosa_export_model(how, native, err));
    if (from_gguf != to_gguf) MOSA_TRY(convert_model(native, to_gguf ? file : run, to_gguf, how->shard_bytes, err));
    x->result = strdup(to_gguf ? file : merged ? folder : run);
    return x->result ? MOSA_OK : no_memory(err);
}

static mosa_status write_adapter(exporting *x, const mosa_export *how, mosa_error *err) {
    x->adapter = true;
    if (is(x->config->export_format, "gguf")) {
        x->result = mosa_path_join(x->config->output_dir, "adapter.gguf");
        return x->result ? mosa_export_gguf_lora(how, x->result, err) : no_memory(err);
    }
    x->result = strdup(x->config->output_dir);
    return x->result ? mosa_export_peft(how, x->config->output_dir, err) : no_memory(err);
}

static mosa_status write_result(exporting *x, mosa_error *err) {
    const mosa_train_config *c = x->config;
    mosa_export how = {.step = x->step,
                       .base = c->model_name_or_path ? c->model_name_or_path : "",
                       .rank = (int)c->lora_rank,
                       .alpha = (float)(c->lora_alpha ? c->lora_alpha : 2 * c->lora_rank),
                       .rslora = c->use_rslora,
                       .shard_bytes = (uint64_t)c->export_size,
                       .tokenizer =
                           c->tokenizer_name && mosa_file_is_dir(c->tokenizer_name) ? c->tokenizer_name : NULL};
    return x->plan->lora && !is(c->export_format, "merged") ? write_adapter(x, &how, err) : write_model(x, &how, err);
}

// --- reading back -------------------------------------------------------------------------------------------------

typedef struct sample {
    int32_t *tokens[EXAMPLES];
    int32_t count[EXAMPLES];
    double expected[EXAMPLES]; // sum of the log-probabilities of all tokens but the first
    int n;
} sample;

static mosa_status score_here(exporting *x, sample *s, mosa_error *err) {
    for (int i = 0; i < s->n; i++) {
        int32_t rows = s->count[i] - 1;
        mosa_step_segment segment = {0, rows};
        mosa_step_batch batch = {
            .rows = rows, .tokens = s->tokens[i], .labels = s->tokens[i] + 1, .n_segments = 1, .segments = &segment};
        const mosa_step_stats *stats;
        MOSA_TRY(mosa_step_forward(x->step, &batch, &stats, err));
        for (int32_t row = 0; row < rows; row++) s->expected[i] += stats[row].logp;
    }
    return MOSA_OK;
}

// Tokens of a sample at most: what a batch and the model hold, one more being generated.
static int32_t sample_tokens(const exporting *x, int32_t rows) {
    int64_t context = mosa_step_config(x->step)->context, most = rows + 1 < TOKENS_MAX ? rows + 1 : TOKENS_MAX;
    return (int32_t)(context - 1 < most ? context - 1 : most);
}

static mosa_status take_sample(const exporting *x, const train_set *train, int32_t rows, sample *s, mosa_error *err) {
    const mosa_store *store = train->stores[0];
    int32_t longest = mosa_store_get_info(store)->longest;
    MOSA_AUTO_FREE float *weight = malloc((size_t)longest * sizeof *weight);
    uint64_t n = mosa_store_get_info(store)->n_examples;
    if (!weight) return no_memory(err);
    for (s->n = 0; s->n < EXAMPLES && (uint64_t)s->n < n; s->n++) {
        mosa_train_example example;
        int32_t *ids = malloc((size_t)longest * sizeof *ids);
        s->tokens[s->n] = ids;
        if (!ids) return no_memory(err);
        MOSA_TRY(mosa_store_read(store, (uint64_t)s->n, ids, weight, &example, err));
        int32_t most = sample_tokens(x, rows);
        s->count[s->n] = example.n < most ? example.n : most;
    }
    return MOSA_OK;
}

static mosa_status score_there(exporting *x, const sample *s, mosa_engine *engine, mosa_eval_batch *batch,
                               mosa_error *err) {
    mosa_eval_options options = {.context = TOKENS_MAX, .adapter = x->adapter ? "adapter" : NULL};
    for (int i = 0; i < s->n; i++) {
        mosa_eval_job *job = mosa_eval_batch_add(batch);
        int32_t *copy = job ? malloc((size_t)s->count[i] * sizeof *copy) : NULL;
        if (!copy) return no_memory(err);
        memcpy(copy, s->tokens[i], (size_t)s->count[i] * sizeof *copy);
        job->tokens = copy;
        job->n_tokens = (size_t)s->count[i];
        job->score_from = 1;
    }
    return mosa_eval_batch_run(batch, engine, &options, err);
}

static mosa_status open_result(const exporting *x, mosa_engine **out, mosa_error *err) {
    const char *bits = x->config->quantization_bit;
    int64_t context = mosa_step_config(x->step)->context;
    mosa_engine_options options = {.model = x->adapter ? x->model : x->result,
                                   .device = x->config->device,
                                   .kv_type = x->config->kv_type,
                                   .quantize = x->adapter && bits ? (is(bits, "4") ? "q4_k" : "q8_0") : NULL,
                                   .threads = (int)x->config->threads,
                                   .context_tokens = context < TOKENS_MAX + 1 ? context : TOKENS_MAX + 1,
                                   .max_sequences = EXAMPLES,
                                   .max_adapters = x->adapter,
                                   .max_adapter_rank = x->adapter ? ADAPTER_RANK_MAX : 0};
    mosa_engine *engine;
    MOSA_TRY(mosa_engine_open(&options, &engine, err));
    mosa_status status = x->adapter ? mosa_engine_adapter_load(engine, "adapter", x->result, err) : MOSA_OK;
    if (status == MOSA_OK)
        *out = engine;
    else
        mosa_engine_close(engine);
    return status;
}

// How far a result may be from what was trained, per token: not at all, but for types that hold less.
static double allowed(const exporting *x) {
    const mosa_train_config *c = x->config;
    mosa_dtype type = mosa_model_source_main_dtype(mosa_step_source(x->step));
    bool narrow = type != MOSA_F32 || c->bf16 || c->pure_bf16;
    if (x->adapter) return 1e-3;
    return mosa_dtype_traits_of(type)->quantised ? 0.5 : narrow ? 0.1 : 1e-4;
}

static mosa_status compare(const exporting *x, const sample *s, const mosa_eval_batch *batch, char **verified,
                           mosa_error *err) {
    double worst = 0;
    int64_t tokens = 0;
    for (int i = 0; i < s->n; i++) {
        if (batch->jobs[i].refused)
            return mosa_fail(err, batch->jobs[i].error.status, "%s", batch->jobs[i].error.message);
        worst = fmax(worst, fabs(batch->jobs[i].logprob - s->expected[i]) / (s->count[i] - 1));
        tokens += s->count[i] - 1;
    }
    if (!(worst <= allowed(x)))
        return mosa_fail(err, MOSA_EINTERNAL,
                         "%s: read back, its log-probabilities differ by %.3g per token from those that were trained",
                         x->result, worst);
    bool equal = worst == 0;
    int done = equal ? asprintf(verified, "Read back: log-probabilities of %lld tokens are equal to the trained ones.",
                                (long long)tokens)
                     : asprintf(verified,
                                "Read back: log-probabilities of %lld tokens differ by at most %.2g per token from the "
                                "trained ones.",
                                (long long)tokens, worst);
    return done < 0 ? no_memory(err) : MOSA_OK;
}

static mosa_status verify(exporting *x, const train_set *train, int32_t rows, char **verified, mosa_error *err) {
    sample s = {0};
    mosa_eval_batch batch = {0};
    mosa_engine *engine = NULL;
    mosa_status status = take_sample(x, train, rows, &s, err);
    if (status == MOSA_OK) status = score_here(x, &s, err);
    if (status == MOSA_OK) status = open_result(x, &engine, err);
    if (status == MOSA_OK) status = score_there(x, &s, engine, &batch, err);
    if (status == MOSA_OK) status = compare(x, &s, &batch, verified, err);
    mosa_eval_batch_finish(&batch);
    mosa_engine_close(engine);
    for (int i = 0; i < EXAMPLES; i++) free(s.tokens[i]);
    return status;
}

mosa_status train_export(const mosa_train_config *config, const mosa_train_plan *plan, const char *model,
                         mosa_step *step, const train_set *train, int32_t rows, char **out, char **verified,
                         mosa_error *err) {
    exporting x = {.config = config, .plan = plan, .model = model, .step = step};
    *verified = NULL;
    mosa_status status = write_result(&x, err);
    if (status == MOSA_OK) status = verify(&x, train, rows, verified, err);
    if (status == MOSA_OK)
        *out = x.result;
    else
        free(x.result);
    return status;
}
