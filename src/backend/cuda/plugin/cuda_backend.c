// Opening a device, and the table that the plugin exports.
#include "backend/cuda/plugin/cuda_backend.h"

#include "backend/cuda/plugin/measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPABILITY_MIN = 80, DRIVER_MIN = 12000 }; // compute capability 8.0; drivers of CUDA 12 and later
enum { FREE_BYTES_MIN = 256 << 20 };
enum { KEPT_BYTES = 512 << 20 }; // not offered to callers: captured steps, longer page lists, scratch of long contexts

mosa_status mosa_cuda_fail(mosa_error *err, cudaError_t error, const char *what) {
    (void)cudaGetLastError(); // what is not sticky is forgotten
    if (error == cudaErrorMemoryAllocation) return mosa_fail(err, MOSA_ENOMEM, "cuda: %.200s: out of memory", what);
    return mosa_fail(err, MOSA_EINTERNAL, "cuda: %.200s: %s (%s)", what, cudaGetErrorString(error),
                     cudaGetErrorName(error));
}

mosa_status mosa_cuda_alloc(void **out, size_t bytes, const char *what, mosa_error *err) {
    cudaError_t error = cudaMalloc(out, bytes ? bytes : 1);
    if (error == cudaSuccess) return MOSA_OK;
    if (error != cudaErrorMemoryAllocation) return mosa_cuda_fail(err, error, what);
    size_t available = 0, total = 0;
    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&available, &total);
    (void)mosa_fail(err, MOSA_ENOMEM, "cuda: %.200s: %.1f MB are not to be had, %.1f of %.1f MB are free", what,
                    (double)bytes / 1e6, (double)available / 1e6, (double)total / 1e6);
    return err ? mosa_hint(err, "end other programs on this GPU (nvidia-smi lists them), or take a smaller model, "
                                "context or batch")
               : MOSA_ENOMEM;
}

mosa_status mosa_cuda_use(const mosa_backend *backend, mosa_error *err) {
    MOSA_CUDA_TRY(cudaSetDevice(((const mosa_cuda_backend *)backend)->device), "device", err);
    return MOSA_OK;
}

static mosa_status unavailable(mosa_error *err, const char *message, const char *hint) {
    (void)mosa_fail(err, MOSA_EUNAVAILABLE, "%s", message);
    return err ? mosa_hint(err, "%s", hint) : MOSA_EUNAVAILABLE;
}

static mosa_status old_driver(int driver, mosa_error *err) {
    (void)mosa_fail(err, MOSA_EUNAVAILABLE, "cuda: the NVIDIA driver is too old: it supports CUDA %d.%d", driver / 1000,
                    driver % 1000 / 10);
    return err ? mosa_hint(err, "install a driver that supports CUDA %d.%d or later, or use --device cpu",
                           CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10)
               : MOSA_EUNAVAILABLE;
}

static mosa_status count_devices(int *n, mosa_error *err) {
    int driver = 0, count = 0;
    cudaError_t error = cudaDriverGetVersion(&driver);
    if (error != cudaSuccess || driver == 0)
        return unavailable(err, "cuda: no NVIDIA driver is loaded on this machine",
                           "install the NVIDIA driver (nvidia-smi must work), or use --device cpu");
    if (driver < DRIVER_MIN) return old_driver(driver, err);
    error = cudaGetDeviceCount(&count);
    (void)cudaGetLastError();
    if (error == cudaErrorInsufficientDriver) return old_driver(driver, err);
    if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0))
        return unavailable(err, "cuda: the driver shows no GPU",
                           "see nvidia-smi; CUDA_VISIBLE_DEVICES may hide it; or use --device cpu");
    if (error != cudaSuccess) return mosa_cuda_fail(err, error, "devices");
    *n = count;
    return MOSA_OK;
}

static void find_fault(const mosa_cuda_device *d, char *why, size_t size) {
    if (d->major * 10 + d->minor < CAPABILITY_MIN)
        (void)snprintf(why, size, "compute capability %d.%d, the least is %d.%d", d->major, d->minor,
                       CAPABILITY_MIN / 10, CAPABILITY_MIN % 10);
    else if (d->memory_free >= 0 && d->memory_free < FREE_BYTES_MIN)
        (void)snprintf(why, size, "only %.0f MB of its memory are free", (double)d->memory_free / 1e6);
}

static mosa_status describe_device(int index, mosa_cuda_device *out, mosa_error *err) {
    int count = 0, clock_khz = 0, bus_bits = 0;
    MOSA_TRY(count_devices(&count, err));
    if (index < 0 || index >= count) {
        (void)mosa_fail(err, MOSA_ENOTFOUND, "no device 'cuda:%d', there %s %d", index, count == 1 ? "is" : "are",
                        count);
        return err ? mosa_hint(err, "`mosa devices` lists them; they count from 0") : MOSA_ENOTFOUND;
    }
    struct cudaDeviceProp p;
    MOSA_CUDA_TRY(cudaGetDeviceProperties(&p, index), "device properties", err);
    *out = (mosa_cuda_device){.index = index,
                              .major = p.major,
                              .minor = p.minor,
                              .multiprocessors = p.multiProcessorCount,
                              .memory_bytes = (int64_t)p.totalGlobalMem,
                              .memory_free = -1};
    (void)snprintf(out->name, sizeof out->name, "%s", p.name);
    (void)cudaDriverGetVersion(&out->driver);
    (void)cudaDeviceGetAttribute(&clock_khz, cudaDevAttrMemoryClockRate, index);
    (void)cudaDeviceGetAttribute(&bus_bits, cudaDevAttrGlobalMemoryBusWidth, index);
    out->bytes_per_second = 2.0 * clock_khz * 1e3 * bus_bits / 8;
    size_t available, total;
    if (cudaSetDevice(index) == cudaSuccess && cudaMemGetInfo(&available, &total) == cudaSuccess)
        out->memory_free = (int64_t)available;
    (void)cudaGetLastError();
    find_fault(out, out->unusable, sizeof out->unusable);
    return MOSA_OK;
}

