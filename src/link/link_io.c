// The engine's I/O thread: accepts gateways, reads their frames, sends what the engine thread could not.
#include "link/link_server_internal.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STATS_INTERVAL_MS = 200, ARENA_KEEP_BYTES = 1 << 20 };

static void handle_connection(void *user, uint32_t events);

static void close_connection(link_connection *connection) {
    mosa_link_server *server = connection->server;
    mosa_loop_unwatch(server->loop, &connection->watch);
    pthread_mutex_lock(&server->mutex);
    mosa_link_requests_cancel_all(server, connection);
    mosa_link_channel_close(&connection->channel);
    connection->broken = false;
    connection->greeted = false;
    pthread_mutex_unlock(&server->mutex);
    mosa_engine_wake(server->engine);
    // The parent is gone or has cut us off: nobody can ever ask for anything again.
    if (server->address.kind == MOSA_LINK_FD) mosa_link_server_stop(server);
}

// Sends and sets the interest in writing. With the mutex held; false when the connection must be closed.
static bool flush(link_connection *connection) {
    if (connection->broken || mosa_link_channel_flush(&connection->channel, NULL) != MOSA_OK) return false;
    bool pending = mosa_link_channel_pending(&connection->channel) > 0;
    mosa_loop_watch_change(connection->server->loop, &connection->watch, EPOLLIN | (pending ? EPOLLOUT : 0));
    return true;
}

static mosa_status check_hello(link_connection *connection, const mosa_link_frame *frame, mosa_error *err) {
    mosa_link_server *server = connection->server;
    mosa_link_hello hello;
    MOSA_TRY(mosa_link_get_hello(frame, &hello, err));
    // Both buffers are zeroed to their ends, so that the comparison's time says nothing about the secret.
    char presented[sizeof server->token] = {0};
    memcpy(presented, hello.token, strlen(hello.token));
    if (server->token[0] && CRYPTO_memcmp(presented, server->token, sizeof presented) != 0)
        return mosa_fail(err, MOSA_EAUTH, "link: the gateway's token is wrong");
    connection->greeted = true;
    return MOSA_OK;
}

static mosa_status submit(link_connection *connection, const mosa_link_frame *frame, mosa_error *err) {
    mosa_link_server *server = connection->server;
    mosa_request request;
    mosa_error refusal = {0};
    MOSA_TRY(mosa_link_get_submit(frame, &server->arena, &request, err));
    pthread_mutex_lock(&server->mutex);
    if (mosa_link_requests_submit(server, connection, frame->request, &request, &refusal) != MOSA_OK)
        mosa_link_put_error(&connection->channel.out, frame->request, &refusal);
    pthread_mutex_unlock(&server->mutex);
    if (server->arena.used_bytes > ARENA_KEEP_BYTES)
        mosa_arena_finish(&server->arena);
    else
        mosa_arena_reset(&server->arena);
    return MOSA_OK;
}

static mosa_status on_frame(void *user, const mosa_link_frame *frame, mosa_error *err) {
    link_connection *connection = user;
    mosa_link_server *server = connection->server;
    if (frame->type == MOSA_LINK_HELLO) return check_hello(connection, frame, err);
    if (!connection->greeted) return mosa_fail(err, MOSA_EAUTH, "link: the first frame must be HELLO");
    switch (frame->type) {
    case MOSA_LINK_SUBMIT:
        return submit(connection, frame, err);
    case MOSA_LINK_ADAPTER:
        return mosa_link_adapters_take(connection, frame, err);
    case MOSA_LINK_CANCEL:
        pthread_mutex_lock(&server->mutex);
        mosa_link_requests_cancel(server, connection, frame->request);
        pthread_mutex_unlock(&server->mutex);
        return MOSA_OK;
    case MOSA_LINK_DRAIN:
        mosa_link_server_drain(server);
        return MOSA_OK;
    default:
        return mosa_fail(err, MOSA_ECORRUPT, "link: a gateway does not send frames of type %d", frame->type);
    }
}

