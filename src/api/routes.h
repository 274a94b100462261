// The handlers behind the table of routes (route.c); see http.h for what a handler does.
#ifndef MOSA_API_ROUTES_H
#define MOSA_API_ROUTES_H

struct mosa_http_request;

void mosa_route_chat(struct mosa_http_request *request);
void mosa_route_messages(struct mosa_http_request *request);
void mosa_route_count_tokens(struct mosa_http_request *request);
void mosa_route_completions(struct mosa_http_request *request);
void mosa_route_embeddings(struct mosa_http_request *request);
void mosa_route_rerank(struct mosa_http_request *request);
void mosa_route_score(struct mosa_http_request *request);
void mosa_route_models(struct mosa_http_request *request);
void mosa_route_model(struct mosa_http_request *request);
void mosa_route_load_adapter(struct mosa_http_request *request);
void mosa_route_unload_adapter(struct mosa_http_request *request);
void mosa_route_tokenize(struct mosa_http_request *request);
void mosa_route_detokenize(struct mosa_http_request *request);
void mosa_route_live(struct mosa_http_request *request);
void mosa_route_ready(struct mosa_http_request *request);
void mosa_route_metrics(struct mosa_http_request *request);
void mosa_route_index(struct mosa_http_request *request);

#endif
