// The table of routes: everything that the HTTP API offers, one line each.
//
// The table drives dispatch, 404 and 405, OPTIONS, authentication and body validation, and is what an OpenAPI document
// is made from.
#ifndef MOSA_API_ROUTE_H
#define MOSA_API_ROUTE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

struct mosa_http_request;

typedef enum mosa_auth_scope {
    MOSA_AUTH_NONE,      // anybody: health, the front page
    MOSA_AUTH_INFERENCE, // whoever has the key, if one is set
    MOSA_AUTH_OPERATE,   // metrics; the same key for now
} mosa_auth_scope;

typedef struct mosa_route {
    const char *method; // "GET" answers HEAD too
    const char *path;   // "/v1/models/{id}": the last segment may be a parameter, which takes the rest of the path
    mosa_auth_scope scope;
    void (*handler)(struct mosa_http_request *request);
    const char *summary;
    const char *schema; // JSON Schema of the body; NULL = the body is ignored
    bool anthropic;     // errors have the shape that Anthropic's clients know
} mosa_route;

extern const mosa_route mosa_routes[];
extern const size_t mosa_n_routes;

typedef struct mosa_route_match {
    const mosa_route *route; // NULL: no such path, or not with this method
    size_t index;            // of the route
    bool known_path;
    char allow[64];       // methods of a known path
    const char *argument; // in `path`: what {id} stands for; or NULL
} mosa_route_match;

void mosa_route_find(const char *method, const char *path, mosa_route_match *out);

#endif
