// What one account allows, under its lock.
#include "platform/ledger/account.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int64_t period_ms;
    size_t limit_offset; // in mosa_account_limits
    bool of_tokens;
} bucket_info[ACCOUNT_BUCKETS] = {
    [REQUESTS_MINUTE] = {"max_requests_per_1_minute", MOSA_BUCKET_MINUTE_MS,
                         offsetof(mosa_account_limits, max_requests_per_1_minute), false},
    [TOKENS_MINUTE] = {"max_tokens_per_1_minute", MOSA_BUCKET_MINUTE_MS,
                       offsetof(mosa_account_limits, max_tokens_per_1_minute), true},
    [REQUESTS_DAY] = {"max_requests_per_1_day", MOSA_BUCKET_DAY_MS,
                      offsetof(mosa_account_limits, max_requests_per_1_day), false},
    [TOKENS_DAY] = {"max_tokens_per_1_day", MOSA_BUCKET_DAY_MS, offsetof(mosa_account_limits, max_tokens_per_1_day),
                    true},
};

mosa_account *mosa_account_create(mosa_account_kind kind, const char *id, uint64_t hash, int64_t now_ms) {
    size_t length = strlen(id);
    mosa_account *account = calloc(1, sizeof *account + length + 1);
    if (!account) return NULL;
    account->kind = kind;
    account->hash = hash;
    memcpy(account->id, id, length + 1);
    pthread_mutex_init(&account->mutex, NULL);
    for (int i = 0; i < ACCOUNT_BUCKETS; i++)
        mosa_bucket_init(&account->buckets[i], 0, bucket_info[i].period_ms, now_ms);
    return account;
}

void mosa_account_destroy(mosa_account *account) {
    if (!account) return;
    pthread_mutex_destroy(&account->mutex);
    free(account);
}

static int64_t clamp(int64_t limit) {
    return limit < 0 ? 0 : limit > MOSA_LIMIT_MAX ? MOSA_LIMIT_MAX : limit;
}

void mosa_account_prepare(mosa_account *account, const mosa_account_limits *limits, int64_t now_ms) {
    static const mosa_account_limits none;
    if (!limits) limits = &none;
    for (int i = 0; i < ACCOUNT_BUCKETS; i++) {
        int64_t limit;
        memcpy(&limit, (const char *)limits + bucket_info[i].limit_offset, sizeof limit);
        mosa_bucket_resize(&account->buckets[i], clamp(limit), now_ms);
        mosa_bucket_refill(&account->buckets[i], now_ms);
    }
    account->max_running = clamp(limits->max_concurrent_requests);
    int64_t spend = limits->max_spend;
    account->max_spend = spend < 0 ? 0 : spend > MOSA_SPEND_MAX ? MOSA_SPEND_MAX : spend;
}

static int64_t asked_of(int bucket, const mosa_admission_ask *ask) {
    return bucket_info[bucket].of_tokens ? ask->tokens : ask->requests;
}

// A wait of -1 outlasts every other; of two of those the first stays.
static bool outlasts(int64_t wait_ms, int64_t other_ms) {
    return other_ms >= 0 && (wait_ms < 0 || wait_ms > other_ms);
}

static void note(const mosa_account *account, const mosa_refusal *why, bool *refused, mosa_refusal *refusal) {
    if (*refused && !outlasts(why->retry_ms, refusal->retry_ms)) return;
    *refused = true;
    *refusal = *why;
    refusal->kind = account->kind;
    memcpy(refusal->id, account->id, strlen(account->id) + 1);
}

static bool check_money(const mosa_account *account, const mosa_admission_ask *ask, bool *refused,
                        mosa_refusal *refusal) {
    if (!account->max_spend) return true;
    int64_t left = account->max_spend - account->spent - account->reserved;
    if (ask->cost <= left) return true;
    mosa_refusal why = {.reason = MOSA_REFUSED_BUDGET,
                        .limit_name = "max_spend",
                        .limit = account->max_spend,
                        .left = left > 0 ? left : 0,
                        .asked = ask->cost,
                        .retry_ms = -1};
    note(account, &why, refused, refusal);
    return false;
}

