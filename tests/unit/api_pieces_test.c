// Pieces of the HTTP API that need neither a server nor an engine: routes, error objects, chunk framing, deadlines.
#include "api/api_error.h"
#include "api/http.h"
#include "api/output.h"
#include "api/peers.h"
#include "api/route.h"
#include "api/schemas.h"
#include "api/stream.h"
#include "base/clock.h"
#include "codec/json.h"
#include "codec/schema.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void every_path_is_found_with_its_methods(void **state) {
    (void)state;
    mosa_route_match match;
    for (size_t i = 0; i < mosa_n_routes; i++) {
        mosa_route_find(mosa_routes[i].method, mosa_routes[i].path, &match);
        assert_ptr_equal(match.route, &mosa_routes[i]);
        assert_int_equal(match.index, i);
    }
    mosa_route_find("HEAD", "/v1/models", &match);
    assert_string_equal(match.route->method, "GET");
    mosa_route_find("DELETE", "/v1/models", &match);
    assert_true(!match.route && match.known_path);
    assert_string_equal(match.allow, "GET, HEAD, OPTIONS");
    mosa_route_find("GET", "/v1/models/org/name", &match);
    assert_string_equal(match.argument, "org/name");
    for (const char *const *path = (const char *const[]){"", "/v1", "/v1/models/", "/v1/modelsx", "//", NULL}; *path;
         path++) {
        mosa_route_find("GET", *path, &match);
        assert_true(!match.route && !match.known_path);
    }
}

static void every_schema_compiles(void **state) {
    (void)state;
    for (size_t i = 0; i < mosa_n_routes; i++) {
        mosa_schema *schema;
        mosa_error err;
        if (!mosa_routes[i].schema) continue;
        if (mosa_schema_compile_text(mosa_routes[i].schema, &schema, &err) != MOSA_OK) fail_msg("%s", err.message);
        mosa_schema_destroy(schema);
    }
}

static void an_error_object_has_four_keys_and_is_escaped(void **state) {
    (void)state;
    mosa_api_error error;
    mosa_buf out = {0};
    json_t *tree;
    mosa_api_fail(&error, 404, "model_not_found", "model", "no \"%s\"\n\x01", "x\xff");
    mosa_api_error_append(&out, &error);
    assert_int_equal(mosa_json_parse(mosa_buf_slice(&out), NULL, &tree, NULL), MOSA_OK);
    const json_t *object = json_object_get(tree, "error");
    assert_int_equal(json_object_size(object), 4);
    assert_string_equal(json_string_value(json_object_get(object, "code")), "model_not_found");
    json_decref(tree);
    mosa_buf_clear(&out);
    mosa_error cause;
    mosa_fail(&cause, MOSA_EBUSY, "full");
    mosa_api_error_set(&error, &cause, NULL);
    assert_true(error.http == 429 && error.retry_after_s > 0);
    mosa_api_error_append(&out, &error);
    assert_non_null(strstr(out.data, "\"param\":null"));
    mosa_buf_finish(&out);
}

static void numbers_are_written_as_json(void **state) {
    (void)state;
    mosa_buf out = {0};
    const int64_t ints[] = {0, -1, 42, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < MOSA_COUNT(ints); i++) {
        mosa_output_int(&out, ints[i]);
        mosa_buf_append_char(&out, ' ');
    }
    mosa_output_logprob(&out, -0.0f);
    mosa_buf_append_char(&out, ' ');
    mosa_output_logprob(&out, -1.0f / 0.0f);
    assert_string_equal(out.data, "0 -1 42 9223372036854775807 -9223372036854775808 0 -9999.0");
    mosa_buf_finish(&out);
}

static void chunks_are_framed_and_empty_ones_are_dropped(void **state) {
    (void)state;
    int fds[2];
    char got[128] = "";
    mosa_http_request http = {0};
    mosa_call call = {.http = &http, .stream = true, .state = MOSA_CALL_DIRECT};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    mosa_stream_open_chunk(&call);
    mosa_stream_open_chunk(&call);
    mosa_buf_append_str(&call.out, "data: 0123456789\n\n");
    mosa_stream_close_chunk(&call);
    mosa_stream_open_chunk(&call);
    mosa_stream_close_chunk(&call);
    assert_int_equal(mosa_stream_send(&call, fds[0]), MOSA_STREAM_SENT);
    assert_true(read(fds[1], got, sizeof got - 1) > 0);
    assert_string_equal(got, "000012\r\ndata: 0123456789\n\n\r\n");
    http.http10 = true;
    mosa_stream_open_chunk(&call);
    mosa_buf_append_str(&call.out, "bare");
    mosa_stream_close_chunk(&call);
    assert_int_equal(call.out.len, 4);
    mosa_buf_finish(&call.out);
    close(fds[0]);
    close(fds[1]);
}

