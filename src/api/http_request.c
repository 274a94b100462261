// The beginning of an HTTP exchange and the headers of its answer.
//
// libmicrohttpd accepts some messages that two programs in a row may read differently (request smuggling): both lengths
// at once, several of one, unknown transfer codings, malformed names. They are refused here and the connection is
// ended.
#include "api/http_request.h"
#include "api/api_internal.h"
#include "base/clock.h"

#include <ctype.h>
#include <microhttpd.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum {
    EXCESS_FACTOR = 4,       // a body that is too large is read and dropped up to this many times the limit
    HEADER_BLANKS_MAX = 256, // between a header's colon and its value
};

// --- headers of the request -----------------------------------------------------------------------------------------

typedef struct header_scan {
    int n_lengths, n_codings, n_hosts;
    const char *coding;
    const char *fault;
} header_scan;

static bool is_token(const char *text, size_t len) {
    static const char symbols[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && (!text[i] || !strchr(symbols, text[i]))) return false;
    return len > 0;
}

static bool is_field_value(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)text[i] < 0x20 && text[i] != '\t') || text[i] == 0x7f) return false;
    return true;
}

// libmicrohttpd parses a header in place: the name, NUL for the colon, blanks, the value, two NULs for CR LF. Anything
// else between or behind is a line that it has read in its own way: continued on the next line, ended by LF alone, or
// with a NUL inside.
static bool is_plain_line(const char *name, size_t name_len, const char *value, size_t value_len) {
    uintptr_t gap = (uintptr_t)value - (uintptr_t)(name + name_len);
    if (gap == 0 || gap > HEADER_BLANKS_MAX || name[name_len] != '\0') return false;
    for (uintptr_t i = 1; i < gap; i++)
        if (name[name_len + i] != ' ' && name[name_len + i] != '\t') return false;
    return value[value_len] == '\0' && value[value_len + 1] == '\0';
}

static enum MHD_Result scan_header(void *user, enum MHD_ValueKind kind, const char *name, size_t name_len,
                                   const char *value, size_t value_len) {
    (void)kind;
    header_scan *scan = user;
    if (!is_token(name, name_len))
        scan->fault = "a header's name has forbidden characters";
    else if (!value || !is_field_value(value, value_len))
        scan->fault = "a header's value has control characters";
    else if (!is_plain_line(name, name_len, value, value_len))
        scan->fault = "a header is folded, has a NUL inside or does not end with CR LF";
    if (strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0) scan->n_lengths++;
    if (strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0) scan->n_hosts++;
    if (strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0) {
        scan->n_codings++;
        scan->coding = value;
    }
    return scan->fault ? MHD_NO : MHD_YES;
}

// What is wrong with the framing of this request, or NULL.
static const char *find_framing_fault(struct MHD_Connection *connection, bool http10) {
    header_scan scan = {0};
    MHD_get_connection_values_n(connection, MHD_HEADER_KIND, scan_header, &scan);
    if (scan.fault) return scan.fault;
    if (scan.n_lengths > 1) return "Content-Length is given more than once";
    if (scan.n_codings && scan.n_lengths) return "Content-Length and Transfer-Encoding are both given";
    if (scan.n_codings > 1 || (scan.coding && strcasecmp(scan.coding, "chunked") != 0))
        return "the only Transfer-Encoding that is understood is chunked";
    if (scan.n_codings && http10) return "HTTP/1.0 has no Transfer-Encoding";
    if (scan.n_hosts != 1 && !http10) return "HTTP/1.1 needs one Host header";
    return NULL;
}

