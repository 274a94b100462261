// One account of admission: the buckets, running requests and money of a key, a project or a model. Private to
// admission.c, and to account_table.c, which finds and forgets accounts.
//
// `mutex` guards everything but id, kind, next and refs. References are taken under the shard's lock only, and dropped
// anywhere; an account without references has no lock held and may be freed by whoever holds its shard's lock.
#ifndef MOSA_PLATFORM_LEDGER_ACCOUNT_H
#define MOSA_PLATFORM_LEDGER_ACCOUNT_H

#include "platform/ledger/admission.h"

#include <pthread.h>
#include <stdatomic.h>

typedef enum account_bucket {
    REQUESTS_MINUTE,
    TOKENS_MINUTE,
    REQUESTS_DAY,
    TOKENS_DAY,
    ACCOUNT_BUCKETS
} account_bucket;

typedef struct mosa_account {
    struct mosa_account *next; // in its shard's chain
    uint64_t hash;
    mosa_account_kind kind;
    atomic_int refs;

    pthread_mutex_t mutex;
    mosa_bucket buckets[ACCOUNT_BUCKETS];
    int64_t max_running, max_spend; // 0 = no limit
    int64_t running, spent, reserved;
    int64_t mean_ms; // how long its requests run, exponentially forgotten; 0 = none has ended

    char id[]; // NUL-terminated
} mosa_account;

// --- account.c: under the account's lock ----------------------------------------------------------------------------

mosa_account *mosa_account_create(mosa_account_kind kind, const char *id, uint64_t hash, int64_t now_ms);
void mosa_account_destroy(mosa_account *account);
// Brings buckets to now and sets the limits in force; NULL = none.
void mosa_account_prepare(mosa_account *account, const mosa_account_limits *limits, int64_t now_ms);
// Whether all limits leave room. If not, and if this refusal keeps the request away for longer than *refusal does (when
// `refused` says that there is one), fills it.
bool mosa_account_check(const mosa_account *account, const mosa_admission_ask *ask, bool refused,
                        mosa_refusal *refusal);
void mosa_account_take(mosa_account *account, const mosa_admission_ask *ask);
void mosa_account_settle(mosa_account *account, const mosa_admission_ask *reserved, int64_t tokens, int64_t cost,
                         int64_t ran_ms, int64_t now_ms);
// Replaces *states where this account has a smaller share left.
void mosa_account_narrow(const mosa_account *account, mosa_rate_states *states);
bool mosa_account_is_blank(mosa_account *account, int64_t now_ms); // forgetting it would change nothing

// --- account_table.c ------------------------------------------------------------------------------------------------

typedef struct account_table account_table;

account_table *mosa_account_table_create(int max_accounts);
void mosa_account_table_destroy(account_table *table);
// The account, with a reference; made if it is new (when `make`). NULL: no such account, no room, or no memory.
mosa_account *mosa_account_table_find(account_table *table, mosa_account_kind kind, const char *id, bool make,
                                      int64_t now_ms);
void mosa_account_unref(mosa_account *account); // NULL-safe
int mosa_account_table_count(account_table *table);

#endif
