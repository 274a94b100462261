// The one table of settings. Order matters in one place: the sections of `mosa engine` are the last ones.
#include "cli/settings.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIELD(name) MOSA_OPTION_FIELD(mosa_settings, name)

static const mosa_option options[] = {
    {.flag = "--config",
     .type = MOSA_OPTION_STRING,
     .value = "FILE",
     .help = "Configuration file. Without it: $MOSA_CONFIG, ./mosa.yaml, /etc/mosa/mosa.yaml.",
     FIELD(config_path)},

    // --- server ---
    {"server.host", "--host", MOSA_OPTION_STRING, "127.0.0.1", .value = "ADDRESS",
     .help = "Address to listen on; 0.0.0.0 or :: for all interfaces.", FIELD(server.host)},
    {"server.port", "--port", MOSA_OPTION_INT, "8000", .value = "PORT", .aliases = "-p", .min = 0, .max = 65535,
     .help = "Port to listen on; 0 picks a free one.", FIELD(server.port)},
    {"server.api_key", "--api-key", MOSA_OPTION_LIST, .value = "KEY", .secret = true,
     .help = "Bearer key that clients must send; without one everybody is let in.", FIELD(server.api_keys)},
    {"server.allowed_origins", "--allowed-origins", MOSA_OPTION_LIST, .value = "ORIGIN", .aliases = "--cors",
     .help = "Web origins that browsers may call from; * for all.", FIELD(server.allowed_origins)},
    {"server.threads", "--http-threads", MOSA_OPTION_INT, "0", .min = 0, .max = 64,
     .help = "HTTP threads; 0 takes one per CPU, at most 4.", FIELD(server.threads)},
    {"server.max_connections", "--max-connections", MOSA_OPTION_INT, "16384", .min = 1, .max = 1000000,
     .help = "Open client connections; more are refused.", FIELD(server.max_connections)},
    {"server.max_connections_per_ip", "--max-connections-per-ip", MOSA_OPTION_INT, "0", .min = 0, .max = 1000000,
     .help = "Open connections of one client address; 0 = no limit of its own.", FIELD(server.max_connections_per_ip)},
    {"server.max_body_bytes", "--max-body-bytes", MOSA_OPTION_BYTES, "32M", .min = 1024, .max = 1ll << 34,
     .help = "Largest request body.", FIELD(server.max_body_bytes)},
    {"server.max_header_bytes", "--max-header-bytes", MOSA_OPTION_BYTES, "8K", .min = 1024, .max = 1 << 20,
     .help = "Largest request head (line and headers); every open connection holds this much memory.",
     FIELD(server.max_header_bytes)},
    {"server.max_requests", "--max-requests", MOSA_OPTION_INT, "1024", .min = 1, .max = 1000000,
     .help = "Requests being answered or waiting at the same time; more get 429.", FIELD(server.max_requests)},
    {"server.stream_buffer_bytes", "--stream-buffer-bytes", MOSA_OPTION_BYTES, "4M", .min = 4096, .max = 1 << 30,
     .help = "Output that may wait for one slow client before its request is cancelled.",
     FIELD(server.stream_buffer_bytes)},
    {"server.header_timeout", "--header-timeout", MOSA_OPTION_DURATION, "10s", .min = 100, .max = 3600e3,
     .help = "Time for a client to send a request's head.", FIELD(server.header_timeout_ms)},
    {"server.body_timeout", "--body-timeout", MOSA_OPTION_DURATION, "60s", .min = 100, .max = 3600e3,
     .help = "Time for a client to send a request's body.", FIELD(server.body_timeout_ms)},
    {"server.idle_timeout", "--idle-timeout", MOSA_OPTION_DURATION, "2m", .min = 100, .max = 86400e3,
     .aliases = "--timeout-keep-alive", .help = "Time that an idle connection is kept open.",
     FIELD(server.idle_timeout_ms)},
    {"server.request_timeout", "--request-timeout", MOSA_OPTION_DURATION, "10m", .min = 0, .max = 7 * 86400e3,
     .aliases = "--timeout", .help = "Longest time for one request, from its arrival to its last byte; 0 = no limit.",
     FIELD(server.request_timeout_ms)},
    {"server.keep_alive", "--sse-keep-alive", MOSA_OPTION_DURATION, "15s", .min = 0, .max = 3600e3,
     .help = "A stream without tokens gets a comment line this often; 0 = never.", FIELD(server.keep_alive_ms)},
    {"server.drain_timeout", "--drain-timeout", MOSA_OPTION_DURATION, "30s", .min = 0, .max = 86400e3,
     .help = "Time that running requests get to finish when the server is told to stop.",
     FIELD(server.drain_timeout_ms)},

    // --- restart ---
    {"restart.wait", "--engine-wait", MOSA_OPTION_DURATION, "30s", .min = 0, .max = 3600e3,
     .help = "Time that a request waits for an engine that is loading or restarting before it gets 503.",
     FIELD(restart.wait_ms)},
    {"restart.start_timeout", "--engine-start-timeout", MOSA_OPTION_DURATION, "10m", .min = 1000, .max = 86400e3,
     .help = "Time for an engine to load its model before it is started again.", FIELD(restart.start_timeout_ms)},
    {"restart.backoff", "--engine-restart-backoff", MOSA_OPTION_DURATION, "250ms", .min = 1, .max = 3600e3,
     .help = "Wait before the second restart of an engine that dies while loading; doubles each time.",
     FIELD(restart.backoff_ms)},
    {"restart.backoff_max", "--engine-restart-backoff-max", MOSA_OPTION_DURATION, "30s", .min = 1, .max = 86400e3,
     .help = "Longest wait between restarts.", FIELD(restart.backoff_max_ms)},
    {"restart.stable", "--engine-restart-stable", MOSA_OPTION_DURATION, "10s", .min = 0, .max = 86400e3,
     .help = "An engine that served for this long starts with a clean record when it dies.", FIELD(restart.stable_ms)},
    {"restart.crash_limit", "--engine-restart-limit", MOSA_OPTION_INT, "5", .min = 1, .max = 1000,
     .help = "Deaths in a row while loading after which the model is reported as failed.", FIELD(restart.crash_limit)},

    // --- models ---
    {"models.model", "--model", MOSA_OPTION_LIST, .value = "[NAME=]PATH", .aliases = "-m",
     .help = "Model to serve: a GGUF file, a Hugging Face folder, or the name of a pulled model.",
     FIELD(models.models)},
    {"models.served_model_name", "--served-model-name", MOSA_OPTION_LIST, .value = "NAME", .aliases = "--alias -a",
     .help = "Name that clients use; the first --served-model-name belongs to the first --model.",
     FIELD(models.served_names)},
    {"models.adapter", "--adapter", MOSA_OPTION_LIST, .value = "NAME=PATH", .aliases = "--lora-modules",
     .help = "LoRA adapter of the first --model, a PEFT folder or a GGUF file; a request names it as its model.",
     FIELD(models.adapters)},
    {"models.chat_template", "--chat-template", MOSA_OPTION_STRING, .value = "FILE", .aliases = "--chat-template-file",
     .help = "Jinja file that replaces the model's own chat template.", FIELD(models.chat_template)},
    {"models.seed", "--seed", MOSA_OPTION_INT, "-1", .min = -1, .max = 9007199254740992.0, .aliases = "-s",
     .help = "Seed of requests that bring none; -1 draws a fresh one for each.", FIELD(models.seed)},

    // --- engine ---
    {"engine.program", "--engine-program", MOSA_OPTION_STRING, .value = "PATH",
     .help = "Program that runs a model for the server, called as PATH engine fd:3 --model ...; default: this one.",
     FIELD(engine.program)},
    {"engine.device", "--device", MOSA_OPTION_STRING, "cpu", .value = "DEVICE",
     .help = "Where to run: cpu, or cpu:ref for the plain C kernels only.", FIELD(engine.device)},
    {"engine.threads", "--threads", MOSA_OPTION_INT, "0", .min = 0, .max = 1024, .aliases = "-t",
     .help = "Kernel threads; 0 = all CPUs that this process may use.", FIELD(engine.threads)},
    {"engine.max_model_len", "--max-model-len", MOSA_OPTION_INT, "0", .min = 0, .max = 1 << 24, .value = "TOKENS",
     .aliases = "-c --ctx --ctx-size", .help = "Longest sequence; 0 = the model's limit, as far as KV memory reaches.",
     FIELD(engine.context_tokens)},
    {"engine.max_seqs", "--max-seqs", MOSA_OPTION_INT, "32", .min = 1, .max = 4096,
     .aliases = "--max-num-seqs --parallel -np", .help = "Sequences running at the same time.",
     FIELD(engine.max_sequences)},
    {"engine.max_batch_tokens", "--max-batch-tokens", MOSA_OPTION_INT, "0", .min = 0, .max = 65536,
     .aliases = "--max-num-batched-tokens --batch-size -b",
     .help = "Rows of one step, shared by prompts and running sequences: higher fills prompts faster, lower keeps "
             "streams smoother; 0: 512, on a GPU 2048.",
     FIELD(engine.max_batch_tokens)},
    {"engine.max_queue", "--max-queue", MOSA_OPTION_INT, "1024", .min = 1, .max = 1000000,
     .help = "Sequences waiting for their turn; more get 429.", FIELD(engine.max_queued)},
    {"engine.max_adapters", "--max-adapters", MOSA_OPTION_INT, "8", .min = 0, .max = 1024, .aliases = "--max-loras",
     .help = "LoRA adapters loaded at the same time; 0 = none can be.", FIELD(engine.max_adapters)},
    {"engine.max_adapter_rank", "--max-adapter-rank", MOSA_OPTION_INT, "64", .min = 1, .max = 4096,
     .aliases = "--max-lora-rank", .help = "Largest rank of a LoRA adapter.", FIELD(engine.max_adapter_rank)},
    {"engine.kv_type", "--kv-type", MOSA_OPTION_CHOICE, "f16", .choices = "f16|f32|q8_0",
     .aliases = "--kv-cache-dtype --cache-type",
     .help = "Type of cached keys and values; q8_0 takes about half the memory of f16.", FIELD(engine.kv_type)},
    {"engine.kv_memory", "--kv-memory", MOSA_OPTION_BYTES, "0", .min = 0, .max = 1ll << 44,
     .aliases = "--kv-cache-memory-bytes",
     .help = "Memory for cached keys and values; 0 = enough for max-seqs of 4096 tokens or one full context.",
     FIELD(engine.kv_memory_bytes)},
    {"engine.quantize", "--quantize", MOSA_OPTION_CHOICE, .choices = "q8_0|q4_k", .aliases = "--quantization -q",
     .help = "Quantise the matrices of an unquantised model while loading.", FIELD(engine.quantize)},
    {"engine.prefix_cache", "--prefix-cache", MOSA_OPTION_BOOL, "true", .aliases = "--enable-prefix-caching",
     .help = "Share cached pages between requests with equal beginnings; --no-prefix-cache turns it off.",
     FIELD(engine.prefix_cache)},
    {"engine.speculate", "--speculate", MOSA_OPTION_CHOICE, .choices = "off|ngram|draft",
     .help =
         "Guess tokens ahead and verify several in one step: ngram looks them up in the sequence itself, draft asks "
         "--draft-model (the default when there is one, else off). What is generated stays the same, bit for bit.",
     FIELD(engine.speculate)},
    {"engine.draft_model", "--draft-model", MOSA_OPTION_STRING, .value = "PATH", .aliases = "--model-draft -md",
     .help = "Small model with the same vocabulary that guesses tokens ahead: a path or the name of a pulled model.",
     FIELD(engine.draft_model)},
    {"engine.draft_tokens", "--draft-tokens", MOSA_OPTION_INT, "8", .min = 1, .max = 64,
     .aliases = "--num-speculative-tokens --draft-max",
     .help = "Tokens that one sequence guesses ahead at most; it guesses fewer while few of them stand.",
     FIELD(engine.draft_tokens)},

    // --- log ---
    {"log.level", "--log-level", MOSA_OPTION_CHOICE, "info", .choices = "error|warn|info|debug",
     .help = "Least important events that are logged.", FIELD(log.level)},
    {"log.format", "--log-format", MOSA_OPTION_CHOICE, "text", .choices = "text|json",
     .help = "Log lines for people or as JSON.", FIELD(log.format)},
};

