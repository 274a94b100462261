// POST /tokenize and /detokenize.
#include "api/api_internal.h"
#include "api/chat_messages.h"
#include "api/chat_tools.h"
#include "api/output.h"
#include "api/params.h"
#include "api/routes.h"
#include "codec/json.h"

#include <stdlib.h>

static bool tokenize_chat(mosa_http_request *request, int32_t **tokens, size_t *n_tokens) {
    mosa_chat_tools tools = {0};
    bool ok = mosa_chat_tools_read(request, &tools) && mosa_chat_tokenize(request, tools.shown, tokens, n_tokens);
    mosa_chat_tools_finish(&tools);
    return ok;
}

static bool tokenize_prompt(mosa_http_request *request, int32_t **tokens, size_t *n_tokens) {
    const json_t *prompt = json_object_get(request->json, "prompt");
    mosa_slice text = {json_string_value(prompt), json_string_length(prompt)};
    bool add_special = mosa_body_bool(request->json, "add_special_tokens", true);
    mosa_error err;
    // As /v1/completions reads its prompt.
    mosa_status status = mosa_model_text_encode(request->model->text, text, add_special, true, tokens, n_tokens, &err);
    if (status != MOSA_OK) mosa_api_error_set(&request->error, &err, "prompt");
    return status == MOSA_OK;
}

void mosa_route_tokenize(mosa_http_request *request) {
    MOSA_AUTO_FREE int32_t *tokens = NULL;
    size_t n_tokens = 0;
    if (!mosa_api_choose_model(request)) return;
    bool chat = json_object_get(request->json, "messages") != NULL;
    if (!(chat ? tokenize_chat : tokenize_prompt)(request, &tokens, &n_tokens)) return;
    mosa_buf *out = &request->reply;
    mosa_buf_append_str(out, "{\"count\":");
    mosa_output_int(out, (int64_t)n_tokens);
    mosa_buf_append_str(out, ",\"max_model_len\":");
    mosa_output_int(out, mosa_gateway_context_tokens(request->model->gateway));
    mosa_buf_append_str(out, ",\"tokens\":[");
    for (size_t i = 0; i < n_tokens; i++) {
        if (i) mosa_buf_append_char(out, ',');
        mosa_output_int(out, tokens[i]);
    }
    mosa_buf_append_str(out, "]}");
    mosa_http_reply_json(request, 200);
}

void mosa_route_detokenize(mosa_http_request *request) {
    if (!mosa_api_choose_model(request)) return;
    const json_t *list = json_object_get(request->json, "tokens");
    const mosa_tokenizer *tokenizer = mosa_model_text_tokenizer(request->model->text);
    size_t n = json_array_size(list);
    MOSA_AUTO_FREE int32_t *ids = malloc((n ? n : 1) * sizeof *ids);
    mosa_buf text = {0};
    mosa_error err;
    if (!ids) {
        mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        int64_t id = json_integer_value(json_array_get(list, i));
        ids[i] = id < 0 || id > INT32_MAX ? -1 : (int32_t)id; // the decoder names the one that is out of range
    }
    bool skip = mosa_body_bool(request->json, "skip_special_tokens", false);
    if (mosa_tokenizer_decode(tokenizer, ids, n, skip ? 0 : MOSA_DECODE_SPECIAL, &text, &err) != MOSA_OK) {
        mosa_api_error_set(&request->error, &err, "tokens");
    } else {
        mosa_buf_append_str(&request->reply, "{\"prompt\":");
        mosa_json_append_string(&request->reply, mosa_buf_slice(&text));
        mosa_buf_append_char(&request->reply, '}');
        mosa_http_reply_json(request, 200);
    }
    mosa_buf_finish(&text);
}
