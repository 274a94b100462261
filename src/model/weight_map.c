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
    [MOSA_W_ROPE_SHORT] = {"rope_factors_short", "rope_factors_short.weight", NULL, ONCE},
    [MOSA_W_ROPE_LONG] = {"rope_factors_long", "rope_factors_long.weight", NULL, ONCE},
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
    [MOSA_W_ATTN_QKV] = {"attn_qkv", "blk.%d.attn_qkv.weight", "model.layers.%d.self_attn.qkv_proj.weight", LAYER,
                         MATRIX},
    [MOSA_W_ATTN_QKV_BIAS] = {"attn_qkv_bias", "blk.%d.attn_qkv.bias", "model.layers.%d.self_attn.qkv_proj.bias",
                              LAYER},
    [MOSA_W_FFN_GATE_UP] = {"ffn_gate_up", NULL, "model.layers.%d.mlp.gate_up_proj.weight", LAYER, MATRIX},
    [MOSA_W_ATTN_POST_NORM] = {"attn_post_norm", NULL, NULL, LAYER},
    [MOSA_W_FFN_POST_NORM] = {"ffn_post_norm", "blk.%d.post_ffw_norm.weight",
                              "model.layers.%d.post_feedforward_layernorm.weight", LAYER},
    [MOSA_W_POSITION_EMBD] = {"position_embd", "position_embd.weight", "embeddings.position_embeddings.weight", ONCE},
    [MOSA_W_TOKEN_TYPES] = {"token_types", "token_types.weight", "embeddings.token_type_embeddings.weight", ONCE},
    [MOSA_W_EMBD_NORM] = {"token_embd_norm", "token_embd_norm.weight", "embeddings.LayerNorm.weight", ONCE},
    [MOSA_W_EMBD_NORM_BIAS] = {"token_embd_norm_bias", "token_embd_norm.bias", "embeddings.LayerNorm.bias", ONCE},
    [MOSA_W_ATTN_OUT_NORM] = {"attn_output_norm", "blk.%d.attn_output_norm.weight",
                              "encoder.layer.%d.attention.output.LayerNorm.weight", LAYER},
    [MOSA_W_ATTN_OUT_NORM_BIAS] = {"attn_output_norm_bias", "blk.%d.attn_output_norm.bias",
                                   "encoder.layer.%d.attention.output.LayerNorm.bias", LAYER},
    [MOSA_W_LAYER_OUT_NORM] = {"layer_output_norm", "blk.%d.layer_output_norm.weight",
                               "encoder.layer.%d.output.LayerNorm.weight", LAYER},
    [MOSA_W_LAYER_OUT_NORM_BIAS] = {"layer_output_norm_bias", "blk.%d.layer_output_norm.bias",
                                    "encoder.layer.%d.output.LayerNorm.bias", LAYER},
    [MOSA_W_CLASSIFIER_DENSE] = {"cls", "cls.weight", "classifier.dense.weight", ONCE, MATRIX},
    [MOSA_W_CLASSIFIER_DENSE_BIAS] = {"cls_bias", "cls.bias", "classifier.dense.bias", ONCE},
    [MOSA_W_CLASSIFIER] = {"cls.output", "cls.output.weight", "classifier.out_proj.weight", ONCE, MATRIX},
    [MOSA_W_CLASSIFIER_BIAS] = {"cls.output_bias", "cls.output.bias", "classifier.out_proj.bias", ONCE},
    [MOSA_W_ROUTER] = {"ffn_gate_inp", "blk.%d.ffn_gate_inp.weight", "model.layers.%d.mlp.gate.weight", LAYER},
    [MOSA_W_ROUTER_BIAS] = {"ffn_gate_inp_bias", "blk.%d.ffn_gate_inp.bias", "model.layers.%d.mlp.gate.bias", LAYER},
    [MOSA_W_ROUTER_CHOICE] = {"exp_probs_b", "blk.%d.exp_probs_b.bias",
                              "model.layers.%d.mlp.gate.e_score_correction_bias", LAYER},
    [MOSA_W_EXPERT_GATE] = {"ffn_gate_exps", "blk.%d.ffn_gate_exps.weight",
                            "model.layers.%d.mlp.experts.%d.gate_proj.weight", LAYER, MATRIX},
    [MOSA_W_EXPERT_UP] = {"ffn_up_exps", "blk.%d.ffn_up_exps.weight", "model.layers.%d.mlp.experts.%d.up_proj.weight",
                          LAYER, MATRIX},
    [MOSA_W_EXPERT_DOWN] = {"ffn_down_exps", "blk.%d.ffn_down_exps.weight",
                            "model.layers.%d.mlp.experts.%d.down_proj.weight", LAYER, MATRIX},
    [MOSA_W_EXPERT_GATE_BIAS] = {"ffn_gate_exps_bias", "blk.%d.ffn_gate_exps.bias", NULL, LAYER},
    [MOSA_W_EXPERT_UP_BIAS] = {"ffn_up_exps_bias", "blk.%d.ffn_up_exps.bias", NULL, LAYER},
    [MOSA_W_EXPERT_DOWN_BIAS] = {"ffn_down_exps_bias", "blk.%d.ffn_down_exps.bias",
                                 "model.layers.%d.mlp.experts.down_proj_bias", LAYER},
    [MOSA_W_SHARED_ROUTER] = {"ffn_gate_inp_shexp", "blk.%d.ffn_gate_inp_shexp.weight",
                              "model.layers.%d.mlp.shared_expert_gate.weight", LAYER},
    [MOSA_W_SHARED_GATE] = {"ffn_gate_shexp", "blk.%d.ffn_gate_shexp.weight",
                            "model.layers.%d.mlp.shared_experts.gate_proj.weight", LAYER, MATRIX},
    [MOSA_W_SHARED_UP] = {"ffn_up_shexp", "blk.%d.ffn_up_shexp.weight",
                          "model.layers.%d.mlp.shared_experts.up_proj.weight", LAYER, MATRIX},
    [MOSA_W_SHARED_DOWN] = {"ffn_down_shexp", "blk.%d.ffn_down_shexp.weight",
                            "model.layers.%d.mlp.shared_experts.down_proj.weight", LAYER, MATRIX},
    [MOSA_W_ATTN_Q_A] = {"attn_q_a", "blk.%d.attn_q_a.weight", "model.layers.%d.self_attn.q_a_proj.weight", LAYER,
                         MATRIX},
    [MOSA_W_ATTN_Q_A_NORM] = {"attn_q_a_norm", "blk.%d.attn_q_a_norm.weight",
                              "model.layers.%d.self_attn.q_a_layernorm.weight", LAYER},
    [MOSA_W_ATTN_Q_B] = {"attn_q_b", "blk.%d.attn_q_b.weight", "model.layers.%d.self_attn.q_b_proj.weight", LAYER,
                         MATRIX},
    [MOSA_W_ATTN_KV_A] = {"attn_kv_a_mqa", "blk.%d.attn_kv_a_mqa.weight",
                          "model.layers.%d.self_attn.kv_a_proj_with_mqa.weight", LAYER, MATRIX},
    [MOSA_W_ATTN_KV_A_NORM] = {"attn_kv_a_norm", "blk.%d.attn_kv_a_norm.weight",
                               "model.layers.%d.self_attn.kv_a_layernorm.weight", LAYER},
    [MOSA_W_ATTN_KV_B] = {"attn_kv_b", "blk.%d.attn_kv_b.weight", "model.layers.%d.self_attn.kv_b_proj.weight", LAYER,
                          MATRIX},
    [MOSA_W_ATTN_K_B] = {"attn_k_b", "blk.%d.attn_k_b.weight", NULL, LAYER, MATRIX},
    [MOSA_W_ATTN_V_B] = {"attn_v_b", "blk.%d.attn_v_b.weight", NULL, LAYER, MATRIX},
    [MOSA_W_ATTN_SINKS] = {"attn_sinks", "blk.%d.attn_sinks.weight", "model.layers.%d.self_attn.sinks", LAYER},
    [MOSA_W_EXPERT_GATE_UP] = {"gate_up_proj", NULL, "model.layers.%d.mlp.experts.gate_up_proj", LAYER, MATRIX},
    [MOSA_W_EXPERT_GATE_UP_BIAS] = {"gate_up_proj_bias", NULL, "model.layers.%d.mlp.experts.gate_up_proj_bias", LAYER},
    [MOSA_W_EXPERT_GATE_UP_BLOCKS] = {"gate_up_proj_blocks", NULL, "model.layers.%d.mlp.experts.gate_up_proj_blocks",
                                      LAYER},
    [MOSA_W_EXPERT_GATE_UP_SCALES] = {"gate_up_proj_scales", NULL, "model.layers.%d.mlp.experts.gate_up_proj_scales",
                                      LAYER},
    [MOSA_W_EXPERT_DOWN_TRANSPOSED] = {"down_proj", NULL, "model.layers.%d.mlp.experts.down_proj", LAYER, MATRIX},
    [MOSA_W_EXPERT_DOWN_BLOCKS] = {"down_proj_blocks", NULL, "model.layers.%d.mlp.experts.down_proj_blocks", LAYER},
    [MOSA_W_EXPERT_DOWN_SCALES] = {"down_proj_scales", NULL, "model.layers.%d.mlp.experts.down_proj_scales", LAYER},
};

