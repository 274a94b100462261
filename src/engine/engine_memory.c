// How much memory for what: KV pages from the model, the machine and the options.
#include "engine/engine_internal.h"

#include "base/memory.h"

enum { CONTEXT_SERVED_DEFAULT = 4096 }; // tokens per sequence that the default KV pool is sized for

static int64_t min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t max_i64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int64_t pages_for(int64_t tokens) {
    return (tokens + MOSA_PAGE_TOKENS - 1) / MOSA_PAGE_TOKENS;
}

static mosa_status kv_dtype(const mosa_engine_options *o, mosa_dtype *out, mosa_error *err) {
    if (mosa_dtype_from_name(o->kv_type, out) && (*out == MOSA_F32 || *out == MOSA_F16 || *out == MOSA_Q8_0))
        return MOSA_OK;
    return mosa_fail(err, MOSA_EINVALID, "kv_type is \"%s\", must be f16, f32 or q8_0", o->kv_type);
}

static mosa_kv_spec kv_spec_of(const mosa_model *model, mosa_dtype dtype) {
    const mosa_model_config *c = mosa_model_get_config(model);
    return (mosa_kv_spec){.layers = c->layers,
                          .kv_heads = c->kv_heads,
                          .head_width = c->head_width,
                          .value_width = c->value_width,
                          .value_in_key = c->value_in_key,
                          .page_tokens = MOSA_PAGE_TOKENS,
                          .dtype = dtype};
}

// What is left for pages. Weights that are read in place count as a cache of files, which the kernel calls available:
// they are taken off the whole.
static int64_t memory_left(const mosa_engine *e) {
    mosa_memory memory;
    int64_t total, unused;
    mosa_status (*of_device)(mosa_backend *, int64_t *, int64_t *, mosa_error *) = e->backend->ops->memory;
    // Nothing but pages is still to come on a device of its own.
    if (of_device) return of_device(e->backend, &total, &unused, NULL) == MOSA_OK ? unused : 0;
    mosa_memory_measure("", &memory);
    int64_t left = memory.total - e->info.weight_bytes - e->info.draft_weight_bytes - e->info.scratch_bytes;
    return max_i64(min_i64(left, memory.available), 0);
}

static mosa_status check_context(const mosa_engine *e, int64_t context, mosa_error *err) {
    int64_t most = mosa_model_get_config(e->model)->context;
    if (context <= most) return MOSA_OK;
    mosa_fail(err, MOSA_EINVALID, "a context of %lld tokens is more than the %lld that the model was made for",
              (long long)context, (long long)most);
    return mosa_hint(err, "lower --ctx");
}

// Pages for the asked memory; by default for max_sequences of ordinary length and at least one full context, within
// half of what the machine has left. Never more than the sequences can fill.
static int64_t choose_pages(const mosa_engine_options *o, int64_t context, int64_t page_bytes, int64_t left) {
    int64_t most = o->max_sequences * pages_for(context);
    int64_t wanted = pages_for(max_i64(context, min_i64(context, CONTEXT_SERVED_DEFAULT) * o->max_sequences));
    int64_t pages = o->kv_memory_bytes ? o->kv_memory_bytes / page_bytes : min_i64(wanted, left / 2 / page_bytes);
    return min_i64(min_i64(pages, most), INT32_MAX / 2);
}

static mosa_status check_pages(const mosa_engine_options *o, int64_t pages, int64_t page_bytes, int64_t context,
                               int64_t left, mosa_error *err) {
    int64_t memory = o->kv_memory_bytes ? o->kv_memory_bytes : left / 2;
    if (pages < 1) {
        mosa_fail(err, MOSA_ELIMIT, "%lld bytes do not hold one KV page of %lld bytes (kv_memory_bytes)",
                  (long long)memory, (long long)page_bytes);
        return mosa_hint(err, o->kv_memory_bytes ? "raise --kv-memory" : "free memory, or take a smaller model");
    }
    if (o->context_tokens && pages < pages_for(context)) {
        mosa_fail(err, MOSA_ELIMIT, "a context of %lld tokens needs %lld bytes of KV pages, there are %lld",
                  (long long)context, (long long)(pages_for(context) * page_bytes), (long long)memory);
        return mosa_hint(err, "lower --ctx or raise --kv-memory");
    }
    if (pages * page_bytes > left) {
        mosa_fail(err, MOSA_ELIMIT, "KV pages of %lld bytes do not fit: beside the weights there are %lld bytes left",
                  (long long)(pages * page_bytes), (long long)left);
        return mosa_hint(err, "lower --kv-memory, --ctx or --max-seqs");
    }
    return MOSA_OK;
}

static mosa_status size_decoder(mosa_engine *e, const mosa_engine_options *o, mosa_kv_spec *spec,
                                mosa_kv_spec *draft_spec, mosa_error *err) {
    mosa_dtype dtype;
    int64_t context = o->context_tokens ? o->context_tokens : mosa_model_get_config(e->model)->context;
    MOSA_TRY(kv_dtype(o, &dtype, err));
    MOSA_TRY(check_context(e, context, err));
    *spec = kv_spec_of(e->model, dtype);
    int64_t page_bytes = (int64_t)e->backend->ops->kv_page_bytes(spec);
    if (e->draft.model) {
        *draft_spec = kv_spec_of(e->draft.model, dtype);
        page_bytes += (int64_t)e->backend->ops->kv_page_bytes(draft_spec);
    }
    int64_t left = memory_left(e), pages = choose_pages(o, context, page_bytes, left);
    MOSA_TRY(check_pages(o, pages, page_bytes, context, left, err));
    spec->pages = draft_spec->pages = pages;
    e->info.context_tokens = min_i64(context, pages * MOSA_PAGE_TOKENS);
    e->info.kv_bytes = pages * page_bytes;
    e->info.kv_token_bytes = page_bytes / MOSA_PAGE_TOKENS;
    e->info.kv_pages = pages;
    e->info.page_tokens = MOSA_PAGE_TOKENS;
    return MOSA_OK;
}

// An encoder has no pages; a sequence must fit into a step.
static mosa_status size_encoder(mosa_engine *e, const mosa_engine_options *o, mosa_error *err) {
    int64_t trained = mosa_model_get_config(e->model)->context, context = min_i64(trained, e->max_rows);
    if (o->context_tokens > context) {
        mosa_fail(err, MOSA_EINVALID, "a context of %lld tokens is more than the %lld that this encoder takes at once",
                  (long long)o->context_tokens, (long long)context);
        return mosa_hint(err, o->context_tokens > trained ? "lower --ctx" : "lower --ctx or raise --max-batch-tokens");
    }
    e->info.context_tokens = o->context_tokens ? o->context_tokens : context;
    e->info.page_tokens = MOSA_PAGE_TOKENS;
    return MOSA_OK;
}

mosa_status mosa_engine_size_memory(mosa_engine *e, const mosa_engine_options *o, mosa_kv_spec *spec,
                                    mosa_kv_spec *draft_spec, mosa_error *err) {
    *spec = *draft_spec = (mosa_kv_spec){.pages = 1};
    if (mosa_model_get_config(e->model)->encoder) return size_encoder(e, o, err);
    return size_decoder(e, o, spec, draft_spec, err);
}
