// The fields that chat and completions share: from a checked JSON body to the engine's request.
#ifndef MOSA_API_PARAMS_H
#define MOSA_API_PARAMS_H

#include "api/http.h"
#include "mosa/mosa.h"

typedef struct mosa_request_params {
    mosa_request request; // without tokens; borrows from bias, stop and the body
    mosa_logit_bias *bias;
    const char *stop[MOSA_STOP_MAX];
    int n;
    bool stream, include_usage;
    bool no_output; // max_tokens 0: the engine must make one token, which is not shown
} mosa_request_params;

// False with request->error. The caller calls mosa_request_params_finish in any case.
bool mosa_request_params_read(mosa_http_request *request, mosa_request_params *out);
// Whom the engine is to be fair to: the API key where there are several, else the body's `user`; 0 when it has none.
uint64_t mosa_request_params_caller(const mosa_http_request *request);

void mosa_request_params_finish(mosa_request_params *params);

// Encodes the engine's request of one choice; choices of one prompt get seeds that are derived from the first one's.
void mosa_request_params_encode(const mosa_request_params *params, const int32_t *tokens, size_t n_tokens, int sample,
                                mosa_choice *choice);

// False with a 400 context_length_exceeded when the prompt leaves no room for `room` tokens of an answer.
bool mosa_request_params_check_length(mosa_http_request *request, size_t n_tokens, int room, const char *param);

// --- small readers of a body that its schema has checked ------------------------------------------------------------

bool mosa_body_bool(const json_t *body, const char *key, bool fallback);
int64_t mosa_body_int(const json_t *body, const char *key, int64_t fallback);
double mosa_body_number(const json_t *body, const char *key, double fallback);
bool mosa_body_has(const json_t *body, const char *key); // present and not null

#endif
