// Frames and messages: what is written is read again, and nothing that a hostile peer writes is believed.
#include "link/frame.h"
#include "link/id_map.h"
#include "link/message.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static mosa_link_frame parse(const mosa_buf *buf) {
    mosa_link_frame frame;
    size_t used, need;
    assert_int_equal(mosa_link_frame_parse(buf->data, buf->len, &frame, &used, &need, NULL), MOSA_OK);
    assert_int_equal(used, buf->len);
    return frame;
}

static void a_frame_is_complete_at_its_last_byte_and_not_before(void **state) {
    (void)state;
    mosa_buf buf = {0};
    mosa_link_frame frame;
    size_t used, need;
    mosa_link_frame_put(&buf, MOSA_LINK_CANCEL, 77, "payload", 7);
    for (size_t len = 0; len < buf.len; len++) {
        assert_int_equal(mosa_link_frame_parse(buf.data, len, &frame, &used, &need, NULL), MOSA_OK);
        assert_int_equal(used, 0);
        assert_int_equal(need, len < MOSA_LINK_HEADER_BYTES ? MOSA_LINK_HEADER_BYTES : buf.len);
    }
    frame = parse(&buf);
    assert_int_equal(frame.type, MOSA_LINK_CANCEL);
    assert_int_equal(frame.request, 77);
    assert_memory_equal(frame.payload, "payload", 7);
    mosa_link_frame_set_request(buf.data, 78);
    assert_int_equal(parse(&buf).request, 78);
    mosa_buf_finish(&buf);
}

static void expect_corrupt(uint32_t payload, uint16_t type, uint16_t version, uint64_t request) {
    mosa_buf buf = {0};
    mosa_link_frame frame;
    size_t used, need;
    mosa_error err;
    mosa_link_put_u32(&buf, payload);
    mosa_link_put_u16(&buf, type);
    mosa_link_put_u16(&buf, version);
    mosa_link_put_u64(&buf, request);
    assert_int_equal(mosa_link_frame_parse(buf.data, buf.len, &frame, &used, &need, &err), MOSA_ECORRUPT);
    assert_true(err.message[0]);
    mosa_buf_finish(&buf);
}

static void hostile_headers_are_refused_before_anything_is_read(void **state) {
    (void)state;
    expect_corrupt(MOSA_LINK_PAYLOAD_MAX + 1, MOSA_LINK_STEP, MOSA_LINK_VERSION, 0);
    expect_corrupt(UINT32_MAX, MOSA_LINK_STEP, MOSA_LINK_VERSION, 0);
    expect_corrupt(0, 0, MOSA_LINK_VERSION, 0);
    expect_corrupt(0, MOSA_LINK_ADAPTER_DONE + 1, MOSA_LINK_VERSION, 0);
    expect_corrupt(0, MOSA_LINK_STEP, MOSA_LINK_VERSION + 1, 0);
    expect_corrupt(0, MOSA_LINK_SUBMIT, MOSA_LINK_VERSION, MOSA_LINK_ID_MAX + 1);
}

static mosa_request full_request(void) {
    static const int32_t tokens[] = {1, 2, 3, 65535};
    static const char *const stop[] = {"END", "\n\n"};
    static const mosa_logit_bias bias[] = {{7, -100}, {8, 0.5f}};
    mosa_request request = {.kind = MOSA_GENERATE,
                            .tokens = tokens,
                            .n_tokens = 4,
                            .n_first = 2,
                            .max_tokens = 99,
                            .min_tokens = 3,
                            .stop = stop,
                            .n_stop = 2,
                            .ignore_eos = true,
                            .top_logprobs = 5,
                            .prompt_logprobs = true,
                            .priority = -4,
                            .caller = UINT64_C(0xfedcba9876543210),
                            .no_speculation = true,
                            .show_control = true,
                            .constraint = {MOSA_CONSTRAINT_REGEX, "a\0|b", 4},
                            .adapter = "poet",
                            .sampling = {.temperature = 0.5f,
                                         .top_p = 0.9f,
                                         .min_p = 0.1f,
                                         .top_k = 40,
                                         .repetition_penalty = 1.1f,
                                         .frequency_penalty = -0.5f,
                                         .presence_penalty = 0.25f,
                                         .seed = UINT64_C(0x123456789abcdef0),
                                         .logit_bias = bias,
                                         .n_logit_bias = 2}};
    return request;
}

