// The log: one line per event, as text for people or JSON for machines.
//
//     mosa_log_info("model loaded", MOSA_KV("model", name), MOSA_KV("load_ms", ms));
//     mosa_log_failure(MOSA_LOG_ERROR, "engine failed", &err, MOSA_KV("pid", pid));
//
// text:  2026-11-21T03:04:05.678Z INFO  model loaded  model=tiny load_ms=12.5
// JSON:  {"ts":"2026-11-21T03:04:05.678Z","level":"info","event":"model loaded","model":"tiny","load_ms":12.5}
//
// The event is a constant; what varies goes into fields. A line is formatted on the stack (cut at 4 KiB) and leaves by
// one write(2). Each place in the code may log MOSA_LOG_BURST lines per second; what is beyond is counted and told by
// the next line ("suppressed"). Programs log; libraries return errors. Never log a secret or a user's text.
// Thread: everything but mosa_log_setup may be called from any thread. The set-up is the process's own.
#ifndef MOSA_BASE_LOG_H
#define MOSA_BASE_LOG_H

#include "base/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum mosa_log_level { MOSA_LOG_ERROR, MOSA_LOG_WARN, MOSA_LOG_INFO, MOSA_LOG_DEBUG } mosa_log_level;
typedef enum mosa_log_format { MOSA_LOG_TEXT, MOSA_LOG_JSON } mosa_log_format;

enum { MOSA_LOG_LINE_MAX = 4096, MOSA_LOG_BURST = 20 };

typedef struct mosa_log_options {
    mosa_log_level level;   // events above it are dropped
    mosa_log_format format; // text is coloured when fd is a terminal and NO_COLOR is not set
    int fd;
} mosa_log_options;

// Before other threads start. Without it: warnings and errors, as text, on standard error.
void mosa_log_setup(const mosa_log_options *options);
bool mosa_log_level_parse(const char *text, mosa_log_level *out); // "error", "warn", "info", "debug"

// --- fields -------------------------------------------------------------------------------------------------------

typedef enum mosa_log_kind {
    MOSA_LOG_STR = 1,
    MOSA_LOG_I64,
    MOSA_LOG_U64,
    MOSA_LOG_F64,
    MOSA_LOG_BOOL,
} mosa_log_kind;

typedef struct mosa_log_field {
    const char *key; // a constant: [a-z_]+
    mosa_log_kind kind;
    union {
        const char *str; // borrowed for the call; NULL is written as an empty string
        int64_t i64;
        uint64_t u64;
        double f64;
        bool boolean;
    } value;
} mosa_log_field;

static inline mosa_log_field mosa_kv_str(const char *key, const char *value) {
    return (mosa_log_field){key, MOSA_LOG_STR, {.str = value}};
}
static inline mosa_log_field mosa_kv_i64(const char *key, int64_t value) {
    return (mosa_log_field){key, MOSA_LOG_I64, {.i64 = value}};
}
static inline mosa_log_field mosa_kv_u64(const char *key, uint64_t value) {
    return (mosa_log_field){key, MOSA_LOG_U64, {.u64 = value}};
}
static inline mosa_log_field mosa_kv_f64(const char *key, double value) {
    return (mosa_log_field){key, MOSA_LOG_F64, {.f64 = value}};
}
static inline mosa_log_field mosa_kv_bool(const char *key, bool value) {
    return (mosa_log_field){key, MOSA_LOG_BOOL, {.boolean = value}};
}

// One field: strings, integers, floats and bools.
#define MOSA_KV(key, value)                                                                                            \
    _Generic((value),                                                                                                  \
        char *: mosa_kv_str,                                                                                           \
        const char *: mosa_kv_str,                                                                                     \
        bool: mosa_kv_bool,                                                                                            \
        float: mosa_kv_f64,                                                                                            \
        double: mosa_kv_f64,                                                                                           \
        unsigned: mosa_kv_u64,                                                                                         \
        unsigned long: mosa_kv_u64,                                                                                    \
        unsigned long long: mosa_kv_u64,                                                                               \
        default: mosa_kv_i64)(key, value)

// --- events -------------------------------------------------------------------------------------------------------

// State of one place that logs: its budget of the current second.
typedef struct mosa_log_site {
    _Atomic uint64_t window_s; // second of the monotonic clock
    _Atomic uint32_t used;     // lines in that second
    _Atomic uint32_t suppressed;
} mosa_log_site;

#define mosa_log(level, event, ...)                                                                                    \
    do {                                                                                                               \
        if (!mosa_log_enabled(level)) break;                                                                           \
        static mosa_log_site mosa_log_site_;                                                                           \
        const mosa_log_field mosa_log_fields_[] = {{0}, ##__VA_ARGS__};                                                \
        mosa_log_write(&mosa_log_site_, (level), (event), mosa_log_fields_ + 1, MOSA_COUNT(mosa_log_fields_) - 1);     \
    } while (0)
#define mosa_log_error(event, ...) mosa_log(MOSA_LOG_ERROR, event, ##__VA_ARGS__)
#define mosa_log_warn(event, ...)  mosa_log(MOSA_LOG_WARN, event, ##__VA_ARGS__)
#define mosa_log_info(event, ...)  mosa_log(MOSA_LOG_INFO, event, ##__VA_ARGS__)
#define mosa_log_debug(event, ...) mosa_log(MOSA_LOG_DEBUG, event, ##__VA_ARGS__)

// An event with the status, message and hint of a filled error.
#define mosa_log_failure(level, event, error, ...)                                                                     \
    mosa_log(level, event, MOSA_KV("status", mosa_status_name((error)->status)),                                       \
             MOSA_KV("error", (const char *)(error)->message), MOSA_KV("hint", (const char *)(error)->hint),           \
             ##__VA_ARGS__)

bool mosa_log_enabled(mosa_log_level level);
void mosa_log_write(mosa_log_site *site, mosa_log_level level, const char *event, const mosa_log_field *fields,
                    size_t n_fields);

// --- request ids --------------------------------------------------------------------------------------------------

// Lines of this thread carry request_id=`id` from now on, until NULL is set. Borrowed: the caller keeps it alive.
// Returns the id that was set before, so that scopes nest. Code that serves many requests in one thread passes
// MOSA_KV("request_id", id) instead.
const char *mosa_log_set_request(const char *id);

#endif
