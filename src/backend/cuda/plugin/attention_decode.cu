// Launches decode attention: how many workers share an item, room for partial results, and the kernel that joins them.
#include "backend/cuda/plugin/attention_decode.cuh"
#include "backend/cuda/plugin/attention_ring.cuh"

namespace mosa_attention {

int decode_waves = 2;    // items wanted for each block that runs at once; a benchmark tries others
bool decode_ring = true; // ring_kernel where the device has it

// Joins the partial results of one row and head. grid: (rows, heads), block: 128 threads over the value columns.
static __global__ void __launch_bounds__(128) decode_join(const view a, const partials from) {
    wait_for_previous(); // every block: who comes after this kernel relies on it
    const int head = blockIdx.y, row = blockIdx.x;
    const mosa_cuda_segment s = a.segments[a.row_segment[row]];
    if (s.row_count * a.group > a.small) return;
    const span seen = visible(a, s, s.pos_begin + row - s.row_begin);
    const int64_t first = ((int64_t)row * a.heads + head) * from.splits;
    const int begin = seen.lo / SPLIT, end = (seen.end + SPLIT - 1) / SPLIT;
    for (int c = threadIdx.x; c < a.value_width; c += blockDim.x) {
        float total = 0, m = -INFINITY, l = 0;
        const float *values = from.values + first * a.value_width + c;
        const float2 *sums = from.sums + first;
#pragma unroll 8
        for (int i = begin; i < end; i++) {
            float2 of = __ldg(sums + i);
            joint j = join_factors(m, of.x);
            l = join(l, of.y, j);
            total = join(total, __ldg(values + (int64_t)i * a.value_width), j);
        }
        float *lse = a.lse && c == 0 ? a.lse + (int64_t)row * a.heads + head : NULL;
        a.y[row * a.y_stride + (int64_t)head * a.value_width + c] = total * finish(a, head, m, l, lse);
    }
}

// Workers of an item, so that all blocks have work; 1 where there is no room for partial results.
static partials share(const view &a, int slices, int blocks, void *scratch, size_t scratch_bytes) {
    partials to = {};
    to.splits = a.max_position / SPLIT + 1;
    int packed = a.max_rows * a.group < a.small ? a.max_rows * a.group : a.small;
    to.row_tiles = (packed + 15) / 16;
    int items = a.n_segments * a.kv_heads * to.row_tiles * slices;
    to.workers = items >= decode_waves * blocks ? 1 : (decode_waves * blocks + items - 1) / items;
    if (to.workers > 1) to.workers = to.splits; // one split each: as even as can be
    size_t all = (size_t)a.rows * (size_t)a.heads * (size_t)to.splits;
    if (all * ((size_t)a.value_width + 2) * sizeof(float) > scratch_bytes) to.workers = 1;
    to.items = items * to.workers;
    to.sums = (float2 *)scratch;
    to.values = (float *)(to.sums + all);
    return to;
}

// What a kernel needs to be launched; asked for once. Every thread that asks finds the same.
struct kernel_info {
    int blocks, major; // blocks that run at once, 0 = not known yet; of the device
};

static cudaError_t ask(kernel_info *info, const void *kernel, int threads, int bytes) {
    int device, processors, each, major;
    if (info->blocks) return cudaSuccess;
    cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (e == cudaSuccess) e = cudaGetDevice(&device);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    if (e == cudaSuccess) e = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, threads, bytes);
    if (e != cudaSuccess) return e;
    if (each < 1) return cudaErrorInvalidConfiguration;
    info->major = major, info->blocks = processors * each;
    return cudaSuccess;
}

template <typename T, int D, int DV>
static cudaError_t run(const view &a, void *scratch, size_t scratch_bytes, cudaStream_t stream) {
    static kernel_info plain, ring;
    auto *kernel = decode_kernel<T, D, DV>;
    auto *ring_of = ring_kernel<T, D, DV>;
    const int bytes = (int)sizeof(decode_memory<T, D, DV>), ring_bytes = (int)sizeof(ring_memory<T, D, DV>);
    cudaError_t e = ask(&plain, (const void *)kernel, DECODE_THREADS, bytes);
    const bool use_ring = decode_ring && plain.major == 9;
    if (e == cudaSuccess && use_ring) e = ask(&ring, (const void *)ring_of, RING_THREADS, ring_bytes);
    if (e != cudaSuccess) return e;
    const int blocks = use_ring ? ring.blocks : plain.blocks;
    partials to = share(a, a.value_width / DV, blocks, scratch, scratch_bytes);
    int grid = to.items < blocks ? to.items : blocks;
    if (use_ring)
        ring_of<<<grid, RING_THREADS, ring_bytes, stream>>>(a, to);
    else
        kernel<<<grid, DECODE_THREADS, bytes, stream>>>(a, to);
    e = cudaGetLastError();
    if (e != cudaSuccess || to.workers == 1) return e;
    if (plain.major == 9) return launch_overlapping(decode_join, dim3(a.rows, a.heads), dim3(128), stream, a, to);
    decode_join<<<dim3(a.rows, a.heads), 128, 0, stream>>>(a, to);
    return cudaGetLastError();
}

template <typename T>
static bool launch(const view &a, void *scratch, size_t bytes, cudaStream_t stream, cudaError_t *result) {
    switch (a.width) {
    case 64:
        *result = run<T, 64, 64>(a, scratch, bytes, stream);
        return true;
    case 80:
        *result = run<T, 80, 80>(a, scratch, bytes, stream);
        return true;
    case 96:
        *result = run<T, 96, 96>(a, scratch, bytes, stream);
        return true;
    case 128:
        *result = run<T, 128, 128>(a, scratch, bytes, stream);
        return true;
    case 256:
        *result = run<T, 256, 128>(a, scratch, bytes, stream);
        return true;
    default:
        return false;
    }
}

bool decode_launch(const view &a, mosa_dtype dtype, void *scratch, size_t bytes, cudaStream_t stream,
                   cudaError_t *result) {
    if (!a.pages || !has_kernels(a.width, a.value_width, dtype)) return false;
    return dtype == MOSA_BF16 ? launch<__nv_bfloat16>(a, scratch, bytes, stream, result)
                              : launch<__half>(a, scratch, bytes, stream, result);
}

} // namespace mosa_attention
