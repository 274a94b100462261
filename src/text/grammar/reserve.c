// Address space that is touched as it fills.
#include "text/grammar/reserve.h"

#include <sys/mman.h>

void *mosa_reserve(size_t count, size_t size) {
    void *memory = mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void mosa_unreserve(void *memory, size_t count, size_t size) {
    if (memory) munmap(memory, count * size);
}
