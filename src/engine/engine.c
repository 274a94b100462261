// Opening and closing an engine: backend, model, text side, KV pool, scheduler and every buffer of a step.
#include "engine/engine_internal.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    SEQUENCES_DEFAULT = 32,
    QUEUED_DEFAULT = 1024,
    ROWS_DEFAULT = 512,
    ROWS_DEFAULT_GPU = 2048, // 512 fill a quarter of its multiprocessors in some products
    DRAFT_DEFAULT = 8,
    DRAFT_MAX = 64,
    OUTPUTS_MAX = 64,
    SEQUENCES_MAX = 4096,
    ROWS_MAX = 65536,
    QUEUED_MAX = 1000000,
    ENCODER_ROWS = 8192, // of a step that an encoder's context may ask for
};

// --- options ------------------------------------------------------------------------------------------------------

static mosa_status check_options(mosa_engine_options *o, mosa_error *err) {
    if (!o->model) return mosa_fail(err, MOSA_EINVALID, "no model given");
    if (!o->device) o->device = "cpu";
    if (!o->kv_type) o->kv_type = "f16";
    if (!o->max_sequences) o->max_sequences = SEQUENCES_DEFAULT;
    if (!o->max_queued) o->max_queued = QUEUED_DEFAULT;
    if (!o->max_batch_tokens) o->max_batch_tokens = strncmp(o->device, "cpu", 3) ? ROWS_DEFAULT_GPU : ROWS_DEFAULT;
    if (o->draft_model && !*o->draft_model) o->draft_model = NULL;
    if (!o->speculate) o->speculate = o->draft_model ? "draft" : "off";
    if (!o->draft_tokens) o->draft_tokens = DRAFT_DEFAULT;
    if (o->draft_tokens < 1 || o->draft_tokens > DRAFT_MAX)
        return mosa_fail(err, MOSA_EINVALID, "draft_tokens is %d, must be 1 to %d", o->draft_tokens, DRAFT_MAX);
    if (o->max_batch_tokens < o->max_sequences) o->max_batch_tokens = o->max_sequences;
    if (o->max_sequences < 1 || o->max_sequences > SEQUENCES_MAX)
        return mosa_fail(err, MOSA_EINVALID, "max_sequences is %d, must be 1 to %d", o->max_sequences, SEQUENCES_MAX);
    if (o->max_batch_tokens < 1 || o->max_batch_tokens > ROWS_MAX)
        return mosa_fail(err, MOSA_EINVALID, "max_batch_tokens is %d, must be 1 to %d", o->max_batch_tokens, ROWS_MAX);
    if (o->max_queued < 1 || o->max_queued > QUEUED_MAX)
        return mosa_fail(err, MOSA_EINVALID, "max_queued is %d, must be 1 to %d", o->max_queued, QUEUED_MAX);
    if (o->max_adapters < 0 || o->max_adapters > MOSA_ADAPTERS_MAX)
        return mosa_fail(err, MOSA_EINVALID, "max_adapters is %d, must be 0 to %d", o->max_adapters, MOSA_ADAPTERS_MAX);
    if (!o->max_adapter_rank) o->max_adapter_rank = MOSA_ADAPTER_RANK_DEFAULT;
    if (o->max_adapter_rank < 1 || o->max_adapter_rank > MOSA_MODEL_ADAPTER_RANK_MAX)
        return mosa_fail(err, MOSA_EINVALID, "max_adapter_rank is %d, must be 1 to %d", o->max_adapter_rank,
                         MOSA_MODEL_ADAPTER_RANK_MAX);
    if (o->context_tokens < 0 || o->kv_memory_bytes < 0 || o->threads < 0)
        return mosa_fail(err, MOSA_EINVALID, "an engine option is negative");
    return MOSA_OK;
}

static mosa_status quantize_type(const mosa_engine_options *o, mosa_dtype *out, mosa_error *err) {
    *out = MOSA_F32;
    if (!o->quantize || !*o->quantize) return MOSA_OK;
    mosa_dtype type;
    if (mosa_dtype_from_name(o->quantize, &type) && (type == MOSA_Q8_0 || type == MOSA_Q4_K)) {
        *out = type;
        return MOSA_OK;
    }
    return mosa_fail(err, MOSA_EINVALID, "quantize is \"%s\", must be q8_0 or q4_k", o->quantize);
}