static void a_request_travels_whole(void **state) {
    (void)state;
    mosa_buf buf = {0};
    mosa_arena arena;
    mosa_request sent = full_request(), got;
    mosa_arena_init(&arena, 0, 0);
    mosa_link_put_submit(&buf, 5, &sent);
    mosa_link_frame frame = parse(&buf);
    assert_int_equal(mosa_link_get_submit(&frame, &arena, &got, NULL), MOSA_OK);
    assert_true(got.n_tokens == 4 && got.n_first == 2);
    assert_memory_equal(got.tokens, sent.tokens, 16);
    assert_int_equal(got.n_stop, 2);
    assert_string_equal(got.stop[1], "\n\n");
    assert_int_equal(got.sampling.n_logit_bias, 2);
    assert_memory_equal(got.sampling.logit_bias, sent.sampling.logit_bias, 2 * sizeof(mosa_logit_bias));
    assert_true(got.sampling.seed == sent.sampling.seed && got.sampling.top_k == 40 && got.priority == -4);
    assert_true(got.caller == sent.caller && got.no_speculation && got.show_control);
    assert_int_equal(got.constraint.kind, MOSA_CONSTRAINT_REGEX);
    assert_true(got.constraint.text_len == 4 && memcmp(got.constraint.text, "a\0|b", 4) == 0);
    assert_string_equal(got.adapter, "poet");
    assert_true(got.ignore_eos && got.prompt_logprobs && got.top_logprobs == 5);
    assert_true(got.max_tokens == 99 && got.min_tokens == 3);
    assert_true(got.sampling.frequency_penalty == sent.sampling.frequency_penalty);
    mosa_arena_finish(&arena);
    mosa_buf_finish(&buf);
}

static void an_adapter_travels_both_ways(void **state) {
    (void)state;
    mosa_buf buf = {0};
    mosa_link_adapter sent = {.load = true, .name = "poet", .path = "/adapters/poet"}, got;
    mosa_link_put_adapter(&buf, 9, &sent);
    mosa_link_frame frame = parse(&buf);
    assert_int_equal(mosa_link_get_adapter(&frame, &got, NULL), MOSA_OK);
    assert_true(got.load && frame.request == 9);
    assert_string_equal(got.name, "poet");
    assert_string_equal(got.path, "/adapters/poet");
    for (size_t len = 0; len < frame.len; len++) {
        mosa_link_frame cut = {frame.type, frame.request, frame.payload, len};
        assert_int_equal(mosa_link_get_adapter(&cut, &got, NULL), MOSA_ECORRUPT);
    }
    mosa_buf_clear(&buf);
    mosa_link_adapter_done done = {.adapter = sent, .rank = 16, .bytes = 1 << 20}, back;
    mosa_fail(&done.error, MOSA_ELIMIT, "too many");
    mosa_link_put_adapter_done(&buf, 9, &done);
    frame = parse(&buf);
    assert_int_equal(mosa_link_get_adapter_done(&frame, &back, NULL), MOSA_OK);
    assert_int_equal(back.error.status, MOSA_ELIMIT);
    assert_true(back.rank == 16 && back.bytes == 1 << 20 && back.adapter.load);
    for (size_t len = 0; len < frame.len; len++) {
        mosa_link_frame cut = {frame.type, frame.request, frame.payload, len};
        assert_int_equal(mosa_link_get_adapter_done(&cut, &back, NULL), MOSA_ECORRUPT);
    }
    mosa_buf_finish(&buf);
}

