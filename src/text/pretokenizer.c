// Matching and splitting. A step yields alternating matches and gaps; a small state machine groups them by behaviour.
#include "text/pretokenizer.h"

#include "text/byte_level.h"
#include "text/unicode.h"

// --- Building -------------------------------------------------------------------------------------------------------

static mosa_status build_split(mosa_pretokenizer *step, mosa_error *err) {
    mosa_pretokenizer_spec *spec = &step->spec;
    if (!spec->regex) return MOSA_OK;
    step->scan = mosa_scan_find(spec->pattern);
    if (step->scan) return MOSA_OK;
    return mosa_regex_compile(spec->pattern, &step->regex, err);
}

mosa_status mosa_pretokenizer_build(mosa_pretokenizer *step, mosa_arena *arena, const mosa_pretokenizer_spec *spec,
                                    const char *source, mosa_error *err) {
    *step = (mosa_pretokenizer){.spec = *spec};
    step->spec.pattern.data = mosa_arena_strndup(arena, spec->pattern.data, spec->pattern.len);
    if (!step->spec.pattern.data) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", source);
    mosa_status status = MOSA_OK;
    switch (spec->kind) {
    case MOSA_PRE_SPLIT:
        status = build_split(step, err);
        break;
    case MOSA_PRE_BYTE_LEVEL:
        step->scan = spec->use_regex ? mosa_scan_gpt2 : NULL;
        step->spec.behavior = MOSA_SPLIT_ISOLATED;
        break;
    case MOSA_PRE_FIXED_LENGTH:
        if (spec->length == 0) status = mosa_fail(err, MOSA_ECORRUPT, "pre_tokenizer FixedLength of length 0");
        break;
    case MOSA_PRE_WHITESPACE:
    case MOSA_PRE_WHITESPACE_SPLIT:
    case MOSA_PRE_DELIMITER:
        step->spec.behavior = MOSA_SPLIT_REMOVED;
        break;
    case MOSA_PRE_DIGITS:
        step->spec.behavior = spec->individual ? MOSA_SPLIT_ISOLATED : MOSA_SPLIT_CONTIGUOUS;
        break;
    case MOSA_PRE_METASPACE:
        step->spec.behavior = MOSA_SPLIT_MERGED_WITH_NEXT;
        break;
    case MOSA_PRE_BERT:
    case MOSA_PRE_SPELL_BYTES:
    case MOSA_PRE_PUNCTUATION:
        break;
    }
    if (status != MOSA_OK) (void)mosa_fail_prefix(err, source);
    return status;
}

void mosa_pretokenizer_finish(mosa_pretokenizer *step) {
    mosa_regex_free(step->regex);
}

// --- Matching -------------------------------------------------------------------------------------------------------

// Hugging Face's is_punctuation: ASCII punctuation and category P as of Unicode 8 (with the two that left P since).
static bool is_punctuation(uint32_t c) {
    if (c < 128) return (mosa_unicode_mask(c) & (MOSA_UM_P | MOSA_UM_S)) != 0;
    if (c == 0x166D || c == 0x111C9) return true;
    return (mosa_unicode_mask(c) & MOSA_UM_P) && mosa_unicode_present_in_8(c);
}

static bool is_class(const mosa_pretokenizer *step, uint32_t c, const char *at, size_t left) {
    switch (step->spec.kind) {
    case MOSA_PRE_WHITESPACE_SPLIT:
        return mosa_unicode_is_space(c);
    case MOSA_PRE_PUNCTUATION:
        return is_punctuation(c);
    case MOSA_PRE_DIGITS:
        return (mosa_unicode_mask(c) & MOSA_UM_N) != 0;
    default: { // the one character that a delimiter or Metaspace names, or a plain pattern
        mosa_slice pattern = step->spec.pattern;
        return pattern.len && left >= pattern.len && memcmp(at, pattern.data, pattern.len) == 0;
    }
    }
}

// First match at or after `from` of a step that is not a regex: a single character or a string.
static bool find_plain(const mosa_pretokenizer *step, mosa_slice text, size_t from, size_t *start, size_t *end) {
    unsigned len;
    for (size_t at = from; at < text.len; at += len) {
        uint32_t c = mosa_utf8_decode(text.data + at, &len);
        if (!is_class(step, c, text.data + at, text.len - at)) continue;
        bool string = step->spec.kind == MOSA_PRE_SPLIT || step->spec.kind == MOSA_PRE_DELIMITER ||
                      step->spec.kind == MOSA_PRE_METASPACE;
        *start = at;
        *end = at + (string ? step->spec.pattern.len : len);
        return true;
    }
    return false;
}

