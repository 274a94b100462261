// A token bucket in whole numbers, and durations as Go prints them.
//
// A bucket of limit N per period P begins full with N, and gains N per P until it is full again. Its level is kept in
// units of 1/P (P in milliseconds), so that refilling is exact: `level += elapsed_ms * N`, full is N * P. Whoever takes
// from it through mosa_bucket_take can never bring it below zero; what is given back is capped at full. So, since any
// moment: taken - given back <= level then + N * elapsed / P.
// Not thread-safe: an account's lock guards its buckets (account.h). Time is milliseconds of one monotonic clock.
#ifndef MOSA_PLATFORM_LEDGER_BUCKET_H
#define MOSA_PLATFORM_LEDGER_BUCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOSA_LIMIT_MAX        INT64_C(50000000000) // N; twice N * P of a day stays below INT64_MAX
#define MOSA_BUCKET_MINUTE_MS INT64_C(60000)
#define MOSA_BUCKET_DAY_MS    INT64_C(86400000)

typedef struct mosa_bucket {
    int64_t limit;     // N, 1..MOSA_LIMIT_MAX; 0 = no limit, everything below does nothing
    int64_t period_ms; // P
    int64_t level;     // 0..N*P; below zero only by mosa_bucket_charge
    int64_t at_ms;     // when `level` was true
} mosa_bucket;

void mosa_bucket_init(mosa_bucket *bucket, int64_t limit, int64_t period_ms, int64_t now_ms); // full
// Another limit: what had been taken stays taken.
void mosa_bucket_resize(mosa_bucket *bucket, int64_t limit, int64_t now_ms);
void mosa_bucket_refill(mosa_bucket *bucket, int64_t now_ms); // a clock that goes back changes nothing

// Milliseconds until `amount` can be taken, 0 = now, -1 = never (amount > N). After a refill.
int64_t mosa_bucket_wait_ms(const mosa_bucket *bucket, int64_t amount);
// Takes what mosa_bucket_wait_ms said is there.
void mosa_bucket_take(mosa_bucket *bucket, int64_t amount);
void mosa_bucket_give_back(mosa_bucket *bucket, int64_t amount);
// Takes without asking, for what has been used already; the debt ends at -N.
void mosa_bucket_charge(mosa_bucket *bucket, int64_t amount);

int64_t mosa_bucket_left(const mosa_bucket *bucket);    // whole ones, >= 0
int64_t mosa_bucket_full_ms(const mosa_bucket *bucket); // until it is full, rounded up

// As Go's Duration.String at millisecond precision: "0s", "250ms", "1.5s", "6m0s", "1h0m0.001s". Returns `out`.
enum { MOSA_DURATION_TEXT = 32 };
const char *mosa_duration_format(int64_t ms, char out[MOSA_DURATION_TEXT]);

#endif
