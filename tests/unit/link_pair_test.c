// Both ends of the link over a real socket, with an engine that counts instead of computing: its requests make tokens
// 0, 1, 2, ... until max_tokens, one per step. The server runs in a thread of its own, the client in the test's.
#include "base/thread.h"
#include "link/link_client.h"
#include "link/link_server.h"
#include "link/socket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

// --- an engine that counts ------------------------------------------------------------------------------------------

enum { SLOTS = 32, WIDTH = 4 };

struct mosa_engine {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct {
        uint64_t id; // 0 = free
        int64_t made, wanted;
        bool cancelled;
    } slots[SLOTS];
    uint64_t next_id;
    int capacity;
    bool woken, fails;
    uint64_t cancelled;
    mosa_event events[SLOTS];
    char text[SLOTS][16];
};

mosa_request mosa_request_default(void) {
    return (mosa_request){.top_logprobs = -1};
}

void mosa_engine_get_info(const mosa_engine *engine, mosa_engine_info *info) {
    (void)engine;
    *info = (mosa_engine_info){.name = "counter", .width = WIDTH, .context_tokens = 100};
}

void mosa_engine_get_stats(const mosa_engine *engine, mosa_engine_stats *stats) {
    mosa_engine *e = (mosa_engine *)engine;
    pthread_mutex_lock(&e->mutex);
    *stats = (mosa_engine_stats){.cancelled = e->cancelled, .steps = e->next_id};
    pthread_mutex_unlock(&e->mutex);
}

mosa_status mosa_engine_submit(mosa_engine *engine, const mosa_request *request, uint64_t *id, mosa_error *err) {
    mosa_status status = mosa_fail(err, MOSA_EBUSY, "all slots are taken");
    pthread_mutex_lock(&engine->mutex);
    for (int i = 0; i < engine->capacity; i++) {
        if (engine->slots[i].id) continue;
        engine->slots[i].id = *id = ++engine->next_id;
        engine->slots[i].made = 0;
        engine->slots[i].wanted = request->max_tokens;
        engine->slots[i].cancelled = false;
        status = MOSA_OK;
        break;
    }
    pthread_cond_signal(&engine->changed);
    pthread_mutex_unlock(&engine->mutex);
    return status;
}

void mosa_engine_cancel(mosa_engine *engine, uint64_t id) {
    pthread_mutex_lock(&engine->mutex);
    for (int i = 0; i < SLOTS; i++)
        if (engine->slots[i].id == id) engine->slots[i].cancelled = true;
    pthread_cond_signal(&engine->changed);
    pthread_mutex_unlock(&engine->mutex);
}

void mosa_engine_wake(mosa_engine *engine) {
    pthread_mutex_lock(&engine->mutex);
    engine->woken = true;
    pthread_cond_signal(&engine->changed);
    pthread_mutex_unlock(&engine->mutex);
}

static bool step_slot(mosa_engine *engine, int i, mosa_event *event) {
    if (!engine->slots[i].id) return false;
    int64_t token = engine->slots[i].made++;
    snprintf(engine->text[i], sizeof engine->text[i], "%d ", (int)token);
    *event = (mosa_event){.request = engine->slots[i].id,
                          .token = (int32_t)token,
                          .text = engine->text[i],
                          .text_len = strlen(engine->text[i]),
                          .stop_index = -1};
    if (engine->slots[i].cancelled)
        event->finish = MOSA_FINISH_CANCELLED;
    else if (engine->slots[i].made == engine->slots[i].wanted)
        event->finish = MOSA_FINISH_LENGTH;
    if (event->finish == MOSA_FINISH_CANCELLED) engine->cancelled++;
    if (event->finish) engine->slots[i].id = 0;
    return true;
}

mosa_status mosa_engine_step(mosa_engine *engine, int timeout_ms, const mosa_event **events, int *n_events,
                             mosa_error *err) {
    mosa_deadline deadline = mosa_deadline_in_ms(timeout_ms);
    pthread_mutex_lock(&engine->mutex);
    *n_events = 0;
    *events = engine->events;
    for (;;) {
        for (int i = 0; i < SLOTS; i++) *n_events += step_slot(engine, i, &engine->events[*n_events]);
        if (*n_events || engine->woken || !mosa_cond_wait(&engine->changed, &engine->mutex, deadline)) break;
    }
    engine->woken = false;
    bool fails = engine->fails && *n_events;
    pthread_mutex_unlock(&engine->mutex);
    return fails ? mosa_fail(err, MOSA_EINTERNAL, "the counter broke") : MOSA_OK;
}

