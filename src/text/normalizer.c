// One function per kind: reads a slice, appends to a buffer. The driver alternates two buffers.
#include "text/normalizer.h"

#include <utf8proc.h>

#include "text/byte_level.h"
#include "text/unicode.h"

mosa_status mosa_normalizer_build(mosa_normalizer *step, mosa_arena *arena, const mosa_normalizer_spec *spec,
                                  const char *source, mosa_error *err) {
    *step = (mosa_normalizer){.spec = *spec};
    step->spec.pattern.data = mosa_arena_strndup(arena, spec->pattern.data, spec->pattern.len);
    step->spec.content.data = mosa_arena_strndup(arena, spec->content.data, spec->content.len);
    if (!step->spec.pattern.data || !step->spec.content.data) {
        return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", source);
    }
    mosa_status status = MOSA_OK;
    if (spec->kind == MOSA_NORM_CHARSMAP || spec->kind == MOSA_NORM_SENTENCEPIECE) {
        status = mosa_charsmap_open(&step->map, arena, spec->content, err);
    } else if (spec->kind == MOSA_NORM_REPLACE && spec->regex) {
        status = mosa_regex_compile(spec->pattern, &step->regex, err);
    }
    if (status != MOSA_OK) (void)mosa_fail_prefix(err, source);
    return status;
}

void mosa_normalizer_finish(mosa_normalizer *step) {
    mosa_regex_free(step->regex);
}

// --- Character by character -----------------------------------------------------------------------------------------

static void append_lower(uint32_t c, mosa_buf *out) {
    char text[MOSA_UTF8_MAX];
    if (c == 0x130) { // the one letter whose lower case is two characters
        mosa_buf_append(out, "i\xCC\x87", 3);
        return;
    }
    mosa_buf_append(out, text, mosa_utf8_encode(mosa_unicode_lower(c), text));
}

static void lowercase(mosa_slice text, mosa_buf *out) {
    unsigned len;
    for (size_t at = 0; at < text.len; at += len) {
        uint32_t c = mosa_utf8_decode(text.data + at, &len);
        if (c < 128)
            mosa_buf_append_char(out, (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c));
        else
            append_lower(c, out);
    }
}

static mosa_slice strip(mosa_slice text, bool left, bool right) {
    size_t start = 0, end = 0;
    bool seen = false;
    unsigned len;
    for (size_t at = 0; at < text.len; at += len) {
        if (mosa_unicode_is_space(mosa_utf8_decode(text.data + at, &len))) continue;
        if (!seen) start = at;
        seen = true;
        end = at + len;
    }
    if (!seen) return left || right ? (mosa_slice){text.data, 0} : text;
    if (!left) start = 0;
    if (!right) end = text.len;
    return (mosa_slice){text.data + start, end - start};
}

// Hugging Face's tables of marks are those of Unicode 9 (StripAccents) and 8 (Bert); a few letters were marks then.
static bool is_mark_9(uint32_t c) {
    return ((mosa_unicode_mask(c) & MOSA_UM_M) && mosa_unicode_present_in_9(c)) || c == 0x1CF2 || c == 0x1CF3;
}
static bool is_nonspacing_8(uint32_t c) {
    return (mosa_unicode_gc(c) == MOSA_UC_MN && mosa_unicode_present_in_8(c)) || c == 0x1734 || c == 0x1171E;
}

static void remove_if(mosa_slice text, bool (*unwanted)(uint32_t), mosa_buf *out) {
    unsigned len;
    for (size_t at = 0; at < text.len; at += len) {
        if (!unwanted(mosa_utf8_decode(text.data + at, &len))) mosa_buf_append(out, text.data + at, len);
    }
}

static bool nmt_removes(uint32_t c) {
    return (c >= 1 && c <= 8) || c == 11 || (c >= 14 && c <= 31) || c == 127 || c == 0x8F || c == 0x9F;
}
static bool nmt_is_space(uint32_t c) {
    return c == 9 || c == 10 || c == 12 || c == 13 || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 ||
           c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
}

static void nmt(mosa_slice text, mosa_buf *out) {
    unsigned len;
    for (size_t at = 0; at < text.len; at += len) {
        uint32_t c = mosa_utf8_decode(text.data + at, &len);
        if (nmt_is_space(c))
            mosa_buf_append_char(out, ' ');
        else if (!nmt_removes(c))
            mosa_buf_append(out, text.data + at, len);
    }
}

// --- Forms ----------------------------------------------------------------------------------------------------------

// Hugging Face's normalisation tables are those of Unicode 9: what came later neither moves nor composes there.
static bool normalize_form(mosa_unicode_form form, mosa_slice text, mosa_buf *out) {
    size_t start = 0;
    unsigned len;
    for (size_t at = 0; at < text.len; at += len) {
        if (mosa_unicode_present_in_9(mosa_utf8_decode(text.data + at, &len))) continue;
        if (!mosa_unicode_normalize(form, (mosa_slice){text.data + start, at - start}, out)) return false;
        mosa_buf_append(out, text.data + at, len);
        start = at + len;
    }
    return mosa_unicode_normalize(form, (mosa_slice){text.data + start, text.len - start}, out);
}

