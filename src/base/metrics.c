// Series in one open-addressing table per metric, found without a lock.
//
// A slot goes from NULL to a series once and never changes again, so a reader that finds a series may use it as long as
// the registry lives, and a reader that finds NULL knows that the series was not there when it looked. Insertions take
// `mutex` and look again. Tables are at most half full: they never grow.
#include "base/metrics.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { SERIES_DEFAULT = 256, SERIES_MAX = 1 << 20 };

typedef struct series {
    uint64_t hash;
    char *labels;               // (n_labels) NUL-terminated values one after another; owned
    _Atomic uint64_t value;     // bits of a double: the value, or a histogram's sum
    _Atomic uint64_t buckets[]; // histograms: (n_buckets + 1), not cumulative; the last is +Inf
} series;

typedef struct family {
    const mosa_metric *metric;
    int n_labels, n_series;
    uint32_t mask; // slots - 1
    _Atomic(series *) *slots;
    series *other; // takes what does not fit; the only series of a metric without labels
} family;

struct mosa_metrics {
    pthread_mutex_t mutex; // guards insertions: n_series and the filling of slots
    int n_families, series_max;
    family *families;
};

// --- creation -----------------------------------------------------------------------------------------------------

static bool name_ok(const char *name) {
    if (!name || !*name) return false;
    for (const char *p = name; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || *p == '_' || (p > name && *p >= '0' && *p <= '9'))) return false;
    return true;
}

static mosa_status check_metric(const mosa_metric *metric, mosa_error *err) {
    if (!name_ok(metric->name)) return mosa_fail(err, MOSA_EINVALID, "metric name must be [a-z_][a-z0-9_]*");
    if (!metric->help) return mosa_fail(err, MOSA_EINVALID, "metric %s has no help", metric->name);
    for (int i = 0; i < MOSA_METRIC_LABELS_MAX && metric->labels[i]; i++)
        if (!name_ok(metric->labels[i]))
            return mosa_fail(err, MOSA_EINVALID, "metric %s: label %d has no good name", metric->name, i);
    if (metric->labels[MOSA_METRIC_LABELS_MAX])
        return mosa_fail(err, MOSA_EINVALID, "metric %s has too many labels", metric->name);
    bool histogram = metric->type == MOSA_HISTOGRAM;
    if (histogram != (metric->n_buckets > 0) || metric->n_buckets > MOSA_METRIC_BUCKETS_MAX)
        return mosa_fail(err, MOSA_EINVALID, "metric %s: %d buckets do not fit its type", metric->name,
                         metric->n_buckets);
    for (int i = 1; i < metric->n_buckets; i++)
        if (!(metric->buckets[i - 1] < metric->buckets[i]))
            return mosa_fail(err, MOSA_EINVALID, "metric %s: buckets must ascend", metric->name);
    return MOSA_OK;
}

static void series_free(series *s) {
    if (!s) return;
    free(s->labels);
    free(s);
}

static const char *label_at(const char *const *values, int i) {
    return values && values[i] ? values[i] : "";
}

static size_t label_len(const char *value) {
    return strnlen(value, MOSA_METRIC_LABEL_BYTES_MAX);
}

static series *series_new(const family *f, const char *const *values, uint64_t hash) {
    size_t n_counts = f->metric->type == MOSA_HISTOGRAM ? (size_t)f->metric->n_buckets + 1 : 0;
    series *s = calloc(1, sizeof *s + n_counts * sizeof s->buckets[0]);
    mosa_buf labels = {0};
    for (int i = 0; i < f->n_labels; i++) {
        const char *value = label_at(values, i);
        mosa_buf_append(&labels, value, label_len(value));
        mosa_buf_append_char(&labels, '\0');
    }
    char *bytes = mosa_buf_take(&labels);
    if (!s || !bytes) {
        free(bytes);
        free(s);
        mosa_buf_finish(&labels);
        return NULL;
    }
    s->hash = hash;
    s->labels = bytes;
    return s;
}

static mosa_status family_init(family *f, const mosa_metric *metric, int series_max, mosa_error *err) {
    MOSA_TRY(check_metric(metric, err));
    f->metric = metric;
    while (f->n_labels < MOSA_METRIC_LABELS_MAX && metric->labels[f->n_labels]) f->n_labels++;
    uint32_t n_slots = 1;
    while (f->n_labels > 0 && n_slots < 2 * (uint32_t)series_max) n_slots *= 2;
    f->slots = calloc(n_slots, sizeof *f->slots);
    static const char *const others[MOSA_METRIC_LABELS_MAX] = {"other", "other", "other", "other"};
    f->other = series_new(f, others, 0);
    if (!f->slots || !f->other) return mosa_fail(err, MOSA_ENOMEM, "out of memory for metric %s", metric->name);
    f->mask = n_slots - 1;
    return MOSA_OK;
}