static void a_request_that_is_cut_anywhere_is_corrupt(void **state) {
    (void)state;
    mosa_buf buf = {0};
    mosa_request sent = full_request(), got;
    mosa_link_put_submit(&buf, 5, &sent);
    mosa_link_frame frame = parse(&buf);
    for (size_t len = 0; len < frame.len; len++) {
        mosa_arena arena;
        mosa_arena_init(&arena, 0, 0);
        mosa_link_frame cut = {frame.type, frame.request, frame.payload, len};
        assert_int_equal(mosa_link_get_submit(&cut, &arena, &got, NULL), MOSA_ECORRUPT);
        mosa_arena_finish(&arena);
    }
    mosa_buf_finish(&buf);
}

static void numbers_that_are_not_finite_are_refused(void **state) {
    (void)state;
    mosa_buf buf = {0};
    mosa_arena arena;
    mosa_request sent = full_request(), got;
    sent.sampling.temperature = NAN;
    mosa_arena_init(&arena, 0, 0);
    mosa_link_put_submit(&buf, 5, &sent);
    mosa_link_frame frame = parse(&buf);
    assert_int_equal(mosa_link_get_submit(&frame, &arena, &got, NULL), MOSA_ECORRUPT);
    mosa_arena_finish(&arena);
    mosa_buf_finish(&buf);
}

static void a_count_that_lies_takes_no_memory(void **state) {
    (void)state;
    mosa_buf buf = {0};
    mosa_link_put_u32(&buf, 1 << 20);
    mosa_link_put_u32(&buf, 0);
    mosa_link_cursor in = {(const unsigned char *)buf.data, buf.len, false};
    assert_int_equal(mosa_link_get_count(&in, 1 << 24, 4), 0);
    assert_true(in.failed);
    assert_int_equal(mosa_link_get_u32(&in), 0);
    mosa_buf_finish(&buf);
}

static void the_events_of_a_step_travel_in_one_frame(void **state) {
    (void)state;
    const mosa_logprob top[] = {{9, -0.5f}, {10, -1.5f}};
    const float embedding[] = {0.25f, -0.5f, 1};
    mosa_error broken;
    mosa_fail(&broken, MOSA_ENOMEM, "no pages");
    const mosa_event sent[] = {
        {.token = 9,
         .logprob = -0.5f,
         .n_top = 2,
         .top = top,
         .text = "h\xc3\xa9",
         .text_len = 3,
         .stop_index = -1,
         .prompt_tokens = 11,
         .cached_tokens = 8,
         .completion_tokens = 1},
        {.token = -1,
         .finish = MOSA_FINISH_STOP,
         .embedding = embedding,
         .score = 0.75f,
         .stop_index = 1,
         .is_prompt = true},
        {.token = -1, .finish = MOSA_FINISH_ERROR, .error = &broken, .stop_index = -1},
    };
    mosa_buf buf = {0};
    size_t start = mosa_link_frame_begin(&buf, MOSA_LINK_STEP, 0);
    for (size_t i = 0; i < MOSA_COUNT(sent); i++) mosa_link_put_event(&buf, 100 + i, &sent[i], 3);
    mosa_link_frame_end(&buf, start);
    mosa_link_frame frame = parse(&buf);
    mosa_link_step_reader reader = {0};
    mosa_event got;
    bool more;
    mosa_link_step_reader_start(&reader, &frame);
    assert_int_equal(mosa_link_step_reader_next(&reader, &got, &more, NULL), MOSA_OK);
    assert_true(more && got.request == 100 && got.token == 9 && got.n_top == 2 && got.top[1].logprob == -1.5f);
    assert_memory_equal(got.text, "h\xc3\xa9", 3);
    assert_true(got.prompt_tokens == 11 && got.cached_tokens == 8 && got.stop_index == -1 && !got.embedding);
    assert_int_equal(mosa_link_step_reader_next(&reader, &got, &more, NULL), MOSA_OK);
    assert_true(got.request == 101 && got.finish == MOSA_FINISH_STOP && got.is_prompt && reader.n_embedding == 3);
    assert_true(got.score == 0.75f);
    assert_memory_equal(got.embedding, embedding, sizeof embedding);
    assert_int_equal(mosa_link_step_reader_next(&reader, &got, &more, NULL), MOSA_OK);
    assert_int_equal(got.error->status, MOSA_ENOMEM);
    assert_string_equal(got.error->message, "no pages");
    assert_int_equal(mosa_link_step_reader_next(&reader, &got, &more, NULL), MOSA_OK);
    assert_false(more);
    mosa_link_step_reader_finish(&reader);
    mosa_buf_finish(&buf);
}

