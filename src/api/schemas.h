// JSON Schemas of the request bodies. Fields that are not named are ignored, as OpenAI does; null means "not given".
#ifndef MOSA_API_SCHEMAS_H
#define MOSA_API_SCHEMAS_H

extern const char mosa_schema_chat[];
extern const char mosa_schema_completions[];
extern const char mosa_schema_messages[];
extern const char mosa_schema_count_tokens[];
extern const char mosa_schema_embeddings[];
extern const char mosa_schema_rerank[];
extern const char mosa_schema_score[];
extern const char mosa_schema_tokenize[];
extern const char mosa_schema_detokenize[];
extern const char mosa_schema_load_adapter[];
extern const char mosa_schema_unload_adapter[];

#endif