// Every name can be loaded but "none"; loading takes a while, as a disk does.
mosa_status mosa_engine_adapter_load(mosa_engine *engine, const char *name, const char *path, mosa_error *err) {
    (void)engine;
    (void)path;
    usleep(20000);
    return strcmp(name, "none") == 0 ? mosa_fail(err, MOSA_ENOTFOUND, "no such file") : MOSA_OK;
}

mosa_status mosa_engine_adapter_unload(mosa_engine *engine, const char *name, mosa_error *err) {
    (void)engine;
    (void)name;
    (void)err;
    return MOSA_OK;
}

int mosa_engine_get_adapters(mosa_engine *engine, mosa_adapter_info *out, int capacity) {
    (void)engine;
    if (capacity > 0) out[0] = (mosa_adapter_info){.name = "poet", .rank = 16, .bytes = 1000};
    return 1;
}

// --- a gateway that collects ----------------------------------------------------------------------------------------

typedef struct pair {
    mosa_engine engine;
    mosa_link_server *server;
    mosa_thread thread;
    mosa_status served;
    mosa_loop *loop;
    mosa_link_client *client;
    mosa_link_hello hello;
    char text[SLOTS + 1][4096]; // by request id
    mosa_finish finish[SLOTS + 1];
    mosa_error refusal[SLOTS + 1];
    mosa_link_adapter_done adapters[4]; // (n_adapters) answers, in order
    int n_adapters;
    int finished, refused, steps, waiting_for;
    bool closed;
    mosa_error closed_why;
    uint64_t seen_cancelled;
    mosa_timer timer;
} pair;

static void maybe_stop(pair *pair) {
    if (pair->finished + pair->refused + pair->n_adapters >= pair->waiting_for) mosa_loop_stop(pair->loop);
}

static void on_hello(void *user, const mosa_link_hello *hello) {
    ((pair *)user)->hello = *hello;
}

static void on_event(void *user, const mosa_event *event) {
    pair *pair = user;
    assert_in_range(event->request, 1, SLOTS);
    char *text = pair->text[event->request];
    if (strlen(text) + event->text_len < sizeof pair->text[0]) strncat(text, event->text, event->text_len);
    pair->finish[event->request] = event->finish;
    if (event->finish) pair->finished++;
}

static void on_step(void *user) {
    ((pair *)user)->steps++;
    maybe_stop(user);
}

static void on_refused(void *user, uint64_t id, const mosa_error *why) {
    pair *pair = user;
    pair->refusal[id] = *why;
    pair->refused++;
    maybe_stop(pair);
}

static void on_adapter(void *user, uint64_t id, const mosa_link_adapter_done *done) {
    pair *pair = user;
    assert_int_equal(id, 40 + pair->n_adapters);
    pair->adapters[pair->n_adapters++] = *done;
    maybe_stop(pair);
}

static void on_stats(void *user, const mosa_engine_stats *stats) {
    ((pair *)user)->seen_cancelled = stats->cancelled;
}

static void on_closed(void *user, const mosa_error *why) {
    pair *pair = user;
    pair->closed = true;
    pair->closed_why = *why;
    mosa_link_client_destroy(pair->client);
    pair->client = NULL;
    mosa_loop_stop(pair->loop);
}

static const mosa_link_client_handler handler = {on_hello,   on_event, on_step,  on_refused,
                                                 on_adapter, on_stats, on_closed};

static void serve(void *user) {
    pair *pair = user;
    pair->served = mosa_link_server_run(pair->server, NULL);
}

static pair *pair_create(int out_limit) {
    pair *pair = calloc(1, sizeof *pair);
    int fds[2];
    char address[16];
    pair->engine.capacity = SLOTS;
    pthread_mutex_init(&pair->engine.mutex, NULL);
    mosa_cond_init(&pair->engine.changed);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    snprintf(address, sizeof address, "fd:%d", fds[0]);
    mosa_link_server_options options = {
        .address = address, .max_requests = SLOTS, .out_limit_bytes = (size_t)out_limit};
    assert_int_equal(mosa_link_server_create(&options, &pair->engine, &pair->server, NULL), MOSA_OK);
    assert_int_equal(mosa_loop_create(NULL, NULL, &pair->loop, NULL), MOSA_OK);
    assert_int_equal(mosa_link_client_create(pair->loop, fds[1], NULL, &handler, pair, &pair->client, NULL), MOSA_OK);
    assert_int_equal(mosa_thread_start(&pair->thread, "server", serve, pair, NULL), MOSA_OK);
    return pair;
}