static void greetings_statistics_and_errors_travel(void **state) {
    (void)state;
    mosa_buf buf = {0};
    mosa_link_hello hello = {.info = {.name = "tiny",
                                      .width = 64,
                                      .context_tokens = 1 << 20,
                                      .kv_token_bytes = 22528,
                                      .draft_weight_bytes = 7,
                                      .can_embed = true,
                                      .can_score = true},
                             .version = "1.2.3",
                             .token = "secret",
                             .pid = 42},
                    got_hello;
    mosa_link_put_hello(&buf, &hello);
    mosa_link_frame frame = parse(&buf);
    assert_int_equal(mosa_link_get_hello(&frame, &got_hello, NULL), MOSA_OK);
    assert_memory_equal(&got_hello.info, &hello.info, sizeof hello.info);
    assert_string_equal(got_hello.token, "secret");
    mosa_buf_clear(&buf);

    mosa_engine_stats stats = {.steps = 1,
                               .generated_tokens = 1ull << 40,
                               .running = 3,
                               .pages_total = 7,
                               .drafted = 9,
                               .accepted = 8},
                      got_stats;
    mosa_link_put_stats(&buf, &stats);
    frame = parse(&buf);
    assert_int_equal(mosa_link_get_stats(&frame, &got_stats, NULL), MOSA_OK);
    assert_memory_equal(&got_stats, &stats, sizeof stats);
    mosa_buf_clear(&buf);

    mosa_error error, got_error;
    mosa_fail(&error, MOSA_EBUSY, "full");
    mosa_hint(&error, "wait");
    mosa_link_put_error(&buf, 3, &error);
    frame = parse(&buf);
    assert_int_equal(mosa_link_get_error(&frame, &got_error, NULL), MOSA_OK);
    assert_string_equal(got_error.hint, "wait");
    mosa_buf_finish(&buf);
}

static void a_map_of_ids_agrees_with_a_list(void **state) {
    (void)state;
    enum { CAPACITY = 64 };
    mosa_id_map map;
    uint64_t ids[CAPACITY] = {0}, random = 1;
    assert_true(mosa_id_map_init(&map, CAPACITY));
    for (int round = 0; round < 20000; round++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint32_t slot = (uint32_t)(random >> 40) % CAPACITY, found;
        if (ids[slot]) {
            assert_true(mosa_id_map_find(&map, ids[slot], &found));
            assert_int_equal(found, slot);
            mosa_id_map_remove(&map, ids[slot]);
            assert_false(mosa_id_map_find(&map, ids[slot], &found));
            ids[slot] = 0;
        } else {
            ids[slot] = (random >> 20) % 500 * 1024 + 1; // few different ones, and badly spread
            for (uint32_t i = 0; i < CAPACITY; i++)
                if (i != slot && ids[i] == ids[slot]) ids[slot] = 0;
            if (ids[slot]) assert_true(mosa_id_map_put(&map, ids[slot], slot));
        }
    }
    mosa_id_map_finish(&map);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_is_complete_at_its_last_byte_and_not_before),
        cmocka_unit_test(hostile_headers_are_refused_before_anything_is_read),
        cmocka_unit_test(a_request_travels_whole),
        cmocka_unit_test(an_adapter_travels_both_ways),
        cmocka_unit_test(a_request_that_is_cut_anywhere_is_corrupt),
        cmocka_unit_test(numbers_that_are_not_finite_are_refused),
        cmocka_unit_test(a_count_that_lies_takes_no_memory),
        cmocka_unit_test(the_events_of_a_step_travel_in_one_frame),
        cmocka_unit_test(greetings_statistics_and_errors_travel),
        cmocka_unit_test(a_map_of_ids_agrees_with_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
