// Stop strings across token borders: what may be shown, what must wait, where the output ends.
//
// Text that could be the beginning of a stop string is held back until it is decided. Storage is sized at init, so that
// pushing allocates nothing as long as one piece is at most MOSA_STOP_PIECE_MAX bytes. Thread: the engine's.
#ifndef MOSA_ENGINE_STOP_MATCHER_H
#define MOSA_ENGINE_STOP_MATCHER_H

#include "base/status.h"
#include "base/str.h"

enum { MOSA_STOP_PIECE_MAX = 1024 };

typedef struct mosa_stop_matcher {
    const mosa_slice *stops; // (n_stops), none empty; borrowed
    int n_stops;
    mosa_buf held; // bytes not yet shown
} mosa_stop_matcher;

mosa_status mosa_stop_matcher_init(mosa_stop_matcher *matcher, const mosa_slice *stops, int n_stops, mosa_error *err);
void mosa_stop_matcher_finish(mosa_stop_matcher *matcher);

// Appends to *out what can be shown after `piece`. Returns the index of the stop string that is now complete (the
// earliest in the text; of those that begin together, the first in the list), or -1. After a match nothing is held.
int mosa_stop_matcher_push(mosa_stop_matcher *matcher, mosa_slice piece, mosa_buf *out);
void mosa_stop_matcher_flush(mosa_stop_matcher *matcher, mosa_buf *out); // the output ends without a match

#endif
