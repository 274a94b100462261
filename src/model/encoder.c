// Encoders as graphs.
#include "model/encoder.h"

#include "backend/backend.h"

#include <math.h>

// Rows of a table that the file may lack; a table that is no matrix counts none.
static int64_t table_rows(const mosa_model_source *source, mosa_weight_slot slot) {
    const mosa_tensor_view *view = mosa_model_source_weight(source, slot, 0);
    return view && view->n_dims == 2 ? view->dims[0] : 0;
}

mosa_status mosa_encoder_config_read(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    enum { TYPES_MAX = 1024, LABELS_MAX = 65536 };
    int64_t positions = table_rows(source, MOSA_W_POSITION_EMBD), types = table_rows(source, MOSA_W_TOKEN_TYPES);
    int64_t labels = table_rows(source, MOSA_W_CLASSIFIER);
    const char *path = mosa_model_source_path(source);
    const mosa_hf_config *hf = mosa_model_source_hf_config(source);
    const char *eps = hf && mosa_hf_config_has(hf, "layer_norm_epsilon") ? "layer_norm_epsilon" : "layer_norm_eps";
    MOSA_TRY(mosa_model_config_number(source, "attention.layer_norm_epsilon", eps, 1e-12, &config->norm_eps, err));
    if (!(config->norm_eps >= 0))
        return mosa_fail(err, MOSA_EINVALID, "%s: the epsilon of norms is %g", path, (double)config->norm_eps);
    if (types > TYPES_MAX || labels > LABELS_MAX)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: %lld types of tokens and %lld labels are not supported", path,
                         (long long)types, (long long)labels);
    config->learned_positions = positions > 0;
    config->token_types = (int)types;
    config->labels = (int)labels;
    if (!config->learned_positions) return MOSA_OK;
    if (positions <= config->position_offset || positions > MOSA_MODEL_CONTEXT_MAX)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: a table of %lld positions is not supported", path,
                         (long long)positions);
    config->context = positions - config->position_offset;
    return MOSA_OK;
}

static mosa_value layer_norm(mosa_decoder *d, mosa_value x, mosa_weight_slot slot, mosa_weight_slot bias_slot,
                             int layer) {
    mosa_shape shape = MOSA_SHAPE1(d->config->width);
    mosa_value w = mosa_decoder_weight_of(d, slot, layer, shape, true);
    mosa_value bias = mosa_decoder_weight_of(d, bias_slot, layer, shape, false);
    return mosa_g_layer_norm(d->graph, x, w, bias, d->config->norm_eps);
}

static mosa_value attention(mosa_decoder *d, mosa_value x, int layer) {
    const mosa_model_config *c = d->config;
    mosa_value q, k, v;
    mosa_decoder_project_qkv(d, x, layer, &q, &k, &v);
    if (!c->learned_positions) {
        q = mosa_g_rope(d->graph, q, d->rope_table, c->head_width, c->rope_style);
        k = mosa_g_rope(d->graph, k, d->rope_table, c->head_width, c->rope_style);
    }
    mosa_attrs attrs = {0};
    attrs.attention.heads = c->heads;
    attrs.attention.kv_heads = c->kv_heads;
    attrs.attention.head_width = c->head_width;
    attrs.attention.scale = 1.0f / sqrtf((float)c->head_width);
    mosa_value mixed = mosa_g_attention(d->graph, q, k, v, &attrs);
    return mosa_decoder_linear(d, mixed, MOSA_W_ATTN_OUT, MOSA_W_ATTN_OUT_BIAS, layer, c->width,
                               (int64_t)c->heads * c->head_width);
}

static mosa_value plain_ffn(mosa_decoder *d, mosa_value x, int layer) {
    const mosa_model_config *c = d->config;
    mosa_value up = mosa_decoder_linear(d, x, MOSA_W_FFN_UP, MOSA_W_FFN_UP_BIAS, layer, c->ffn, c->width);
    up = mosa_g_act(d->graph, up, c->act);
    return mosa_decoder_linear(d, up, MOSA_W_FFN_DOWN, MOSA_W_FFN_DOWN_BIAS, layer, c->width, c->ffn);
}

mosa_value mosa_encoder_block(mosa_decoder *d, mosa_value x, int layer) {
    mosa_value y = mosa_g_add(d->graph, x, attention(d, x, layer));
    x = layer_norm(d, y, MOSA_W_ATTN_OUT_NORM, MOSA_W_ATTN_OUT_NORM_BIAS, layer);
    bool gated = mosa_model_source_weight(d->source, MOSA_W_FFN_GATE, layer) != NULL;
    y = mosa_g_add(d->graph, x, gated ? mosa_decoder_gated_ffn(d, x, layer) : plain_ffn(d, x, layer));
    return layer_norm(d, y, MOSA_W_LAYER_OUT_NORM, MOSA_W_LAYER_OUT_NORM_BIAS, layer);
}

// Adds rows [begin, total) of a table, by an index of their own, to the tokens' rows.
static mosa_value add_rows(mosa_decoder *d, mosa_value x, mosa_value index, mosa_weight_slot slot, int64_t total,
                           int64_t begin) {
    mosa_shape shape = MOSA_SHAPE2(total, d->config->width);
    mosa_value table = mosa_decoder_weight_rows(d, slot, 0, shape, begin, total - begin, true);
    return mosa_g_add(d->graph, x, mosa_g_embed(d->graph, index, mosa_decoder_use(d, table, MOSA_WEIGHT_TABLE)));
}

void mosa_encoder_build_body(mosa_decoder *d, mosa_decoder_block_fn block) {
    const mosa_model_config *c = d->config;
    mosa_value tokens = mosa_graph_input(d->graph, "tokens", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    d->positions = mosa_graph_input(d->graph, "positions", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    mosa_value x = mosa_decoder_embed_tokens(d, tokens);
    if (c->learned_positions)
        x = add_rows(d, x, d->positions, MOSA_W_POSITION_EMBD, c->context + c->position_offset, c->position_offset);
    else
        mosa_decoder_rope_tables(d);
    if (c->token_types > 0) {
        mosa_value types = mosa_graph_input(d->graph, "types", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
        x = add_rows(d, x, types, MOSA_W_TOKEN_TYPES, c->token_types, 0);
    }
    x = layer_norm(d, x, MOSA_W_EMBD_NORM, MOSA_W_EMBD_NORM_BIAS, 0);
    for (int layer = 0; layer < c->layers; layer++) x = block(d, x, layer);
    mosa_graph_output(d->graph, x);
}

void mosa_encoder_build_score(mosa_decoder *d) {
    const mosa_model_config *c = d->config;
    mosa_value x = mosa_graph_input(d->graph, "hidden", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, c->width));
    if (mosa_model_source_weight(d->source, MOSA_W_CLASSIFIER_DENSE, 0)) {
        x = mosa_decoder_linear(d, x, MOSA_W_CLASSIFIER_DENSE, MOSA_W_CLASSIFIER_DENSE_BIAS, 0, c->width, c->width);
        x = mosa_g_act(d->graph, x, MOSA_ACT_TANH);
    }
    x = mosa_decoder_linear(d, x, MOSA_W_CLASSIFIER, MOSA_W_CLASSIFIER_BIAS, 0, c->labels, c->width);
    mosa_graph_output(d->graph, mosa_g_act(d->graph, x, MOSA_ACT_SIGMOID));
}