static mosa_status speculation_kind(const mosa_engine_options *o, mosa_speculation *out, mosa_error *err) {
    static const char *const names[] = {
        [MOSA_SPECULATE_OFF] = "off", [MOSA_SPECULATE_NGRAM] = "ngram", [MOSA_SPECULATE_DRAFT] = "draft"};
    for (size_t i = 0; i < MOSA_COUNT(names); i++) {
        if (strcmp(o->speculate, names[i]) != 0) continue;
        *out = (mosa_speculation)i;
        if (*out != MOSA_SPECULATE_DRAFT || o->draft_model) return MOSA_OK;
        mosa_fail(err, MOSA_EINVALID, "speculate is \"draft\", but no draft model is given");
        return mosa_hint(err, "name one with --draft-model, or take --speculate ngram");
    }
    return mosa_fail(err, MOSA_EINVALID, "speculate is \"%s\", must be off, ngram or draft", o->speculate);
}

// Rows that one run of the head takes: one of each sequence, and the guesses behind it.
static int head_rows(const mosa_engine_options *o, mosa_speculation speculation) {
    int64_t rows = (int64_t)o->max_sequences * (speculation == MOSA_SPECULATE_OFF ? 1 : 1 + o->draft_tokens);
    return rows < OUTPUTS_MAX ? (int)rows : OUTPUTS_MAX;
}

// --- open ---------------------------------------------------------------------------------------------------------

static mosa_status allocate_buffers(mosa_engine *e, const mosa_engine_options *o, mosa_error *err) {
    size_t rows = (size_t)e->max_rows, width = (size_t)e->limits.width;
    // A step reports at most every row, and what was cancelled anywhere.
    e->max_events = e->max_rows + 2 * o->max_sequences + o->max_queued;
    e->row_tokens = calloc(rows, sizeof *e->row_tokens);
    e->row_positions = calloc(rows, sizeof *e->row_positions);
    e->row_types = calloc(rows, sizeof *e->row_types);
    e->segments = calloc((size_t)o->max_sequences, sizeof *e->segments);
    e->step_adapters = calloc((size_t)o->max_sequences, sizeof(mosa_adapter *));
    e->wanted = calloc(rows, sizeof *e->wanted);
    e->picked = calloc((size_t)e->max_outputs, sizeof *e->picked);
    e->normed = calloc((size_t)e->max_outputs * width, sizeof *e->normed);
    e->draws = calloc((size_t)e->max_outputs, sizeof *e->draws);
    e->drawn = calloc((size_t)e->max_outputs, sizeof *e->drawn);
    e->row_logits = calloc((size_t)e->limits.vocab + 1, sizeof *e->row_logits);
    e->events = calloc((size_t)e->max_events, sizeof *e->events);
    e->text_offsets = calloc((size_t)e->max_events, sizeof *e->text_offsets);
    e->tops = calloc((size_t)e->max_events * MOSA_TOP_LOGPROBS_MAX, sizeof *e->tops);
    bool text_ok = mosa_buf_reserve(&e->step_text, rows * 256) && mosa_buf_reserve(&e->piece, 4096);
    bool rows_ok = e->picked && e->normed && e->draws && e->drawn && e->row_logits;
    if (e->row_tokens && e->row_positions && e->row_types && e->segments && e->step_adapters && e->wanted && rows_ok &&
        e->events && e->text_offsets && e->tops && text_ok)
        return MOSA_OK;
    return mosa_fail(err, MOSA_ENOMEM, "out of memory for the buffers of a step");
}

// Names come from files and paths; what leaves is UTF-8, cut between characters, with '?' for bytes that are none.
static void copy_text(char *to, size_t size, const char *from) {
    size_t left = from ? strlen(from) : 0, used = 0;
    for (const char *p = from; left > 0;) {
        size_t len = mosa_utf8_len((const unsigned char *)p, left), taken = len ? len : 1;
        if (used + taken >= size) break;
        memcpy(to + used, len ? p : "?", taken);
        used += taken;
        p += taken;
        left -= taken;
    }
    to[used] = '\0';
}

static void fill_info(mosa_engine *e) {
    const mosa_model_source *source = mosa_model_get_source(e->model);
    const mosa_model_config *c = mosa_model_get_config(e->model);
    mosa_engine_info *info = &e->info;
    copy_text(info->name, sizeof info->name, mosa_model_source_name(source));
    copy_text(info->architecture, sizeof info->architecture, mosa_model_source_arch(source));
    copy_text(info->quantization, sizeof info->quantization, mosa_dtype_name(mosa_model_source_main_dtype(source)));
    copy_text(info->device, sizeof info->device, e->backend->ops->describe(e->backend));
    info->parameters = mosa_model_source_parameters(source);
    info->train_context_tokens = c->context;
    info->vocab_size = (int)c->vocab;
    info->width = (int)c->width;
    info->layers = c->layers;
    info->weight_bytes = (int64_t)mosa_model_weight_bytes(e->model);
    info->scratch_bytes = (int64_t)mosa_model_scratch_bytes(e->model);
    info->can_embed = true;
    info->can_generate = !c->encoder;
    info->can_score = c->encoder && c->labels == 1;
    if (!e->draft.model) return;
    info->draft_weight_bytes = (int64_t)mosa_model_weight_bytes(e->draft.model);
    info->scratch_bytes += (int64_t)mosa_model_scratch_bytes(e->draft.model);
}

