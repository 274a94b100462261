// Admission: buckets against a plain oracle, refusals and their waits, and exactness under threads.
#include "base/thread.h"
#include "platform/ledger/admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// xorshift: the tests need numbers, not quality.
static uint64_t draw(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}
static int64_t draw_below(uint64_t *state, int64_t bound) {
    return (int64_t)(draw(state) % (uint64_t)bound);
}

// --- bucket ---------------------------------------------------------------------------------------------------------

// The same bucket in exact rational arithmetic that cannot overflow: level in 1/period as a wide integer.
__extension__ typedef __int128 wide;
typedef struct oracle {
    wide level, full, limit;
    int64_t at_ms;
} oracle;

static void oracle_refill(oracle *o, int64_t now_ms) {
    o->level += (wide)(now_ms - o->at_ms) * o->limit;
    if (o->level > o->full) o->level = o->full;
    o->at_ms = now_ms;
}

static void bucket_steps_equal_the_oracle(uint64_t seed) {
    uint64_t rng = seed * 0x9E3779B97F4A7C15u + 1;
    int64_t period_ms = seed % 2 ? MOSA_BUCKET_MINUTE_MS : MOSA_BUCKET_DAY_MS;
    int64_t limit = seed % 5 == 0 ? MOSA_LIMIT_MAX : 1 + draw_below(&rng, seed % 3 ? 100 : 10000000);
    mosa_bucket bucket;
    mosa_bucket_init(&bucket, limit, period_ms, 5);
    oracle o = {.level = (wide)limit * period_ms, .full = (wide)limit * period_ms, .limit = limit, .at_ms = 5};
    int64_t now_ms = 5;
    for (int i = 0; i < 300; i++) {
        now_ms += draw(&rng) % 20 == 0 ? draw_below(&rng, 3 * period_ms) : draw_below(&rng, period_ms / 10);
        mosa_bucket_refill(&bucket, now_ms);
        oracle_refill(&o, now_ms);
        int64_t amount = 1 + draw_below(&rng, limit + 1), wait_ms = mosa_bucket_wait_ms(&bucket, amount);
        wide need = (wide)amount * period_ms;
        switch (draw(&rng) % 4) {
        case 0:
            mosa_bucket_give_back(&bucket, amount);
            o.level = o.level + need > o.full ? o.full : o.level + need;
            break;
        case 1:
            mosa_bucket_charge(&bucket, amount);
            o.level = o.level - need < -o.full ? -o.full : o.level - need;
            break;
        default:
            if (amount > limit) {
                assert_int_equal(wait_ms, -1);
            } else if (need <= o.level) {
                assert_int_equal(wait_ms, 0);
                mosa_bucket_take(&bucket, amount);
                o.level -= need;
            } else { // not a millisecond too late or too early
                assert_true(o.level + (wide)wait_ms * limit >= need);
                assert_true(o.level + (wide)(wait_ms - 1) * limit < need);
            }
        }
        assert_true(bucket.level == (int64_t)o.level);
    }
}

static void a_bucket_is_exact_at_every_size(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) bucket_steps_equal_the_oracle(seed);
}

static void a_new_limit_keeps_what_was_taken(void **state) {
    (void)state;
    mosa_bucket bucket;
    mosa_bucket_init(&bucket, 100, MOSA_BUCKET_MINUTE_MS, 0);
    mosa_bucket_take(&bucket, 80);
    mosa_bucket_resize(&bucket, 200, 0);
    assert_int_equal(mosa_bucket_left(&bucket), 120);
    mosa_bucket_resize(&bucket, 50, 0);
    assert_int_equal(mosa_bucket_left(&bucket), 0);
    assert_int_equal(mosa_bucket_wait_ms(&bucket, 1), 31 * MOSA_BUCKET_MINUTE_MS / 50);
    mosa_bucket_resize(&bucket, 0, 0);
    assert_int_equal(mosa_bucket_wait_ms(&bucket, INT64_MAX), 0);
}

