// The list of model families. Order is match order.
#include "model/family.h"

#include <stdio.h>
#include <string.h>

extern const mosa_family mosa_family_bert;
extern const mosa_family mosa_family_deepseek;
extern const mosa_family mosa_family_gemma2;
extern const mosa_family mosa_family_gemma3;
extern const mosa_family mosa_family_gpt_oss;
extern const mosa_family mosa_family_granite;
extern const mosa_family mosa_family_llama;
extern const mosa_family mosa_family_mixtral;
extern const mosa_family mosa_family_nomic_bert;
extern const mosa_family mosa_family_phi3;
extern const mosa_family mosa_family_qwen2;
extern const mosa_family mosa_family_qwen2_moe;
extern const mosa_family mosa_family_qwen3;
extern const mosa_family mosa_family_qwen3_moe;

static const mosa_family *const families[] = {
    &mosa_family_deepseek, &mosa_family_gemma2,    &mosa_family_gemma3, &mosa_family_gpt_oss,    &mosa_family_granite,
    &mosa_family_llama,    &mosa_family_mixtral,   &mosa_family_phi3,   &mosa_family_qwen2,      &mosa_family_qwen2_moe,
    &mosa_family_qwen3,    &mosa_family_qwen3_moe, &mosa_family_bert,   &mosa_family_nomic_bert,
};

static bool listed(const char *const *names, size_t count, const char *name) {
    for (size_t i = 0; i < count && names[i]; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

static mosa_status unsupported(const mosa_model_source *source, mosa_error *err) {
    char known[512] = "";
    for (size_t i = 0, used = 0; i < MOSA_COUNT(families) && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", families[i]->name);
    mosa_fail(err, MOSA_EUNSUPPORTED, "%s: architecture \"%s\" is not supported", mosa_model_source_path(source),
              mosa_model_source_arch(source));
    mosa_hint(err, "supported: %s, and what is stored as one of them (mistral, smollm)", known);
    return MOSA_EUNSUPPORTED;
}

mosa_status mosa_family_find(const mosa_model_source *source, const mosa_family **out, mosa_error *err) {
    const char *arch = mosa_model_source_arch(source);
    bool gguf = mosa_model_source_is_gguf(source);
    for (size_t i = 0; i < MOSA_COUNT(families); i++) {
        const mosa_family *family = families[i];
        if (!listed(gguf ? family->gguf_archs : family->hf_types,
                    gguf ? MOSA_COUNT(family->gguf_archs) : MOSA_COUNT(family->hf_types), arch))
            continue;
        *out = family;
        return MOSA_OK;
    }
    return unsupported(source, err);
}
