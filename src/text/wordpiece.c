// Two tries give the longest match in one walk, so a word costs time linear in its length for real vocabularies.
#include "text/wordpiece.h"

mosa_status mosa_wordpiece_build(mosa_wordpiece *wordpiece, const mosa_tokenizer_spec *spec, const mosa_slice *text,
                                 mosa_error *err) {
    *wordpiece = (mosa_wordpiece){.unk = spec->special.unk, .word_chars_max = spec->word_chars_max};
    if (spec->special.unk < 0) {
        return mosa_fail(err, MOSA_ECORRUPT, "%s: a WordPiece model needs its unknown token", spec->source);
    }
    mosa_slice prefix = spec->subword_prefix;
    bool ok = mosa_trie_init(&wordpiece->start) && mosa_trie_init(&wordpiece->inner);
    for (size_t i = 0; ok && i < spec->token_count; i++) {
        if (!text[i].data || !text[i].len) continue;
        ok = mosa_trie_add(&wordpiece->start, text[i], (int32_t)i);
        if (!ok || text[i].len <= prefix.len || !mosa_slice_starts_with(text[i], prefix)) continue;
        mosa_slice inner = {text[i].data + prefix.len, text[i].len - prefix.len};
        ok = mosa_trie_add(&wordpiece->inner, inner, (int32_t)i);
    }
    return ok ? MOSA_OK : mosa_fail(err, MOSA_ENOMEM, "%s: out of memory for the vocabulary", spec->source);
}

void mosa_wordpiece_finish(mosa_wordpiece *wordpiece) {
    mosa_trie_finish(&wordpiece->start);
    mosa_trie_finish(&wordpiece->inner);
}

static bool is_too_long(const mosa_wordpiece *wordpiece, mosa_slice word) {
    size_t chars = 0;
    for (size_t i = 0; i < word.len; i++) chars += ((unsigned char)word.data[i] & 0xC0) != 0x80;
    return chars > wordpiece->word_chars_max;
}

void mosa_wordpiece_encode(const mosa_wordpiece *wordpiece, mosa_slice word, mosa_token_list *out) {
    size_t before = out->len;
    bool known = !is_too_long(wordpiece, word);
    for (size_t at = 0; known && at < word.len;) {
        size_t matched = 0;
        const mosa_trie *trie = at == 0 ? &wordpiece->start : &wordpiece->inner;
        int32_t id = mosa_trie_longest(trie, word.data + at, word.len - at, &matched);
        known = id >= 0;
        if (known) mosa_token_list_append(out, id);
        at += matched;
    }
    if (known) return;
    if (!out->failed) out->len = before;
    mosa_token_list_append(out, wordpiece->unk);
}
