// Private parts of the engine's end: the table of running requests and the connections.
//
// `mutex` guards everything below it; the engine thread holds it while it writes a step, the I/O thread while it
// submits. Lock order: mutex, then the engine's own lock (inside mosa_engine_submit and _cancel).
#ifndef MOSA_LINK_LINK_SERVER_INTERNAL_H
#define MOSA_LINK_LINK_SERVER_INTERNAL_H

#include "base/arena.h"
#include "base/loop.h"
#include "base/queue.h"
#include "base/thread.h"
#include "link/channel.h"
#include "link/id_map.h"
#include "link/link_server.h"
#include "link/message.h"
#include "link/socket.h"

#include <stdatomic.h>

enum { CONNECTIONS_MAX = 16, NO_CONNECTION = -1 };

typedef struct link_entry { // one running request
    uint64_t engine_id, client_id;
    int connection; // index
    int next_free;  // index of the next free entry, -1 at the end
    bool used;
} link_entry;

typedef struct link_connection {
    mosa_link_server *server;
    int index;
    mosa_watch watch;          // I/O thread
    bool greeted;              // I/O thread: its HELLO was accepted
    mosa_link_channel channel; // fd -1 when free; `out` is guarded by the mutex
    uint64_t serial;           // of the peer in this slot
    int requests;              // running; the slot is reused only at 0
    size_t step_start;         // where this step's open frame begins in channel.out
    bool step_open;
    bool broken; // to be closed by the I/O thread
} link_connection;

struct mosa_link_server {
    mosa_engine *engine;
    mosa_engine_info info;
    mosa_link_address address;
    char token[MOSA_LINK_TOKEN_MAX + 1];
    size_t out_limit;
    int listen_fd; // -1 with an inherited connection
    mosa_loop *loop;
    mosa_watch listen_watch;
    mosa_timer stats_timer;
    mosa_engine_stats stats_sent;
    mosa_arena arena; // I/O thread: the request being decoded
    mosa_thread io_thread, adapter_thread;
    mosa_queue *adapter_jobs; // from the I/O thread to the adapter thread
    atomic_bool stopping;

    pthread_mutex_t mutex;
    bool draining;
    link_connection connections[CONNECTIONS_MAX];
    link_entry *entries; // (max_requests)
    int max_requests, first_free, n_entries;
    mosa_id_map by_engine; // engine id -> entry
    mosa_id_map by_client; // connection and client id -> entry
};

// --- link_requests.c: the table; all with the mutex held ------------------------------------------------------------

mosa_status mosa_link_requests_init(mosa_link_server *server, int max_requests, mosa_error *err);
void mosa_link_requests_finish(mosa_link_server *server);
mosa_status mosa_link_requests_submit(mosa_link_server *server, link_connection *connection, uint64_t client_id,
                                      const mosa_request *request, mosa_error *err);
void mosa_link_requests_cancel(mosa_link_server *server, link_connection *connection, uint64_t client_id);
void mosa_link_requests_cancel_all(mosa_link_server *server, link_connection *connection);
link_entry *mosa_link_requests_find(mosa_link_server *server, uint64_t engine_id); // NULL when unknown
void mosa_link_requests_remove(mosa_link_server *server, link_entry *entry);

// --- link_adapters.c: the adapter thread ----------------------------------------------------------------------------

mosa_status mosa_link_adapters_init(mosa_link_server *server, mosa_error *err);
void mosa_link_adapters_finish(mosa_link_server *server);
void mosa_link_adapters_main(void *server); // until the queue is closed
// An ADAPTER frame has come. Any failure ends the connection.
mosa_status mosa_link_adapters_take(link_connection *connection, const mosa_link_frame *frame, mosa_error *err);

// --- link_io.c: the I/O thread --------------------------------------------------------------------------------------

mosa_status mosa_link_io_start(mosa_link_server *server, mosa_error *err); // watches, greets an inherited connection
void mosa_link_io_main(void *server);
void mosa_link_io_on_wake(void *server);

#endif
