// A stand-in for libmosa_cuda.so, without devices; built several times, each with another fault.
#include "backend/cuda/cuda_plugin.h"

extern mosa_cuda_plugin MOSA_FAKE_SYMBOL;

uint32_t other_layout(void);
uint32_t other_layout(void) {
    return mosa_cuda_plugin_layout() + 1;
}

static mosa_status count(int *n, mosa_error *err) {
    (void)n;
    return mosa_fail(err, MOSA_EUNAVAILABLE, "cuda: no driver");
}

static mosa_status device(int index, mosa_cuda_device *out, mosa_error *err) {
    (void)index, (void)out;
    return count(NULL, err);
}

static mosa_status open_device(const mosa_backend_options *options, int index, mosa_backend **out, mosa_error *err) {
    (void)options, (void)out;
    return mosa_fail(err, MOSA_ENOTFOUND, "cuda: no device %d", index);
}

mosa_cuda_plugin MOSA_FAKE_SYMBOL = {
    .version = MOSA_FAKE_VERSION,
    .layout = MOSA_FAKE_LAYOUT,
    .mosa_version = "fake",
    .count = count,
    .device = device,
    .open = open_device,
};
