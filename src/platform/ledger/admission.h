// Admission: whether a request may run now, by the limits of its key, its project and its model.
//
// A request is reserved whole or not at all, on what it can cost at most (prompt tokens, which are exact, and its
// longest output), and settled once on what it did cost. Limits hold under any concurrency: every account (one key,
// project or model) has one lock, a reservation takes the locks of its accounts in one order (project, key, model),
// checks all limits, then takes from all. Nothing waits: the locks guard arithmetic only. Memory is bounded by
// max_accounts and max_grants.
//
// What "holds" means, for each account: since any moment, requests (tokens) reserved less those given back never
// exceed what was left then plus limit * elapsed / period; requests running never exceed the limit of those; spent
// plus reserved money never exceeds the budget. Requests count when they are admitted and are never given back; tokens
// that were reserved and not generated are.
//
// Nothing here is durable. After a restart buckets begin full and nothing runs; budgets begin with what the owner tells
// (mosa_admission_set_spent). Several gateways are not coordinated here: each must be given its share as the limit.
// Thread: any, also at the same time. Time is milliseconds of the monotonic clock, a parameter for the tests' sake.
#ifndef MOSA_PLATFORM_LEDGER_ADMISSION_H
#define MOSA_PLATFORM_LEDGER_ADMISSION_H

#include "base/status.h"
#include "platform/ledger/bucket.h"

// Millionths of the currency. More counts as that; so no sum of all grants overflows.
#define MOSA_COST_MAX  INT64_C(10000000000000)
#define MOSA_SPEND_MAX INT64_C(4000000000000000000)

typedef struct mosa_admission mosa_admission;
typedef struct mosa_grant mosa_grant;

// 0 = no limit, each; at most MOSA_LIMIT_MAX (more counts as that). The names are those of configuration and of
// refusals.
typedef struct mosa_account_limits {
    int64_t max_requests_per_1_minute;
    int64_t max_tokens_per_1_minute;
    int64_t max_requests_per_1_day;
    int64_t max_tokens_per_1_day;
    int64_t max_concurrent_requests;
    int64_t max_spend; // in millionths of the currency, since mosa_admission_set_spent said 0
} mosa_account_limits;

typedef enum mosa_account_kind {
    MOSA_ACCOUNT_PROJECT,
    MOSA_ACCOUNT_KEY,
    MOSA_ACCOUNT_MODEL,
    MOSA_ACCOUNT_KINDS
} mosa_account_kind;

const char *mosa_account_kind_name(mosa_account_kind kind); // "project"

typedef struct mosa_admission_ask {
    const char *ids[MOSA_ACCOUNT_KINDS]; // NULL or "" = no such account; at most MOSA_ACCOUNT_ID_MAX bytes
    const mosa_account_limits *limits[MOSA_ACCOUNT_KINDS]; // now in force; NULL = none
    int64_t requests;                                      // 1 of every HTTP request
    int64_t tokens;                                        // prompt + longest output, of all choices
    int64_t cost;                                          // of that at most, millionths of the currency
    int64_t queue_ms; // how long the engine would let it wait; the least Retry-After
} mosa_admission_ask;

enum { MOSA_ACCOUNT_ID_MAX = 127 };

typedef enum mosa_refusal_reason {
    MOSA_REFUSED_RATE,       // comes back after retry_ms
    MOSA_REFUSED_CONCURRENT, // when a running one ends; retry_ms is an estimate
    MOSA_REFUSED_TOO_LARGE,  // more than the limit itself: never
    MOSA_REFUSED_BUDGET,     // needs a person: never
    MOSA_REFUSED_CAPACITY,   // max_accounts or max_grants
} mosa_refusal_reason;

typedef struct mosa_refusal {
    mosa_refusal_reason reason;
    mosa_account_kind kind; // whose limit
    char id[MOSA_ACCOUNT_ID_MAX + 1];
    const char *limit_name; // "max_tokens_per_1_minute", a constant
    int64_t limit, left, asked;
    int64_t retry_ms; // when the same request would be admitted if no other came; -1 = never
} mosa_refusal;

// The account with the smallest share left, of the limits per minute. limit 0 = there is none.
typedef struct mosa_rate_state {
    int64_t limit, remaining, reset_ms; // reset: until the bucket is full
} mosa_rate_state;

typedef struct mosa_rate_states {
    mosa_rate_state requests, tokens;
} mosa_rate_states;

typedef struct mosa_admission_options {
    int max_accounts; // 0 = 65536
    int max_grants;   // at the same time; 0 = 65536
} mosa_admission_options;

mosa_status mosa_admission_create(const mosa_admission_options *options, mosa_admission **out,
                                  mosa_error *err) MOSA_MUST_USE;
void mosa_admission_destroy(mosa_admission *admission); // no grant may be left; NULL-safe

// True: *grant is the caller's until mosa_grant_settle. False: *refusal says why. *states (may be NULL) is filled in
// both cases, as it is after the reservation.
bool mosa_admission_reserve(mosa_admission *admission, const mosa_admission_ask *ask, int64_t now_ms,
                            mosa_grant **grant, mosa_refusal *refusal, mosa_rate_states *states) MOSA_MUST_USE;
// What it came to; consumes the grant. More than was reserved is charged too.
void mosa_grant_settle(mosa_grant *grant, int64_t tokens, int64_t cost, int64_t now_ms);

// Money that an account has spent already, from the ledger, and a change of it from elsewhere (a refund, another
// gateway). MOSA_EBUSY when there are max_accounts.
mosa_status mosa_admission_set_spent(mosa_admission *admission, mosa_account_kind kind, const char *id, int64_t spent,
                                     mosa_error *err) MOSA_MUST_USE;

// What an account has now, for people who ask why. False when it has no traffic to remember.
typedef struct mosa_account_state {
    int64_t requests_left_minute, tokens_left_minute, requests_left_day, tokens_left_day; // 0 where there is no limit
    int64_t running, spent, reserved;                                                     // money: millionths
} mosa_account_state;
bool mosa_admission_look(mosa_admission *admission, mosa_account_kind kind, const char *id, int64_t now_ms,
                         mosa_account_state *out);
int mosa_admission_accounts(mosa_admission *admission); // remembered now

// One sentence: which limit of whom, what was asked, when it comes back. At most `size` bytes with the NUL.
void mosa_refusal_format(const mosa_refusal *refusal, char *out, size_t size);

#endif
