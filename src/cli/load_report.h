// What a load test found: latencies as percentiles, throughput, goodput; as a table, as JSON and as a picture.
//
// TTFT: from sending a request to its first text. ITL: gaps between chunks of text. TPOT: (end - first text) / (tokens
// - 1). E2EL: from sending to the last chunk. Goodput counts the requests that keep every limit that was given.
#ifndef MOSA_CLI_LOAD_REPORT_H
#define MOSA_CLI_LOAD_REPORT_H

#include "cli/load_client.h"

#include "base/str.h"
#include "codec/config.h"

#include <jansson.h>

typedef enum mosa_load_metric {
    MOSA_LOAD_TTFT,
    MOSA_LOAD_TPOT,
    MOSA_LOAD_ITL,
    MOSA_LOAD_E2EL,
    MOSA_LOAD_METRICS
} mosa_load_metric;

extern const char *const mosa_load_metric_names[MOSA_LOAD_METRICS]; // "ttft", ...

typedef struct mosa_load_samples { // milliseconds, rising
    double *values;                // (count)
    size_t count;
    double mean;
} mosa_load_samples;

enum { MOSA_LOAD_PERCENTILES_MAX = 16 };

typedef struct mosa_load_report {
    size_t requests, ok, good;
    bool has_limits;
    double limit_ms[MOSA_LOAD_METRICS];            // INFINITY = none
    double percentiles[MOSA_LOAD_PERCENTILES_MAX]; // (n_percentiles)
    int n_percentiles;
    double duration_s;
    int64_t input_tokens, output_tokens, peak;
    mosa_load_samples samples[MOSA_LOAD_METRICS];
    const char *first_fault; // borrowed from the run; NULL when all went well
} mosa_load_report;

// limits: "ttft:500", "tpot:50", "e2el:10000" in milliseconds. percentiles: "50,90,99". The run is borrowed.
mosa_status mosa_load_report_make(const mosa_load_run *run, const mosa_string_list *limits, const char *percentiles,
                                  mosa_load_report *out, mosa_error *err) MOSA_MUST_USE;
void mosa_load_report_finish(mosa_load_report *report); // safe on a zeroed struct

// Nearest rank of a percentile in [0, 100]; 0 without samples.
double mosa_load_percentile(const mosa_load_samples *samples, double percentile);

void mosa_load_report_table(const mosa_load_report *report, mosa_buf *out);
json_t *mosa_load_report_json(const mosa_load_report *report); // with vLLM's names; NULL on out-of-memory
// Cumulative distributions of the latencies, and each request's time to first text over the run: an SVG document.
void mosa_load_report_svg(const mosa_load_report *report, const mosa_load_run *run, mosa_buf *out);

#endif
