// Finds accounts by kind and id: chains in shards, each under its own lock. When there are max_accounts, those that
// nothing would be lost with are forgotten; only after that are new ones refused.
#include "base/str.h"
#include "platform/ledger/account.h"

#include <stdlib.h>
#include <string.h>

enum { SHARDS = 64, CHAINS = 256, SWEEP_EVERY_MS = 1000 };

typedef struct account_shard {
    pthread_mutex_t mutex;
    mosa_account *chains[CHAINS];
} account_shard;

struct account_table {
    int max_accounts;
    atomic_int count;
    atomic_llong swept_ms; // sweeps go through everything: not for each refused account again
    account_shard shards[SHARDS];
};

account_table *mosa_account_table_create(int max_accounts) {
    account_table *table = calloc(1, sizeof *table);
    if (!table) return NULL;
    table->max_accounts = max_accounts;
    atomic_store(&table->swept_ms, INT64_MIN / 2);
    for (int i = 0; i < SHARDS; i++) pthread_mutex_init(&table->shards[i].mutex, NULL);
    return table;
}

void mosa_account_table_destroy(account_table *table) {
    if (!table) return;
    for (int i = 0; i < SHARDS; i++) {
        for (int j = 0; j < CHAINS; j++) {
            for (mosa_account *next, *account = table->shards[i].chains[j]; account; account = next) {
                next = account->next;
                mosa_account_destroy(account);
            }
        }
        pthread_mutex_destroy(&table->shards[i].mutex);
    }
    free(table);
}

static void sweep_shard(account_table *table, account_shard *shard, int64_t now_ms) {
    pthread_mutex_lock(&shard->mutex);
    for (int i = 0; i < CHAINS; i++) {
        mosa_account **at = &shard->chains[i];
        while (*at) {
            mosa_account *account = *at;
            if (atomic_load_explicit(&account->refs, memory_order_acquire) > 0 ||
                !mosa_account_is_blank(account, now_ms)) {
                at = &account->next;
                continue;
            }
            *at = account->next;
            mosa_account_destroy(account);
            atomic_fetch_sub(&table->count, 1);
        }
    }
    pthread_mutex_unlock(&shard->mutex);
}

// Takes a place for one account; false when there is none.
static bool take_place(account_table *table, int64_t now_ms) {
    if (atomic_fetch_add(&table->count, 1) < table->max_accounts) return true;
    atomic_fetch_sub(&table->count, 1);
    long long swept_ms = atomic_load(&table->swept_ms);
    if (now_ms - swept_ms < SWEEP_EVERY_MS || !atomic_compare_exchange_strong(&table->swept_ms, &swept_ms, now_ms))
        return false;
    for (int i = 0; i < SHARDS; i++) sweep_shard(table, &table->shards[i], now_ms);
    if (atomic_fetch_add(&table->count, 1) < table->max_accounts) return true;
    atomic_fetch_sub(&table->count, 1);
    return false;
}

static mosa_account *find_locked(account_shard *shard, uint64_t hash, mosa_account_kind kind, const char *id) {
    mosa_account *account = shard->chains[(hash >> 8) % CHAINS];
    while (account && !(account->hash == hash && account->kind == kind && strcmp(account->id, id) == 0))
        account = account->next;
    if (account) atomic_fetch_add_explicit(&account->refs, 1, memory_order_relaxed);
    return account;
}

mosa_account *mosa_account_table_find(account_table *table, mosa_account_kind kind, const char *id, bool make,
                                      int64_t now_ms) {
    uint64_t hash = mosa_hash_bytes(id, strlen(id), kind);
    account_shard *shard = &table->shards[hash % SHARDS];
    pthread_mutex_lock(&shard->mutex);
    mosa_account *account = find_locked(shard, hash, kind, id);
    pthread_mutex_unlock(&shard->mutex);
    if (account || !make || !take_place(table, now_ms)) return account;

    mosa_account *fresh = mosa_account_create(kind, id, hash, now_ms);
    pthread_mutex_lock(&shard->mutex);
    account = find_locked(shard, hash, kind, id); // somebody may have been faster
    if (!account && fresh) {
        mosa_account **chain = &shard->chains[(hash >> 8) % CHAINS];
        fresh->next = *chain;
        *chain = account = fresh;
        atomic_fetch_add_explicit(&account->refs, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&shard->mutex);
    if (account != fresh || !fresh) {
        mosa_account_destroy(fresh);
        atomic_fetch_sub(&table->count, 1);
    }
    return account;
}

void mosa_account_unref(mosa_account *account) {
    if (account) atomic_fetch_sub_explicit(&account->refs, 1, memory_order_release);
}

int mosa_account_table_count(account_table *table) {
    return atomic_load(&table->count);
}
