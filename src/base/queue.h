// Bounded queue of pointers between threads, in order of arrival.
//
// A push never waits: a full queue says MOSA_EBUSY, and the producer tells its client so. A pop waits up to a deadline.
// After close, pushes fail and pops drain what is left. Thread: any number of producers and consumers.
#ifndef MOSA_BASE_QUEUE_H
#define MOSA_BASE_QUEUE_H

#include "base/clock.h"
#include "base/status.h"

#include <stddef.h>

typedef struct mosa_queue mosa_queue;

// capacity >= 1. The caller owns *out.
MOSA_MUST_USE mosa_status mosa_queue_create(size_t capacity, mosa_queue **out, mosa_error *err);
// NULL-safe. Items left in the queue are not freed: pop them first. No thread may be using the queue.
void mosa_queue_destroy(mosa_queue *queue);

// MOSA_OK: the queue has the item now. MOSA_EBUSY: full. MOSA_ECANCELLED: closed. On failure the caller keeps it.
MOSA_MUST_USE mosa_status mosa_queue_push(mosa_queue *queue, void *item);
// MOSA_OK and *item; MOSA_ETIMEOUT at the deadline (one that has passed never waits); MOSA_ECANCELLED when closed and
// empty.
MOSA_MUST_USE mosa_status mosa_queue_pop(mosa_queue *queue, void **item, mosa_deadline deadline);
void mosa_queue_close(mosa_queue *queue); // wakes all waiting pops
size_t mosa_queue_length(mosa_queue *queue);

#endif