// Where an architecture has another name for a slot than the table above.
typedef struct weight_spelling {
    const char *arch; // of the scheme in which it differs
    mosa_weight_slot slot;
    mosa_naming naming; // GGUF or HF
    const char *pattern;
} weight_spelling;

// The BERT lineage has names of its own for what decoders have too.
#define ENCODER(arch)                                                                                                  \
    {arch, MOSA_W_TOKEN_EMBD, MOSA_NAMING_HF, "embeddings.word_embeddings.weight"},                                    \
        {arch, MOSA_W_ATTN_Q, MOSA_NAMING_HF, "encoder.layer.%d.attention.self.query.weight"},                         \
        {arch, MOSA_W_ATTN_Q_BIAS, MOSA_NAMING_HF, "encoder.layer.%d.attention.self.query.bias"},                      \
        {arch, MOSA_W_ATTN_K, MOSA_NAMING_HF, "encoder.layer.%d.attention.self.key.weight"},                           \
        {arch, MOSA_W_ATTN_K_BIAS, MOSA_NAMING_HF, "encoder.layer.%d.attention.self.key.bias"},                        \
        {arch, MOSA_W_ATTN_V, MOSA_NAMING_HF, "encoder.layer.%d.attention.self.value.weight"},                         \
        {arch, MOSA_W_ATTN_V_BIAS, MOSA_NAMING_HF, "encoder.layer.%d.attention.self.value.bias"},                      \
        {arch, MOSA_W_ATTN_OUT, MOSA_NAMING_HF, "encoder.layer.%d.attention.output.dense.weight"},                     \
        {arch, MOSA_W_ATTN_OUT_BIAS, MOSA_NAMING_HF, "encoder.layer.%d.attention.output.dense.bias"},                  \
        {arch, MOSA_W_FFN_UP, MOSA_NAMING_HF, "encoder.layer.%d.intermediate.dense.weight"},                           \
        {arch, MOSA_W_FFN_UP_BIAS, MOSA_NAMING_HF, "encoder.layer.%d.intermediate.dense.bias"},                        \
        {arch, MOSA_W_FFN_DOWN, MOSA_NAMING_HF, "encoder.layer.%d.output.dense.weight"}, {                             \
        arch, MOSA_W_FFN_DOWN_BIAS, MOSA_NAMING_HF, "encoder.layer.%d.output.dense.bias"                               \
    }

