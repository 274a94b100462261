// The client of a load test.
#include "cli/load_client.h"

#include "base/clock.h"
#include "base/str.h"
#include "codec/json.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MAX = 4096, POLL_MS_MAX = 200, LINE_BYTES_MAX = 1 << 20, URL_BYTES = 1024, PROGRESS_MS = 500 };

typedef struct runner runner;

typedef struct exchange { // one slot: a request that is under way, or a handle to use again
    runner *run;
    CURL *curl;
    mosa_buf body, line; // what is sent; the unfinished line of what comes
    mosa_load_result *result;
    const mosa_load_request *request;
    bool counted; // the server has told the usage
} exchange;

struct runner {
    const mosa_load_target *target;
    const mosa_load_options *options;
    const mosa_load_plan *plan;
    mosa_load_run *out;
    CURLM *multi;
    struct curl_slist *headers;
    char url[URL_BYTES];
    exchange *slots; // (n_slots)
    exchange **idle; // (n_idle) stack
    size_t n_slots, n_idle, next, done;
    uint64_t begin_ns, progress_ns;
};

static double now_s(const runner *r) {
    return (double)(mosa_clock_ns() - r->begin_ns) * 1e-9;
}

// --- what comes -----------------------------------------------------------------------------------------------------

static void note_chunk(exchange *x) {
    mosa_load_result *result = x->result;
    double at = now_s(x->run);
    if (result->first_s == 0) {
        result->first_s = at;
    } else {
        if (result->n_gaps == result->cap_gaps) {
            size_t capacity = result->cap_gaps ? 2 * result->cap_gaps : 64;
            float *grown = realloc(result->gaps_ms, capacity * sizeof *grown);
            if (!grown) return; // one gap less in the statistics
            result->gaps_ms = grown;
            result->cap_gaps = capacity;
        }
        result->gaps_ms[result->n_gaps++] = (float)((at - result->last_s) * 1e3);
    }
    result->last_s = at;
    if (!x->counted) result->output_tokens++;
}

static void note_fault(exchange *x, const char *text) {
    if (!x->result->fault[0]) snprintf(x->result->fault, sizeof x->result->fault, "%s", text);
}

static void take_usage(exchange *x, const json_t *usage) {
    const json_t *prompt = json_object_get(usage, "prompt_tokens");
    const json_t *completion = json_object_get(usage, "completion_tokens");
    if (!json_is_integer(prompt) || !json_is_integer(completion)) return;
    x->counted = true;
    x->result->input_tokens = json_integer_value(prompt);
    x->result->output_tokens = json_integer_value(completion);
}

// "data: {...}": the only lines of a stream that say something.
static void take_line(exchange *x, const char *line) {
    static const char prefix[] = "data:";
    if (strncmp(line, prefix, sizeof prefix - 1) != 0) return;
    const char *text = line + sizeof prefix - 1;
    while (*text == ' ') text++;
    if (strncmp(text, "[DONE]", 6) == 0) return;
    MOSA_AUTO_JSON json_t *event = NULL;
    if (mosa_json_parse(mosa_slice_of(text), NULL, &event, NULL) != MOSA_OK) {
        note_fault(x, "an event is no JSON");
        return;
    }
    const json_t *error = json_object_get(event, "error");
    if (error) {
        const char *message = json_string_value(json_object_get(error, "message"));
        note_fault(x, message ? message : "an error event");
    }
    take_usage(x, json_object_get(event, "usage"));
    const json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
    const json_t *text_of = json_object_get(choice, "text");
    if (json_is_string(text_of) && json_string_length(text_of) > 0) note_chunk(x);
}

static size_t on_body(char *data, size_t size, size_t count, void *user) {
    exchange *x = user;
    size_t len = size * count;
    for (size_t i = 0; i < len; i++) {
        if (data[i] != '\n') {
            mosa_buf_append_char(&x->line, data[i]);
            continue;
        }
        take_line(x, mosa_buf_str(&x->line));
        mosa_buf_clear(&x->line);
    }
    return mosa_buf_failed(&x->line) ? 0 : len;
}