static bool find_scan(mosa_scan_fn scan, mosa_slice text, size_t from, size_t *start, size_t *end) {
    for (size_t at = from; at < text.len; at += mosa_utf8_len((unsigned char)text.data[at])) {
        size_t len = scan(text.data + at, text.data + text.len);
        if (len == 0) continue;
        *start = at;
        *end = at + len;
        return true;
    }
    return false;
}

// --- Splitting ------------------------------------------------------------------------------------------------------

typedef struct splitter {
    mosa_encoder *encoder;
    const mosa_pretokenizer *steps;
    size_t count;
    mosa_slice text;
    bool at_start;
    size_t pending_start, pending_end; // group not handed on yet; empty when equal
    bool pending_match;                // the last part of the group is a match
    bool any;                          // there is a group
} splitter;

static mosa_status hand_on(splitter *s, size_t start, size_t end) {
    if (start == end) return MOSA_OK;
    return mosa_pretokenize(s->encoder, s->steps + 1, s->count - 1, (mosa_slice){s->text.data + start, end - start},
                            s->at_start && start == 0);
}

static mosa_status flush(splitter *s) {
    if (!s->any) return MOSA_OK;
    s->any = false;
    return hand_on(s, s->pending_start, s->pending_end);
}

// Next part in order: a match or the gap before one.
static mosa_status add_part(splitter *s, size_t start, size_t end, bool match) {
    const mosa_pretokenizer *step = s->steps;
    if (step->spec.invert) match = !match;
    bool join = false;
    switch (step->spec.behavior) {
    case MOSA_SPLIT_ISOLATED:
        return hand_on(s, start, end);
    case MOSA_SPLIT_REMOVED:
        return match ? MOSA_OK : hand_on(s, start, end);
    case MOSA_SPLIT_CONTIGUOUS:
        join = s->any && match == s->pending_match;
        break;
    case MOSA_SPLIT_MERGED_WITH_PREVIOUS:
        join = s->any && match && !s->pending_match;
        break;
    case MOSA_SPLIT_MERGED_WITH_NEXT:
        join = s->any && !match && s->pending_match;
        break;
    }
    if (join) {
        s->pending_end = end;
        s->pending_match = match;
        return MOSA_OK;
    }
    MOSA_TRY(flush(s));
    s->any = true;
    s->pending_start = start;
    s->pending_end = end;
    s->pending_match = match;
    return MOSA_OK;
}

static mosa_status find_match(splitter *s, size_t from, bool *found, size_t *start, size_t *end) {
    const mosa_pretokenizer *step = s->steps;
    if (step->regex) {
        return mosa_regex_find(step->regex, &s->encoder->regex, s->text, from, found, start, end, s->encoder->err);
    }
    *found =
        step->scan ? find_scan(step->scan, s->text, from, start, end) : find_plain(step, s->text, from, start, end);
    return MOSA_OK;
}

static mosa_status split(mosa_encoder *encoder, const mosa_pretokenizer *steps, size_t count, mosa_slice text,
                         bool at_start) {
    splitter s = {.encoder = encoder, .steps = steps, .count = count, .text = text, .at_start = at_start};
    size_t from = 0, done = 0;
    while (from <= text.len) {
        bool found = false;
        size_t start = 0, end = 0;
        MOSA_TRY(find_match(&s, from, &found, &start, &end));
        if (!found) break;
        if (start > done) MOSA_TRY(add_part(&s, done, start, false));
        MOSA_TRY(add_part(&s, start, end, true));
        done = from = end;
        if (start < end) continue;
        if (from == text.len) break;
        from += mosa_utf8_len((unsigned char)text.data[from]);
    }
    if (done < text.len) MOSA_TRY(add_part(&s, done, text.len, false));
    return flush(&s);
}

// --- Steps that are more than one split -----------------------------------------------------------------------------

// \w+|[^\w\s]+, the matches kept.
static mosa_status split_words(splitter *s) {
    size_t start = 0;
    int group = 0; // 0 space, 1 word, 2 other
    unsigned len;
    for (size_t at = 0; at < s->text.len; at += len) {
        uint32_t c = mosa_utf8_decode(s->text.data + at, &len);
        int now = mosa_unicode_is_word(c) ? 1 : mosa_unicode_is_space(c) ? 0 : 2;
        if (now == group) continue;
        if (group != 0) MOSA_TRY(hand_on(s, start, at));
        start = at;
        group = now;
    }
    return group != 0 ? hand_on(s, start, s->text.len) : MOSA_OK;
}

