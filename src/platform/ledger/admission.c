// Reservations over several accounts: all or nothing, under their locks in one order.
#include "platform/ledger/admission.h"
#include "platform/ledger/account.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mosa_admission {
    account_table *accounts;
    int max_grants;
    atomic_int grants;
};

struct mosa_grant {
    mosa_admission *admission;
    mosa_account *accounts[MOSA_ACCOUNT_KINDS]; // each with a reference; NULL = none
    mosa_admission_ask ask;                     // its pointers are not used any more
    int64_t since_ms;
};

static const char *const kind_names[] = {
    [MOSA_ACCOUNT_PROJECT] = "project", [MOSA_ACCOUNT_KEY] = "key", [MOSA_ACCOUNT_MODEL] = "model"};

const char *mosa_account_kind_name(mosa_account_kind kind) {
    return kind_names[kind];
}

mosa_status mosa_admission_create(const mosa_admission_options *options, mosa_admission **out, mosa_error *err) {
    mosa_admission *admission = calloc(1, sizeof *admission);
    if (!admission) return mosa_fail(err, MOSA_ENOMEM, "admission: out of memory");
    admission->max_grants = options->max_grants > 0 ? options->max_grants : 65536;
    admission->accounts = mosa_account_table_create(options->max_accounts > 0 ? options->max_accounts : 65536);
    if (!admission->accounts) {
        free(admission);
        return mosa_fail(err, MOSA_ENOMEM, "admission: out of memory");
    }
    *out = admission;
    return MOSA_OK;
}

void mosa_admission_destroy(mosa_admission *admission) {
    if (!admission) return;
    mosa_account_table_destroy(admission->accounts);
    free(admission);
}

static void refuse_capacity(mosa_refusal *refusal, mosa_account_kind kind, const char *name, int64_t limit) {
    *refusal = (mosa_refusal){.reason = MOSA_REFUSED_CAPACITY,
                              .kind = kind,
                              .limit_name = name,
                              .limit = limit,
                              .asked = 1,
                              .retry_ms = 1000};
}

static mosa_grant *create_grant(mosa_admission *admission, mosa_refusal *refusal) {
    mosa_grant *grant = NULL;
    if (atomic_fetch_add(&admission->grants, 1) < admission->max_grants) grant = calloc(1, sizeof *grant);
    if (grant) {
        grant->admission = admission;
        return grant;
    }
    atomic_fetch_sub(&admission->grants, 1);
    refuse_capacity(refusal, MOSA_ACCOUNT_PROJECT, "max_grants", admission->max_grants);
    return NULL;
}

static void destroy_grant(mosa_grant *grant) {
    for (int kind = 0; kind < MOSA_ACCOUNT_KINDS; kind++) mosa_account_unref(grant->accounts[kind]);
    atomic_fetch_sub(&grant->admission->grants, 1);
    free(grant);
}

static bool find_accounts(mosa_grant *grant, mosa_refusal *refusal) {
    mosa_admission *admission = grant->admission;
    for (int kind = 0; kind < MOSA_ACCOUNT_KINDS; kind++) {
        const char *id = grant->ask.ids[kind];
        if (!id || !*id) continue;
        bool fits = strlen(id) <= MOSA_ACCOUNT_ID_MAX;
        mosa_account_kind which = (mosa_account_kind)kind;
        if (fits)
            grant->accounts[kind] = mosa_account_table_find(admission->accounts, which, id, true, grant->since_ms);
        if (grant->accounts[kind]) continue;
        refuse_capacity(refusal, which, "max_accounts", mosa_account_table_count(admission->accounts));
        return false;
    }
    return true;
}

static void lock_all(mosa_grant *grant) {
    for (int kind = 0; kind < MOSA_ACCOUNT_KINDS; kind++)
        if (grant->accounts[kind]) pthread_mutex_lock(&grant->accounts[kind]->mutex);
}

static void unlock_all(mosa_grant *grant) {
    for (int kind = MOSA_ACCOUNT_KINDS - 1; kind >= 0; kind--)
        if (grant->accounts[kind]) pthread_mutex_unlock(&grant->accounts[kind]->mutex);
}

// Under all locks.
static bool take_all(mosa_grant *grant, mosa_refusal *refusal, mosa_rate_states *states) {
    bool fits = true;
    for (int kind = 0; kind < MOSA_ACCOUNT_KINDS; kind++) {
        mosa_account *account = grant->accounts[kind];
        if (!account) continue;
        mosa_account_prepare(account, grant->ask.limits[kind], grant->since_ms);
        fits &= mosa_account_check(account, &grant->ask, !fits, refusal);
    }
    for (int kind = 0; kind < MOSA_ACCOUNT_KINDS; kind++) {
        mosa_account *account = grant->accounts[kind];
        if (!account) continue;
        if (fits) mosa_account_take(account, &grant->ask);
        mosa_account_narrow(account, states);
    }
    return fits;
}

static int64_t sane(int64_t amount, int64_t most) {
    return amount < 0 ? 0 : amount > most ? most : amount;
}

