// Building a BPE model: the word table, the units, and the merge table from listed merges or from the vocabulary.
#include <stdlib.h>

#include "text/bpe_internal.h"
#include "text/unicode.h"

// Deriving merges looks at every split of every token, so tokens of such vocabularies are bounded.
enum { DERIVED_TOKEN_BYTES_MAX = 512 };

typedef struct builder {
    mosa_bpe *bpe;
    mosa_arena *arena;
    const mosa_tokenizer_spec *spec;
    const mosa_slice *text;
    mosa_bpe_merge *list; // malloc'ed, then hashed
    size_t count, capacity;
    int32_t symbol_count;
    mosa_error *err;
} builder;

static mosa_status no_memory(builder *b) {
    return mosa_fail(b->err, MOSA_ENOMEM, "%s: out of memory for the vocabulary's merges", b->spec->source);
}

static mosa_status add_merge(builder *b, int32_t left, int32_t right, uint32_t rank, int32_t result) {
    if (b->count == b->capacity) {
        size_t capacity = b->capacity ? b->capacity * 2 : 1024;
        mosa_bpe_merge *list = capacity > MOSA_MERGES_MAX ? NULL : realloc(b->list, capacity * sizeof *list);
        if (!list) return no_memory(b);
        b->list = list;
        b->capacity = capacity;
    }
    b->list[b->count++] = (mosa_bpe_merge){left, right, rank, result};
    return MOSA_OK;
}

static mosa_status hash_merges(builder *b) {
    size_t slots = 16;
    while (slots < b->count * 2) slots *= 2;
    mosa_bpe *bpe = b->bpe;
    bpe->merges = MOSA_ARENA_ARRAY(b->arena, mosa_bpe_merge, slots);
    if (!bpe->merges) return no_memory(b);
    bpe->merge_mask = (uint32_t)(slots - 1);
    for (size_t i = 0; i < slots; i++) bpe->merges[i].left = -1;
    for (size_t i = 0; i < b->count; i++) {
        *mosa_bpe_slot(bpe, b->list[i].left, b->list[i].right) = b->list[i];
    }
    return MOSA_OK;
}

// --- Listed merges --------------------------------------------------------------------------------------------------

static int32_t concatenation(const builder *b, const mosa_string_table *by_spelling, mosa_buf *joined,
                             mosa_merge_spec merge) {
    mosa_slice right = merge.right;
    mosa_slice prefix = b->spec->subword_prefix;
    if (prefix.len && mosa_slice_starts_with(right, prefix)) {
        right.data += prefix.len;
        right.len -= prefix.len;
    }
    mosa_buf_clear(joined);
    mosa_buf_append_slice(joined, merge.left);
    mosa_buf_append_slice(joined, right);
    if (mosa_buf_failed(joined)) return -1;
    return mosa_string_table_find(by_spelling, mosa_buf_str(joined), joined->len);
}

static mosa_status list_merges(builder *b, const mosa_string_table *by_spelling, mosa_buf *joined) {
    for (size_t i = 0; i < b->spec->merge_count; i++) {
        mosa_merge_spec merge = b->spec->merges[i];
        int32_t left = mosa_string_table_find(by_spelling, merge.left.data, merge.left.len);
        int32_t right = mosa_string_table_find(by_spelling, merge.right.data, merge.right.len);
        int32_t result = left < 0 || right < 0 ? -1 : concatenation(b, by_spelling, joined, merge);
        if (result < 0) {
            return mosa_fail(b->err, MOSA_ECORRUPT,
                             "%s: merge %zu (\"%.*s\" + \"%.*s\") names a token that is not in "
                             "the vocabulary",
                             b->spec->source, i, (int)(merge.left.len > 64 ? 64 : merge.left.len), merge.left.data,
                             (int)(merge.right.len > 64 ? 64 : merge.right.len), merge.right.data);
        }
        // A merge must not make what the model may not produce (a control token).
        if (b->text[result].data) MOSA_TRY(add_merge(b, left, right, (uint32_t)i, result));
    }
    return MOSA_OK;
}

// --- Merges derived from the vocabulary -----------------------------------------------------------------------------