static const weight_spelling spellings[] = {
    ENCODER("bert"),
    ENCODER("roberta"),
    ENCODER("xlm-roberta"),
    {"bert", MOSA_W_CLASSIFIER_DENSE, MOSA_NAMING_HF, "pooler.dense.weight"},
    {"bert", MOSA_W_CLASSIFIER_DENSE_BIAS, MOSA_NAMING_HF, "pooler.dense.bias"},
    {"bert", MOSA_W_CLASSIFIER, MOSA_NAMING_HF, "classifier.weight"},
    {"bert", MOSA_W_CLASSIFIER_BIAS, MOSA_NAMING_HF, "classifier.bias"},
    {"nomic_bert", MOSA_W_TOKEN_EMBD, MOSA_NAMING_HF, "embeddings.word_embeddings.weight"},
    {"nomic_bert", MOSA_W_EMBD_NORM, MOSA_NAMING_HF, "emb_ln.weight"},
    {"nomic_bert", MOSA_W_EMBD_NORM_BIAS, MOSA_NAMING_HF, "emb_ln.bias"},
    {"nomic_bert", MOSA_W_ATTN_QKV, MOSA_NAMING_HF, "encoder.layers.%d.attn.Wqkv.weight"},
    {"nomic_bert", MOSA_W_ATTN_OUT, MOSA_NAMING_HF, "encoder.layers.%d.attn.out_proj.weight"},
    {"nomic_bert", MOSA_W_FFN_UP, MOSA_NAMING_HF, "encoder.layers.%d.mlp.fc11.weight"},
    {"nomic_bert", MOSA_W_FFN_GATE, MOSA_NAMING_HF, "encoder.layers.%d.mlp.fc12.weight"},
    {"nomic_bert", MOSA_W_FFN_DOWN, MOSA_NAMING_HF, "encoder.layers.%d.mlp.fc2.weight"},
    {"nomic_bert", MOSA_W_ATTN_OUT_NORM, MOSA_NAMING_HF, "encoder.layers.%d.norm1.weight"},
    {"nomic_bert", MOSA_W_ATTN_OUT_NORM_BIAS, MOSA_NAMING_HF, "encoder.layers.%d.norm1.bias"},
    {"nomic_bert", MOSA_W_LAYER_OUT_NORM, MOSA_NAMING_HF, "encoder.layers.%d.norm2.weight"},
    {"nomic_bert", MOSA_W_LAYER_OUT_NORM_BIAS, MOSA_NAMING_HF, "encoder.layers.%d.norm2.bias"},
    {"mixtral", MOSA_W_ROUTER, MOSA_NAMING_HF, "model.layers.%d.block_sparse_moe.gate.weight"},
    {"mixtral", MOSA_W_EXPERT_GATE, MOSA_NAMING_HF, "model.layers.%d.block_sparse_moe.experts.%d.w1.weight"},
    {"mixtral", MOSA_W_EXPERT_UP, MOSA_NAMING_HF, "model.layers.%d.block_sparse_moe.experts.%d.w3.weight"},
    {"mixtral", MOSA_W_EXPERT_DOWN, MOSA_NAMING_HF, "model.layers.%d.block_sparse_moe.experts.%d.w2.weight"},
    {"qwen2_moe", MOSA_W_SHARED_GATE, MOSA_NAMING_HF, "model.layers.%d.mlp.shared_expert.gate_proj.weight"},
    {"qwen2_moe", MOSA_W_SHARED_UP, MOSA_NAMING_HF, "model.layers.%d.mlp.shared_expert.up_proj.weight"},
    {"qwen2_moe", MOSA_W_SHARED_DOWN, MOSA_NAMING_HF, "model.layers.%d.mlp.shared_expert.down_proj.weight"},
    {"gpt_oss", MOSA_W_ROUTER, MOSA_NAMING_HF, "model.layers.%d.mlp.router.weight"},
    {"gpt_oss", MOSA_W_ROUTER_BIAS, MOSA_NAMING_HF, "model.layers.%d.mlp.router.bias"},
    {"gpt-oss", MOSA_W_FFN_NORM, MOSA_NAMING_GGUF, "blk.%d.post_attention_norm.weight"},
    {"gemma2", MOSA_W_ATTN_POST_NORM, MOSA_NAMING_GGUF, "blk.%d.post_attention_norm.weight"},
    {"gemma3", MOSA_W_ATTN_POST_NORM, MOSA_NAMING_GGUF, "blk.%d.post_attention_norm.weight"},
    {"gemma2", MOSA_W_ATTN_POST_NORM, MOSA_NAMING_HF, "model.layers.%d.post_attention_layernorm.weight"},
    {"gemma2", MOSA_W_FFN_NORM, MOSA_NAMING_HF, "model.layers.%d.pre_feedforward_layernorm.weight"},
    {"gemma3_text", MOSA_W_ATTN_POST_NORM, MOSA_NAMING_HF, "model.layers.%d.post_attention_layernorm.weight"},
    {"gemma3_text", MOSA_W_FFN_NORM, MOSA_NAMING_HF, "model.layers.%d.pre_feedforward_layernorm.weight"},
    {"phi3", MOSA_W_FFN_GATE_UP, MOSA_NAMING_GGUF, "blk.%d.ffn_up.weight"},
};