mosa_status mosa_metrics_create(const mosa_metric *table, int n_metrics, int series_max, mosa_metrics **out,
                                mosa_error *err) {
    if (series_max == 0) series_max = SERIES_DEFAULT;
    if (n_metrics < 0 || series_max < 1 || series_max > SERIES_MAX)
        return mosa_fail(err, MOSA_EINVALID, "series_max is %d, must be 1 to %d", series_max, SERIES_MAX);
    mosa_metrics *metrics = calloc(1, sizeof *metrics);
    family *families = calloc((size_t)n_metrics + 1, sizeof *families);
    if (!metrics || !families) {
        free(families);
        free(metrics);
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for %d metrics", n_metrics);
    }
    pthread_mutex_init(&metrics->mutex, NULL);
    metrics->families = families;
    metrics->series_max = series_max;
    for (int i = 0; i < n_metrics; i++) {
        metrics->n_families = i + 1;
        mosa_status status = family_init(&families[i], &table[i], series_max, err);
        if (status == MOSA_OK) continue;
        mosa_metrics_destroy(metrics);
        return status;
    }
    *out = metrics;
    return MOSA_OK;
}

void mosa_metrics_destroy(mosa_metrics *metrics) {
    if (!metrics) return;
    for (int i = 0; i < metrics->n_families; i++) {
        family *f = &metrics->families[i];
        for (uint32_t slot = 0; f->slots && slot <= f->mask; slot++) series_free(f->slots[slot]);
        free(f->slots);
        series_free(f->other);
    }
    free(metrics->families);
    pthread_mutex_destroy(&metrics->mutex);
    free(metrics);
}

// --- series -------------------------------------------------------------------------------------------------------

static uint64_t hash_labels(const family *f, const char *const *values) {
    uint64_t hash = 1;
    for (int i = 0; i < f->n_labels; i++) {
        const char *value = label_at(values, i);
        hash = mosa_hash_bytes(value, label_len(value), hash);
    }
    return hash;
}

static bool labels_equal(const family *f, const series *s, const char *const *values) {
    const char *have = s->labels;
    for (int i = 0; i < f->n_labels; i++) {
        const char *value = label_at(values, i);
        size_t len = label_len(value);
        if (strlen(have) != len || memcmp(have, value, len) != 0) return false;
        have += len + 1;
    }
    return true;
}

// The series, or NULL with *slot where it would go.
static series *probe(const family *f, const char *const *values, uint64_t hash, uint32_t *slot) {
    for (uint32_t i = (uint32_t)hash & f->mask;; i = (i + 1) & f->mask) {
        series *s = atomic_load_explicit(&f->slots[i], memory_order_acquire);
        if (s && !(s->hash == hash && labels_equal(f, s, values))) continue;
        *slot = i;
        return s;
    }
}

static family *family_at(mosa_metrics *metrics, int metric) {
    assert(metric >= 0 && metric < metrics->n_families);
    return &metrics->families[metric];
}

static series *find_or_add(mosa_metrics *metrics, family *f, const char *const *values) {
    if (f->n_labels == 0) return f->other;
    uint64_t hash = hash_labels(f, values);
    uint32_t slot;
    series *s = probe(f, values, hash, &slot);
    if (s) return s;
    pthread_mutex_lock(&metrics->mutex);
    s = probe(f, values, hash, &slot);
    if (!s && f->n_series < metrics->series_max) {
        s = series_new(f, values, hash);
        if (s) f->n_series++;
        atomic_store_explicit(&f->slots[slot], s, memory_order_release);
    }
    pthread_mutex_unlock(&metrics->mutex);
    return s ? s : f->other;
}

// --- values -------------------------------------------------------------------------------------------------------

