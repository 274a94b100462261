// How much memory this process may use: what the machine has, and what its control groups leave of it.
#ifndef MOSA_BASE_MEMORY_H
#define MOSA_BASE_MEMORY_H

#include <stdint.h>

typedef struct mosa_memory {
    int64_t total;     // bytes of the machine, or the smallest limit of a control group around this process
    int64_t available; // bytes of it that can still be taken without pushing anybody out; caches count as available
} mosa_memory;

// Reads /proc/meminfo and the limits of control groups, version 2 or 1, from this process's own group up. `root` goes
// before every path: "" but in tests. What cannot be read limits nothing. Reentrant.
void mosa_memory_measure(const char *root, mosa_memory *out);

#endif
