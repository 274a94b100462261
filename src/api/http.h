// HTTP exchanges as handlers see them: a parsed request in, an answer or a call out.
//
// A handler fills in one of three: an error (mosa_http_request.error), a reply (status, body), or a call for the
// engine. It runs on an HTTP thread, or on the worker thread when the body is large; it never waits.
#ifndef MOSA_API_HTTP_H
#define MOSA_API_HTTP_H

#include "api/api_error.h"
#include "api/call.h"
#include "api/route.h"
#include "base/str.h"

#include <jansson.h>

struct MHD_Connection;
struct mosa_api;
struct mosa_peer;

enum { MOSA_REQUEST_ID_MAX = 64, MOSA_PATH_ARGUMENT_MAX = 256 };

typedef enum mosa_http_phase {
    MOSA_HTTP_READING,  // headers or body are coming
    MOSA_HTTP_WORKING,  // suspended: a worker runs the handler
    MOSA_HTTP_CALLING,  // suspended: the gateway has the call
    MOSA_HTTP_ANSWERED, // the response is queued
} mosa_http_phase;

typedef struct mosa_http_request {
    struct mosa_api *api;
    struct MHD_Connection *connection;
    struct mosa_peer *peer;
    int fd;
    bool http10;
    mosa_http_phase phase;
    struct mosa_api_model *model; // whose gateway and text are meant; the first unless the body says otherwise
    char adapter[MOSA_ADAPTER_NAME_MAX + 1]; // of that model, which the body named; "" = the model itself
    const mosa_route *route;                 // NULL: no such path
    char argument[MOSA_PATH_ARGUMENT_MAX];   // the {id} of the path
    char id[MOSA_REQUEST_ID_MAX + 1];        // x-request-id
    int64_t started_ns;
    uint64_t key_hash; // of the API key that let it in; 0 when there is but one, or none
    mosa_buf body;
    size_t body_bytes; // received, also what was not kept
    bool drop_body;    // the answer is known to be an error
    json_t *json;      // of the body, when the route has a schema

    mosa_api_error error;
    int status; // of the reply
    mosa_buf reply;
    const char *content_type; // a constant
    char allow[64];           // methods, for a 405 and for OPTIONS
    bool close;               // the connection cannot be used after this answer
    mosa_call *call;
    bool submitted; // the gateway knows the call: it is the gateway that frees both
} mosa_http_request;

// Reply bodies that a handler has written into request->reply.
void mosa_http_reply_json(mosa_http_request *request, int status);
void mosa_http_reply_text(mosa_http_request *request, int status, const char *content_type);

// Appends the error object, in the shape that the route's clients know.
void mosa_http_append_error(const mosa_http_request *request, const mosa_api_error *error, mosa_buf *out);

void mosa_http_resume(mosa_http_request *request);          // the HTTP thread goes on with it; any thread
void mosa_http_request_destroy(mosa_http_request *request); // with its call; NULL-safe

#endif