// --- what is sent ---------------------------------------------------------------------------------------------------

static void write_body(exchange *x) {
    const runner *r = x->run;
    const mosa_load_request *request = x->request;
    mosa_buf *body = &x->body;
    mosa_buf_clear(body);
    mosa_buf_append_str(body, "{\"model\":");
    mosa_json_append_string(body, mosa_slice_of(r->target->model));
    mosa_buf_append_str(body, ",\"prompt\":[");
    for (int64_t i = 0; i < request->prefix_tokens + request->input_tokens; i++)
        mosa_buf_printf(body, i ? ",%d" : "%d", mosa_load_token(r->options, request, i));
    mosa_buf_printf(body,
                    "],\"max_tokens\":%lld,\"min_tokens\":%lld,\"ignore_eos\":true,\"temperature\":0,\"stream\":true,"
                    "\"stream_options\":{\"include_usage\":true}}",
                    (long long)request->output_tokens, (long long)request->output_tokens);
}

static mosa_status start(runner *r, mosa_error *err) {
    exchange *x = r->idle[--r->n_idle];
    x->request = &r->plan->requests[r->next];
    x->result = &r->out->results[r->next++];
    x->result->input_tokens = x->request->prefix_tokens + x->request->input_tokens;
    x->counted = false;
    mosa_buf_clear(&x->line);
    write_body(x);
    if (mosa_buf_failed(&x->body)) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a request");
    curl_easy_setopt(x->curl, CURLOPT_POSTFIELDS, x->body.data);
    curl_easy_setopt(x->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->body.len);
    x->result->sent_s = now_s(r);
    if (curl_multi_add_handle(r->multi, x->curl) != CURLM_OK) return mosa_fail(err, MOSA_EIO, "libcurl gives up");
    int64_t running = (int64_t)(r->n_slots - r->n_idle);
    if (running > r->out->peak) r->out->peak = running;
    return MOSA_OK;
}

static void finish(runner *r, exchange *x, CURLcode code) {
    mosa_load_result *result = x->result;
    char text[160];
    long http = 0;
    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &http);
    if (code != CURLE_OK) {
        note_fault(x, curl_easy_strerror(code));
    } else if (http != 200) {
        snprintf(text, sizeof text, "HTTP %ld: %.120s", http, mosa_buf_str(&x->line));
        note_fault(x, text);
    } else if (result->first_s == 0) {
        note_fault(x, "no text came");
    }
    result->ok = !result->fault[0];
    curl_multi_remove_handle(r->multi, x->curl);
    r->idle[r->n_idle++] = x;
    r->done++;
}

// --- the loop -------------------------------------------------------------------------------------------------------

static void print_progress(runner *r, bool last) {
    uint64_t now = mosa_clock_ns();
    if (!r->target->progress || (!last && now - r->progress_ns < PROGRESS_MS * UINT64_C(1000000))) return;
    r->progress_ns = now;
    fprintf(stderr, "\r%zu of %zu requests, %zu running, %.0f s ", r->done, r->plan->count, r->n_slots - r->n_idle,
            now_s(r));
    if (last) fprintf(stderr, "\n");
}

static void take_finished(runner *r) {
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(r->multi, &left));) {
        exchange *x;
        if (message->msg != CURLMSG_DONE) continue;
        CURLcode code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&x);
        finish(r, x, code);
    }
}

static mosa_status loop(runner *r, mosa_error *err) {
    while (r->done < r->plan->count) {
        while (r->next < r->plan->count && r->n_idle > 0 && r->plan->requests[r->next].at_s <= now_s(r))
            MOSA_TRY(start(r, err));
        int running, wait_ms = POLL_MS_MAX;
        if (curl_multi_perform(r->multi, &running) != CURLM_OK) return mosa_fail(err, MOSA_EIO, "libcurl gives up");
        take_finished(r);
        print_progress(r, false);
        if (r->next < r->plan->count && r->n_idle > 0) {
            double left_ms = (r->plan->requests[r->next].at_s - now_s(r)) * 1e3;
            if (left_ms < wait_ms) wait_ms = left_ms > 0 ? (int)left_ms : 0;
        }
        if (r->done < r->plan->count) curl_multi_poll(r->multi, NULL, 0, wait_ms, NULL);
    }
    print_progress(r, true);
    return MOSA_OK;
}