static void durations_print_as_go_does(void **state) {
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {{0, "0s"},
                 {-5, "0s"},
                 {1, "1ms"},
                 {999, "999ms"},
                 {1000, "1s"},
                 {1500, "1.5s"},
                 {10000, "10s"},
                 {60000, "1m0s"},
                 {360000, "6m0s"},
                 {90100, "1m30.1s"},
                 {3600001, "1h0m0.001s"},
                 {86400000, "24h0m0s"}};
    for (size_t i = 0; i < MOSA_COUNT(cases); i++) {
        char text[MOSA_DURATION_TEXT];
        assert_string_equal(mosa_duration_format(cases[i].ms, text), cases[i].text);
    }
}

// --- admission ------------------------------------------------------------------------------------------------------

static mosa_admission *create(int max_accounts, int max_grants) {
    mosa_admission *admission;
    mosa_error err;
    mosa_admission_options options = {.max_accounts = max_accounts, .max_grants = max_grants};
    assert_int_equal(mosa_admission_create(&options, &admission, &err), MOSA_OK);
    return admission;
}

static mosa_admission_ask ask_for(const char *key, const mosa_account_limits *limits, int64_t tokens) {
    mosa_admission_ask ask = {.requests = 1, .tokens = tokens};
    ask.ids[MOSA_ACCOUNT_KEY] = key;
    ask.limits[MOSA_ACCOUNT_KEY] = limits;
    return ask;
}

static void a_refusal_names_the_limit_and_its_wait_is_true(void **state) {
    (void)state;
    mosa_admission *admission = create(0, 0);
    mosa_account_limits limits = {.max_tokens_per_1_minute = 600, .max_requests_per_1_minute = 10};
    mosa_admission_ask ask = ask_for("key_a", &limits, 500);
    mosa_grant *grant, *other;
    mosa_refusal refusal;
    mosa_rate_states states;
    assert_true(mosa_admission_reserve(admission, &ask, 1000, &grant, &refusal, &states));
    assert_int_equal(states.tokens.limit, 600);
    assert_int_equal(states.tokens.remaining, 100);
    assert_int_equal(states.tokens.reset_ms, 50000);
    assert_int_equal(states.requests.remaining, 9);

    assert_false(mosa_admission_reserve(admission, &ask, 1000, &other, &refusal, &states));
    assert_int_equal(refusal.reason, MOSA_REFUSED_RATE);
    assert_int_equal(refusal.retry_ms, 40000);
    char text[400];
    mosa_refusal_format(&refusal, text, sizeof text);
    assert_string_equal(text, "Rate limit reached for key key_a: max_tokens_per_1_minute is 600, 100 left, 500 "
                              "requested. Please try again in 40s.");
    assert_false(mosa_admission_reserve(admission, &ask, 1000 + refusal.retry_ms - 1, &other, &refusal, NULL));
    assert_int_equal(refusal.retry_ms, 1);
    assert_true(mosa_admission_reserve(admission, &ask, 1000 + 40000, &other, &refusal, &states));
    assert_int_equal(states.requests.remaining, 9); // refusals took nothing: two requests, one minute's worth came back
    mosa_grant_settle(grant, 500, 0, 41000);
    mosa_grant_settle(other, 20, 0, 41000); // 480 come back
    mosa_account_state look;
    assert_true(mosa_admission_look(admission, MOSA_ACCOUNT_KEY, "key_a", 41000, &look));
    assert_int_equal(look.tokens_left_minute, 480);
    assert_int_equal(look.running, 0);

    ask.tokens = 601;
    assert_false(mosa_admission_reserve(admission, &ask, 900000, &other, &refusal, NULL));
    assert_int_equal(refusal.reason, MOSA_REFUSED_TOO_LARGE);
    assert_int_equal(refusal.retry_ms, -1);
    mosa_admission_destroy(admission);
}

