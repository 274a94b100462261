// The metrics of the gateway.
#include "api/metrics.h"

static const double seconds_buckets[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                         1,     2.5,    5,     10,   25,    50,   100, 250};

#define SECONDS .buckets = seconds_buckets, .n_buckets = MOSA_COUNT(seconds_buckets)

static const mosa_metric table[MOSA_METRIC_COUNT] = {
    [MOSA_METRIC_INFO] = {"mosa_build_info", MOSA_GAUGE, "Always 1; its label tells the version.",
                          .labels = {"version"}},
    [MOSA_METRIC_UP_SECONDS] = {"mosa_uptime_seconds", MOSA_GAUGE, "Time since the server started."},
    [MOSA_METRIC_HTTP_REQUESTS] = {"mosa_http_requests_total", MOSA_COUNTER, "Finished HTTP requests.",
                                   .labels = {"route", "code"}},
    [MOSA_METRIC_HTTP_SECONDS] = {"mosa_http_request_seconds", MOSA_HISTOGRAM,
                                  "From a request's headers to the end of its answer.", .labels = {"route"}, SECONDS},
    [MOSA_METRIC_HTTP_CONNECTIONS] = {"mosa_http_connections", MOSA_GAUGE, "Open HTTP connections."},
    [MOSA_METRIC_HTTP_CUT] = {"mosa_http_connections_cut_total", MOSA_COUNTER,
                              "Connections that were closed because a deadline had passed."},
    [MOSA_METRIC_CALLS] = {"mosa_calls", MOSA_GAUGE, "Requests for the engine that are waiting or being answered.",
                           .labels = {"model"}},
    [MOSA_METRIC_DISCONNECTS] = {"mosa_calls_disconnected_total", MOSA_COUNTER,
                                 "Requests that were cancelled because the client left or did not read."},
    [MOSA_METRIC_FIRST_TOKEN_SECONDS] = {"mosa_first_token_seconds", MOSA_HISTOGRAM,
                                         "From submission to the first token.", SECONDS},
    [MOSA_METRIC_ENGINE_READY] = {"mosa_engine_ready", MOSA_GAUGE, "1 when the engine answers requests.",
                                  .labels = {"model"}},
    [MOSA_METRIC_ENGINE_RESTARTS] = {"mosa_engine_restarts_total", MOSA_COUNTER, "Deaths of the engine process.",
                                     .labels = {"model"}},
    [MOSA_METRIC_ENGINE_RUNNING] = {"mosa_engine_running", MOSA_GAUGE, "Sequences that the engine works on.",
                                    .labels = {"model"}},
    [MOSA_METRIC_ENGINE_WAITING] = {"mosa_engine_waiting", MOSA_GAUGE, "Sequences that wait in the engine's queue.",
                                    .labels = {"model"}},
    [MOSA_METRIC_ENGINE_STEPS] = {"mosa_engine_steps_total", MOSA_COUNTER, "Engine steps.", .labels = {"model"}},
    [MOSA_METRIC_ENGINE_STEP_SECONDS] = {"mosa_engine_step_seconds_total", MOSA_COUNTER, "Time spent in steps.",
                                         .labels = {"model"}},
    [MOSA_METRIC_ENGINE_PROMPT_TOKENS] = {"mosa_engine_prompt_tokens_total", MOSA_COUNTER,
                                          "Prompt tokens, also those found in the prefix cache.", .labels = {"model"}},
    [MOSA_METRIC_ENGINE_CACHED_TOKENS] = {"mosa_engine_cached_tokens_total", MOSA_COUNTER,
                                          "Prompt tokens found in the prefix cache.", .labels = {"model"}},
    [MOSA_METRIC_ENGINE_GENERATED_TOKENS] = {"mosa_engine_generated_tokens_total", MOSA_COUNTER, "Sampled tokens.",
                                             .labels = {"model"}},
    [MOSA_METRIC_ENGINE_REQUESTS] = {"mosa_engine_requests_total", MOSA_COUNTER, "Sequences that have ended.",
                                     .labels = {"model", "result"}},
    [MOSA_METRIC_ENGINE_PREEMPTIONS] = {"mosa_engine_preemptions_total", MOSA_COUNTER,
                                        "Sequences that had to give their KV pages back.", .labels = {"model"}},
    [MOSA_METRIC_ENGINE_DRAFTED_TOKENS] = {"mosa_engine_drafted_tokens_total", MOSA_COUNTER,
                                           "Tokens guessed ahead (speculation).", .labels = {"model"}},
    [MOSA_METRIC_ENGINE_ACCEPTED_TOKENS] = {"mosa_engine_accepted_tokens_total", MOSA_COUNTER,
                                            "Guessed tokens that stood.", .labels = {"model"}},
    [MOSA_METRIC_ENGINE_PAGES] = {"mosa_engine_kv_pages", MOSA_GAUGE, "KV pages by use.", .labels = {"model", "state"}},
};

mosa_status mosa_api_metrics_create(mosa_metrics **out, mosa_error *err) {
    return mosa_metrics_create(table, MOSA_METRIC_COUNT, 0, out, err);
}
