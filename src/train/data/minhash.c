// Words to hashes, shingles to minima. The inner loop is plain integer code that compilers turn into vectors.
#include "train/data/minhash.h"

#include "base/rng.h"

#include <math.h>

// One copy per instruction set, chosen at start-up; sanitizers and other machines get the plain one.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&               \
    !defined(__SANITIZE_THREAD__)
#define VECTORS __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define VECTORS
#endif

enum { WORDS_MAX = 32, BAND_STEPS = 64 };

typedef struct hashes {
    uint32_t a[MOSA_MINHASH_MAX], b[MOSA_MINHASH_MAX];
} hashes;

static void make_hashes(hashes *h, uint64_t seed, int n) {
    for (int p = 0; p < n; p++) {
        uint64_t bits = mosa_rng_u64(seed, (uint64_t)p);
        h->a[p] = (uint32_t)bits | 1;
        h->b[p] = (uint32_t)(bits >> 32);
    }
}

VECTORS static void take_minima(const hashes *h, uint32_t x, uint32_t *sig, int n) {
    for (int p = 0; p < n; p++) {
        uint32_t v = h->a[p] * x + h->b[p];
        v = (v ^ v >> 15) * 0x85EBCA6Bu;
        v ^= v >> 13;
        sig[p] = v < sig[p] ? v : sig[p];
    }
}

// Length of the character at p, and whether it belongs to words; *alone: it is one.
static size_t look(const unsigned char *p, size_t left, bool *word, bool *alone) {
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (len > left) len = left;
    *alone = p[0] >= 0xE3 || (p[0] == 0xE2 && left > 1 && p[1] >= 0xBA); // U+2E80 on
    *word =
        p[0] >= 0x80 || (p[0] >= '0' && p[0] <= '9') || (p[0] >= 'a' && p[0] <= 'z') || (p[0] >= 'A' && p[0] <= 'Z');
    return len;
}

// The hash of the next word from *at on; false at the end.
static bool next_word(mosa_slice text, size_t *at, uint64_t *hash) {
    uint64_t h = 0xCBF29CE484222325u;
    size_t taken = 0, i = *at;
    for (size_t len; i < text.len; i += len) {
        bool word, alone;
        const unsigned char *p = (const unsigned char *)text.data + i;
        len = look(p, text.len - i, &word, &alone);
        if (taken && (!word || alone)) break;
        if (!word) continue;
        for (size_t k = 0; k < len; k++) {
            unsigned char c = p[k] >= 'A' && p[k] <= 'Z' ? (unsigned char)(p[k] + 32) : p[k];
            h = (h ^ c) * 0x100000001B3u;
        }
        taken += len;
        if (!alone) continue;
        i += len;
        break;
    }
    *at = i;
    *hash = mosa_rng_mix(h);
    return taken > 0;
}

void mosa_minhash(mosa_slice text, int words, uint64_t seed, uint32_t *sig, int n) {
    hashes h;
    uint64_t ring[WORDS_MAX], word;
    size_t at = 0;
    long count = 0;
    if (words < 1) words = 1;
    if (words > WORDS_MAX) words = WORDS_MAX;
    make_hashes(&h, seed, n);
    for (int p = 0; p < n; p++) sig[p] = UINT32_MAX;
    for (; next_word(text, &at, &word); count++) {
        ring[count % words] = word;
        if (count + 1 < words) continue;
        uint64_t x = 0;
        for (int k = 0; k < words; k++) x = mosa_rng_mix(x * 31 + ring[(count + 1 + k) % words]);
        take_minima(&h, (uint32_t)(x >> 32), sig, n);
    }
    if (count == 0 || count >= words) return;
    uint64_t x = 1;
    for (long k = 0; k < count; k++) x = mosa_rng_mix(x * 31 + ring[k]);
    take_minima(&h, (uint32_t)(x >> 32), sig, n);
}

double mosa_minhash_similarity(const uint32_t *a, const uint32_t *b, int n) {
    int same = 0;
    for (int p = 0; p < n; p++) same += a[p] == b[p];
    return (double)same / n;
}

void mosa_minhash_bands(double threshold, int n, int *bands, int *rows) {
    double best = INFINITY;
    for (int r = 1; r <= n; r++) {
        int b = n / r;
        double missed = 0, looked_at = 0; // areas above and below the threshold
        for (int i = 0; i < BAND_STEPS; i++) {
            double s = (i + 0.5) / BAND_STEPS, found = 1 - pow(1 - pow(s, r), b);
            if (s >= threshold)
                missed += 1 - found;
            else
                looked_at += found;
        }
        // What is looked at in vain costs time; what is missed stays in the data.
        double cost = 0.8 * missed + 0.2 * looked_at;
        if (cost >= best) continue;
        best = cost;
        *bands = b;
        *rows = r;
    }
}
