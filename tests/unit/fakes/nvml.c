// A management library of two cards, for tests on machines without one: NVML's functions by name, with answers that a
// test can check. FAKE_NVML=broken makes it fail to start, as a driver whose kernel module was replaced does.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int nvmlInit_v2(void);
int nvmlShutdown(void);
const char *nvmlErrorString(int code);
int nvmlSystemGetDriverVersion(char *text, unsigned length);
int nvmlSystemGetCudaDriverVersion_v2(int *version);
int nvmlDeviceGetCount_v2(unsigned *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);
int nvmlDeviceGetName(void *device, char *text, unsigned length);
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long memory[3]);
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor);
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts);

static int cards[2] = {0, 1};

int nvmlInit_v2(void) {
    const char *how = getenv("FAKE_NVML");
    return how && strcmp(how, "broken") == 0 ? 18 : 0;
}

int nvmlShutdown(void) {
    return 0;
}

const char *nvmlErrorString(int code) {
    return code == 18 ? "Driver/library version mismatch" : "Unknown Error";
}

int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    return snprintf(text, length, "580.159.04") < 0;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    *version = 13000;
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = 2;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = &cards[index];
    return 0;
}

int nvmlDeviceGetName(void *device, char *text, unsigned length) {
    return snprintf(text, length, "Test Card %d", *(int *)device) < 0;
}

int nvmlDeviceGetMemoryInfo(void *device, unsigned long long memory[3]) { // total, free, used
    memory[0] = 80ull << 30;
    memory[1] = (60ull + (unsigned)*(int *)device) << 30;
    memory[2] = memory[0] - memory[1];
    return 0;
}

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    *major = *(int *)device ? 7 : 9;
    *minor = 0;
    return 0;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) {
    *milliwatts = 71500;
    return *(int *)device ? 3 : 0; // not supported by the second
}
