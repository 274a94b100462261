// JSON Schemas of the request bodies. What a schema can say is checked here; what concerns several fields, or the
// model, is checked by the handler.
#include "api/schemas.h"

#define NUMBER(min, max)  "{\"type\":[\"number\",\"null\"],\"minimum\":" #min ",\"maximum\":" #max "}"
#define INTEGER(min, max) "{\"type\":[\"integer\",\"null\"],\"minimum\":" #min ",\"maximum\":" #max "}"
#define BOOLEAN           "{\"type\":[\"boolean\",\"null\"]}"
#define STRING            "{\"type\":[\"string\",\"null\"]}"
#define OBJECT            "{\"type\":[\"object\",\"null\"]}"
#define MODEL             "\"model\":{\"type\":\"string\"}"

// One field per line, which clang-format does not keep.
// clang-format off
#define SAMPLING                                                                                                       \
    "\"temperature\":" NUMBER(0, 2) ","                                                                                \
    "\"top_p\":" NUMBER(0, 1) ","                                                                                      \
    "\"min_p\":" NUMBER(0, 1) ","                                                                                      \
    "\"top_k\":" INTEGER(-1, 1000000) ","                                                                              \
    "\"seed\":{\"type\":[\"integer\",\"null\"]},"                                                                      \
    "\"frequency_penalty\":" NUMBER(-2, 2) ","                                                                         \
    "\"presence_penalty\":" NUMBER(-2, 2) ","                                                                          \
    "\"repetition_penalty\":{\"type\":[\"number\",\"null\"],\"exclusiveMinimum\":0,\"maximum\":10},"                   \
    "\"logit_bias\":{\"type\":[\"object\",\"null\"],\"maxProperties\":4096,"                                           \
    "\"additionalProperties\":{\"type\":\"number\",\"minimum\":-100,\"maximum\":100}},"                                \
    "\"stop\":{\"type\":[\"string\",\"array\",\"null\"],\"maxLength\":1024,\"maxItems\":16,"                           \
    "\"items\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":1024}},"                                             \
    "\"n\":" INTEGER(1, 128) ","                                                                                       \
    "\"max_tokens\":" INTEGER(0, 1000000000) ","                                                                       \
    "\"min_tokens\":" INTEGER(0, 1000000000) ","                                                                       \
    "\"ignore_eos\":" BOOLEAN ","                                                                                      \
    "\"priority\":" INTEGER(-1000000, 1000000) ","                                                                     \
    "\"user\":" STRING ","                                                                                             \
    "\"stream\":" BOOLEAN ","                                                                                          \
    "\"stream_options\":{\"type\":[\"object\",\"null\"],\"properties\":{\"include_usage\":" BOOLEAN "}}"
// clang-format on

#define TEXT_PART                                                                                                      \
    "{\"type\":\"object\",\"required\":[\"type\"],\"properties\":{\"type\":{\"type\":\"string\"},"                     \
    "\"text\":{\"type\":\"string\"}}}"

#define MESSAGES                                                                                                       \
    "\"messages\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"object\",\"required\":[\"role\"],"          \
    "\"properties\":{\"role\":{\"enum\":[\"system\",\"developer\",\"user\",\"assistant\",\"tool\",\"function\"]},"     \
    "\"content\":{\"type\":[\"string\",\"array\",\"null\"],\"items\":" TEXT_PART "},\"name\":" STRING ","              \
    "\"tool_call_id\":" STRING ",\"reasoning_content\":" STRING                                                        \
    ",\"tool_calls\":{\"type\":[\"array\",\"null\"],\"items\":{\"type\":\"object\"}}}}}"

#define TOOLS                                                                                                          \
    "\"tools\":{\"type\":[\"array\",\"null\"],\"maxItems\":1024,\"items\":{\"type\":\"object\","                       \
    "\"required\":[\"type\"],\"properties\":{\"type\":{\"type\":\"string\"},\"function\":{\"type\":\"object\","        \
    "\"required\":[\"name\"],\"properties\":{\"name\":{\"type\":\"string\"}}}}}},"                                     \
    "\"tool_choice\":{\"type\":[\"string\",\"object\",\"null\"]},\"parallel_tool_calls\":" BOOLEAN

