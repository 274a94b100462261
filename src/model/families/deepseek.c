// deepseek: V2, V2-Lite, V3 and R1. Multi-head latent attention (MLA): keys and values of all heads come from one
// latent row, beside which one rotated key serves all heads. Only those are cached; each head's matrices are applied to
// its query and to what attention mixed, so that attention itself runs over latent rows with one key/value head.
// Experts in groups beside shared ones; V3 scores them by a sigmoid, with a bias that counts for choosing only.
// Sources: arXiv 2405.04434, 2412.19437.
#include "model/family.h"
#include "model/moe.h"

#include <math.h>
#include <string.h>

// Norms of latent rows use this whatever the file's epsilon is.
static const float latent_eps = 1e-6f;

static mosa_status read_latent(const mosa_model_source *source, mosa_model_config *c, mosa_error *err) {
    int64_t query, latent, rotated, plain, value;
    const int64_t most = MOSA_MODEL_HEAD_WIDTH_MAX;
    bool gguf = mosa_model_source_is_gguf(source);
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_LATENT_QUERY, 0, MOSA_MODEL_WIDTH_MAX, 0, &query, err));
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_LATENT, 1, most, &latent, err));
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_LATENT_ROTATED, 2, most, &rotated, err));
    // GGUF gives the width of a whole head, under one name before keys were cached as latents and another since.
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_LATENT_KEY, 1, 2 * most, c->head_width, &plain, err));
    if (gguf) plain -= rotated;
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_LATENT_VALUE, 1, most, c->head_width, &value, err));
    if (gguf && !mosa_model_source_has(source, MOSA_H_LATENT_VALUE))
        MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_VALUE_WIDTH, 1, most, value, &value, err));
    if (plain < 1 || rotated % 2 || latent + rotated > most)
        return mosa_fail(err, MOSA_EINVALID, "%s: latent attention with %lld + %lld columns of keys, %lld latent",
                         mosa_model_source_path(source), (long long)plain, (long long)rotated, (long long)latent);
    c->latent =
        (mosa_model_latent){.query = query, .width = latent, .plain = plain, .rotated = rotated, .value = value};
    c->kv_heads = 1;
    c->head_width = (int)(latent + rotated);
    c->value_width = (int)latent;
    c->value_in_key = true;
    c->rope_width = (int)rotated;
    return MOSA_OK;
}

// Scores are those of heads of plain + rotated columns; yarn sharpens them further.
static mosa_status read_scale(const mosa_model_source *source, mosa_model_config *c, mosa_error *err) {
    const mosa_hf_config *hf = mosa_model_source_hf_config(source);
    bool parameters = hf && mosa_hf_config_has(hf, "rope_parameters");
    float factor, all_dim, log_multiplier, mscale = 1;
    MOSA_TRY(mosa_model_config_number(source, "rope.scaling.factor",
                                      parameters ? "rope_parameters.factor" : "rope_scaling.factor", 1, &factor, err));
    MOSA_TRY(mosa_model_config_number(
        source, NULL, parameters ? "rope_parameters.mscale_all_dim" : "rope_scaling.mscale_all_dim", 0, &all_dim, err));
    MOSA_TRY(mosa_model_config_number(source, "rope.scaling.yarn_log_multiplier", NULL, 0.1 * (double)all_dim,
                                      &log_multiplier, err));
    if (factor > 1) mscale += log_multiplier * logf(factor);
    c->attention_scale = mscale * mscale / sqrtf((float)(c->latent.plain + c->latent.rotated));
    return MOSA_OK;
}

static mosa_status read_experts(const mosa_model_source *source, mosa_model_config *c, bool v3, mosa_error *err) {
    const mosa_hf_config *hf = mosa_model_source_hf_config(source);
    int64_t shared;
    MOSA_TRY(mosa_moe_config_read(source, c, err));
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_SHARED_EXPERTS, 0, MOSA_EXPERTS_MAX, 0, &shared, err));
    c->experts.shared_ffn = shared * c->experts.ffn;
    c->experts.scoring = v3 ? MOSA_SCORE_SIGMOID : MOSA_SCORE_SOFTMAX;
    c->experts.group_best = v3 ? 2 : 1;
    if (!hf) {
        char key[MOSA_GGUF_NAME_MAX + 1];
        return mosa_gguf_get_bool_or(mosa_model_source_gguf(source),
                                     mosa_model_source_key(source, "expert_weights_norm", key), v3,
                                     &c->experts.normalise, err);
    }
    const char *method = "group_limited_greedy";
    c->experts.normalise = false; // what V2 does whatever the file says
    if (v3) return mosa_hf_config_bool_or(hf, "norm_topk_prob", true, &c->experts.normalise, err);
    MOSA_TRY(mosa_hf_config_str_or(hf, "topk_method", "greedy", &method, err));
    if (strcmp(method, "greedy") == 0) c->experts.groups = 0;
    return MOSA_OK;
}