static void handle_connection(void *user, uint32_t events) {
    link_connection *connection = user;
    mosa_link_server *server = connection->server;
    mosa_error err = {0};
    mosa_status status = MOSA_OK;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        status = mosa_link_channel_receive(&connection->channel, on_frame, connection, &err);
    pthread_mutex_lock(&server->mutex);
    // A refusal of the whole connection is told before it is closed; whether the peer still reads it is its affair.
    if (status != MOSA_OK && status != MOSA_EUNAVAILABLE) mosa_link_put_error(&connection->channel.out, 0, &err);
    bool usable = flush(connection) && status == MOSA_OK;
    pthread_mutex_unlock(&server->mutex);
    if (!usable) close_connection(connection);
}

// Greets the peer on `fd`, which is taken over.
static mosa_status add_connection(mosa_link_server *server, int fd, mosa_error *err) {
    link_connection *connection = NULL;
    pthread_mutex_lock(&server->mutex);
    for (int i = 0; i < CONNECTIONS_MAX && !connection; i++)
        if (server->connections[i].channel.fd < 0 && server->connections[i].requests == 0)
            connection = &server->connections[i];
    if (connection) {
        mosa_link_channel_open(&connection->channel, fd, server->out_limit);
        connection->serial++;
    }
    pthread_mutex_unlock(&server->mutex);
    if (!connection) {
        close(fd);
        return mosa_fail(err, MOSA_ELIMIT, "link: %d gateways are connected already", CONNECTIONS_MAX);
    }
    mosa_link_hello hello = {.info = server->info, .pid = getpid()};
    memcpy(hello.version, MOSA_VERSION, sizeof MOSA_VERSION);
    mosa_engine_stats stats;
    mosa_engine_get_stats(server->engine, &stats);
    mosa_status status =
        mosa_loop_watch(server->loop, &connection->watch, fd, EPOLLIN, handle_connection, connection, err);
    pthread_mutex_lock(&server->mutex);
    mosa_link_put_hello(&connection->channel.out, &hello);
    mosa_link_put_stats(&connection->channel.out, &stats);
    bool usable = status == MOSA_OK && flush(connection);
    pthread_mutex_unlock(&server->mutex);
    if (!usable) close_connection(connection);
    return status;
}

static void handle_listen(void *user, uint32_t events) {
    (void)events;
    mosa_link_server *server = user;
    int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) (void)add_connection(server, fd, NULL);
}

static void send_stats(void *user) {
    mosa_link_server *server = user;
    mosa_loop_timer(server->loop, &server->stats_timer, STATS_INTERVAL_MS, send_stats, server);
    mosa_engine_stats stats = {0};
    mosa_engine_get_stats(server->engine, &stats);
    if (memcmp(&stats, &server->stats_sent, sizeof stats) == 0) return;
    server->stats_sent = stats;
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        link_connection *connection = &server->connections[i];
        if (!connection->greeted) continue;
        pthread_mutex_lock(&server->mutex);
        mosa_link_put_stats(&connection->channel.out, &stats);
        bool usable = flush(connection);
        pthread_mutex_unlock(&server->mutex);
        if (!usable) close_connection(connection);
    }
}

// The engine thread has left bytes behind, or found a connection broken.
void mosa_link_io_on_wake(void *user) {
    mosa_link_server *server = user;
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        link_connection *connection = &server->connections[i];
        if (connection->watch.fd < 0) continue;
        pthread_mutex_lock(&server->mutex);
        bool usable = flush(connection);
        pthread_mutex_unlock(&server->mutex);
        if (!usable) close_connection(connection);
    }
}

mosa_status mosa_link_io_start(mosa_link_server *server, mosa_error *err) {
    mosa_loop_timer(server->loop, &server->stats_timer, STATS_INTERVAL_MS, send_stats, server);
    if (server->address.kind == MOSA_LINK_FD) return add_connection(server, server->address.fd, err);
    return mosa_loop_watch(server->loop, &server->listen_watch, server->listen_fd, EPOLLIN, handle_listen, server, err);
}

void mosa_link_io_main(void *user) {
    mosa_link_server *server = user;
    mosa_error err;
    if (mosa_loop_run(server->loop, &err) != MOSA_OK) mosa_link_server_stop(server);
}
