// The table of dialects, the most particular first, and the choice by a template's own words.
#include "text/dialect/dialect.h"

#include "base/status.h"

#include <string.h>

static const mosa_dialect *const table[] = {
    &mosa_dialect_harmony,      &mosa_dialect_kimi,         &mosa_dialect_deepseek_r1, &mosa_dialect_deepseek_v31,
    &mosa_dialect_mistral,      &mosa_dialect_mistral_list, &mosa_dialect_cohere,      &mosa_dialect_granite,
    &mosa_dialect_glm,          &mosa_dialect_seed,         &mosa_dialect_qwen_coder,  &mosa_dialect_hermes,
    &mosa_dialect_firefunction, &mosa_dialect_llama3,       &mosa_dialect_generic,
};

static const mosa_reasoning_style styles[] = {
    {"<think>", "</think>"},
    {"[THINK]", "[/THINK]"},
    {"<|START_THINKING|>", "<|END_THINKING|>"},
    {"<seed:think>", "</seed:think>"},
    {"<|inner_prefix|>", "<|inner_suffix|>"},
};

static bool contains(mosa_slice text, const char *word) {
    return text.len && memmem(text.data, text.len, word, strlen(word));
}

const mosa_dialect *mosa_dialect_find(mosa_slice chat_template) {
    for (size_t i = 0; i < MOSA_COUNT(table); i++) {
        bool all = table[i]->signs[0] != NULL;
        for (size_t k = 0; k < MOSA_DIALECT_SIGNS_MAX && table[i]->signs[k]; k++)
            all = all && contains(chat_template, table[i]->signs[k]);
        if (all) return table[i];
    }
    return &mosa_dialect_generic;
}

const mosa_reasoning_style *mosa_reasoning_style_find(mosa_slice chat_template) {
    for (size_t i = 0; i < MOSA_COUNT(styles); i++)
        if (contains(chat_template, styles[i].open) || contains(chat_template, styles[i].close)) return &styles[i];
    return NULL;
}

const mosa_dialect *mosa_dialect_by_name(const char *name) {
    for (size_t i = 0; i < MOSA_COUNT(table); i++)
        if (strcmp(table[i]->name, name) == 0) return table[i];
    return NULL;
}

const mosa_dialect *const *mosa_dialects(size_t *count) {
    *count = MOSA_COUNT(table);
    return table;
}
