// The beginning of an HTTP exchange (headers, body) and the headers of its answer.
#ifndef MOSA_API_HTTP_REQUEST_H
#define MOSA_API_HTTP_REQUEST_H

#include "api/http.h"

#include <stdbool.h>
#include <stddef.h>

struct MHD_Response;

// A request whose headers are complete, checked: framing, route, authentication, size. A fault is in request->error;
// with request->close it must be answered at once and the connection ended. NULL when out of memory.
mosa_http_request *mosa_http_request_begin(struct mosa_api *api, struct MHD_Connection *connection, const char *url,
                                           const char *method, const char *version);

// A piece of the body. False when the client has sent so much too much that the connection must be cut.
bool mosa_http_request_take_body(mosa_http_request *request, const char *data, size_t len);

void mosa_http_add_headers(mosa_http_request *request, struct MHD_Response *response);
struct mosa_peer *mosa_http_peer_of(struct MHD_Connection *connection);

#endif
