// What libmosa_cuda.so exports: one function table under one name.
//
// The plugin links its own copies of base/, tensor/ and graph/ and shares nothing with the program but this table and
// the structs of backend.h, graph.h and plan.h. So both must be built from the same headers: `layout` is a number made
// of their sizes, and the loader refuses a plugin whose number differs. Objects that the plugin makes with malloc and
// the program frees (a lowered graph) rely on both using the same C library.
// Thread: count and device from any thread; open from one at a time.
#ifndef MOSA_BACKEND_CUDA_CUDA_PLUGIN_H
#define MOSA_BACKEND_CUDA_CUDA_PLUGIN_H

#include "backend/backend.h"

#define MOSA_CUDA_PLUGIN_SYMBOL "mosa_cuda_plugin_v1"
enum { MOSA_CUDA_PLUGIN_VERSION = 1 };

typedef struct mosa_cuda_device {
    int index;
    char name[128];          // "NVIDIA H200"
    char unusable[160];      // why it cannot be used, or ""
    int major, minor;        // compute capability
    int multiprocessors;     // count
    int driver;              // 1000 * major + 10 * minor of the CUDA version that the driver supports
    int64_t memory_bytes;    // of the device
    int64_t memory_free;     // bytes that can be taken now; -1 when that was not to be learnt
    double bytes_per_second; // of its memory as the device describes itself; 0 when it does not
} mosa_cuda_device;

static inline uint32_t mosa_cuda_plugin_layout(void) {
    const size_t sizes[] = {sizeof(mosa_backend_ops),
                            sizeof(mosa_batch),
                            sizeof(mosa_segment),
                            sizeof(mosa_kv_spec),
                            sizeof(mosa_bindings),
                            sizeof(mosa_graph),
                            sizeof(mosa_node),
                            sizeof(mosa_value_info),
                            sizeof(mosa_plan),
                            sizeof(mosa_tensor_view),
                            sizeof(mosa_error),
                            sizeof(mosa_cuda_device),
                            MOSA_OP_COUNT,
                            MOSA_DTYPE_COUNT,
                            MOSA_ACT_CLAMPED_SWIGLU};
    uint32_t layout = 2166136261u; // FNV-1a over the numbers
    for (size_t i = 0; i < MOSA_COUNT(sizes); i++) layout = (layout ^ (uint32_t)sizes[i]) * 16777619u;
    return layout;
}

typedef struct mosa_cuda_plugin {
    uint32_t version;         // MOSA_CUDA_PLUGIN_VERSION
    uint32_t (*layout)(void); // mosa_cuda_plugin_layout() as the plugin was built
    const char *mosa_version;
    // Number of devices that the driver shows. MOSA_EUNAVAILABLE without a driver, with one that is too old, or without
    // any device; the hint says what to do.
    mosa_status (*count)(int *n, mosa_error *err);
    mosa_status (*device)(int index, mosa_cuda_device *out, mosa_error *err);
    // Opens a device. MOSA_EUNAVAILABLE (as count), MOSA_ENOTFOUND (no such device), MOSA_EUNSUPPORTED (compute
    // capability), MOSA_ENOMEM (no free memory).
    mosa_status (*open)(const mosa_backend_options *options, int index, mosa_backend **out, mosa_error *err);
} mosa_cuda_plugin;

#endif
