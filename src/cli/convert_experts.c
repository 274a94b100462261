// To GGUF: tensors that Hugging Face folders hold one per expert, fused or for all heads together, and the keys of such
// models.
#include "cli/convert.h"

#include <stdio.h>

static void put_f32(convert_job *job, const char *arch, const char *suffix, double value) {
    char key[MOSA_GGUF_NAME_MAX + 1];
    snprintf(key, sizeof key, "%s.%s", arch, suffix);
    mosa_gguf_writer_put_f32(job->gguf, key, (float)value);
}

static mosa_status put_optional(convert_job *job, const mosa_model_source *source, const char *arch, mosa_hparam which,
                                const char *suffix, mosa_error *err) {
    int64_t value;
    MOSA_TRY(mosa_model_source_i64_or(source, which, 0, INT32_MAX, 0, &value, err));
    if (value) convert_put_u32(job, arch, suffix, value);
    return MOSA_OK;
}

// The architectures in GGUF fix whether weights are normalised; a model that does otherwise has no GGUF form.
static mosa_status check_normalised(const mosa_model_source *source, const char *arch, mosa_error *err) {
    const mosa_hf_config *config = mosa_model_source_hf_config(source);
    bool normal = strcmp(arch, "qwen3moe") == 0, normalise = normal;
    if (!normal && strcmp(arch, "qwen2moe") != 0) return MOSA_OK;
    MOSA_TRY(mosa_hf_config_bool_or(config, "norm_topk_prob", false, &normalise, err));
    if (normalise == normal) return MOSA_OK;
    return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: norm_topk_prob is %s, which GGUF cannot say of %s",
                     mosa_hf_config_path(config), normalise ? "true" : "false", arch);
}

static mosa_status put_deepseek_router(convert_job *job, const mosa_model_source *source, const char *arch,
                                       mosa_error *err) {
    enum { GATING_SOFTMAX = 1, GATING_SIGMOID = 2 };
    const mosa_hf_config *config = mosa_model_source_hf_config(source);
    bool v3 = strcmp(mosa_model_source_arch(source), "deepseek_v3") == 0, normalise = v3;
    const char *method = "group_limited_greedy";
    char key[MOSA_GGUF_NAME_MAX + 1];
    double scale;
    if (v3) MOSA_TRY(mosa_hf_config_bool_or(config, "norm_topk_prob", true, &normalise, err));
    if (!v3) MOSA_TRY(mosa_hf_config_str_or(config, "topk_method", "greedy", &method, err));
    MOSA_TRY(mosa_model_source_f64_or(source, MOSA_H_EXPERT_SCALE, 0, 1e6, 1, &scale, err));
    MOSA_TRY(put_optional(job, source, arch, MOSA_H_DENSE_LAYERS, "leading_dense_block_count", err));
    MOSA_TRY(put_optional(job, source, arch, MOSA_H_SHARED_EXPERTS, "expert_shared_count", err));
    if (strcmp(method, "greedy") != 0) {
        MOSA_TRY(put_optional(job, source, arch, MOSA_H_EXPERT_GROUPS, "expert_group_count", err));
        MOSA_TRY(put_optional(job, source, arch, MOSA_H_EXPERT_TOP_GROUPS, "expert_group_used_count", err));
    }
    put_f32(job, arch, "expert_weights_scale", scale);
    convert_put_u32(job, arch, "expert_gating_func", v3 ? GATING_SIGMOID : GATING_SOFTMAX);
    snprintf(key, sizeof key, "%s.expert_weights_norm", arch);
    mosa_gguf_writer_put_bool(job->gguf, key, normalise);
    return MOSA_OK;
}

mosa_status convert_put_experts(convert_job *job, const mosa_model_source *source, convert_renaming *to,
                                mosa_error *err) {
    int64_t count, value, ffn = 0;
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_EXPERTS, 0, MOSA_WEIGHT_LAYERS_MAX, 0, &count, err));
    if (count == 0) return MOSA_OK;
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_EXPERTS_USED, 1, count, &value, err));
    convert_put_u32(job, to->arch, "expert_count", count);
    convert_put_u32(job, to->arch, "expert_used_count", value);
    if (strcmp(to->arch, "gpt-oss") == 0) MOSA_TRY(mosa_model_source_i64(source, MOSA_H_FFN, 1, INT32_MAX, &ffn, err));
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_EXPERT_FFN, 0, INT32_MAX, ffn, &ffn, err));
    if (ffn) convert_put_u32(job, to->arch, "expert_feed_forward_length", ffn);
    MOSA_TRY(put_optional(job, source, to->arch, MOSA_H_SHARED_FFN, "expert_shared_feed_forward_length", err));
    if (strcmp(to->arch, "deepseek2") == 0) MOSA_TRY(put_deepseek_router(job, source, to->arch, err));
    to->experts = (int)count;
    return check_normalised(source, to->arch, err);
}