static void all_accounts_give_or_none_does(void **state) {
    (void)state;
    mosa_admission *admission = create(0, 0);
    mosa_account_limits wide_limits = {.max_tokens_per_1_minute = 1000}, narrow = {.max_tokens_per_1_minute = 100};
    mosa_admission_ask ask = {
        .ids = {"proj", "key", "model"}, .limits = {&wide_limits, &wide_limits, &narrow}, .requests = 1, .tokens = 80};
    mosa_grant *grant;
    mosa_refusal refusal;
    mosa_rate_states states;
    assert_true(mosa_admission_reserve(admission, &ask, 0, &grant, &refusal, &states));
    assert_int_equal(states.tokens.limit, 100); // the narrowest
    assert_int_equal(states.tokens.remaining, 20);
    mosa_grant *other;
    assert_false(mosa_admission_reserve(admission, &ask, 0, &other, &refusal, NULL));
    assert_int_equal(refusal.kind, MOSA_ACCOUNT_MODEL);
    assert_string_equal(refusal.id, "model");
    mosa_account_state look;
    assert_true(mosa_admission_look(admission, MOSA_ACCOUNT_PROJECT, "proj", 0, &look));
    assert_int_equal(look.tokens_left_minute, 920);
    assert_int_equal(look.running, 1);
    mosa_grant_settle(grant, 80, 0, 10);
    mosa_admission_destroy(admission);
}

static void the_longest_wait_is_told(void **state) {
    (void)state;
    mosa_admission *admission = create(0, 0);
    mosa_account_limits limits = {
        .max_tokens_per_1_minute = 60, .max_tokens_per_1_day = 86400, .max_concurrent_requests = 1};
    mosa_admission_ask ask = ask_for("k", &limits, 60);
    mosa_grant *grant, *other;
    mosa_refusal refusal;
    assert_true(mosa_admission_reserve(admission, &ask, 0, &grant, &refusal, NULL));
    assert_false(mosa_admission_reserve(admission, &ask, 0, &other, &refusal, NULL));
    assert_int_equal(refusal.reason, MOSA_REFUSED_RATE);
    assert_int_equal(refusal.retry_ms, 60000);
    assert_false(mosa_admission_reserve(admission, &ask, 60000, &other, &refusal, NULL));
    assert_int_equal(refusal.reason, MOSA_REFUSED_CONCURRENT);
    ask.queue_ms = 7000;
    assert_false(mosa_admission_reserve(admission, &ask, 60000, &other, &refusal, NULL));
    assert_int_equal(refusal.retry_ms, 7000);
    mosa_grant_settle(grant, 60, 0, 60000);
    assert_true(mosa_admission_reserve(admission, &ask, 60000, &other, &refusal, NULL));
    mosa_grant_settle(other, 0, 0, 60000);
    mosa_admission_destroy(admission);
}

static void a_budget_stops_hard(void **state) {
    (void)state;
    mosa_admission *admission = create(0, 0);
    mosa_error err;
    mosa_account_limits limits = {.max_spend = 1000000};
    assert_int_equal(mosa_admission_set_spent(admission, MOSA_ACCOUNT_KEY, "k", 900000, &err), MOSA_OK);
    mosa_admission_ask ask = ask_for("k", &limits, 10);
    ask.cost = 60000;
    mosa_grant *grant, *other;
    mosa_refusal refusal;
    assert_true(mosa_admission_reserve(admission, &ask, 0, &grant, &refusal, NULL));
    assert_false(mosa_admission_reserve(admission, &ask, 0, &other, &refusal, NULL)); // held money counts
    assert_int_equal(refusal.reason, MOSA_REFUSED_BUDGET);
    assert_int_equal(refusal.left, 40000);
    assert_int_equal(refusal.retry_ms, -1);
    mosa_grant_settle(grant, 10, 1000, 1);
    assert_true(mosa_admission_reserve(admission, &ask, 1, &grant, &refusal, NULL));
    mosa_grant_settle(grant, 10, 60000, 1);
    mosa_account_state look;
    assert_true(mosa_admission_look(admission, MOSA_ACCOUNT_KEY, "k", 1, &look));
    assert_int_equal(look.spent, 961000);
    assert_int_equal(look.reserved, 0);
    mosa_admission_destroy(admission);
}

