// Mosa as a library: load a model, tokenize, generate, cancel, free.
//
// This header is the whole boundary of the inference engine; the engine process of `mosa serve` uses nothing else.
//
// Model of use. One thread owns the engine's loop and calls mosa_engine_step again and again; each step runs one batch
// over all running requests and returns their new tokens. Any thread may submit and cancel. A program with one request
// at a time calls mosa_engine_generate, which is that loop.
//
// Determinism. The same model, request and seed give the same tokens and log-probabilities, bit for bit, whatever else
// is in the batch, however the prompt was chunked, whether its prefix was cached, and with any number of threads.
//
// Errors are values (mosa/status.h). There is no process-wide state. Strings are UTF-8.
#ifndef MOSA_MOSA_H
#define MOSA_MOSA_H

#include "mosa/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mosa_engine mosa_engine;

typedef struct mosa_engine_options {
    const char *model;       // GGUF file (or first part of a split one) or Hugging Face folder
    const char *device;      // "cpu" (default), "cpu:ref" (plain C kernels only), "cpu:avx2"
    const char *quantize;    // NULL: as stored; "q8_0" or "q4_k": quantise the matrices of an unquantised model at load
    const char *kv_type;     // "f16" (default), "f32", or "q8_0": int8 with scales, about half of f16
    int threads;             // 0 = all CPUs this process may use
    int64_t context_tokens;  // longest sequence; 0 = the model's own limit, cut to what kv_memory_bytes can hold
    int64_t kv_memory_bytes; // memory for KV pages; 0 = enough for max_sequences at 4096 tokens or one full context
    int max_sequences;       // running at the same time; 0 = 32
    int max_queued;          // waiting; one more is refused with MOSA_EBUSY; 0 = 1024
    int max_batch_tokens;    // rows of one step, shared by prefill and decode; 0 = 512. An encoder's step holds its
                             // context as well, up to 8192
    int max_adapters;        // LoRA adapters that may be loaded at the same time; 0 = none
    int max_adapter_rank;    // largest rank of one; 0 = 64
    bool no_prefix_cache;    // do not share pages between requests with equal prefixes
    const char *speculate;   // NULL or "off"; "ngram": guess from a sequence's own tokens; "draft": with draft_model
                             // (the default when there is one). Never changes an output
    const char *draft_model; // a small model with the same vocabulary; NULL = none
    int draft_tokens;        // guesses of one sequence in a step at most; 0 = 8
} mosa_engine_options;

typedef struct mosa_engine_info {
    char name[128];         // general.name, or the file's name
    char architecture[32];  // "llama"
    char quantization[32];  // "Q4_K" : the type that most weights have
    int64_t parameters;     // number of weights
    int64_t context_tokens; // longest sequence that this engine accepts
    int64_t train_context_tokens;
    int vocab_size, width, layers;
    int64_t weight_bytes, kv_bytes, scratch_bytes;
    int64_t kv_token_bytes;     // keys and values of one token, in all layers; the draft model's included
    int64_t draft_weight_bytes; // 0 without a draft model
    int64_t kv_pages;
    int page_tokens;
    int64_t load_ns; // what opening took
    char device[64];
    bool can_embed, can_generate; // an encoder embeds and does not generate; its context is also what one step holds
    bool can_score;               // MOSA_SCORE
} mosa_engine_info;

// Opens a model; takes seconds for a large one. The engine is destroyed by mosa_engine_close, which ends what still
// runs without events; no other thread may be using the engine by then. Options and strings are copied.
mosa_status mosa_engine_open(const mosa_engine_options *options, mosa_engine **out, mosa_error *err);
void mosa_engine_close(mosa_engine *engine); // NULL-safe
void mosa_engine_get_info(const mosa_engine *engine, mosa_engine_info *info);

// --- text ---------------------------------------------------------------------------------------------------------

enum {
    MOSA_TOKENIZE_SPECIAL = 1, // add the model's BOS/EOS as its rules say
    MOSA_TOKENIZE_CONTROL = 2, // text may name control tokens ("<|im_end|>"); never set it for a user's text
};

// Writes at most `capacity` ids to `tokens` and the full count to *n_out (call with capacity 0 to size). Thread-safe.
mosa_status mosa_tokenize(const mosa_engine *engine, const char *text, size_t len, unsigned flags, int32_t *tokens,
                          size_t capacity, size_t *n_out, mosa_error *err);

// Bytes of one token (may be a part of a character); borrowed from the engine; NULL for an unknown id. Thread-safe.
const char *mosa_token_bytes(const mosa_engine *engine, int32_t token, size_t *len);

// Renders `messages_json` (an OpenAI messages array) through the model's chat template with a generation prompt, and
// tokenizes it so that message text can never become a control token. As mosa_tokenize for the outputs. Thread-safe.
mosa_status mosa_tokenize_chat(const mosa_engine *engine, const char *messages_json, int32_t *tokens, size_t capacity,
                               size_t *n_out, mosa_error *err);

