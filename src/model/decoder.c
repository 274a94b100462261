// Graphs under construction and the weights that they name. The pieces of a transformer are in decoder_pieces.c.
#include "model/decoder.h"

#include "backend/backend.h"
#include "model/experts.h"

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
    d->positions = d->rope_table = d->rope_local_table = d->kv = MOSA_NO_VALUE;
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

// Index of the weight listed under a name, or -1. Names are the file's, so that equal names are equal data.
static int find_weight(const mosa_decoder *d, const char *name) {
    for (int i = 0; i < d->n_weights; i++)
        if (strcmp(d->weights[i].name, name) == 0) return i;
    return -1;
}

// The resident weight for a view: the one already listed, or a new entry.
static int list_weight(mosa_decoder *d, const mosa_tensor_view *view, const char *name) {
    int known = find_weight(d, name);
    if (known >= 0) return known;
    if (d->n_weights == d->cap_weights) {
        mosa_fail(&d->error, MOSA_EINTERNAL, "more weights than the decoder planned for");
        return -1;
    }
    char *copy = mosa_arena_strdup(d->arena, name);
    if (!copy) {
        mosa_fail(&d->error, MOSA_ENOMEM, "out of memory while listing weights");
        return -1;
    }
    d->weights[d->n_weights] =
        (mosa_decoder_weight){.view = *view, .name = copy, .dtype = view->dtype, .slot = MOSA_W_COUNT};
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

// False, with d->error, when a tensor of the file is not what the configuration asks for.
static bool check_view(mosa_decoder *d, const mosa_tensor_view *view, const char *name, const mosa_shape *shape) {
    char has[64], wants[64];
    const char *path = mosa_model_source_path(d->source);
    if (!same_shape(view, shape)) {
        print_dims(has, sizeof has, view->dims, (int)view->n_dims);
        print_dims(wants, sizeof wants, shape->dim, shape->ndim);
        mosa_fail(&d->error, MOSA_ECORRUPT, "%s: tensor %s is %s, the configuration asks for %s", path, name, has,
                  wants);
        return false;
    }
    if (mosa_dtype_traits_of(view->dtype)->to_f32) return true;
    mosa_fail(&d->error, MOSA_EUNSUPPORTED, "%s: tensor %s has type %s, which is not supported", path, name,
              mosa_dtype_name(view->dtype));
    return false;
}

// The file's tensor for a slot, checked; NULL when absent, or with d->error when that is a fault.
static const mosa_tensor_view *find_view(mosa_decoder *d, mosa_weight_slot slot, int layer, mosa_shape shape,
                                         bool required, char name[MOSA_WEIGHT_NAME_MAX]) {
    if (d->error.status != MOSA_OK || slot == MOSA_W_COUNT) return NULL;
    mosa_model_source_weight_name(d->source, slot, layer, name);
    const mosa_tensor_view *view = mosa_model_source_weight(d->source, slot, layer);
    if (view) return check_view(d, view, name, &shape) ? view : NULL;
    if (required)
        mosa_fail(&d->error, MOSA_ECORRUPT, "%s: tensor %s is missing", mosa_model_source_path(d->source), name);
    return NULL;
}

static mosa_value add_weight(mosa_decoder *d, const mosa_tensor_view *found, mosa_weight_slot slot, const char *name,
                             mosa_shape shape) {
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

// Notes where a weight comes from; NULL for the tensor of one that is made.
static mosa_value came_from(mosa_decoder *d, mosa_value value, mosa_weight_slot slot, int layer,
                            const mosa_tensor_view *tensor, int64_t row) {
    if (value == MOSA_NO_VALUE) return value;
    mosa_decoder_weight *weight = &d->weights[d->slot_weight[d->graph->values[value].slot]];
    weight->slot = slot;
    weight->layer = mosa_weight_info_of(slot)->per_layer ? layer : -1;
    weight->tensor = tensor;
    weight->row = row;
    return value;
}

mosa_value mosa_decoder_weight_of(mosa_decoder *d, mosa_weight_slot slot, int layer, mosa_shape shape, bool required) {
    char name[MOSA_WEIGHT_NAME_MAX];
    const mosa_tensor_view *view = find_view(d, slot, layer, shape, required, name);
    return view ? came_from(d, add_weight(d, view, slot, name, shape), slot, layer, view, 0) : MOSA_NO_VALUE;
}

static mosa_value as_matrix(mosa_decoder *d, mosa_value value) {
    if (value != MOSA_NO_VALUE) d->weights[d->slot_weight[d->graph->values[value].slot]].uses |= MOSA_WEIGHT_MATRIX;
    return value;
}

// A weight that is made at load.
static mosa_value add_derived(mosa_decoder *d, const mosa_tensor_view *view, const mosa_derivation *how,
                              mosa_weight_slot slot, const char *name, mosa_shape shape) {
    mosa_value value = add_weight(d, view, slot, name, shape);
    if (value == MOSA_NO_VALUE) return MOSA_NO_VALUE;
    mosa_decoder_weight *weight = &d->weights[d->slot_weight[d->graph->values[value].slot]];
    mosa_derivation *copy = MOSA_ARENA_NEW(d->arena, mosa_derivation);
    if (copy)
        *copy = *how;
    else
        mosa_fail(&d->error, MOSA_ENOMEM, "out of memory while listing weights");
    weight->how = copy;
    return value;
}

static mosa_value add_stack(mosa_decoder *d, const mosa_expert_stack *stack, mosa_weight_slot slot, const char *name,
                            mosa_shape shape) {
    if (!check_view(d, &stack->view, name, &shape)) return MOSA_NO_VALUE;
    mosa_value value = stack->how.make ? add_derived(d, &stack->view, &stack->how, slot, name, shape)
                                       : add_weight(d, &stack->view, slot, name, shape);
    return is_vector(slot, &shape) ? value : as_matrix(d, value);
}

mosa_value mosa_decoder_stack(mosa_decoder *d, mosa_weight_slot slot, int layer, mosa_shape shape, bool required) {
    mosa_expert_stack stack;
    char name[MOSA_WEIGHT_NAME_MAX];
    if (d->error.status != MOSA_OK ||
        mosa_experts_find(d->source, d->arena, slot, layer, (int)shape.dim[0], &stack, &d->error) != MOSA_OK)
        return MOSA_NO_VALUE;
    if (!stack.found) return mosa_decoder_weight_of(d, slot, layer, shape, required); // says that it is missing
    mosa_model_source_weight_name(d->source, slot, layer, name);
    bool whole = !stack.how.make && !stack.view.parts;
    return came_from(d, add_stack(d, &stack, slot, name, shape), slot, layer,
                     whole ? mosa_model_source_weight(d->source, slot, layer) : NULL, 0);
}

void mosa_decoder_latent_heads(mosa_decoder *d, int layer, mosa_value *keys, mosa_value *values) {
    const mosa_model_latent *l = &d->config->latent;
    mosa_shape key_shape = MOSA_SHAPE3(d->config->heads, l->width, l->plain);
    mosa_shape value_shape = MOSA_SHAPE3(d->config->heads, l->value, l->width);
    char name[MOSA_WEIGHT_NAME_MAX], keys_name[MOSA_WEIGHT_NAME_MAX + 8], values_name[MOSA_WEIGHT_NAME_MAX + 8];
    mosa_expert_stack key_stack, value_stack;
    *keys = *values = MOSA_NO_VALUE;
    if (d->error.status != MOSA_OK || mosa_head_matrices_find(d->source, d->arena, layer, d->config->heads, l->plain,
                                                              l->value, &key_stack, &value_stack, &d->error) != MOSA_OK)
        return;
    if (!key_stack.found) {
        *keys = as_matrix(d, mosa_decoder_weight_of(d, MOSA_W_ATTN_K_B, layer, key_shape, true));
        *values = as_matrix(d, mosa_decoder_weight_of(d, MOSA_W_ATTN_V_B, layer, value_shape, true));
        return;
    }
    mosa_model_source_weight_name(d->source, MOSA_W_ATTN_KV_B, layer, name);
    snprintf(keys_name, sizeof keys_name, "%s, keys", name);
    snprintf(values_name, sizeof values_name, "%s, values", name);
    *keys =
        came_from(d, add_stack(d, &key_stack, MOSA_W_ATTN_K_B, keys_name, key_shape), MOSA_W_ATTN_K_B, layer, NULL, 0);
    *values = came_from(d, add_stack(d, &value_stack, MOSA_W_ATTN_V_B, values_name, value_shape), MOSA_W_ATTN_V_B,
                        layer, NULL, 0);
}

mosa_value mosa_decoder_weight_rows(mosa_decoder *d, mosa_weight_slot slot, int layer, mosa_shape shape, int64_t begin,
                                    int64_t rows, bool required) {
    char name[MOSA_WEIGHT_NAME_MAX], part_name[MOSA_WEIGHT_NAME_MAX + 48];
    const mosa_tensor_view *view = find_view(d, slot, layer, shape, required, name);
    if (!view) return MOSA_NO_VALUE;
    int64_t row_elements = view->n_elements / view->dims[0];
    size_t before, bytes;
    if (!mosa_dtype_bytes(view->dtype, begin * row_elements, &before) ||
        !mosa_dtype_bytes(view->dtype, rows * row_elements, &bytes)) {
        mosa_fail(&d->error, MOSA_ECORRUPT, "%s: tensor %s has blocks that reach over its rows",
                  mosa_model_source_path(d->source), name);
        return MOSA_NO_VALUE;
    }
    mosa_tensor_view part = *view;
    shape.dim[0] = rows;
    part.n_elements = rows * row_elements;
    part.data = (const char *)view->data + before;
    part.bytes = bytes;
    snprintf(part_name, sizeof part_name, "%s, rows %lld to %lld", name, (long long)begin, (long long)(begin + rows));
    return came_from(d, add_weight(d, &part, slot, part_name, shape), slot, layer, view, begin);
}

static const float *plus_one(mosa_decoder *d, const mosa_tensor_view *view) {
    float *values = MOSA_ARENA_ARRAY(d->arena, float, (size_t)view->n_elements);
    if (!values) {
        mosa_fail(&d->error, MOSA_ENOMEM, "out of memory while reading norms");
        return NULL;
    }
    mosa_dtype_traits_of(view->dtype)->to_f32(view->data, values, view->n_elements);
    for (int64_t i = 0; i < view->n_elements; i++) values[i] += 1;
    return values;
}

mosa_value mosa_decoder_norm_weight(mosa_decoder *d, mosa_weight_slot slot, int layer, int64_t n) {
    if (!d->config->norm_plus_one) return mosa_decoder_weight_of(d, slot, layer, MOSA_SHAPE1(n), true);
    char name[MOSA_WEIGHT_NAME_MAX], sum_name[MOSA_WEIGHT_NAME_MAX + 8];
    const mosa_tensor_view *view = find_view(d, slot, layer, MOSA_SHAPE1(n), true, name);
    if (!view) return MOSA_NO_VALUE;
    snprintf(sum_name, sizeof sum_name, "%s + 1", name);
    int known = find_weight(d, sum_name);
    const float *values = known >= 0 ? d->weights[known].view.data : plus_one(d, view);
    mosa_value value = values ? mosa_decoder_constant(d, sum_name, values, n) : MOSA_NO_VALUE;
    if (value != MOSA_NO_VALUE) d->weights[d->slot_weight[d->graph->values[value].slot]].added = 1;
    return came_from(d, value, slot, layer, view, 0);
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
