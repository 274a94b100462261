// The emulator: fibers, meeting points, copies; see emulate.hh.
#include "emulate.hh"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>
#include <vector>

enum { THREADS_MAX = 1024, STACK = 256 * 1024, SHARED = 256 * 1024 };
alignas(128) char shared[SHARED];
int32_t count[65536];
dim3 threadIdx, blockIdx, gridDim;
bool emulate_late;
int emulate_sms = 3;

struct copy {
    uint32_t to;
    const void *from;
    bool valid;
};
struct lane_args {
    uint32_t u[8];
    float f[4];
};
struct fiber {
    ucontext_t context; // to begin with; then `jump`, which asks nothing of the kernel
    jmp_buf jump;
    bool begun;
    char *stack;
    bool done;
    std::vector<std::vector<copy>> groups;
    std::vector<copy> open;
    lane_args args;
};
static fiber fibers[THREADS_MAX];
static jmp_buf scheduler;
static int current, n_threads;
static struct {
    int arrived;
    long generation;
} block_point, warp_points[THREADS_MAX / 32];
static const std::function<void()> *body;

static void yield() {
    if (!_setjmp(fibers[current].jump)) _longjmp(scheduler, 1);
}
static void resume(fiber &f) {
    if (_setjmp(scheduler)) return;
    if (f.begun) _longjmp(f.jump, 1);
    f.begun = true;
    setcontext(&f.context);
}
template <class P> static void meet(P &point, int expected) {
    long generation = point.generation;
    if (++point.arrived == expected) {
        point.arrived = 0, point.generation++;
        return;
    }
    while (point.generation == generation) yield();
}
void emulate_block_barrier() {
    meet(block_point, n_threads);
}
void emulate_warp_barrier() {
    meet(warp_points[current / 32], 32);
}

static void run_fiber() {
    (*body)();
    fibers[current].done = true;
    for (;;) yield();
}

void emulate(const std::function<void()> &function, dim3 grid, int threads) {
    body = &function, n_threads = threads, gridDim = grid;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                memset(shared, 0xff, sizeof shared); // NaN wherever something is not written
                for (int i = 0; i < threads; i++) {
                    fiber &f = fibers[i];
                    if (!f.stack) f.stack = (char *)malloc(STACK);
                    getcontext(&f.context);
                    f.context.uc_stack.ss_sp = f.stack, f.context.uc_stack.ss_size = STACK;
                    f.done = f.begun = false, f.groups.clear(), f.open.clear();
                    makecontext(&f.context, run_fiber, 0);
                }
                for (int left = threads; left > 0;) {
                    left = 0;
                    for (int i = 0; i < threads; i++) {
                        if (fibers[i].done) continue;
                        current = i, threadIdx = dim3(i), blockIdx = dim3(x, y, z);
                        resume(fibers[i]);
                        left += !fibers[i].done;
                    }
                }
            }
}

static void perform(const copy &c) {
    if (c.to + 16 > SHARED || c.to % 16 || (uintptr_t)c.from % 16) {
        fprintf(stderr, "bad copy: to %u from %p thread %d\n", c.to, c.from, current);
        abort();
    }
    if (c.valid)
        memcpy(shared + c.to, c.from, 16);
    else
        memset(shared + c.to, 0, 16);
}
uint32_t linear_shared(const void *p) {
    return (uint32_t)((const char *)p - shared);
}
void linear_copy16_or_zero(uint32_t to, const void *from, bool valid) {
    copy c = {to, from, valid};
    if (emulate_late)
        fibers[current].open.push_back(c);
    else
        perform(c);
}
void linear_commit() {
    fibers[current].groups.push_back(fibers[current].open);
    fibers[current].open.clear();
}
void emulate_wait(int groups) {
    fiber &f = fibers[current];
    while ((int)f.groups.size() > groups) {
        for (const copy &c : f.groups.front()) perform(c);
        f.groups.erase(f.groups.begin());
    }
}

static lane_args *lane_of(int lane) {
    return &fibers[current / 32 * 32 + lane].args;
}
void linear_matrices(uint32_t r[4], uint32_t address) {
    lane_of(current % 32)->u[0] = address;
    emulate_warp_barrier();
    int lane = current % 32;
    uint32_t result[4];
    for (int m = 0; m < 4; m++) {
        uint32_t from = lane_of(m * 8 + lane / 4)->u[0] + lane % 4 * 4;
        if (from % 4 || from + 4 > SHARED) abort();
        memcpy(&result[m], shared + from, 4);
    }
    emulate_warp_barrier();
    memcpy(r, result, sizeof result);
}

static float bf16(uint32_t word, int half) {
    uint32_t bits = (half ? word >> 16 : word & 0xffff) << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}
void linear_mma(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    int lane = current % 32, g = lane / 4, col = lane % 4 * 2;
    lane_args *mine = lane_of(lane);
    memcpy(mine->u, a, 16);
    mine->u[4] = b0, mine->u[5] = b1;
    emulate_warp_barrier();
    for (int i = 0; i < 4; i++) {
        int r = i / 2, n = col + i % 2;
        double sum = c[i];
        for (int k = 0; k < 16; k++) {
            const lane_args *from_a = lane_of(g * 4 + k % 8 / 2), *from_b = lane_of(n * 4 + k % 8 / 2);
            sum += (double)bf16(from_a->u[r + 2 * (k / 8)], k % 2) * bf16(from_b->u[4 + k / 8], k % 2);
        }
        c[i] = (float)sum;
    }
    emulate_warp_barrier();
}
unsigned __match_any_sync(unsigned, int value) {
    lane_of(current % 32)->u[0] = (uint32_t)value;
    emulate_warp_barrier();
    unsigned same = 0;
    for (int i = 0; i < 32; i++) same |= (unsigned)(lane_of(i)->u[0] == (uint32_t)value) << i;
    emulate_warp_barrier();
    return same;
}