static void pair_destroy(pair *pair) {
    mosa_link_client_destroy(pair->client); // its end of the socket: the server sees it and ends
    mosa_thread_join(&pair->thread);
    mosa_link_server_destroy(pair->server);
    mosa_loop_destroy(pair->loop);
    pthread_mutex_destroy(&pair->engine.mutex);
    pthread_cond_destroy(&pair->engine.changed);
    free(pair);
}

static void submit(pair *pair, uint64_t id, int64_t max_tokens) {
    mosa_buf frame = {0};
    const int32_t token = 1;
    mosa_request request = mosa_request_default();
    request.tokens = &token;
    request.n_tokens = 1;
    request.max_tokens = max_tokens;
    mosa_link_put_submit(&frame, id, &request);
    mosa_link_client_submit(pair->client, mosa_buf_slice(&frame));
    mosa_buf_finish(&frame);
}

static void run_until(pair *pair, int count) {
    pair->waiting_for = count;
    mosa_link_client_flush(pair->client);
    assert_int_equal(mosa_loop_run(pair->loop, NULL), MOSA_OK);
}

static void all_requests_get_all_their_tokens_in_order(void **state) {
    (void)state;
    pair *pair = pair_create(0);
    for (uint64_t id = 1; id <= 20; id++) submit(pair, id, 5 + (int64_t)id);
    run_until(pair, 20);
    assert_string_equal(pair->hello.info.name, "counter");
    for (int id = 1; id <= 20; id++) {
        char expected[256] = "";
        for (int t = 0; t < 5 + id; t++) snprintf(expected + strlen(expected), 8, "%d ", t);
        assert_string_equal(pair->text[id], expected);
        assert_int_equal(pair->finish[id], MOSA_FINISH_LENGTH);
    }
    assert_true(pair->steps < 20 * 5); // one frame serves all: far fewer than one per token
    pair_destroy(pair);
}

static void what_the_engine_refuses_is_told_with_its_id(void **state) {
    (void)state;
    pair *pair = pair_create(0);
    pair->engine.capacity = 1;
    submit(pair, 1, 1000000000);
    submit(pair, 2, 1);
    run_until(pair, 1);
    assert_int_equal(pair->refused, 1);
    assert_int_equal(pair->refusal[2].status, MOSA_EBUSY);
    pair_destroy(pair);
}

static void ask_for_adapter(pair *pair, uint64_t id, bool load, const char *name) {
    mosa_buf frame = {0};
    mosa_link_adapter adapter = {.load = load, .path = "/p"};
    snprintf(adapter.name, sizeof adapter.name, "%s", name);
    mosa_link_put_adapter(&frame, id, &adapter);
    mosa_link_client_submit(pair->client, mosa_buf_slice(&frame));
    mosa_buf_finish(&frame);
}

static void adapters_are_loaded_in_order_while_requests_run(void **state) {
    (void)state;
    pair *pair = pair_create(0);
    ask_for_adapter(pair, 40, true, "poet");
    ask_for_adapter(pair, 41, true, "none");
    ask_for_adapter(pair, 42, false, "poet");
    submit(pair, 1, 5);
    run_until(pair, 4);
    assert_int_equal(pair->n_adapters, 3);
    assert_int_equal(pair->adapters[0].error.status, MOSA_OK);
    assert_int_equal(pair->adapters[0].rank, 16);
    assert_string_equal(pair->adapters[0].adapter.path, "/p");
    assert_int_equal(pair->adapters[1].error.status, MOSA_ENOTFOUND);
    assert_false(pair->adapters[2].adapter.load);
    assert_int_equal(pair->finish[1], MOSA_FINISH_LENGTH);
    pair_destroy(pair);
}

static void one_id_is_not_given_twice(void **state) {
    (void)state;
    pair *pair = pair_create(0);
    submit(pair, 1, 1000000000);
    submit(pair, 1, 1);
    run_until(pair, 1);
    assert_int_equal(pair->refusal[1].status, MOSA_EEXISTS);
    pair_destroy(pair);
}