static void accounts_are_bounded_and_those_with_a_past_are_kept(void **state) {
    (void)state;
    mosa_admission *admission = create(100, 0);
    mosa_account_limits limits = {.max_requests_per_1_minute = 2};
    mosa_refusal refusal;
    mosa_grant *grant;
    char id[16];
    for (int i = 0; i < 100; i++) {
        snprintf(id, sizeof id, "k%d", i);
        mosa_admission_ask ask = ask_for(id, &limits, 1);
        assert_true(mosa_admission_reserve(admission, &ask, 0, &grant, &refusal, NULL));
        mosa_grant_settle(grant, 1, 0, 0);
    }
    mosa_admission_ask ask = ask_for("late", &limits, 1);
    assert_false(mosa_admission_reserve(admission, &ask, 0, &grant, &refusal, NULL));
    assert_int_equal(refusal.reason, MOSA_REFUSED_CAPACITY);
    // Half a minute later their buckets are full again and nothing is lost with them.
    assert_true(mosa_admission_reserve(admission, &ask, 30000, &grant, &refusal, NULL));
    assert_int_equal(mosa_admission_accounts(admission), 1);
    mosa_grant_settle(grant, 1, 0, 30000);
    mosa_admission_destroy(admission);
}

static void grants_are_bounded(void **state) {
    (void)state;
    mosa_admission *admission = create(0, 2);
    mosa_admission_ask ask = ask_for("k", NULL, 1);
    mosa_grant *grants[3];
    mosa_refusal refusal;
    assert_true(mosa_admission_reserve(admission, &ask, 0, &grants[0], &refusal, NULL));
    assert_true(mosa_admission_reserve(admission, &ask, 0, &grants[1], &refusal, NULL));
    assert_false(mosa_admission_reserve(admission, &ask, 0, &grants[2], &refusal, NULL));
    assert_string_equal(refusal.limit_name, "max_grants");
    mosa_grant_settle(grants[0], 1, 0, 0);
    assert_true(mosa_admission_reserve(admission, &ask, 0, &grants[2], &refusal, NULL));
    mosa_grant_settle(grants[1], 1, 0, 0);
    mosa_grant_settle(grants[2], 1, 0, 0);
    mosa_admission_destroy(admission);
}

// --- under threads --------------------------------------------------------------------------------------------------

enum { THREADS = 4, PROJECTS = 2, KEYS = 6, ROUNDS = 4000, RUNNING_MAX = 3, TOKENS = 40000 };

typedef struct storm {
    mosa_admission *admission;
    mosa_account_limits project, key, model;
    atomic_llong key_tokens[KEYS], key_requests[KEYS]; // what clients know to have used, at frozen time
    atomic_int key_running[KEYS];
    atomic_int broken;
} storm;

typedef struct storm_thread {
    storm *storm;
    uint64_t rng;
    mosa_thread thread;
} storm_thread;

static void begin_one(storm *s, uint64_t *rng, mosa_grant **grant, int *key) {
    char key_id[16], project_id[16];
    *key = (int)draw_below(rng, KEYS);
    snprintf(key_id, sizeof key_id, "key%d", *key);
    snprintf(project_id, sizeof project_id, "project%d", *key % PROJECTS);
    mosa_admission_ask ask = {.ids = {project_id, key_id, "model"},
                              .limits = {&s->project, &s->key, &s->model},
                              .requests = 1,
                              .tokens = 1 + draw_below(rng, 50),
                              .cost = 7};
    mosa_refusal refusal;
    *grant = NULL;
    if (!mosa_admission_reserve(s->admission, &ask, 0, grant, &refusal, NULL)) return;
    if (atomic_fetch_add(&s->key_running[*key], 1) >= RUNNING_MAX) atomic_fetch_add(&s->broken, 1);
    atomic_fetch_add(&s->key_requests[*key], 1);
}

static void end_one(storm *s, uint64_t *rng, mosa_grant *grant, int key) {
    int64_t used = draw_below(rng, 2); // nearly all comes back
    atomic_fetch_add(&s->key_tokens[key], used);
    atomic_fetch_sub(&s->key_running[key], 1);
    mosa_grant_settle(grant, used, 3, 0);
}

