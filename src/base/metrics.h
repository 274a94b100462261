// Metrics: one table of descriptors, a registry made from it, and its Prometheus text.
//
//     enum { METRIC_REQUESTS, METRIC_RUNNING, METRIC_COUNT };
//     static const mosa_metric table[METRIC_COUNT] = {
//         [METRIC_REQUESTS] = {"mosa_requests_total", MOSA_COUNTER, "Finished requests.", .labels = {"route", "code"}},
//     };
//     mosa_metrics_add(metrics, METRIC_REQUESTS, 1, MOSA_LABELS("/v1/models", "200"));
//
// The registry is a value that its user passes on; nothing here is process-wide. A metric has at most `series_max`
// combinations of label values; the ones beyond share a series whose labels all read "other", so that a client cannot
// grow our memory. Updates are lock-free once a series exists; a new series takes a mutex once.
// Thread: everything but create and destroy may be called from any thread.
#ifndef MOSA_BASE_METRICS_H
#define MOSA_BASE_METRICS_H

#include "base/status.h"
#include "base/str.h"

typedef enum mosa_metric_type { MOSA_COUNTER, MOSA_GAUGE, MOSA_HISTOGRAM } mosa_metric_type;

enum { MOSA_METRIC_LABELS_MAX = 4, MOSA_METRIC_BUCKETS_MAX = 32, MOSA_METRIC_LABEL_BYTES_MAX = 128 };

typedef struct mosa_metric {
    const char *name; // "mosa_..."; counters end in _total, units are last and in base units (_seconds, _bytes)
    mosa_metric_type type;
    const char *help;                               // one sentence
    const char *labels[MOSA_METRIC_LABELS_MAX + 1]; // names, NULL-terminated
    const double *buckets;                          // histograms: (n_buckets) ascending upper bounds, without +Inf
    int n_buckets;
} mosa_metric;

typedef struct mosa_metrics mosa_metrics;

// The table is borrowed and must outlive the registry. series_max 0 = 256. Metrics without labels exist from the start
// with value 0. MOSA_EINVALID for a table that breaks the rules above, MOSA_ENOMEM. The caller owns *out.
MOSA_MUST_USE mosa_status mosa_metrics_create(const mosa_metric *table, int n_metrics, int series_max,
                                              mosa_metrics **out, mosa_error *err);
void mosa_metrics_destroy(mosa_metrics *metrics); // NULL-safe

// Label values in the order of the metric's names; NULL for a metric without labels. Values are copied, cut at
// MOSA_METRIC_LABEL_BYTES_MAX; a NULL value reads "".
#define MOSA_LABELS(...) ((const char *const[]){__VA_ARGS__})
void mosa_metrics_add(mosa_metrics *metrics, int metric, double amount, const char *const *labels); // not histograms
void mosa_metrics_set(mosa_metrics *metrics, int metric, double value,
                      const char *const *labels); // gauges, and
                                                  // counters that somebody else counts
void mosa_metrics_observe(mosa_metrics *metrics, int metric, double value, const char *const *labels); // histograms
double mosa_metrics_value(mosa_metrics *metrics, int metric, const char *const *labels); // 0 for an unknown series
                                                                                         // histograms: the count

// Appends all series as Prometheus text (version 0.0.4), metrics in the table's order.
void mosa_metrics_write(mosa_metrics *metrics, mosa_buf *out);

#endif