const mosa_weight_info *mosa_weight_info_of(mosa_weight_slot slot) {
    assert((unsigned)slot < MOSA_W_COUNT);
    return &weight_table[slot];
}

static const char *own_pattern(mosa_naming naming, const char *arch, mosa_weight_slot slot) {
    for (size_t i = 0; arch && i < sizeof spellings / sizeof *spellings; i++)
        if (spellings[i].slot == slot && spellings[i].naming == naming && strcmp(spellings[i].arch, arch) == 0)
            return spellings[i].pattern;
    return NULL;
}

static const char *pattern_of(mosa_naming naming, const char *arch, mosa_weight_slot slot) {
    static const char prefix[] = "model.";
    const mosa_weight_info *info = mosa_weight_info_of(slot);
    bool gguf = naming == MOSA_NAMING_GGUF;
    const char *pattern = own_pattern(gguf ? MOSA_NAMING_GGUF : MOSA_NAMING_HF, arch, slot);
    if (!pattern) pattern = gguf ? info->gguf : info->hf;
    if (naming != MOSA_NAMING_HF_BASE || !pattern) return pattern;
    return strncmp(pattern, prefix, sizeof prefix - 1) == 0 ? pattern + sizeof prefix - 1 : pattern;
}

static int holes(const char *pattern) {
    int count = 0;
    for (const char *at = pattern; (at = strstr(at, "%d")); at += 2) count++;
    return count;
}