static void run_storm(void *arg) {
    storm_thread *t = arg;
    mosa_grant *held[4] = {0};
    int keys[4] = {0};
    for (int i = 0; i < ROUNDS; i++) {
        int slot = i % 4;
        if (held[slot]) end_one(t->storm, &t->rng, held[slot], keys[slot]);
        begin_one(t->storm, &t->rng, &held[slot], &keys[slot]);
    }
    for (int i = 0; i < 4; i++)
        if (held[i]) end_one(t->storm, &t->rng, held[i], keys[i]);
}

static void check_key(storm *s, int key, long long *tokens, long long *requests) {
    char id[16];
    snprintf(id, sizeof id, "key%d", key);
    mosa_account_state look;
    assert_true(mosa_admission_look(s->admission, MOSA_ACCOUNT_KEY, id, 0, &look));
    assert_int_equal(look.running, 0);
    assert_int_equal(look.reserved, 0);
    assert_int_equal(look.requests_left_minute, s->key.max_requests_per_1_minute - s->key_requests[key]);
    assert_int_equal(look.tokens_left_minute, TOKENS - s->key_tokens[key]);
    assert_int_equal(look.spent, 3 * s->key_requests[key]);
    *tokens += s->key_tokens[key];
    *requests += s->key_requests[key];
}

static void threads_never_pass_a_limit_and_nothing_is_lost(void **state) {
    (void)state;
    storm s = {.admission = create(0, 0),
               .project = {.max_requests_per_1_minute = 2000, .max_tokens_per_1_day = TOKENS},
               .key = {.max_requests_per_1_minute = 700,
                       .max_tokens_per_1_minute = TOKENS,
                       .max_concurrent_requests = RUNNING_MAX},
               .model = {.max_requests_per_1_minute = 3500, .max_spend = 1000000000}};
    storm_thread threads[THREADS];
    mosa_error err;
    for (int i = 0; i < THREADS; i++) {
        threads[i] = (storm_thread){.storm = &s, .rng = 77 + (uint64_t)i * 1000003};
        assert_int_equal(mosa_thread_start(&threads[i].thread, "storm", run_storm, &threads[i], &err), MOSA_OK);
    }
    for (int i = 0; i < THREADS; i++) mosa_thread_join(&threads[i].thread);
    assert_int_equal(s.broken, 0);
    long long tokens = 0, requests = 0;
    for (int key = 0; key < KEYS; key++) {
        assert_true(s.key_requests[key] <= 700);
        check_key(&s, key, &tokens, &requests);
    }
    // Time stood still and far more was asked for than fits: the model's limit is met to the last request.
    assert_int_equal(requests, 3500);
    mosa_account_state look;
    assert_true(mosa_admission_look(s.admission, MOSA_ACCOUNT_MODEL, "model", 0, &look));
    assert_int_equal(look.requests_left_minute, 0);
    assert_int_equal(look.spent, 3 * requests);
    long long left = 0;
    for (int i = 0; i < PROJECTS; i++) {
        assert_true(mosa_admission_look(s.admission, MOSA_ACCOUNT_PROJECT, i ? "project1" : "project0", 0, &look));
        left += look.tokens_left_day;
    }
    assert_int_equal(left, (long long)PROJECTS * TOKENS - tokens);
    mosa_admission_destroy(s.admission);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_is_exact_at_every_size),
        cmocka_unit_test(a_new_limit_keeps_what_was_taken),
        cmocka_unit_test(durations_print_as_go_does),
        cmocka_unit_test(a_refusal_names_the_limit_and_its_wait_is_true),
        cmocka_unit_test(all_accounts_give_or_none_does),
        cmocka_unit_test(the_longest_wait_is_told),
        cmocka_unit_test(a_budget_stops_hard),
        cmocka_unit_test(accounts_are_bounded_and_those_with_a_past_are_kept),
        cmocka_unit_test(grants_are_bounded),
        cmocka_unit_test(threads_never_pass_a_limit_and_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
