// Pieces of a decoder-only transformer, as graph builders.
#include "model/decoder.h"

#include "backend/backend.h"
#include "model/experts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mosa_decoder_init(mosa_decoder *decoder, const mosa_model_config *config, const mosa_model_source *source,
                       mosa_arena *arena) {
    *decoder = (mosa_decoder){.config = config, .source = source, .arena = arena};
}

mosa_status mosa_decoder_begin(mosa_decoder *d, mosa_error *err) {
    d->graph = mosa_graph_create(err);
    if (!d->graph) return err ? err->status : MOSA_ENOMEM;
    // A graph names each weight at most once per use; the bound holds every slot of every layer.
    d->cap_slots = MOSA_W_COUNT * (d->config->layers + 1) + 8;
    d->slot_weight = MOSA_ARENA_ARRAY(d->arena, int32_t, (size_t)d->cap_slots);
    if (!d->weights) {
        d->cap_weights = d->cap_slots;
        d->weights = MOSA_ARENA_ARRAY(d->arena, mosa_decoder_weight, (size_t)d->cap_weights);
    }
    if (!d->slot_weight || !d->weights) {
        mosa_graph_destroy(d->graph);
        d->graph = NULL;
        return mosa_fail(err, MOSA_ENOMEM, "out of memory while building the graph");
    }
    d->positions = d->rope_table = d->kv = MOSA_NO_VALUE;
    return MOSA_OK;
}

mosa_status mosa_decoder_end(mosa_decoder *d, mosa_graph **graph, int32_t **slot_weight, mosa_error *err) {
    mosa_graph *built = d->graph;
    d->graph = NULL;
    mosa_status status = d->error.status;
    if (status != MOSA_OK) {
        if (err) *err = d->error;
    } else {
        status = mosa_graph_status(built, err);
        if (status != MOSA_OK) mosa_fail_prefix(err, mosa_model_source_path(d->source));
    }
    if (status != MOSA_OK) {
        mosa_graph_destroy(built);
        return status;
    }
    *graph = built;
    *slot_weight = d->slot_weight;
    return MOSA_OK;
}

// The resident weight for a view: the one already listed, or a new entry.
static int list_weight(mosa_decoder *d, const mosa_tensor_view *view, const char *name) {
    for (int i = 0; i < d->n_weights; i++)
        if (d->weights[i].view.data == view->data) return i;
    if (d->n_weights == d->cap_weights) {
        mosa_fail(&d->error, MOSA_EINTERNAL, "more weights than the decoder planned for");
        return -1;
    }
    char *copy = mosa_arena_strdup(d->arena, name);
    if (!copy) {
        mosa_fail(&d->error, MOSA_ENOMEM, "out of memory while listing weights");
        return -1;
    }
    d->weights[d->n_weights] = (mosa_decoder_weight){.view = *view, .name = copy, .dtype = view->dtype};
    return d->n_weights++;
}

static mosa_value graph_weight(mosa_decoder *d, int index, mosa_shape shape) {
    if (index < 0 || d->graph->n_weights >= d->cap_slots) return MOSA_NO_VALUE;
    mosa_value value = mosa_graph_weight(d->graph, d->weights[index].name, d->weights[index].dtype, shape);
    if (value != MOSA_NO_VALUE) d->slot_weight[d->graph->values[value].slot] = index;
    return value;
}

// Leading dimensions of 1 are no difference: GGUF has [D] where Hugging Face has [1, D].
static bool same_shape(const mosa_tensor_view *view, const mosa_shape *shape) {
    int has = 0, wants = 0;
    while (has + 1 < (int)view->n_dims && view->dims[has] == 1) has++;
    while (wants + 1 < shape->ndim && shape->dim[wants] == 1) wants++;
    if ((int)view->n_dims - has != shape->ndim - wants) return false;
    for (int i = 0; wants + i < shape->ndim; i++)
        if (view->dims[has + i] != shape->dim[wants + i]) return false;
    return true;
}

static void print_dims(char *text, size_t size, const int64_t *dims, int count) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? " x " : "", (long long)dims[i]);
}

