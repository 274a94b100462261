// The weight-name table and its two directions.
#include "model/weight_map.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define ONCE   .per_layer = false
#define LAYER  .per_layer = true
#define MATRIX .is_matrix = true
#define ROTARY .rotary_rows = true

static const mosa_weight_info weight_table[MOSA_W_COUNT] = {
    [MOSA_W_TOKEN_EMBD] = {"token_embd", "token_embd.weight", "model.embed_tokens.weight", ONCE, MATRIX},
    [MOSA_W_OUTPUT_NORM] = {"output_norm", "output_norm.weight", "model.norm.weight", ONCE},
    [MOSA_W_OUTPUT] = {"output", "output.weight", "lm_head.weight", ONCE, MATRIX},
    [MOSA_W_ROPE_FREQS] = {"rope_freqs", "rope_freqs.weight", NULL, ONCE},
    [MOSA_W_ATTN_NORM] = {"attn_norm", "blk.%d.attn_norm.weight", "model.layers.%d.input_layernorm.weight", LAYER},
    [MOSA_W_ATTN_Q] = {"attn_q", "blk.%d.attn_q.weight", "model.layers.%d.self_attn.q_proj.weight", LAYER, MATRIX,
                       ROTARY},
    [MOSA_W_ATTN_K] = {"attn_k", "blk.%d.attn_k.weight", "model.layers.%d.self_attn.k_proj.weight", LAYER, MATRIX,
                       ROTARY},
    [MOSA_W_ATTN_V] = {"attn_v", "blk.%d.attn_v.weight", "model.layers.%d.self_attn.v_proj.weight", LAYER, MATRIX},
    [MOSA_W_ATTN_OUT] = {"attn_output", "blk.%d.attn_output.weight", "model.layers.%d.self_attn.o_proj.weight", LAYER,
                         MATRIX},
    [MOSA_W_ATTN_Q_BIAS] = {"attn_q_bias", "blk.%d.attn_q.bias", "model.layers.%d.self_attn.q_proj.bias", LAYER,
                            ROTARY},
    [MOSA_W_ATTN_K_BIAS] = {"attn_k_bias", "blk.%d.attn_k.bias", "model.layers.%d.self_attn.k_proj.bias", LAYER,
                            ROTARY},
    [MOSA_W_ATTN_V_BIAS] = {"attn_v_bias", "blk.%d.attn_v.bias", "model.layers.%d.self_attn.v_proj.bias", LAYER},
    [MOSA_W_ATTN_OUT_BIAS] = {"attn_output_bias", "blk.%d.attn_output.bias", "model.layers.%d.self_attn.o_proj.bias",
                              LAYER},
    [MOSA_W_ATTN_Q_NORM] = {"attn_q_norm", "blk.%d.attn_q_norm.weight", "model.layers.%d.self_attn.q_norm.weight",
                            LAYER},
    [MOSA_W_ATTN_K_NORM] = {"attn_k_norm", "blk.%d.attn_k_norm.weight", "model.layers.%d.self_attn.k_norm.weight",
                            LAYER},
    [MOSA_W_FFN_NORM] = {"ffn_norm", "blk.%d.ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight",
                         LAYER},
    [MOSA_W_FFN_GATE] = {"ffn_gate", "blk.%d.ffn_gate.weight", "model.layers.%d.mlp.gate_proj.weight", LAYER, MATRIX},
    [MOSA_W_FFN_UP] = {"ffn_up", "blk.%d.ffn_up.weight", "model.layers.%d.mlp.up_proj.weight", LAYER, MATRIX},
    [MOSA_W_FFN_DOWN] = {"ffn_down", "blk.%d.ffn_down.weight", "model.layers.%d.mlp.down_proj.weight", LAYER, MATRIX},
    [MOSA_W_FFN_GATE_BIAS] = {"ffn_gate_bias", "blk.%d.ffn_gate.bias", "model.layers.%d.mlp.gate_proj.bias", LAYER},
    [MOSA_W_FFN_UP_BIAS] = {"ffn_up_bias", "blk.%d.ffn_up.bias", "model.layers.%d.mlp.up_proj.bias", LAYER},
    [MOSA_W_FFN_DOWN_BIAS] = {"ffn_down_bias", "blk.%d.ffn_down.bias", "model.layers.%d.mlp.down_proj.bias", LAYER},
};

const mosa_weight_info *mosa_weight_info_of(mosa_weight_slot slot) {
    assert((unsigned)slot < MOSA_W_COUNT);
    return &weight_table[slot];
}

static const char *pattern_of(mosa_naming naming, mosa_weight_slot slot) {
    static const char prefix[] = "model.";
    const mosa_weight_info *info = mosa_weight_info_of(slot);
    if (naming == MOSA_NAMING_GGUF) return info->gguf;
    if (naming == MOSA_NAMING_HF || !info->hf) return info->hf;
    return strncmp(info->hf, prefix, sizeof prefix - 1) == 0 ? info->hf + sizeof prefix - 1 : info->hf;
}

bool mosa_weight_name(mosa_naming naming, mosa_weight_slot slot, int layer, char name[MOSA_WEIGHT_NAME_MAX]) {
    const char *pattern = pattern_of(naming, slot);
    if (!pattern) return false;
    if (!weight_table[slot].per_layer) {
        snprintf(name, MOSA_WEIGHT_NAME_MAX, "%s", pattern);
        return true;
    }
    if (layer < 0 || layer >= MOSA_WEIGHT_LAYERS_MAX) return false;
    const char *hole = strstr(pattern, "%d");
    snprintf(name, MOSA_WEIGHT_NAME_MAX, "%.*s%d%s", (int)(hole - pattern), pattern, layer, hole + 2);
    return true;
}

// Canonical decimal only: "007" would make two names for one tensor.
static const char *parse_layer(const char *text, int *layer) {
    if (*text == '0' && text[1] >= '0' && text[1] <= '9') return NULL;
    int value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        value = value * 10 + (*at - '0');
        if (value >= MOSA_WEIGHT_LAYERS_MAX) return NULL;
    }
    *layer = value;
    return at == text ? NULL : at;
}

static bool match(const char *pattern, const char *name, int *layer) {
    *layer = -1;
    const char *hole = strstr(pattern, "%d");
    if (!hole) return strcmp(pattern, name) == 0;
    size_t head = (size_t)(hole - pattern);
    if (strncmp(pattern, name, head) != 0) return false;
    const char *rest = parse_layer(name + head, layer);
    return rest && strcmp(rest, hole + 2) == 0;
}

bool mosa_weight_parse(mosa_naming naming, const char *name, mosa_weight_slot *slot, int *layer) {
    for (unsigned i = 0; i < MOSA_W_COUNT; i++) {
        const char *pattern = pattern_of(naming, (mosa_weight_slot)i);
        int found;
        if (!pattern || !match(pattern, name, &found)) continue;
        *slot = (mosa_weight_slot)i;
        *layer = found;
        return true;
    }
    return false;
}

bool mosa_weight_ignored(mosa_naming naming, const char *name) {
    static const char buffer[] = "rotary_emb.inv_freq";
    if (naming == MOSA_NAMING_GGUF) return false;
    size_t len = strlen(name), tail = sizeof buffer - 1;
    return len >= tail && strcmp(name + len - tail, buffer) == 0;
}

int64_t mosa_weight_rotary_row(int64_t row, int64_t head_dim, bool to_gguf) {
    int64_t within = row % head_dim, base = row - within, half = head_dim / 2;
    if (to_gguf) return base + (within % 2) * half + within / 2;
    return base + (within % half) * 2 + within / half;
}
