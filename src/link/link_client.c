// The gateway's end of the link.
#include "link/link_client.h"
#include "link/channel.h"

#include <stdlib.h>
#include <unistd.h>

enum { OUT_LIMIT = 256 << 20 }; // prompts on their way to an engine that is busy with a long step

struct mosa_link_client {
    mosa_loop *loop;
    mosa_link_channel channel;
    mosa_watch watch;
    mosa_timer close_timer; // a fault while writing is reported from the loop, never from inside a caller
    mosa_link_client_handler handler;
    void *user;
    mosa_link_step_reader reader;
    mosa_error fault;
    int width; // of the engine's embeddings
    bool greeted;
};

static void report_closed(void *user) {
    mosa_link_client *client = user;
    mosa_loop_unwatch(client->loop, &client->watch);
    mosa_error why = client->fault;
    client->handler.on_closed(client->user, &why);
}

static void fail_later(mosa_link_client *client, const mosa_error *why) {
    if (client->close_timer.armed) return;
    client->fault = *why;
    mosa_loop_unwatch(client->loop, &client->watch);
    mosa_loop_timer(client->loop, &client->close_timer, 0, report_closed, client);
}

static mosa_status take_hello(mosa_link_client *client, const mosa_link_frame *frame, mosa_error *err) {
    mosa_link_hello hello;
    MOSA_TRY(mosa_link_get_hello(frame, &hello, err));
    client->width = hello.info.width;
    client->greeted = true;
    client->handler.on_hello(client->user, &hello);
    return MOSA_OK;
}

static mosa_status take_step(mosa_link_client *client, const mosa_link_frame *frame, mosa_error *err) {
    mosa_link_step_reader_start(&client->reader, frame);
    for (;;) {
        mosa_event event;
        bool more;
        MOSA_TRY(mosa_link_step_reader_next(&client->reader, &event, &more, err));
        if (!more) break;
        if (event.embedding && client->reader.n_embedding != client->width)
            return mosa_fail(err, MOSA_ECORRUPT, "link: an embedding has %d numbers, the model's width is %d",
                             client->reader.n_embedding, client->width);
        client->handler.on_event(client->user, &event);
    }
    client->handler.on_step(client->user);
    return MOSA_OK;
}

static mosa_status take_error(mosa_link_client *client, const mosa_link_frame *frame, mosa_error *err) {
    mosa_error refusal;
    MOSA_TRY(mosa_link_get_error(frame, &refusal, err));
    if (frame->request) {
        client->handler.on_refused(client->user, frame->request, &refusal);
        return MOSA_OK;
    }
    if (err) *err = refusal; // the engine says why it is about to leave
    return refusal.status;
}

static mosa_status take_adapter(mosa_link_client *client, const mosa_link_frame *frame, mosa_error *err) {
    mosa_link_adapter_done done;
    MOSA_TRY(mosa_link_get_adapter_done(frame, &done, err));
    if (client->handler.on_adapter) client->handler.on_adapter(client->user, frame->request, &done);
    return MOSA_OK;
}

static mosa_status on_frame(void *user, const mosa_link_frame *frame, mosa_error *err) {
    mosa_link_client *client = user;
    if (!client->greeted && frame->type != MOSA_LINK_HELLO && frame->type != MOSA_LINK_ERROR)
        return mosa_fail(err, MOSA_ECORRUPT, "link: the engine's first frame is of type %d, not HELLO", frame->type);
    switch (frame->type) {
    case MOSA_LINK_HELLO:
        return take_hello(client, frame, err);
    case MOSA_LINK_STEP:
        return take_step(client, frame, err);
    case MOSA_LINK_ADAPTER_DONE:
        return take_adapter(client, frame, err);
    case MOSA_LINK_ERROR:
        return take_error(client, frame, err);
    case MOSA_LINK_STATS: {
        mosa_engine_stats stats;
        MOSA_TRY(mosa_link_get_stats(frame, &stats, err));
        client->handler.on_stats(client->user, &stats);
        return MOSA_OK;
    }
    default:
        return mosa_fail(err, MOSA_ECORRUPT, "link: an engine does not send frames of type %d", frame->type);
    }
}

static void handle_socket(void *user, uint32_t events) {
    mosa_link_client *client = user;
    mosa_error err = {0};
    mosa_status status = MOSA_OK;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        status = mosa_link_channel_receive(&client->channel, on_frame, client, &err);
    if (status != MOSA_OK)
        fail_later(client, &err);
    else
        mosa_link_client_flush(client);
}

mosa_status mosa_link_client_create(mosa_loop *loop, int fd, const char *token, const mosa_link_client_handler *handler,
                                    void *user, mosa_link_client **out, mosa_error *err) {
    mosa_link_client *client = calloc(1, sizeof *client);
    if (!client) {
        close(fd);
        return mosa_fail(err, MOSA_ENOMEM, "link: out of memory");
    }
    client->loop = loop;
    client->handler = *handler;
    client->user = user;
    client->watch = MOSA_WATCH_INIT;
    mosa_link_channel_open(&client->channel, fd, OUT_LIMIT);
    mosa_link_hello hello = {.pid = getpid()};
    memcpy(hello.version, MOSA_VERSION, sizeof MOSA_VERSION);
    if (token) memcpy(hello.token, token, strnlen(token, MOSA_LINK_TOKEN_MAX));
    mosa_link_put_hello(&client->channel.out, &hello);
    mosa_status status = mosa_loop_watch(loop, &client->watch, fd, EPOLLIN | EPOLLOUT, handle_socket, client, err);
    if (status != MOSA_OK) {
        mosa_link_client_destroy(client);
        return status;
    }
    *out = client;
    return MOSA_OK;
}

void mosa_link_client_destroy(mosa_link_client *client) {
    if (!client) return;
    mosa_loop_unwatch(client->loop, &client->watch);
    mosa_loop_timer_cancel(client->loop, &client->close_timer);
    mosa_link_channel_close(&client->channel);
    mosa_link_step_reader_finish(&client->reader);
    free(client);
}

void mosa_link_client_submit(mosa_link_client *client, mosa_slice frame) {
    mosa_buf_append_slice(&client->channel.out, frame);
}

void mosa_link_client_cancel(mosa_link_client *client, uint64_t id) {
    mosa_link_frame_put(&client->channel.out, MOSA_LINK_CANCEL, id, NULL, 0);
}

void mosa_link_client_drain(mosa_link_client *client) {
    mosa_link_frame_put(&client->channel.out, MOSA_LINK_DRAIN, 0, NULL, 0);
}

void mosa_link_client_flush(mosa_link_client *client) {
    mosa_error err;
    if (client->close_timer.armed) return;
    if (mosa_link_channel_flush(&client->channel, &err) != MOSA_OK) {
        fail_later(client, &err);
        return;
    }
    bool pending = mosa_link_channel_pending(&client->channel) > 0;
    mosa_loop_watch_change(client->loop, &client->watch, EPOLLIN | (pending ? EPOLLOUT : 0));
}
