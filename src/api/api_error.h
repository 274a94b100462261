// What a client is told when a request fails: HTTP status, OpenAI error object, retry advice.
//
// Filled by handlers and by the gateway; http 0 means that there is no error. Plain data, no ownership.
#ifndef MOSA_API_API_ERROR_H
#define MOSA_API_API_ERROR_H

#include "base/status.h"
#include "base/str.h"

typedef struct mosa_api_error {
    int http;          // status code; 0 = no error
    int retry_after_s; // 0 = no header
    char type[32];     // "invalid_request_error"
    char code[48];     // "model_not_found"; "" becomes null
    char param[160];   // "messages[0].content"; "" becomes null
    char message[640]; // never empty
} mosa_api_error;

// Translates a status by the table of base/status.h; the hint follows the message. param may be NULL.
void mosa_api_error_set(mosa_api_error *out, const mosa_error *err, const char *param);

// As one statement. code and param may be NULL.
void mosa_api_fail(mosa_api_error *out, int http, const char *code, const char *param, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

// Appends {"error":{"message","type","param","code"}} with all four keys.
void mosa_api_error_append(mosa_buf *out, const mosa_api_error *error);

#endif
