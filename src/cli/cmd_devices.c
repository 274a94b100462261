// mosa devices: what `--device` can name on this machine, and what those that it cannot name lack.
#include "cli/command.h"

#include "backend/backend.h"
#include "backend/cuda/nvml.h"
#include "codec/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct devices_values {
    bool json;
} devices_values;

static const mosa_option options[] = {
    {.flag = "--json",
     .type = MOSA_OPTION_BOOL,
     .help = "Print one JSON object instead of a table.",
     MOSA_OPTION_FIELD(devices_values, json)},
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

enum { BAR_COLUMNS = 20 };

// One device: opened once, so that "usable" is what an engine would find.
typedef struct device {
    char name[16];  // "cuda:0"
    char what[160]; // the backend's description, or why it does not open
    char hint[MOSA_ERROR_HINT_MAX];
    bool usable;
    const mosa_gpu *gpu; // NULL for the CPU
} device;

static void probe(device *d, const char *name, const mosa_gpu *gpu) {
    mosa_backend_options backend_options = {.device = name};
    mosa_backend *backend = NULL;
    mosa_error err = {0};
    (void)snprintf(d->name, sizeof d->name, "%s", name);
    d->gpu = gpu;
    d->usable = mosa_backend_open(&backend_options, &backend, &err) == MOSA_OK;
    (void)snprintf(d->what, sizeof d->what, "%s", d->usable ? backend->ops->describe(backend) : err.message);
    (void)snprintf(d->hint, sizeof d->hint, "%s", d->usable ? "" : err.hint);
    if (d->usable) backend->ops->destroy(backend);
}

// --- for scripts --------------------------------------------------------------------------------------------------

static json_t *gpu_json(const mosa_gpu *gpu) {
    char capability[32];
    (void)snprintf(capability, sizeof capability, "%d.%d", gpu->capability_major, gpu->capability_minor);
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:I, s:I}", "name", gpu->name, "uuid", gpu->uuid, "compute_capability", capability,
                  "memory_bytes", (json_int_t)gpu->memory_bytes, "free_bytes", (json_int_t)gpu->free_bytes);
    if (gpu->utilization_percent >= 0)
        json_object_set_new(json, "utilization_percent", json_integer(gpu->utilization_percent));
    if (gpu->temperature_celsius >= 0)
        json_object_set_new(json, "temperature_celsius", json_integer(gpu->temperature_celsius));
    if (gpu->power_watts >= 0) json_object_set_new(json, "power_watts", json_real(gpu->power_watts));
    if (gpu->pcie_generation > 0) json_object_set_new(json, "pcie_generation", json_integer(gpu->pcie_generation));
    if (gpu->pcie_lanes > 0) json_object_set_new(json, "pcie_lanes", json_integer(gpu->pcie_lanes));
    return json;
}

static mosa_status print_json(const device *devices, int count, const mosa_gpus *gpus, mosa_error *err) {
    MOSA_AUTO_JSON json_t *list = json_array(), *all = NULL;
    for (int i = 0; i < count; i++) {
        const device *d = &devices[i];
        json_t *json = json_pack("{s:s, s:b, s:s}", "device", d->name, "usable", d->usable, "description", d->what);
        if (d->hint[0]) json_object_set_new(json, "hint", json_string(d->hint));
        if (d->gpu) json_object_set_new(json, "gpu", gpu_json(d->gpu));
        json_array_append_new(list, json);
    }
    all = json_pack("{s:O}", "devices", list);
    if (gpus->driver[0]) json_object_set_new(all, "nvidia_driver", json_string(gpus->driver));
    mosa_buf text = {0};
    mosa_json_append_pretty(&text, all);
    bool failed = mosa_buf_failed(&text);
    if (!failed) printf("%.*s\n", (int)text.len, text.data);
    mosa_buf_finish(&text);
    return failed ? mosa_fail(err, MOSA_ENOMEM, "out of memory for the list of devices") : MOSA_OK;
}

// --- for people ---------------------------------------------------------------------------------------------------

static void print_gpu(const mosa_gpu *gpu) {
    double total = (double)gpu->memory_bytes, used = total - (double)gpu->free_bytes;
    int filled = total > 0 ? (int)(used / total * BAR_COLUMNS + 0.5) : 0;
    printf("        memory ");
    for (int i = 0; i < BAR_COLUMNS; i++) fputs(i < filled ? "█" : "·", stdout);
    printf(" %.1f of %.1f GiB used", used / (1 << 30), total / (1 << 30));
    if (gpu->utilization_percent >= 0) printf("; %d%% busy", gpu->utilization_percent);
    if (gpu->power_watts >= 0) printf("; %.0f W", gpu->power_watts);
    if (gpu->temperature_celsius >= 0) printf("; %d °C", gpu->temperature_celsius);
    if (gpu->pcie_generation > 0) printf("; PCIe %d x%d", gpu->pcie_generation, gpu->pcie_lanes);
    printf("\n");
}

static void print_table(const device *devices, int count, const mosa_gpus *gpus, const mosa_error *gpu_error) {
    for (int i = 0; i < count; i++) {
        const device *d = &devices[i];
        if (d->gpu)
            printf("%-7s %s, compute capability %d.%d\n", d->name, d->gpu->name, d->gpu->capability_major,
                   d->gpu->capability_minor);
        printf("%-7s %s%s\n", d->gpu ? "" : d->name, d->usable ? "" : "not usable: ", d->what);
        if (d->hint[0]) printf("        %s\n", d->hint);
        if (d->gpu) print_gpu(d->gpu);
    }
    if (gpus->driver[0])
        printf("NVIDIA driver %s, runs CUDA up to %d.%d\n", gpus->driver, gpus->cuda_major, gpus->cuda_minor);
    else
        printf("no GPUs: %s\n", gpu_error->message);
    if (gpus->count && getenv("CUDA_VISIBLE_DEVICES"))
        printf("CUDA_VISIBLE_DEVICES is set: cuda:0 is the first that it names\n");
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    const devices_values *values = call->values;
    mosa_gpus *gpus = mosa_arena_alloc(call->arena, sizeof *gpus);
    device *devices = mosa_arena_alloc(call->arena, sizeof *devices * (MOSA_GPUS_MAX + 1));
    if (!gpus || !devices) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the list of devices");
    memset(gpus, 0, sizeof *gpus);
    mosa_error gpu_error = {0};
    int count = 0;
    probe(&devices[count++], "cpu", NULL);
    if (mosa_gpus_list(NULL, gpus, &gpu_error) == MOSA_OK) {
        for (int i = 0; i < gpus->count; i++) {
            char name[16];
            (void)snprintf(name, sizeof name, "cuda:%d", i);
            probe(&devices[count++], name, &gpus->gpus[i]);
        }
    }
    if (values->json) return print_json(devices, count, gpus, err);
    print_table(devices, count, gpus, &gpu_error);
    return MOSA_OK;
}

extern const mosa_command mosa_command_devices;
const mosa_command mosa_command_devices = {
    .name = "devices",
    .group = MOSA_GROUP_TOOLS,
    .summary = "List what --device can name on this machine",
    .options = &table,
    .values_bytes = sizeof(devices_values),
    .run = run,
};
