// The settings of `mosa serve` and `mosa engine`, as parsed from flags, environment and mosa.yaml.
//
// settings.c holds the one table; a field here and a row there are all that a new setting needs.
// Strings and lists live in the arena that the values were read into.
#ifndef MOSA_CLI_SETTINGS_H
#define MOSA_CLI_SETTINGS_H

#include "base/log.h"
#include "codec/config.h"

typedef struct mosa_settings {
    const char *config_path; // --config, or NULL
    struct {
        const char *host;
        int64_t port;
        mosa_string_list api_keys;
        mosa_string_list allowed_origins;
        int64_t threads; // 0 = as many as there are CPUs, at most 4
        int64_t max_connections, max_connections_per_ip;
        int64_t max_body_bytes, max_header_bytes;
        int64_t max_requests;
        int64_t stream_buffer_bytes;
        int64_t header_timeout_ms, body_timeout_ms, idle_timeout_ms, request_timeout_ms, keep_alive_ms,
            drain_timeout_ms;
    } server;
    struct {
        int64_t wait_ms, start_timeout_ms, backoff_ms, backoff_max_ms, stable_ms;
        int64_t crash_limit;
    } restart;
    struct {
        mosa_string_list models; // "NAME=PATH" or "PATH"
        mosa_string_list served_names;
        mosa_string_list adapters; // "NAME=PATH", of the first model
        const char *chat_template; // NULL = the model's own
        int64_t seed;              // -1 = a fresh one for each request
    } models;
    struct {
        const char *program;                     // NULL = this one
        const char *device, *quantize, *kv_type; // quantize NULL = as stored
        const char *speculate, *draft_model;     // NULL: off, none
        int64_t threads, context_tokens, kv_memory_bytes, max_sequences, max_batch_tokens, max_queued, draft_tokens;
        int64_t max_adapters, max_adapter_rank;
        bool prefix_cache;
    } engine;
    struct {
        const char *level, *format;
    } log;
} mosa_settings;

extern const mosa_option_table mosa_settings_table;        // all: `mosa serve`, mosa.yaml, the documentation
extern const mosa_option_table mosa_settings_engine_table; // sections models, engine and log: `mosa engine`

// The configuration file to read: `explicit` (not NULL), else $MOSA_CONFIG, else mosa.yaml in the working folder, else
// /etc/mosa/mosa.yaml, else NULL. Borrowed.
const char *mosa_settings_path(const char *explicit_path);

// Sets the process's log up as log.level and log.format say, on standard error.
void mosa_settings_apply_log(const mosa_settings *settings);

#endif