static const char *header(mosa_http_request *request, const char *name) {
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

// The client's own id if it is harmless to repeat, else a new one.
static void choose_id(mosa_http_request *request) {
    const char *given = header(request, "x-request-id");
    size_t len = given ? strlen(given) : 0;
    bool sane = len > 0 && len <= MOSA_REQUEST_ID_MAX;
    for (size_t i = 0; sane && i < len; i++) sane = isalnum((unsigned char)given[i]) || strchr("-_.:", given[i]);
    if (sane)
        memcpy(request->id, given, len + 1);
    else
        snprintf(request->id, sizeof request->id, "req_%016llx", (unsigned long long)mosa_api_random(request->api));
}

// The key that came as a bearer token, or, as Anthropic's clients send it, as x-api-key; NULL when there is none.
static const char *given_key(mosa_http_request *request) {
    const char *given = header(request, MHD_HTTP_HEADER_AUTHORIZATION);
    if (!given) return header(request, "x-api-key");
    if (strncasecmp(given, "Bearer ", 7) != 0) return NULL;
    given += 7;
    while (*given == ' ') given++;
    return given;
}

static bool has_key(mosa_http_request *request) {
    enum { CALLER_SEED = 1 };
    const mosa_api *api = request->api;
    if (api->options.api_keys.count == 0) return true;
    const char *given = given_key(request);
    if (!given) return false;
    // Compared in full, so that the time taken tells nothing about the key.
    char padded[API_KEY_MAX] = {0};
    size_t len = strnlen(given, API_KEY_MAX);
    if (len == API_KEY_MAX) return false;
    memcpy(padded, given, len);
    int matches = 0;
    for (size_t i = 0; i < api->options.api_keys.count; i++)
        matches |= CRYPTO_memcmp(padded, api->api_keys[i], API_KEY_MAX) == 0;
    if (matches && api->options.api_keys.count > 1) request->key_hash = mosa_hash_bytes(padded, len, CALLER_SEED);
    return matches;
}

// --- what is asked --------------------------------------------------------------------------------------------------

static void choose_route(mosa_http_request *request, const char *method, const char *url) {
    mosa_route_match match;
    mosa_route_find(method, url, &match);
    request->route = match.route;
    if (match.argument) snprintf(request->argument, sizeof request->argument, "%s", match.argument);
    memcpy(request->allow, match.allow, sizeof request->allow);
    if (strcmp(method, MHD_HTTP_METHOD_OPTIONS) == 0 && (match.known_path || strcmp(url, "*") == 0)) {
        request->status = MHD_HTTP_NO_CONTENT;
        return;
    }
    if (match.route) {
        request->allow[0] = '\0';
    } else if (match.known_path) {
        mosa_api_fail(&request->error, 405, "method_not_allowed", NULL, "%.32s is not allowed here: use %s.", method,
                      match.allow);
    } else {
        mosa_api_fail(&request->error, 404, "unknown_url", NULL, "Unknown request URL: %.32s %.200s.", method, url);
    }
}

static void check_key(mosa_http_request *request) {
    if (!request->route || request->route->scope == MOSA_AUTH_NONE || has_key(request)) return;
    bool given = header(request, MHD_HTTP_HEADER_AUTHORIZATION) || header(request, "x-api-key");
    mosa_api_fail(&request->error, 401, "invalid_api_key", NULL, "%s",
                  given ? "Incorrect API key provided."
                        : "You didn't provide an API key: send it as a header, Authorization: Bearer KEY.");
}

static void fail_too_large(mosa_http_request *request) {
    mosa_api_fail(&request->error, 413, "request_too_large", NULL, "The body is larger than the limit of %lld bytes.",
                  (long long)request->api->options.max_body_bytes);
    request->drop_body = true;
    mosa_buf_finish(&request->body);
}

static void check_length(mosa_http_request *request) {
    const char *text = header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    int64_t length, limit = request->api->options.max_body_bytes;
    if (!text || !mosa_parse_i64(text, &length) || length <= limit) return;
    fail_too_large(request);
    // A client that is told while it still sends may never read the answer: a moderate excess is read first.
    if (length > limit * EXCESS_FACTOR) request->close = true;
}

mosa_peer *mosa_http_peer_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

mosa_http_request *mosa_http_request_begin(mosa_api *api, struct MHD_Connection *connection, const char *url,
                                           const char *method, const char *version) {
    mosa_http_request *request = calloc(1, sizeof *request);
    if (!request) return NULL;
    request->api = api;
    request->model = &api->models[0];
    request->connection = connection;
    request->peer = mosa_http_peer_of(connection);
    request->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    request->http10 = strcmp(version, MHD_HTTP_VERSION_1_1) != 0;
    request->started_ns = (int64_t)mosa_clock_ns();
    mosa_buf_init(&request->body, (size_t)api->options.max_body_bytes);
    choose_id(request);
    const char *fault = find_framing_fault(connection, request->http10);
    if (fault) {
        mosa_api_fail(&request->error, 400, "malformed_request", NULL, "The HTTP request is malformed: %s.", fault);
        request->close = true;
        return request;
    }
    mosa_peers_enter(api->peers, request->peer, MOSA_PEER_BODY);
    choose_route(request, method, url);
    if (!request->error.http) check_key(request);
    if (!request->error.http) check_length(request);
    request->drop_body = request->error.http || !request->route || !request->route->schema;
    return request;
}

bool mosa_http_request_take_body(mosa_http_request *request, const char *data, size_t len) {
    int64_t limit = request->api->options.max_body_bytes;
    request->body_bytes += len;
    if ((int64_t)request->body_bytes > limit * EXCESS_FACTOR) return false;
    if ((int64_t)request->body_bytes > limit && !request->error.http) fail_too_large(request);
    if (!request->drop_body) mosa_buf_append(&request->body, data, len);
    if (!mosa_buf_failed(&request->body)) return true;
    request->drop_body = true;
    mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
    return true;
}

// --- headers of the answer ------------------------------------------------------------------------------------------

// The origin to be allowed: "*", the browser's own if it is on the list, or NULL.
static const char *allowed_origin(mosa_http_request *request) {
    const mosa_string_list *origins = &request->api->options.origins;
    const char *origin = header(request, "Origin");
    for (size_t i = 0; i < origins->count; i++) {
        if (strcmp(origins->items[i], "*") == 0) return "*";
        if (origin && strcmp(origins->items[i], origin) == 0) return origin;
    }
    return NULL;
}

static void add_cors(mosa_http_request *request, struct MHD_Response *response) {
    const char *origin = allowed_origin(request);
    if (!origin) return;
    MHD_add_response_header(response, "Access-Control-Allow-Origin", origin);
    MHD_add_response_header(response, "Access-Control-Expose-Headers", "x-request-id, retry-after");
    if (strcmp(origin, "*") != 0) MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, "Origin");
    if (request->status != MHD_HTTP_NO_CONTENT) return;
    const char *wanted = header(request, "Access-Control-Request-Headers");
    MHD_add_response_header(response, "Access-Control-Allow-Methods", request->allow);
    MHD_add_response_header(response, "Access-Control-Allow-Headers", wanted ? wanted : "authorization, content-type");
    MHD_add_response_header(response, "Access-Control-Max-Age", "600");
}

void mosa_http_add_headers(mosa_http_request *request, struct MHD_Response *response) {
    char number[24];
    if (request->content_type) MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, request->content_type);
    MHD_add_response_header(response, "x-request-id", request->id);
    if (request->call && request->call->stream && !request->error.http) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
        MHD_add_response_header(response, "X-Accel-Buffering", "no"); // nginx would collect the stream
    } else {
        snprintf(number, sizeof number, "%lld", ((long long)mosa_clock_ns() - request->started_ns) / 1000000);
        MHD_add_response_header(response, "openai-processing-ms", number);
    }
    if (request->error.retry_after_s > 0) {
        snprintf(number, sizeof number, "%d", request->error.retry_after_s);
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, number);
    }
    if (request->error.http == MHD_HTTP_UNAUTHORIZED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    if (request->allow[0]) MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, request->allow);
    if (request->close) MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    add_cors(request, response);
}