// Fills the pattern's holes with numbers[].
static bool print_name(const char *pattern, const int *numbers, int count, char name[MOSA_WEIGHT_NAME_MAX]) {
    size_t used = 0;
    for (int i = 0; i < count; i++) {
        if (numbers[i] < 0 || numbers[i] >= MOSA_WEIGHT_LAYERS_MAX) return false;
        const char *hole = strstr(pattern, "%d");
        used += (size_t)snprintf(name + used, MOSA_WEIGHT_NAME_MAX - used, "%.*s%d", (int)(hole - pattern), pattern,
                                 numbers[i]);
        pattern = hole + 2;
    }
    snprintf(name + used, MOSA_WEIGHT_NAME_MAX - used, "%s", pattern);
    return true;
}

bool mosa_weight_name(mosa_naming naming, const char *arch, mosa_weight_slot slot, int layer,
                      char name[MOSA_WEIGHT_NAME_MAX]) {
    const char *pattern = pattern_of(naming, arch, slot);
    int count = pattern ? holes(pattern) : 0;
    return pattern && count < 2 && print_name(pattern, &layer, count, name);
}

bool mosa_weight_expert_name(mosa_naming naming, const char *arch, mosa_weight_slot slot, int layer, int expert,
                             char name[MOSA_WEIGHT_NAME_MAX]) {
    const char *pattern = pattern_of(naming, arch, slot);
    return pattern && holes(pattern) == 2 && print_name(pattern, (int[]){layer, expert}, 2, name);
}

// Canonical decimal only: "007" would make two names for one tensor.
static const char *parse_number(const char *text, int *number) {
    if (*text == '0' && text[1] >= '0' && text[1] <= '9') return NULL;
    int value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        value = value * 10 + (*at - '0');
        if (value >= MOSA_WEIGHT_LAYERS_MAX) return NULL;
    }
    *number = value;
    return at == text ? NULL : at;
}

static bool match(const char *pattern, const char *name, int numbers[2]) {
    numbers[0] = numbers[1] = -1;
    for (int i = 0; i < 2; i++) {
        const char *hole = strstr(pattern, "%d");
        if (!hole) break;
        size_t head = (size_t)(hole - pattern);
        if (strncmp(pattern, name, head) != 0 || !(name = parse_number(name + head, &numbers[i]))) return false;
        pattern = hole + 2;
    }
    return strcmp(pattern, name) == 0;
}

bool mosa_weight_parse(mosa_naming naming, const char *arch, const char *name, mosa_weight_slot *slot, int *layer,
                       int *expert) {
    for (unsigned i = 0; i < MOSA_W_COUNT; i++) {
        const char *pattern = pattern_of(naming, arch, (mosa_weight_slot)i);
        int numbers[2];
        if (!pattern || !match(pattern, name, numbers)) continue;
        *slot = (mosa_weight_slot)i;
        *layer = numbers[0];
        *expert = numbers[1];
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