// --- Bert -----------------------------------------------------------------------------------------------------------

static bool is_cjk(uint32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

static bool bert_removes(uint32_t c) {
    if (c == '\t' || c == '\n' || c == '\r') return false;
    enum { OTHER = MOSA_UM(MOSA_UC_CC) | MOSA_UM(MOSA_UC_CF) };
    return c == 0 || c == 0xFFFD || (mosa_unicode_mask(c) & OTHER) || mosa_unicode_gc(c) == MOSA_UC_CO;
}

static void bert_clean(mosa_slice text, bool clean, bool cjk, mosa_buf *out) {
    unsigned len;
    for (size_t at = 0; at < text.len; at += len) {
        uint32_t c = mosa_utf8_decode(text.data + at, &len);
        if (clean && bert_removes(c)) continue;
        if (clean && mosa_unicode_is_space(c)) {
            mosa_buf_append_char(out, ' ');
            continue;
        }
        bool apart = cjk && is_cjk(c);
        if (apart) mosa_buf_append_char(out, ' ');
        mosa_buf_append(out, text.data + at, len);
        if (apart) mosa_buf_append_char(out, ' ');
    }
}

static bool bert(const mosa_normalizer_spec *spec, mosa_slice text, mosa_buf *out) {
    mosa_buf cleaned, decomposed, bare;
    mosa_buf_init(&cleaned, 0);
    mosa_buf_init(&decomposed, 0);
    mosa_buf_init(&bare, 0);
    bert_clean(text, spec->clean, spec->cjk, &cleaned);
    mosa_slice now = mosa_buf_slice(&cleaned);
    bool ok = !mosa_buf_failed(&cleaned);
    if (ok && spec->strip_accents) {
        ok = normalize_form(MOSA_NFD, now, &decomposed);
        remove_if(mosa_buf_slice(&decomposed), is_nonspacing_8, &bare);
        now = mosa_buf_slice(&bare);
        ok = ok && !mosa_buf_failed(&bare);
    }
    if (ok && spec->lowercase)
        lowercase(now, out);
    else if (ok)
        mosa_buf_append_slice(out, now);
    mosa_buf_finish(&cleaned);
    mosa_buf_finish(&decomposed);
    mosa_buf_finish(&bare);
    return ok;
}

// --- Replace --------------------------------------------------------------------------------------------------------

static mosa_status replace(mosa_encoder *encoder, const mosa_normalizer *step, mosa_slice text, mosa_buf *out) {
    const mosa_normalizer_spec *spec = &step->spec;
    size_t from = 0, done = 0;
    while (from <= text.len) {
        bool found = false;
        size_t start = 0, end = 0;
        if (step->regex) {
            MOSA_TRY(mosa_regex_find(step->regex, &encoder->regex, text, from, &found, &start, &end, encoder->err));
        } else if (spec->pattern.len && from < text.len) {
            const char *hit = memmem(text.data + from, text.len - from, spec->pattern.data, spec->pattern.len);
            found = hit != NULL;
            start = found ? (size_t)(hit - text.data) : 0;
            end = start + spec->pattern.len;
        }
        if (!found) break;
        mosa_buf_append(out, text.data + done, start - done);
        mosa_buf_append_slice(out, spec->content);
        done = from = end;
        if (start < end) continue;
        if (from == text.len) break;
        from += mosa_utf8_len((unsigned char)text.data[from]);
    }
    mosa_buf_append(out, text.data + done, text.len - done);
    return MOSA_OK;
}

// --- Character maps -------------------------------------------------------------------------------------------------

static void map_cluster(const mosa_charsmap *map, mosa_slice cluster, mosa_buf *out) {
    size_t used;
    mosa_slice replacement;
    // Hugging Face takes the shortest mapped prefix for the whole cluster, and looks at short clusters only.
    if (cluster.len < 6 && mosa_charsmap_find(map, cluster, false, &used, &replacement)) {
        mosa_buf_append_slice(out, replacement);
        return;
    }
    unsigned len;
    for (size_t at = 0; at < cluster.len; at += len) {
        len = mosa_utf8_len((unsigned char)cluster.data[at]);
        mosa_slice one = {cluster.data + at, len};
        mosa_buf_append_slice(out, mosa_charsmap_find(map, one, false, &used, &replacement) ? replacement : one);
    }
}

static void map_by_cluster(const mosa_charsmap *map, mosa_slice text, mosa_buf *out) {
    size_t start = 0;
    utf8proc_int32_t state = 0, previous = 0;
    unsigned len;
    for (size_t at = 0; at < text.len; at += len) {
        utf8proc_int32_t c = (utf8proc_int32_t)mosa_utf8_decode(text.data + at, &len);
        if (at > 0 && utf8proc_grapheme_break_stateful(previous, c, &state)) {
            map_cluster(map, (mosa_slice){text.data + start, at - start}, out);
            start = at;
        }
        previous = c;
    }
    map_cluster(map, (mosa_slice){text.data + start, text.len - start}, out);
}

// The piece that sentencepiece's normaliser reads at the start of `text`, and what it becomes.
static mosa_slice sentencepiece_prefix(const mosa_normalizer *step, mosa_slice text, size_t *used) {
    mosa_slice result;
    if (step->verbatim && mosa_trie_longest(step->verbatim, text.data, text.len, used) >= 0) {
        return (mosa_slice){text.data, *used};
    }
    if (mosa_charsmap_find(&step->map, text, true, used, &result)) return result;
    *used = mosa_utf8_len((unsigned char)text.data[0]);
    return (mosa_slice){text.data, *used};
}

static void append_spaced(mosa_slice piece, mosa_slice space, mosa_buf *out) {
    for (size_t i = 0; i < piece.len; i++) {
        if (piece.data[i] == ' ')
            mosa_buf_append_slice(out, space);
        else
            mosa_buf_append_char(out, piece.data[i]);
    }
}

static void sentencepiece(const mosa_normalizer *step, mosa_slice text, mosa_buf *out) {
    const mosa_normalizer_spec *spec = &step->spec;
    mosa_slice space = spec->escape_spaces ? MOSA_SLICE("\xE2\x96\x81") : MOSA_SLICE(" ");
    size_t at = 0, used;
    while (spec->remove_extra_spaces && at < text.len) {
        mosa_slice piece = sentencepiece_prefix(step, (mosa_slice){text.data + at, text.len - at}, &used);
        if (!mosa_slice_eq(piece, MOSA_SLICE(" "))) break;
        at += used;
    }
    if (at == text.len) return;
    if (spec->dummy_prefix && !spec->space_suffix) mosa_buf_append_slice(out, space);
    bool after_space = spec->remove_extra_spaces;
    for (; at < text.len; at += used) {
        mosa_slice piece = sentencepiece_prefix(step, (mosa_slice){text.data + at, text.len - at}, &used);
        while (after_space && piece.len && piece.data[0] == ' ') {
            piece.data++;
            piece.len--;
        }
        if (piece.len) {
            append_spaced(piece, space, out);
            after_space = spec->remove_extra_spaces && piece.data[piece.len - 1] == ' ';
        }
    }
    while (spec->remove_extra_spaces && !mosa_buf_failed(out) && mosa_slice_ends_with(mosa_buf_slice(out), space)) {
        out->len -= space.len;
    }
    if (spec->dummy_prefix && spec->space_suffix) mosa_buf_append_slice(out, space);
}

// --- Driver ---------------------------------------------------------------------------------------------------------

static bool is_ascii(mosa_slice text) {
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.data[i] >= 128) return false;
    }
    return true;
}

