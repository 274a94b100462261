// Attention kernels on a device: checked against double precision and against each other bit for bit, then timed.
//
//   nvcc -O3 -std=c++17 -arch=sm_90a -Isrc -Iinclude -o attention_bench tests/gpu/attention_bench.cu &&
//   ./attention_bench
//
// Stand-alone: includes the kernels' sources. A failed check prints where, what came and what was wanted. Arguments:
// "check", "time" or "cases N" (how many random cases); by default all.
#include "backend/cuda/plugin/attention.cu"
#include "backend/cuda/plugin/attention_backward.cu"
#include "backend/cuda/plugin/attention_decode.cu"
#include "backend/cuda/plugin/attention_prefill.cu"
#include "backend/cuda/plugin/attention_write.cu"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        cudaError_t e_ = (call);                                                                                       \
        if (e_ != cudaSuccess) {                                                                                       \
            printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(e_));                              \
            exit(2);                                                                                                   \
        }                                                                                                              \
    } while (0)

static int failures;

// ---- device memory: one bump allocator, emptied between cases

static char *pool;
static size_t pool_used, pool_bytes;
static void *take(size_t bytes) {
    void *p = pool + pool_used;
    pool_used += (bytes + 255) / 256 * 256;
    if (pool_used > pool_bytes) printf("pool too small: %zu\n", pool_used), exit(2);
    return p;
}
template <typename T> static T *upload(const std::vector<T> &v) {
    T *p = (T *)take(v.size() * sizeof(T) + 16);
    CHECK(cudaMemcpy(p, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice));
    return p;
}

// ---- a node and its batch

struct shape {
    mosa_dtype dtype;
    int width, value_width, heads, kv_heads, page_tokens, window;
    float cap, scale;
    bool sinks, in_key, causal, packed;
    int columns(bool value) const { return kv_heads * (value ? value_width : width); }
};

static std::string name_of(const shape &s) {
    char t[256];
    snprintf(t, sizeof t, "%s%s C%d W%d H%d/%d page %d%s%s%s%s%s", s.packed ? "packed " : "",
             s.dtype == MOSA_F32   ? "f32"
             : s.dtype == MOSA_F16 ? "f16"
                                   : "bf16",
             s.width, s.value_width, s.heads, s.kv_heads, s.page_tokens,
             s.window ? (" window " + std::to_string(s.window)).c_str() : "", s.cap > 0 ? " cap" : "",
             s.sinks ? " sinks" : "", s.in_key ? " in_key" : "", s.causal ? "" : " both ways");
    return t;
}

struct node_args {
    mosa_graph graph = {};
    mosa_value_info values[8] = {};
    mosa_node node = {};
    mosa_weight sinks = {};
    mosa_cuda_batch batch = {};
    mosa_cuda_args args = {};
};

static void set_attention(mosa_attrs *attrs, const shape &s, int layer) {
    attrs->attention.heads = s.heads, attrs->attention.kv_heads = s.kv_heads, attrs->attention.head_width = s.width;
    attrs->attention.value_width = s.value_width, attrs->attention.value_in_key = s.in_key;
    attrs->attention.layer = layer, attrs->attention.window = s.window, attrs->attention.scale = s.scale;
    attrs->attention.softcap = s.cap, attrs->attention.causal = s.causal;
}

static void open_node(node_args &n, const shape &s, int layer) {
    n.graph.values = n.values;
    for (int i = 0; i < 8; i++) n.node.in[i] = i, n.values[i].kind = MOSA_VALUE_COMPUTED;
    set_attention(&n.node.attrs, s, layer);
    n.args.graph = &n.graph, n.args.node = &n.node, n.args.batch = &n.batch;
    n.node.n_out = 1;
}

// ---- sequences of a case, their keys and values on the device, and the wanted results

struct sequences {
    shape s;
    std::vector<int> length, base, page_begin;
    int rows = 0;
    std::vector<float> q, k, v, sinks; // rounded to what the kernels read
    float *dq, *dk, *dv, *dsinks;
    int32_t *dpages;
    mosa_kv kv = {};
    std::vector<float> want, bound; // (rows, heads * value_width)
    std::vector<float> full;        // what one segment per sequence gave
};

static float rounded(float x, mosa_dtype dtype) {
    if (dtype == MOSA_F16) return __half2float(__float2half_rn(x));
    if (dtype == MOSA_BF16) return __bfloat162float(__float2bfloat16_rn(x));
    return x;
}

static std::vector<float> random_rows(std::mt19937 &rng, size_t n, float size, mosa_dtype dtype) {
    std::normal_distribution<float> normal(0, size);
    std::vector<float> x(n);
    for (auto &e : x) e = rounded(normal(rng), dtype);
    return x;
}

// One warp per (row, head), double precision; y and, for the tolerance, sum of p |v|.
__global__ void reference_kernel(const float *q, const float *k, const float *v, const float *sinks,
                                 const int *row_base, const int *row_length, int rows, shape s, float *y,
                                 float *magnitude) {
    const int row = blockIdx.x, head = blockIdx.y, lane = threadIdx.x;
    const int base = row_base[row], position = row - base, g = head / (s.heads / s.kv_heads);
    int lo = 0, end = s.causal ? position + 1 : row_length[row];
    if (s.window) lo = max(lo, position - s.window + 1), end = min(end, position + s.window);
    __shared__ double score[4096];
    double largest = -1e300;
    for (int j = lo + lane; j < end; j += 32) {
        double dot = 0;
        for (int c = 0; c < s.width; c++)
            dot += (double)q[((int64_t)row * s.heads + head) * s.width + c] *
                   (double)k[((int64_t)(base + j) * s.kv_heads + g) * s.width + c];
        dot *= s.scale;
        if (s.cap > 0) dot = s.cap * tanh(dot / s.cap);
        score[j - lo] = dot;
        largest = fmax(largest, dot);
    }
    for (int i = 16; i; i /= 2) largest = fmax(largest, __shfl_xor_sync(~0u, largest, i));
    if (s.sinks) largest = fmax(largest, (double)sinks[head]);
    double sum = 0;
    for (int j = lo + lane; j < end; j += 32) sum += score[j - lo] = exp(score[j - lo] - largest);
    for (int i = 16; i; i /= 2) sum += __shfl_xor_sync(~0u, sum, i);
    if (s.sinks) sum += exp((double)sinks[head] - largest);
    __syncwarp();
    const int width = s.in_key ? s.width : s.value_width;
    for (int c = lane; c < s.value_width; c += 32) {
        double a = 0, b = 0;
        for (int j = lo; j < end; j++) {
            double x = v[((int64_t)(base + j) * s.kv_heads + g) * width + c];
            a += score[j - lo] * x, b += score[j - lo] * fabs(x);
        }
        y[((int64_t)row * s.heads + head) * s.value_width + c] = (float)(a / sum);
        magnitude[((int64_t)row * s.heads + head) * s.value_width + c] = (float)(b / sum);
    }
}

