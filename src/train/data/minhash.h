// MinHash: a short signature of a text whose equal places estimate the Jaccard similarity of shingle sets.
//
// Words are runs of letters and digits, lower case in ASCII; a character from U+2E80 on (CJK) is a word by itself. A
// shingle is `words` words in a row. sig[p] = min over shingles x of h_p(x), so that P(sig_a[p] = sig_b[p]) = |A and B|
// / |A or B|. Broder, "On the resemblance and containment of documents", 1997. Integers alone: the same on every
// machine. Thread: reentrant.
#ifndef MOSA_TRAIN_DATA_MINHASH_H
#define MOSA_TRAIN_DATA_MINHASH_H

#include "base/str.h"

enum { MOSA_MINHASH_MAX = 512 };

// sig: (n) n is a multiple of 16, at most MOSA_MINHASH_MAX. A text of fewer words is one shingle; one without any has
// the signature of the empty set, which equals only itself.
void mosa_minhash(mosa_slice text, int words, uint64_t seed, uint32_t *sig, int n);
double mosa_minhash_similarity(const uint32_t *a, const uint32_t *b, int n); // 0 to 1

// Bands and rows with bands * rows <= n, so that pairs at `threshold` are found and few others are looked at: of two
// texts of similarity s one band or more is equal with probability 1 - (1 - s^rows)^bands.
void mosa_minhash_bands(double threshold, int n, int *bands, int *rows);

#endif
