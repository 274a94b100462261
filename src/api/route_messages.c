// POST /v1/messages and /v1/messages/count_tokens: Anthropic's API.
#include "api/api_internal.h"
#include "api/chat_messages.h"
#include "api/chat_request.h"
#include "api/messages.h"
#include "api/output.h"
#include "api/routes.h"

// The format names the one that ended the answer.
static void keep_stops(const mosa_chat_request *chat, mosa_choice *choice) {
    for (int i = 0; i < chat->params.request.n_stop; i++)
        mosa_buf_append(&choice->extra, chat->params.stop[i], strlen(chat->params.stop[i]) + 1);
}

static void begin_call(mosa_http_request *request, const mosa_chat_request *chat) {
    bool hide_reasoning = !mosa_body_bool(request->json, "include_reasoning", true);
    if (!mosa_chat_request_begin(request, chat, &mosa_messages_format, "msg_", hide_reasoning)) return;
    mosa_choice *choice = &request->call->choices[0];
    keep_stops(chat, choice);
    if (mosa_buf_failed(&choice->extra))
        mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
}

void mosa_route_messages(mosa_http_request *request) {
    mosa_chat_request chat = {0};
    if (!mosa_api_choose_model(request) || !mosa_messages_read(request)) return;
    if (mosa_chat_request_read(request, &chat)) begin_call(request, &chat);
    mosa_chat_request_finish(&chat);
}

void mosa_route_count_tokens(mosa_http_request *request) {
    MOSA_AUTO_FREE int32_t *tokens = NULL;
    size_t n_tokens = 0;
    mosa_chat_tools tools = {0};
    if (!mosa_api_choose_model(request) || !mosa_messages_read(request)) return;
    if (mosa_chat_tools_read(request, &tools) && mosa_chat_tokenize(request, tools.shown, &tokens, &n_tokens)) {
        mosa_buf_append_str(&request->reply, "{\"input_tokens\":");
        mosa_output_int(&request->reply, (int64_t)n_tokens);
        mosa_buf_append_char(&request->reply, '}');
        mosa_http_reply_json(request, 200);
    }
    mosa_chat_tools_finish(&tools);
}