// Characters that are no token still merge into tokens that hold them: they become symbols behind the tokens.
static void add_extra_characters(builder *b) {
    mosa_bpe *bpe = b->bpe;
    for (int32_t id = 0; id < bpe->token_count; id++) {
        mosa_slice text = b->text[id];
        unsigned len;
        for (size_t at = 0; text.data && at < text.len; at += len) {
            len = mosa_utf8_len((unsigned char)text.data[at]);
            if (mosa_string_table_find(&bpe->words, text.data + at, len) >= 0) continue;
            bpe->word_text[b->symbol_count] = (mosa_slice){text.data + at, len};
            mosa_string_table_add(&bpe->words, b->symbol_count++);
        }
    }
}

// How many different characters the tokens have: the most that can become symbols.
static bool count_characters(const builder *b, size_t *count) {
    enum { CODE_POINTS = 0x110000 };
    MOSA_AUTO_FREE uint8_t *seen = calloc(CODE_POINTS / 8, 1);
    if (!seen) return false;
    *count = 0;
    for (int32_t id = 0; id < b->bpe->token_count; id++) {
        mosa_slice text = b->text[id];
        unsigned len;
        for (size_t at = 0; text.data && at < text.len; at += len) {
            uint32_t c = mosa_utf8_decode(text.data + at, &len);
            *count += !(seen[c / 8] >> (c % 8) & 1);
            seen[c / 8] |= (uint8_t)(1u << (c % 8));
        }
    }
    return true;
}

static mosa_status derive_token(builder *b, int32_t id, uint32_t rank) {
    mosa_slice text = b->text[id];
    if (!text.data) return MOSA_OK;
    if (text.len > DERIVED_TOKEN_BYTES_MAX) {
        return mosa_fail(b->err, MOSA_ELIMIT, "%s: token %d has %zu bytes, the limit is %d", b->spec->source, (int)id,
                         text.len, DERIVED_TOKEN_BYTES_MAX);
    }
    size_t at = 0;
    for (;;) {
        at += b->bpe->byte_level ? 1 : mosa_utf8_len((unsigned char)text.data[at]);
        if (at >= text.len) return MOSA_OK;
        int32_t left = mosa_string_table_find(&b->bpe->words, text.data, at);
        if (left < 0) continue;
        int32_t right = mosa_string_table_find(&b->bpe->words, text.data + at, text.len - at);
        if (right >= 0) MOSA_TRY(add_merge(b, left, right, rank, id));
    }
}

