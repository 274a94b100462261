// Time: monotonic for durations and deadlines, real for what people read.
#ifndef MOSA_BASE_CLOCK_H
#define MOSA_BASE_CLOCK_H

#include <stdint.h>

uint64_t mosa_clock_ns(void);      // monotonic; never goes back
uint64_t mosa_clock_real_ns(void); // since 1970, UTC

static inline uint64_t mosa_clock_deadline_ms(int64_t timeout_ms) {
    return timeout_ms < 0 ? UINT64_MAX : mosa_clock_ns() + (uint64_t)timeout_ms * 1000000u;
}
// Milliseconds until a deadline, rounded up, 0 when it has passed, -1 for UINT64_MAX (never): as poll(2) wants it.
int mosa_clock_until_ms(uint64_t deadline_ns);

#endif