static mosa_status open_model(mosa_engine *e, const mosa_engine_options *o, mosa_error *err) {
    mosa_backend_options backend = {.device = o->device, .threads = o->threads};
    mosa_memory memory;
    mosa_memory_measure("", &memory);
    mosa_model_options model = {.path = o->model,
                                .threads = o->threads,
                                .context = o->context_tokens,
                                .max_rows = o->max_batch_tokens,
                                .encoder_rows = ENCODER_ROWS,
                                .max_outputs = e->max_outputs,
                                .memory_bytes = memory.total};
    if (o->max_adapters > 0) model.max_adapter_rank = o->max_adapter_rank;
    MOSA_TRY(quantize_type(o, &model.quantize, err));
    MOSA_TRY(mosa_backend_open(&backend, &e->backend, err));
    MOSA_TRY(mosa_model_text_open(o->model, NULL, &e->text, err));
    MOSA_TRY(mosa_model_open(e->backend, &model, &e->model, err));
    const mosa_model_config *c = mosa_model_get_config(e->model);
    if ((int64_t)mosa_tokenizer_size(mosa_model_text_tokenizer(e->text)) > c->vocab)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: the tokenizer has %zu tokens, the embedding table %lld", o->model,
                         mosa_tokenizer_size(mosa_model_text_tokenizer(e->text)), (long long)c->vocab);
    return MOSA_OK;
}

static mosa_status open_into(mosa_engine *e, const mosa_engine_options *o, mosa_error *err) {
    e->max_rows = o->max_batch_tokens;
    MOSA_TRY(speculation_kind(o, &e->speculation, err));
    e->draft_tokens = o->draft_tokens;
    e->max_outputs = head_rows(o, e->speculation);
    e->max_queued = o->max_queued;
    e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (e->wake_fd < 0) return mosa_fail_errno(err, errno, "cannot create an event descriptor");
    MOSA_TRY(open_model(e, o, err));
    const mosa_model_config *c = mosa_model_get_config(e->model);
    e->max_rows = (int)mosa_model_max_rows(e->model);
    if (e->speculation == MOSA_SPECULATE_DRAFT && !c->encoder) MOSA_TRY(mosa_draft_open(e, o, err));
    fill_info(e);
    mosa_kv_spec spec, draft_spec;
    MOSA_TRY(mosa_engine_size_memory(e, o, &spec, &draft_spec, err));
    if (!c->encoder) MOSA_TRY(e->backend->ops->kv_create(e->backend, &spec, &e->kv, err));
    if (e->draft.model) MOSA_TRY(mosa_draft_create_kv(e, &draft_spec, err));
    e->limits = (mosa_sequence_limits){.context_tokens = e->info.context_tokens,
                                       .page_tokens = MOSA_PAGE_TOKENS,
                                       .vocab = e->info.vocab_size,
                                       .width = e->info.width,
                                       .pooling = c->pooling,
                                       .token_types = c->token_types,
                                       .generates = e->info.can_generate,
                                       .scores = e->info.can_score,
                                       .tokenizer = mosa_model_text_tokenizer(e->text)};
    mosa_scheduler_options scheduler = {.pages = (int32_t)spec.pages,
                                        .page_tokens = MOSA_PAGE_TOKENS,
                                        .max_running = o->max_sequences,
                                        .max_queued = o->max_queued,
                                        .max_rows = e->max_rows,
                                        .share_prefixes = !o->no_prefix_cache,
                                        .whole_prompts = c->encoder,
                                        .mirrors = e->draft.model != NULL};
    MOSA_TRY(mosa_scheduler_init(&e->scheduler, &scheduler, err));
    MOSA_TRY(mosa_adapters_init(&e->adapters, e->model, o->max_adapters, err));
    MOSA_TRY(mosa_constraints_init(&e->constraints, e->text, (size_t)e->info.vocab_size, o->max_sequences, err));
    MOSA_TRY(mosa_sampler_init(&e->sampler, e->info.vocab_size, err));
    return allocate_buffers(e, o, err);
}

