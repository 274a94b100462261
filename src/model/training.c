// A model's graph for training.
#include "model/training.h"

#include "model/model_internal.h"

#include <string.h>

static mosa_status build(mosa_model_training *t, const mosa_model_training_options *options, mosa_error *err) {
    const mosa_family *family;
    MOSA_TRY(mosa_model_source_open(options->path, &t->source, err));
    MOSA_TRY(mosa_model_describe(t->source, options->context, &t->arena, &family, &t->config, err));
    if (t->config.encoder) return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: encoders cannot be trained", options->path);
    mosa_decoder decoder;
    mosa_decoder_init(&decoder, &t->config, t->source, &t->arena);
    decoder.quantize = options->quantize;
    decoder.packed = true;
    decoder.kv_dtype = options->kv_dtype;
    MOSA_TRY(mosa_decoder_begin(&decoder, err));
    mosa_decoder_build_training(&decoder, family->block);
    MOSA_TRY(mosa_decoder_end(&decoder, &t->graph, &t->slot_weight, err));
    t->weights = decoder.weights;
    t->n_weights = decoder.n_weights;
    return MOSA_OK;
}

mosa_status mosa_model_training_init(mosa_model_training *t, const mosa_model_training_options *options,
                                     mosa_error *err) {
    memset(t, 0, sizeof *t);
    mosa_arena_init(&t->arena, 0, 0);
    mosa_status status = build(t, options, err);
    if (status != MOSA_OK) mosa_model_training_finish(t);
    return status;
}

void mosa_model_training_finish(mosa_model_training *t) {
    mosa_graph_destroy(t->graph);
    mosa_model_source_close(t->source);
    mosa_arena_finish(&t->arena);
    memset(t, 0, sizeof *t);
}

mosa_status mosa_model_training_data(const mosa_decoder_weight *weight, mosa_pool *pool, mosa_tensor_view *view,
                                     void **owned, mosa_error *err) {
    return mosa_model_weight_data(pool, weight, view, owned, err);
}

// Whether `target` is `name`, `name` less ".weight", or a run of its parts between dots.
static bool names(const char *name, const char *target) {
    size_t n = strlen(target);
    for (const char *at = strstr(name, target); n > 0 && at; at = strstr(at + 1, target))
        if ((at == name || at[-1] == '.') && (at[n] == '\0' || at[n] == '.')) return true;
    return false;
}

bool mosa_model_training_named(const mosa_model_training *t, const mosa_decoder_weight *weight, const char *target) {
    static const mosa_naming namings[] = {MOSA_NAMING_GGUF, MOSA_NAMING_HF};
    char name[MOSA_WEIGHT_NAME_MAX];
    if (weight->slot == MOSA_W_COUNT) return false;
    if (names(weight->tensor ? weight->tensor->name : weight->name, target)) return true;
    for (size_t i = 0; i < MOSA_COUNT(namings); i++)
        if (mosa_weight_name(namings[i], NULL, weight->slot, weight->layer < 0 ? 0 : weight->layer, name) &&
            names(name, target))
            return true;
    (void)t;
    return false;
}
