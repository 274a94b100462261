// Status codes and the error object that every fallible function fills.
//
// A fallible function returns mosa_status and takes `mosa_error *err` as its last parameter (NULL allowed). Outputs are
// written only on success. The fault is described where it is found, logged once at the edge, never in between.
// The table in status.c gives each code its name, HTTP status, OpenAI error type and whether a retry can help.
// Thread: all functions are reentrant; an error object belongs to one thread at a time.
#ifndef MOSA_BASE_STATUS_H
#define MOSA_BASE_STATUS_H

#include "mosa/status.h"

#include <stdbool.h>
#include <stddef.h>

// Fills *err (if not NULL) and returns `status`, so that a fault is one statement: `return mosa_fail(err, ...)`.
// Clears the hint. The message is cut at its limit, never overrun.
mosa_status mosa_fail(mosa_error *err, mosa_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// As mosa_fail with MOSA_EIO (MOSA_ENOMEM for ENOMEM, MOSA_ENOTFOUND for ENOENT) and the text of `errno_value`
// appended.
mosa_status mosa_fail_errno(mosa_error *err, int errno_value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Sets the hint of an error that is already filled. Returns err->status (MOSA_EINTERNAL when err is NULL).
mosa_status mosa_hint(mosa_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Puts "prefix: " before the message, for a caller that knows the file's name. Returns err->status.
mosa_status mosa_fail_prefix(mosa_error *err, const char *prefix);

void mosa_error_clear(mosa_error *err);

const char *mosa_status_name(mosa_status status);        // "corrupt"
int mosa_status_http(mosa_status status);                // 400
const char *mosa_status_openai_type(mosa_status status); // "invalid_request_error"
bool mosa_status_retryable(mosa_status status);

// Propagates a failure. The callee has filled err.
#define MOSA_TRY(expr)                                                                                                 \
    do {                                                                                                               \
        mosa_status mosa_try_status_ = (expr);                                                                         \
        if (mosa_try_status_ != MOSA_OK) return mosa_try_status_;                                                      \
    } while (0)

// As MOSA_TRY in a function with one cleanup label: sets `status` (a local) and jumps.
#define MOSA_TRY_GOTO(expr, label)                                                                                     \
    do {                                                                                                               \
        status = (expr);                                                                                               \
        if (status != MOSA_OK) goto label;                                                                             \
    } while (0)

// Owned locals: MOSA_AUTO(mosa_free) char *p = ...; the function named takes a pointer to the variable.
#define MOSA_AUTO(function) __attribute__((cleanup(function)))
void mosa_auto_free(void *pointer_to_pointer); // free(*p)
void mosa_auto_close(int *fd);                 // close(*fd) when >= 0
#define MOSA_AUTO_FREE MOSA_AUTO(mosa_auto_free)

#define MOSA_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