static const mosa_option_section sections[] = {
    {"server", "Server", "The HTTP side: where it listens, who may come in, and the limits of each client."},
    {"restart", "Engine supervision", "Engines are processes of their own and are started again when they die."},
    {"models", "Models", "What is served, and under which names."},
    {"engine", "Engine", "How a model runs. Every engine process gets these."},
    {"log", "Log", "Events go to standard error, one line each."},
};

const mosa_option_table mosa_settings_table = {options, MOSA_COUNT(options), sections, MOSA_COUNT(sections)};

enum { MODELS_ROW = 24, MODELS_SECTION = 2 };
const mosa_option_table mosa_settings_engine_table = {
    .options = &options[MODELS_ROW],
    .n_options = MOSA_COUNT(options) - MODELS_ROW,
    .sections = &sections[MODELS_SECTION],
    .n_sections = MOSA_COUNT(sections) - MODELS_SECTION,
};

const char *mosa_settings_path(const char *explicit_path) {
    const char *from_env = getenv("MOSA_CONFIG");
    if (explicit_path) return explicit_path;
    if (from_env && *from_env) return from_env;
    static const char *const places[] = {"mosa.yaml", "/etc/mosa/mosa.yaml"};
    for (size_t i = 0; i < MOSA_COUNT(places); i++)
        if (mosa_file_exists(places[i])) return places[i];
    return NULL;
}

void mosa_settings_apply_log(const mosa_settings *settings) {
    mosa_log_options log = {.level = MOSA_LOG_INFO, .fd = STDERR_FILENO};
    mosa_log_level_parse(settings->log.level, &log.level);
    log.format = strcmp(settings->log.format, "json") == 0 ? MOSA_LOG_JSON : MOSA_LOG_TEXT;
    mosa_log_setup(&log);
}