// vLLM's fields for the form of the output.
#define GUIDES                                                                                                         \
    "\"guided_json\":{\"type\":[\"object\",\"string\",\"boolean\",\"null\"]},"                                         \
    "\"guided_regex\":" STRING ",\"guided_choice\":{\"type\":[\"array\",\"null\"],\"maxItems\":4096},"                 \
    "\"guided_grammar\":" STRING ",\"structured_outputs\":" OBJECT

// A text, several texts, token ids, or several lists of token ids.
#define PROMPT                                                                                                         \
    "{\"type\":[\"string\",\"array\"],\"minItems\":1,\"items\":{\"type\":[\"string\",\"integer\",\"array\"],"          \
    "\"items\":{\"type\":\"integer\"}}}"

const char mosa_schema_chat[] =
    "{\"type\":\"object\",\"required\":[\"model\",\"messages\"],\"properties\":{" MODEL "," MESSAGES "," TOOLS
    "," GUIDES "," SAMPLING ",\"max_completion_tokens\":" INTEGER(
        1, 1000000000) ","
                       "\"logprobs\":" BOOLEAN ",\"top_logprobs\":" INTEGER(
                           0, 20) ",\"response_format\":{\"type\":[\"object\",\"null\"],"
                                  "\"required\":[\"type\"],\"properties\":{\"type\":{\"type\":\"string\"}}},"
                                  "\"chat_template_kwargs\":" OBJECT ",\"add_generation_prompt\":" BOOLEAN
                                  ",\"continue_final_message\":" BOOLEAN ",\"include_reasoning\":" BOOLEAN ","
                                  "\"modalities\":{\"type\":[\"array\",\"null\"],\"items\":{\"type\":\"string\"}}}}";

const char mosa_schema_completions[] =
    "{\"type\":\"object\",\"required\":[\"model\",\"prompt\"],\"properties\":{" MODEL ",\"prompt\":" PROMPT "," SAMPLING
    "," GUIDES ",\"logprobs\":" INTEGER(0, 20) ",\"echo\":" BOOLEAN ",\"suffix\":" STRING ","
                                               "\"best_of\":" INTEGER(1, 128) "}}";

// Anthropic's shapes.
// clang-format off
#define BLOCKS                                                                                                         \
    "{\"type\":[\"string\",\"array\"],\"items\":{\"type\":\"object\",\"required\":[\"type\"],"                         \
    "\"properties\":{\"type\":{\"type\":\"string\"}}}}"
#define ANTHROPIC                                                                                                      \
    MODEL ","                                                                                                          \
    "\"messages\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"object\","                              \
    "\"required\":[\"role\",\"content\"],"                                                                           \
    "\"properties\":{\"role\":{\"enum\":[\"user\",\"assistant\"]},\"content\":" BLOCKS "}}},"                          \
    "\"system\":{\"type\":[\"string\",\"array\",\"null\"],\"items\":" TEXT_PART "},"                                   \
    "\"tools\":{\"type\":[\"array\",\"null\"],\"maxItems\":1024,\"items\":{\"type\":\"object\","                       \
    "\"required\":[\"name\"],"                                                                                       \
    "\"properties\":{\"name\":{\"type\":\"string\"},\"type\":" STRING ",\"input_schema\":" OBJECT "}}},"               \
    "\"tool_choice\":{\"type\":[\"object\",\"null\"],\"required\":[\"type\"]},"                                        \
    "\"output_config\":" OBJECT ",\"thinking\":{\"type\":[\"object\",\"null\"],\"required\":[\"type\"]}"
// clang-format on