// Types to try in turn for rows of `k` elements: a K-quant needs whole super-blocks, q8_0 only whole blocks of 32.
static mosa_dtype quantized_dtype(const mosa_decoder *d, const mosa_tensor_view *view) {
    bool plain = view->dtype == MOSA_F32 || view->dtype == MOSA_F16 || view->dtype == MOSA_BF16;
    if (d->quantize == MOSA_F32 || !plain || view->n_dims < 2) return view->dtype;
    const mosa_dtype tries[] = {d->quantize, MOSA_Q8_0};
    for (size_t i = 0; i < MOSA_COUNT(tries); i++)
        if (view->dims[view->n_dims - 1] % mosa_dtype_traits_of(tries[i])->block_len == 0) return tries[i];
    return view->dtype;
}

// Vectors, and the biases of experts, are computed with in f32: the backend converts a stored f16 one when it makes it
// resident.
static bool is_vector(mosa_weight_slot slot, const mosa_shape *shape) {
    return shape->ndim == 1 || slot == MOSA_W_EXPERT_GATE_BIAS || slot == MOSA_W_EXPERT_UP_BIAS ||
           slot == MOSA_W_EXPERT_DOWN_BIAS;
}

static mosa_value add_weight(mosa_decoder *d, const mosa_tensor_view *found, mosa_weight_slot slot, int layer,
                             mosa_shape shape) {
    char name[MOSA_WEIGHT_NAME_MAX], has[64], wants[64];
    const char *path = mosa_model_source_path(d->source);
    mosa_model_source_weight_name(d->source, slot, layer, name);
    if (!same_shape(found, &shape)) {
        print_dims(has, sizeof has, found->dims, (int)found->n_dims);
        print_dims(wants, sizeof wants, shape.dim, shape.ndim);
        mosa_fail(&d->error, MOSA_ECORRUPT, "%s: tensor %s is %s, the configuration asks for %s", path, name, has,
                  wants);
        return MOSA_NO_VALUE;
    }
    if (!mosa_dtype_traits_of(found->dtype)->to_f32) {
        mosa_fail(&d->error, MOSA_EUNSUPPORTED, "%s: tensor %s has type %s, which is not supported", path, name,
                  mosa_dtype_name(found->dtype));
        return MOSA_NO_VALUE;
    }
    mosa_tensor_view view = *found;
    view.n_dims = (uint32_t)shape.ndim;
    for (int i = 0; i < MOSA_TENSOR_DIMS_MAX; i++) view.dims[i] = i < shape.ndim ? shape.dim[i] : 1;
    int index = list_weight(d, &view, name);
    if (index < 0) return MOSA_NO_VALUE;
    if (!is_vector(slot, &shape)) {
        if (mosa_weight_info_of(slot)->is_matrix) d->weights[index].dtype = quantized_dtype(d, &view);
        return graph_weight(d, index, shape);
    }
    d->weights[index].uses |= MOSA_WEIGHT_VECTOR;
    mosa_value value = graph_weight(d, index, shape);
    if (value != MOSA_NO_VALUE) d->graph->values[value].dtype = MOSA_F32;
    return value;
}

mosa_value mosa_decoder_weight_of(mosa_decoder *d, mosa_weight_slot slot, int layer, mosa_shape shape, bool required) {
    if (d->error.status != MOSA_OK || slot == MOSA_W_COUNT) return MOSA_NO_VALUE;
    const mosa_tensor_view *view = mosa_model_source_weight(d->source, slot, layer);
    if (view) return add_weight(d, view, slot, layer, shape);
    char name[MOSA_WEIGHT_NAME_MAX];
    if (required)
        mosa_fail(&d->error, MOSA_ECORRUPT, "%s: tensor %s is missing", mosa_model_source_path(d->source),
                  mosa_model_source_weight_name(d->source, slot, layer, name));
    return MOSA_NO_VALUE;
}

mosa_value mosa_decoder_stack(mosa_decoder *d, mosa_weight_slot slot, int layer, mosa_shape shape) {
    mosa_tensor_view view;
    bool found = false;
    if (d->error.status != MOSA_OK ||
        mosa_experts_find(d->source, d->arena, slot, layer, (int)shape.dim[0], &view, &found, &d->error) != MOSA_OK)
        return MOSA_NO_VALUE;
    if (!found) return mosa_decoder_weight_of(d, slot, layer, shape, true); // says that it is missing
    mosa_value value = add_weight(d, &view, slot, layer, shape);
    if (value != MOSA_NO_VALUE) d->weights[d->slot_weight[d->graph->values[value].slot]].uses |= MOSA_WEIGHT_MATRIX;
    return value;
}

