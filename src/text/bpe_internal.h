// The merge table's probe, shared by bpe.c and bpe_build.c.
#ifndef MOSA_TEXT_BPE_INTERNAL_H
#define MOSA_TEXT_BPE_INTERNAL_H

#include "text/bpe.h"

enum { MOSA_BPE_AFFIX_MAX = 64 }; // bytes of subword_prefix and of word_suffix

static inline uint32_t mosa_bpe_hash_pair(int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    return (uint32_t)((key * 0x9E3779B97F4A7C15u) >> 32);
}

// The slot of the pair, or the free slot where it belongs.
static inline mosa_bpe_merge *mosa_bpe_slot(const mosa_bpe *bpe, int32_t left, int32_t right) {
    uint32_t at = mosa_bpe_hash_pair(left, right) & bpe->merge_mask;
    for (;; at = (at + 1) & bpe->merge_mask) {
        mosa_bpe_merge *slot = &bpe->merges[at];
        if (slot->left < 0 || (slot->left == left && slot->right == right)) return slot;
    }
}

static inline const mosa_bpe_merge *mosa_bpe_find_merge(const mosa_bpe *bpe, int32_t left, int32_t right) {
    if (left < 0 || right < 0) return NULL;
    const mosa_bpe_merge *slot = mosa_bpe_slot(bpe, left, right);
    return slot->left < 0 ? NULL : slot;
}

#endif
