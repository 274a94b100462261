// Arrival times and lengths, drawn or read from a trace.
#include "cli/load_plan.h"

#include "base/file.h"
#include "base/rng.h"
#include "base/str.h"
#include "codec/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TRACE_BYTES_MAX = 1 << 30, LINE_BYTES_MAX = 1 << 20 };

// Streams of the seed, one per quantity that is drawn.
enum { DRAW_GAP, DRAW_INPUT, DRAW_OUTPUT, DRAW_GROUP, DRAW_PREFIX, DRAW_TOKENS };

static uint64_t stream_of(uint64_t seed, uint64_t quantity) {
    return mosa_rng_mix(seed + quantity * UINT64_C(0x9e3779b97f4a7c15));
}

int32_t mosa_load_token(const mosa_load_options *o, const mosa_load_request *request, int64_t at) {
    bool shared = at < request->prefix_tokens;
    uint64_t seed = stream_of(o->seed, shared ? DRAW_PREFIX : DRAW_TOKENS);
    uint64_t of = mosa_rng_mix((uint64_t)(shared ? request->group : request->index) + 1);
    uint64_t ids = (uint64_t)(o->vocab - MOSA_LOAD_FIRST_TOKEN);
    return MOSA_LOAD_FIRST_TOKEN + (int32_t)mosa_rng_below(seed ^ of, (uint64_t)at, ids);
}

static mosa_status check(const mosa_load_options *o, mosa_error *err) {
    if (o->requests < 1 || o->requests > MOSA_LOAD_REQUESTS_MAX)
        return mosa_fail(err, MOSA_EINVALID, "%lld requests are out of range", (long long)o->requests);
    if (o->arrival == MOSA_LOAD_TRACE && !o->trace)
        return mosa_fail(err, MOSA_EINVALID, "arrivals of a trace need a trace (--dataset-path)");
    if (!(o->rate > 0) || !(o->speed > 0) || !(o->length_scale > 0))
        return mosa_fail(err, MOSA_EINVALID, "rates and scales must be above 0");
    if (!(o->range_ratio >= 0) || o->range_ratio > 1)
        return mosa_fail(err, MOSA_EINVALID, "the range ratio must be 0 to 1");
    if (o->vocab <= MOSA_LOAD_FIRST_TOKEN || o->vocab > INT32_MAX)
        return mosa_fail(err, MOSA_EINVALID, "a vocabulary of %lld is out of range", (long long)o->vocab);
    if (o->prefix_groups < 1) return mosa_fail(err, MOSA_EINVALID, "there must be a group of prefixes");
    return MOSA_OK;
}

static int64_t draw_length(const mosa_load_options *o, int quantity, int64_t mean, int64_t index) {
    double u = 2 * mosa_rng_uniform(stream_of(o->seed, (uint64_t)quantity), (uint64_t)index) - 1;
    int64_t length = llround((double)mean * (1 + o->range_ratio * u));
    return length < 1 ? 1 : length;
}

static int64_t scale_length(double length, double scale, int64_t max) {
    double scaled = round(length * scale);
    if (scaled < 1) scaled = 1;
    if (scaled > MOSA_LOAD_TOKENS_MAX) scaled = MOSA_LOAD_TOKENS_MAX;
    return max && scaled > (double)max ? max : (int64_t)scaled;
}

// --- traces ---------------------------------------------------------------------------------------------------------

typedef struct trace_row {
    double at_s, input, output;
} trace_row;

static bool is_usable(const trace_row *row) {
    return isfinite(row->at_s) && row->input >= 0 && row->input <= 1e9 && row->output >= 0 && row->output <= 1e9;
}

// "2023-11-16 18:15:46.6805900,374,44"
static bool parse_csv(char *line, trace_row *row) {
    struct tm tm = {0};
    double seconds;
    int used = 0;
    if (sscanf(line, "%d-%d-%d %d:%d:%lf,%lf,%lf%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
               &seconds, &row->input, &row->output, &used) != 8)
        return false;
    if (line[used] == '\r') used++;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    row->at_s = (double)timegm(&tm) + seconds;
    return line[used] == '\0';
}

