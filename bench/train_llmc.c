// Times steps of llm.c's CPU trainer on random weights and tokens, for bench/train: the peer of step_bench.
//
//   cc -Ofast -march=native -fopenmp -I LLM.C bench/train_llmc.c -o train_llmc -lm;  train_llmc [batch] [seq] [steps]
//
// Its source is taken from a checkout of llm.c, unchanged; forward, zeroed gradients, backward and AdamW, as its own
// main does. Prints one JSON line: seconds per step (median, best) after one to warm up, loss.
#define TESTING
#include "train_gpt2.c"

enum { MAGIC = 20240326, VOCAB = 50257, PADDED = 50304, LAYERS = 12, HEADS = 12, D = 768, CONTEXT = 1024 };

// A checkpoint of the 124M shape: near normal weights of deviation 0.02; one stream for all tensors, norms around 1 by
// where they lie would need its tables: a step's time does not depend on the values.
static void write_model(const char *path) {
    int header[256] = {MAGIC, 3, CONTEXT, VOCAB, LAYERS, HEADS, D, PADDED};
    size_t block = 12 * (size_t)D * D + 13 * (size_t)D;
    size_t count = (size_t)PADDED * D + (size_t)CONTEXT * D + LAYERS * block + 2 * (size_t)D;
    uint64_t state = 1;
    FILE *file = fopenCheck(path, "wb");
    fwrite(header, sizeof(int), 256, file);
    for (size_t i = 0; i < count; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        float w = 0.07f * ((float)(state >> 40) / (float)(1 << 24) - 0.5f);
        fwrite(&w, sizeof w, 1, file);
    }
    fcloseCheck(file);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    size_t batch = argc > 1 ? strtoul(argv[1], NULL, 10) : 4, seq = argc > 2 ? strtoul(argv[2], NULL, 10) : 64;
    int steps = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 3;
    char path[] = "/tmp/train_llmc_XXXXXX";
    double seconds[100];
    if (steps < 1 || steps > 100 || seq > CONTEXT || batch < 1 || mkstemp(path) < 0) return 2;
    write_model(path);
    fclose(stdout); // the loader talks
    GPT2 model;
    gpt2_build_from_checkpoint(&model, path);
    remove(path);
    int *tokens = mallocCheck((batch * seq + 1) * sizeof *tokens);
    for (size_t i = 0; i <= batch * seq; i++) tokens[i] = (int)(i * 7919 % VOCAB);
    for (int i = -1; i < steps; i++) {
        double begin = now();
        gpt2_forward(&model, tokens, tokens + 1, batch, seq);
        gpt2_zero_grad(&model);
        gpt2_backward(&model);
        gpt2_update(&model, 1e-4f, 0.9f, 0.999f, 1e-8f, 0.0f, i + 2);
        if (i >= 0) seconds[i] = now() - begin;
    }
    qsort(seconds, (size_t)steps, sizeof *seconds, by_size);
    dprintf(2, "{\"median_s\": %.4f, \"best_s\": %.4f, \"loss\": %.5f}\n", seconds[steps / 2], seconds[0],
            (double)model.mean_loss);
    return 0;
}
