// The way from ids to text: what every token adds is computed once, from the decoder steps; decoding joins it and keeps
// the result valid UTF-8.
#include "text/byte_level.h"
#include "text/tokenizer_internal.h"

// --- Building -------------------------------------------------------------------------------------------------------

static void replace_all(mosa_slice text, mosa_slice pattern, mosa_slice by, mosa_buf *out) {
    size_t at = 0;
    while (at < text.len) {
        const char *hit = pattern.len ? memmem(text.data + at, text.len - at, pattern.data, pattern.len) : NULL;
        size_t end = hit ? (size_t)(hit - text.data) : text.len;
        mosa_buf_append(out, text.data + at, end - at);
        if (!hit) return;
        mosa_buf_append_slice(out, by);
        at = end + pattern.len;
    }
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// "<0x41>" to 0x41; -1 for anything else.
static int byte_token(mosa_slice text) {
    if (text.len != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>') return -1;
    int high = hex_digit(text.data[3]), low = hex_digit(text.data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static mosa_slice strip_token(mosa_slice text, const mosa_decoder_spec *step) {
    mosa_slice one = step->pattern;
    for (size_t i = 0; i < step->start && one.len && mosa_slice_starts_with(text, one); i++) {
        text = (mosa_slice){text.data + one.len, text.len - one.len};
    }
    for (size_t i = 0; i < step->stop && one.len && mosa_slice_ends_with(text, one); i++) text.len -= one.len;
    return text;
}

static void word_piece(mosa_slice text, const mosa_decoder_spec *step, bool first, mosa_buf *out) {
    static const struct {
        const char *from, *to;
    } cleanups[] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                    {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                    {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    if (!first && mosa_slice_starts_with(text, step->pattern)) {
        text = (mosa_slice){text.data + step->pattern.len, text.len - step->pattern.len};
    } else if (!first) {
        mosa_buf_append_char(out, ' ');
    }
    mosa_buf_append_slice(out, text);
    mosa_buf now;
    mosa_buf_init(&now, 0);
    for (size_t i = 0; step->cleanup && i < MOSA_COUNT(cleanups); i++) {
        mosa_buf_clear(&now);
        replace_all(mosa_buf_slice(out), mosa_slice_of(cleanups[i].from), mosa_slice_of(cleanups[i].to), &now);
        mosa_buf_clear(out);
        mosa_buf_append_slice(out, mosa_buf_slice(&now));
    }
    mosa_buf_finish(&now);
}

// One step over one token; *text borrows from itself or from `out`.
static void decode_step(const mosa_decoder_spec *step, bool fused, bool first, mosa_slice *text, mosa_buf *out) {
    switch (step->kind) {
    case MOSA_DEC_BYTE_LEVEL:
        if (!mosa_byte_level_decode(*text, out)) return;
        break;
    case MOSA_DEC_REPLACE:
        replace_all(*text, step->pattern, step->content, out);
        break;
    case MOSA_DEC_BYTE_FALLBACK: {
        int byte = byte_token(*text);
        if (byte < 0) return;
        mosa_buf_append_char(out, (char)byte);
        break;
    }
    case MOSA_DEC_STRIP:
        if (!fused) *text = strip_token(*text, step);
        return;
    case MOSA_DEC_METASPACE: {
        bool drop = first && step->scheme != MOSA_PREPEND_NEVER;
        replace_all(*text, step->pattern, drop ? MOSA_SLICE("") : MOSA_SLICE(" "), out);
        break;
    }
    case MOSA_DEC_WORDPIECE:
        word_piece(*text, step, first, out);
        break;
    case MOSA_DEC_BPE:
        replace_all(*text, step->pattern, MOSA_SLICE(" "), out);
        break;
    case MOSA_DEC_FUSE:
        return;
    }
    *text = mosa_buf_slice(out);
}

static mosa_slice decode_token(mosa_tokenizer *t, const mosa_tokenizer_spec *spec, mosa_slice text, bool first,
                               mosa_buf buf[2]) {
    bool fused = false;
    int which = 0;
    for (size_t i = 0; i < spec->decoder_count; i++) {
        if (spec->decoders[i].kind == MOSA_DEC_FUSE) fused = true;
        mosa_buf *out = &buf[which];
        mosa_buf_clear(out);
        mosa_slice before = text;
        decode_step(&spec->decoders[i], fused, first, &text, out);
        if (text.data != before.data) which ^= 1;
    }
    return (mosa_slice){mosa_arena_strndup(&t->arena, text.len ? text.data : "", text.len), text.len};
}

// Rules that look beyond one token: what happens at the start of the text, and what cannot be done piece by piece.
static mosa_status find_rules(mosa_tokenizer *t, const mosa_tokenizer_spec *spec, mosa_error *err) {
    bool fused = false;
    for (size_t i = 0; i < spec->decoder_count; i++) {
        const mosa_decoder_spec *step = &spec->decoders[i];
        if (step->kind == MOSA_DEC_FUSE) fused = true;
        if (step->kind == MOSA_DEC_WORDPIECE ||
            (step->kind == MOSA_DEC_METASPACE && step->scheme != MOSA_PREPEND_NEVER)) {
            t->first_rule = MOSA_FIRST_OWN_BYTES;
        }
        if (step->kind == MOSA_DEC_BPE) t->drop_last_space = true;
        if (step->kind == MOSA_DEC_BYTE_FALLBACK) t->replace_each_byte = true;
        if (step->kind != MOSA_DEC_STRIP || !fused) continue;
        if (step->stop > 0 || !mosa_slice_eq(step->pattern, MOSA_SLICE(" "))) {
            return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: decoder Strip after Fuse of anything but leading spaces",
                             t->source);
        }
        t->first_rule = MOSA_FIRST_STRIP;
        t->first_strip = step->start < UINT32_MAX ? (uint32_t)step->start : UINT32_MAX;
    }
    return MOSA_OK;
}

mosa_status mosa_tokenizer_build_decoder(mosa_tokenizer *t, const mosa_tokenizer_spec *spec, mosa_error *err) {
    MOSA_TRY(find_rules(t, spec, err));
    bool own = t->first_rule == MOSA_FIRST_OWN_BYTES;
    t->bytes = MOSA_ARENA_ARRAY(&t->arena, mosa_slice, t->token_count);
    if (own) t->first_bytes = MOSA_ARENA_ARRAY(&t->arena, mosa_slice, t->token_count);
    bool ok = t->bytes && (!own || t->first_bytes);
    mosa_buf buf[2];
    mosa_buf_init(&buf[0], 0);
    mosa_buf_init(&buf[1], 0);
    for (size_t i = 0; ok && i < t->token_count; i++) {
        if (!t->text[i].data) continue;
        bool surface = spec->unk_surface.data && (mosa_token_id)i == spec->special.unk;
        if (surface) t->skipped[i] = 0;
        t->unk_has_surface |= surface;
        mosa_slice text = surface ? spec->unk_surface : t->text[i];
        t->bytes[i] = decode_token(t, spec, text, false, buf);
        if (own) t->first_bytes[i] = decode_token(t, spec, text, true, buf);
        ok = t->bytes[i].data && (!own || t->first_bytes[i].data) && !buf[0].failed && !buf[1].failed;
    }
    mosa_buf_finish(&buf[0]);
    mosa_buf_finish(&buf[1]);
    return ok ? MOSA_OK : mosa_fail(err, MOSA_ENOMEM, "%s: out of memory for the decoder", t->source);
}

// --- Detokenizer ----------------------------------------------------------------------------------------------------

void mosa_detokenizer_init_continue(mosa_detokenizer *detokenizer, const mosa_tokenizer *tokenizer, unsigned flags) {
    *detokenizer = (mosa_detokenizer){.tokenizer = tokenizer, .flags = flags, .started = true};
}

void mosa_detokenizer_init(mosa_detokenizer *detokenizer, const mosa_tokenizer *tokenizer, unsigned flags) {
    mosa_detokenizer_init_continue(detokenizer, tokenizer, flags);
    detokenizer->started = false;
    if (tokenizer->first_rule == MOSA_FIRST_STRIP) detokenizer->strip_left = tokenizer->first_strip;
}

// An ill-formed part of `bytes` bytes.
static void append_replacement(const mosa_tokenizer *t, unsigned bytes, mosa_buf *out) {
    for (unsigned i = 0; i < (t->replace_each_byte ? bytes : 1); i++) mosa_buf_append(out, "\xEF\xBF\xBD", 3);
}

// Writes what is decided among the held bytes.
static void settle(mosa_detokenizer *d, mosa_buf *out) {
    while (d->held_len) {
        unsigned used;
        mosa_utf8_kind kind = mosa_utf8_scan((const char *)d->held, d->held_len, &used);
        if (kind == MOSA_UTF8_PARTIAL) return;
        if (kind == MOSA_UTF8_CHAR)
            mosa_buf_append(out, d->held, used);
        else
            append_replacement(d->tokenizer, used, out);
        memmove(d->held, d->held + used, d->held_len - used);
        d->held_len = (uint8_t)(d->held_len - used);
    }
}

static void emit(mosa_detokenizer *d, mosa_slice bytes, mosa_buf *out) {
    size_t at = 0;
    while (d->held_len && at < bytes.len) {
        d->held[d->held_len++] = (unsigned char)bytes.data[at++];
        settle(d, out);
    }
    while (at < bytes.len) {
        size_t good = mosa_utf8_valid_prefix(bytes.data + at, bytes.len - at);
        mosa_buf_append(out, bytes.data + at, good);
        at += good;
        if (at == bytes.len) return;
        unsigned used;
        if (mosa_utf8_scan(bytes.data + at, bytes.len - at, &used) == MOSA_UTF8_PARTIAL) {
            d->held_len = (uint8_t)(bytes.len - at);
            memcpy(d->held, bytes.data + at, d->held_len);
            return;
        }
        append_replacement(d->tokenizer, used, out);
        at += used;
    }
}

void mosa_detokenizer_push(mosa_detokenizer *d, mosa_token_id id, mosa_buf *out) {
    const mosa_tokenizer *t = d->tokenizer;
    if (id < 0 || (size_t)id >= t->token_count) return;
    if (t->skipped[id] && !(d->flags & MOSA_DECODE_SPECIAL)) return;
    mosa_slice bytes = !d->started && t->first_bytes ? t->first_bytes[id] : t->bytes[id];
    d->started = true;
    if (t->unk_has_surface && id == t->special.unk) d->strip_left = 0;
    while (d->strip_left && bytes.len) {
        if (bytes.data[0] != ' ') d->strip_left = 0;
        if (bytes.data[0] != ' ') break;
        bytes = (mosa_slice){bytes.data + 1, bytes.len - 1};
        d->strip_left--;
    }
    if (d->held_space && bytes.len) {
        d->held_space = false;
        emit(d, MOSA_SLICE(" "), out);
    }
    if (t->drop_last_space && bytes.len && bytes.data[bytes.len - 1] == ' ') {
        d->held_space = true;
        bytes.len--;
    }
    emit(d, bytes, out);
}

void mosa_detokenizer_flush(mosa_detokenizer *d, mosa_buf *out) {
    if (d->held_len) append_replacement(d->tokenizer, d->held_len, out);
    d->held_len = 0;
    d->held_space = false;
}

mosa_status mosa_tokenizer_decode(const mosa_tokenizer *tokenizer, const mosa_token_id *ids, size_t count,
                                  unsigned flags, mosa_buf *out, mosa_error *err) {
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= tokenizer->token_count) {
            return mosa_fail(err, MOSA_EINVALID, "token %d at position %zu is not in the vocabulary of %zu",
                             (int)ids[i], i, tokenizer->token_count);
        }
    }
    mosa_detokenizer detokenizer;
    mosa_detokenizer_init(&detokenizer, tokenizer, flags);
    for (size_t i = 0; i < count; i++) mosa_detokenizer_push(&detokenizer, ids[i], out);
    mosa_detokenizer_flush(&detokenizer, out);
    return mosa_buf_failed(out) ? mosa_fail(err, MOSA_ENOMEM, "out of memory while decoding") : MOSA_OK;
}