static double to_double(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t to_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void add_double(_Atomic uint64_t *bits, double amount) {
    uint64_t old = atomic_load_explicit(bits, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(bits, &old, to_bits(to_double(old) + amount), memory_order_relaxed,
                                                  memory_order_relaxed))
        continue;
}

void mosa_metrics_add(mosa_metrics *metrics, int metric, double amount, const char *const *labels) {
    family *f = family_at(metrics, metric);
    assert(f->metric->type == MOSA_GAUGE || (f->metric->type == MOSA_COUNTER && amount >= 0));
    add_double(&find_or_add(metrics, f, labels)->value, amount);
}

void mosa_metrics_set(mosa_metrics *metrics, int metric, double value, const char *const *labels) {
    family *f = family_at(metrics, metric);
    assert(f->metric->type != MOSA_HISTOGRAM);
    atomic_store_explicit(&find_or_add(metrics, f, labels)->value, to_bits(value), memory_order_relaxed);
}

void mosa_metrics_observe(mosa_metrics *metrics, int metric, double value, const char *const *labels) {
    family *f = family_at(metrics, metric);
    assert(f->metric->type == MOSA_HISTOGRAM);
    series *s = find_or_add(metrics, f, labels);
    int bucket = 0;
    while (bucket < f->metric->n_buckets && !(value <= f->metric->buckets[bucket])) bucket++;
    atomic_fetch_add_explicit(&s->buckets[bucket], 1, memory_order_relaxed);
    add_double(&s->value, value);
}

static uint64_t observations(const family *f, series *s) {
    uint64_t count = 0;
    for (int i = 0; i <= f->metric->n_buckets; i++) count += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
    return count;
}

double mosa_metrics_value(mosa_metrics *metrics, int metric, const char *const *labels) {
    family *f = family_at(metrics, metric);
    uint32_t slot;
    series *s = f->n_labels ? probe(f, labels, hash_labels(f, labels), &slot) : f->other;
    if (!s) return 0;
    if (f->metric->type == MOSA_HISTOGRAM) return (double)observations(f, s);
    return to_double(atomic_load_explicit(&s->value, memory_order_relaxed));
}

// --- text ---------------------------------------------------------------------------------------------------------

static void append_escaped(mosa_buf *out, const char *text, bool quotes) {
    for (; *text; text++) {
        if (*text == '\n')
            mosa_buf_append_str(out, "\\n");
        else if (*text == '\\' || (quotes && *text == '"'))
            mosa_buf_printf(out, "\\%c", *text);
        else
            mosa_buf_append_char(out, *text);
    }
}

// name_suffix{labels,le="bound"} and a space; `bound` NULL for none.
static void append_name(mosa_buf *out, const family *f, const series *s, const char *suffix, const char *bound) {
    mosa_buf_printf(out, "%s%s", f->metric->name, suffix);
    const char *value = s->labels;
    for (int i = 0; i < f->n_labels; i++) {
        mosa_buf_printf(out, "%c%s=\"", i ? ',' : '{', f->metric->labels[i]);
        append_escaped(out, value, true);
        mosa_buf_append_char(out, '"');
        value += strlen(value) + 1;
    }
    if (bound) mosa_buf_printf(out, "%cle=\"%s\"", f->n_labels ? ',' : '{', bound);
    mosa_buf_append_str(out, f->n_labels || bound ? "} " : " ");
}

static void append_histogram(mosa_buf *out, const family *f, series *s) {
    uint64_t count = 0;
    for (int i = 0; i <= f->metric->n_buckets; i++) {
        mosa_buf bound = {0};
        if (i == f->metric->n_buckets)
            mosa_buf_append_str(&bound, "+Inf");
        else
            mosa_buf_append_f64(&bound, f->metric->buckets[i]);
        count += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
        append_name(out, f, s, "_bucket", mosa_buf_str(&bound));
        mosa_buf_printf(out, "%llu\n", (unsigned long long)count);
        mosa_buf_finish(&bound);
    }
    append_name(out, f, s, "_sum", NULL);
    mosa_buf_append_f64(out, to_double(atomic_load_explicit(&s->value, memory_order_relaxed)));
    mosa_buf_append_char(out, '\n');
    append_name(out, f, s, "_count", NULL);
    mosa_buf_printf(out, "%llu\n", (unsigned long long)count);
}

static void append_series(mosa_buf *out, const family *f, series *s) {
    if (f->metric->type == MOSA_HISTOGRAM) {
        append_histogram(out, f, s);
        return;
    }
    append_name(out, f, s, "", NULL);
    mosa_buf_append_f64(out, to_double(atomic_load_explicit(&s->value, memory_order_relaxed)));
    mosa_buf_append_char(out, '\n');
}

// A labelled metric shows "other" only when something went there.
static bool other_is_used(const family *f, series *s) {
    if (f->n_labels == 0) return true;
    if (f->metric->type == MOSA_HISTOGRAM) return observations(f, s) > 0;
    return to_double(atomic_load_explicit(&s->value, memory_order_relaxed)) != 0;
}

void mosa_metrics_write(mosa_metrics *metrics, mosa_buf *out) {
    static const char *const types[] = {"counter", "gauge", "histogram"};
    for (int i = 0; i < metrics->n_families; i++) {
        const family *f = &metrics->families[i];
        mosa_buf_printf(out, "# HELP %s ", f->metric->name);
        append_escaped(out, f->metric->help, false);
        mosa_buf_printf(out, "\n# TYPE %s %s\n", f->metric->name, types[f->metric->type]);
        for (uint32_t slot = 0; f->n_labels && slot <= f->mask; slot++) {
            series *s = atomic_load_explicit(&f->slots[slot], memory_order_acquire);
            if (s) append_series(out, f, s);
        }
        if (other_is_used(f, f->other)) append_series(out, f, f->other);
    }
}