const char mosa_schema_messages[] =
    "{\"type\":\"object\",\"required\":[\"model\",\"messages\",\"max_tokens\"],"
    "\"properties\":{" ANTHROPIC ",\"max_tokens\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000000},"
    "\"temperature\":" NUMBER(0, 2) ",\"top_p\":" NUMBER(0, 1) ",\"top_k\":" INTEGER(
        -1, 1000000) ",\"stream\":" BOOLEAN ","
                     "\"stop_sequences\":{\"type\":[\"array\",\"null\"],\"maxItems\":16,"
                     "\"items\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":1024}},"
                     "\"seed\":{\"type\":[\"integer\",\"null\"]},"
                     "\"metadata\":{\"type\":[\"object\",\"null\"],\"properties\":{\"user_"
                     "id\":" STRING "}}}}";

const char mosa_schema_count_tokens[] =
    "{\"type\":\"object\",\"required\":[\"model\",\"messages\"],\"properties\":{" ANTHROPIC "}}";

const char mosa_schema_embeddings[] =
    "{\"type\":\"object\",\"required\":[\"model\",\"input\"],\"properties\":{" MODEL ",\"input\":" PROMPT ","
    "\"encoding_format\":{\"enum\":[\"float\",\"base64\",null]},\"dimensions\":" INTEGER(
        1, 65536) ","
                  "\"pooling\":{\"enum\":[\"mean\",\"last\",\"cls\",null]},\"user\":" STRING "}}";

// A document is a text, or an object that has it as "text".
#define DOCUMENT                                                                                                       \
    "{\"type\":[\"string\",\"object\"],\"required\":[\"text\"],\"properties\":{\"text\":{\"type\":\"string\"}}}"

const char mosa_schema_rerank[] =
    "{\"type\":\"object\",\"required\":[\"model\",\"query\",\"documents\"],\"properties\":{" MODEL
    ",\"query\":{\"type\":\"string\"},\"documents\":{\"type\":\"array\",\"minItems\":1,\"items\":" DOCUMENT "},"
    "\"top_n\":" INTEGER(1, 1000000) ",\"return_documents\":" BOOLEAN ",\"truncate\":" BOOLEAN ",\"user\":" STRING "}}";

#define TEXTS "{\"type\":[\"string\",\"array\"],\"minItems\":1,\"items\":{\"type\":\"string\"}}"

const char mosa_schema_score[] =
    "{\"type\":\"object\",\"required\":[\"model\",\"text_1\",\"text_2\"],\"properties\":{" MODEL ",\"text_1\":" TEXTS
    ",\"text_2\":" TEXTS ",\"truncate\":" BOOLEAN ",\"user\":" STRING "}}";

const char mosa_schema_tokenize[] =
    "{\"type\":\"object\",\"anyOf\":[{\"required\":[\"prompt\"]},{\"required\":[\"messages\"]}],\"properties\":{" MODEL
    ",\"prompt\":{\"type\":\"string\"}," MESSAGES "," TOOLS ",\"add_special_tokens\":" BOOLEAN ","
    "\"chat_template_kwargs\":" OBJECT ",\"add_generation_prompt\":" BOOLEAN ",\"continue_final_message\":" BOOLEAN
    "}}";

const char mosa_schema_detokenize[] =
    "{\"type\":\"object\",\"required\":[\"tokens\"],\"properties\":{" MODEL ",\"tokens\":{\"type\":\"array\","
    "\"items\":{\"type\":\"integer\"}},\"skip_special_tokens\":" BOOLEAN "}}";

#define ADAPTER_NAMES "\"lora_name\":{\"type\":\"string\",\"minLength\":1},\"base_model_name\":" STRING

const char mosa_schema_load_adapter[] =
    "{\"type\":\"object\",\"required\":[\"lora_name\",\"lora_path\"],\"properties\":{" ADAPTER_NAMES
    ",\"lora_path\":{\"type\":\"string\",\"minLength\":1}}}";

const char mosa_schema_unload_adapter[] =
    "{\"type\":\"object\",\"required\":[\"lora_name\"],\"properties\":{" ADAPTER_NAMES "}}";
