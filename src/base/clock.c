// Clocks of the operating system in nanoseconds.
#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <time.h>

enum { NS_PER_MS = 1000 * 1000, NS_PER_S = 1000 * 1000 * 1000 };

static uint64_t read_clock(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t mosa_clock_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}

int64_t mosa_clock_real_ns(void) {
    return (int64_t)read_clock(CLOCK_REALTIME);
}

int64_t mosa_clock_real_s(void) {
    return mosa_clock_real_ns() / NS_PER_S;
}

void mosa_clock_format(int64_t real_ns, char out[MOSA_CLOCK_TEXT]) {
    time_t seconds = (time_t)(real_ns / NS_PER_S);
    int ms = (int)(real_ns % NS_PER_S / NS_PER_MS);
    struct tm utc;
    char text[64] = "";
    if (gmtime_r(&seconds, &utc)) {
        size_t len = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
        snprintf(text + len, sizeof text - len, ".%03dZ", ms);
    }
    snprintf(out, MOSA_CLOCK_TEXT, "%s", text);
}

mosa_deadline mosa_deadline_in_ms(int64_t ms) {
    uint64_t ns, deadline;
    if (ms < 0 || __builtin_mul_overflow((uint64_t)ms, (uint64_t)NS_PER_MS, &ns)) return MOSA_DEADLINE_NEVER;
    return __builtin_add_overflow(mosa_clock_ns(), ns, &deadline) ? MOSA_DEADLINE_NEVER : deadline;
}

bool mosa_deadline_passed(mosa_deadline deadline) {
    return deadline != MOSA_DEADLINE_NEVER && mosa_clock_ns() >= deadline;
}

int mosa_deadline_left_ms(mosa_deadline deadline) {
    if (deadline == MOSA_DEADLINE_NEVER) return -1;
    uint64_t now = mosa_clock_ns();
    if (deadline <= now) return 0;
    uint64_t ms = (deadline - now - 1) / NS_PER_MS + 1;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

void mosa_sleep_until(mosa_deadline deadline) {
    struct timespec until = {.tv_sec = (time_t)(deadline / NS_PER_S), .tv_nsec = (long)(deadline % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) continue;
}
