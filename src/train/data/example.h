// Examples and packed batches: what data becomes before a training step sees it.
//
// An example is one sequence of token ids with a loss weight per token. weight[i] multiplies -log p(ids[i] |
// ids[0..i)), so weight[0] is always 0: nothing comes before it. A unit is what is shuffled and packed as a whole: one
// example, or the two of a preference pair (chosen first).
//
// In a batch an example of n tokens is a segment of n - 1 rows (n with options.last_row): row t holds ids[t] at
// position t and predicts ids[t+1]. The last token is only a label, so that no row is computed for nothing.
#ifndef MOSA_TRAIN_DATA_EXAMPLE_H
#define MOSA_TRAIN_DATA_EXAMPLE_H

#include <stdint.h>

typedef enum mosa_example_role {
    MOSA_EXAMPLE_PLAIN,
    MOSA_EXAMPLE_CHOSEN,   // of a pair; the unit's first
    MOSA_EXAMPLE_REJECTED, // of a pair; the unit's second
    MOSA_EXAMPLE_GOOD,     // KTO: desirable
    MOSA_EXAMPLE_BAD,      // KTO: undesirable
} mosa_example_role;

typedef struct mosa_train_example {
    const int32_t *ids;  // (n)
    const float *weight; // (n) of ids[i] in the loss; weight[0] = 0
    int32_t n;           // tokens, at least 2
    mosa_example_role role;
    uint32_t file; // which of the files that were read, from 0
    uint64_t line; // where its record begins there, from 1
} mosa_train_example;

// Rows [row_begin, row_begin + row_count) are one example; they see each other and nothing else, from position 0 on.
typedef struct mosa_data_segment {
    int32_t row_begin, row_count;
} mosa_data_segment;

// Whose example a segment is; parallel to the segments.
typedef struct mosa_data_origin {
    uint32_t set;     // index of the store in the mix
    uint64_t example; // index within the store
    mosa_example_role role;
} mosa_data_origin;

// Segments cover all rows, in order. Pairs lie side by side: chosen at an even segment, rejected after it.
typedef struct mosa_data_batch {
    int32_t rows;
    const int32_t *tokens;    // (rows)
    const int32_t *positions; // (rows) within the row's segment, from 0
    const int32_t *labels;    // (rows) the token that follows; -1 = the row does not count
    const float *coef;        // (rows) weight of the row's -logp; 0 where labels is -1
    int32_t n_segments;
    const mosa_data_segment *segments; // (n_segments)
    const mosa_data_origin *origins;   // (n_segments)
    int32_t n_supervised;              // rows with a label
    double coef_sum;                   // what the loss is divided by, summed over the batches of an optimiser's step
} mosa_data_batch;

#endif
