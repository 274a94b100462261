// Token buckets: whole numbers only, so that no rounding is lost or won over any number of operations.
#include "platform/ledger/bucket.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static int64_t full(const mosa_bucket *bucket) {
    return bucket->limit * bucket->period_ms;
}

void mosa_bucket_init(mosa_bucket *bucket, int64_t limit, int64_t period_ms, int64_t now_ms) {
    assert(limit >= 0 && limit <= MOSA_LIMIT_MAX && period_ms > 0 && period_ms <= MOSA_BUCKET_DAY_MS);
    *bucket = (mosa_bucket){.limit = limit, .period_ms = period_ms, .level = limit * period_ms, .at_ms = now_ms};
}

void mosa_bucket_resize(mosa_bucket *bucket, int64_t limit, int64_t now_ms) {
    assert(limit >= 0 && limit <= MOSA_LIMIT_MAX);
    if (limit == bucket->limit) return;
    mosa_bucket_refill(bucket, now_ms);
    int64_t taken = bucket->limit ? full(bucket) - bucket->level : 0;
    mosa_bucket_init(bucket, limit, bucket->period_ms, now_ms);
    if (limit) bucket->level = taken > 2 * full(bucket) ? -full(bucket) : full(bucket) - taken;
}

void mosa_bucket_refill(mosa_bucket *bucket, int64_t now_ms) {
    if (!bucket->limit || now_ms <= bucket->at_ms) return;
    int64_t elapsed_ms = now_ms - bucket->at_ms, missing = full(bucket) - bucket->level;
    bucket->at_ms = now_ms;
    // Twice the period fills any debt, and keeps the product small.
    bool fills = elapsed_ms >= 2 * bucket->period_ms || elapsed_ms * bucket->limit >= missing;
    bucket->level = fills ? full(bucket) : bucket->level + elapsed_ms * bucket->limit;
}

int64_t mosa_bucket_wait_ms(const mosa_bucket *bucket, int64_t amount) {
    if (!bucket->limit || amount <= 0) return 0;
    if (amount > bucket->limit) return -1;
    int64_t missing = amount * bucket->period_ms - bucket->level;
    return missing <= 0 ? 0 : (missing - 1) / bucket->limit + 1;
}

void mosa_bucket_take(mosa_bucket *bucket, int64_t amount) {
    if (!bucket->limit || amount <= 0) return;
    assert(amount <= bucket->limit && amount * bucket->period_ms <= bucket->level);
    bucket->level -= amount * bucket->period_ms;
}

void mosa_bucket_give_back(mosa_bucket *bucket, int64_t amount) {
    if (!bucket->limit || amount <= 0) return;
    bool fills = amount >= 2 * bucket->limit || amount * bucket->period_ms >= full(bucket) - bucket->level;
    bucket->level = fills ? full(bucket) : bucket->level + amount * bucket->period_ms;
}

void mosa_bucket_charge(mosa_bucket *bucket, int64_t amount) {
    if (!bucket->limit || amount <= 0) return;
    bool sinks = amount >= 2 * bucket->limit || amount * bucket->period_ms >= bucket->level + full(bucket);
    bucket->level = sinks ? -full(bucket) : bucket->level - amount * bucket->period_ms;
}

int64_t mosa_bucket_left(const mosa_bucket *bucket) {
    return bucket->limit && bucket->level > 0 ? bucket->level / bucket->period_ms : 0;
}

int64_t mosa_bucket_full_ms(const mosa_bucket *bucket) {
    if (!bucket->limit) return 0;
    int64_t missing = full(bucket) - bucket->level;
    return missing ? (missing - 1) / bucket->limit + 1 : 0;
}

const char *mosa_duration_format(int64_t ms, char out[MOSA_DURATION_TEXT]) {
    if (ms < 0) ms = 0;
    int64_t hours = ms / 3600000, minutes = ms / 60000 % 60;
    if (ms == 0) {
        snprintf(out, MOSA_DURATION_TEXT, "0s");
    } else if (ms < 1000) {
        snprintf(out, MOSA_DURATION_TEXT, "%dms", (int)ms);
    } else {
        char seconds[24];
        int length = snprintf(seconds, sizeof seconds, "%d.%03d", (int)(ms / 1000 % 60), (int)(ms % 1000));
        while (seconds[length - 1] == '0') seconds[--length] = 0; // ends at the point at the latest
        if (seconds[length - 1] == '.') seconds[--length] = 0;
        if (hours)
            snprintf(out, MOSA_DURATION_TEXT, "%lldh%dm%ss", (long long)hours, (int)minutes, seconds);
        else if (minutes)
            snprintf(out, MOSA_DURATION_TEXT, "%dm%ss", (int)minutes, seconds);
        else
            snprintf(out, MOSA_DURATION_TEXT, "%ss", seconds);
    }
    return out;
}
