// The HTTP server: libmicrohttpd's callbacks, from a connection's first byte to the end of each answer.
//
// A request passes through on_access several times: headers, pieces of the body, the whole request, and again each time
// it is resumed (http.h has the phases, call.h the states of a call).
#include "api/api_internal.h"
#include "api/http_request.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    INLINE_BODY_BYTES = 16 << 10, // larger bodies are parsed and tokenized by the worker
    CONNECTION_MEMORY = 4 << 10,  // per connection, beside the largest headers: an idle one costs this much
    STREAM_BLOCK = 1024,          // only a stream's head passes through libmicrohttpd
    HTTP_THREADS_MAX = 4,
    LISTEN_BACKLOG = 1024,
    NOISE_MAX = 256,
};

// --- answers --------------------------------------------------------------------------------------------------------

static enum MHD_Result send_reply(mosa_http_request *request) {
    mosa_api *api = request->api;
    if (request->error.http) {
        mosa_buf_clear(&request->reply);
        mosa_http_append_error(request, &request->error, &request->reply);
        mosa_http_reply_json(request, request->error.http);
    }
    size_t len = request->reply.len;
    char *body = mosa_buf_take(&request->reply);
    if (!body) return MHD_NO; // out of memory: the connection is all that can be given up
    struct MHD_Response *response = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(body);
        return MHD_NO;
    }
    mosa_http_add_headers(request, response);
    request->phase = MOSA_HTTP_ANSWERED;
    mosa_peers_enter(api->peers, request->peer, MOSA_PEER_SENDING);
    enum MHD_Result result = MHD_queue_response(request->connection, (unsigned)request->status, response);
    MHD_destroy_response(response);
    return result;
}

static void suspend(mosa_http_request *request) {
    atomic_fetch_add(&request->api->suspended, 1);
    MHD_suspend_connection(request->connection);
}

