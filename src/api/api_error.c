// Error objects: from our status codes to what OpenAI's clients understand.
#include "api/api_error.h"
#include "codec/json.h"

#include <stdarg.h>
#include <stdio.h>

enum { RETRY_AFTER_S = 1 };

static const char *type_of(int http) {
    if (http == 401) return "invalid_request_error";
    if (http == 403) return "permission_error";
    if (http == 429) return "rate_limit_error";
    return http >= 500 ? "server_error" : "invalid_request_error";
}

static const char *code_of(mosa_status status) {
    switch (status) {
    case MOSA_ECONTEXT:
        return "context_length_exceeded";
    case MOSA_EBUSY:
        return "queue_full";
    case MOSA_EUNAVAILABLE:
        return "engine_unavailable";
    case MOSA_EAUTH:
        return "invalid_api_key";
    case MOSA_EUNSUPPORTED:
        return "unsupported";
    case MOSA_ETIMEOUT:
        return "timeout";
    default:
        return "";
    }
}

static void put(char *to, size_t capacity, const char *text) {
    snprintf(to, capacity, "%s", text ? text : "");
}

void mosa_api_error_set(mosa_api_error *out, const mosa_error *err, const char *param) {
    *out = (mosa_api_error){.http = mosa_status_http(err->status)};
    if (mosa_status_retryable(err->status)) out->retry_after_s = RETRY_AFTER_S;
    put(out->type, sizeof out->type, mosa_status_openai_type(err->status));
    put(out->code, sizeof out->code, code_of(err->status));
    put(out->param, sizeof out->param, param);
    const char *message = err->message[0] ? err->message : "the request failed";
    snprintf(out->message, sizeof out->message, "%s%s%s", message, err->hint[0] ? ". " : "", err->hint);
}

void mosa_api_fail(mosa_api_error *out, int http, const char *code, const char *param, const char *format, ...) {
    *out = (mosa_api_error){.http = http, .retry_after_s = http == 429 || http == 503 ? RETRY_AFTER_S : 0};
    put(out->type, sizeof out->type, type_of(http));
    put(out->code, sizeof out->code, code);
    put(out->param, sizeof out->param, param);
    va_list args;
    va_start(args, format);
    vsnprintf(out->message, sizeof out->message, format, args);
    va_end(args);
}

static void append_nullable(mosa_buf *out, const char *text) {
    if (*text)
        mosa_json_append_string(out, mosa_slice_of(text));
    else
        mosa_buf_append_str(out, "null");
}

void mosa_api_error_append(mosa_buf *out, const mosa_api_error *error) {
    mosa_buf_append_str(out, "{\"error\":{\"message\":");
    mosa_json_append_string(out, mosa_slice_of(error->message));
    mosa_buf_append_str(out, ",\"type\":");
    mosa_json_append_string(out, mosa_slice_of(error->type));
    mosa_buf_append_str(out, ",\"param\":");
    append_nullable(out, error->param);
    mosa_buf_append_str(out, ",\"code\":");
    append_nullable(out, error->code);
    mosa_buf_append_str(out, "}}");
}