// --- requests -----------------------------------------------------------------------------------------------------

typedef struct mosa_logit_bias {
    int32_t token;
    float bias; // added to the logit, -100..100
} mosa_logit_bias;

typedef struct mosa_sampling {
    float temperature;        // 0 = greedy
    float top_p;              // 1 = off
    float min_p;              // 0 = off
    int top_k;                // 0 = off
    float repetition_penalty; // 1 = off; over prompt and output
    float frequency_penalty;  // 0 = off; over output
    float presence_penalty;   // 0 = off; over output
    uint64_t seed;            // equal seeds give equal samples
    const mosa_logit_bias *logit_bias;
    int n_logit_bias;
} mosa_sampling;

typedef enum mosa_request_kind {
    MOSA_GENERATE,
    MOSA_EMBED_MEAN, // mean over the prompt's last hidden states, L2-normalised
    MOSA_EMBED_LAST, // last token's hidden state, L2-normalised
    MOSA_EMBED_CLS,  // first token's hidden state, L2-normalised
    MOSA_EMBED,      // the one of these that the model's files name; the mean where they name none
    MOSA_SCORE,      // how well two texts go together, 0 to 1; for cross-encoders (info.can_score)
} mosa_request_kind;

// What the generated text must be. Compiled at submission; equal constraints are compiled once.
typedef enum mosa_constraint_kind {
    MOSA_CONSTRAINT_NONE,
    MOSA_CONSTRAINT_JSON_OBJECT, // any JSON object; no text
    MOSA_CONSTRAINT_JSON_SCHEMA, // text: a JSON Schema
    MOSA_CONSTRAINT_REGEX,       // text: a regular expression that the whole output matches
    MOSA_CONSTRAINT_CHOICE,      // text: a JSON array of strings, one of which is the output
    MOSA_CONSTRAINT_GRAMMAR,     // text: a grammar in the Lark-like dialect or in GBNF (docs/structured-output.md)
} mosa_constraint_kind;

enum { MOSA_CONSTRAINT_BYTES_MAX = 1 << 20 };

typedef struct mosa_constraint {
    mosa_constraint_kind kind;
    const char *text; // (text_len) borrowed during submission
    size_t text_len;
} mosa_constraint;

typedef struct mosa_request {
    mosa_request_kind kind;
    const int32_t *tokens; // (n_tokens) the prompt; at least one
    size_t n_tokens;
    size_t n_first; // tokens before this one are the first of two texts (MOSA_SCORE); 0 = there is one text
    mosa_sampling sampling;
    int64_t max_tokens;      // generated at most; 0 = up to the context
    int64_t min_tokens;      // end tokens are not sampled before
    const char *const *stop; // (n_stop) strings that end the output; they are not part of it
    int n_stop;
    bool ignore_eos;
    bool show_control;    // control tokens appear in the text by their spelling; those that end it never do
    int top_logprobs;     // -1: no logprobs; n >= 0: the sampled token's and the n best (n <= 20)
    bool prompt_logprobs; // also events for the prompt's tokens (from the second on)
    int priority;         // higher first; may push out running requests of lower priority
    uint64_t caller;      // who asks: equal priorities share the engine fairly between callers; 0 = anonymous
    const char *adapter;  // name of a loaded adapter; NULL = the model itself
    mosa_constraint constraint;
    bool no_speculation; // run this request without guessed tokens; its output is the same either way
} mosa_request;

mosa_request mosa_request_default(void); // generate, greedy off: temperature 1, no limits, no logprobs

typedef enum mosa_finish {
    MOSA_FINISH_NONE = 0, // still running
    MOSA_FINISH_STOP,     // end token or stop string
    MOSA_FINISH_LENGTH,   // max_tokens or the context's end
    MOSA_FINISH_CANCELLED,
    MOSA_FINISH_ERROR, // event.error says why
} mosa_finish;

typedef struct mosa_logprob {
    int32_t token;
    float logprob;
} mosa_logprob;

enum { MOSA_TOP_LOGPROBS_MAX = 20, MOSA_STOP_MAX = 16, MOSA_STOP_BYTES_MAX = 1024 };

// What one step did for one request. Pointers are valid until the next step.
typedef struct mosa_event {
    uint64_t request;
    int32_t token;  // -1 when this event carries no token
    bool is_prompt; // token belongs to the prompt (prompt_logprobs)
    float logprob;  // of token under the model's distribution, before temperature and penalties
    int n_top;
    const mosa_logprob *top; // (n_top) best first
    const char *text;        // new text that is safe to show: whole characters, nothing that may become a stop string
    size_t text_len;
    mosa_finish finish;
    int stop_index;                                          // which stop string matched, or -1
    const float *embedding;                                  // (width) for MOSA_EMBED_*, in the last event
    float score;                                             // for MOSA_SCORE, in the last event
    int32_t prompt_tokens, cached_tokens, completion_tokens; // usage so far
    const mosa_error *error;                                 // with MOSA_FINISH_ERROR
} mosa_event;

