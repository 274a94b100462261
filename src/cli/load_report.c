// From results to percentiles, a table and JSON.
#include "cli/load_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const mosa_load_metric_names[MOSA_LOAD_METRICS] = {"ttft", "tpot", "itl", "e2el"};
static const char *const titles[MOSA_LOAD_METRICS] = {"Time to first token", "Time per output token",
                                                      "Inter-token latency", "End-to-end latency"};

// --- samples --------------------------------------------------------------------------------------------------------

// A request's own value of a metric; false when it has none. Gaps are many per request and are not asked for here.
static bool value_of(const mosa_load_result *r, mosa_load_metric metric, double *ms) {
    if (!r->ok) return false;
    if (metric == MOSA_LOAD_TTFT) *ms = (r->first_s - r->sent_s) * 1e3;
    if (metric == MOSA_LOAD_E2EL) *ms = (r->last_s - r->sent_s) * 1e3;
    if (metric == MOSA_LOAD_TPOT) {
        if (r->output_tokens < 2) return false;
        *ms = (r->last_s - r->first_s) * 1e3 / (double)(r->output_tokens - 1);
    }
    return metric != MOSA_LOAD_ITL;
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static mosa_status collect(const mosa_load_run *run, mosa_load_metric metric, mosa_load_samples *out, mosa_error *err) {
    size_t capacity = 0;
    for (size_t i = 0; i < run->count; i++) capacity += metric == MOSA_LOAD_ITL ? run->results[i].n_gaps : 1;
    out->values = calloc(capacity + 1, sizeof *out->values);
    if (!out->values) return mosa_fail(err, MOSA_ENOMEM, "out of memory for %zu latencies", capacity);
    for (size_t i = 0; i < run->count; i++) {
        const mosa_load_result *r = &run->results[i];
        if (value_of(r, metric, &out->values[out->count])) out->count++;
        for (size_t g = 0; metric == MOSA_LOAD_ITL && r->ok && g < r->n_gaps; g++)
            out->values[out->count++] = (double)r->gaps_ms[g];
    }
    double sum = 0;
    for (size_t i = 0; i < out->count; i++) sum += out->values[i];
    out->mean = out->count ? sum / (double)out->count : 0;
    qsort(out->values, out->count, sizeof *out->values, rising);
    return MOSA_OK;
}

double mosa_load_percentile(const mosa_load_samples *samples, double percentile) {
    if (samples->count == 0) return 0;
    double rank = ceil(percentile / 100 * (double)samples->count);
    size_t index = rank < 1 ? 0 : (size_t)rank - 1;
    return samples->values[index < samples->count ? index : samples->count - 1];
}

// --- what was asked for ---------------------------------------------------------------------------------------------

static mosa_status read_limits(const mosa_string_list *limits, mosa_load_report *report, mosa_error *err) {
    for (int m = 0; m < MOSA_LOAD_METRICS; m++) report->limit_ms[m] = INFINITY;
    for (size_t i = 0; i < limits->count; i++) {
        const char *text = limits->items[i], *colon = strchr(text, ':');
        int found = -1;
        double ms;
        for (int m = 0; colon && m < MOSA_LOAD_METRICS; m++)
            if (m != MOSA_LOAD_ITL && strlen(mosa_load_metric_names[m]) == (size_t)(colon - text) &&
                strncmp(text, mosa_load_metric_names[m], (size_t)(colon - text)) == 0)
                found = m;
        if (found < 0 || !mosa_parse_f64(colon + 1, &ms) || !(ms > 0))
            return mosa_fail(err, MOSA_EINVALID, "--goodput '%.40s' is not ttft:MS, tpot:MS or e2el:MS", text);
        report->limit_ms[found] = ms;
        report->has_limits = true;
    }
    return MOSA_OK;
}

static mosa_status read_percentiles(const char *text, mosa_load_report *report, mosa_error *err) {
    for (const char *at = text; *at;) {
        char number[32];
        size_t len = strcspn(at, ",");
        double value;
        bool fits = len < sizeof number && report->n_percentiles < MOSA_LOAD_PERCENTILES_MAX;
        if (fits) {
            memcpy(number, at, len);
            number[len] = '\0';
        }
        if (!fits || !mosa_parse_f64(number, &value) || value < 0 || value > 100)
            return mosa_fail(err, MOSA_EINVALID, "--metric-percentiles '%.80s' is no list like 50,90,99", text);
        report->percentiles[report->n_percentiles++] = value;
        at += len + (at[len] == ',');
    }
    return MOSA_OK;
}

static bool keeps_limits(const mosa_load_report *report, const mosa_load_result *r) {
    for (int m = 0; m < MOSA_LOAD_METRICS; m++) {
        double ms;
        if (value_of(r, (mosa_load_metric)m, &ms) && ms > report->limit_ms[m]) return false;
    }
    return r->ok;
}

mosa_status mosa_load_report_make(const mosa_load_run *run, const mosa_string_list *limits, const char *percentiles,
                                  mosa_load_report *out, mosa_error *err) {
    mosa_load_report report = {.requests = run->count, .duration_s = run->duration_s, .peak = run->peak};
    MOSA_TRY(read_limits(limits, &report, err));
    MOSA_TRY(read_percentiles(percentiles, &report, err));
    for (size_t i = 0; i < run->count; i++) {
        const mosa_load_result *r = &run->results[i];
        report.good += keeps_limits(&report, r);
        report.ok += r->ok;
        if (!r->ok && !report.first_fault) report.first_fault = r->fault;
        if (!r->ok) continue;
        report.input_tokens += r->input_tokens;
        report.output_tokens += r->output_tokens;
    }
    for (int m = 0; m < MOSA_LOAD_METRICS; m++) {
        mosa_status status = collect(run, (mosa_load_metric)m, &report.samples[m], err);
        if (status != MOSA_OK) {
            mosa_load_report_finish(&report);
            return status;
        }
    }
    *out = report;
    return MOSA_OK;
}

void mosa_load_report_finish(mosa_load_report *report) {
    for (int m = 0; m < MOSA_LOAD_METRICS; m++) free(report->samples[m].values);
    *report = (mosa_load_report){0};
}

// --- table and JSON -------------------------------------------------------------------------------------------------

static double per_second(const mosa_load_report *report, double count) {
    return report->duration_s > 0 ? count / report->duration_s : 0;
}

void mosa_load_report_table(const mosa_load_report *r, mosa_buf *out) {
    mosa_buf_printf(out, "%-34s %12zu\n", "Successful requests", r->ok);
    mosa_buf_printf(out, "%-34s %12zu\n", "Failed requests", r->requests - r->ok);
    if (r->first_fault) mosa_buf_printf(out, "  the first: %s\n", r->first_fault);
    mosa_buf_printf(out, "%-34s %12.2f\n", "Duration (s)", r->duration_s);
    mosa_buf_printf(out, "%-34s %12lld\n", "Input tokens", (long long)r->input_tokens);
    mosa_buf_printf(out, "%-34s %12lld\n", "Generated tokens", (long long)r->output_tokens);
    mosa_buf_printf(out, "%-34s %12.2f\n", "Requests per second", per_second(r, (double)r->ok));
    if (r->has_limits)
        mosa_buf_printf(out, "%-34s %12.2f\n", "Goodput (requests per second)", per_second(r, (double)r->good));
    mosa_buf_printf(out, "%-34s %12.2f\n", "Output tokens per second", per_second(r, (double)r->output_tokens));
    mosa_buf_printf(out, "%-34s %12.2f\n", "All tokens per second",
                    per_second(r, (double)(r->input_tokens + r->output_tokens)));
    mosa_buf_printf(out, "%-34s %12lld\n\n%-22s", "Most requests at the same time", (long long)r->peak, "milliseconds");
    mosa_buf_printf(out, " %10s", "mean");
    for (int p = 0; p < r->n_percentiles; p++) {
        char name[32];
        snprintf(name, sizeof name, "p%g", r->percentiles[p]);
        mosa_buf_printf(out, " %9s", name);
    }
    mosa_buf_append_char(out, '\n');
    for (int m = 0; m < MOSA_LOAD_METRICS; m++) {
        mosa_buf_printf(out, "%-22s %10.2f", titles[m], r->samples[m].mean);
        for (int p = 0; p < r->n_percentiles; p++)
            mosa_buf_printf(out, " %9.2f", mosa_load_percentile(&r->samples[m], r->percentiles[p]));
        mosa_buf_append_char(out, '\n');
    }
}

static void put(json_t *object, const char *prefix, const char *name, double value) {
    char key[64];
    snprintf(key, sizeof key, "%s_%s_ms", prefix, name);
    json_object_set_new(object, key, json_real(value));
}

json_t *mosa_load_report_json(const mosa_load_report *r) {
    json_t *object = json_pack(
        "{s:f, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:I}", "duration", r->duration_s, "completed", (json_int_t)r->ok,
        "failed", (json_int_t)(r->requests - r->ok), "total_input_tokens", (json_int_t)r->input_tokens,
        "total_output_tokens", (json_int_t)r->output_tokens, "request_throughput", per_second(r, (double)r->ok),
        "output_throughput", per_second(r, (double)r->output_tokens), "total_token_throughput",
        per_second(r, (double)(r->input_tokens + r->output_tokens)), "max_concurrent_requests", (json_int_t)r->peak);
    if (!object) return NULL;
    if (r->has_limits) json_object_set_new(object, "request_goodput", json_real(per_second(r, (double)r->good)));
    if (r->first_fault) json_object_set_new(object, "first_error", json_string(r->first_fault));
    for (int m = 0; m < MOSA_LOAD_METRICS; m++) {
        const char *name = mosa_load_metric_names[m];
        put(object, "mean", name, r->samples[m].mean);
        for (int p = 0; p < r->n_percentiles; p++) {
            char prefix[32];
            snprintf(prefix, sizeof prefix, "p%g", r->percentiles[p]);
            put(object, prefix, name, mosa_load_percentile(&r->samples[m], r->percentiles[p]));
        }
    }
    return object;
}