bool mosa_admission_reserve(mosa_admission *admission, const mosa_admission_ask *ask, int64_t now_ms, mosa_grant **out,
                            mosa_refusal *refusal, mosa_rate_states *states) {
    mosa_rate_states ignored;
    if (!states) states = &ignored;
    *states = (mosa_rate_states){0};
    mosa_grant *grant = create_grant(admission, refusal);
    if (!grant) return false;
    grant->ask = *ask;
    grant->ask.requests = sane(ask->requests, INT64_MAX);
    grant->ask.tokens = sane(ask->tokens, INT64_MAX);
    grant->ask.cost = sane(ask->cost, MOSA_COST_MAX);
    grant->since_ms = now_ms;
    bool fits = find_accounts(grant, refusal);
    if (fits) {
        lock_all(grant);
        fits = take_all(grant, refusal, states);
        unlock_all(grant);
    }
    if (!fits) {
        destroy_grant(grant);
        return false;
    }
    *out = grant;
    return true;
}

void mosa_grant_settle(mosa_grant *grant, int64_t tokens, int64_t cost, int64_t now_ms) {
    tokens = sane(tokens, INT64_MAX);
    cost = sane(cost, MOSA_COST_MAX);
    for (int kind = 0; kind < MOSA_ACCOUNT_KINDS; kind++) {
        mosa_account *account = grant->accounts[kind];
        if (!account) continue;
        pthread_mutex_lock(&account->mutex);
        mosa_account_settle(account, &grant->ask, tokens, cost, now_ms - grant->since_ms, now_ms);
        pthread_mutex_unlock(&account->mutex);
    }
    destroy_grant(grant);
}

mosa_status mosa_admission_set_spent(mosa_admission *admission, mosa_account_kind kind, const char *id, int64_t spent,
                                     mosa_error *err) {
    // Time 0: an account that is new here gets its limits, and full buckets, when its first request comes.
    mosa_account *account =
        strlen(id) <= MOSA_ACCOUNT_ID_MAX ? mosa_account_table_find(admission->accounts, kind, id, true, 0) : NULL;
    if (!account) return mosa_fail(err, MOSA_EBUSY, "no room to remember %s %s", kind_names[kind], id);
    pthread_mutex_lock(&account->mutex);
    account->spent = sane(spent, MOSA_SPEND_MAX);
    pthread_mutex_unlock(&account->mutex);
    mosa_account_unref(account);
    return MOSA_OK;
}

bool mosa_admission_look(mosa_admission *admission, mosa_account_kind kind, const char *id, int64_t now_ms,
                         mosa_account_state *out) {
    mosa_account *account = mosa_account_table_find(admission->accounts, kind, id, false, now_ms);
    if (!account) return false;
    pthread_mutex_lock(&account->mutex);
    for (int i = 0; i < ACCOUNT_BUCKETS; i++) mosa_bucket_refill(&account->buckets[i], now_ms);
    *out = (mosa_account_state){
        .requests_left_minute = mosa_bucket_left(&account->buckets[REQUESTS_MINUTE]),
        .tokens_left_minute = mosa_bucket_left(&account->buckets[TOKENS_MINUTE]),
        .requests_left_day = mosa_bucket_left(&account->buckets[REQUESTS_DAY]),
        .tokens_left_day = mosa_bucket_left(&account->buckets[TOKENS_DAY]),
        .running = account->running,
        .spent = account->spent,
        .reserved = account->reserved,
    };
    pthread_mutex_unlock(&account->mutex);
    mosa_account_unref(account);
    return true;
}

int mosa_admission_accounts(mosa_admission *admission) {
    return mosa_account_table_count(admission->accounts);
}

void mosa_refusal_format(const mosa_refusal *refusal, char *out, size_t size) {
    const char *kind = kind_names[refusal->kind];
    long long limit = refusal->limit, left = refusal->left, asked = refusal->asked;
    char when[MOSA_DURATION_TEXT];
    mosa_duration_format(refusal->retry_ms, when);
    switch (refusal->reason) {
    case MOSA_REFUSED_RATE:
        snprintf(out, size,
                 "Rate limit reached for %s %s: %s is %lld, %lld left, %lld requested. Please try again in %s.", kind,
                 refusal->id, refusal->limit_name, limit, left, asked, when);
        break;
    case MOSA_REFUSED_CONCURRENT:
        snprintf(out, size, "Too many requests at the same time for %s %s: %s is %lld. Please try again in about %s.",
                 kind, refusal->id, refusal->limit_name, limit, when);
        break;
    case MOSA_REFUSED_TOO_LARGE:
        snprintf(out, size,
                 "Request too large for %s %s: %s is %lld, %lld requested. Shorten the prompt or the longest output.",
                 kind, refusal->id, refusal->limit_name, limit, asked);
        break;
    case MOSA_REFUSED_BUDGET:
        snprintf(out, size, "The budget of %s %s is used up: %s is %.6f, %.6f left, up to %.6f requested.", kind,
                 refusal->id, refusal->limit_name, (double)limit / 1e6, (double)left / 1e6, (double)asked / 1e6);
        break;
    case MOSA_REFUSED_CAPACITY:
        snprintf(out, size, "The server cannot keep account of more requests: %s is %lld. Please try again in %s.",
                 refusal->limit_name, limit, when);
        break;
    }
}