static mosa_status configure(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    enum { GATING_SIGMOID = 2 };
    const mosa_hf_config *hf = mosa_model_source_hf_config(source);
    bool v3 = hf && strcmp(mosa_model_source_arch(source), "deepseek_v3") == 0, interleaved = true;
    if (hf) {
        MOSA_TRY(mosa_hf_config_bool_or(hf, "rope_interleave", true, &interleaved, err));
    } else {
        char key[MOSA_GGUF_NAME_MAX + 1];
        uint32_t gating;
        MOSA_TRY(mosa_gguf_get_u32_or(mosa_model_source_gguf(source),
                                      mosa_model_source_key(source, "expert_gating_func", key), 0, &gating, err));
        v3 = gating == GATING_SIGMOID;
    }
    config->rope_style = interleaved ? MOSA_ROPE_INTERLEAVED : MOSA_ROPE_HALF;
    MOSA_TRY(read_latent(source, config, err));
    MOSA_TRY(read_scale(source, config, err));
    return read_experts(source, config, v3, err);
}

// Rows [T, H*(plain+rotated)] of queries, not yet rotated.
static mosa_value project_query(mosa_decoder *d, mosa_value x, int layer) {
    const mosa_model_config *c = d->config;
    int64_t columns = c->heads * (c->latent.plain + c->latent.rotated), query = c->latent.query;
    if (query == 0) return mosa_decoder_linear(d, x, MOSA_W_ATTN_Q, MOSA_W_COUNT, layer, columns, c->width);
    x = mosa_decoder_linear(d, x, MOSA_W_ATTN_Q_A, MOSA_W_COUNT, layer, query, c->width);
    mosa_value norm = mosa_decoder_weight_of(d, MOSA_W_ATTN_Q_A_NORM, layer, MOSA_SHAPE1(query), true);
    x = mosa_g_rms_norm(d->graph, x, norm, latent_eps);
    return mosa_decoder_linear(d, x, MOSA_W_ATTN_Q_B, MOSA_W_COUNT, layer, columns, query);
}

static mosa_value rotate(mosa_decoder *d, mosa_value x) {
    return mosa_g_rope(d->graph, x, d->rope_table, (int)d->config->latent.rotated, d->config->rope_style);
}

// Rows [T, width + rotated] of what is cached: the normed latent, then the rotated key.
static mosa_value latent_rows(mosa_decoder *d, mosa_value x, int layer) {
    const mosa_model_latent *l = &d->config->latent;
    x = mosa_decoder_linear(d, x, MOSA_W_ATTN_KV_A, MOSA_W_COUNT, layer, l->width + l->rotated, d->config->width);
    mosa_value norm = mosa_decoder_weight_of(d, MOSA_W_ATTN_KV_A_NORM, layer, MOSA_SHAPE1(l->width), true);
    mosa_value latent = mosa_g_rms_norm(d->graph, mosa_g_slice(d->graph, x, 0, l->width, 0), norm, latent_eps);
    return mosa_g_join(d->graph, latent, rotate(d, mosa_g_slice(d->graph, x, l->width, l->rotated, 0)), 1);
}

static mosa_value attention(mosa_decoder *d, mosa_value x, int layer) {
    const mosa_model_config *c = d->config;
    const mosa_model_latent *l = &c->latent;
    int64_t head = l->plain + l->rotated;
    mosa_value q = project_query(d, x, layer), keys, values;
    mosa_decoder_latent_heads(d, layer, &keys, &values);
    mosa_value plain = mosa_g_slice(d->graph, q, 0, l->plain, head);
    mosa_value rotated = rotate(d, mosa_g_slice(d->graph, q, l->plain, l->rotated, head));
    plain = mosa_g_expert_linear(d->graph, plain, keys, MOSA_NO_VALUE, MOSA_NO_VALUE);
    q = mosa_g_join(d->graph, plain, rotated, c->heads);
    mosa_attrs attrs = mosa_decoder_attention_attrs(d, layer);
    mosa_value mixed = mosa_decoder_attend(d, q, latent_rows(d, x, layer), MOSA_NO_VALUE, MOSA_NO_VALUE, &attrs);
    mixed = mosa_g_expert_linear(d->graph, mixed, values, MOSA_NO_VALUE, MOSA_NO_VALUE);
    return mosa_decoder_linear(d, mixed, MOSA_W_ATTN_OUT, MOSA_W_COUNT, layer, c->width, c->heads * l->value);
}

static mosa_value block(mosa_decoder *d, mosa_value x, int layer) {
    x = mosa_decoder_add(d, x, attention(d, mosa_decoder_norm(d, x, MOSA_W_ATTN_NORM, layer), layer));
    return mosa_moe_add_ffn(d, x, layer);
}

const mosa_family mosa_family_deepseek = {
    .name = "deepseek",
    .gguf_archs = {"deepseek2"},
    .hf_types = {"deepseek_v2", "deepseek_v3"},
    .configure = configure,
    .block = block,
};
