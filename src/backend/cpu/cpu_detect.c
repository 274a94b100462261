// What the processor can run: CPUID, and XCR0 for whether the system saves the wide registers.
#include "backend/cpu/kernel.h"

#if defined(__x86_64__)
#include <cpuid.h>

static unsigned enabled_state(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

mosa_cpu_features mosa_cpu_detect(void) {
    enum { XMM_YMM = 6, ZMM = 0xe0 };
    mosa_cpu_features features = {0};
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX)) return features;
    unsigned state = enabled_state();
    if ((state & XMM_YMM) != XMM_YMM) return features;
    features.fma = c & bit_FMA;
    features.f16c = c & bit_F16C;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return features;
    features.avx2 = b & bit_AVX2;
    if ((state & ZMM) == ZMM) {
        features.avx512f = b & bit_AVX512F;
        features.avx512vnni = c & bit_AVX512VNNI;
        unsigned needed = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
        features.avx512 = (b & needed) == needed && features.avx512vnni;
    }
    return features;
}
#else
mosa_cpu_features mosa_cpu_detect(void) {
    return (mosa_cpu_features){0};
}
#endif
