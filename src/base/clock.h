// Time: the monotonic clock, the calendar clock and deadlines.
//
// Durations and deadlines use the monotonic clock; the calendar clock is only for what people and other machines read.
// All functions are thread-safe and never fail.
#ifndef MOSA_BASE_CLOCK_H
#define MOSA_BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint64_t mosa_clock_ns(void);     // monotonic nanoseconds from an arbitrary start
int64_t mosa_clock_real_ns(void); // nanoseconds since 1970-01-01 UTC
int64_t mosa_clock_real_s(void);  // seconds since 1970-01-01 UTC

enum { MOSA_CLOCK_TEXT = 25 };
// "2026-11-21T03:04:05.678Z", NUL-terminated.
void mosa_clock_format(int64_t real_ns, char out[MOSA_CLOCK_TEXT]);

// An absolute point of the monotonic clock.
typedef uint64_t mosa_deadline;
#define MOSA_DEADLINE_NEVER UINT64_MAX

mosa_deadline mosa_deadline_in_ms(int64_t ms); // negative = never; 0 = already passed
bool mosa_deadline_passed(mosa_deadline deadline);
// What poll() and epoll_wait() take: milliseconds left, rounded up, at most INT_MAX; -1 for never; 0 when passed.
int mosa_deadline_left_ms(mosa_deadline deadline);
void mosa_sleep_until(mosa_deadline deadline); // not for MOSA_DEADLINE_NEVER

#endif
