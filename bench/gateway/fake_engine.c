// An engine that computes nothing: every request gets the token "a " until max_tokens, one per step. What is left to
// measure is the gateway. A step follows the one before at once, or FAKE_STEP_MS later when that is set.
//
// Started by `mosa serve --engine-program`: its arguments are those of `mosa engine`, of which it reads fd:N.
#include "base/str.h"
#include "base/thread.h"
#include "link/link_server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

enum { REQUESTS_MAX = 32768 };

typedef struct fake_request {
    uint64_t id;
    int64_t made, wanted;
    int32_t prompt_tokens;
    bool cancelled;
} fake_request;

struct mosa_engine {
    pthread_mutex_t mutex; // guards everything but step_ms and next_step
    pthread_cond_t changed;
    fake_request requests[REQUESTS_MAX]; // (n)
    int n;
    uint64_t next_id, steps, generated, finished, cancelled;
    bool woken;
    int64_t step_ms;
    mosa_deadline next_step; // the engine thread's
    mosa_event events[REQUESTS_MAX];
};

mosa_request mosa_request_default(void) {
    return (mosa_request){.top_logprobs = -1};
}

void mosa_engine_get_info(const mosa_engine *engine, mosa_engine_info *info) {
    (void)engine;
    *info = (mosa_engine_info){.name = "fake",
                               .architecture = "fake",
                               .device = "none",
                               .width = 8,
                               .vocab_size = 32000,
                               .context_tokens = 1 << 20,
                               .can_generate = true};
}

void mosa_engine_get_stats(const mosa_engine *engine, mosa_engine_stats *stats) {
    mosa_engine *e = (mosa_engine *)(uintptr_t)engine;
    pthread_mutex_lock(&e->mutex);
    *stats = (mosa_engine_stats){.steps = e->steps,
                                 .generated_tokens = e->generated,
                                 .finished = e->finished,
                                 .cancelled = e->cancelled,
                                 .running = e->n};
    pthread_mutex_unlock(&e->mutex);
}

mosa_status mosa_engine_submit(mosa_engine *engine, const mosa_request *request, uint64_t *id, mosa_error *err) {
    pthread_mutex_lock(&engine->mutex);
    bool fits = engine->n < REQUESTS_MAX;
    if (fits) {
        *id = ++engine->next_id;
        engine->requests[engine->n++] = (fake_request){.id = *id,
                                                       .wanted = request->max_tokens > 0 ? request->max_tokens : 16,
                                                       .prompt_tokens = (int32_t)request->n_tokens};
        pthread_cond_signal(&engine->changed);
    }
    pthread_mutex_unlock(&engine->mutex);
    return fits ? MOSA_OK : mosa_fail(err, MOSA_EBUSY, "%d requests are running already", REQUESTS_MAX);
}

void mosa_engine_cancel(mosa_engine *engine, uint64_t id) {
    pthread_mutex_lock(&engine->mutex);
    for (int i = 0; i < engine->n; i++)
        if (engine->requests[i].id == id) engine->requests[i].cancelled = true;
    pthread_cond_signal(&engine->changed);
    pthread_mutex_unlock(&engine->mutex);
}

void mosa_engine_wake(mosa_engine *engine) {
    pthread_mutex_lock(&engine->mutex);
    engine->woken = true;
    pthread_cond_signal(&engine->changed);
    pthread_mutex_unlock(&engine->mutex);
}

static mosa_finish advance(mosa_engine *engine, fake_request *request, mosa_event *event) {
    *event = (mosa_event){.request = request->id,
                          .token = request->cancelled ? -1 : 5,
                          .text = "a ",
                          .text_len = request->cancelled ? 0 : 2,
                          .stop_index = -1,
                          .prompt_tokens = request->prompt_tokens};
    if (request->cancelled) {
        event->finish = MOSA_FINISH_CANCELLED;
        engine->cancelled++;
    } else {
        engine->generated++;
        if (++request->made == request->wanted) event->finish = MOSA_FINISH_LENGTH;
    }
    if (event->finish == MOSA_FINISH_LENGTH) engine->finished++;
    event->completion_tokens = (int32_t)request->made;
    return event->finish;
}

static int advance_all(mosa_engine *engine) {
    int n_events = engine->n, left = 0;
    for (int i = 0; i < n_events; i++) {
        fake_request *request = &engine->requests[i];
        if (advance(engine, request, &engine->events[i]) == MOSA_FINISH_NONE) engine->requests[left++] = *request;
    }
    engine->n = left;
    engine->steps++;
    return n_events;
}

mosa_status mosa_engine_step(mosa_engine *engine, int timeout_ms, const mosa_event **events, int *n_events,
                             mosa_error *err) {
    (void)err;
    mosa_deadline deadline = mosa_deadline_in_ms(timeout_ms);
    *n_events = 0;
    *events = engine->events;
    if (engine->step_ms) mosa_sleep_until(engine->next_step);
    engine->next_step = mosa_deadline_in_ms(engine->step_ms);
    pthread_mutex_lock(&engine->mutex);
    while (!engine->n && !engine->woken && mosa_cond_wait(&engine->changed, &engine->mutex, deadline)) continue;
    engine->woken = false;
    if (engine->n) *n_events = advance_all(engine);
    pthread_mutex_unlock(&engine->mutex);
    return MOSA_OK;
}

mosa_status mosa_engine_adapter_load(mosa_engine *engine, const char *name, const char *path, mosa_error *err) {
    (void)engine;
    (void)path;
    return mosa_fail(err, MOSA_EUNSUPPORTED, "no adapter %s: this engine computes nothing", name);
}

mosa_status mosa_engine_adapter_unload(mosa_engine *engine, const char *name, mosa_error *err) {
    (void)engine;
    return mosa_fail(err, MOSA_ENOTFOUND, "no adapter %s", name);
}

int mosa_engine_get_adapters(mosa_engine *engine, mosa_adapter_info *out, int capacity) {
    (void)engine;
    (void)out;
    (void)capacity;
    return 0;
}

static const char *find_address(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "fd:", 3) == 0) return argv[i];
    return NULL;
}

int main(int argc, char **argv) {
    const char *address = find_address(argc, argv), *step = getenv("FAKE_STEP_MS");
    static mosa_engine engine;
    mosa_link_server *server;
    mosa_error err;
    if (!address || (step && !mosa_parse_i64(step, &engine.step_ms))) {
        fprintf(stderr, "usage: [FAKE_STEP_MS=N] fake_engine engine fd:N ...\n");
        return 2;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    pthread_mutex_init(&engine.mutex, NULL);
    mosa_cond_init(&engine.changed);
    mosa_link_server_options options = {.address = address, .max_requests = 2 * REQUESTS_MAX};
    if (mosa_link_server_create(&options, &engine, &server, &err) != MOSA_OK ||
        mosa_link_server_run(server, &err) != MOSA_OK) {
        fprintf(stderr, "fake engine: %s\n", err.message);
        return 1;
    }
    mosa_link_server_destroy(server);
    return 0;
}