typedef struct scored {
    double score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b) {
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static mosa_status derive_merges(builder *b) {
    if (!b->bpe->byte_level) add_extra_characters(b);
    int32_t count = b->bpe->token_count;
    if (b->spec->merge_source == MOSA_MERGES_BY_RANK) {
        for (int32_t id = 0; id < count; id++) MOSA_TRY(derive_token(b, id, (uint32_t)id));
        return MOSA_OK;
    }
    scored *order = malloc((size_t)count * sizeof *order + 1);
    if (!order) return no_memory(b);
    for (int32_t id = 0; id < count; id++) order[id] = (scored){b->spec->tokens[id].score, id};
    qsort(order, (size_t)count, sizeof *order, by_score);
    mosa_status status = MOSA_OK;
    uint32_t rank = 0; // equal scores share a rank: the leftmost pair wins then
    for (int32_t i = 0; i < count && status == MOSA_OK; i++) {
        if (i > 0 && order[i].score != order[i - 1].score) rank++;
        status = derive_token(b, order[i].id, rank);
    }
    free(order);
    return status;
}

// --- Units ----------------------------------------------------------------------------------------------------------

static void find_bytes(builder *b, const mosa_string_table *by_spelling) {
    mosa_bpe *bpe = b->bpe;
    for (int i = 0; i < 256; i++) {
        char raw = (char)i, name[8];
        if (bpe->byte_level) {
            bpe->bytes[i] = mosa_string_table_find(&bpe->words, &raw, 1);
        } else {
            static const char hex[] = "0123456789ABCDEF";
            memcpy(name, "<0x__>", 6);
            name[3] = hex[i >> 4];
            name[4] = hex[i & 15];
            bpe->bytes[i] = mosa_string_table_find(by_spelling, name, 6);
        }
    }
}

static bool marker_starts_only(mosa_slice text) {
    for (size_t at = 3; at + 3 <= text.len; at++) {
        if (memcmp(text.data + at, "\xE2\x96\x81", 3) == 0 && memcmp(text.data + at - 3, "\xE2\x96\x81", 3) != 0) {
            return false;
        }
    }
    // A marker at offsets 1 or 2 stands behind a short character.
    return text.len < 4 || (memcmp(text.data + 1, "\xE2\x96\x81", 3) != 0 &&
                            (text.len < 5 || memcmp(text.data + 2, "\xE2\x96\x81", 3) != 0));
}

static mosa_status build_words(builder *b) {
    mosa_bpe *bpe = b->bpe;
    size_t extra = 0;
    bool derived = b->spec->merge_source == MOSA_MERGES_BY_SCORE && !bpe->byte_level;
    if (derived && !count_characters(b, &extra)) return no_memory(b);
    size_t capacity = (size_t)bpe->token_count + extra;
    bpe->word_text = MOSA_ARENA_ARRAY(b->arena, mosa_slice, capacity);
    bpe->memo = MOSA_ARENA_ARRAY(b->arena, uint8_t, (size_t)bpe->token_count);
    if (!bpe->word_text || !bpe->memo || !mosa_string_table_init(&bpe->words, b->arena, bpe->word_text, capacity)) {
        return no_memory(b);
    }
    bpe->cut_at_marker = !bpe->byte_level && !bpe->ignore_merges && !bpe->subword_prefix.len && !bpe->word_suffix.len;
    for (int32_t id = 0; id < bpe->token_count; id++) {
        bpe->word_text[id] = b->text[id];
        if (!b->text[id].data) continue;
        mosa_string_table_add(&bpe->words, id);
        if (bpe->cut_at_marker && !marker_starts_only(b->text[id])) bpe->cut_at_marker = false;
    }
    b->symbol_count = bpe->token_count;
    return MOSA_OK;
}

mosa_status mosa_bpe_build(mosa_bpe *bpe, mosa_arena *arena, const mosa_tokenizer_spec *spec, const mosa_slice *text,
                           const mosa_string_table *by_spelling, bool byte_level, mosa_error *err) {
    if (spec->subword_prefix.len > MOSA_BPE_AFFIX_MAX || spec->word_suffix.len > MOSA_BPE_AFFIX_MAX) {
        return mosa_fail(err, MOSA_ELIMIT, "%s: model.continuing_subword_prefix or end_of_word_suffix is over %d bytes",
                         spec->source, MOSA_BPE_AFFIX_MAX);
    }
    *bpe = (mosa_bpe){
        .token_count = (int32_t)spec->token_count,
        .unk = spec->special.unk,
        .byte_level = byte_level,
        .byte_fallback = spec->byte_fallback,
        .fuse_unk = spec->fuse_unk,
        .ignore_merges = spec->ignore_merges,
        .fuse_across_words = spec->merge_source == MOSA_MERGES_BY_SCORE,
    };
    bpe->subword_prefix = (mosa_slice){mosa_arena_strndup(arena, spec->subword_prefix.data, spec->subword_prefix.len),
                                       spec->subword_prefix.len};
    bpe->word_suffix =
        (mosa_slice){mosa_arena_strndup(arena, spec->word_suffix.data, spec->word_suffix.len), spec->word_suffix.len};
    builder b = {.bpe = bpe, .arena = arena, .spec = spec, .text = text, .err = err};
    mosa_status status = build_words(&b);
    mosa_buf joined;
    mosa_buf_init(&joined, 4 * (size_t)MOSA_TOKEN_BYTES_MAX);
    if (status == MOSA_OK) {
        find_bytes(&b, by_spelling);
        status = spec->merge_source == MOSA_MERGES_LISTED ? list_merges(&b, by_spelling, &joined) : derive_merges(&b);
    }
    if (status == MOSA_OK) status = hash_merges(&b);
    mosa_buf_finish(&joined);
    free(b.list);
    return status;
}
