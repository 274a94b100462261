// The ring of pinned buffers. A buffer is filled by all threads of a pool, sent, and filled again once its copy is
// over.
//
// One thread reads a file from the page cache at a tenth of what a PCIe 5 link takes, hence the threads. Invariant: a
// buffer is written only after the event of its last copy. `lock` guards everything here.
#include "backend/cuda/plugin/cuda_upload.h"

#include "backend/cuda/plugin/cuda_backend.h"
#include "base/pool.h"
#include "base/thread.h"

#include <pthread.h>
#include <string.h>

enum { BUFFERS = 4, THREADS_MAX = 16 };
enum { BUFFER_BYTES = 16 << 20, SMALL_BYTES = 1 << 20 };

typedef struct ring {
    unsigned char *memory; // pinned: BUFFERS of BUFFER_BYTES
    cudaEvent_t sent[BUFFERS];
    mosa_pool *pool;
    int next;
} ring;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static ring the_ring;

typedef struct copy_job {
    unsigned char *to;
    const unsigned char *from;
    size_t bytes;
} copy_job;

static void copy_share(void *arg, int thread, int n_threads) {
    const copy_job *job = arg;
    size_t begin = job->bytes * (size_t)thread / (size_t)n_threads / 64 * 64;
    size_t end = thread + 1 == n_threads ? job->bytes : job->bytes * (size_t)(thread + 1) / (size_t)n_threads / 64 * 64;
    memcpy(job->to + begin, job->from + begin, end - begin);
}

static void finish(ring *r) {
    for (int i = 0; i < BUFFERS; i++)
        if (r->sent[i]) {
            (void)cudaEventSynchronize(r->sent[i]);
            (void)cudaEventDestroy(r->sent[i]);
        }
    if (r->memory) (void)cudaFreeHost(r->memory);
    mosa_pool_destroy(r->pool);
    *r = (ring){0};
}

static mosa_status begin(ring *r, mosa_error *err) {
    if (r->memory) return MOSA_OK;
    int threads = mosa_cpu_count();
    mosa_status status = mosa_pool_create(threads < THREADS_MAX ? threads : THREADS_MAX, &r->pool, err);
    cudaError_t error = cudaSuccess;
    if (status == MOSA_OK) error = cudaHostAlloc((void **)&r->memory, (size_t)BUFFERS * BUFFER_BYTES, 0);
    for (int i = 0; status == MOSA_OK && error == cudaSuccess && i < BUFFERS; i++)
        error = cudaEventCreateWithFlags(&r->sent[i], cudaEventDisableTiming);
    if (error != cudaSuccess) status = mosa_cuda_fail(err, error, "pinned memory for uploads");
    if (status != MOSA_OK) finish(r);
    return status;
}

static mosa_status send(ring *r, unsigned char *device, const unsigned char *host, size_t bytes, cudaStream_t stream,
                        mosa_error *err) {
    int i = r->next;
    r->next = (i + 1) % BUFFERS;
    unsigned char *buffer = r->memory + (size_t)i * BUFFER_BYTES;
    MOSA_CUDA_TRY(cudaEventSynchronize(r->sent[i]), "upload", err);
    copy_job job = {buffer, host, bytes};
    if (bytes < SMALL_BYTES)
        memcpy(buffer, host, bytes);
    else
        mosa_pool_run(r->pool, copy_share, &job);
    MOSA_CUDA_TRY(cudaMemcpyAsync(device, buffer, bytes, cudaMemcpyHostToDevice, stream), "upload", err);
    MOSA_CUDA_TRY(cudaEventRecord(r->sent[i], stream), "upload", err);
    return MOSA_OK;
}

mosa_status mosa_cuda_upload(void *device, const void *host, size_t bytes, cudaStream_t stream, mosa_error *err) {
    (void)pthread_mutex_lock(&lock);
    mosa_status status = begin(&the_ring, err);
    for (size_t at = 0; status == MOSA_OK && at < bytes; at += BUFFER_BYTES) {
        size_t count = bytes - at < BUFFER_BYTES ? bytes - at : BUFFER_BYTES;
        status = send(&the_ring, (unsigned char *)device + at, (const unsigned char *)host + at, count, stream, err);
    }
    (void)pthread_mutex_unlock(&lock);
    return status;
}

void mosa_cuda_upload_finish(void) {
    (void)pthread_mutex_lock(&lock);
    finish(&the_ring);
    (void)pthread_mutex_unlock(&lock);
}
