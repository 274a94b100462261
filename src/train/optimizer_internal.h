// What the optimisers' files share: the state of a parameter and the numbers of a step.
#ifndef MOSA_TRAIN_OPTIMIZER_INTERNAL_H
#define MOSA_TRAIN_OPTIMIZER_INTERNAL_H

#include "train/optimizer.h"

// Loops over elements have no order to keep (each element stands alone; no reductions), so wider vectors give the same
// bits. Sanitizers do not go with indirect functions.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&               \
    !defined(__SANITIZE_THREAD__)
#define MOSA_TRAIN_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define MOSA_TRAIN_WIDE
#endif

enum { MOSA_MOMENT_BLOCK = 256, MOSA_MOMENT_SMALL = 4096 };

typedef struct mosa_moments {
    float *m, *v;         // (n) f32 moments; v NULL for SGD and Muon, both NULL when quantised
    uint8_t *m8, *v8;     // (n) codes, or NULL
    float *m_max, *v_max; // (blocks) largest magnitude of each block of MOSA_MOMENT_BLOCK
} mosa_moments;

// A step's numbers, for one parameter.
typedef struct mosa_step_values {
    float lr, grad_scale, weight_decay;
    float beta1, beta2, eps;
    float step_size, sqrt_bias2; // lr / (1 - beta1^t), sqrt(1 - beta2^t)
    float momentum;
    bool nesterov, first;
} mosa_step_values;

struct mosa_optimizer {
    mosa_optimizer_options options;
    const mosa_params *params;
    mosa_pool *pool;
    int64_t steps;
    mosa_arena arena;     // names
    mosa_moments *states; // (params->count)
    void *memory;         // of all states
    size_t memory_bytes;
    mosa_train_tensor *tensors; // (n_tensors)
    size_t n_tensors;
    float *muon; // scratch: X, its transpose and two squares
    size_t muon_floats;
};

// n elements of one parameter: weights, gradient and moments begin at the same element.
void mosa_adamw_chunk(const mosa_step_values *s, float *w, const float *g, float *m, float *v, uint32_t n);
void mosa_sgd_chunk(const mosa_step_values *s, float *w, const float *g, float *b, uint32_t n);
// n elements from a multiple of MOSA_MOMENT_BLOCK on; codes and maxima begin there.
void mosa_adamw_8bit_chunk(const mosa_step_values *s, float *w, const float *g, uint8_t *m, uint8_t *v, float *m_max,
                           float *v_max, uint32_t n);
void mosa_moment_codes_init(void); // builds the maps, once per process; thread-safe

// One matrix [rows, columns] on all threads of the optimiser's pool.
void mosa_muon_matrix(mosa_optimizer *optimizer, const mosa_step_values *s, const mosa_param *param, float *w,
                      const float *g, float *b);
size_t mosa_muon_scratch_floats(const mosa_param *param);

#endif
