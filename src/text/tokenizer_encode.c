// The way from text to ids: make it valid UTF-8, cut out added tokens, normalise, cut out those that match afterwards,
// pre-tokenize, and hand every word to the model.
#include <stdlib.h>

#include "text/byte_level.h"
#include "text/tokenizer_internal.h"

enum { TEXT_BYTES_MAX = 1 << 30 };

void mosa_encoder_init(mosa_encoder *encoder, const mosa_tokenizer *tokenizer, mosa_token_list *out, mosa_error *err) {
    *encoder = (mosa_encoder){.tokenizer = tokenizer, .out = out, .err = err};
}

void mosa_encoder_finish(mosa_encoder *encoder) {
    for (size_t i = 0; i < MOSA_COUNT(encoder->normal); i++) mosa_buf_finish(&encoder->normal[i]);
    for (size_t i = 0; i < MOSA_COUNT(encoder->stage); i++) mosa_buf_finish(&encoder->stage[i]);
    mosa_buf_finish(&encoder->word);
    mosa_bpe_scratch_finish(&encoder->bpe);
    mosa_regex_scratch_finish(&encoder->regex);
    free(encoder->lattice);
    encoder->lattice = NULL;
}

mosa_status mosa_encoder_word(mosa_encoder *encoder, mosa_slice word) {
    const mosa_tokenizer *t = encoder->tokenizer;
    bool ok = true;
    if (t->spelled && t->model == MOSA_MODEL_BPE) {
        mosa_buf_clear(&encoder->word);
        // What a later step put in beside the spelling has no bytes, and no token either.
        if (!mosa_byte_level_decode(word, &encoder->word)) return MOSA_OK;
        ok = !mosa_buf_failed(&encoder->word);
        word = mosa_buf_slice(&encoder->word);
    }
    switch (t->model) {
    case MOSA_MODEL_BPE:
        ok = ok && mosa_bpe_encode(&t->bpe, &encoder->bpe, word, encoder->out);
        break;
    case MOSA_MODEL_WORDPIECE:
        mosa_wordpiece_encode(&t->wordpiece, word, encoder->out);
        break;
    case MOSA_MODEL_UNIGRAM:
        return mosa_unigram_encode(&t->unigram, &encoder->lattice, &encoder->lattice_capacity, word, encoder->out,
                                   encoder->err);
    }
    return ok ? MOSA_OK : mosa_fail(encoder->err, MOSA_ENOMEM, "out of memory while tokenizing");
}

// --- Trust ----------------------------------------------------------------------------------------------------------

typedef struct trust_map {
    struct mosa_trust_span *spans; // malloc'ed
    mosa_trust trust;
    bool all; // the whole text is trusted
} trust_map;

static mosa_status check_ranges(size_t len, const mosa_text_range *ranges, size_t count, mosa_error *err) {
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].offset < at || ranges[i].offset > len || ranges[i].len > len - ranges[i].offset) {
            return mosa_fail(err, MOSA_EINVALID, "trust range %zu is out of order or out of the text", i);
        }
        at = ranges[i].offset + ranges[i].len;
    }
    return MOSA_OK;
}

static mosa_status build_trust(trust_map *map, size_t len, const mosa_text_range *ranges, size_t count,
                               mosa_error *err) {
    *map = (trust_map){0};
    MOSA_TRY(check_ranges(len, ranges, count, err));
    map->spans = malloc((count + 1) * sizeof *map->spans);
    if (!map->spans) return mosa_fail(err, MOSA_ENOMEM, "out of memory while tokenizing");
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (!ranges[i].trusted || ranges[i].len == 0) continue;
        size_t start = ranges[i].offset, end = start + ranges[i].len;
        if (used && map->spans[used - 1].end == start)
            map->spans[used - 1].end = end;
        else
            map->spans[used++] = (struct mosa_trust_span){start, end};
    }
    map->trust = (mosa_trust){map->spans, used};
    map->all = used == 1 && map->spans[0].start == 0 && map->spans[0].end == len;
    return MOSA_OK;
}

// Repairs `text` into *out and moves the trusted spans along. A border inside an ill-formed part shrinks its span.
static void repair(mosa_slice text, struct mosa_trust_span *spans, size_t count, mosa_buf *out) {
    size_t at = 0, next_start = 0, next_end = 0;
    while (at <= text.len) {
        while (next_start < count && spans[next_start].start <= at) spans[next_start++].start = out->len;
        if (at == text.len) break;
        unsigned used;
        mosa_utf8_kind kind = mosa_utf8_scan(text.data + at, text.len - at, &used);
        size_t after = kind == MOSA_UTF8_PARTIAL ? text.len : at + used;
        while (next_end < count && spans[next_end].end < after) spans[next_end++].end = out->len;
        if (kind == MOSA_UTF8_CHAR)
            mosa_buf_append(out, text.data + at, used);
        else
            mosa_buf_append(out, "\xEF\xBF\xBD", 3);
        at = after;
    }
    while (next_end < count) spans[next_end++].end = out->len;
}

// --- Added tokens ---------------------------------------------------------------------------------------------------

typedef struct splitter {
    mosa_encoder *encoder;
    const mosa_trust *trust; // NULL = everything
} splitter;

static mosa_status encode_plain(mosa_encoder *encoder, mosa_slice text, bool at_start) {
    const mosa_tokenizer *t = encoder->tokenizer;
    return mosa_pretokenize(encoder, t->pretokenizers, t->pretokenizer_count, text, at_start);
}