mosa_status convert_put_latent(convert_job *job, const mosa_model_source *source, const char *arch, mosa_error *err) {
    const mosa_hf_config *config = mosa_model_source_hf_config(source);
    int64_t latent, rotated, plain, value;
    double all_dim;
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_LATENT, 1, INT32_MAX / 2, &latent, err));
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_LATENT_ROTATED, 1, INT32_MAX / 2, &rotated, err));
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_LATENT_KEY, 1, INT32_MAX / 2, &plain, err));
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_LATENT_VALUE, 1, INT32_MAX / 2, &value, err));
    convert_put_u32(job, arch, "attention.head_count_kv", 1);
    convert_put_u32(job, arch, "attention.key_length", latent + rotated);
    convert_put_u32(job, arch, "attention.value_length", latent);
    convert_put_u32(job, arch, "attention.key_length_mla", plain + rotated);
    convert_put_u32(job, arch, "attention.value_length_mla", value);
    convert_put_u32(job, arch, "attention.kv_lora_rank", latent);
    MOSA_TRY(put_optional(job, source, arch, MOSA_H_LATENT_QUERY, "attention.q_lora_rank", err));
    convert_put_u32(job, arch, "rope.dimension_count", rotated);
    const char *field = mosa_hf_config_has(config, "rope_parameters") ? "rope_parameters.mscale_all_dim"
                                                                      : "rope_scaling.mscale_all_dim";
    MOSA_TRY(mosa_hf_config_f64_or(config, field, 0, 1e6, 0, &all_dim, err));
    if (all_dim > 0) put_f32(job, arch, "rope.scaling.yarn_log_multiplier", 0.1 * all_dim);
    return MOSA_OK;
}

static mosa_status add_stack_of(convert_job *job, const mosa_model_source *source, const convert_renaming *to,
                                mosa_weight_slot slot, int layer, mosa_error *err) {
    mosa_expert_stack stack;
    char name[MOSA_WEIGHT_NAME_MAX];
    mosa_weight_name(MOSA_NAMING_GGUF, to->arch, slot, layer, name);
    MOSA_TRY(mosa_experts_find(source, job->arena, slot, layer, to->experts, &stack, err));
    return convert_add_stack(job, name, &stack, slot, err);
}

static mosa_status add_heads(convert_job *job, const mosa_model_source *source, const convert_renaming *to, int layer,
                             mosa_error *err) {
    mosa_expert_stack keys, values;
    int64_t heads, plain, value;
    char name[MOSA_WEIGHT_NAME_MAX];
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_HEADS, 1, INT32_MAX, &heads, err));
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_LATENT_KEY, 1, INT32_MAX / 2, &plain, err));
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_LATENT_VALUE, 1, INT32_MAX / 2, &value, err));
    MOSA_TRY(mosa_head_matrices_find(source, job->arena, layer, heads, plain, value, &keys, &values, err));
    mosa_weight_name(MOSA_NAMING_GGUF, to->arch, MOSA_W_ATTN_K_B, layer, name);
    MOSA_TRY(convert_add_stack(job, name, &keys, MOSA_W_ATTN_K_B, err));
    mosa_weight_name(MOSA_NAMING_GGUF, to->arch, MOSA_W_ATTN_V_B, layer, name);
    return convert_add_stack(job, name, &values, MOSA_W_ATTN_V_B, err);
}

// What becomes several tensors, or one of another shape. *done: whether the slot was such a one.
static mosa_status add_fused(convert_job *job, const mosa_model_source *source, const convert_renaming *to,
                             mosa_weight_slot slot, int layer, bool *done, mosa_error *err) {
    *done = true;
    switch (slot) {
    case MOSA_W_EXPERT_GATE_UP:
    case MOSA_W_EXPERT_GATE_UP_BLOCKS:
        MOSA_TRY(add_stack_of(job, source, to, MOSA_W_EXPERT_GATE, layer, err));
        return add_stack_of(job, source, to, MOSA_W_EXPERT_UP, layer, err);
    case MOSA_W_EXPERT_GATE_UP_BIAS:
        MOSA_TRY(add_stack_of(job, source, to, MOSA_W_EXPERT_GATE_BIAS, layer, err));
        return add_stack_of(job, source, to, MOSA_W_EXPERT_UP_BIAS, layer, err);
    case MOSA_W_EXPERT_DOWN_TRANSPOSED:
    case MOSA_W_EXPERT_DOWN_BLOCKS:
        return add_stack_of(job, source, to, MOSA_W_EXPERT_DOWN, layer, err);
    case MOSA_W_EXPERT_GATE_UP_SCALES: // taken with their blocks
    case MOSA_W_EXPERT_DOWN_SCALES:
        return MOSA_OK;
    case MOSA_W_ATTN_KV_B:
        return add_heads(job, source, to, layer, err);
    default:
        *done = false;
        return MOSA_OK;
    }
}

// A gate of the shared expert is [1,D] in Hugging Face files and [D] in GGUF.
static mosa_status add_vector(convert_job *job, const char *name, const mosa_tensor_view *row, mosa_error *err) {
    mosa_tensor_view *vector = MOSA_ARENA_NEW(job->arena, mosa_tensor_view);
    if (!vector) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the tensor list");
    *vector = *row;
    vector->n_dims = 1;
    vector->dims[0] = row->n_elements;
    vector->dims[1] = 1;
    return convert_add(job, name, vector, MOSA_W_SHARED_ROUTER, false, 0, err);
}

mosa_status convert_add_renamed(convert_job *job, const mosa_model_source *source, const convert_renaming *to,
                                const mosa_tensor_view *view, mosa_weight_slot slot, int layer, int expert,
                                mosa_error *err) {
    char name[MOSA_WEIGHT_NAME_MAX];
    bool done;
    if (expert > 0) return MOSA_OK;
    if (expert == 0) return add_stack_of(job, source, to, slot, layer, err);
    MOSA_TRY(add_fused(job, source, to, slot, layer, &done, err));
    if (done) return MOSA_OK;
    if (!mosa_weight_name(MOSA_NAMING_GGUF, to->arch, slot, layer, name))
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: tensor '%s' has no GGUF name", job->in, view->name);
    if (slot == MOSA_W_SHARED_ROUTER) return add_vector(job, name, view, err);
    int64_t head_width = mosa_weight_info_of(slot)->rotary_rows ? to->rotary_width : 0;
    return convert_add(job, name, view, slot, to->tied, head_width, err);
}
