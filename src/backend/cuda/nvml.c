// Asks NVML through function pointers. Only what every driver since 450 has is required; the rest is left out when a
// card or a virtual machine does not tell it.
#include "backend/cuda/nvml.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef int nvml_return; // 0 = success
typedef void *nvml_device;

typedef struct nvml_memory {
    unsigned long long total, free, used;
} nvml_memory;

typedef struct nvml_utilization {
    unsigned gpu, memory;
} nvml_utilization;

typedef struct nvml {
    void *library;
    nvml_return (*init)(void);
    nvml_return (*shutdown)(void);
    const char *(*error_string)(nvml_return code);
    nvml_return (*driver_version)(char *text, unsigned length);
    nvml_return (*cuda_version)(int *version);
    nvml_return (*count)(unsigned *count);
    nvml_return (*handle)(unsigned index, nvml_device *device);
    nvml_return (*name)(nvml_device device, char *text, unsigned length);
    nvml_return (*memory)(nvml_device device, nvml_memory *memory);
    nvml_return (*capability)(nvml_device device, int *major, int *minor);
    // NULL when the library lacks them:
    nvml_return (*uuid)(nvml_device device, char *text, unsigned length);
    nvml_return (*utilization)(nvml_device device, nvml_utilization *utilization);
    nvml_return (*temperature)(nvml_device device, int sensor, unsigned *celsius);
    nvml_return (*power)(nvml_device device, unsigned *milliwatts);
    nvml_return (*pcie_generation)(nvml_device device, unsigned *generation);
    nvml_return (*pcie_lanes)(nvml_device device, unsigned *lanes);
} nvml;

static mosa_status load(nvml *n, const char *path, mosa_error *err) {
    n->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!n->library) return mosa_fail(err, MOSA_ENOTFOUND, "no NVIDIA driver: %.300s", dlerror());
    const struct {
        const char *name;
        void *slot; // a function pointer of n
        bool required;
    } symbols[] = {
        {"nvmlInit_v2", &n->init, true},
        {"nvmlShutdown", &n->shutdown, true},
        {"nvmlErrorString", &n->error_string, true},
        {"nvmlSystemGetDriverVersion", &n->driver_version, true},
        {"nvmlSystemGetCudaDriverVersion_v2", &n->cuda_version, true},
        {"nvmlDeviceGetCount_v2", &n->count, true},
        {"nvmlDeviceGetHandleByIndex_v2", &n->handle, true},
        {"nvmlDeviceGetName", &n->name, true},
        {"nvmlDeviceGetMemoryInfo", &n->memory, true},
        {"nvmlDeviceGetCudaComputeCapability", &n->capability, true},
        {"nvmlDeviceGetUUID", &n->uuid, false},
        {"nvmlDeviceGetUtilizationRates", &n->utilization, false},
        {"nvmlDeviceGetTemperature", &n->temperature, false},
        {"nvmlDeviceGetPowerUsage", &n->power, false},
        {"nvmlDeviceGetMaxPcieLinkGeneration", &n->pcie_generation, false},
        {"nvmlDeviceGetMaxPcieLinkWidth", &n->pcie_lanes, false},
    };
    for (size_t i = 0; i < MOSA_COUNT(symbols); i++) {
        void *function = dlsym(n->library, symbols[i].name);
        if (!function && symbols[i].required)
            return mosa_fail(err, MOSA_EUNAVAILABLE, "%.200s lacks %s: the NVIDIA driver is older than 450", path,
                             symbols[i].name);
        memcpy(symbols[i].slot, &function, sizeof function); // ISO C has no conversion from object to function pointer
    }
    return MOSA_OK;
}

static mosa_status check(const nvml *n, nvml_return code, const char *what, mosa_error *err) {
    if (code == 0) return MOSA_OK;
    return mosa_fail(err, MOSA_EUNAVAILABLE, "the NVIDIA driver does not tell %s: %.200s", what, n->error_string(code));
}

static void read_optional(const nvml *n, nvml_device device, mosa_gpu *gpu) {
    unsigned value;
    nvml_utilization utilization;
    if (!n->uuid || n->uuid(device, gpu->uuid, sizeof gpu->uuid) != 0) gpu->uuid[0] = 0;
    gpu->utilization_percent = n->utilization && n->utilization(device, &utilization) == 0 ? (int)utilization.gpu : -1;
    gpu->temperature_celsius = n->temperature && n->temperature(device, 0, &value) == 0 ? (int)value : -1;
    gpu->power_watts = n->power && n->power(device, &value) == 0 ? value / 1000.0 : -1;
    gpu->pcie_generation = n->pcie_generation && n->pcie_generation(device, &value) == 0 ? (int)value : -1;
    gpu->pcie_lanes = n->pcie_lanes && n->pcie_lanes(device, &value) == 0 ? (int)value : -1;
}

static mosa_status read_gpu(const nvml *n, int index, mosa_gpu *gpu, mosa_error *err) {
    nvml_device device;
    nvml_memory memory;
    gpu->index = index;
    MOSA_TRY(check(n, n->handle((unsigned)index, &device), "of a GPU", err));
    MOSA_TRY(check(n, n->name(device, gpu->name, sizeof gpu->name), "a GPU's name", err));
    MOSA_TRY(check(n, n->memory(device, &memory), "a GPU's memory", err));
    MOSA_TRY(check(n, n->capability(device, &gpu->capability_major, &gpu->capability_minor), "what a GPU can do", err));
    gpu->name[sizeof gpu->name - 1] = 0;
    gpu->memory_bytes = memory.total;
    gpu->free_bytes = memory.free;
    read_optional(n, device, gpu);
    gpu->uuid[sizeof gpu->uuid - 1] = 0;
    return MOSA_OK;
}

static mosa_status read_all(const nvml *n, mosa_gpus *out, mosa_error *err) {
    int version = 0;
    unsigned count = 0;
    MOSA_TRY(check(n, n->driver_version(out->driver, sizeof out->driver), "its version", err));
    MOSA_TRY(check(n, n->cuda_version(&version), "its CUDA version", err));
    MOSA_TRY(check(n, n->count(&count), "how many GPUs there are", err));
    out->driver[sizeof out->driver - 1] = 0;
    out->cuda_major = version / 1000;
    out->cuda_minor = version % 1000 / 10;
    out->count = count < MOSA_GPUS_MAX ? (int)count : MOSA_GPUS_MAX;
    for (int i = 0; i < out->count; i++) MOSA_TRY(read_gpu(n, i, &out->gpus[i], err));
    return MOSA_OK;
}

mosa_status mosa_gpus_list(const char *library, mosa_gpus *out, mosa_error *err) {
    nvml n = {0};
    mosa_gpus found = {0};
    mosa_status status = load(&n, library ? library : "libnvidia-ml.so.1", err);
    if (status == MOSA_OK) {
        status = check(&n, n.init(), "what it is", err);
        if (status == MOSA_OK) {
            status = read_all(&n, &found, err);
            n.shutdown();
        }
    }
    if (n.library) dlclose(n.library);
    if (status == MOSA_OK) *out = found;
    return status;
}
