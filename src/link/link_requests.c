// The table of running requests: from a gateway's ids to the engine's and back.
#include "link/link_server_internal.h"

#include <stdlib.h>

mosa_status mosa_link_requests_init(mosa_link_server *server, int max_requests, mosa_error *err) {
    server->max_requests = max_requests;
    server->entries = calloc((size_t)max_requests, sizeof *server->entries);
    if (!server->entries || !mosa_id_map_init(&server->by_engine, (size_t)max_requests) ||
        !mosa_id_map_init(&server->by_client, (size_t)max_requests))
        return mosa_fail(err, MOSA_ENOMEM, "link: no memory for a table of %d requests", max_requests);
    for (int i = 0; i < max_requests; i++) server->entries[i].next_free = i + 1 < max_requests ? i + 1 : -1;
    return MOSA_OK;
}

void mosa_link_requests_finish(mosa_link_server *server) {
    free(server->entries);
    mosa_id_map_finish(&server->by_engine);
    mosa_id_map_finish(&server->by_client);
}

// Client ids are below 2^56 (protocol.h), so a connection's index fits above them.
static uint64_t client_key(const link_connection *connection, uint64_t client_id) {
    return (uint64_t)connection->index << 56 | client_id;
}

mosa_status mosa_link_requests_submit(mosa_link_server *server, link_connection *connection, uint64_t client_id,
                                      const mosa_request *request, mosa_error *err) {
    if (server->draining) return mosa_fail(err, MOSA_EUNAVAILABLE, "the engine is shutting down");
    if (server->first_free < 0)
        return mosa_fail(err, MOSA_EBUSY, "the engine has %d requests already", server->max_requests);
    uint32_t known;
    if (mosa_id_map_find(&server->by_client, client_key(connection, client_id), &known))
        return mosa_fail(err, MOSA_EEXISTS, "a request with this id is running already");
    uint64_t engine_id;
    MOSA_TRY(mosa_engine_submit(server->engine, request, &engine_id, err));
    int index = server->first_free;
    link_entry *entry = &server->entries[index];
    server->first_free = entry->next_free;
    *entry = (link_entry){engine_id, client_id, connection->index, -1, true};
    // Neither can fail: both maps have room for every entry, and both ids are new.
    (void)mosa_id_map_put(&server->by_engine, engine_id, (uint32_t)index);
    (void)mosa_id_map_put(&server->by_client, client_key(connection, client_id), (uint32_t)index);
    server->n_entries++;
    connection->requests++;
    return MOSA_OK;
}

void mosa_link_requests_cancel(mosa_link_server *server, link_connection *connection, uint64_t client_id) {
    uint32_t index;
    if (mosa_id_map_find(&server->by_client, client_key(connection, client_id), &index))
        mosa_engine_cancel(server->engine, server->entries[index].engine_id);
}

void mosa_link_requests_cancel_all(mosa_link_server *server, link_connection *connection) {
    for (int i = 0; i < server->max_requests && connection->requests > 0; i++)
        if (server->entries[i].used && server->entries[i].connection == connection->index)
            mosa_engine_cancel(server->engine, server->entries[i].engine_id);
}

link_entry *mosa_link_requests_find(mosa_link_server *server, uint64_t engine_id) {
    uint32_t index;
    return mosa_id_map_find(&server->by_engine, engine_id, &index) ? &server->entries[index] : NULL;
}

void mosa_link_requests_remove(mosa_link_server *server, link_entry *entry) {
    link_connection *connection = &server->connections[entry->connection];
    mosa_id_map_remove(&server->by_engine, entry->engine_id);
    mosa_id_map_remove(&server->by_client, client_key(connection, entry->client_id));
    connection->requests--;
    server->n_entries--;
    entry->used = false;
    entry->next_free = server->first_free;
    server->first_free = (int)(entry - server->entries);
}
