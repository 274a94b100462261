// The engine thread's side of the link: steps, and one STEP frame per step and gateway.
#include "link/link_server_internal.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

enum { STEP_TIMEOUT_MS = 1000, LAST_WORDS_MS = 1000, OUT_LIMIT_DEFAULT = 64 << 20 };

mosa_status mosa_link_server_create(const mosa_link_server_options *options, mosa_engine *engine,
                                    mosa_link_server **out, mosa_error *err) {
    mosa_link_address address;
    MOSA_TRY(mosa_link_address_parse(options->address, &address, err));
    const char *token = options->token ? options->token : "";
    if (strlen(token) > MOSA_LINK_TOKEN_MAX)
        return mosa_fail(err, MOSA_EINVALID, "link: the token has more than %d bytes", MOSA_LINK_TOKEN_MAX);
    if (address.kind == MOSA_LINK_TCP && !*token) {
        mosa_status refusal = mosa_fail(err, MOSA_EINVALID, "link: listening on TCP needs a token");
        mosa_hint(err, "set MOSA_LINK_TOKEN to the same secret here and at the gateway");
        return refusal;
    }
    mosa_link_server *server = calloc(1, sizeof *server);
    if (!server) return mosa_fail(err, MOSA_ENOMEM, "link: out of memory");
    server->engine = engine;
    server->address = address;
    server->listen_fd = -1;
    server->out_limit = options->out_limit_bytes ? options->out_limit_bytes : OUT_LIMIT_DEFAULT;
    server->listen_watch = MOSA_WATCH_INIT;
    memcpy(server->token, token, strlen(token));
    mosa_arena_init(&server->arena, 0, 2 * (size_t)MOSA_LINK_PAYLOAD_MAX);
    pthread_mutex_init(&server->mutex, NULL);
    mosa_engine_get_info(engine, &server->info);
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        server->connections[i] =
            (link_connection){.server = server, .index = i, .watch = MOSA_WATCH_INIT, .channel.fd = -1};
    mosa_status status = mosa_link_requests_init(server, options->max_requests, err);
    if (status == MOSA_OK) status = mosa_link_adapters_init(server, err);
    if (status == MOSA_OK) status = mosa_loop_create(mosa_link_io_on_wake, server, &server->loop, err);
    if (status == MOSA_OK && address.kind != MOSA_LINK_FD) status = mosa_link_listen(&address, &server->listen_fd, err);
    if (status != MOSA_OK) {
        mosa_link_server_destroy(server);
        return status;
    }
    *out = server;
    return MOSA_OK;
}

void mosa_link_server_destroy(mosa_link_server *server) {
    if (!server) return;
    for (int i = 0; i < CONNECTIONS_MAX; i++) mosa_link_channel_close(&server->connections[i].channel);
    if (server->listen_fd >= 0) {
        close(server->listen_fd);
        if (server->address.kind == MOSA_LINK_UNIX) unlink(server->address.path);
    }
    mosa_loop_destroy(server->loop);
    mosa_link_requests_finish(server);
    mosa_link_adapters_finish(server);
    mosa_arena_finish(&server->arena);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}

void mosa_link_server_stop(mosa_link_server *server) {
    atomic_store(&server->stopping, true);
    mosa_engine_wake(server->engine);
}

void mosa_link_server_drain(mosa_link_server *server) {
    pthread_mutex_lock(&server->mutex);
    server->draining = true;
    pthread_mutex_unlock(&server->mutex);
    mosa_engine_wake(server->engine);
}

static void end_step_frame(link_connection *connection) {
    if (connection->step_open) mosa_link_frame_end(&connection->channel.out, connection->step_start);
    connection->step_open = false;
}

// Adds one event to the frame of the connection that it belongs to. With the mutex held.
static void publish_event(mosa_link_server *server, const mosa_event *event) {
    link_entry *entry = mosa_link_requests_find(server, event->request);
    if (!entry) return;
    link_connection *connection = &server->connections[entry->connection];
    mosa_buf *out = &connection->channel.out;
    if (connection->channel.fd >= 0) {
        if (connection->step_open && out->len - connection->step_start > MOSA_LINK_STEP_BYTES_MAX)
            end_step_frame(connection);
        if (!connection->step_open) connection->step_start = mosa_link_frame_begin(out, MOSA_LINK_STEP, 0);
        connection->step_open = true;
        mosa_link_put_event(out, entry->client_id, event, server->info.width);
    }
    if (event->finish != MOSA_FINISH_NONE) mosa_link_requests_remove(server, entry);
}

static void publish(mosa_link_server *server, const mosa_event *events, int n_events) {
    bool wake = false;
    pthread_mutex_lock(&server->mutex);
    for (int i = 0; i < n_events; i++) publish_event(server, &events[i]);
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        link_connection *connection = &server->connections[i];
        if (!connection->step_open) continue;
        end_step_frame(connection);
        // Sending from here saves the hop to the I/O thread, which is called only when the socket is full or broken.
        if (mosa_link_channel_flush(&connection->channel, NULL) != MOSA_OK) connection->broken = true;
        if (connection->broken || mosa_link_channel_pending(&connection->channel) > 0) wake = true;
    }
    pthread_mutex_unlock(&server->mutex);
    if (wake) mosa_loop_wake(server->loop);
}

static bool is_drained(mosa_link_server *server) {
    pthread_mutex_lock(&server->mutex);
    bool drained = server->draining && server->n_entries == 0;
    pthread_mutex_unlock(&server->mutex);
    return drained;
}

// After the I/O thread has ended: what is still buffered gets one bounded chance to leave, then all is closed.
static void close_connections(mosa_link_server *server, const mosa_error *fault) {
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        mosa_link_channel *channel = &server->connections[i].channel;
        if (channel->fd < 0) continue;
        if (fault) mosa_link_put_error(&channel->out, 0, fault);
        while (mosa_link_channel_flush(channel, NULL) == MOSA_OK && mosa_link_channel_pending(channel) > 0) {
            struct pollfd writable = {.fd = channel->fd, .events = POLLOUT};
            if (poll(&writable, 1, LAST_WORDS_MS) <= 0) break;
        }
        mosa_link_channel_close(channel);
    }
}

// What waits in its queue is given up, what it is loading is finished.
static void end_adapter_thread(mosa_link_server *server) {
    atomic_store(&server->stopping, true);
    mosa_queue_close(server->adapter_jobs);
    mosa_thread_join(&server->adapter_thread);
}

mosa_status mosa_link_server_run(mosa_link_server *server, mosa_error *err) {
    MOSA_TRY(mosa_link_io_start(server, err));
    mosa_status status = mosa_thread_start(&server->adapter_thread, "adapters", mosa_link_adapters_main, server, err);
    if (status == MOSA_OK) status = mosa_thread_start(&server->io_thread, "link-io", mosa_link_io_main, server, err);
    if (status != MOSA_OK) {
        end_adapter_thread(server);
        return status;
    }
    mosa_error fault = {0};
    while (status == MOSA_OK && !atomic_load(&server->stopping) && !is_drained(server)) {
        const mosa_event *events;
        int n_events;
        status = mosa_engine_step(server->engine, STEP_TIMEOUT_MS, &events, &n_events, &fault);
        if (status == MOSA_OK && n_events > 0) publish(server, events, n_events);
    }
    mosa_loop_stop(server->loop);
    mosa_thread_join(&server->io_thread);
    end_adapter_thread(server);
    close_connections(server, status == MOSA_OK ? NULL : &fault);
    if (status != MOSA_OK && err) *err = fault;
    return status;
}
