// Large zeroed memory: pages of the system, huge where it grants them, so that weights and KV pages cost few TLB
// entries and untouched parts cost nothing.
#include "backend/cpu/cpu_backend.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAP_AT_LEAST = 1 << 20, HUGE_AT_LEAST = 4 << 20, HUGE_PAGE = 2 << 20 };

// Maps `bytes` at a multiple of HUGE_PAGE: what lies before and behind is given back at once.
static void *map_huge(size_t bytes) {
    size_t all;
    if (__builtin_add_overflow(bytes, (size_t)HUGE_PAGE, &all)) return MAP_FAILED;
    unsigned char *memory = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return MAP_FAILED;
    size_t before = (HUGE_PAGE - (uintptr_t)memory % HUGE_PAGE) % HUGE_PAGE, kept = (bytes + 4095) & ~(size_t)4095;
    if (before) (void)munmap(memory, before);
    if (all > before + kept) (void)munmap(memory + before + kept, all - before - kept);
    (void)madvise(memory + before, bytes, MADV_HUGEPAGE); // a wish: small pages work too
    return memory + before;
}

void *mosa_cpu_alloc(size_t bytes) {
    if (bytes > SIZE_MAX - 64) return NULL;
    if (bytes < MAP_AT_LEAST) {
        size_t rounded = (bytes + 63) / 64 * 64;
        void *memory = aligned_alloc(64, rounded ? rounded : 64);
        return memory ? memset(memory, 0, rounded) : NULL;
    }
    void *memory = bytes >= HUGE_AT_LEAST
                       ? map_huge(bytes)
                       : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void mosa_cpu_free(void *memory, size_t bytes) {
    if (!memory) return;
    if (bytes < MAP_AT_LEAST)
        free(memory);
    else
        (void)munmap(memory, bytes);
}
