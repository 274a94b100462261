// mosa bench serve: a load test of any OpenAI-compatible server, with the flags of vLLM's benchmark.
#include "base/out_file.h"
#include "cli/command.h"
#include "cli/load_report.h"
#include "codec/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct load_values {
    const char *base_url, *endpoint, *model, *api_key, *trace, *arrival, *rate, *percentiles, *result_file, *svg;
    int64_t prompts, concurrency, input, output, max_input, max_output, prefix, groups, vocab, seed, timeout_ms;
    double range_ratio, speed, length_scale;
    mosa_string_list goodput;
    bool json, plan;
} load_values;

#define FIELD(member) MOSA_OPTION_FIELD(load_values, member)
static const mosa_option options[] = {
    {NULL, "--base-url", MOSA_OPTION_STRING, "http://127.0.0.1:8000", .value = "URL", .help = "The server.",
     FIELD(base_url)},
    {NULL, "--endpoint", MOSA_OPTION_STRING, "/v1/completions", .value = "PATH",
     .help = "Its route for completions, which must take token ids.", FIELD(endpoint)},
    {NULL, "--model", MOSA_OPTION_STRING, .value = "NAME", .aliases = "-m",
     .help = "What requests ask for, an adapter's name included.", FIELD(model)},
    {NULL, "--api-key", MOSA_OPTION_STRING, .value = "KEY", .secret = true, .help = "Sent as a bearer token.",
     FIELD(api_key)},
    {NULL, "--num-prompts", MOSA_OPTION_INT, "100", .min = 1, .max = MOSA_LOAD_REQUESTS_MAX,
     .help = "Requests in all; of a trace, its first ones.", FIELD(prompts)},
    {NULL, "--request-rate", MOSA_OPTION_STRING, "inf", .value = "PER-SECOND",
     .help = "Arrivals per second; inf sends everything at once.", FIELD(rate)},
    {NULL, "--arrival", MOSA_OPTION_CHOICE, "poisson", .choices = "poisson|constant|trace",
     .help = "How requests arrive; trace takes the times of --dataset-path.", FIELD(arrival)},
    {NULL, "--max-concurrency", MOSA_OPTION_INT, "0", .min = 0, .max = 4096,
     .help = "Requests at the same time; others wait here, before their clock starts. 0 = 4096.", FIELD(concurrency)},
    {NULL, "--dataset-path", MOSA_OPTION_STRING, .value = "FILE", .aliases = "--dataset",
     .help = "Trace whose lengths are taken: .csv as Azure's (TIMESTAMP,ContextTokens,GeneratedTokens) or .jsonl as "
             "Mooncake's. Default: random lengths.",
     FIELD(trace)},
    {NULL, "--speed", MOSA_OPTION_FLOAT, "1", .min = 1e-6, .max = 1e6,
     .help = "Makes a trace's clock run this much faster.", FIELD(speed)},
    {NULL, "--length-scale", MOSA_OPTION_FLOAT, "1", .min = 1e-6, .max = 1e6, .help = "Factor on a trace's lengths.",
     FIELD(length_scale)},
    {NULL, "--max-input-tokens", MOSA_OPTION_INT, "0", .min = 0, .max = MOSA_LOAD_TOKENS_MAX,
     .help = "Cuts a trace's prompts; 0 = no limit.", FIELD(max_input)},
    {NULL, "--max-output-tokens", MOSA_OPTION_INT, "0", .min = 0, .max = MOSA_LOAD_TOKENS_MAX,
     .help = "Cuts a trace's outputs; 0 = no limit.", FIELD(max_output)},
    {NULL, "--random-input-len", MOSA_OPTION_INT, "256", .min = 1, .max = MOSA_LOAD_TOKENS_MAX,
     .aliases = "--input-tokens", .help = "Prompt tokens of a request, without the prefix.", FIELD(input)},
    {NULL, "--random-output-len", MOSA_OPTION_INT, "64", .min = 1, .max = MOSA_LOAD_TOKENS_MAX,
     .aliases = "--output-tokens", .help = "Tokens that a request generates.", FIELD(output)},
    {NULL, "--random-range-ratio", MOSA_OPTION_FLOAT, "0", .min = 0, .max = 1,
     .help = "Random lengths are uniform within this share around their means.", FIELD(range_ratio)},
    {NULL, "--prefix-tokens", MOSA_OPTION_INT, "0", .min = 0, .max = MOSA_LOAD_TOKENS_MAX,
     .aliases = "--random-prefix-len", .help = "Tokens that prompts begin with in common.", FIELD(prefix)},
    {NULL, "--prefix-groups", MOSA_OPTION_INT, "1", .min = 1, .max = 1000000,
     .help = "Different prefixes, one drawn for each request.", FIELD(groups)},
    {NULL, "--vocab-size", MOSA_OPTION_INT, "256", .min = 4, .max = 1 << 30,
     .help = "Prompt token ids are drawn from 3 up to this.", FIELD(vocab)},
    {NULL, "--seed", MOSA_OPTION_INT, "0", .min = 0, .max = 9007199254740992.0,
     .help = "Same seed, same requests at the same times.", FIELD(seed)},
    {NULL, "--request-timeout", MOSA_OPTION_DURATION, "10m", .min = 1, .max = 86400e3,
     .help = "After which a request counts as failed.", FIELD(timeout_ms)},
    {NULL, "--goodput", MOSA_OPTION_LIST, .value = "METRIC:MS",
     .help = "Limit that a good request keeps: ttft:500, tpot:50, e2el:10000. Repeat it for several.", FIELD(goodput)},
    {NULL, "--metric-percentiles", MOSA_OPTION_STRING, "50,90,99", .value = "LIST", .help = "Percentiles to report.",
     FIELD(percentiles)},
    {NULL, "--json", MOSA_OPTION_BOOL, .help = "Print one JSON object instead of a table.", FIELD(json)},
    {NULL, "--result-filename", MOSA_OPTION_STRING, .value = "FILE", .aliases = "--result-file",
     .help = "Also write the JSON object there.", FIELD(result_file)},
    {NULL, "--svg", MOSA_OPTION_STRING, .value = "FILE", .aliases = "--plot", .help = "Draw the latencies there.",
     FIELD(svg)},
    {NULL, "--plan", MOSA_OPTION_BOOL, .help = "Print what would be asked for and when, a JSON line each, and stop.",
     FIELD(plan)},
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

static mosa_status read_options(const load_values *v, mosa_load_options *out, mosa_error *err) {
    double rate = INFINITY;
    if (strcmp(v->rate, "inf") != 0 && !(mosa_parse_f64(v->rate, &rate) && rate > 0))
        return mosa_fail(err, MOSA_EINVALID, "--request-rate is '%.40s', must be a number above 0, or inf", v->rate);
    *out = (mosa_load_options){
        .trace = v->trace,
        .requests = v->prompts,
        .arrival = strcmp(v->arrival, "trace") == 0      ? MOSA_LOAD_TRACE
                   : strcmp(v->arrival, "constant") == 0 ? MOSA_LOAD_CONSTANT
                                                         : MOSA_LOAD_POISSON,
        .rate = rate,
        .speed = v->speed,
        .length_scale = v->length_scale,
        .input_tokens = v->input,
        .output_tokens = v->output,
        .range_ratio = v->range_ratio,
        .max_input_tokens = v->max_input,
        .max_output_tokens = v->max_output,
        .prefix_tokens = v->prefix,
        .prefix_groups = v->groups,
        .vocab = v->vocab,
        .seed = (uint64_t)v->seed,
    };
    return MOSA_OK;
}

static mosa_status print_plan(const mosa_load_plan *plan, mosa_error *err) {
    mosa_buf text = {0};
    for (size_t i = 0; i < plan->count; i++) {
        const mosa_load_request *r = &plan->requests[i];
        mosa_buf_append_str(&text, "{\"at\":");
        mosa_json_append_f64(&text, r->at_s);
        mosa_buf_printf(&text, ",\"prefix_tokens\":%lld,\"group\":%lld,\"input_tokens\":%lld,\"output_tokens\":%lld}\n",
                        (long long)r->prefix_tokens, (long long)r->group, (long long)r->input_tokens,
                        (long long)r->output_tokens);
    }
    bool failed = mosa_buf_failed(&text);
    if (!failed) fwrite(mosa_buf_str(&text), 1, text.len, stdout);
    mosa_buf_finish(&text);
    return failed ? mosa_fail(err, MOSA_ENOMEM, "out of memory for the plan") : MOSA_OK;
}

static mosa_status write_results(const load_values *v, const mosa_load_report *report, const mosa_load_run *run,
                                 mosa_error *err) {
    MOSA_AUTO_JSON json_t *json = mosa_load_report_json(report);
    mosa_buf table_text = {0}, json_text = {0}, picture = {0};
    mosa_json_append_pretty(&json_text, json);
    mosa_buf_append_char(&json_text, '\n');
    mosa_load_report_table(report, &table_text);
    if (v->svg) mosa_load_report_svg(report, run, &picture);
    mosa_status status = MOSA_OK;
    if (!json || mosa_buf_failed(&json_text) || mosa_buf_failed(&table_text) || mosa_buf_failed(&picture))
        status = mosa_fail(err, MOSA_ENOMEM, "out of memory for the results");
    if (status == MOSA_OK) fputs(mosa_buf_str(v->json ? &json_text : &table_text), stdout);
    if (status == MOSA_OK && v->result_file)
        status = mosa_out_file_save(v->result_file, json_text.data, json_text.len, err);
    if (status == MOSA_OK && v->svg) status = mosa_out_file_save(v->svg, picture.data, picture.len, err);
    mosa_buf_finish(&table_text);
    mosa_buf_finish(&json_text);
    mosa_buf_finish(&picture);
    return status;
}

static mosa_status measure(const load_values *v, const mosa_load_options *load, const mosa_load_plan *plan,
                           mosa_error *err) {
    if (!v->model) return mosa_fail(err, MOSA_EINVALID, "--model says what to ask for, and is missing");
    mosa_load_target target = {.base_url = v->base_url,
                               .endpoint = v->endpoint,
                               .model = v->model,
                               .api_key = v->api_key,
                               .max_concurrency = v->concurrency,
                               .timeout_ms = v->timeout_ms,
                               .progress = isatty(STDERR_FILENO)};
    mosa_load_report report = {0};
    mosa_load_run run;
    // What is wrong with the words is said before anything is sent.
    MOSA_TRY(mosa_load_report_make(&(mosa_load_run){0}, &v->goodput, v->percentiles, &report, err));
    mosa_load_report_finish(&report);
    MOSA_TRY(mosa_load_run_plan(&target, load, plan, &run, err));
    mosa_status status = mosa_load_report_make(&run, &v->goodput, v->percentiles, &report, err);
    if (status == MOSA_OK) status = write_results(v, &report, &run, err);
    if (status == MOSA_OK && report.ok == 0)
        status = mosa_fail(err, MOSA_EUNAVAILABLE, "no request was answered: %.160s", report.first_fault);
    mosa_load_report_finish(&report);
    mosa_load_run_finish(&run);
    return status;
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    const load_values *v = call->values;
    mosa_load_options load;
    mosa_load_plan plan;
    MOSA_TRY(read_options(v, &load, err));
    MOSA_TRY(mosa_load_plan_make(&load, &plan, err));
    mosa_status status = v->plan ? print_plan(&plan, err) : measure(v, &load, &plan, err);
    mosa_load_plan_finish(&plan);
    return status;
}

extern const mosa_command mosa_command_bench_serve;
const mosa_command mosa_command_bench_serve = {
    .name = "bench serve",
    .group = MOSA_GROUP_TOOLS,
    .summary = "Load a server with requests and measure its latencies",
    .usage = "",
    .description =
        "Sends streamed completions to any OpenAI-compatible server, as they arrive by chance, evenly or as a trace "
        "of real traffic has them, and reports time to first token, inter-token latency, throughput and goodput.\n\n"
        "  mosa bench serve --model mosa-tiny --request-rate 4 --num-prompts 200\n"
        "  mosa bench serve --model mosa-tiny --max-concurrency 16 --prefix-tokens 1024 --svg latencies.svg\n"
        "  mosa bench serve --model mosa-tiny --dataset azure2023_conv.csv --arrival trace --speed 2 --goodput "
        "ttft:500",
    .options = &table,
    .values_bytes = sizeof(load_values),
    .max_arguments = 0,
    .run = run,
};