static void a_full_socket_blocks_and_a_closed_one_breaks(void **state) {
    (void)state;
    int fds[2];
    static char page[65536];
    mosa_http_request http = {.http10 = true};
    mosa_call call = {.http = &http, .stream = true, .state = MOSA_CALL_DIRECT};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    mosa_buf_init(&call.out, 1 << 20);
    for (int i = 0; i < 16; i++) mosa_buf_append(&call.out, page, sizeof page);
    assert_int_equal(mosa_stream_send(&call, fds[0]), MOSA_STREAM_BLOCKED);
    assert_true(call.out_start > 0 && call.out_start < call.out.len);
    mosa_buf_append(&call.out, page, 1); // over the limit
    assert_int_equal(mosa_stream_send(&call, fds[0]), MOSA_STREAM_BROKEN);
    mosa_buf_clear(&call.out);
    call.out_start = 0;
    mosa_buf_append(&call.out, page, 1);
    close(fds[1]);
    assert_int_equal(mosa_stream_send(&call, fds[0]), MOSA_STREAM_BROKEN);
    mosa_buf_finish(&call.out);
    close(fds[0]);
}

// --- deadlines, on a real TCP connection ----------------------------------------------------------------------------

typedef struct tcp_pair {
    int client, server;
} tcp_pair;

static tcp_pair tcp_connect(void) {
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof where;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    tcp_pair pair = {.client = socket(AF_INET, SOCK_STREAM, 0)};
    assert_int_equal(bind(listener, (struct sockaddr *)&where, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&where, &len), 0);
    assert_int_equal(connect(pair.client, (struct sockaddr *)&where, len), 0);
    pair.server = accept(listener, NULL, NULL);
    close(listener);
    return pair;
}

static bool is_shut(tcp_pair pair) {
    char byte;
    return recv(pair.client, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

static int64_t now_ms(void) {
    return (int64_t)(mosa_clock_ns() / 1000000);
}

static const mosa_peers_limits limits = {
    .idle_timeout_ms = 1000, .header_timeout_ms = 100, .body_timeout_ms = 200, .send_timeout_ms = 300};

static void each_phase_has_its_own_deadline(void **state) {
    (void)state;
    const struct {
        mosa_peer_phase phase;
        int64_t alive_ms, cut_ms;
    } cases[] = {{MOSA_PEER_HEADERS, 50, 150}, {MOSA_PEER_BODY, 150, 250}, {MOSA_PEER_SENDING, 250, 350}};
    mosa_peers *peers;
    assert_int_equal(mosa_peers_create(&limits, &peers, NULL), MOSA_OK);
    for (size_t i = 0; i < MOSA_COUNT(cases); i++) {
        tcp_pair pair = tcp_connect();
        mosa_peer *peer = mosa_peers_add(peers, pair.server);
        mosa_peers_enter(peers, peer, cases[i].phase);
        int64_t now = now_ms();
        mosa_peers_sweep(peers, now + cases[i].alive_ms);
        assert_false(is_shut(pair));
        mosa_peers_sweep(peers, now + cases[i].cut_ms);
        assert_true(is_shut(pair));
        mosa_peers_remove(peers, peer);
        close(pair.client);
        close(pair.server);
    }
    assert_int_equal(mosa_peers_cut(peers), 3);
    assert_int_equal(mosa_peers_count(peers), 0);
    mosa_peers_destroy(peers);
}

static void work_has_no_deadline(void **state) {
    (void)state;
    mosa_peers *peers;
    tcp_pair pair = tcp_connect();
    assert_int_equal(mosa_peers_create(&limits, &peers, NULL), MOSA_OK);
    mosa_peer *peer = mosa_peers_add(peers, pair.server);
    mosa_peers_enter(peers, peer, MOSA_PEER_ACTIVE);
    mosa_peers_sweep(peers, now_ms() + 1000000);
    assert_false(is_shut(pair));
    mosa_peers_remove(peers, peer);
    mosa_peers_destroy(peers);
    close(pair.client);
    close(pair.server);
}

// The server has not read a byte of either connection.
static void one_that_waits_may_wait_longer_than_one_that_drips(void **state) {
    (void)state;
    mosa_peers *peers;
    tcp_pair silent = tcp_connect(), dripping = tcp_connect();
    assert_int_equal(mosa_peers_create(&limits, &peers, NULL), MOSA_OK);
    mosa_peer *one = mosa_peers_add(peers, silent.server), *two = mosa_peers_add(peers, dripping.server);
    assert_int_equal(send(dripping.client, "G", 1, 0), 1);
    int64_t now = now_ms();
    for (int64_t t = 0; t <= 300; t += 10) mosa_peers_sweep(peers, now + t);
    assert_true(is_shut(dripping));
    assert_false(is_shut(silent));
    for (int64_t t = 300; t <= 1200; t += 10) mosa_peers_sweep(peers, now + t);
    assert_true(is_shut(silent));
    mosa_peers_remove(peers, one);
    mosa_peers_remove(peers, two);
    mosa_peers_destroy(peers);
    for (int i = 0; i < 4; i++) close((int[]){silent.client, silent.server, dripping.client, dripping.server}[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_path_is_found_with_its_methods),
        cmocka_unit_test(every_schema_compiles),
        cmocka_unit_test(an_error_object_has_four_keys_and_is_escaped),
        cmocka_unit_test(numbers_are_written_as_json),
        cmocka_unit_test(chunks_are_framed_and_empty_ones_are_dropped),
        cmocka_unit_test(a_full_socket_blocks_and_a_closed_one_breaks),
        cmocka_unit_test(each_phase_has_its_own_deadline),
        cmocka_unit_test(work_has_no_deadline),
        cmocka_unit_test(one_that_waits_may_wait_longer_than_one_that_drips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
