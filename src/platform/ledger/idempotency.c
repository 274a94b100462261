// A hash table of entries under one lock; finished ones are also a list, oldest first, to forget from.
#include "platform/ledger/idempotency.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct kept_answer {
    mosa_idempotency_answer answer; // first: the two are the same pointer
    atomic_int refs;
    char body[];
} kept_answer;

// An entry is its own ticket while it runs.
struct mosa_idempotency_ticket {
    mosa_idempotency *table;
    mosa_idempotency_ticket *next;          // in its chain
    mosa_idempotency_ticket *older, *newer; // in the list of finished ones
    uint64_t hash, fingerprint;
    bool done;
    int64_t done_ms;
    kept_answer *answer; // NULL while it runs, and when it was too long
    size_t bytes;        // that this entry keeps
    size_t name_len;
    char name[]; // scope, NUL, key
};

struct mosa_idempotency {
    mosa_idempotency_options options;
    pthread_mutex_t mutex; // guards everything below
    mosa_idempotency_ticket *oldest, *newest;
    int entries, running;
    size_t bytes;
    size_t n_chains; // a power of two
    mosa_idempotency_ticket *chains[];
};

mosa_status mosa_idempotency_create(const mosa_idempotency_options *options, mosa_idempotency **out, mosa_error *err) {
    mosa_idempotency_options o = *options;
    if (o.max_entries <= 0) o.max_entries = 65536;
    if (o.max_answer_bytes == 0) o.max_answer_bytes = (size_t)256 << 10;
    if (o.max_bytes == 0) o.max_bytes = (size_t)64 << 20;
    if (o.keep_ms <= 0) o.keep_ms = INT64_C(86400000);
    size_t n_chains = 16;
    while (n_chains < (size_t)o.max_entries) n_chains *= 2;
    mosa_idempotency *table = calloc(1, sizeof *table + n_chains * sizeof(mosa_idempotency_ticket *));
    if (!table) return mosa_fail(err, MOSA_ENOMEM, "idempotency keys: out of memory");
    table->options = o;
    table->n_chains = n_chains;
    pthread_mutex_init(&table->mutex, NULL);
    *out = table;
    return MOSA_OK;
}

void mosa_idempotency_release(const mosa_idempotency_answer *answer) {
    if (!answer) return;
    kept_answer *kept = (kept_answer *)(uintptr_t)answer;
    if (atomic_fetch_sub_explicit(&kept->refs, 1, memory_order_acq_rel) == 1) free(kept);
}

static void release_kept(kept_answer *kept) {
    if (kept) mosa_idempotency_release(&kept->answer);
}

void mosa_idempotency_destroy(mosa_idempotency *table) {
    if (!table) return;
    for (size_t i = 0; i < table->n_chains; i++) {
        for (mosa_idempotency_ticket *next, *entry = table->chains[i]; entry; entry = next) {
            next = entry->next;
            release_kept(entry->answer);
            free(entry);
        }
    }
    pthread_mutex_destroy(&table->mutex);
    free(table);
}

// --- under the lock -------------------------------------------------------------------------------------------------

static mosa_idempotency_ticket **chain_of(mosa_idempotency *table, uint64_t hash) {
    return &table->chains[hash & (table->n_chains - 1)];
}

static void unlist(mosa_idempotency *table, mosa_idempotency_ticket *entry) {
    *(entry->older ? &entry->older->newer : &table->oldest) = entry->newer;
    *(entry->newer ? &entry->newer->older : &table->newest) = entry->older;
}

static void enlist(mosa_idempotency *table, mosa_idempotency_ticket *entry) {
    entry->older = table->newest;
    entry->newer = NULL;
    *(table->newest ? &table->newest->newer : &table->oldest) = entry;
    table->newest = entry;
}

static void forget(mosa_idempotency *table, mosa_idempotency_ticket *entry) {
    mosa_idempotency_ticket **at = chain_of(table, entry->hash);
    while (*at != entry) at = &(*at)->next;
    *at = entry->next;
    if (entry->done)
        unlist(table, entry);
    else
        table->running--;
    table->entries--;
    table->bytes -= entry->bytes;
    release_kept(entry->answer);
    free(entry);
}

static void forget_old(mosa_idempotency *table, int64_t now_ms) {
    while (table->oldest && (now_ms - table->oldest->done_ms >= table->options.keep_ms ||
                             table->entries > table->options.max_entries || table->bytes > table->options.max_bytes))
        forget(table, table->oldest);
}

static mosa_idempotency_ticket *find(mosa_idempotency *table, uint64_t hash, mosa_slice name) {
    mosa_idempotency_ticket *entry = *chain_of(table, hash);
    while (entry && !(entry->hash == hash && mosa_slice_eq((mosa_slice){entry->name, entry->name_len}, name)))
        entry = entry->next;
    return entry;
}

