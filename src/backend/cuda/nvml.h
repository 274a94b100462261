// The NVIDIA GPUs of this machine, as its driver's management library (NVML) tells them.
//
// The library is opened at run time and closed again: nothing of it is needed to build, and a machine without a driver
// simply has no GPUs. No GPU is started or changed by asking. Order and numbers are NVML's (by PCI address).
// Source: NVIDIA NVML API reference, the functions of driver 450 and later. Thread: any.
#ifndef MOSA_BACKEND_CUDA_NVML_H
#define MOSA_BACKEND_CUDA_NVML_H

#include "base/status.h"

#include <stdint.h>

enum { MOSA_GPUS_MAX = 64 };

typedef struct mosa_gpu {
    int index;
    char name[96], uuid[96];
    int capability_major, capability_minor; // compute capability, 9.0 = Hopper
    uint64_t memory_bytes, free_bytes;
    int utilization_percent; // of the last sample period, -1 = not told; so are the following
    int temperature_celsius;
    double power_watts; // -1 = not told
    int pcie_generation, pcie_lanes;
} mosa_gpu;

typedef struct mosa_gpus {
    char driver[96];            // "580.159.04", "" without one
    int cuda_major, cuda_minor; // newest CUDA that the driver runs
    int count;
    mosa_gpu gpus[MOSA_GPUS_MAX];
} mosa_gpus;

// `library` is the file to open, NULL = libnvidia-ml.so.1. MOSA_ENOTFOUND when there is no such library: no driver.
// MOSA_EUNAVAILABLE when there is one that does not answer, with its own words.
mosa_status mosa_gpus_list(const char *library, mosa_gpus *out, mosa_error *err);

#endif
