// The HTTP API of the served models: server, routes, gateways, metrics.
//
// Threads: a few HTTP threads (libmicrohttpd, epoll), one gateway loop per model, one worker for large bodies. Nothing
// here waits for a client, an engine or a disk while it holds one of them.
#ifndef MOSA_API_API_H
#define MOSA_API_API_H

#include "api/gateway.h"
#include "api/peers.h"
#include "codec/config.h"

typedef struct mosa_api mosa_api;

typedef struct mosa_api_model_options {
    const char *path;
    const char *name;                    // as clients call it; NULL = the model's own
    const mosa_adapter_option *adapters; // (n_adapters) to begin with; borrowed
    int n_adapters;
    const char *const *engine_argv; // command line of its engine process, NULL-terminated; borrowed
} mosa_api_model_options;

typedef struct mosa_api_options {
    const char *host;                            // "127.0.0.1", "0.0.0.0", "::"
    int port;                                    // 0 picks a free one
    mosa_string_list api_keys;                   // empty = nobody is asked
    mosa_string_list origins;                    // of browsers that may call; empty = no CORS headers; "*" = all
    int http_threads;                            // 0 = one per CPU, at most 4
    int max_connections, max_connections_per_ip; // per_ip 0 = no limit of its own
    int64_t max_header_bytes, max_body_bytes;
    int max_calls;                      // requests for one engine at the same time; more get 429
    int max_choices;                    // n, and prompts of one request
    mosa_peers_limits peer;             // deadlines of connections
    mosa_gateway_limits call;           // deadlines and limits of requests for an engine
    mosa_supervisor_options supervisor; // restarts; argv and name are not used
    int64_t seed;                       // of requests that bring none; -1 = a fresh one for each

    const mosa_api_model_options *models; // (n_models)
    int n_models;
    const char *chat_template; // file that overrides the models' own; NULL = their own
    void (*on_engine)(void *user, const char *model, const mosa_engine_status *status); // from a gateway's thread
    void *user;
} mosa_api_options;

enum { MOSA_API_MODELS_MAX = 16 };

// Opens the models' text sides, listens, and starts the engines. The options and all that they point at are borrowed
// until mosa_api_close. MOSA_EEXISTS when the port is taken.
mosa_status mosa_api_open(const mosa_api_options *options, mosa_api **out, mosa_error *err) MOSA_MUST_USE;

int mosa_api_port(const mosa_api *api);
const char *mosa_api_model_name(const mosa_api *api, int model);
void mosa_api_get_status(mosa_api *api, int model, mosa_engine_status *out);

// Accepts no more connections and answers new requests with 503. Returns at once.
void mosa_api_drain(mosa_api *api);
int mosa_api_calls(mosa_api *api); // still running
// Ends what still runs with an error, stops the engines (killing them after kill_after_ms), frees everything.
// NULL-safe.
void mosa_api_close(mosa_api *api, int64_t kill_after_ms);

#endif
