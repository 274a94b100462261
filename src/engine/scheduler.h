// The scheduler: which rows of which sequences run in the next step.
//
// One budget of rows per step is shared by decoding (one row each, and guesses) and prefill (chunks); there are no
// phases. Decoding goes first; within each, and for a slot, the order is: higher priority; then the caller with fewer
// running sequences (for a slot) or less service (for rows); then arrival. Pages are taken as positions are reached.
//
// Preemption: a running sequence gives its pages back and waits again. Full ones stay in the prefix tree while nobody
// needs them, so resuming costs little, and no token is sampled twice. It happens to
//   - the last of `running`, when a sequence before it needs a page and none is left;
//   - a sequence of lower priority, when a waiting one needs its slot or pages;
//   - a sequence of a caller that runs at least two more than the caller of a waiting one of equal priority: so the
//     slots come to be shared evenly, and an exchange is never undone.
//
// Invariants: `running` and `queued` are sorted by (priority falling, id rising). A running sequence owns or refers to
// n_pages pages covering at least its computed positions. Thread: the engine's. Nothing is allocated after init.
#ifndef MOSA_ENGINE_SCHEDULER_H
#define MOSA_ENGINE_SCHEDULER_H

#include "engine/callers.h"
#include "engine/page_pool.h"
#include "engine/prefix_tree.h"
#include "engine/sequence.h"

typedef struct mosa_scheduler {
    mosa_page_pool pool;
    mosa_prefix_tree tree;
    mosa_callers callers;
    mosa_sequence **running; // (max_running)
    mosa_sequence **queued;  // (max_queued + max_running)
    mosa_sequence **order;   // (max_running) of one plan
    int n_running, max_running;
    int n_queued, max_queued;
    int max_rows; // budget of a step
    int page_tokens;
    bool share_prefixes;
    bool whole_prompts; // sequences of an encoder: all rows in one step, no pages
    bool *mirrored;     // (pages) the draft model has read all of the page; NULL without one
    uint64_t preemptions;
} mosa_scheduler;

typedef struct mosa_scheduler_options {
    int32_t pages;
    int page_tokens, max_running, max_queued, max_rows;
    bool share_prefixes, whole_prompts;
    bool mirrors; // a draft model has keys and values of its own under the same page ids
} mosa_scheduler_options;

mosa_status mosa_scheduler_init(mosa_scheduler *scheduler, const mosa_scheduler_options *options, mosa_error *err);
void mosa_scheduler_finish(mosa_scheduler *scheduler); // sequences still listed are destroyed

// Takes over a sequence. The caller has made sure that there is room (max_queued counts what it admits).
void mosa_scheduler_enqueue(mosa_scheduler *scheduler, mosa_sequence *sequence);

// Moves queued sequences in while a slot and the pages of their whole prompt are there or can be taken from others;
// with whole_prompts, while a slot and the rows of the step are.
void mosa_scheduler_admit(mosa_scheduler *scheduler);

// Sets rows and row_begin of every running sequence (0 rows: not in this step); returns the rows in all.
int mosa_scheduler_plan(mosa_scheduler *scheduler);

// After a step ran: `positions` more are computed, of tokens that are certain; full pages go to the prefix tree.
void mosa_scheduler_advance(mosa_scheduler *scheduler, mosa_sequence *sequence, int32_t positions);

// The draft model has read `q` up to `position`, or will have in this step.
void mosa_scheduler_mirror(mosa_scheduler *scheduler, mosa_sequence *q, int32_t position);
// Moves n_mirrored over pages that the draft model has read for others.
void mosa_scheduler_skip_mirrored(const mosa_scheduler *scheduler, mosa_sequence *q);

// Takes a sequence off the lists and gives its pages back. The sequence is the caller's again.
void mosa_scheduler_remove(mosa_scheduler *scheduler, mosa_sequence *sequence);

mosa_sequence *mosa_scheduler_find(const mosa_scheduler *scheduler, uint64_t id);

#endif