// Gives libmicrohttpd the head of a stream, then sets the connection aside for the gateway's loop, then ends the body.
static ssize_t read_stream(void *user, uint64_t position, char *to, size_t capacity) {
    (void)position;
    mosa_http_request *request = user;
    mosa_call *call = request->call;
    size_t left = call->head.len - call->head_sent;
    if (call->state == MOSA_CALL_HEAD && left > 0) {
        size_t n = left < capacity ? left : capacity;
        memcpy(to, call->head.data + call->head_sent, n);
        call->head_sent += n;
        return (ssize_t)n;
    }
    if (call->aborted) return MHD_CONTENT_READER_END_WITH_ERROR;
    if (call->state == MOSA_CALL_TAIL || call->head_is_all) {
        mosa_peers_enter(request->api->peers, request->peer, MOSA_PEER_SENDING);
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    mosa_peers_enter(request->api->peers, request->peer, MOSA_PEER_ACTIVE);
    suspend(request);
    mosa_gateway_direct(request->model->gateway, call);
    return 0;
}

static enum MHD_Result send_stream(mosa_http_request *request) {
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, request, NULL);
    if (!response) return MHD_NO;
    mosa_http_reply_text(request, 200, "text/event-stream; charset=utf-8");
    mosa_http_add_headers(request, response);
    request->phase = MOSA_HTTP_ANSWERED;
    mosa_peers_enter(request->api->peers, request->peer, MOSA_PEER_SENDING);
    enum MHD_Result result = MHD_queue_response(request->connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

// --- requests -------------------------------------------------------------------------------------------------------

static enum MHD_Result start_work(mosa_http_request *request) {
    request->phase = MOSA_HTTP_WORKING;
    suspend(request);
    if (mosa_queue_push(request->api->work, request) == MOSA_OK) return MHD_YES;
    mosa_api_fail(&request->error, 429, "queue_full", NULL, "The server has too many large requests. Please retry.");
    mosa_http_resume(request);
    return MHD_YES;
}

// The whole request has been received.
static enum MHD_Result handle_request(mosa_http_request *request) {
    mosa_peers_enter(request->api->peers, request->peer, MOSA_PEER_ACTIVE);
    if (request->error.http || request->status) return send_reply(request);
    if (request->body.len > INLINE_BODY_BYTES) return start_work(request);
    mosa_http_run_handler(request);
    if (!request->call) return send_reply(request);
    request->phase = MOSA_HTTP_CALLING;
    request->submitted = true;
    suspend(request);
    mosa_gateway_submit(request->model->gateway, request->call);
    return MHD_YES;
}

static enum MHD_Result handle_resumed(mosa_http_request *request) {
    if (request->phase == MOSA_HTTP_WORKING) return send_reply(request);
    if (request->call->state == MOSA_CALL_HEAD) return send_stream(request);
    return request->call->aborted ? MHD_NO : send_reply(request);
}

static enum MHD_Result on_access(void *user, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *data, size_t *len, void **context) {
    mosa_http_request *request = *context;
    if (!request) {
        request = mosa_http_request_begin(user, connection, url, method, version);
        *context = request;
        if (!request) return MHD_NO;
        return request->close ? send_reply(request) : MHD_YES;
    }
    if (*len) {
        bool fits = mosa_http_request_take_body(request, data, *len);
        *len = 0;
        return fits ? MHD_YES : MHD_NO;
    }
    return request->phase == MOSA_HTTP_READING ? handle_request(request) : handle_resumed(request);
}

static void count_request(mosa_http_request *request) {
    char code[8];
    const char *route = request->route ? request->route->path : "unknown";
    int64_t elapsed_ns = (int64_t)mosa_clock_ns() - request->started_ns;
    snprintf(code, sizeof code, "%d", request->status);
    mosa_metrics_add(request->api->metrics, MOSA_METRIC_HTTP_REQUESTS, 1, MOSA_LABELS(route, code));
    mosa_metrics_observe(request->api->metrics, MOSA_METRIC_HTTP_SECONDS, (double)elapsed_ns / 1e9, MOSA_LABELS(route));
    mosa_log_debug("request", MOSA_KV("request_id", (const char *)request->id), MOSA_KV("route", route),
                   MOSA_KV("code", request->status), MOSA_KV("ms", (double)elapsed_ns / 1e6));
}

static void on_completed(void *user, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code) {
    (void)connection;
    (void)code;
    mosa_api *api = user;
    mosa_http_request *request = *context;
    *context = NULL;
    if (!request) return;
    mosa_peers_enter(api->peers, request->peer, MOSA_PEER_IDLE);
    count_request(request);
    if (request->submitted)
        mosa_gateway_forget(request->model->gateway, request->call);
    else
        mosa_http_request_destroy(request);
}

// The first line of a request has been read.
static void *on_uri(void *user, const char *uri, struct MHD_Connection *connection) {
    (void)uri;
    mosa_api *api = user;
    mosa_peers_enter(api->peers, mosa_http_peer_of(connection), MOSA_PEER_HEADERS);
    return NULL;
}

static void on_connection(void *user, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    mosa_api *api = user;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        mosa_peers_remove(api->peers, *context);
        *context = NULL;
        return;
    }
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    int on = 1; // chunks are written by us, one per engine step: none may wait for the next
    (void)setsockopt(info->connect_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *context = mosa_peers_add(api->peers, info->connect_fd);
}

static void on_noise(void *user, const char *format, va_list args) {
    (void)user;
    char line[NOISE_MAX];
    vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\n")] = '\0';
    mosa_log_debug("http", MOSA_KV("message", (const char *)line));
}

// --- start and end --------------------------------------------------------------------------------------------------

static mosa_status fail_listen(const mosa_api *api, int cause, mosa_error *err) {
    const char *host = api->options.host;
    if (cause != EADDRINUSE) return mosa_fail_errno(err, cause, "listening on %s port %d", host, api->options.port);
    mosa_status refusal =
        mosa_fail(err, MOSA_EEXISTS, "port %d on %s is taken by another program", api->options.port, host);
    mosa_hint(err, "choose another with --port, or 0 for any free one");
    return refusal;
}

static mosa_status listen_on(mosa_api *api, mosa_error *err) {
    char port[8];
    snprintf(port, sizeof port, "%d", api->options.port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list;
    int fault = getaddrinfo(api->options.host, port, &hints, &list);
    if (fault) return mosa_fail(err, MOSA_EINVALID, "host %s: %s", api->options.host, gai_strerror(fault));
    int fd = -1, cause = 0, on = 1;
    for (struct addrinfo *at = list; at && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd >= 0) (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (fd >= 0 && bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0) break;
        cause = errno;
        if (fd >= 0) close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    if (fd < 0) return fail_listen(api, cause, err);
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    api->port = api->options.port;
    if (getsockname(fd, (struct sockaddr *)&bound, &len) == 0)
        api->port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                      : ((struct sockaddr_in *)&bound)->sin_port);
    api->listen_fd = fd;
    return MOSA_OK;
}

mosa_status mosa_http_server_start(mosa_api *api, mosa_error *err) {
    MOSA_TRY(listen_on(api, err));
    const mosa_api_options *options = &api->options;
    int cpus = mosa_cpu_count() < HTTP_THREADS_MAX ? mosa_cpu_count() : HTTP_THREADS_MAX;
    int threads = options->http_threads ? options->http_threads : cpus;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_TURBO;
    struct MHD_OptionItem more[] = {{MHD_OPTION_THREAD_POOL_SIZE, threads, NULL}, {MHD_OPTION_END, 0, NULL}};
    if (threads < 2) more[0] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL}; // a pool has two threads at least
    api->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_access, api, MHD_OPTION_EXTERNAL_LOGGER, on_noise, NULL, MHD_OPTION_LISTEN_SOCKET,
        api->listen_fd, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)options->max_header_bytes + CONNECTION_MEMORY,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)options->max_connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)options->max_connections_per_ip, MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, api, MHD_OPTION_NOTIFY_CONNECTION, on_connection, api, MHD_OPTION_URI_LOG_CALLBACK, on_uri, api,
        MHD_OPTION_ARRAY, more, MHD_OPTION_END);
    if (api->daemon) return MOSA_OK;
    api->listen_fd =
        -1; // libmicrohttpd may have closed it: closing another's descriptor would be worse than losing one
    return mosa_fail(err, MOSA_ENOMEM, "the HTTP server could not start its threads");
}

void mosa_http_server_quiesce(mosa_api *api) {
    if (!api->daemon || api->listen_fd < 0) return;
    (void)MHD_quiesce_daemon(api->daemon);
    // Clients are refused from now on. The descriptor stays open: a thread of libmicrohttpd may still be looking at it.
    shutdown(api->listen_fd, SHUT_RDWR);
}

void mosa_http_server_stop(mosa_api *api) {
    if (api->daemon) MHD_stop_daemon(api->daemon);
    if (api->listen_fd >= 0) close(api->listen_fd);
    api->daemon = NULL;
    api->listen_fd = -1;
}
