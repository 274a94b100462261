// Private parts of the API: what handlers and the HTTP server share. Constant after mosa_api_open unless noted.
#ifndef MOSA_API_API_INTERNAL_H
#define MOSA_API_API_INTERNAL_H

#include "api/api.h"
#include "api/http.h"
#include "api/metrics.h"
#include "api/peers.h"
#include "base/queue.h"
#include "base/thread.h"
#include "codec/schema.h"
#include "text/model_text.h"

#include <stdatomic.h>

struct MHD_Daemon;

enum { API_KEY_MAX = 256, API_KEYS_MAX = 64 };

typedef struct mosa_api_model {
    struct mosa_api *api;
    char name[128];
    mosa_model_text *text;
    mosa_chat_capabilities can, can_with_tools; // its chat template, and the one that it uses where there are tools
    char fingerprint[24];                       // "fp_..."
    mosa_gateway *gateway;
} mosa_api_model;

struct mosa_api {
    mosa_api_options options;
    mosa_api_model *models; // (options.n_models)
    mosa_metrics *metrics;
    mosa_peers *peers;
    mosa_schema **schemas; // (mosa_n_routes), NULL where a route has none
    struct MHD_Daemon *daemon;
    int listen_fd; // -1 when not listening; closed after the daemon has stopped
    int port;
    int64_t created_s;
    char api_keys[API_KEYS_MAX][API_KEY_MAX]; // (options.api_keys.count), zero-padded

    mosa_queue *work; // requests with large bodies
    mosa_thread worker;
    atomic_uint_fast64_t sequence; // of generated ids and seeds
    uint64_t random;               // makes them unpredictable and different in every process
    atomic_int suspended;          // connections that libmicrohttpd has set aside
};

// --- http_server.c --------------------------------------------------------------------------------------------------

mosa_status mosa_http_server_start(mosa_api *api, mosa_error *err);
void mosa_http_server_quiesce(mosa_api *api); // accept no more
void mosa_http_server_stop(mosa_api *api);    // no connection may be suspended

// --- http_handler.c: from a complete request to its answer ----------------------------------------------------------

// Parses and checks the body and runs the route's handler. Afterwards exactly one of request->error.http, ->status and
// ->call is set.
void mosa_http_run_handler(mosa_http_request *request);
void mosa_http_worker_main(void *api);

// Begins a call for the engine: admission, memory, id. False (with request->error) when it cannot be taken.
bool mosa_http_begin_call(mosa_http_request *request, const mosa_call_format *format, int n_choices,
                          const char *id_prefix);

uint64_t mosa_api_random(mosa_api *api); // unpredictable 64 bits, different every time
// Sets request->model and ->adapter from the body's "model". False, with a 404 in request->error, when there is
// none of that name.
bool mosa_api_choose_model(mosa_http_request *request);
// What the request's answers call the model: as the body did.
static inline const char *mosa_api_answer_name(const mosa_http_request *request) {
    return request->adapter[0] ? request->adapter : request->model->name;
}

#endif
