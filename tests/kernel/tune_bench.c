// Times training steps of a model file: forward, backward, clipping and AdamW over random tokens, LoRA or full.
//
//   tune_bench MODEL [lora|full|bf16] [batch] [seq] [steps] [threads] [device] [MiB]
//
// MiB is a budget for activations, beyond which layers are recomputed. LoRA is of rank 8 beside every linear matrix;
// bf16 trains every weight with f32 masters. Prints one JSON line: seconds per step (median, best) after one to warm
// up, the mean loss of the last step, the bytes planned (weights, gradients, moments, activations, base) and the most
// that was resident.
#include "backend/backend.h"
#include "base/clock.h"
#include "base/rng.h"
#include "graph/op.h"
#include "train/grad_norm.h"
#include "train/optimizer.h"
#include "train/step.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS_MAX = 1000, RANK = 8 };

typedef struct bench {
    mosa_backend *backend;
    mosa_pool *pool;
    mosa_step *step;
    mosa_optimizer *optimizer;
    mosa_grad_norm norm;
    mosa_step_batch batch;
    double total, loss; // of the last step
} bench;

static mosa_status open_all(bench *b, const char *model, const char *mode, const mosa_backend_options *device,
                            int64_t budget, mosa_error *err) {
    mosa_optimizer_options adamw = mosa_optimizer_defaults(MOSA_OPTIMIZER_ADAMW);
    mosa_step_options options = {.model = model, .lora_rank = RANK, .lora_alpha = 2 * RANK, .seed = 1};
    options.train = strcmp(mode, "lora") == 0 ? MOSA_STEP_LORA : MOSA_STEP_FULL;
    options.quantize = MOSA_F32;
    options.compute = strcmp(mode, "bf16") == 0 ? MOSA_BF16 : MOSA_F32;
    options.kv = MOSA_F16;
    options.max_rows = b->batch.rows;
    options.activation_bytes = budget;
    MOSA_TRY(mosa_backend_open(device, &b->backend, err));
    MOSA_TRY(mosa_pool_create(device->threads, &b->pool, err));
    MOSA_TRY(mosa_step_open(b->backend, &options, &b->step, err));
    MOSA_TRY(mosa_grad_norm_init(&b->norm, mosa_step_params(b->step), err));
    return mosa_optimizer_create(&adamw, mosa_step_params(b->step), b->pool, &b->optimizer, err);
}

static mosa_status make_batch(mosa_step_batch *batch, int segments, int32_t length, mosa_error *err) {
    int32_t rows = batch->rows = segments * length;
    int32_t *tokens = calloc((size_t)rows + 1, sizeof *tokens);
    float *coef = calloc((size_t)rows, sizeof *coef);
    mosa_step_segment *parts = calloc((size_t)segments, sizeof *parts);
    if (!tokens || !coef || !parts) return mosa_fail(err, MOSA_ENOMEM, "out of memory");
    for (int32_t i = 0; i <= rows; i++) tokens[i] = (int32_t)mosa_rng_below(1, (uint64_t)i, 1000);
    for (int32_t i = 0; i < rows; i++) coef[i] = 1;
    for (int s = 0; s < segments; s++) parts[s] = (mosa_step_segment){s * length, length};
    *batch = (mosa_step_batch){rows, tokens, tokens + 1, coef, segments, parts};
    return MOSA_OK;
}

static mosa_status run_step(bench *b, int number, mosa_error *err) {
    const mosa_params *params = mosa_step_params(b->step);
    const mosa_step_stats *stats;
    float *grads = mosa_step_grads(b->step), scale = 1.0f / (float)b->batch.rows;
    uint64_t begin = mosa_clock_ns();
    memset(grads, 0, params->elements * sizeof *grads);
    MOSA_TRY(mosa_step_run(b->step, &b->batch, &stats, err));
    mosa_grad_norm_compute(&b->norm, params, b->pool, grads, scale);
    float clip = mosa_clip_factor(b->norm.total, 1);
    mosa_optimizer_step(b->optimizer, mosa_step_weights(b->step), grads, 1e-4f, scale * clip);
    MOSA_TRY(mosa_step_refresh(b->step, false, 1, (uint64_t)number, err));
    b->total = 1e-9 * (double)(mosa_clock_ns() - begin);
    b->loss = 0;
    for (int32_t i = 0; i < b->batch.rows; i++) b->loss -= (double)stats[i].logp / b->batch.rows;
    return MOSA_OK;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The most memory that was resident, in MiB; 0 when the kernel does not say.
static double resident_mib(void) {
    char line[256];
    double kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "VmHWM:", 6) == 0) kib = strtod(line + 6, NULL);
    if (file) (void)fclose(file);
    return kib / 1024;
}

static void print(const bench *b, double *seconds, int steps) {
    const double mib = 1024.0 * 1024.0;
    mosa_step_memory m = mosa_step_memory_of(b->step);
    size_t moments = mosa_optimizer_state_bytes(b->optimizer);
    qsort(seconds, (size_t)steps, sizeof *seconds, by_size);
    double rate = 1e-9 * mosa_step_flops(b->step, b->batch.rows) / seconds[steps / 2];
    printf("{\"rows\": %d, \"median_s\": %.4f, \"best_s\": %.4f, \"loss\": %.5f, \"gflops\": %.1f, "
           "\"base_mib\": %.1f, \"trained_mib\": %.1f, \"arenas_mib\": %.1f, \"moments_mib\": %.1f, "
           "\"activations_mib\": %.1f, \"planned_mib\": %.1f, \"resident_mib\": %.1f}\n",
           b->batch.rows, seconds[steps / 2], seconds[0], b->loss, rate, (double)m.base / mib, (double)m.trained / mib,
           (double)m.arenas / mib, (double)moments / mib, (double)m.activations / mib,
           (double)(m.base + m.trained + m.arenas + m.activations + moments) / mib, resident_mib());
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    const char *mode = argc > 2 ? argv[2] : "lora";
    int segments = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 1;
    int32_t length = argc > 4 ? (int32_t)strtol(argv[4], NULL, 10) : 512;
    int steps = argc > 5 ? (int)strtol(argv[5], NULL, 10) : 3;
    mosa_backend_options device = {argc > 7 ? argv[7] : "cpu", argc > 6 ? (int)strtol(argv[6], NULL, 10) : 0};
    int64_t budget = (argc > 8 ? strtol(argv[8], NULL, 10) : 0) * 1024 * 1024;
    static bench b;
    mosa_error err;
    double seconds[STEPS_MAX];
    if (segments < 1 || length < 1 || steps < 1 || steps > STEPS_MAX) return 2;
    mosa_status status = make_batch(&b.batch, segments, length, &err);
    if (status == MOSA_OK) status = open_all(&b, argv[1], mode, &device, budget, &err);
    for (int i = -1; status == MOSA_OK && i < steps; i++) {
        status = run_step(&b, i + 2, &err);
        if (i >= 0) seconds[i] = b.total;
    }
    if (status != MOSA_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    print(&b, seconds, steps);
    return 0;
}