static bool check_running(const mosa_account *account, const mosa_admission_ask *ask, bool *refused,
                          mosa_refusal *refusal) {
    if (!account->max_running || account->running < account->max_running) return true;
    int64_t retry_ms = account->mean_ms / account->running;
    mosa_refusal why = {.reason = MOSA_REFUSED_CONCURRENT,
                        .limit_name = "max_concurrent_requests",
                        .limit = account->max_running,
                        .asked = 1,
                        .retry_ms = retry_ms > 1 ? retry_ms : 1};
    if (why.retry_ms < ask->queue_ms) why.retry_ms = ask->queue_ms;
    note(account, &why, refused, refusal);
    return false;
}

bool mosa_account_check(const mosa_account *account, const mosa_admission_ask *ask, bool refused,
                        mosa_refusal *refusal) {
    bool fits = check_money(account, ask, &refused, refusal);
    fits &= check_running(account, ask, &refused, refusal);
    for (int i = 0; i < ACCOUNT_BUCKETS; i++) {
        const mosa_bucket *bucket = &account->buckets[i];
        int64_t asked = asked_of(i, ask), wait_ms = mosa_bucket_wait_ms(bucket, asked);
        if (wait_ms == 0) continue;
        fits = false;
        mosa_refusal why = {.reason = wait_ms < 0 ? MOSA_REFUSED_TOO_LARGE : MOSA_REFUSED_RATE,
                            .limit_name = bucket_info[i].name,
                            .limit = bucket->limit,
                            .left = mosa_bucket_left(bucket),
                            .asked = asked,
                            .retry_ms = wait_ms < 0 || wait_ms > ask->queue_ms ? wait_ms : ask->queue_ms};
        note(account, &why, &refused, refusal);
    }
    return fits;
}

void mosa_account_take(mosa_account *account, const mosa_admission_ask *ask) {
    for (int i = 0; i < ACCOUNT_BUCKETS; i++) mosa_bucket_take(&account->buckets[i], asked_of(i, ask));
    account->running++;
    account->reserved += ask->cost;
}

void mosa_account_settle(mosa_account *account, const mosa_admission_ask *reserved, int64_t tokens, int64_t cost,
                         int64_t ran_ms, int64_t now_ms) {
    for (int i = 0; i < ACCOUNT_BUCKETS; i++) {
        if (!bucket_info[i].of_tokens) continue;
        mosa_bucket_refill(&account->buckets[i], now_ms);
        mosa_bucket_give_back(&account->buckets[i], reserved->tokens - tokens);
        mosa_bucket_charge(&account->buckets[i], tokens - reserved->tokens);
    }
    assert(account->running > 0 && account->reserved >= reserved->cost);
    account->running--;
    account->reserved -= reserved->cost;
    account->spent = cost > MOSA_SPEND_MAX - account->spent ? MOSA_SPEND_MAX : account->spent + cost;
    if (ran_ms < 1) ran_ms = 1;
    account->mean_ms = account->mean_ms ? (account->mean_ms * 7 + ran_ms) / 8 : ran_ms;
}

static void narrow(const mosa_bucket *bucket, mosa_rate_state *state) {
    if (!bucket->limit) return;
    int64_t left = mosa_bucket_left(bucket);
    // left / limit < remaining / state limit, without rounding: limits are below 2^36, doubles hold the shares well.
    if (state->limit && (double)left / (double)bucket->limit >= (double)state->remaining / (double)state->limit) return;
    *state = (mosa_rate_state){.limit = bucket->limit, .remaining = left, .reset_ms = mosa_bucket_full_ms(bucket)};
}

void mosa_account_narrow(const mosa_account *account, mosa_rate_states *states) {
    narrow(&account->buckets[REQUESTS_MINUTE], &states->requests);
    narrow(&account->buckets[TOKENS_MINUTE], &states->tokens);
}

bool mosa_account_is_blank(mosa_account *account, int64_t now_ms) {
    if (account->running || account->spent || account->reserved) return false;
    for (int i = 0; i < ACCOUNT_BUCKETS; i++) {
        mosa_bucket_refill(&account->buckets[i], now_ms);
        if (mosa_bucket_full_ms(&account->buckets[i]) > 0) return false;
    }
    return true;
}
