// mosa bench: prefill, decode and batched decode of a model in this process, with the machine's read bandwidth beside.
//
// Decoding one stream must read every weight once per token, so bandwidth / weight bytes bounds it: the table says what
// share of that bound was reached. The bound is measured in the same run, on the same threads.
#include "base/clock.h"
#include "base/rng.h"
#include "cli/bench_ops.h"
#include "cli/command.h"
#include "cli/local_model.h"
#include "cli/model_path.h"
#include "cli/sizes.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench_values {
    mosa_local_flags local;
    int64_t prompt, generate, repeat, depth;
    mosa_string_list streams;
    bool json, ops;
} bench_values;

static const mosa_option options[] = {
    {.flag = "--prompt",
     .aliases = "-p --n-prompt",
     .type = MOSA_OPTION_INT,
     .fallback = "512",
     .min = 1,
     .max = 1048576,
     .help = "Prompt tokens of the prefill test.",
     MOSA_OPTION_FIELD(bench_values, prompt)},
    {.flag = "--generate",
     .aliases = "-n --n-gen",
     .type = MOSA_OPTION_INT,
     .fallback = "64",
     .min = 2,
     .max = 1048576,
     .help = "Tokens that each stream generates.",
     MOSA_OPTION_FIELD(bench_values, generate)},
    {.flag = "--depth",
     .aliases = "-d --n-depth",
     .type = MOSA_OPTION_INT,
     .fallback = "16",
     .min = 1,
     .max = 1048576,
     .help = "Tokens of each stream's prompt before it decodes.",
     MOSA_OPTION_FIELD(bench_values, depth)},
    {.flag = "--streams",
     .aliases = "-b",
     .type = MOSA_OPTION_LIST,
     .value = "N",
     .help = "Streams at the same time; repeat it for several tests. Default: 1, 4, 8 and 16.",
     MOSA_OPTION_FIELD(bench_values, streams)},
    {.flag = "--repeat",
     .aliases = "-r",
     .type = MOSA_OPTION_INT,
     .fallback = "3",
     .min = 1,
     .max = 1000,
     .help = "Runs of each test; the median counts.",
     MOSA_OPTION_FIELD(bench_values, repeat)},
    {.flag = "--ops",
     .type = MOSA_OPTION_BOOL,
     .help = "Also show where the time of prefill and of decoding goes, op by op, beside the machine's limits.",
     MOSA_OPTION_FIELD(bench_values, ops)},
    {.flag = "--json",
     .type = MOSA_OPTION_BOOL,
     .help = "Print one JSON object instead of a table.",
     MOSA_OPTION_FIELD(bench_values, json)},
    MOSA_LOCAL_ENGINE_OPTIONS(bench_values),
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

enum { STREAMS_MAX = 256, REPEATS_MAX = 1000, SHORT_PROMPT = 16 };

// --- one run ------------------------------------------------------------------------------------------------------

typedef struct bench {
    mosa_engine *engine;
    const bench_values *values;
    mosa_engine_info info;
    mosa_limits limits;
    uint64_t prompts; // how many were made: each is different
    json_t *results;
    json_t *ops[2]; // of prefill and of decoding, with --ops --json
} bench;

static mosa_status submit(bench *b, int64_t n_prompt, int64_t n_generate, mosa_error *err) {
    MOSA_AUTO_FREE int32_t *tokens = malloc((size_t)n_prompt * sizeof *tokens);
    if (!tokens) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a prompt");
    b->prompts++;
    for (int64_t i = 0; i < n_prompt; i++)
        tokens[i] = (int32_t)mosa_rng_below(b->prompts, (uint64_t)i, (uint64_t)b->info.vocab_size);
    mosa_request request = mosa_request_default();
    request.tokens = tokens;
    request.n_tokens = (size_t)n_prompt;
    request.max_tokens = n_generate;
    request.ignore_eos = true;
    request.sampling.temperature = 0;
    uint64_t id;
    return mosa_engine_submit(b->engine, &request, &id, err);
}

// What a run took. Decoding counts while all streams do: from the step at which the last has its first token to the one
// at which the first ends.
typedef struct timing {
    double first_s, decode_s;
    int64_t decoded; // tokens of all streams in decode_s
} timing;

typedef struct progress {
    int started, finished;
    int64_t tokens;
} progress;

static mosa_status step(bench *b, progress *p, mosa_error *err) {
    const mosa_event *events;
    int n;
    MOSA_TRY(mosa_engine_step(b->engine, -1, &events, &n, err));
    for (int i = 0; i < n; i++) {
        p->started += events[i].token >= 0 && events[i].completion_tokens == 1;
        p->finished += events[i].finish != MOSA_FINISH_NONE;
        p->tokens += events[i].token >= 0;
        if (events[i].finish == MOSA_FINISH_ERROR)
            return mosa_fail(err, events[i].error->status, "%s", events[i].error->message);
    }
    return MOSA_OK;
}

// Runs `streams` requests to their end.
static mosa_status run_streams(bench *b, int streams, int64_t n_prompt, int64_t n_generate, timing *out,
                               mosa_error *err) {
    uint64_t begin = mosa_clock_ns(), first = 0, end = 0;
    int64_t tokens_at_first = 0;
    progress p = {0};
    for (int i = 0; i < streams; i++) MOSA_TRY(submit(b, n_prompt, n_generate, err));
    while (p.finished < streams) {
        MOSA_TRY(step(b, &p, err));
        if (!first && p.started == streams) first = mosa_clock_ns(), tokens_at_first = p.tokens;
        if (first && !end && p.finished) {
            end = mosa_clock_ns();
            out->decoded = p.tokens - tokens_at_first;
        }
    }
    out->first_s = (double)(first - begin) * 1e-9;
    out->decode_s = (double)(end - first) * 1e-9;
    return MOSA_OK;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(bench *b, const char *name, double *rates, int n, double limit, const char *limit_name) {
    qsort(rates, (size_t)n, sizeof *rates, by_value);
    double median = rates[n / 2];
    json_t *json =
        json_pack("{s:s, s:f, s:f, s:f}", "test", name, "tokens_per_s", median, "min", rates[0], "max", rates[n - 1]);
    if (limit > 0) json_object_set_new(json, "share_of_limit", json_real(median / limit));
    json_array_append_new(b->results, json);
    if (b->values->json) return;
    printf("%-28s %10.1f %10.1f %10.1f", name, median, rates[0], rates[n - 1]);
    if (limit > 0) printf("   %3.0f%% of the %s", 100 * median / limit, limit_name);
    printf("\n");
}

// --- tests --------------------------------------------------------------------------------------------------------

// Every parameter of a matrix is multiplied once per token, two operations each; attention's own are left out.
static double matrix_limit(const bench *b) {
    return b->limits.matrix_ops_per_s / (2 * (double)b->info.parameters);
}

static mosa_status bench_prefill(bench *b, mosa_error *err) {
    double rates[REPEATS_MAX];
    int repeat = (int)b->values->repeat;
    for (int i = 0; i < repeat; i++) {
        timing t = {0};
        MOSA_TRY(run_streams(b, 1, b->values->prompt, 1, &t, err));
        rates[i] = (double)b->values->prompt / t.first_s;
    }
    char name[64];
    snprintf(name, sizeof name, "prefill %lld", (long long)b->values->prompt);
    report(b, name, rates, repeat, matrix_limit(b), "matrix rate");
    return MOSA_OK;
}

// Each step reads the weights once and the keys and values of every stream.
static double read_limit(const bench *b, int streams) {
    double context = (double)b->values->depth + (double)b->values->generate / 2;
    double bytes = (double)b->info.weight_bytes + streams * context * (double)b->info.kv_token_bytes;
    double limit = streams * b->limits.read_bytes_per_s / bytes, matrix = matrix_limit(b);
    return matrix > 0 && matrix < limit ? matrix : limit;
}

static mosa_status bench_decode(bench *b, int streams, mosa_error *err) {
    double rates[REPEATS_MAX];
    int repeat = (int)b->values->repeat;
    for (int i = 0; i < repeat; i++) {
        timing t = {0};
        MOSA_TRY(run_streams(b, streams, b->values->depth, b->values->generate, &t, err));
        if (t.decoded == 0)
            return mosa_fail(err, MOSA_EINVALID,
                             "the first of %d streams ended before the last began: raise --generate", streams);
        rates[i] = (double)t.decoded / t.decode_s;
    }
    char name[64];
    int n = snprintf(name, sizeof name, "decode, %d stream%s", streams, streams == 1 ? "" : "s");
    if (b->values->depth != SHORT_PROMPT)
        snprintf(name + n, sizeof name - (size_t)n, " at %lld", (long long)b->values->depth);
    bool bounded = streams == 1 || b->limits.matrix_ops_per_s > 0;
    report(b, name, rates, repeat, bounded ? read_limit(b, streams) : 0, streams == 1 ? "read bandwidth" : "roofline");
    return MOSA_OK;
}

static mosa_status read_streams(const bench_values *values, int *streams, int *count, int *most, mosa_error *err) {
    static const char *const defaults[] = {"1", "4", "8", "16"};
    const char *const *items = values->streams.count ? values->streams.items : defaults;
    size_t n = values->streams.count ? values->streams.count : MOSA_COUNT(defaults);
    *most = 1;
    for (size_t i = 0; i < n && i < 16; i++) {
        int64_t value;
        if (!mosa_parse_i64(items[i], &value) || value < 1 || value > STREAMS_MAX)
            return mosa_fail(err, MOSA_EINVALID, "--streams is \"%s\", must be 1 to %d", items[i], STREAMS_MAX);
        streams[i] = (int)value;
        *count = (int)i + 1;
        if (value > *most) *most = (int)value;
    }
    return MOSA_OK;
}

static mosa_status open_engine(bench *b, const char *name, int most, mosa_error *err) {
    MOSA_AUTO_FREE char *path = NULL, *draft = NULL;
    const mosa_local_flags *flags = &b->values->local;
    MOSA_TRY(mosa_model_path_find(name, &path, err));
    if (flags->draft_model) MOSA_TRY(mosa_model_path_find(flags->draft_model, &draft, err));
    int64_t decoded = b->values->depth + b->values->generate;
    int64_t context = 32 + (b->values->prompt > decoded ? b->values->prompt : decoded);
    mosa_engine_options engine = {.model = path,
                                  .device = flags->device,
                                  .quantize = flags->quantize,
                                  .kv_type = flags->kv_type,
                                  .speculate = flags->speculate,
                                  .draft_model = draft,
                                  .draft_tokens = (int)flags->draft_tokens,
                                  .threads = (int)flags->threads,
                                  .context_tokens = flags->ctx ? flags->ctx : context,
                                  .max_sequences = most,
                                  .no_prefix_cache = true};
    MOSA_TRY(mosa_engine_open(&engine, &b->engine, err));
    mosa_engine_get_info(b->engine, &b->info);
    return MOSA_OK;
}

static mosa_status run_tests(bench *b, const int *streams, int count, mosa_error *err) {
    timing t;
    MOSA_TRY(run_streams(b, 1, SHORT_PROMPT, 4, &t, err)); // touches every weight once
    MOSA_TRY(bench_prefill(b, err));
    for (int i = 0; i < count; i++) MOSA_TRY(bench_decode(b, streams[i], err));
    return MOSA_OK;
}

static void show_ops(bench *b, int which, const char *title) {
    if (b->values->json)
        b->ops[which] = mosa_bench_ops_json(b->engine, &b->limits);
    else
        mosa_bench_ops_print(title, b->engine, &b->limits);
    mosa_engine_profile(b->engine, false);
}

// A prompt, then a stream from a short prompt whose own rows hardly count.
static mosa_status profile_ops(bench *b, mosa_error *err) {
    timing t;
    mosa_engine_profile(b->engine, true);
    MOSA_TRY(run_streams(b, 1, b->values->prompt, 1, &t, err));
    show_ops(b, 0, "prefill, by op");
    mosa_engine_profile(b->engine, true);
    MOSA_TRY(run_streams(b, 1, 1, b->values->generate, &t, err));
    show_ops(b, 1, "decode, by op");
    return MOSA_OK;
}

static void print_head(const bench *b) {
    printf("%s: %s %s, %.2f billion parameters, %.0f MB of weights\n", b->info.name, b->info.architecture,
           b->info.quantization, (double)b->info.parameters * 1e-9, (double)b->info.weight_bytes * 1e-6);
    printf("%s; loaded in %.2f s; reads %.1f GB/s", b->info.device, (double)b->info.load_ns * 1e-9,
           b->limits.read_bytes_per_s * 1e-9);
    if (b->limits.matrix_ops_per_s > 0) printf(", multiplies %.0f T/s", b->limits.matrix_ops_per_s * 1e-12);
    printf("\n");
    mosa_print_sizes(stdout, &b->info);
    printf("\n");
    printf("%-28s %10s %10s %10s\n", "tokens per second", "median", "least", "most");
}

static void print_guesses(const mosa_engine_stats *stats) {
    if (stats->drafted)
        printf("%.0f tokens guessed ahead, %.0f stood (%.0f%%)\n", (double)stats->drafted, (double)stats->accepted,
               100.0 * (double)stats->accepted / (double)stats->drafted);
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    int streams[16], count = 0, most;
    bench b = {.values = call->values, .results = json_array()};
    mosa_status status = read_streams(b.values, streams, &count, &most, err);
    if (status == MOSA_OK) status = open_engine(&b, call->arguments.items[0], most, err);
    if (status == MOSA_OK) {
        status = mosa_engine_measure(b.engine, &b.limits, err);
        if (status == MOSA_OK && !b.values->json) print_head(&b);
        if (status == MOSA_OK) status = run_tests(&b, streams, count, err);
        if (status == MOSA_OK && b.values->ops) status = profile_ops(&b, err);
    }
    mosa_engine_stats stats = {0};
    if (status == MOSA_OK) mosa_engine_get_stats(b.engine, &stats);
    if (status == MOSA_OK && !b.values->json) print_guesses(&stats);
    if (status == MOSA_OK && b.values->json) {
        json_t *all =
            json_pack("{s:s, s:s, s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:O, s:o*, s:o*}", "model", b.info.name,
                      "quantization", b.info.quantization, "device", b.info.device, "weight_bytes",
                      (json_int_t)b.info.weight_bytes, "load_s", (double)b.info.load_ns * 1e-9, "read_bandwidth",
                      b.limits.read_bytes_per_s, "f32_ops_per_s", b.limits.f32_ops_per_s, "int8_ops_per_s",
                      b.limits.int8_ops_per_s, "matrix_ops_per_s", b.limits.matrix_ops_per_s, "drafted",
                      (json_int_t)stats.drafted, "accepted", (json_int_t)stats.accepted, "results", b.results,
                      "prefill_ops", b.ops[0], "decode_ops", b.ops[1]);
        MOSA_AUTO_FREE char *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
        puts(text ? text : "{}");
        json_decref(all);
    }
    mosa_engine_close(b.engine);
    json_decref(b.results);
    return status;
}

extern const mosa_command mosa_command_bench;
const mosa_command mosa_command_bench = {
    .name = "bench",
    .group = MOSA_GROUP_TOOLS,
    .summary = "Measure the speed of a model on this machine",
    .usage = "MODEL",
    .description =
        "Prefill of one prompt, then decoding with one and more streams, from random tokens. Decoding one stream "
        "is set against the read bandwidth, which bounds it. --ops shows the time, bytes and operations of every kind "
        "of "
        "op and what share of the machine's limit it reaches. --prompt 8192 --kv-type q8_0 is long context; --depth "
        "1024 "
        "decodes at the end of prompts of that length.\n\n"
        "  mosa bench model.gguf --prompt 512 --streams 1 --streams 8",
    .options = &table,
    .values_bytes = sizeof(bench_values),
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
