// The error table, and the functions that fill an error object.
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct status_row {
    const char *name;
    int http;
    const char *openai_type;
    bool retryable;
} status_row;

static const status_row status_table[MOSA_STATUS_COUNT] = {
    [MOSA_OK] = {"ok", 200, "", false},
    [MOSA_EINVALID] = {"invalid", 400, "invalid_request_error", false},
    [MOSA_EUNSUPPORTED] = {"unsupported", 400, "invalid_request_error", false},
    [MOSA_ECORRUPT] = {"corrupt", 400, "invalid_request_error", false},
    [MOSA_ENOTFOUND] = {"not_found", 404, "invalid_request_error", false},
    [MOSA_EEXISTS] = {"exists", 409, "invalid_request_error", false},
    [MOSA_EAUTH] = {"unauthorized", 401, "invalid_request_error", false},
    [MOSA_EFORBIDDEN] = {"forbidden", 403, "permission_error", false},
    [MOSA_ECONTEXT] = {"context_length_exceeded", 400, "invalid_request_error", false},
    [MOSA_ELIMIT] = {"limit", 400, "invalid_request_error", false},
    [MOSA_EBUSY] = {"busy", 429, "rate_limit_error", true},
    [MOSA_EUNAVAILABLE] = {"unavailable", 503, "server_error", true},
    [MOSA_ECANCELLED] = {"cancelled", 499, "server_error", false},
    [MOSA_ETIMEOUT] = {"timeout", 504, "server_error", true},
    [MOSA_EIO] = {"io", 500, "server_error", false},
    [MOSA_ENOMEM] = {"out_of_memory", 503, "server_error", true},
    [MOSA_EINTERNAL] = {"internal", 500, "server_error", false},
};

static const status_row *row_of(mosa_status status) {
    if ((unsigned)status >= MOSA_STATUS_COUNT) status = MOSA_EINTERNAL;
    return &status_table[status];
}

const char *mosa_status_name(mosa_status status) {
    return row_of(status)->name;
}
int mosa_status_http(mosa_status status) {
    return row_of(status)->http;
}
const char *mosa_status_openai_type(mosa_status status) {
    return row_of(status)->openai_type;
}
bool mosa_status_retryable(mosa_status status) {
    return row_of(status)->retryable;
}

static void fill_message(mosa_error *err, mosa_status status, const char *format, va_list args) {
    err->status = status;
    err->hint[0] = '\0';
    vsnprintf(err->message, sizeof err->message, format, args);
}

mosa_status mosa_fail(mosa_error *err, mosa_status status, const char *format, ...) {
    if (!err) return status;
    va_list args;
    va_start(args, format);
    fill_message(err, status, format, args);
    va_end(args);
    return status;
}

mosa_status mosa_fail_errno(mosa_error *err, int errno_value, const char *format, ...) {
    mosa_status status = errno_value == ENOMEM ? MOSA_ENOMEM : errno_value == ENOENT ? MOSA_ENOTFOUND : MOSA_EIO;
    if (!err) return status;
    va_list args;
    va_start(args, format);
    fill_message(err, status, format, args);
    va_end(args);
    char text[128];
    const char *reason = strerror_r(errno_value, text, sizeof text);
    size_t used = strlen(err->message);
    snprintf(err->message + used, sizeof err->message - used, ": %s", reason);
    return status;
}

mosa_status mosa_hint(mosa_error *err, const char *format, ...) {
    if (!err) return MOSA_EINTERNAL;
    va_list args;
    va_start(args, format);
    vsnprintf(err->hint, sizeof err->hint, format, args);
    va_end(args);
    return err->status;
}

mosa_status mosa_fail_prefix(mosa_error *err, const char *prefix) {
    if (!err) return MOSA_EINTERNAL;
    char old[MOSA_ERROR_MESSAGE_MAX];
    memcpy(old, err->message, sizeof old);
    // The cause matters more than a long path: keep at least half of the room for it.
    snprintf(err->message, sizeof err->message, "%.*s: %s", MOSA_ERROR_MESSAGE_MAX / 2, prefix, old);
    return err->status;
}

void mosa_error_clear(mosa_error *err) {
    if (err) *err = (mosa_error){.status = MOSA_OK};
}

void mosa_auto_free(void *pointer_to_pointer) {
    free(*(void **)pointer_to_pointer);
}

void mosa_auto_close(int *fd) {
    if (*fd >= 0) close(*fd);
}
