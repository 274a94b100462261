// Adapters on the engine's end: a thread of its own reads their files, so that neither steps nor frames wait for a
// disk.
//
// Jobs are done one after another, in order of arrival. A connection that has gone meanwhile (its slot may be another's
// by then: `serial` tells) gets no answer; the adapter stays, as it would had the answer been lost.
#include "link/link_server_internal.h"

#include <stdlib.h>

enum { JOBS_MAX = 64 };

typedef struct adapter_job {
    link_connection *connection;
    uint64_t serial, id;
    mosa_link_adapter adapter;
} adapter_job;

static void answer(mosa_link_server *server, const adapter_job *job, const mosa_link_adapter_done *done) {
    pthread_mutex_lock(&server->mutex);
    if (job->connection->channel.fd >= 0 && job->connection->serial == job->serial)
        mosa_link_put_adapter_done(&job->connection->channel.out, job->id, done);
    pthread_mutex_unlock(&server->mutex);
    mosa_loop_wake(server->loop);
}

// What is loaded under the name, for the answer.
static void describe(mosa_engine *engine, mosa_link_adapter_done *done) {
    int n = mosa_engine_get_adapters(engine, NULL, 0);
    mosa_adapter_info *list = calloc((size_t)n + 1, sizeof *list);
    int got = list ? mosa_engine_get_adapters(engine, list, n) : 0;
    for (int i = 0; i < got && i < n; i++)
        if (strcmp(list[i].name, done->adapter.name) == 0) done->rank = list[i].rank, done->bytes = list[i].bytes;
    free(list);
}

static void do_job(mosa_link_server *server, const adapter_job *job) {
    mosa_link_adapter_done done = {.adapter = job->adapter};
    const char *name = job->adapter.name;
    mosa_status status = job->adapter.load
                             ? mosa_engine_adapter_load(server->engine, name, job->adapter.path, &done.error)
                             : mosa_engine_adapter_unload(server->engine, name, &done.error);
    if (status == MOSA_OK) {
        done.error = (mosa_error){0};
        if (job->adapter.load) describe(server->engine, &done);
    }
    answer(server, job, &done);
}

void mosa_link_adapters_main(void *user) {
    mosa_link_server *server = user;
    void *item;
    while (mosa_queue_pop(server->adapter_jobs, &item, MOSA_DEADLINE_NEVER) == MOSA_OK) {
        if (!atomic_load(&server->stopping)) do_job(server, item);
        free(item);
    }
}

mosa_status mosa_link_adapters_init(mosa_link_server *server, mosa_error *err) {
    return mosa_queue_create(JOBS_MAX, &server->adapter_jobs, err);
}

void mosa_link_adapters_finish(mosa_link_server *server) {
    mosa_queue_destroy(server->adapter_jobs);
}

mosa_status mosa_link_adapters_take(link_connection *connection, const mosa_link_frame *frame, mosa_error *err) {
    mosa_link_server *server = connection->server;
    adapter_job *job = calloc(1, sizeof *job);
    if (!job) return mosa_fail(err, MOSA_ENOMEM, "link: out of memory");
    *job = (adapter_job){.connection = connection, .serial = connection->serial, .id = frame->request};
    mosa_status status = mosa_link_get_adapter(frame, &job->adapter, err);
    if (status == MOSA_OK && mosa_queue_push(server->adapter_jobs, job) == MOSA_OK) return MOSA_OK;
    if (status == MOSA_OK) {
        mosa_link_adapter_done done = {.adapter = job->adapter};
        (void)mosa_fail(&done.error, MOSA_EBUSY, "the engine has %d adapters to load already", JOBS_MAX);
        answer(server, job, &done);
    }
    free(job);
    return status;
}
