// A call: one HTTP request that needs the engine, from its submission to the last byte of its answer.
//
// A call has one or more choices; each is one request to the engine. A format (chat, completion, embedding) turns their
// events into bytes, either server-sent events or one body.
//
// Who owns a call, by its state:
//
//   NEW      the handler that builds it (HTTP or worker thread)
//   WAITING  the gateway's loop; the connection is suspended, nothing has been sent        [mosa_gateway_submit]
//   HEAD     the HTTP thread, which sends status, headers and `head`                       [release_head]
//   DIRECT   the gateway's loop, which writes chunks to the socket; suspended again        [mosa_gateway_direct]
//   TAIL     the HTTP thread, which ends the chunked body                                  [release_tail]
//   REPLY    the HTTP thread, which sends one whole answer (not streamed, or an error)     [release_reply]
//   (end)    the HTTP thread says that the exchange is over                                [mosa_gateway_forget]
//
// Streams go WAITING, HEAD, DIRECT, TAIL; everything else goes WAITING, REPLY. In every state the loop alone touches
// choices, `out` and the link; in HEAD and TAIL the HTTP thread reads `head`, `head_is_all` and `aborted`, which the
// loop wrote before it resumed the connection and leaves alone until it gets the call back.
#ifndef MOSA_API_CALL_H
#define MOSA_API_CALL_H

#include "api/api_error.h"
#include "base/loop.h"
#include "base/str.h"
#include "mosa/mosa.h"

#include <stdint.h>

typedef struct mosa_call mosa_call;
struct mosa_answer_delta;
struct mosa_http_request;
struct mosa_chat_answer;

typedef struct mosa_choice {
    int index;                       // in the answer
    mosa_buf frame;                  // the encoded SUBMIT, kept until the engine's first event
    uint64_t id;                     // of the link while the engine works on it, else 0
    mosa_finish finish;              // NONE while it runs
    mosa_buf text;                   // not streamed: what has been generated
    mosa_buf logprobs;               // not streamed: JSON of the entries so far
    mosa_buf extra;                  // format's own: further arrays of logprobs, an embedding's floats, a document
    float score;                     // rerank, score
    bool said_hello;                 // streamed: its first chunk has been written
    int64_t text_offset;             // characters so far, for the legacy logprobs
    struct mosa_chat_answer *answer; // chat: takes the text apart; NULL where all of it is content
    int32_t prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens;
    const char *stop_sequence; // messages: in extra; the one that ended the answer, or NULL
    int n_blocks;              // messages: content blocks so far, the last one open while open_block says of which kind
    int open_block;            // messages: its mosa_answer_kind + 1; 0 = none
    bool hide_output;          // max_tokens 0: the one token that the engine must make is not shown
} mosa_choice;

typedef struct mosa_call_format {
    // A choice's event. Streaming appends whole SSE events to call->out, else the choice accumulates.
    void (*event)(mosa_call *call, mosa_choice *choice, const mosa_event *event);
    // All choices have finished: the last SSE events to call->out, or the whole body to `body`.
    void (*finish)(mosa_call *call, mosa_buf *body);
    // A piece of a chat answer that has been taken apart (chat_answer.h); NULL: written as chat completions do.
    void (*delta)(mosa_call *call, mosa_choice *choice, const struct mosa_answer_delta *delta);
} mosa_call_format;

typedef enum mosa_call_state {
    MOSA_CALL_NEW,
    MOSA_CALL_WAITING,
    MOSA_CALL_HEAD,
    MOSA_CALL_DIRECT,
    MOSA_CALL_TAIL,
    MOSA_CALL_REPLY,
} mosa_call_state;

typedef enum mosa_call_message { MOSA_CALL_SUBMIT, MOSA_CALL_TAKE_BACK, MOSA_CALL_FORGET } mosa_call_message;

struct mosa_call {
    struct mosa_http_request *http;
    const mosa_call_format *format;
    mosa_call_state state;

    // What was asked; constant after NEW.
    mosa_choice *choices; // (n_choices)
    int n_choices;
    bool stream, include_usage;
    bool logprobs;                // entries are wanted
    bool echo;                    // completions: the prompt is part of the answer
    bool base64;                  // embeddings
    int dimensions;               // embeddings; 0 = as the model makes them
    int top_n;                    // rerank: results in the answer; 0 = all
    bool with_documents;          // rerank: they are part of the results
    const char *constraint_param; // the field that constrains the output, a constant; NULL = none
    mosa_buf echo_text;           // completions: the prompts' texts, one after another; echo_ends says where each ends
    size_t *echo_ends;            // (n_choices / n_per_prompt)
    int n_per_prompt;             // choices per prompt
    char id[48];                  // "chatcmpl-..."
    int64_t created_s;
    mosa_buf prefix;       // of every chunk: {"id":...,"choices":[
    int64_t prompt_tokens; // of all prompts, for usage before the engine has spoken

    // Loop's own.
    int next_choice, n_running, n_finished;
    int attempts; // how many engines have had it
    bool started; // an event has come from the current engine
    bool ended;   // nothing will follow what is in head and out
    bool dirty;   // is on the list of calls to flush
    mosa_call *dirty_next;
    mosa_call *prev, *next; // list of pending or of running calls
    bool pending;           // waits for an engine
    int64_t submitted_ns, deadline_ms, last_sent_ms;
    struct mosa_gateway *gateway;
    mosa_watch watch; // on the client's socket
    mosa_buf out;     // for the socket; out_start is the first unsent byte
    size_t out_start, chunk_start;
    bool chunk_open;

    // Handed over with the state.
    mosa_buf head;
    size_t head_sent;
    bool head_is_all; // the answer ends with head
    bool aborted;     // the connection is to be closed, not ended properly

    // Mailbox to the loop.
    mosa_call_message message;
    mosa_call *mail_next;
};

// A call with n choices, or NULL when out of memory.
mosa_call *mosa_call_create(struct mosa_http_request *http, const mosa_call_format *format, int n_choices);
void mosa_call_destroy(mosa_call *call); // NULL-safe

#endif
