// One constraint from everything that a chat body asks of its answer.
#include "api/chat_rule.h"
#include "api/api_internal.h"
#include "codec/json.h"

enum { TAIL_TOKENS = 24 }; // of a prompt, which show whether reasoning has begun

static bool fail(mosa_http_request *request, const char *param, const char *what) {
    mosa_api_fail(&request->error, 400, NULL, param, "%s: %s", param, what);
    return false;
}

// The prompt's last mark says whether the answer begins inside of reasoning, behind it, or before it.
static mosa_reasoning_state state_of(const mosa_api_model *model, const int32_t *tokens, size_t n_tokens) {
    const mosa_model_text_info *info = mosa_model_text_get_info(model->text);
    if (info->dialect->form == MOSA_CALL_HARMONY) return MOSA_REASONING_MAYBE;
    if (!info->reasoning) return MOSA_REASONING_NONE;
    size_t n = n_tokens < TAIL_TOKENS ? n_tokens : TAIL_TOKENS;
    mosa_buf text = {0};
    mosa_reasoning_state state = MOSA_REASONING_MAYBE;
    if (mosa_tokenizer_decode(mosa_model_text_tokenizer(model->text), tokens + n_tokens - n, n, MOSA_DECODE_SPECIAL,
                              &text, NULL) == MOSA_OK) {
        mosa_slice tail = mosa_buf_slice(&text);
        while (tail.len && strchr(" \n\r\t", tail.data[tail.len - 1])) tail.len--;
        if (mosa_slice_ends_with(tail, mosa_slice_of(info->reasoning->open))) state = MOSA_REASONING_OPEN;
        if (mosa_slice_ends_with(tail, mosa_slice_of(info->reasoning->close))) state = MOSA_REASONING_NONE;
    }
    mosa_buf_finish(&text);
    return state;
}

// The rule as an expression inside of a larger grammar.
static bool write_content(mosa_http_request *request, const mosa_output_rule *rule, mosa_buf *out) {
    MOSA_AUTO_JSON json_t *texts = NULL;
    switch (rule->kind) {
    case MOSA_CONSTRAINT_NONE:
        return true;
    case MOSA_CONSTRAINT_JSON_OBJECT:
        mosa_buf_append_str(out, "%json {\"type\":\"object\"}");
        return true;
    case MOSA_CONSTRAINT_JSON_SCHEMA:
        mosa_buf_append_str(out, "%json ");
        mosa_buf_append_slice(out, mosa_buf_slice(&rule->text));
        return true;
    case MOSA_CONSTRAINT_REGEX:
        mosa_answer_grammar_pattern(mosa_buf_slice(&rule->text), out);
        return true;
    case MOSA_CONSTRAINT_CHOICE:
        if (mosa_json_parse(mosa_buf_slice(&rule->text), NULL, &texts, NULL) == MOSA_OK)
            mosa_answer_grammar_choice(texts, out);
        return true;
    default:
        return fail(request, rule->param, "a grammar goes with neither tools nor reasoning that the prompt has begun.");
    }
}

static bool write_grammar(mosa_http_request *request, const mosa_chat_tools *tools, const mosa_output_rule *rule,
                          mosa_reasoning_state state, mosa_chat_rule *out) {
    const mosa_model_text_info *info = mosa_model_text_get_info(request->model->text);
    mosa_buf content = {0};
    bool ok = write_content(request, rule, &content);
    if (ok) {
        mosa_answer_grammar grammar = {.tokenizer = mosa_model_text_tokenizer(request->model->text),
                                       .dialect = info->dialect,
                                       .reasoning = info->reasoning,
                                       .state = state,
                                       .tools = tools->callable,
                                       .forced = tools->forced,
                                       .parallel = tools->parallel,
                                       .content = mosa_buf_slice(&content)};
        mosa_answer_grammar_write(&grammar, &out->text);
        out->constraint = (mosa_constraint){MOSA_CONSTRAINT_GRAMMAR, mosa_buf_str(&out->text), out->text.len};
        if (mosa_buf_failed(&content)) out->text.failed = true;
    }
    mosa_buf_finish(&content);
    if (ok && mosa_buf_failed(&out->text)) {
        mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
        return false;
    }
    if (ok && out->text.len > MOSA_CONSTRAINT_BYTES_MAX)
        return fail(request, "tools", "their schemas have more than 1 MiB.");
    return ok;
}

bool mosa_chat_rule_make(mosa_http_request *request, const mosa_chat_tools *tools, const mosa_output_rule *rule,
                         const int32_t *tokens, size_t n_tokens, mosa_chat_rule *out) {
    const mosa_model_text_info *info = mosa_model_text_get_info(request->model->text);
    *out = (mosa_chat_rule){.options = {.reasoning = info->reasoning, .tools = tools->callable}};
    mosa_buf_init(&out->text, 0);
    mosa_reasoning_state state = state_of(request->model, tokens, n_tokens);
    bool harmony = info->dialect->form == MOSA_CALL_HARMONY;
    if (tools->callable || harmony) out->options.dialect = info->dialect;
    if (state == MOSA_REASONING_NONE) out->options.reasoning = NULL;
    out->options.reasoning_open = state == MOSA_REASONING_OPEN;
    out->needs_parser = out->options.dialect || out->options.reasoning;
    bool ruled = rule->kind != MOSA_CONSTRAINT_NONE;
    if (ruled && tools->forced && tools->callable)
        return fail(request, rule->param, "the answer is a tool call (tool_choice), which cannot follow it.");
    bool calls = tools->callable && (tools->forced || tools->strict || !tools->parallel || ruled);
    bool reasons = ruled && (harmony || state != MOSA_REASONING_NONE);
    // A grammar of the client's stands alone: a model that need not reason does not.
    if (rule->kind == MOSA_CONSTRAINT_GRAMMAR && !calls && !harmony && state != MOSA_REASONING_OPEN) reasons = false;
    out->param = calls ? "tools" : NULL;
    if (ruled) out->param = rule->param;
    if (calls || reasons) return write_grammar(request, tools, rule, state, out);
    out->constraint = (mosa_constraint){rule->kind, mosa_buf_str(&rule->text), rule->text.len};
    return true;
}

void mosa_chat_rule_finish(mosa_chat_rule *rule) {
    mosa_buf_finish(&rule->text);
}