// Spaces removed, then punctuation alone.
static mosa_status split_bert(splitter *s) {
    size_t start = 0;
    unsigned len;
    for (size_t at = 0; at < s->text.len; at += len) {
        uint32_t c = mosa_utf8_decode(s->text.data + at, &len);
        bool space = mosa_unicode_is_space(c);
        if (!space && !is_punctuation(c)) continue;
        MOSA_TRY(hand_on(s, start, at));
        start = at + len;
        if (!space) MOSA_TRY(hand_on(s, at, start));
    }
    return hand_on(s, start, s->text.len);
}

static mosa_status split_fixed(splitter *s) {
    size_t start = 0, count = 0;
    for (size_t at = 0; at < s->text.len;) {
        at += mosa_utf8_len((unsigned char)s->text.data[at]);
        if (++count < s->steps->spec.length) continue;
        MOSA_TRY(hand_on(s, start, at));
        start = at;
        count = 0;
    }
    return hand_on(s, start, s->text.len);
}

static mosa_status run_metaspace(mosa_encoder *encoder, const mosa_pretokenizer *steps, size_t count, mosa_slice text,
                                 bool at_start, mosa_buf *buf) {
    const mosa_pretokenizer_spec *spec = &steps->spec;
    mosa_buf_clear(buf);
    bool prepend = spec->scheme == MOSA_PREPEND_ALWAYS || (spec->scheme == MOSA_PREPEND_FIRST && at_start);
    if (prepend && text.data[0] != ' ' && !mosa_slice_starts_with(text, spec->pattern)) {
        mosa_buf_append_slice(buf, spec->pattern);
    }
    size_t start = 0;
    for (size_t at = 0; at <= text.len; at++) {
        if (at < text.len && text.data[at] != ' ') continue;
        mosa_buf_append(buf, text.data + start, at - start);
        if (at < text.len) mosa_buf_append_slice(buf, spec->pattern);
        start = at + 1;
    }
    if (mosa_buf_failed(buf)) return mosa_fail(encoder->err, MOSA_ENOMEM, "out of memory while tokenizing");
    if (spec->split) return split(encoder, steps, count, mosa_buf_slice(buf), at_start);
    return mosa_pretokenize(encoder, steps + 1, count - 1, mosa_buf_slice(buf), at_start);
}

static mosa_status run_byte_level(mosa_encoder *encoder, const mosa_pretokenizer *steps, size_t count, mosa_slice text,
                                  bool at_start, mosa_buf *buf) {
    if (steps->spec.prefix_space && text.data[0] != ' ') {
        mosa_buf_clear(buf);
        mosa_buf_append_char(buf, ' ');
        mosa_buf_append_slice(buf, text);
        if (mosa_buf_failed(buf)) return mosa_fail(encoder->err, MOSA_ENOMEM, "out of memory while tokenizing");
        text = mosa_buf_slice(buf);
    }
    if (steps->scan) return split(encoder, steps, count, text, at_start);
    return mosa_pretokenize(encoder, steps + 1, count - 1, text, at_start);
}

// Steps behind a ByteLevel that is not the last one see the bytes' spelling, not the text.
static mosa_status run_spell(mosa_encoder *encoder, const mosa_pretokenizer *steps, size_t count, mosa_slice text,
                             bool at_start, mosa_buf *buf) {
    mosa_buf_clear(buf);
    mosa_byte_level_encode(text, buf);
    if (mosa_buf_failed(buf)) return mosa_fail(encoder->err, MOSA_ENOMEM, "out of memory while tokenizing");
    return mosa_pretokenize(encoder, steps + 1, count - 1, mosa_buf_slice(buf), at_start);
}

mosa_status mosa_pretokenize(mosa_encoder *encoder, const mosa_pretokenizer *steps, size_t count, mosa_slice text,
                             bool at_start) {
    if (text.len == 0) return MOSA_OK;
    if (count == 0) return mosa_encoder_word(encoder, text);
    splitter s = {.encoder = encoder, .steps = steps, .count = count, .text = text, .at_start = at_start};
    mosa_buf *buf = &encoder->stage[count - 1];
    switch (steps->spec.kind) {
    case MOSA_PRE_WHITESPACE:
        return split_words(&s);
    case MOSA_PRE_BERT:
        return split_bert(&s);
    case MOSA_PRE_FIXED_LENGTH:
        return split_fixed(&s);
    case MOSA_PRE_METASPACE:
        return run_metaspace(encoder, steps, count, text, at_start, buf);
    case MOSA_PRE_BYTE_LEVEL:
        return run_byte_level(encoder, steps, count, text, at_start, buf);
    case MOSA_PRE_SPELL_BYTES:
        return run_spell(encoder, steps, count, text, at_start, buf);
    default:
        return split(encoder, steps, count, text, at_start);
    }
}