static void want_results(sequences &x) {
    std::vector<int> base(x.rows), length(x.rows);
    for (size_t i = 0; i < x.length.size(); i++)
        for (int p = 0; p < x.length[i]; p++) base[x.base[i] + p] = x.base[i], length[x.base[i] + p] = x.length[i];
    size_t n = (size_t)x.rows * x.s.heads * x.s.value_width;
    float *y = (float *)take(n * 4), *magnitude = (float *)take(n * 4);
    reference_kernel<<<dim3(x.rows, x.s.heads), 32>>>(x.dq, x.dk, x.s.in_key ? x.dk : x.dv, x.dsinks, upload(base),
                                                      upload(length), x.rows, x.s, y, magnitude);
    CHECK(cudaGetLastError());
    x.want.resize(n), x.bound.resize(n);
    CHECK(cudaMemcpy(x.want.data(), y, n * 4, cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpy(x.bound.data(), magnitude, n * 4, cudaMemcpyDeviceToHost));
    bool plain = x.s.dtype == MOSA_F32 || x.s.width != x.s.value_width || x.s.in_key;
    plain = plain || !mosa_attention::has_kernels(x.s.width, x.s.value_width, MOSA_BF16);
    float part = plain ? 2e-5f : x.s.dtype == MOSA_F16 ? 1e-3f : 8e-3f;
    for (auto &b : x.bound) b = b * part + 2e-5f;
}

static void open_kv(sequences &x, int layers, std::mt19937 &rng) {
    const shape &s = x.s;
    int pages = 0;
    for (int n : x.length) x.page_begin.push_back(pages), pages += (n + s.page_tokens - 1) / s.page_tokens;
    std::vector<int32_t> list(pages);
    std::iota(list.begin(), list.end(), 0);
    std::shuffle(list.begin(), list.end(), rng);
    x.dpages = upload(list);
    x.kv.spec = {layers, s.kv_heads, s.width, s.page_tokens, pages, s.dtype, s.value_width, s.in_key};
    size_t element = s.dtype == MOSA_F32 ? 4 : 2, stored = mosa_kv_value_width(&x.kv.spec);
    x.kv.v_offset = s.page_tokens * s.width * element;
    x.kv.head_stride = x.kv.v_offset + s.page_tokens * stored * element;
    x.kv.page_stride = x.kv.head_stride * s.kv_heads;
    x.kv.layer_stride = x.kv.page_stride * pages;
    x.kv.bytes = x.kv.layer_stride * layers;
    x.kv.data = (char *)take(x.kv.bytes);
    CHECK(cudaMemset(x.kv.data, 0xff, x.kv.bytes)); // not numbers: nobody may read what was never written
}

static sequences make_sequences(const shape &s, std::vector<int> lengths, std::mt19937 &rng, bool results = true) {
    sequences x;
    x.s = s, x.length = lengths;
    for (int n : lengths) x.base.push_back(x.rows), x.rows += n;
    float size = s.cap > 0 ? 2.0f : 1.0f;
    x.q = random_rows(rng, (size_t)x.rows * s.heads * s.width, size, s.dtype);
    x.k = random_rows(rng, (size_t)x.rows * s.columns(false), size, s.dtype);
    x.v = random_rows(rng, (size_t)x.rows * s.columns(true), 1.0f, s.dtype);
    x.sinks = random_rows(rng, s.heads, 2.0f, MOSA_F32);
    x.dq = upload(x.q), x.dk = upload(x.k), x.dv = upload(x.v), x.dsinks = upload(x.sinks);
    if (results) want_results(x);
    if (!s.packed) open_kv(x, 1, rng);
    return x;
}

// Rows [begin, begin + count) of sequence i.
struct chunk {
    int sequence, begin, count;
};

static void set_batch(node_args &n, const sequences &x, const std::vector<chunk> &chunks) {
    std::vector<mosa_cuda_segment> segments;
    std::vector<int32_t> row_segment;
    n.batch = {};
    n.batch.max_position = -1;
    for (const chunk &c : chunks) {
        segments.push_back({n.batch.rows, c.count, c.begin, x.s.packed ? 0 : x.page_begin[c.sequence], 0});
        for (int i = 0; i < c.count; i++) row_segment.push_back((int)segments.size() - 1);
        n.batch.rows += c.count;
        n.batch.max_rows_of_segment = std::max(n.batch.max_rows_of_segment, c.count);
        n.batch.max_position = std::max(n.batch.max_position, c.begin + c.count - 1);
    }
    n.batch.n_segments = (int)segments.size();
    n.batch.segments = upload(segments), n.batch.row_segment = upload(row_segment);
    n.batch.pages = x.dpages;
    n.args.rows = n.batch.rows;
}

static float *gather(const float *from, int columns, const sequences &x, const std::vector<chunk> &chunks) {
    size_t rows = 0;
    for (const chunk &c : chunks) rows += c.count;
    float *to = (float *)take(rows * columns * 4);
    rows = 0;
    for (const chunk &c : chunks) {
        CHECK(cudaMemcpyAsync(to + rows * columns, from + (size_t)(x.base[c.sequence] + c.begin) * columns,
                              (size_t)c.count * columns * 4, cudaMemcpyDeviceToDevice));
        rows += c.count;
    }
    return to;
}

static void write_pages(sequences &x, const std::vector<chunk> &chunks) {
    node_args n;
    open_node(n, x.s, 0);
    set_batch(n, x, chunks);
    int state = x.s.in_key ? 1 : 2;
    n.args.in[0] = gather(x.dk, x.s.columns(false), x, chunks), n.args.in_stride[0] = x.s.columns(false) * 4;
    if (!x.s.in_key) {
        n.args.in[1] = gather(x.dv, x.s.columns(true), x, chunks);
        n.args.in_stride[1] = x.s.columns(true) * 4;
    }
    n.args.in[state] = n.args.out[0] = &x.kv;
    CHECK(mosa_cuda_kv_write_launch(&n.args, 0));
}

// Runs ATTENTION over chunks and returns y. scratch: as asked for, or less.
static std::vector<float> attend(sequences &x, const std::vector<chunk> &chunks, size_t scratch_max = ~(size_t)0) {
    node_args n;
    open_node(n, x.s, 0);
    set_batch(n, x, chunks);
    const shape &s = x.s;
    n.args.in[0] = gather(x.dq, s.heads * s.width, x, chunks), n.args.in_stride[0] = s.heads * s.width * 4;
    int next = 1;
    if (s.packed) {
        n.args.in[next] = gather(x.dk, s.columns(false), x, chunks), n.args.in_stride[next++] = s.columns(false) * 4;
        if (!s.in_key) {
            n.args.in[next] = gather(x.dv, s.columns(true), x, chunks);
            n.args.in_stride[next++] = s.columns(true) * 4;
        }
    } else {
        n.values[1].kind = MOSA_VALUE_STATE;
        n.args.in[next++] = &x.kv;
    }
    n.sinks.vector = x.dsinks;
    if (s.sinks) n.args.in[next++] = &n.sinks;
    n.node.n_in = next;
    int columns = s.heads * s.value_width;
    float *y = (float *)take((size_t)n.batch.rows * columns * 4);
    CHECK(cudaMemset(y, 0xff, (size_t)n.batch.rows * columns * 4));
    n.args.out[0] = y, n.args.out_stride[0] = columns * 4;
    size_t bytes = mosa_cuda_attention_scratch_bytes(&n.graph, &n.node, n.batch.rows, n.batch.max_position);
    n.args.scratch_bytes = std::min(bytes, scratch_max);
    n.args.scratch = take(n.args.scratch_bytes + 256);
    CHECK(cudaMemset(n.args.scratch, 0xff, n.args.scratch_bytes));
    CHECK(mosa_cuda_attention_launch(&n.args, 0));
    cudaError_t e = cudaDeviceSynchronize();
    if (e != cudaSuccess) printf("FAIL %s: %s\n", name_of(s).c_str(), cudaGetErrorString(e)), exit(2);
    std::vector<float> result((size_t)n.batch.rows * columns);
    CHECK(cudaMemcpy(result.data(), y, result.size() * 4, cudaMemcpyDeviceToHost));
    return result;
}

// Compares rows of chunks with the wanted values, and bit by bit with x.full when that is there.
static bool compare(sequences &x, const std::vector<chunk> &chunks, const std::vector<float> &y, const char *what,
                    bool bits) {
    const int columns = x.s.heads * x.s.value_width;
    int wrong = 0, different = 0, rows_wrong = 0;
    float worst = 0;
    size_t row = 0;
    for (const chunk &c : chunks)
        for (int i = 0; i < c.count; i++, row++) {
            size_t from = (size_t)(x.base[c.sequence] + c.begin + i) * columns;
            bool row_wrong = false;
            for (int j = 0; j < columns; j++) {
                float got = y[row * columns + j], want = x.want[from + j], off = fabsf(got - want) / x.bound[from + j];
                bool bad = !(off <= 1.0f);
                worst = off > worst ? off : worst;
                if (bad && wrong++ < 6)
                    printf("  WRONG %s: %s: sequence %d (of %zu) position %d (chunk %d+%d) head %d column %d: %.6g, "
                           "wanted %.6g +- %.2g\n",
                           name_of(x.s).c_str(), what, c.sequence, x.length.size(), c.begin + i, c.begin, c.count,
                           j / x.s.value_width, j % x.s.value_width, got, want, x.bound[from + j]);
                if (bits && memcmp(&got, &x.full[from + j], 4) && different++ < 6)
                    printf("  BITS %s: %s: sequence %d position %d (chunk %d+%d) head %d column %d: %.9g, in one piece "
                           "%.9g (wanted %.9g)\n",
                           name_of(x.s).c_str(), what, c.sequence, c.begin + i, c.begin, c.count, j / x.s.value_width,
                           j % x.s.value_width, got, x.full[from + j], want);
                row_wrong |= bad;
            }
            rows_wrong += row_wrong;
        }
    if (wrong || different)
        printf("FAIL %s: %s: %d of %zu wrong (in %d of %zu rows), %d bits differ, worst %.2f of the bound\n",
               name_of(x.s).c_str(), what, wrong, y.size(), rows_wrong, row, different, worst);
    if (wrong || different) failures++;
    return !wrong && !different;
}

static std::vector<chunk> whole(const sequences &x) {
    std::vector<chunk> all;
    for (size_t i = 0; i < x.length.size(); i++) all.push_back({(int)i, 0, x.length[i]});
    return all;
}

static void check_case(const shape &s, std::vector<int> lengths, std::mt19937 &rng) {
    pool_used = 0;
    sequences x = make_sequences(s, lengths, rng);
    auto all = whole(x);
    if (s.packed) {
        x.full = attend(x, all);
        compare(x, all, x.full, "packed", false);
        auto again = attend(x, all);
        compare(x, all, again, "repeated", true);
        mosa_attention::prefill_hopper = false;
        compare(x, all, attend(x, all), "mma.sync instead of wgmma", true);
        mosa_attention::prefill_hopper = true;
        for (size_t i = 0; i < x.length.size(); i++) { // alone: other rows in the tensors
            std::vector<chunk> one = {all[i]};
            compare(x, one, attend(x, one), "alone", true);
        }
        return;
    }
    write_pages(x, all);
    x.full = attend(x, all);
    compare(x, all, x.full, "one piece", false);
    compare(x, all, attend(x, all), "repeated", true);
    mosa_attention::prefill_hopper = false;
    compare(x, all, attend(x, all), "mma.sync instead of wgmma", true);
    mosa_attention::prefill_hopper = true;
    for (int round = 0; round < 6; round++) { // ragged batches: decode, pieces of prompts, both
        std::vector<chunk> chunks;
        for (size_t i = 0; i < x.length.size(); i++) {
            int most = round == 0 ? 1 : round == 1 ? 4 : round == 2 ? 40 : x.length[i];
            int count = std::min(x.length[i], 1 + (int)(rng() % most));
            if (round > 3 && rng() % 2) count = 1;
            int begin = rng() % 3 == 0 ? x.length[i] - count : rng() % (x.length[i] - count + 1);
            chunks.push_back({(int)i, begin, count});
        }
        std::shuffle(chunks.begin(), chunks.end(), rng);
        const char *names[] = {"decode", "1-4 rows", "1-40 rows", "chunks", "mixed", "mixed"};
        if (!compare(x, chunks, attend(x, chunks), names[round], true)) break;
        if (!compare(x, chunks, attend(x, chunks, 0), "no scratch", true)) break;
        mosa_attention::decode_ring = false;
        bool same = compare(x, chunks, attend(x, chunks), "without ring", true);
        mosa_attention::decode_ring = true;
        if (!same) break;
    }
}

static void check_all(int cases, unsigned seed) {
    std::mt19937 rng(seed);
    const int widths[] = {128, 64, 96, 80, 256, 128, 64, 40, 192};
    const int heads[][2] = {{8, 2}, {4, 4}, {12, 1}, {32, 8}, {6, 2}, {5, 1}, {16, 1}};
    const int pages[] = {16, 32, 64, 128, 256};
    for (int i = 0; i < cases; i++) {
        shape s = {};
        int h = rng() % 7;
        s.width = s.value_width = widths[i % 9];
        s.dtype = i % 9 >= 7 ? MOSA_BF16 : (i / 9) % 2 ? MOSA_F16 : MOSA_BF16;
        if (i % 11 == 10) s.dtype = MOSA_F32;
        s.heads = heads[h][0], s.kv_heads = heads[h][1];
        s.page_tokens = pages[rng() % 5];
        s.window = rng() % 3 ? 0 : 1 + (int)(rng() % 500);
        s.cap = rng() % 4 ? 0 : 20.0f;
        s.sinks = rng() % 3 == 0;
        s.scale = (rng() % 8 ? 1.0f : -1.0f) / sqrtf((float)s.width);
        s.causal = true;
        s.packed = rng() % 3 == 0;
        if (s.packed) s.dtype = mosa_attention::has_kernels(s.width, s.width, MOSA_BF16) ? MOSA_BF16 : MOSA_F32;
        if (s.packed) s.causal = rng() % 2;
        if (!s.packed && i % 13 == 12) s.in_key = true, s.width = 576, s.value_width = 512, s.kv_heads = 1, s.heads = 8;
        std::vector<int> lengths;
        int n = 1 + rng() % 6;
        for (int k = 0; k < n; k++) lengths.push_back(1 + rng() % (k == 0 ? 1400 : 300));
        if (i % 5 == 0) lengths[0] = 256 * (1 + rng() % 4);
        int before = failures;
        check_case(s, lengths, rng);
        if (i < 24 || failures > before)
            printf("case %2d %-60s %d sequences, first of %d: %s\n", i, name_of(s).c_str(), n, lengths[0],
                   failures > before ? "FAILED" : "ok");
        if (failures > 12) return;
    }
}

// ---- derivatives, against double precision

// One warp per (row, head): lse, delta and dq.
__global__ void reference_rows(const float *dy, const float *q, const float *k, const float *v, const float *sinks,
                               const int *row_base, const int *row_length, shape s, double *lse_of, double *delta_of,
                               float *dq) {
    const int row = blockIdx.x, head = blockIdx.y, lane = threadIdx.x;
    const int base = row_base[row], position = row - base, g = head / (s.heads / s.kv_heads);
    int lo = 0, end = s.causal ? position + 1 : row_length[row];
    if (s.window) lo = max(lo, position - s.window + 1), end = min(end, position + s.window);
    __shared__ double score[4096], dp[4096], slope[4096];
    const int width = s.in_key ? s.width : s.value_width;
    double largest = s.sinks ? sinks[head] : -1e300, sum = 0, delta = 0;
    for (int j = lo + lane; j < end; j += 32) {
        double dot = 0, of = 0;
        for (int c = 0; c < s.width; c++)
            dot += (double)q[((int64_t)row * s.heads + head) * s.width + c] *
                   (double)k[((int64_t)(base + j) * s.kv_heads + g) * s.width + c];
        for (int c = 0; c < s.value_width; c++)
            of += (double)dy[((int64_t)row * s.heads + head) * s.value_width + c] *
                  (double)v[((int64_t)(base + j) * s.kv_heads + g) * width + c];
        dot *= s.scale;
        slope[j - lo] = 1;
        if (s.cap > 0) dot = tanh(dot / s.cap), slope[j - lo] = 1 - dot * dot, dot *= s.cap;
        score[j - lo] = dot, dp[j - lo] = of;
        largest = fmax(largest, dot);
    }
    for (int i = 16; i; i /= 2) largest = fmax(largest, __shfl_xor_sync(~0u, largest, i));
    for (int j = lo + lane; j < end; j += 32) sum += exp(score[j - lo] - largest);
    for (int i = 16; i; i /= 2) sum += __shfl_xor_sync(~0u, sum, i);
    if (s.sinks) sum += exp((double)sinks[head] - largest);
    for (int j = lo + lane; j < end; j += 32)
        score[j - lo] = exp(score[j - lo] - largest) / sum, delta += score[j - lo] * dp[j - lo];
    for (int i = 16; i; i /= 2) delta += __shfl_xor_sync(~0u, delta, i);
    __syncwarp();
    for (int c = lane; c < s.width; c += 32) {
        double x = 0;
        for (int j = lo; j < end; j++)
            x += score[j - lo] * (dp[j - lo] - delta) * slope[j - lo] *
                 (double)k[((int64_t)(base + j) * s.kv_heads + g) * s.width + c];
        dq[((int64_t)row * s.heads + head) * s.width + c] = (float)(x * s.scale);
    }
    if (lane == 0) lse_of[row * s.heads + head] = largest + log(sum), delta_of[row * s.heads + head] = delta;
}

// One warp per (position, kv head): dk and dv.
__global__ void reference_positions(const float *dy, const float *q, const float *k, const float *v,
                                    const int *row_base, const int *row_length, shape s, const double *lse,
                                    const double *delta, float *dk, float *dv) {
    const int row = blockIdx.x, g = blockIdx.y, lane = threadIdx.x, group = s.heads / s.kv_heads;
    const int base = row_base[row], j = row - base, width = s.in_key ? s.width : s.value_width;
    double k_sum[18] = {}, v_sum[18] = {};
    for (int head = g * group; head < (g + 1) * group; head++)
        for (int p = s.causal ? j : 0; p < row_length[row]; p++) {
            if (s.window && (p - j >= s.window || j - p >= s.window)) continue;
            const float *q_at = q + ((int64_t)(base + p) * s.heads + head) * s.width;
            const float *dy_at = dy + ((int64_t)(base + p) * s.heads + head) * s.value_width;
            double dot = 0, of = 0;
            for (int c = lane; c < s.width; c += 32)
                dot += (double)q_at[c] * (double)k[((int64_t)row * s.kv_heads + g) * s.width + c];
            for (int c = lane; c < s.value_width; c += 32)
                of += (double)dy_at[c] * (double)v[((int64_t)row * s.kv_heads + g) * width + c];
            for (int i = 16; i; i /= 2) dot += __shfl_xor_sync(~0u, dot, i), of += __shfl_xor_sync(~0u, of, i);
            dot *= s.scale;
            double slope = 1;
            if (s.cap > 0) dot = tanh(dot / s.cap), slope = 1 - dot * dot, dot *= s.cap;
            double w = exp(dot - lse[(base + p) * s.heads + head]);
            double ds = w * (of - delta[(base + p) * s.heads + head]) * slope * s.scale;
            for (int c = lane, n = 0; c < s.width; c += 32, n++) k_sum[n] += ds * q_at[c];
            for (int c = lane, n = 0; c < s.value_width; c += 32, n++) v_sum[n] += w * dy_at[c];
        }
    for (int c = lane, n = 0; c < s.width; c += 32, n++) {
        double add = s.in_key && c < s.value_width ? v_sum[n] : 0;
        dk[((int64_t)row * s.kv_heads + g) * s.width + c] = (float)(k_sum[n] + add);
    }
    if (!s.in_key)
        for (int c = lane, n = 0; c < s.value_width; c += 32, n++)
            dv[((int64_t)row * s.kv_heads + g) * s.value_width + c] = (float)v_sum[n];
}

// Each vector of `width` columns is held to a part of its length and of the tensor's mean length.
static bool compare_vectors(const sequences &x, const char *what, const float *got_at, const float *want_at, int heads,
                            int width, float part) {
    size_t vectors = (size_t)x.rows * heads, n = vectors * width;
    std::vector<float> got(n), want(n);
    CHECK(cudaMemcpy(got.data(), got_at, n * 4, cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpy(want.data(), want_at, n * 4, cudaMemcpyDeviceToHost));
    double all = 0, off_all = 0;
    for (float w : want) all += (double)w * w;
    int wrong = 0;
    double worst = 0;
    for (size_t i = 0; i < vectors; i++) {
        double off = 0, size = 0;
        for (int c = 0; c < width; c++) {
            double d = (double)got[i * width + c] - want[i * width + c];
            off += d * d, size += (double)want[i * width + c] * want[i * width + c];
        }
        off_all += off;
        double bound = part * (sqrt(size) + sqrt(all / vectors)) + 1e-6, is = sqrt(off) / bound;
        worst = std::max(worst, is);
        if (!(is <= 1) && wrong++ < 5)
            printf(
                "  WRONG %s: %s row %zu head %zu: off by %.4g of %.4g; first columns %.5g %.5g %.5g, wanted %.5g %.5g "
                "%.5g\n",
                name_of(x.s).c_str(), what, i / heads, i % heads, sqrt(off), sqrt(size), got[i * width],
                got[i * width + 1], got[i * width + 2], want[i * width], want[i * width + 1], want[i * width + 2]);
    }
    if (wrong)
        printf("FAIL %s: %s: %d of %zu vectors wrong, worst %.2f of the bound, off by %.2g in all\n",
               name_of(x.s).c_str(), what, wrong, vectors, worst, sqrt(off_all / all));
    failures += wrong > 0;
    return wrong == 0;
}

struct gradients {
    float *dq, *dk, *dv;
};

static void run_backward(sequences &x, const std::vector<chunk> &all, const float *dy, const gradients &to) {
    const shape &s = x.s;
    node_args n;
    open_node(n, s, 0);
    set_batch(n, x, all);
    const float *in[] = {dy, x.dq, x.dk, x.dv};
    int strides[] = {s.heads * s.value_width, s.heads * s.width, s.columns(false), s.columns(true)}, next = 0;
    for (; next < (s.in_key ? 3 : 4); next++) n.args.in[next] = in[next], n.args.in_stride[next] = strides[next] * 4;
    n.sinks.vector = x.dsinks;
    if (s.sinks) n.args.in[next++] = &n.sinks;
    n.node.n_in = next;
    n.args.out[0] = to.dq, n.args.out[1] = to.dk, n.args.out[2] = to.dv;
    for (int i = 0; i < 3; i++) n.args.out_stride[i] = strides[i + 1] * 4;
    n.args.scratch_bytes = mosa_cuda_attention_dx_scratch_bytes(&n.graph, &n.node, n.batch.rows, n.batch.max_position);
    n.args.scratch = take(n.args.scratch_bytes);
    CHECK(cudaMemset(n.args.scratch, 0xff, n.args.scratch_bytes));
    CHECK(mosa_cuda_attention_dx_launch(&n.args, 0));
    cudaError_t e = cudaDeviceSynchronize();
    if (e != cudaSuccess) printf("FAIL backward %s: %s\n", name_of(s).c_str(), cudaGetErrorString(e)), exit(2);
}

static gradients make_gradients(const sequences &x) {
    gradients g;
    float **to[] = {&g.dq, &g.dk, &g.dv};
    size_t columns[] = {(size_t)x.s.heads * x.s.width, (size_t)x.s.columns(false), (size_t)x.s.columns(true)};
    for (int i = 0; i < 3; i++) {
        *to[i] = (float *)take(x.rows * columns[i] * 4);
        CHECK(cudaMemset(*to[i], 0xff, x.rows * columns[i] * 4));
    }
    return g;
}

static void check_backward(const shape &s, std::vector<int> lengths, std::mt19937 &rng) {
    pool_used = 0;
    sequences x = make_sequences(s, lengths, rng, false);
    std::vector<int> base(x.rows), length(x.rows);
    for (size_t i = 0; i < x.length.size(); i++)
        for (int p = 0; p < x.length[i]; p++) base[x.base[i] + p] = x.base[i], length[x.base[i] + p] = x.length[i];
    int *dbase = upload(base), *dlength = upload(length);
    float *dy = upload(random_rows(rng, (size_t)x.rows * s.heads * s.value_width, 1, s.dtype));
    double *lse = (double *)take((size_t)x.rows * s.heads * 8), *delta = (double *)take((size_t)x.rows * s.heads * 8);
    gradients want = make_gradients(x), got = make_gradients(x), again = make_gradients(x);
    const float *v = s.in_key ? x.dk : x.dv;
    reference_rows<<<dim3(x.rows, s.heads), 32>>>(dy, x.dq, x.dk, v, x.dsinks, dbase, dlength, s, lse, delta, want.dq);
    reference_positions<<<dim3(x.rows, s.kv_heads), 32>>>(dy, x.dq, x.dk, v, dbase, dlength, s, lse, delta, want.dk,
                                                          want.dv);
    CHECK(cudaGetLastError());
    run_backward(x, whole(x), dy, got);
    bool plain = s.in_key || !mosa_attention::has_kernels(s.width, s.value_width, MOSA_BF16);
    float part = plain ? 1e-4f : 1.5e-2f;
    compare_vectors(x, "dq", got.dq, want.dq, s.heads, s.width, part);
    compare_vectors(x, "dk", got.dk, want.dk, s.kv_heads, s.width, part);
    if (!s.in_key) compare_vectors(x, "dv", got.dv, want.dv, s.kv_heads, s.value_width, part);
    mosa_attention::backward_hopper = false;
    run_backward(x, whole(x), dy, again);
    mosa_attention::backward_hopper = true;
    compare_vectors(x, "dq without wgmma", again.dq, want.dq, s.heads, s.width, part);
    compare_vectors(x, "dk without wgmma", again.dk, want.dk, s.kv_heads, s.width, part);
    run_backward(x, whole(x), dy, again);
    size_t n = (size_t)x.rows * s.heads * s.width;
    std::vector<float> a(n), b(n);
    CHECK(cudaMemcpy(a.data(), got.dq, n * 4, cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpy(b.data(), again.dq, n * 4, cudaMemcpyDeviceToHost));
    if (memcmp(a.data(), b.data(), n * 4))
        printf("FAIL %s: dq differs when repeated\n", name_of(s).c_str()), failures++;
}

static void check_all_backward(int cases, unsigned seed) {
    std::mt19937 rng(seed);
    const int widths[] = {128, 64, 96, 80, 256, 40};
    const int heads[][2] = {{8, 2}, {4, 4}, {6, 1}, {6, 2}};
    for (int i = 0; i < cases; i++) {
        shape s = {};
        int h = rng() % 4;
        s.width = s.value_width = widths[i % 6];
        s.dtype = i % 6 == 5 ? MOSA_F32 : MOSA_BF16;
        s.heads = heads[h][0], s.kv_heads = heads[h][1];
        s.window = rng() % 3 ? 0 : 1 + (int)(rng() % 200);
        s.cap = rng() % 4 ? 0 : 10.0f;
        s.sinks = rng() % 3 == 0;
        s.scale = (rng() % 8 ? 1.0f : -1.0f) / sqrtf((float)s.width);
        s.causal = rng() % 3 != 0, s.packed = true;
        if (i == 11) s.in_key = true, s.width = 96, s.value_width = 64, s.kv_heads = 1;
        std::vector<int> lengths;
        int n = 1 + rng() % 4;
        for (int k = 0; k < n; k++) lengths.push_back(1 + rng() % (k == 0 ? 500 : 150));
        int before = failures;
        check_backward(s, lengths, rng);
        printf("backward %2d %-60s %d sequences, first of %d: %s\n", i, name_of(s).c_str(), n, lengths[0],
               failures > before ? "FAILED" : "ok");
        if (failures > 12) return;
    }
}

// ---- the writers, against the host

static void check_rope_write(std::mt19937 &rng, mosa_dtype dtype, bool halves, int rot) {
    pool_used = 0;
    shape s = {dtype, 64, 64, 6, 2, 32, 0, 0, 1, false, false, true, false};
    sequences x = make_sequences(s, {70, 33}, rng, false);
    std::vector<float> table = random_rows(rng, (size_t)x.rows * rot, 1, MOSA_F32);
    node_args n;
    open_node(n, s, 0);
    n.node.attrs = {};
    n.node.attrs.rope.head_width = s.width, n.node.attrs.rope.rot = rot;
    n.node.attrs.rope.style = halves ? MOSA_ROPE_HALF : MOSA_ROPE_INTERLEAVED;
    set_attention(&n.node.attrs2, s, 0);
    n.values[0].shape = MOSA_SHAPE2(MOSA_ROWS, s.heads * s.width);
    set_batch(n, x, whole(x));
    float *q = (float *)take((size_t)x.rows * s.heads * s.width * 4);
    const void *in[] = {x.dq, x.dk, x.dv, upload(table), &x.kv};
    int strides[] = {s.heads * s.width, s.columns(false), s.columns(true), rot, 0};
    for (int i = 0; i < 5; i++) n.args.in[i] = in[i], n.args.in_stride[i] = strides[i] * 4;
    n.args.out[0] = q, n.args.out_stride[0] = s.heads * s.width * 4;
    CHECK(mosa_cuda_rope_kv_write_launch(&n.args, 0));
    std::vector<float> got(x.q.size());
    std::vector<char> data(x.kv.bytes);
    std::vector<int32_t> pages(x.kv.spec.pages);
    CHECK(cudaMemcpy(got.data(), q, got.size() * 4, cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpy(data.data(), x.kv.data, data.size(), cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpy(pages.data(), x.dpages, pages.size() * 4, cudaMemcpyDeviceToHost));
    int wrong = 0;
    auto rotated = [&](const float *head, const float *t, int c) {
        int half = rot / 2;
        if (c >= rot) return head[c];
        int i = halves ? c % half : c / 2;
        bool second = halves ? c >= half : c % 2;
        volatile float a = head[halves ? i : 2 * i], b = head[halves ? i + half : 2 * i + 1];
        volatile float ac = a * t[i], bs = b * t[half + i], bc = b * t[i], as = a * t[half + i];
        return second ? bc + as : ac - bs;
    };
    auto fail = [&](const char *what, int row, int c, float y, float want) {
        if (y == want) return;
        if (wrong++ < 5)
            printf("  WRONG rope_kv_write %s row %d column %d: %.9g, wanted %.9g\n", what, row, c, y, want);
    };
    for (size_t i = 0; i < x.length.size(); i++)
        for (int p = 0; p < x.length[i]; p++) {
            int row = x.base[i] + p;
            const float *t = table.data() + (size_t)row * rot;
            for (int c = 0; c < s.heads * s.width; c++)
                fail("q", row, c, got[(size_t)row * s.heads * s.width + c],
                     rotated(x.q.data() + (size_t)row * s.heads * s.width + c / s.width * s.width, t, c % s.width));
            for (int value = 0; value < 2; value++)
                for (int c = 0; c < s.columns(false); c++) {
                    size_t element = dtype == MOSA_F32 ? 4 : 2;
                    const char *at = data.data() + pages[x.page_begin[i] + p / s.page_tokens] * x.kv.page_stride +
                                     c / s.width * x.kv.head_stride + (value ? x.kv.v_offset : 0) +
                                     (p % s.page_tokens * s.width + c % s.width) * element;
                    float y = dtype == MOSA_F32   ? *(const float *)at
                              : dtype == MOSA_F16 ? __half2float(*(const __half *)at)
                                                  : __bfloat162float(*(const __nv_bfloat16 *)at);
                    const float *head =
                        (value ? x.v : x.k).data() + (size_t)row * s.columns(false) + c / s.width * s.width;
                    float want = value ? head[c % s.width] : rotated(head, t, c % s.width);
                    fail(value ? "v" : "k", row, c, y, rounded(want, dtype));
                }
        }
    printf("rope_kv_write dtype %d %s rot %d: %s\n", dtype, halves ? "halves" : "pairs", rot, wrong ? "FAILED" : "ok");
    failures += wrong > 0;
}

// ---- timing

static double time_us(const std::function<void(int)> &call, int repeats) { // call(i): the i-th run; best of three
    cudaEvent_t a, b;
    CHECK(cudaEventCreate(&a));
    CHECK(cudaEventCreate(&b));
    for (int i = 0; i < 3; i++) call(i);
    double best = 1e30;
    for (int round = 0; round < 3; round++) {
        CHECK(cudaEventRecord(a));
        for (int i = 0; i < repeats; i++) call(i);
        CHECK(cudaEventRecord(b));
        CHECK(cudaEventSynchronize(b));
        float ms;
        CHECK(cudaEventElapsedTime(&ms, a, b));
        best = std::min(best, (double)ms * 1000 / repeats);
    }
    CHECK(cudaGetLastError());
    CHECK(cudaEventDestroy(a));
    CHECK(cudaEventDestroy(b));
    return best;
}

__global__ void read_kernel(const float4 *from, size_t n, float *to) {
    float sum = 0;
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
        float4 x = __ldcs(from + i);
        sum += x.x + x.y + x.z + x.w;
    }
    if (sum == 12345.678f) *to = sum;
}
static double read_rate; // GB/s

static void time_memory() {
    pool_used = 0;
    size_t bytes = (size_t)2 << 30;
    char *a = (char *)take(bytes), *b = (char *)take(bytes);
    CHECK(cudaMemset(a, 0, bytes));
    double copy = time_us([&](int) { CHECK(cudaMemcpyAsync(b, a, bytes, cudaMemcpyDeviceToDevice)); }, 5);
    double read = 1e30;
    for (int blocks : {132 * 4, 132 * 8, 132 * 16, 132 * 64})
        read =
            std::min(read, time_us([&](int) { read_kernel<<<blocks, 512>>>((float4 *)a, bytes / 16, (float *)b); }, 5));
    read_rate = bytes / read / 1e3;
    printf("memory: copy %.0f GB/s (read + write), read %.0f GB/s\n", 2 * bytes / copy / 1e3, read_rate);
}

__global__ void fill_kernel(__nv_bfloat16 *to, size_t n) { // within [-1, 1)
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
        uint32_t h = (uint32_t)i * 2654435761u;
        h = (h ^ h >> 15) * 2246822519u;
        to[i] = __float2bfloat16_rn((float)(int)(h ^ h >> 13) * 4.6566e-10f);
    }
}

// Sequences of equal length whose pages hold random numbers, in as many layers as it takes to leave the L2 cache.
struct timed {
    sequences x;
    node_args n;
    int layers;
    std::vector<node_args> node;
};

static void open_timed(timed &t, const shape &s, int batch, int length, int rows, std::mt19937 &rng) {
    pool_used = 0;
    t.x.s = s;
    t.x.length.assign(batch, length);
    size_t bytes = (size_t)batch * length * (s.width + s.value_width) * s.kv_heads * 2;
    t.layers = std::max(1, std::min(16, (int)(((size_t)300 << 20) / bytes + 1)));
    open_kv(t.x, t.layers, rng);
    fill_kernel<<<1024, 256>>>((__nv_bfloat16 *)t.x.kv.data, t.x.kv.bytes / 2);
    std::vector<float> q = random_rows(rng, (size_t)std::min(batch * rows, 4096) * s.heads * s.width, 1, s.dtype);
    float *dq = (float *)take((size_t)batch * rows * s.heads * s.width * 4);
    CHECK(cudaMemset(dq, 0, (size_t)batch * rows * s.heads * s.width * 4));
    CHECK(cudaMemcpy(dq, q.data(), q.size() * 4, cudaMemcpyHostToDevice));
    float *y = (float *)take((size_t)batch * rows * s.heads * s.value_width * 4);
    std::vector<chunk> chunks;
    for (int i = 0; i < batch; i++) chunks.push_back({i, length - rows, rows});
    t.node.resize(t.layers);
    for (int i = 0; i < t.layers; i++) {
        node_args &n = t.node[i];
        open_node(n, s, i);
        if (i == 0) set_batch(n, t.x, chunks);
        n.batch = t.node[0].batch, n.args.rows = n.batch.rows;
        n.values[1].kind = MOSA_VALUE_STATE;
        n.node.n_in = 2;
        n.args.in[0] = dq, n.args.in_stride[0] = s.heads * s.width * 4;
        n.args.in[1] = &t.x.kv;
        n.args.out[0] = y, n.args.out_stride[0] = s.heads * s.value_width * 4;
        n.args.scratch_bytes = mosa_cuda_attention_scratch_bytes(&n.graph, &n.node, n.batch.rows, n.batch.max_position);
        n.args.scratch = i ? t.node[0].args.scratch : take(n.args.scratch_bytes);
    }
}

static double run_timed(timed &t, int repeats) {
    return time_us([&](int i) { CHECK(mosa_cuda_attention_launch(&t.node[i % t.layers].args, 0)); }, repeats);
}

static void time_decode() {
    std::mt19937 rng(5);
    struct {
        int batch, length, heads, kv_heads, width, page;
    } cases[] = {{1, 1024, 32, 8, 128, 16},  {1, 8192, 32, 8, 128, 16},   {1, 8192, 32, 8, 128, 64},
                 {1, 32768, 32, 8, 128, 16}, {8, 4096, 32, 8, 128, 16},   {64, 1024, 32, 8, 128, 16},
                 {64, 1024, 32, 8, 128, 64}, {256, 1024, 32, 8, 128, 16}, {1, 8192, 32, 8, 64, 16},
                 {64, 1024, 32, 8, 64, 16},  {64, 1024, 12, 12, 64, 16},  {64, 1024, 16, 8, 256, 16},
                 {64, 1024, 32, 32, 96, 16}};
    printf("\ndecode, bf16 pages: us of a layer, GB/s of keys and values, share of the read rate, by waves; 0: without "
           "ring\n");
    for (auto &c : cases) {
        shape s = {MOSA_BF16, c.width, c.width, c.heads, c.kv_heads, c.page, 0, 0, 0.1f, false, false, true, false};
        timed t;
        open_timed(t, s, c.batch, c.length, 1, rng);
        double bytes = 2.0 * c.batch * c.length * c.kv_heads * c.width * 2;
        printf("batch %3d x %5d H%d/%d C%d page %d:", c.batch, c.length, c.heads, c.kv_heads, c.width, c.page);
        for (int waves : {1, 2, 4, 8}) {
            mosa_attention::decode_waves = waves;
            double us = run_timed(t, 32);
            printf("  [%d] %7.1f us %5.0f GB/s %3.0f%%", waves, us, bytes / us / 1e3,
                   bytes / us / 1e3 / read_rate * 100);
        }
        printf("\n");
        mosa_attention::decode_waves = 4;
    }
}

static void time_prefill() {
    using namespace mosa_attention;
    std::mt19937 rng(6);
    struct {
        int batch, length, rows, heads, kv_heads, width;
    } cases[] = {{1, 8192, 8192, 32, 8, 128}, {1, 2048, 2048, 32, 8, 128},  {8, 1024, 1024, 32, 8, 128},
                 {1, 8192, 512, 32, 8, 128},  {1, 32768, 2048, 32, 8, 128}, {8, 2048, 2048, 32, 8, 64},
                 {2, 4096, 4096, 16, 8, 256}};
    printf("\nprefill, bf16 pages of 16: us of a layer, TFLOPS (visible pairs)\n");
    for (auto &c : cases) {
        shape s = {MOSA_BF16, c.width, c.width, c.heads, c.kv_heads, 16, 0, 0, 0.1f, false, false, true, false};
        timed t;
        open_timed(t, s, c.batch, c.length, c.rows, rng);
        double pairs = (double)c.rows * (c.length - c.rows) + c.rows * (c.rows + 1.0) / 2;
        double flops = 4.0 * c.batch * pairs * c.heads * c.width;
        double us = run_timed(t, 3);
        prefill_hopper = false;
        double plain = run_timed(t, 3);
        prefill_hopper = true;
        printf("batch %d, %5d rows of %5d, H%d/%d C%d: %9.1f us %6.1f TFLOPS; mma.sync %9.1f us %6.1f TFLOPS\n",
               c.batch, c.rows, c.length, c.heads, c.kv_heads, c.width, us, flops / us / 1e6, plain,
               flops / plain / 1e6);
    }
}

// Packed segments as training has them: forward and backward, from f32 rows, and the kernels alone.
static void time_training() {
    using namespace mosa_attention;
    std::mt19937 rng(9);
    struct {
        int batch, length, heads, kv_heads, width;
        bool causal;
    } cases[] = {{8, 2048, 16, 16, 128, true},
                 {2, 8192, 16, 16, 128, true},
                 {16, 1024, 12, 12, 64, true},
                 {8, 2048, 32, 8, 128, true},
                 {8, 2048, 16, 16, 128, false}};
    printf("\npacked segments, bf16 inside: us, TFLOPS (4 or 10 operations per visible pair and column)\n");
    for (auto &c : cases) {
        pool_used = 0;
        shape s = {MOSA_BF16, c.width, c.width, c.heads, c.kv_heads, 16, 0, 0, 0.1f, false, false, c.causal, true};
        sequences x;
        x.s = s;
        for (int i = 0; i < c.batch; i++) x.length.push_back(c.length), x.base.push_back(x.rows), x.rows += c.length;
        auto random = [&](size_t columns) {
            std::vector<float> some = random_rows(rng, (size_t)1 << 20, 1, MOSA_F32);
            float *p = (float *)take((size_t)x.rows * columns * 4);
            for (size_t i = 0; i < x.rows * columns; i += some.size())
                CHECK(cudaMemcpy(p + i, some.data(), std::min(some.size(), x.rows * columns - i) * 4,
                                 cudaMemcpyHostToDevice));
            return p;
        };
        x.dq = random((size_t)c.heads * c.width), x.dk = random(s.columns(false)), x.dv = random(s.columns(true));
        float *dy = random((size_t)c.heads * c.width), *y = (float *)take((size_t)x.rows * c.heads * c.width * 4);
        gradients g = make_gradients(x);
        node_args n;
        open_node(n, s, 0);
        set_batch(n, x, whole(x));
        const void *in[] = {dy, x.dq, x.dk, x.dv};
        int strides[] = {c.heads * c.width, c.heads * c.width, s.columns(false), s.columns(true)};
        n.args.scratch_bytes = mosa_cuda_attention_dx_scratch_bytes(&n.graph, &n.node, x.rows, c.length);
        n.args.scratch = take(n.args.scratch_bytes);
        node_args back = n;
        back.args.node = &back.node, back.args.graph = &back.graph, back.graph.values = back.values;
        back.args.batch = &back.batch;
        for (int i = 0; i < 3; i++) n.args.in[i] = in[i + 1], n.args.in_stride[i] = strides[i + 1] * 4;
        for (int i = 0; i < 4; i++) back.args.in[i] = in[i], back.args.in_stride[i] = strides[i] * 4;
        n.node.n_in = 3, back.node.n_in = 4;
        n.args.out[0] = y, n.args.out_stride[0] = strides[1] * 4;
        void *out[] = {g.dq, g.dk, g.dv};
        for (int i = 0; i < 3; i++) back.args.out[i] = out[i], back.args.out_stride[i] = strides[i + 1] * 4;
        double pairs = c.causal ? c.length * (c.length + 1.0) / 2 : (double)c.length * c.length;
        double unit = pairs * c.batch * c.heads * c.width;
        double forward = time_us([&](int) { CHECK(mosa_cuda_attention_launch(&n.args, 0)); }, 3);
        double backward_us = time_us([&](int) { CHECK(mosa_cuda_attention_dx_launch(&back.args, 0)); }, 3);
        CHECK(cudaDeviceSynchronize());
        // The two kernels alone, on what the launch above left in scratch.
        view a = packed_view(&back.args, 1);
        backward_scratch at_ = lay_out(&back.node.attrs, x.rows, back.args.scratch);
        a.k = (const char *)at_.k, a.v = (const char *)(at_.k + (size_t)x.rows * c.kv_heads * c.width);
        a.k_row = a.v_row = c.width * 2, a.head_stride = a.v_head_stride = x.rows * a.k_row, a.small = 0;
        a.y = y, a.y_stride = c.heads * c.width, a.lse = at_.row_lse;
        cudaError_t result = cudaSuccess;
        double forward_alone = time_us(
            [&](int) {
                prefill_launch(a, MOSA_BF16, 0, &result);
                CHECK(result);
            },
            3);
        backward b = {a, at_.q, at_.dy, at_.lse, at_.delta, g.dq, g.dk, g.dv, strides[1], strides[2], strides[3], 0.1f};
        double alone = time_us([&](int) { CHECK(run_kernels(b, 0)); }, 3);
        backward_hopper = false;
        double plain = time_us([&](int) { CHECK(run_kernels(b, 0)); }, 3);
        backward_hopper = true;
        printf("batch %2d x %4d H%d/%d C%d%s: forward %8.1f us, kernel alone %8.1f us %5.1f TFLOPS; backward with "
               "recomputing %8.1f us, kernels alone %8.1f us %5.1f TFLOPS, by mma.sync %8.1f us\n",
               c.batch, c.length, c.heads, c.kv_heads, c.width, c.causal ? " causal" : "", forward, forward_alone,
               4 * unit / forward_alone / 1e6, backward_us, alone, 10 * unit / alone / 1e6, plain);
        fflush(stdout);
    }
}

int main(int argc, char **argv) {
    std::string what = argc > 1 ? argv[1] : "all";
    int cases = what == "cases" && argc > 2 ? atoi(argv[2]) : 54;
    cudaDeviceProp device;
    CHECK(cudaGetDeviceProperties(&device, 0));
    printf("%s, %d SMs, compute %d.%d\n", device.name, device.multiProcessorCount, device.major, device.minor);
    pool_bytes = (size_t)6 << 30;
    CHECK(cudaMalloc(&pool, pool_bytes));
    if (what != "time") {
        std::mt19937 rng(1);
        for (mosa_dtype dtype : {MOSA_F32, MOSA_F16, MOSA_BF16})
            for (int halves = 0; halves < 2; halves++) check_rope_write(rng, dtype, halves, halves ? 64 : 32);
        check_all(cases, 7);
        check_all_backward(what == "cases" ? cases : 18, 8);
        printf("checks: %d failures\n", failures);
        fflush(stdout);
    }
    if (what == "check" || what == "cases") return failures > 0;
    time_memory();
    time_decode();
    time_prefill();
    time_training();
    return failures > 0;
}
