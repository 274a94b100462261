// Writing a streamed answer straight to a client's socket, in the framing of HTTP/1.1 chunks.
//
// libmicrohttpd has sent the status and headers ("Transfer-Encoding: chunked") and has suspended the connection; it
// will send the last chunk when it is resumed. Until then whole chunks may be written by us: one per engine step.
// Thread: the gateway's loop.
#ifndef MOSA_API_STREAM_H
#define MOSA_API_STREAM_H

#include "api/call.h"

// Appends to call->out between these two belong to one chunk (one is not opened for HTTP/1.0, nor before the headers).
void mosa_stream_open_chunk(mosa_call *call);
void mosa_stream_close_chunk(mosa_call *call); // an empty chunk, which would end the body, is dropped

typedef enum mosa_stream_result { MOSA_STREAM_SENT, MOSA_STREAM_BLOCKED, MOSA_STREAM_BROKEN } mosa_stream_result;
mosa_stream_result mosa_stream_send(mosa_call *call, int fd); // sends what the socket takes of call->out

#endif
