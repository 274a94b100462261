// Large zeroed memory: pages of the system, huge where it grants them, so that weights and KV pages cost few TLB
// entries and untouched parts cost nothing.
#include "backend/cpu/cpu_backend.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAP_AT_LEAST = 1 << 20, HUGE_AT_LEAST = 4 << 20 };

void *mosa_cpu_alloc(size_t bytes) {
    if (bytes > SIZE_MAX - 64) return NULL;
    if (bytes < MAP_AT_LEAST) {
        size_t rounded = (bytes + 63) / 64 * 64;
        void *memory = aligned_alloc(64, rounded ? rounded : 64);
        return memory ? memset(memory, 0, rounded) : NULL;
    }
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    if (bytes >= HUGE_AT_LEAST) (void)madvise(memory, bytes, MADV_HUGEPAGE); // a wish: small pages work too
    return memory;
}

void mosa_cpu_free(void *memory, size_t bytes) {
    if (!memory) return;
    if (bytes < MAP_AT_LEAST)
        free(memory);
    else
        (void)munmap(memory, bytes);
}