static bool parse_json(const char *line, trace_row *row) {
    static const mosa_json_limits limits = {LINE_BYTES_MAX, 4};
    MOSA_AUTO_JSON json_t *tree = NULL;
    if (mosa_json_parse(mosa_slice_of(line), &limits, &tree, NULL) != MOSA_OK) return false;
    const json_t *at = json_object_get(tree, "timestamp"), *input = json_object_get(tree, "input_length");
    const json_t *output = json_object_get(tree, "output_length");
    *row = (trace_row){json_number_value(at) / 1000, json_number_value(input), json_number_value(output)};
    return json_is_number(at) && json_is_number(input) && json_is_number(output);
}

static mosa_status add_row(const mosa_load_options *o, const trace_row *row, double *first_s, mosa_load_plan *plan,
                           mosa_error *err) {
    if (plan->count == 0) *first_s = row->at_s;
    double at_s = (row->at_s - *first_s) / o->speed;
    if (plan->count > 0 && at_s < plan->requests[plan->count - 1].at_s)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: request %zu comes before the one above it", o->trace,
                         plan->count + 1);
    plan->requests[plan->count] =
        (mosa_load_request){.at_s = at_s,
                            .input_tokens = scale_length(row->input, o->length_scale, o->max_input_tokens),
                            .output_tokens = scale_length(row->output, o->length_scale, o->max_output_tokens)};
    plan->count++;
    return MOSA_OK;
}

static mosa_status read_trace(const mosa_load_options *o, mosa_load_plan *plan, mosa_error *err) {
    MOSA_AUTO_FREE char *text = NULL;
    size_t len;
    MOSA_TRY(mosa_file_read(o->trace, TRACE_BYTES_MAX, &text, &len, err));
    bool csv = mosa_str_ends_with(o->trace, ".csv");
    double first_s = 0;
    int64_t number = 0;
    for (char *line = text, *next; line && (int64_t)plan->count < o->requests; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        number++;
        trace_row row;
        if (!*line || (csv && number == 1 && strncmp(line, "TIMESTAMP", 9) == 0)) continue;
        if (!(csv ? parse_csv(line, &row) : parse_json(line, &row)) || !is_usable(&row))
            return mosa_fail(err, MOSA_ECORRUPT, "%s: line %lld is no request of a trace", o->trace, (long long)number);
        MOSA_TRY(add_row(o, &row, &first_s, plan, err));
    }
    return plan->count ? MOSA_OK : mosa_fail(err, MOSA_ECORRUPT, "%s: there are no requests", o->trace);
}

// --- the plan -------------------------------------------------------------------------------------------------------

static void draw_lengths(const mosa_load_options *o, mosa_load_plan *plan) {
    plan->count = (size_t)o->requests;
    for (int64_t i = 0; i < o->requests; i++) {
        plan->requests[i].input_tokens = draw_length(o, DRAW_INPUT, o->input_tokens, i);
        plan->requests[i].output_tokens = draw_length(o, DRAW_OUTPUT, o->output_tokens, i);
    }
}

static void draw_arrivals(const mosa_load_options *o, mosa_load_plan *plan) {
    double at_s = 0;
    for (size_t i = 0; i < plan->count; i++) {
        plan->requests[i].at_s = at_s;
        if (isinf(o->rate)) continue;
        double u = mosa_rng_uniform(stream_of(o->seed, DRAW_GAP), i);
        at_s += o->arrival == MOSA_LOAD_CONSTANT ? 1 / o->rate : -log1p(-u) / o->rate;
    }
}

mosa_status mosa_load_plan_make(const mosa_load_options *o, mosa_load_plan *out, mosa_error *err) {
    MOSA_TRY(check(o, err));
    mosa_load_plan plan = {.requests = calloc((size_t)o->requests, sizeof *plan.requests)};
    if (!plan.requests) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a plan of requests");
    mosa_status status = MOSA_OK;
    if (o->trace)
        status = read_trace(o, &plan, err);
    else
        draw_lengths(o, &plan);
    if (status != MOSA_OK) {
        mosa_load_plan_finish(&plan);
        return status;
    }
    if (o->arrival != MOSA_LOAD_TRACE) draw_arrivals(o, &plan);
    for (size_t i = 0; i < plan.count; i++) {
        plan.requests[i].index = (int64_t)i;
        plan.requests[i].prefix_tokens = o->prefix_tokens;
        plan.requests[i].group = (int64_t)mosa_rng_below(stream_of(o->seed, DRAW_GROUP), i, (uint64_t)o->prefix_groups);
    }
    *out = plan;
    return MOSA_OK;
}

void mosa_load_plan_finish(mosa_load_plan *plan) {
    free(plan->requests);
    *plan = (mosa_load_plan){0};
}