mosa_value mosa_decoder_constant(mosa_decoder *d, const char *name, const float *data, int64_t count) {
    if (d->error.status != MOSA_OK) return MOSA_NO_VALUE;
    mosa_tensor_view view = {.name = name,
                             .dtype = MOSA_F32,
                             .n_dims = 1,
                             .n_elements = count,
                             .data = data,
                             .bytes = (size_t)count * sizeof(float)};
    view.dims[0] = count;
    int index = list_weight(d, &view, name);
    if (index < 0) return MOSA_NO_VALUE;
    d->weights[index].uses |= MOSA_WEIGHT_VECTOR;
    return graph_weight(d, index, MOSA_SHAPE1(count));
}

mosa_value mosa_decoder_matrix(mosa_decoder *d, mosa_weight_slot slot, int layer, int64_t out, int64_t in) {
    mosa_value value = mosa_decoder_weight_of(d, slot, layer, MOSA_SHAPE2(out, in), true);
    if (value != MOSA_NO_VALUE) d->weights[d->slot_weight[d->graph->values[value].slot]].uses |= MOSA_WEIGHT_MATRIX;
    return value;
}

mosa_value mosa_decoder_linear(mosa_decoder *d, mosa_value x, mosa_weight_slot slot, mosa_weight_slot bias_slot,
                               int layer, int64_t out, int64_t in) {
    mosa_value w = mosa_decoder_matrix(d, slot, layer, out, in);
    mosa_value bias = mosa_decoder_weight_of(d, bias_slot, layer, MOSA_SHAPE1(out), false);
    return d->error.status == MOSA_OK ? mosa_g_linear(d->graph, x, w, bias) : MOSA_NO_VALUE;
}

mosa_value mosa_decoder_norm(mosa_decoder *d, mosa_value x, mosa_weight_slot slot, int layer) {
    mosa_value w = mosa_decoder_weight_of(d, slot, layer, MOSA_SHAPE1(d->config->width), true);
    return mosa_g_rms_norm(d->graph, x, w, d->config->norm_eps);
}

static mosa_attrs attention_attrs(const mosa_model_config *c, int layer) {
    mosa_attrs attrs = {0};
    attrs.attention.heads = c->heads;
    attrs.attention.kv_heads = c->kv_heads;
    attrs.attention.head_width = c->head_width;
    attrs.attention.layer = layer;
    attrs.attention.window = layer >= c->window_from_layer ? c->window : 0;
    attrs.attention.scale = 1.0f / sqrtf((float)c->head_width);
    attrs.attention.causal = true;
    return attrs;
}

mosa_value mosa_decoder_attention(mosa_decoder *d, mosa_value x, int layer) {
    const mosa_model_config *c = d->config;
    int64_t q_width = (int64_t)c->heads * c->head_width, kv_width = (int64_t)c->kv_heads * c->head_width;
    mosa_value q = mosa_decoder_linear(d, x, MOSA_W_ATTN_Q, MOSA_W_ATTN_Q_BIAS, layer, q_width, c->width);
    mosa_value k = mosa_decoder_linear(d, x, MOSA_W_ATTN_K, MOSA_W_ATTN_K_BIAS, layer, kv_width, c->width);
    mosa_value v = mosa_decoder_linear(d, x, MOSA_W_ATTN_V, MOSA_W_ATTN_V_BIAS, layer, kv_width, c->width);
    if (c->qk_norm) {
        mosa_value q_norm = mosa_decoder_weight_of(d, MOSA_W_ATTN_Q_NORM, layer, MOSA_SHAPE1(c->head_width), true);
        mosa_value k_norm = mosa_decoder_weight_of(d, MOSA_W_ATTN_K_NORM, layer, MOSA_SHAPE1(c->head_width), true);
        q = mosa_g_head_rms_norm(d->graph, q, q_norm, c->norm_eps);
        k = mosa_g_head_rms_norm(d->graph, k, k_norm, c->norm_eps);
    }
    q = mosa_g_rope(d->graph, q, d->rope_table, c->head_width, c->rope_style);
    k = mosa_g_rope(d->graph, k, d->rope_table, c->head_width, c->rope_style);
    mosa_attrs attrs = attention_attrs(c, layer);
    d->kv = mosa_g_kv_write(d->graph, k, v, d->kv, &attrs);
    mosa_value mixed = mosa_g_attention_kv(d->graph, q, d->kv, &attrs);
    return mosa_decoder_linear(d, mixed, MOSA_W_ATTN_OUT, MOSA_W_ATTN_OUT_BIAS, layer, c->width, q_width);
}

