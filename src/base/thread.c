// pthreads with names and a quiet signal mask; how many CPUs there are for us.
#include "base/thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct start_args {
    mosa_thread_fn fn;
    void *arg;
    char name[16];
} start_args;

static void *thread_main(void *start) {
    start_args args = *(start_args *)start;
    free(start);
    pthread_setname_np(pthread_self(), args.name);
    args.fn(args.arg);
    return NULL;
}

// Everything is blocked but what a fault of the thread itself raises.
static void quiet_mask(sigset_t *mask) {
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGPROF};
    sigfillset(mask);
    for (size_t i = 0; i < MOSA_COUNT(faults); i++) sigdelset(mask, faults[i]);
}

mosa_status mosa_thread_start(mosa_thread *thread, const char *name, mosa_thread_fn fn, void *arg, mosa_error *err) {
    start_args *args = malloc(sizeof *args);
    if (!args) return mosa_fail(err, MOSA_ENOMEM, "out of memory for thread %s", name);
    *args = (start_args){.fn = fn, .arg = arg};
    snprintf(args->name, sizeof args->name, "%s", name);
    sigset_t quiet, before;
    quiet_mask(&quiet);
    // The new thread inherits the mask of the moment.
    pthread_sigmask(SIG_SETMASK, &quiet, &before);
    int failure = pthread_create(&thread->handle, NULL, thread_main, args);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure) {
        free(args);
        return mosa_fail_errno(err, failure, "cannot start thread %s", name);
    }
    thread->started = true;
    return MOSA_OK;
}

void mosa_thread_join(mosa_thread *thread) {
    if (!thread->started) return;
    pthread_join(thread->handle, NULL);
    thread->started = false;
}

void mosa_cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

bool mosa_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, mosa_deadline deadline) {
    if (deadline == MOSA_DEADLINE_NEVER) {
        pthread_cond_wait(cond, mutex);
        return true;
    }
    enum { NS_PER_S = 1000 * 1000 * 1000 };
    struct timespec until = {.tv_sec = (time_t)(deadline / NS_PER_S), .tv_nsec = (long)(deadline % NS_PER_S)};
    return pthread_cond_timedwait(cond, mutex, &until) != ETIMEDOUT;
}

// CPUs' worth of time that the cgroup (version 2) grants, rounded up; 0 when there is no limit.
static int cgroup_quota(void) {
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!file) return 0;
    long long quota = 0, period = 0;
    int fields = fscanf(file, "%lld %lld", &quota, &period); // the word "max" reads no field
    fclose(file);
    return fields == 2 && quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

int mosa_cpu_count(void) {
    cpu_set_t set;
    // More CPUs than cpu_set_t holds make the call fail.
    long count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);
    int quota = cgroup_quota();
    if (quota > 0 && quota < count) count = quota;
    return count < 1 ? 1 : (int)count;
}