static mosa_status prepare_slot(runner *r, exchange *x, mosa_error *err) {
    x->run = r;
    mosa_buf_init(&x->line, LINE_BYTES_MAX);
    x->curl = curl_easy_init();
    if (!x->curl) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a connection");
    curl_easy_setopt(x->curl, CURLOPT_URL, r->url);
    curl_easy_setopt(x->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(x->curl, CURLOPT_HTTPHEADER, r->headers);
    curl_easy_setopt(x->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(x->curl, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(x->curl, CURLOPT_PRIVATE, x);
    curl_easy_setopt(x->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(x->curl, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(x->curl, CURLOPT_TIMEOUT_MS, (long)r->target->timeout_ms);
    r->idle[r->n_idle++] = x;
    return MOSA_OK;
}

static mosa_status prepare(runner *r, mosa_error *err) {
    char authorization[600];
    r->n_slots = r->plan->count < SLOTS_MAX ? r->plan->count : SLOTS_MAX;
    if (r->target->max_concurrency > 0 && (size_t)r->target->max_concurrency < r->n_slots)
        r->n_slots = (size_t)r->target->max_concurrency;
    r->out->count = r->plan->count;
    r->out->results = calloc(r->plan->count, sizeof *r->out->results);
    r->slots = calloc(r->n_slots, sizeof *r->slots);
    r->idle = calloc(r->n_slots, sizeof(exchange *));
    r->multi = curl_multi_init();
    r->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (!r->out->results || !r->slots || !r->idle || !r->multi || !r->headers)
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for %zu requests", r->plan->count);
    if (r->target->api_key) {
        snprintf(authorization, sizeof authorization, "Authorization: Bearer %.500s", r->target->api_key);
        struct curl_slist *longer = curl_slist_append(r->headers, authorization);
        if (!longer) return mosa_fail(err, MOSA_ENOMEM, "out of memory");
        r->headers = longer;
    }
    size_t len = strlen(r->target->base_url);
    while (len > 0 && r->target->base_url[len - 1] == '/') len--;
    int used = snprintf(r->url, sizeof r->url, "%.*s%s", (int)len, r->target->base_url, r->target->endpoint);
    if (used < 0 || (size_t)used >= sizeof r->url) return mosa_fail(err, MOSA_EINVALID, "the URL is too long");
    for (size_t i = 0; i < r->n_slots; i++) MOSA_TRY(prepare_slot(r, &r->slots[i], err));
    return MOSA_OK;
}

static void clean_up(runner *r) {
    for (size_t i = 0; r->slots && i < r->n_slots; i++) {
        exchange *x = &r->slots[i];
        if (!x->curl) continue;
        if (r->multi) curl_multi_remove_handle(r->multi, x->curl);
        curl_easy_cleanup(x->curl);
        mosa_buf_finish(&x->body);
        mosa_buf_finish(&x->line);
    }
    curl_multi_cleanup(r->multi);
    curl_slist_free_all(r->headers);
    free(r->slots);
    free(r->idle);
}

mosa_status mosa_load_run_plan(const mosa_load_target *target, const mosa_load_options *options,
                               const mosa_load_plan *plan, mosa_load_run *out, mosa_error *err) {
    *out = (mosa_load_run){0};
    runner r = {.target = target, .options = options, .plan = plan, .out = out};
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) return mosa_fail(err, MOSA_EIO, "libcurl does not start");
    mosa_status status = prepare(&r, err);
    r.begin_ns = mosa_clock_ns();
    if (status == MOSA_OK) status = loop(&r, err);
    out->duration_s = now_s(&r);
    clean_up(&r);
    if (status != MOSA_OK) mosa_load_run_finish(out);
    return status;
}

void mosa_load_run_finish(mosa_load_run *run) {
    for (size_t i = 0; run->results && i < run->count; i++) free(run->results[i].gaps_ms);
    free(run->results);
    *run = (mosa_load_run){0};
}
