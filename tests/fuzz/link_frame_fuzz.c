// A stream of frames from a hostile peer: every frame that parses is decoded as what it says it is.
#include "link/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const mosa_link_frame *frame) {
    mosa_error err, error;
    mosa_arena arena;
    mosa_request request;
    mosa_link_hello hello;
    mosa_engine_stats stats;
    mosa_link_adapter adapter;
    mosa_link_adapter_done done;
    mosa_status status = MOSA_OK;
    mosa_link_step_reader reader = {0};
    mosa_event event;
    bool more = true;
    mosa_arena_init(&arena, 0, 1 << 26);
    switch (frame->type) {
    case MOSA_LINK_HELLO:
        status = mosa_link_get_hello(frame, &hello, &err);
        break;
    case MOSA_LINK_SUBMIT:
        status = mosa_link_get_submit(frame, &arena, &request, &err);
        break;
    case MOSA_LINK_ADAPTER:
        status = mosa_link_get_adapter(frame, &adapter, &err);
        break;
    case MOSA_LINK_ADAPTER_DONE:
        status = mosa_link_get_adapter_done(frame, &done, &err);
        break;
    case MOSA_LINK_STATS:
        status = mosa_link_get_stats(frame, &stats, &err);
        break;
    case MOSA_LINK_ERROR:
        status = mosa_link_get_error(frame, &error, &err);
        break;
    case MOSA_LINK_STEP:
        mosa_link_step_reader_start(&reader, frame);
        while (status == MOSA_OK && more) status = mosa_link_step_reader_next(&reader, &event, &more, &err);
        break;
    default:
        break;
    }
    mosa_link_step_reader_finish(&reader);
    mosa_arena_finish(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mosa_error err;
    mosa_link_frame frame;
    size_t used = 1, need;
    while (used > 0 && mosa_link_frame_parse(data, size, &frame, &used, &need, &err) == MOSA_OK) {
        if (used) decode(&frame);
        data += used;
        size -= used;
    }
    return 0;
}
