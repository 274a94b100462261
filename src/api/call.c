// Calls: construction and release.
#include "api/call.h"
#include "api/chat_answer.h"
#include "base/log.h"

#include <stdlib.h>

mosa_call *mosa_call_create(struct mosa_http_request *http, const mosa_call_format *format, int n_choices) {
    mosa_call *call = calloc(1, sizeof *call);
    if (!call) return NULL;
    *call = (mosa_call){
        .http = http, .format = format, .n_choices = n_choices, .n_per_prompt = 1, .watch = MOSA_WATCH_INIT};
    call->choices = calloc((size_t)n_choices, sizeof *call->choices);
    if (!call->choices) {
        free(call);
        return NULL;
    }
    for (int i = 0; i < n_choices; i++) call->choices[i].index = i;
    return call;
}

void mosa_call_destroy(mosa_call *call) {
    if (!call) return;
    for (int i = 0; i < call->n_choices; i++) {
        mosa_choice *choice = &call->choices[i];
        mosa_buf_finish(&choice->frame);
        mosa_buf_finish(&choice->text);
        mosa_buf_finish(&choice->logprobs);
        mosa_buf_finish(&choice->extra);
        mosa_chat_answer_destroy(choice->answer);
    }
    free(call->choices);
    free(call->echo_ends);
    mosa_buf_finish(&call->echo_text);
    mosa_buf_finish(&call->prefix);
    mosa_buf_finish(&call->out);
    mosa_buf_finish(&call->head);
    free(call);
}
