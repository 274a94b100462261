// Clocks of the operating system in nanoseconds.
#include "base/clock.h"

#include <limits.h>
#include <time.h>

static uint64_t read_clock(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t mosa_clock_ns(void) { return read_clock(CLOCK_MONOTONIC); }
uint64_t mosa_clock_real_ns(void) { return read_clock(CLOCK_REALTIME); }

int mosa_clock_until_ms(uint64_t deadline_ns) {
    if (deadline_ns == UINT64_MAX) return -1;
    uint64_t now = mosa_clock_ns();
    if (deadline_ns <= now) return 0;
    uint64_t ms = (deadline_ns - now + 999999u) / 1000000u;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}