// Queues a request. Everything is copied. Fails at once with a 4xx status when it can never run (prompt beyond the
// context, unknown token, contradictory options; MOSA_ENOTFOUND: unknown adapter) and MOSA_EBUSY when the queue is
// full. Any thread.
mosa_status mosa_engine_submit(mosa_engine *engine, const mosa_request *request, uint64_t *id, mosa_error *err);

// The request ends with MOSA_FINISH_CANCELLED in the next step; unknown or finished ids are ignored. Any thread.
void mosa_engine_cancel(mosa_engine *engine, uint64_t id);

// Runs one step, waiting up to timeout_ms for work. *events points at n_events events (0 on timeout), valid until the
// next call. One thread at a time. A failure here means that the engine is no longer usable.
mosa_status mosa_engine_step(mosa_engine *engine, int timeout_ms, const mosa_event **events, int *n_events,
                             mosa_error *err);
void mosa_engine_wake(mosa_engine *engine); // ends a waiting step early; any thread

// Convenience: submits and steps until the request is finished. `on_event` returns false to cancel.
typedef bool (*mosa_event_fn)(void *user, const mosa_event *event);
mosa_status mosa_engine_generate(mosa_engine *engine, const mosa_request *request, mosa_event_fn on_event, void *user,
                                 mosa_error *err);

// --- adapters -----------------------------------------------------------------------------------------------------

// LoRA adapters beside the model's weights, each of which any request may name. Requests of several adapters and of
// none run in one batch, and what one gets does not depend on the others. All from any thread, while requests run.

enum { MOSA_ADAPTER_NAME_MAX = 127 };

typedef struct mosa_adapter_info {
    char name[MOSA_ADAPTER_NAME_MAX + 1];
    int rank;         // its largest
    int64_t bytes;    // resident
    int64_t requests; // that use it now
} mosa_adapter_info;

// Loads a PEFT folder or a GGUF LoRA file under a name; takes as long as reading it. MOSA_EEXISTS when the name is
// taken, MOSA_ELIMIT (max_adapters, max_adapter_rank), MOSA_EINVALID when it is for another model, MOSA_EUNSUPPORTED,
// MOSA_ENOTFOUND, MOSA_ECORRUPT; the message names file and tensor.
mosa_status mosa_engine_adapter_load(mosa_engine *engine, const char *name, const char *path, mosa_error *err);
// No further request can name it; those that run go on, and its memory goes with the last. MOSA_ENOTFOUND.
mosa_status mosa_engine_adapter_unload(mosa_engine *engine, const char *name, mosa_error *err);
// Writes at most `capacity` entries, in order of loading; returns how many there are.
int mosa_engine_get_adapters(mosa_engine *engine, mosa_adapter_info *out, int capacity);

// --- numbers ------------------------------------------------------------------------------------------------------

typedef struct mosa_engine_stats {
    uint64_t steps, prompt_tokens, cached_tokens, generated_tokens, finished, cancelled, failed, preemptions;
    int running, waiting;
    int64_t pages_used, pages_cached, pages_total; // used by sequences; kept only by the prefix tree; all
    uint64_t step_ns_last, step_ns_total;
    uint64_t drafted, accepted; // tokens guessed ahead, and those of them that stood
} mosa_engine_stats;
void mosa_engine_get_stats(const mosa_engine *engine, mosa_engine_stats *stats); // any thread

// --- measuring ----------------------------------------------------------------------------------------------------

// Time, operations and bytes of one kind of op over all runs since profiling was turned on.
enum { MOSA_PROFILE_ROWS_MAX = 64, MOSA_PROFILE_NAME_MAX = 48 };
typedef struct mosa_profile_row {
    char name[MOSA_PROFILE_NAME_MAX]; // op, and the type of its matrix: "linear q4_k"
    uint64_t calls, ns;
    double flops, bytes; // operations (a multiply-add is two), bytes of operands read and results written
} mosa_profile_row;

// Turns profiling on (from zero) or off. The engine's thread, between steps. Costs two clock reads per op and step.
void mosa_engine_profile(mosa_engine *engine, bool on);
// Writes at most `capacity` rows, slowest first; returns how many. The engine's thread, between steps.
int mosa_engine_get_profile(const mosa_engine *engine, mosa_profile_row *rows, int capacity);

// What the engine's device can do at most, measured now on its own threads; takes about half a second.
typedef struct mosa_limits {
    double read_bytes_per_s; // streaming reads of memory beyond the caches
    double f32_ops_per_s;    // fused multiply-adds of f32, two operations each
    double int8_ops_per_s;   // multiply-adds of int8 into wider sums, two operations each
    double matrix_ops_per_s; // dense matrix products on matrix units (bf16, f32 sums); 0 = it has none
} mosa_limits;
mosa_status mosa_engine_measure(mosa_engine *engine, mosa_limits *limits, mosa_error *err);

#ifdef __cplusplus
}
#endif

#endif