// A fragment without added tokens of the first kind: normalise, then cut out those of the second.
static mosa_status encode_fragment(splitter *s, mosa_slice text, bool at_start) {
    static const mosa_trust nothing = {NULL, 0};
    const mosa_tokenizer *t = s->encoder->tokenizer;
    mosa_slice normal;
    MOSA_TRY(mosa_normalize(s->encoder, t->normalizers, t->normalizer_count, text, &normal));
    size_t resume = 0, done = 0;
    mosa_added_match match;
    while (mosa_added_tokens_next(&t->added, &t->added.normalized, normal, s->trust ? &nothing : NULL, &resume, done,
                                  &match)) {
        if (match.start > done) {
            mosa_slice before = {normal.data + done, match.start - done};
            MOSA_TRY(encode_plain(s->encoder, before, at_start && done == 0));
        }
        mosa_token_list_append(s->encoder->out, match.id);
        done = match.end;
    }
    if (done == normal.len) return MOSA_OK;
    return encode_plain(s->encoder, (mosa_slice){normal.data + done, normal.len - done}, at_start && done == 0);
}

static mosa_status encode_text(splitter *s, mosa_slice text) {
    const mosa_tokenizer *t = s->encoder->tokenizer;
    const mosa_trie *trie = s->trust && t->added.has_mixed ? &t->added.mixed : &t->added.raw;
    size_t resume = 0, done = 0;
    mosa_added_match match;
    while (mosa_added_tokens_next(&t->added, trie, text, s->trust, &resume, done, &match)) {
        if (match.start > done) {
            MOSA_TRY(encode_fragment(s, (mosa_slice){text.data + done, match.start - done}, done == 0));
        }
        mosa_token_list_append(s->encoder->out, match.id);
        done = match.end;
    }
    if (done == text.len) return MOSA_OK;
    return encode_fragment(s, (mosa_slice){text.data + done, text.len - done}, done == 0);
}

// --- Calls ----------------------------------------------------------------------------------------------------------

static mosa_status encode_valid(const mosa_tokenizer *t, mosa_slice text, const mosa_trust *trust, unsigned flags,
                                mosa_token_list *out, mosa_error *err) {
    mosa_encoder encoder;
    mosa_encoder_init(&encoder, t, out, err);
    splitter s = {&encoder, trust};
    bool around = (flags & MOSA_ENCODE_ADD_SPECIAL) != 0;
    size_t before = out->len;
    for (size_t i = 0; around && i < t->prefix_count; i++) mosa_token_list_append(out, t->prefix_ids[i]);
    mosa_status status = text.len ? encode_text(&s, text) : MOSA_OK;
    for (size_t i = 0; around && i < t->suffix_count; i++) mosa_token_list_append(out, t->suffix_ids[i]);
    mosa_encoder_finish(&encoder);
    if (status == MOSA_OK && out->failed) {
        bool full = out->limit && out->len >= out->limit;
        status = full ? mosa_fail(err, MOSA_ELIMIT, "the text has more than %zu tokens", out->limit)
                      : mosa_fail(err, MOSA_ENOMEM, "out of memory while tokenizing");
    }
    if (status != MOSA_OK) {
        out->len = before;
        out->failed = false;
    }
    return status;
}

static mosa_status encode_trusted(const mosa_tokenizer *t, mosa_slice text, trust_map *map, unsigned flags,
                                  mosa_token_list *out, mosa_error *err) {
    if (out->failed) return mosa_fail(err, MOSA_ENOMEM, "the list of tokens has failed before");
    const mosa_trust *trust = map->all ? NULL : &map->trust;
    if (mosa_utf8_valid_prefix(text.data, text.len) == text.len) return encode_valid(t, text, trust, flags, out, err);
    mosa_buf repaired;
    mosa_buf_init(&repaired, 0);
    repair(text, map->spans, map->trust.count, &repaired);
    mosa_status status = mosa_buf_failed(&repaired)
                             ? mosa_fail(err, MOSA_ENOMEM, "out of memory while tokenizing")
                             : encode_valid(t, mosa_buf_slice(&repaired), trust, flags, out, err);
    mosa_buf_finish(&repaired);
    return status;
}

mosa_status mosa_tokenizer_encode_ranges(const mosa_tokenizer *tokenizer, mosa_slice text,
                                         const mosa_text_range *ranges, size_t range_count, unsigned flags,
                                         mosa_token_list *out, mosa_error *err) {
    if (text.len > TEXT_BYTES_MAX) {
        return mosa_fail(err, MOSA_ELIMIT, "a text of %zu bytes, the limit is %d", text.len, TEXT_BYTES_MAX);
    }
    trust_map map;
    MOSA_TRY(build_trust(&map, text.len, ranges, range_count, err));
    mosa_status status = encode_trusted(tokenizer, text, &map, flags, out, err);
    free(map.spans);
    return status;
}

mosa_status mosa_tokenizer_encode(const mosa_tokenizer *tokenizer, mosa_slice text, unsigned flags,
                                  mosa_token_list *out, mosa_error *err) {
    mosa_text_range whole = {.offset = 0, .len = text.len, .trusted = (flags & MOSA_ENCODE_PARSE_SPECIAL) != 0};
    return mosa_tokenizer_encode_ranges(tokenizer, text, &whole, 1, flags, out, err);
}
