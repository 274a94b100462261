// AdamW with moments of one byte. The map of codes has its entries where moments lie: seven decades, each with twice as
// many steps as the one below. m uses the signed map, v the unsigned one.
#include "train/optimizer_internal.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { CODES = 256, DECADES = 7 };

static float signed_map[CODES], unsigned_map[CODES]; // ascending; written once, by build
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// Decade i (10^(i-6)) holds the middles of 2^i (signed) or 2^(i+1) equal parts of [0.1, 1]; then 0 and 1.
static void build_map(float map[CODES], bool has_sign) {
    int at = 0;
    for (int i = 0; i < DECADES; i++) {
        int parts = 1 << (has_sign ? i : i + 1);
        for (int k = 0; k < parts; k++) {
            double middle = 0.1 + 0.9 * (k + 0.5) / parts;
            float value = (float)(pow(10, i - (DECADES - 1)) * middle);
            map[at++] = value;
            if (has_sign) map[at++] = -value;
        }
    }
    map[at++] = 0;
    map[at++] = 1;
    qsort(map, CODES, sizeof *map, ascending);
}

static void build(void) {
    build_map(signed_map, true);
    build_map(unsigned_map, false);
}

void mosa_moment_codes_init(void) {
    pthread_once(&once, build);
}

// The nearest entry; of two equally near the lower.
static uint8_t encode(const float map[CODES], float x) {
    int low = 0, high = CODES - 1;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (map[middle] <= x)
            low = middle;
        else
            high = middle;
    }
    return (uint8_t)(x - map[low] <= map[high] - x ? low : high);
}

static float encode_block(const float map[CODES], const float *x, uint8_t *codes, uint32_t n) {
    float largest = 0;
    for (uint32_t i = 0; i < n; i++) largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    float inverse = largest > 0 ? 1 / largest : 0;
    for (uint32_t i = 0; i < n; i++) codes[i] = encode(map, largest > 0 ? x[i] * inverse : 0);
    return largest;
}

void mosa_adamw_8bit_chunk(const mosa_step_values *s, float *w, const float *g, uint8_t *m, uint8_t *v, float *m_max,
                           float *v_max, uint32_t n) {
    float m_block[MOSA_MOMENT_BLOCK], v_block[MOSA_MOMENT_BLOCK];
    for (uint32_t begin = 0, block = 0; begin < n; begin += MOSA_MOMENT_BLOCK, block++) {
        uint32_t count = n - begin < MOSA_MOMENT_BLOCK ? n - begin : MOSA_MOMENT_BLOCK;
        for (uint32_t i = 0; i < count; i++) {
            // The state of a new optimiser is all zero, maxima included.
            m_block[i] = signed_map[m[begin + i]] * m_max[block];
            v_block[i] = unsigned_map[v[begin + i]] * v_max[block];
        }
        mosa_adamw_chunk(s, w + begin, g + begin, m_block, v_block, count);
        m_max[block] = encode_block(signed_map, m_block, m + begin, count);
        v_max[block] = encode_block(unsigned_map, v_block, v + begin, count);
    }
}
