// Holding text back while it may still become a stop string.
#include "engine/stop_matcher.h"

mosa_status mosa_stop_matcher_init(mosa_stop_matcher *matcher, const mosa_slice *stops, int n_stops, mosa_error *err) {
    *matcher = (mosa_stop_matcher){.stops = stops, .n_stops = n_stops};
    size_t longest = 0;
    for (int i = 0; i < n_stops; i++)
        if (stops[i].len > longest) longest = stops[i].len;
    if (n_stops && !mosa_buf_reserve(&matcher->held, longest + MOSA_STOP_PIECE_MAX))
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for stop strings");
    return MOSA_OK;
}

void mosa_stop_matcher_finish(mosa_stop_matcher *matcher) {
    mosa_buf_finish(&matcher->held);
}

static int earliest_match(const mosa_stop_matcher *matcher, size_t *at) {
    int found = -1;
    for (int i = 0; i < matcher->n_stops; i++) {
        const char *hit = memmem(matcher->held.data, matcher->held.len, matcher->stops[i].data, matcher->stops[i].len);
        size_t offset = hit ? (size_t)(hit - matcher->held.data) : 0;
        if (hit && (found < 0 || offset < *at)) {
            found = i;
            *at = offset;
        }
    }
    return found;
}

// Length of the longest end of the held text that begins a stop string.
static size_t undecided(const mosa_stop_matcher *matcher) {
    size_t longest = 0;
    for (int i = 0; i < matcher->n_stops; i++) {
        size_t len = matcher->stops[i].len - 1;
        if (len > matcher->held.len) len = matcher->held.len;
        while (len > longest && memcmp(matcher->held.data + matcher->held.len - len, matcher->stops[i].data, len) != 0)
            len--;
        if (len > longest) longest = len;
    }
    return longest;
}

static void show(mosa_stop_matcher *matcher, size_t len, mosa_buf *out) {
    mosa_buf_append(out, matcher->held.data, len);
    matcher->held.len -= len;
    if (matcher->held.len) memmove(matcher->held.data, matcher->held.data + len, matcher->held.len);
}

int mosa_stop_matcher_push(mosa_stop_matcher *matcher, mosa_slice piece, mosa_buf *out) {
    if (matcher->n_stops == 0) {
        mosa_buf_append_slice(out, piece);
        return -1;
    }
    if (piece.len == 0) return -1;
    mosa_buf_append_slice(&matcher->held, piece);
    size_t at = 0;
    int found = earliest_match(matcher, &at);
    if (found >= 0) {
        show(matcher, at, out);
        mosa_buf_clear(&matcher->held);
        return found;
    }
    show(matcher, matcher->held.len - undecided(matcher), out);
    return -1;
}

void mosa_stop_matcher_flush(mosa_stop_matcher *matcher, mosa_buf *out) {
    if (matcher->held.len) show(matcher, matcher->held.len, out);
}