// Applies one step; *text is what it leaves, in `out` or where it was.
static mosa_status apply(mosa_encoder *encoder, const mosa_normalizer *step, mosa_slice *text, mosa_buf *out) {
    const mosa_normalizer_spec *spec = &step->spec;
    bool ok = true;
    switch (spec->kind) {
    case MOSA_NORM_FORM:
        if (is_ascii(*text)) return MOSA_OK;
        ok = normalize_form(spec->form, *text, out);
        break;
    case MOSA_NORM_STRIP:
        *text = strip(*text, spec->left, spec->right);
        return MOSA_OK;
    case MOSA_NORM_LOWERCASE:
        lowercase(*text, out);
        break;
    case MOSA_NORM_STRIP_ACCENTS:
        remove_if(*text, is_mark_9, out);
        break;
    case MOSA_NORM_REPLACE:
        MOSA_TRY(replace(encoder, step, *text, out));
        break;
    case MOSA_NORM_PREPEND:
        if (text->len == 0) return MOSA_OK;
        mosa_buf_append_slice(out, spec->content);
        mosa_buf_append_slice(out, *text);
        break;
    case MOSA_NORM_BERT:
        ok = bert(spec, *text, out);
        break;
    case MOSA_NORM_NMT:
        nmt(*text, out);
        break;
    case MOSA_NORM_CHARSMAP:
        map_by_cluster(&step->map, *text, out);
        break;
    case MOSA_NORM_BYTE_LEVEL:
        mosa_byte_level_encode(*text, out);
        break;
    case MOSA_NORM_SENTENCEPIECE:
        sentencepiece(step, *text, out);
        break;
    }
    if (!ok || mosa_buf_failed(out)) return mosa_fail(encoder->err, MOSA_ENOMEM, "out of memory while normalising");
    *text = mosa_buf_slice(out);
    return MOSA_OK;
}

mosa_status mosa_normalize(mosa_encoder *encoder, const mosa_normalizer *steps, size_t count, mosa_slice text,
                           mosa_slice *result) {
    for (size_t i = 0; i < count && text.len; i++) {
        const mosa_buf *first = &encoder->normal[0];
        bool in_first = first->data && text.data >= first->data && text.data <= first->data + first->len;
        mosa_buf *out = &encoder->normal[in_first ? 1 : 0];
        mosa_buf_clear(out);
        MOSA_TRY(apply(encoder, &steps[i], &text, out));
    }
    *result = text;
    return MOSA_OK;
}
