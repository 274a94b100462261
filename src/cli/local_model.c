// Opening a model in this process and streaming one answer from it.
#include "cli/local_model.h"

#include "base/clock.h"
#include "base/file.h"
#include "cli/model_path.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ADAPTER_RANK_MAX = 1024 };

mosa_status mosa_local_open(const char *name, const mosa_local_flags *flags, int max_sequences, mosa_engine **out,
                            mosa_error *err) {
    MOSA_AUTO_FREE char *path = NULL, *draft = NULL;
    MOSA_TRY(mosa_model_path_find(name, &path, err));
    if (flags->draft_model) MOSA_TRY(mosa_model_path_find(flags->draft_model, &draft, err));
    mosa_engine_options options = {.model = path,
                                   .device = flags->device,
                                   .quantize = flags->quantize,
                                   .kv_type = flags->kv_type,
                                   .speculate = flags->speculate,
                                   .draft_model = draft,
                                   .draft_tokens = (int)flags->draft_tokens,
                                   .threads = (int)flags->threads,
                                   .context_tokens = flags->ctx,
                                   .max_sequences = max_sequences};
    if (flags->adapter) {
        options.max_adapters = 1;
        options.max_adapter_rank = ADAPTER_RANK_MAX;
    }
    mosa_engine *engine;
    MOSA_TRY(mosa_engine_open(&options, &engine, err));
    mosa_status status =
        flags->adapter ? mosa_engine_adapter_load(engine, MOSA_LOCAL_ADAPTER, flags->adapter, err) : MOSA_OK;
    if (status == MOSA_OK)
        *out = engine;
    else
        mosa_engine_close(engine);
    return status;
}

mosa_status mosa_local_tokenize(mosa_engine *engine, const char *text, bool chat_json, int32_t **tokens, size_t *n,
                                mosa_error *err) {
    size_t capacity = strlen(text) + 64;
    for (;;) {
        int32_t *ids = malloc(capacity * sizeof *ids);
        if (!ids) return mosa_fail(err, MOSA_ENOMEM, "out of memory for %zu tokens", capacity);
        mosa_status status =
            chat_json ? mosa_tokenize_chat(engine, text, ids, capacity, n, err)
                      : mosa_tokenize(engine, text, strlen(text), MOSA_TOKENIZE_SPECIAL, ids, capacity, n, err);
        if (status == MOSA_OK && *n <= capacity) {
            *tokens = ids;
            return MOSA_OK;
        }
        free(ids);
        if (status != MOSA_OK) return status;
        capacity = *n;
    }
}

// Set by the handler, read by the event callback; process-wide as signals are.
static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    interrupted = 1;
}

typedef struct stream_state {
    mosa_local_answer *answer;
    FILE *stream;
    uint64_t begin_ns;
} stream_state;

static bool on_event(void *user, const mosa_event *event) {
    stream_state *s = user;
    if (!s->answer->first_token_ns && event->token >= 0)
        s->answer->first_token_ns = (int64_t)(mosa_clock_ns() - s->begin_ns);
    if (event->text_len) {
        fwrite(event->text, 1, event->text_len, s->stream);
        fflush(s->stream);
        mosa_buf_append(&s->answer->text, event->text, event->text_len);
    }
    s->answer->prompt_tokens = event->prompt_tokens;
    s->answer->cached_tokens = event->cached_tokens;
    s->answer->completion_tokens = event->completion_tokens;
    s->answer->finish = event->finish;
    return !interrupted;
}

// *text owns what the constraint borrows.
static mosa_status read_constraint(const mosa_local_flags *flags, char **text, mosa_constraint *out, mosa_error *err) {
    const char *file = flags->json_schema ? flags->json_schema : flags->grammar;
    size_t len = 0;
    if (!file && !flags->regex) return MOSA_OK;
    if ((flags->json_schema != NULL) + (flags->grammar != NULL) + (flags->regex != NULL) > 1)
        return mosa_fail(err, MOSA_EINVALID, "--json-schema, --grammar and --regex exclude each other");
    if (file) MOSA_TRY(mosa_file_read(file, MOSA_CONSTRAINT_BYTES_MAX, text, &len, err));
    *out = (mosa_constraint){.kind = flags->json_schema ? MOSA_CONSTRAINT_JSON_SCHEMA
                                     : flags->grammar   ? MOSA_CONSTRAINT_GRAMMAR
                                                        : MOSA_CONSTRAINT_REGEX,
                             .text = file ? *text : flags->regex,
                             .text_len = file ? len : strlen(flags->regex)};
    return MOSA_OK;
}

mosa_status mosa_local_answer_tokens(mosa_engine *engine, const mosa_local_flags *flags, const int32_t *tokens,
                                     size_t n_tokens, FILE *stream, mosa_local_answer *answer, mosa_error *err) {
    mosa_request request = mosa_request_default();
    request.tokens = tokens;
    request.n_tokens = n_tokens;
    request.max_tokens = flags->max_tokens;
    if (flags->adapter) request.adapter = MOSA_LOCAL_ADAPTER;
    MOSA_AUTO_FREE char *constraint = NULL;
    MOSA_TRY(read_constraint(flags, &constraint, &request.constraint, err));
    request.sampling.temperature = (float)flags->temperature;
    request.sampling.top_p = (float)flags->top_p;
    request.sampling.top_k = (int)flags->top_k;
    request.sampling.min_p = (float)flags->min_p;
    request.sampling.seed = (uint64_t)flags->seed;
    mosa_engine_stats stats_before, stats;
    mosa_engine_get_stats(engine, &stats_before);
    stream_state state = {.answer = answer, .stream = stream, .begin_ns = mosa_clock_ns()};
    struct sigaction ours = {.sa_handler = on_interrupt}, before;
    interrupted = 0;
    sigaction(SIGINT, &ours, &before);
    mosa_status status = mosa_engine_generate(engine, &request, on_event, &state, err);
    sigaction(SIGINT, &before, NULL);
    answer->total_ns = (int64_t)(mosa_clock_ns() - state.begin_ns);
    mosa_engine_get_stats(engine, &stats);
    answer->drafted = stats.drafted - stats_before.drafted;
    answer->accepted = stats.accepted - stats_before.accepted;
    return status;
}

void mosa_local_print_stats(const mosa_local_answer *a) {
    double first = (double)a->first_token_ns * 1e-9, rest = (double)(a->total_ns - a->first_token_ns) * 1e-9;
    int32_t read = a->prompt_tokens - a->cached_tokens;
    fprintf(stderr, "\n%d prompt tokens (%d cached), %.2f s to the first token (%.1f tokens/s)\n", a->prompt_tokens,
            a->cached_tokens, first, first > 0 ? read / first : 0.0);
    fprintf(stderr, "%d tokens generated, %.1f tokens/s\n", a->completion_tokens,
            rest > 0 && a->completion_tokens > 1 ? (a->completion_tokens - 1) / rest : 0.0);
    if (a->drafted)
        fprintf(stderr, "%llu tokens guessed ahead, %llu stood (%.0f%%)\n", (unsigned long long)a->drafted,
                (unsigned long long)a->accepted, 100.0 * (double)a->accepted / (double)a->drafted);
}