mosa_value mosa_decoder_gated_ffn(mosa_decoder *d, mosa_value x, int layer) {
    const mosa_model_config *c = d->config;
    mosa_value gate = mosa_decoder_linear(d, x, MOSA_W_FFN_GATE, MOSA_W_FFN_GATE_BIAS, layer, c->ffn, c->width);
    mosa_value up = mosa_decoder_linear(d, x, MOSA_W_FFN_UP, MOSA_W_FFN_UP_BIAS, layer, c->ffn, c->width);
    mosa_value product = mosa_g_mul(d->graph, mosa_g_act(d->graph, gate, c->act), up);
    return mosa_decoder_linear(d, product, MOSA_W_FFN_DOWN, MOSA_W_FFN_DOWN_BIAS, layer, c->width, c->ffn);
}

mosa_value mosa_decoder_prenorm_block(mosa_decoder *d, mosa_value x, int layer) {
    mosa_value normed = mosa_decoder_norm(d, x, MOSA_W_ATTN_NORM, layer);
    x = mosa_g_add(d->graph, x, mosa_decoder_attention(d, normed, layer));
    normed = mosa_decoder_norm(d, x, MOSA_W_FFN_NORM, layer);
    return mosa_g_add(d->graph, x, mosa_decoder_gated_ffn(d, normed, layer));
}

void mosa_decoder_build_body(mosa_decoder *d, mosa_decoder_block_fn block) {
    const mosa_model_config *c = d->config;
    mosa_value tokens = mosa_graph_input(d->graph, "tokens", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    d->positions = mosa_graph_input(d->graph, "positions", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    d->kv = mosa_graph_state(d->graph, "kv");
    mosa_value inv_freq = mosa_decoder_constant(d, "rope.inv_freq", c->rope_inv_freq, c->rope_width / 2);
    d->rope_table = mosa_g_rope_table(d->graph, d->positions, inv_freq, c->rope_mscale);
    mosa_value table = mosa_decoder_weight_of(d, MOSA_W_TOKEN_EMBD, 0, MOSA_SHAPE2(c->vocab, c->width), true);
    if (table != MOSA_NO_VALUE) d->weights[d->slot_weight[d->graph->values[table].slot]].uses |= MOSA_WEIGHT_TABLE;
    mosa_value x = mosa_g_embed(d->graph, tokens, table);
    for (int layer = 0; layer < c->layers; layer++) x = block(d, x, layer);
    mosa_graph_output(d->graph, x);
}

void mosa_decoder_build_head(mosa_decoder *d) {
    const mosa_model_config *c = d->config;
    mosa_value hidden = mosa_graph_input(d->graph, "hidden", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, c->width));
    mosa_value normed = mosa_decoder_norm(d, hidden, MOSA_W_OUTPUT_NORM, 0);
    bool untied = mosa_model_source_weight(d->source, MOSA_W_OUTPUT, 0) != NULL;
    mosa_value w = mosa_decoder_matrix(d, untied ? MOSA_W_OUTPUT : MOSA_W_TOKEN_EMBD, 0, c->vocab, c->width);
    mosa_graph_output(d->graph, mosa_g_linear(d->graph, normed, w, MOSA_NO_VALUE));
}

void mosa_decoder_build_embed(mosa_decoder *d) {
    mosa_value hidden = mosa_graph_input(d->graph, "hidden", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, d->config->width));
    mosa_graph_output(d->graph, mosa_decoder_norm(d, hidden, MOSA_W_OUTPUT_NORM, 0));
}
