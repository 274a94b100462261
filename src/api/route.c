// The table of routes and how a request finds its line.
#include "api/route.h"
#include "api/routes.h"
#include "api/schemas.h"
#include "base/str.h"

#include <stdio.h>

const mosa_route mosa_routes[] = {
    {"POST", "/v1/chat/completions", MOSA_AUTH_INFERENCE, mosa_route_chat, "Answer a conversation", mosa_schema_chat},
    {"POST", "/v1/completions", MOSA_AUTH_INFERENCE, mosa_route_completions, "Continue a text",
     mosa_schema_completions},
    {"POST", "/v1/messages", MOSA_AUTH_INFERENCE, mosa_route_messages, "Answer a conversation (Anthropic)",
     mosa_schema_messages, .anthropic = true},
    {"POST", "/v1/messages/count_tokens", MOSA_AUTH_INFERENCE, mosa_route_count_tokens,
     "Count the tokens of a conversation (Anthropic)", mosa_schema_count_tokens, .anthropic = true},
    {"POST", "/v1/embeddings", MOSA_AUTH_INFERENCE, mosa_route_embeddings, "Embed texts", mosa_schema_embeddings},
    {"POST", "/v1/rerank", MOSA_AUTH_INFERENCE, mosa_route_rerank, "Order documents by a query", mosa_schema_rerank},
    {"POST", "/rerank", MOSA_AUTH_INFERENCE, mosa_route_rerank, "Order documents by a query", mosa_schema_rerank},
    {"POST", "/v1/score", MOSA_AUTH_INFERENCE, mosa_route_score, "Score pairs of texts", mosa_schema_score},
    {"POST", "/score", MOSA_AUTH_INFERENCE, mosa_route_score, "Score pairs of texts", mosa_schema_score},
    {"GET", "/v1/models", MOSA_AUTH_INFERENCE, mosa_route_models, "List the models", NULL},
    {"GET", "/v1/models/{id}", MOSA_AUTH_INFERENCE, mosa_route_model, "Describe one model", NULL},
    {"POST", "/v1/load_lora_adapter", MOSA_AUTH_OPERATE, mosa_route_load_adapter, "Load a LoRA adapter",
     mosa_schema_load_adapter},
    {"POST", "/v1/unload_lora_adapter", MOSA_AUTH_OPERATE, mosa_route_unload_adapter, "Drop a LoRA adapter",
     mosa_schema_unload_adapter},
    {"POST", "/tokenize", MOSA_AUTH_INFERENCE, mosa_route_tokenize, "Text or messages to token ids",
     mosa_schema_tokenize},
    {"POST", "/detokenize", MOSA_AUTH_INFERENCE, mosa_route_detokenize, "Token ids to text", mosa_schema_detokenize},
    {"GET", "/health", MOSA_AUTH_NONE, mosa_route_ready, "Whether requests can be answered now", NULL},
    {"GET", "/health/live", MOSA_AUTH_NONE, mosa_route_live, "Whether the server runs", NULL},
    {"GET", "/health/ready", MOSA_AUTH_NONE, mosa_route_ready, "Whether requests can be answered now", NULL},
    {"GET", "/metrics", MOSA_AUTH_OPERATE, mosa_route_metrics, "Metrics as Prometheus text", NULL},
    {"GET", "/", MOSA_AUTH_NONE, mosa_route_index, "What this is", NULL},
};
const size_t mosa_n_routes = MOSA_COUNT(mosa_routes);

// Whether `path` is the route's; *argument is set to what stands for a last segment in braces.
static bool path_matches(const char *pattern, const char *path, const char **argument) {
    const char *brace = strchr(pattern, '{');
    if (!brace) return strcmp(pattern, path) == 0;
    size_t fixed = (size_t)(brace - pattern);
    if (strncmp(pattern, path, fixed) != 0 || !path[fixed]) return false;
    *argument = path + fixed;
    return true;
}

static bool method_matches(const mosa_route *route, const char *method) {
    return strcmp(route->method, method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

static void add_allowed(char *allow, size_t capacity, const char *method) {
    size_t len = strlen(allow);
    snprintf(allow + len, capacity - len, "%s%s%s", len ? ", " : "", method, strcmp(method, "GET") ? "" : ", HEAD");
}

void mosa_route_find(const char *method, const char *path, mosa_route_match *out) {
    *out = (mosa_route_match){0};
    for (size_t i = 0; i < mosa_n_routes; i++) {
        const mosa_route *route = &mosa_routes[i];
        const char *argument = NULL;
        if (!path_matches(route->path, path, &argument)) continue;
        out->known_path = true;
        out->argument = argument;
        add_allowed(out->allow, sizeof out->allow - sizeof ", OPTIONS", route->method);
        if (!out->route && method_matches(route, method)) {
            out->route = route;
            out->index = i;
        }
    }
    if (out->known_path) add_allowed(out->allow, sizeof out->allow, "OPTIONS");
}