mosa_status mosa_engine_open(const mosa_engine_options *options, mosa_engine **out, mosa_error *err) {
    uint64_t begin = mosa_clock_ns();
    mosa_engine_options checked = *options;
    MOSA_TRY(check_options(&checked, err));
    mosa_engine *e = calloc(1, sizeof *e);
    if (!e) return mosa_fail(err, MOSA_ENOMEM, "out of memory for an engine");
    e->wake_fd = -1;
    atomic_store(&e->next_id, 1);
    mosa_status status = open_into(e, &checked, err);
    if (status != MOSA_OK) {
        mosa_engine_close(e);
        return status;
    }
    e->info.load_ns = (int64_t)(mosa_clock_ns() - begin);
    *out = e;
    return MOSA_OK;
}

static void free_buffers(mosa_engine *e) {
    free(e->row_tokens);
    free(e->row_positions);
    free(e->row_types);
    free(e->segments);
    free(e->step_adapters);
    free(e->wanted);
    free(e->picked);
    free(e->normed);
    free(e->draws);
    free(e->drawn);
    free(e->row_logits);
    free(e->events);
    free(e->text_offsets);
    free(e->tops);
    mosa_buf_finish(&e->step_text);
    mosa_buf_finish(&e->piece);
}

void mosa_engine_close(mosa_engine *e) {
    if (!e) return;
    if (e->scheduler.running) mosa_engine_drain_inbox(e);
    while (e->finished) {
        mosa_sequence *next = e->finished->next;
        mosa_sequence_destroy(e->finished);
        e->finished = next;
    }
    mosa_scheduler_finish(&e->scheduler);
    mosa_constraints_finish(&e->constraints);
    mosa_adapters_finish(&e->adapters);
    mosa_sampler_finish(&e->sampler);
    free_buffers(e);
    if (e->kv) e->backend->ops->kv_destroy(e->backend, e->kv);
    mosa_draft_close(e);
    mosa_model_close(e->model);
    mosa_model_text_close(e->text);
    if (e->backend) e->backend->ops->destroy(e->backend);
    if (e->wake_fd >= 0) close(e->wake_fd);
    free(e);
}

mosa_status mosa_engine_adapter_load(mosa_engine *engine, const char *name, const char *path, mosa_error *err) {
    return mosa_adapters_load(&engine->adapters, name, path, err);
}
mosa_status mosa_engine_adapter_unload(mosa_engine *engine, const char *name, mosa_error *err) {
    return mosa_adapters_unload(&engine->adapters, name, err);
}
int mosa_engine_get_adapters(mosa_engine *engine, mosa_adapter_info *out, int capacity) {
    return mosa_adapters_list(&engine->adapters, out, capacity);
}

void mosa_engine_get_info(const mosa_engine *engine, mosa_engine_info *info) {
    *info = engine->info;
}

void mosa_engine_get_stats(const mosa_engine *engine, mosa_engine_stats *stats) {
    const mosa_engine_counters *c = &engine->counters;
    *stats = (mosa_engine_stats){
        .steps = atomic_load_explicit(&c->steps, memory_order_relaxed),
        .prompt_tokens = atomic_load_explicit(&c->prompt_tokens, memory_order_relaxed),
        .cached_tokens = atomic_load_explicit(&c->cached_tokens, memory_order_relaxed),
        .generated_tokens = atomic_load_explicit(&c->generated_tokens, memory_order_relaxed),
        .finished = atomic_load_explicit(&c->finished, memory_order_relaxed),
        .cancelled = atomic_load_explicit(&c->cancelled, memory_order_relaxed),
        .failed = atomic_load_explicit(&c->failed, memory_order_relaxed),
        .preemptions = atomic_load_explicit(&c->preemptions, memory_order_relaxed),
        .drafted = atomic_load_explicit(&c->drafted, memory_order_relaxed),
        .accepted = atomic_load_explicit(&c->accepted, memory_order_relaxed),
        .running = (int)atomic_load_explicit(&c->running, memory_order_relaxed),
        .waiting = (int)atomic_load_explicit(&c->waiting, memory_order_relaxed),
        .pages_used = atomic_load_explicit(&c->pages_used, memory_order_relaxed),
        .pages_cached = atomic_load_explicit(&c->pages_cached, memory_order_relaxed),
        .pages_total = engine->info.kv_pages,
        .step_ns_last = atomic_load_explicit(&c->step_ns_last, memory_order_relaxed),
        .step_ns_total = atomic_load_explicit(&c->step_ns_total, memory_order_relaxed),
    };
}
