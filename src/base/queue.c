// A ring of pointers under one mutex: pushes and pops are short, and the waiting is the condition's.
#include "base/queue.h"

#include "base/thread.h"

#include <stdlib.h>

struct mosa_queue {
    pthread_mutex_t mutex; // guards everything below
    pthread_cond_t pushed;
    size_t capacity;
    size_t head; // next to pop
    size_t count;
    bool closed;
    void *items[]; // (capacity)
};

mosa_status mosa_queue_create(size_t capacity, mosa_queue **out, mosa_error *err) {
    size_t bytes;
    if (capacity == 0) return mosa_fail(err, MOSA_EINVALID, "a queue needs a capacity of at least 1");
    mosa_queue *queue = NULL;
    if (!__builtin_mul_overflow(capacity, sizeof queue->items[0], &bytes) &&
        !__builtin_add_overflow(bytes, sizeof *queue, &bytes))
        queue = calloc(1, bytes);
    if (!queue) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a queue of %zu", capacity);
    queue->capacity = capacity;
    pthread_mutex_init(&queue->mutex, NULL);
    mosa_cond_init(&queue->pushed);
    *out = queue;
    return MOSA_OK;
}

void mosa_queue_destroy(mosa_queue *queue) {
    if (!queue) return;
    pthread_cond_destroy(&queue->pushed);
    pthread_mutex_destroy(&queue->mutex);
    free(queue);
}

mosa_status mosa_queue_push(mosa_queue *queue, void *item) {
    pthread_mutex_lock(&queue->mutex);
    mosa_status status = queue->closed ? MOSA_ECANCELLED : queue->count == queue->capacity ? MOSA_EBUSY : MOSA_OK;
    if (status == MOSA_OK) {
        // head and count are at most capacity, whose items fit in memory: the sum cannot overflow.
        queue->items[(queue->head + queue->count) % queue->capacity] = item;
        queue->count++;
        pthread_cond_signal(&queue->pushed);
    }
    pthread_mutex_unlock(&queue->mutex);
    return status;
}

mosa_status mosa_queue_pop(mosa_queue *queue, void **item, mosa_deadline deadline) {
    mosa_status status = MOSA_OK;
    pthread_mutex_lock(&queue->mutex);
    while (queue->count == 0 && status == MOSA_OK) {
        if (queue->closed)
            status = MOSA_ECANCELLED;
        else if (mosa_deadline_passed(deadline))
            status = MOSA_ETIMEOUT;
        else
            mosa_cond_wait(&queue->pushed, &queue->mutex, deadline);
    }
    if (status == MOSA_OK) {
        *item = queue->items[queue->head];
        queue->head = (queue->head + 1) % queue->capacity;
        queue->count--;
    }
    pthread_mutex_unlock(&queue->mutex);
    return status;
}

void mosa_queue_close(mosa_queue *queue) {
    pthread_mutex_lock(&queue->mutex);
    queue->closed = true;
    pthread_cond_broadcast(&queue->pushed);
    pthread_mutex_unlock(&queue->mutex);
}

size_t mosa_queue_length(mosa_queue *queue) {
    pthread_mutex_lock(&queue->mutex);
    size_t count = queue->count;
    pthread_mutex_unlock(&queue->mutex);
    return count;
}
