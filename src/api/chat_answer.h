// A choice of a chat answer, taken apart as it streams: content, reasoning_content, tool_calls, and the
// log-probabilities of the content's tokens.
//
// Used where a model may reason or call tools; an answer that is content alone does without (choice->answer is NULL).
// Thread: the gateway's loop.
#ifndef MOSA_API_CHAT_ANSWER_H
#define MOSA_API_CHAT_ANSWER_H

#include "api/call.h"
#include "text/dialect/answer_parser.h"

typedef struct mosa_chat_answer mosa_chat_answer;

// NULL when out of memory. id_len is the dialect's; hide_reasoning: the client does not want it.
mosa_chat_answer *mosa_chat_answer_create(const mosa_answer_options *options, int id_len, bool hide_reasoning);
void mosa_chat_answer_destroy(mosa_chat_answer *answer); // NULL-safe

// Takes an event of the choice; `entry`: its token has log-probabilities that may be shown. What it brings goes to the
// format where it has a function for that; else streaming writes chunks, or the choice and the answer accumulate. After
// the last event everything is decided.
void mosa_chat_answer_take(mosa_call *call, mosa_choice *choice, const mosa_event *event, bool entry);

// The id of a call, counted from 0: as long as the model's template wants; different in every answer.
void mosa_chat_answer_call_id(const mosa_chat_answer *answer, int index, mosa_buf *out);

// Members of a message that is not streamed: ,"reasoning_content":...,"tool_calls":[...], where there are any.
void mosa_chat_answer_append(const mosa_chat_answer *answer, mosa_buf *out);
int mosa_chat_answer_calls(const mosa_chat_answer *answer);   // so far
bool mosa_chat_answer_failed(const mosa_chat_answer *answer); // out of memory

#endif