static void a_cancelled_request_ends_as_cancelled(void **state) {
    (void)state;
    pair *pair = pair_create(0);
    submit(pair, 3, 1000000000);
    mosa_link_client_cancel(pair->client, 3);
    mosa_link_client_cancel(pair->client, 4); // unknown: ignored
    run_until(pair, 1);
    assert_int_equal(pair->finish[3], MOSA_FINISH_CANCELLED);
    pair_destroy(pair);
}

static void a_gateway_that_leaves_has_its_requests_cancelled_and_ends_the_server(void **state) {
    (void)state;
    pair *pair = pair_create(0);
    submit(pair, 1, 1000000000);
    submit(pair, 2, 1);
    run_until(pair, 1);
    mosa_link_client_destroy(pair->client);
    pair->client = NULL;
    mosa_thread_join(&pair->thread);
    assert_int_equal(pair->served, MOSA_OK);
    assert_true(pair->engine.slots[0].cancelled || pair->engine.cancelled == 1);
    pair_destroy(pair);
}

static void a_gateway_that_does_not_read_is_cut_off(void **state) {
    (void)state;
    pair *pair = pair_create(64 << 10);
    for (uint64_t id = 1; id <= SLOTS; id++) submit(pair, id, 1000000000);
    mosa_link_client_flush(pair->client); // and its loop never runs
    mosa_thread_join(&pair->thread);
    assert_int_equal(pair->served, MOSA_OK);
    pair_destroy(pair);
}

static void a_drained_server_finishes_refuses_and_ends(void **state) {
    (void)state;
    pair *pair = pair_create(0);
    submit(pair, 1, 800);
    mosa_link_client_drain(pair->client);
    submit(pair, 2, 1);
    run_until(pair, 1000);
    assert_int_equal(pair->finish[1], MOSA_FINISH_LENGTH);
    assert_int_equal(pair->refusal[2].status, MOSA_EUNAVAILABLE);
    assert_true(pair->closed);
    assert_int_equal(pair->closed_why.status, MOSA_EUNAVAILABLE);
    mosa_thread_join(&pair->thread);
    assert_int_equal(pair->served, MOSA_OK);
    pair_destroy(pair);
}

static void an_engine_that_fails_says_why_before_it_leaves(void **state) {
    (void)state;
    pair *pair = pair_create(0);
    pair->engine.fails = true;
    submit(pair, 1, 5);
    run_until(pair, 1000);
    assert_true(pair->closed);
    assert_string_equal(pair->closed_why.message, "the counter broke");
    pair_destroy(pair);
}

static void expect_refused_bytes(const void *bytes, size_t len) {
    pair *pair = calloc(1, sizeof *pair);
    int fds[2];
    char address[16];
    pair->engine.capacity = SLOTS;
    pthread_mutex_init(&pair->engine.mutex, NULL);
    mosa_cond_init(&pair->engine.changed);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    snprintf(address, sizeof address, "fd:%d", fds[0]);
    mosa_link_server_options options = {.address = address, .max_requests = SLOTS};
    assert_int_equal(mosa_link_server_create(&options, &pair->engine, &pair->server, NULL), MOSA_OK);
    assert_int_equal(send(fds[1], bytes, len, 0), len);
    assert_int_equal(mosa_link_server_run(pair->server, NULL), MOSA_OK); // ends by itself: the connection is useless
    mosa_link_server_destroy(pair->server);
    close(fds[1]);
    pthread_mutex_destroy(&pair->engine.mutex);
    pthread_cond_destroy(&pair->engine.changed);
    free(pair);
}

static void a_peer_that_breaks_the_protocol_is_cut_off(void **state) {
    (void)state;
    mosa_buf frame = {0};
    expect_refused_bytes("GET / HTTP/1.1\r\nHost: engine\r\n\r\n", 33);
    mosa_link_frame_put(&frame, MOSA_LINK_CANCEL, 1, NULL, 0); // before HELLO
    expect_refused_bytes(frame.data, frame.len);
    mosa_buf_clear(&frame);
    mosa_link_hello hello = {0};
    mosa_link_put_hello(&frame, &hello);
    mosa_link_frame_put(&frame, MOSA_LINK_STEP, 0, NULL, 0); // not a gateway's frame
    expect_refused_bytes(frame.data, frame.len);
    mosa_buf_finish(&frame);
}

// --- listening ------------------------------------------------------------------------------------------------------