static const char *describe(const mosa_backend *backend) {
    return ((const mosa_cuda_backend *)backend)->description;
}

static void destroy(mosa_backend *backend) {
    if (!backend) return;
    mosa_cuda_backend *cuda = (mosa_cuda_backend *)backend;
    (void)cudaSetDevice(cuda->device);
    if (cuda->stream) (void)cudaStreamDestroy(cuda->stream);
    if (cuda->upload_stream) (void)cudaStreamDestroy(cuda->upload_stream);
    mosa_cuda_upload_finish();
    free(cuda);
}

mosa_status mosa_cuda_measure(mosa_backend *backend, mosa_device_limits *limits, mosa_error *err) {
    const mosa_cuda_backend *cuda = (const mosa_cuda_backend *)backend;
    mosa_cuda_rates rates;
    MOSA_TRY(mosa_cuda_use(backend, err));
    MOSA_CUDA_TRY(mosa_cuda_measure_rates(cuda->device, cuda->stream, &rates), "measuring", err);
    *limits = (mosa_device_limits){.read_bytes_per_s = rates.read_bytes_per_s,
                                   .f32_ops_per_s = rates.f32_ops_per_s,
                                   .int8_ops_per_s = 0,
                                   .matrix_ops_per_s = rates.bf16_ops_per_s};
    return MOSA_OK;
}

static mosa_status memory(mosa_backend *backend, int64_t *total, int64_t *available, mosa_error *err) {
    size_t all, unused;
    MOSA_TRY(mosa_cuda_use(backend, err));
    MOSA_CUDA_TRY(cudaMemGetInfo(&unused, &all), "memory", err);
    *total = (int64_t)all;
    *available = unused > KEPT_BYTES ? (int64_t)unused - KEPT_BYTES : 0;
    return MOSA_OK;
}

static const mosa_backend_ops cuda_ops = {
    .name = "cuda",
    .destroy = destroy,
    .describe = describe,
    .lower = mosa_cuda_lower,
    .weight_create = mosa_cuda_weight_create,
    .weight_destroy = mosa_cuda_weight_destroy,
    .weight_bytes = mosa_cuda_weight_bytes,
    .weight_refresh = mosa_cuda_weight_refresh,
    .kv_create = mosa_cuda_kv_create,
    .kv_destroy = mosa_cuda_kv_destroy,
    .kv_page_bytes = mosa_cuda_kv_page_bytes,
    .kv_element_bytes = mosa_cuda_kv_element_bytes,
    .adapter_create = mosa_cuda_adapter_create,
    .adapter_destroy = mosa_cuda_adapter_destroy,
    .adapter_bytes = mosa_cuda_adapter_bytes,
    .exec_create = mosa_cuda_exec_create,
    .exec_destroy = mosa_cuda_exec_destroy,
    .exec_run = mosa_cuda_exec_run,
    .exec_read = mosa_cuda_exec_read,
    .exec_draw = mosa_cuda_exec_draw,
    .exec_profile = mosa_cuda_exec_profile,
    .exec_times = mosa_cuda_exec_times,
    .memory = memory,
    .measure = mosa_cuda_measure,
};

static mosa_status prepare(mosa_cuda_backend *cuda, mosa_error *err) {
    MOSA_TRY(mosa_cuda_use(&cuda->base, err));
    MOSA_CUDA_TRY(cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking), "stream", err);
    MOSA_CUDA_TRY(cudaStreamCreateWithFlags(&cuda->upload_stream, cudaStreamNonBlocking), "stream", err);
    mosa_cuda_kernels(cuda->kernels);
    return MOSA_OK;
}

static mosa_status open_device(const mosa_backend_options *options, int index, mosa_backend **out, mosa_error *err) {
    (void)options;
    mosa_cuda_device device;
    MOSA_TRY(describe_device(index, &device, err));
    if (device.unusable[0]) {
        bool old = device.major * 10 + device.minor < CAPABILITY_MIN;
        (void)mosa_fail(err, old ? MOSA_EUNSUPPORTED : MOSA_ENOMEM, "cuda:%d: %s: %s", index, device.name,
                        device.unusable);
        if (!err) return MOSA_EUNSUPPORTED;
        return mosa_hint(err, old ? "use another GPU or --device cpu"
                                  : "end other programs on this GPU (nvidia-smi lists them), or use --device cpu");
    }
    mosa_cuda_backend *cuda = calloc(1, sizeof *cuda);
    if (!cuda) return mosa_fail(err, MOSA_ENOMEM, "cuda: out of memory");
    cuda->base.ops = &cuda_ops;
    cuda->device = index;
    (void)snprintf(cuda->description, sizeof cuda->description, "cuda:%d: %s, %.1f GiB, compute %d.%d", index,
                   device.name, (double)device.memory_bytes / (1 << 30), device.major, device.minor);
    mosa_status status = prepare(cuda, err);
    if (status == MOSA_OK)
        *out = &cuda->base;
    else
        destroy(&cuda->base);
    return status;
}

extern const mosa_cuda_plugin mosa_cuda_plugin_v1;
__attribute__((visibility("default"))) const mosa_cuda_plugin mosa_cuda_plugin_v1 = {
    .version = MOSA_CUDA_PLUGIN_VERSION,
    .layout = mosa_cuda_plugin_layout,
    .mosa_version = MOSA_VERSION,
    .count = count_devices,
    .device = describe_device,
    .open = open_device,
};