// Takes `fresh` over when it is the first of its name.
static mosa_idempotency_verdict begin(mosa_idempotency *table, mosa_idempotency_ticket *fresh, int64_t now_ms,
                                      const mosa_idempotency_answer **answer) {
    forget_old(table, now_ms);
    mosa_idempotency_ticket *entry = find(table, fresh->hash, (mosa_slice){fresh->name, fresh->name_len});
    if (!entry) {
        // The new one counts too; what is done makes room for it.
        table->entries++;
        table->bytes += fresh->bytes;
        forget_old(table, now_ms);
        if (table->entries > table->options.max_entries || table->bytes > table->options.max_bytes) {
            table->entries--;
            table->bytes -= fresh->bytes;
            return MOSA_IDEMPOTENCY_FULL;
        }
        mosa_idempotency_ticket **chain = chain_of(table, fresh->hash);
        fresh->next = *chain;
        *chain = fresh;
        table->running++;
        return MOSA_IDEMPOTENCY_NEW;
    }
    if (entry->fingerprint != fresh->fingerprint) return MOSA_IDEMPOTENCY_MISMATCH;
    if (!entry->done) return MOSA_IDEMPOTENCY_RUNNING;
    if (!entry->answer) return MOSA_IDEMPOTENCY_TOO_LONG;
    atomic_fetch_add_explicit(&entry->answer->refs, 1, memory_order_relaxed);
    *answer = &entry->answer->answer;
    return MOSA_IDEMPOTENCY_REPLAY;
}

// --- public ---------------------------------------------------------------------------------------------------------

mosa_idempotency_verdict mosa_idempotency_begin(mosa_idempotency *table, const char *scope, const char *key,
                                                uint64_t fingerprint, int64_t now_ms, mosa_idempotency_ticket **ticket,
                                                const mosa_idempotency_answer **answer) {
    size_t scope_len = strlen(scope) + 1, key_len = strlen(key); // the NUL between them is part of the name
    mosa_idempotency_ticket *fresh = calloc(1, sizeof *fresh + scope_len + key_len);
    if (!fresh) return MOSA_IDEMPOTENCY_FULL;
    fresh->table = table;
    fresh->fingerprint = fingerprint;
    fresh->name_len = scope_len + key_len;
    fresh->bytes = sizeof *fresh + fresh->name_len;
    memcpy(fresh->name, scope, scope_len);
    memcpy(fresh->name + scope_len, key, key_len);
    fresh->hash = mosa_hash_bytes(fresh->name, fresh->name_len, 0);

    pthread_mutex_lock(&table->mutex);
    mosa_idempotency_verdict verdict = begin(table, fresh, now_ms, answer);
    pthread_mutex_unlock(&table->mutex);
    if (verdict == MOSA_IDEMPOTENCY_NEW)
        *ticket = fresh;
    else
        free(fresh);
    return verdict;
}

// NULL when it is too long, or memory is short: then it cannot be replayed, which is said.
static kept_answer *keep(const mosa_idempotency *table, int http, bool stream, mosa_slice body) {
    if (body.len > table->options.max_answer_bytes) return NULL;
    kept_answer *kept = malloc(sizeof *kept + body.len);
    if (!kept) return NULL;
    atomic_init(&kept->refs, 1);
    if (body.len) memcpy(kept->body, body.data, body.len);
    kept->answer = (mosa_idempotency_answer){.http = http, .stream = stream, .body = {kept->body, body.len}};
    return kept;
}

void mosa_idempotency_finish(mosa_idempotency_ticket *ticket, int http, bool stream, mosa_slice body, int64_t now_ms) {
    mosa_idempotency *table = ticket->table;
    kept_answer *kept = keep(table, http, stream, body);
    size_t more = kept ? sizeof *kept + body.len : 0;
    pthread_mutex_lock(&table->mutex);
    ticket->done = true;
    ticket->done_ms = now_ms;
    ticket->answer = kept;
    ticket->bytes += more;
    table->bytes += more;
    table->running--;
    enlist(table, ticket);
    forget_old(table, now_ms);
    pthread_mutex_unlock(&table->mutex);
}

void mosa_idempotency_abandon(mosa_idempotency_ticket *ticket) {
    mosa_idempotency *table = ticket->table;
    pthread_mutex_lock(&table->mutex);
    forget(table, ticket);
    pthread_mutex_unlock(&table->mutex);
}

void mosa_idempotency_get_stats(mosa_idempotency *table, mosa_idempotency_stats *out) {
    pthread_mutex_lock(&table->mutex);
    *out = (mosa_idempotency_stats){.entries = table->entries, .running = table->running, .bytes = table->bytes};
    pthread_mutex_unlock(&table->mutex);
}