static void a_listening_server_asks_for_the_token_and_serves_several(void **state) {
    (void)state;
    pair *pair = calloc(1, sizeof *pair);
    char address[64];
    snprintf(address, sizeof address, "/tmp/mosa-link-test-%d.sock", (int)getpid());
    pair->engine.capacity = SLOTS;
    pthread_mutex_init(&pair->engine.mutex, NULL);
    mosa_cond_init(&pair->engine.changed);
    mosa_link_server_options options = {.address = address, .token = "right", .max_requests = SLOTS};
    assert_int_equal(mosa_link_server_create(&options, &pair->engine, &pair->server, NULL), MOSA_OK);
    assert_int_equal(mosa_thread_start(&pair->thread, "server", serve, pair, NULL), MOSA_OK);
    const char *const tokens[] = {"wrong", NULL, "right", "right"};
    for (size_t i = 0; i < MOSA_COUNT(tokens); i++) {
        mosa_link_address where;
        int fd;
        assert_int_equal(mosa_link_address_parse(address, &where, NULL), MOSA_OK);
        assert_int_equal(mosa_link_connect(&where, &fd, NULL), MOSA_OK);
        assert_int_equal(mosa_loop_create(NULL, NULL, &pair->loop, NULL), MOSA_OK);
        assert_int_equal(mosa_link_client_create(pair->loop, fd, tokens[i], &handler, pair, &pair->client, NULL),
                         MOSA_OK);
        pair->finished = pair->refused = 0;
        pair->closed = false;
        submit(pair, 1, 3);
        run_until(pair, 1);
        assert_int_equal(pair->closed, i < 2);
        if (i < 2) assert_int_equal(pair->closed_why.status, MOSA_EAUTH);
        mosa_link_client_destroy(pair->client);
        pair->client = NULL;
        mosa_loop_destroy(pair->loop);
    }
    mosa_link_server_options second = options;
    mosa_link_server *other;
    assert_int_equal(mosa_link_server_create(&second, &pair->engine, &other, NULL), MOSA_EEXISTS);
    mosa_link_server_stop(pair->server);
    mosa_thread_join(&pair->thread);
    mosa_link_server_destroy(pair->server);
    assert_int_not_equal(access(address, F_OK), 0);
    pthread_mutex_destroy(&pair->engine.mutex);
    pthread_cond_destroy(&pair->engine.changed);
    free(pair);
}

static void addresses_are_read_or_refused(void **state) {
    (void)state;
    mosa_link_address address;
    assert_int_equal(mosa_link_address_parse("fd:3", &address, NULL), MOSA_OK);
    assert_int_equal(address.fd, 3);
    assert_int_equal(mosa_link_address_parse("./x.sock", &address, NULL), MOSA_OK);
    assert_int_equal(address.kind, MOSA_LINK_UNIX);
    assert_int_equal(mosa_link_address_parse("[::1]:8000", &address, NULL), MOSA_OK);
    assert_string_equal(address.host, "::1");
    for (const char *const *bad = (const char *const[]){"fd:2", "fd:x", "host", "host:0", "host:70000", ":1", "", NULL};
         *bad; bad++)
        assert_int_equal(mosa_link_address_parse(*bad, &address, NULL), MOSA_EINVALID);
}

static void tcp_without_a_token_is_refused(void **state) {
    (void)state;
    static mosa_engine engine = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    mosa_link_server *server;
    mosa_link_server_options options = {.address = "127.0.0.1:9", .max_requests = 1};
    assert_int_equal(mosa_link_server_create(&options, &engine, &server, NULL), MOSA_EINVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_requests_get_all_their_tokens_in_order),
        cmocka_unit_test(what_the_engine_refuses_is_told_with_its_id),
        cmocka_unit_test(adapters_are_loaded_in_order_while_requests_run),
        cmocka_unit_test(one_id_is_not_given_twice),
        cmocka_unit_test(a_cancelled_request_ends_as_cancelled),
        cmocka_unit_test(a_gateway_that_leaves_has_its_requests_cancelled_and_ends_the_server),
        cmocka_unit_test(a_gateway_that_does_not_read_is_cut_off),
        cmocka_unit_test(a_drained_server_finishes_refuses_and_ends),
        cmocka_unit_test(an_engine_that_fails_says_why_before_it_leaves),
        cmocka_unit_test(a_peer_that_breaks_the_protocol_is_cut_off),
        cmocka_unit_test(a_listening_server_asks_for_the_token_and_serves_several),
        cmocka_unit_test(addresses_are_read_or_refused),
        cmocka_unit_test(tcp_without_a_token_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
