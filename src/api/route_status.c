// GET /health, /metrics and the front page.
#include "api/api_internal.h"
#include "api/output.h"
#include "api/routes.h"
#include "base/clock.h"
#include "codec/json.h"

static const char *const state_names[] = {
    [MOSA_ENGINE_LOADING] = "loading", [MOSA_ENGINE_READY] = "ready",     [MOSA_ENGINE_DOWN] = "restarting",
    [MOSA_ENGINE_FAILED] = "failed",   [MOSA_ENGINE_STOPPED] = "stopped",
};

void mosa_route_live(mosa_http_request *request) {
    mosa_buf_append_str(&request->reply, "{\"status\":\"ok\"}");
    mosa_http_reply_json(request, 200);
}

static void append_state(const mosa_api_model *model, const mosa_engine_status *status, mosa_buf *out) {
    mosa_buf_append_str(out, "{\"id\":");
    mosa_json_append_string(out, mosa_slice_of(model->name));
    mosa_buf_append_str(out, ",\"engine\":\"");
    mosa_buf_append_str(out, state_names[status->state]);
    mosa_buf_append_str(out, "\",\"running\":");
    mosa_output_int(out, status->stats.running);
    mosa_buf_append_str(out, ",\"waiting\":");
    mosa_output_int(out, status->stats.waiting);
    mosa_buf_append_str(out, ",\"restarts\":");
    mosa_output_int(out, (int64_t)status->restarts);
    mosa_buf_append_char(out, '}');
}

void mosa_route_ready(mosa_http_request *request) {
    const mosa_api *api = request->api;
    mosa_buf models = {0};
    bool ready = true;
    for (int i = 0; i < api->options.n_models; i++) {
        mosa_engine_status status;
        mosa_gateway_get_status(api->models[i].gateway, &status);
        ready = ready && status.state == MOSA_ENGINE_READY;
        if (i) mosa_buf_append_char(&models, ',');
        append_state(&api->models[i], &status, &models);
    }
    mosa_buf_append_str(&request->reply,
                        ready ? "{\"status\":\"ok\",\"models\":[" : "{\"status\":\"unavailable\",\"models\":[");
    mosa_buf_append_slice(&request->reply, mosa_buf_slice(&models));
    mosa_buf_append_str(&request->reply, "]}");
    mosa_buf_finish(&models);
    mosa_http_reply_json(request, ready ? 200 : 503);
}

// What somebody else counts is copied when it is asked for.
static void collect_model(mosa_metrics *metrics, const mosa_api_model *model) {
    mosa_engine_status status;
    mosa_gateway_get_status(model->gateway, &status);
    const mosa_engine_stats *stats = &status.stats;
    const struct {
        int metric;
        double value;
    } rows[] = {
        {MOSA_METRIC_CALLS, mosa_gateway_calls(model->gateway)},
        {MOSA_METRIC_ENGINE_READY, status.state == MOSA_ENGINE_READY},
        {MOSA_METRIC_ENGINE_RESTARTS, (double)status.restarts},
        {MOSA_METRIC_ENGINE_RUNNING, stats->running},
        {MOSA_METRIC_ENGINE_WAITING, stats->waiting},
        {MOSA_METRIC_ENGINE_STEPS, (double)stats->steps},
        {MOSA_METRIC_ENGINE_STEP_SECONDS, (double)stats->step_ns_total / 1e9},
        {MOSA_METRIC_ENGINE_PROMPT_TOKENS, (double)stats->prompt_tokens},
        {MOSA_METRIC_ENGINE_CACHED_TOKENS, (double)stats->cached_tokens},
        {MOSA_METRIC_ENGINE_GENERATED_TOKENS, (double)stats->generated_tokens},
        {MOSA_METRIC_ENGINE_PREEMPTIONS, (double)stats->preemptions},
        {MOSA_METRIC_ENGINE_DRAFTED_TOKENS, (double)stats->drafted},
        {MOSA_METRIC_ENGINE_ACCEPTED_TOKENS, (double)stats->accepted},
    };
    for (size_t i = 0; i < MOSA_COUNT(rows); i++)
        mosa_metrics_set(metrics, rows[i].metric, rows[i].value, MOSA_LABELS(model->name));
    mosa_metrics_set(metrics, MOSA_METRIC_ENGINE_REQUESTS, (double)stats->finished,
                     MOSA_LABELS(model->name, "finished"));
    mosa_metrics_set(metrics, MOSA_METRIC_ENGINE_REQUESTS, (double)stats->cancelled,
                     MOSA_LABELS(model->name, "cancelled"));
    mosa_metrics_set(metrics, MOSA_METRIC_ENGINE_REQUESTS, (double)stats->failed, MOSA_LABELS(model->name, "failed"));
    mosa_metrics_set(metrics, MOSA_METRIC_ENGINE_PAGES, (double)stats->pages_used, MOSA_LABELS(model->name, "used"));
    mosa_metrics_set(metrics, MOSA_METRIC_ENGINE_PAGES, (double)stats->pages_cached,
                     MOSA_LABELS(model->name, "cached"));
    mosa_metrics_set(metrics, MOSA_METRIC_ENGINE_PAGES, (double)stats->pages_total, MOSA_LABELS(model->name, "all"));
}

void mosa_route_metrics(mosa_http_request *request) {
    const mosa_api *api = request->api;
    mosa_metrics_set(api->metrics, MOSA_METRIC_INFO, 1, MOSA_LABELS(MOSA_VERSION));
    mosa_metrics_set(api->metrics, MOSA_METRIC_UP_SECONDS, (double)(mosa_clock_real_s() - api->created_s), NULL);
    mosa_metrics_set(api->metrics, MOSA_METRIC_HTTP_CONNECTIONS, mosa_peers_count(api->peers), NULL);
    mosa_metrics_set(api->metrics, MOSA_METRIC_HTTP_CUT, (double)mosa_peers_cut(api->peers), NULL);
    for (int i = 0; i < api->options.n_models; i++) collect_model(api->metrics, &api->models[i]);
    mosa_metrics_write(api->metrics, &request->reply);
    mosa_http_reply_text(request, 200, "text/plain; version=0.0.4; charset=utf-8");
}

void mosa_route_index(mosa_http_request *request) {
    mosa_buf *out = &request->reply;
    mosa_buf_append_str(out, "Mosa " MOSA_VERSION ": a server for language models with OpenAI's API.\n\nModels:\n");
    for (int i = 0; i < request->api->options.n_models; i++)
        mosa_buf_printf(out, "  %s\n", request->api->models[i].name);
    mosa_buf_append_str(out, "\nRoutes:\n");
    for (size_t i = 0; i < mosa_n_routes; i++)
        mosa_buf_printf(out, "  %-5s %-22s %s\n", mosa_routes[i].method, mosa_routes[i].path, mosa_routes[i].summary);
    mosa_buf_append_str(out, "\nThe documentation is in docs/api.md of the source.\n");
    mosa_http_reply_text(request, 200, "text/plain; charset=utf-8");
}
