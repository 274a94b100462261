// Clocks of the operating system.
#include "base/clock.h"

#include <limits.h>
#include <stdio.h>
#include <time.h>

static uint64_t read_clock(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t mosa_clock_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}
int64_t mosa_clock_real_ns(void) {
    return (int64_t)read_clock(CLOCK_REALTIME);
}
int64_t mosa_clock_real_s(void) {
    return mosa_clock_real_ns() / 1000000000;
}

void mosa_clock_format(int64_t real_ns, char out[MOSA_CLOCK_TEXT]) {
    time_t seconds = (time_t)(real_ns / 1000000000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    snprintf(out, MOSA_CLOCK_TEXT, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (parts.tm_year + 1900) % 10000,
             parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
             (int)(real_ns / 1000000 % 1000));
}

mosa_deadline mosa_deadline_in_ms(int64_t ms) {
    return ms < 0 ? MOSA_DEADLINE_NEVER : mosa_clock_ns() + (uint64_t)ms * 1000000u;
}

bool mosa_deadline_passed(mosa_deadline deadline) {
    return deadline != MOSA_DEADLINE_NEVER && mosa_clock_ns() >= deadline;
}

int mosa_deadline_left_ms(mosa_deadline deadline) {
    if (deadline == MOSA_DEADLINE_NEVER) return -1;
    uint64_t now = mosa_clock_ns();
    if (deadline <= now) return 0;
    uint64_t ms = (deadline - now + 999999u) / 1000000u;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

void mosa_sleep_until(mosa_deadline deadline) {
    struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000u), .tv_nsec = (long)(deadline % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0) {
    }
}
