// Running a step: check, send, launch, fetch.
//
// Steps of few rows are captured as CUDA graphs, one for each (rows, segments, adapters, longest segment, rounded
// position): the second step of a kind is captured, later ones are one launch. Nothing is allocated but when a graph
// is captured or a batch's page lists or positions outgrow what was reserved.
#include "backend/cuda/plugin/cuda_exec.h"
#include "backend/cuda/plugin/rows.h"

#include "graph/op.h"

#include <stdlib.h>
#include <string.h>

// --- checks ---------------------------------------------------------------------------------------------------------

// Whether what an adapter has for every LORA node fits that node's operands.
static bool adapter_fits(const mosa_graph *graph, const mosa_adapter *adapter) {
    if (adapter->n_targets != graph->n_weights) return false;
    for (int n = 0; n < graph->n_nodes; n++) {
        const mosa_node *node = &graph->nodes[n];
        if (node->op != MOSA_OP_LORA) continue;
        const mosa_cuda_lora_shape *shape = &adapter->shapes[node->attrs.lora.target];
        if (shape->rank &&
            (shape->rank > node->attrs.lora.rank || shape->n != graph->values[node->in[0]].shape.dim[1] ||
             shape->k != graph->values[node->in[1]].shape.dim[1]))
            return false;
    }
    return true;
}

static mosa_status check_states(const mosa_exec *exec, const mosa_batch *batch, const mosa_bindings *bindings,
                                mosa_error *err) {
    const mosa_graph *graph = exec->plan->graph;
    for (int i = 0; i < graph->n_states; i++) {
        if (i == exec->adapter_slot || i == exec->grads_slot) continue;
        if (!bindings->states || !bindings->states[i]) return mosa_fail(err, MOSA_EINVALID, "state %d is missing", i);
        MOSA_TRY(mosa_check_pages(&bindings->states[i]->spec, batch, err));
    }
    for (int i = 0; i < exec->n_patches; i++) {
        const mosa_cuda_patch *p = &exec->patches[i];
        if (p->kind == MOSA_VALUE_STATE && p->slot != exec->grads_slot)
            MOSA_TRY(mosa_check_state(&graph->nodes[p->node], &bindings->states[p->slot]->spec, p->slot, err));
    }
    return MOSA_OK;
}

static mosa_status check_rows(const mosa_exec *exec, const int32_t *index, int32_t n, mosa_error *err) {
    for (int32_t i = 0; i < n; i++) {
        int32_t row = index ? index[i] : i;
        if (row < 0 || row >= exec->last_rows)
            return mosa_fail(err, MOSA_EINVALID, "row %d of %d is not there", row, exec->last_rows);
    }
    return MOSA_OK;
}

// Inputs that are rows of another exec's last run.
static mosa_status find_sources(mosa_exec *exec, const mosa_batch *batch, const mosa_bindings *bindings,
                                mosa_error *err) {
    for (int i = 0; i < exec->plan->graph->n_inputs; i++) {
        mosa_cuda_gather *gather = &exec->gathers[i];
        gather->from = NULL;
        if (!bindings->rows || !bindings->rows[i].exec) continue;
        const mosa_rows *rows = &bindings->rows[i];
        int64_t width = 0;
        const float *from = mosa_cuda_exec_rows(rows->exec, rows->output, &width);
        if (!gather->to || !from || width != gather->width || rows->exec->cuda != exec->cuda)
            return mosa_fail(err, MOSA_EINVALID, "input %d cannot be those rows", i);
        MOSA_TRY(check_rows(rows->exec, rows->index, batch->rows, err));
        gather->from = from;
    }
    return MOSA_OK;
}

static mosa_status check_grads(const mosa_exec *exec, const mosa_bindings *bindings, mosa_error *err) {
    const mosa_graph *graph = exec->plan->graph;
    if (exec->grads_slot < 0) return MOSA_OK;
    if (!bindings->grads) return mosa_fail(err, MOSA_EINVALID, "state %d is missing", exec->grads_slot);
    const mosa_grads *grads = bindings->grads;
    for (int n = 0; n < graph->n_nodes; n++) {
        const mosa_node *node = &graph->nodes[n];
        if (!mosa_op_adds_gradients(node->op) || node->attrs2.grad.slot < 0) continue;
        int32_t slot = node->attrs2.grad.slot;
        int64_t offset = slot < grads->n_slots ? grads->offset[slot] : -1;
        if (offset < 0 || offset > grads->count - node->attrs2.grad.elements)
            return mosa_fail(err, MOSA_EINVALID, "there is no room for the gradient of weight %d", slot);
    }
    return MOSA_OK;
}

static mosa_status check(mosa_exec *exec, const mosa_batch *batch, const mosa_bindings *bindings, mosa_error *err) {
    const mosa_graph *graph = exec->plan->graph;
    for (int i = 0; i < graph->n_inputs; i++)
        if (!bindings->inputs[i] && !(bindings->rows && bindings->rows[i].exec))
            return mosa_fail(err, MOSA_EINVALID, "input %d is missing", i);
    MOSA_TRY(mosa_check_batch(batch, exec->plan->max_rows, exec->uses_segments, err));
    MOSA_TRY(find_sources(exec, batch, bindings, err));
    for (int c = 0; c < exec->n_checks; c++)
        MOSA_TRY(mosa_check_index(&exec->checks[c], batch->rows, bindings->inputs[exec->checks[c].slot], err));
    MOSA_TRY(check_states(exec, batch, bindings, err));
    MOSA_TRY(check_grads(exec, bindings, err));
    if (exec->adapter_slot < 0) return MOSA_OK;
    MOSA_TRY(mosa_check_adapter_numbers(batch, exec->plan->max_rows, err));
    for (int32_t a = 0; a < batch->n_adapters; a++)
        if (!adapter_fits(graph, batch->adapters[a]))
            return mosa_fail(err, MOSA_EINVALID, "batch: adapter %d does not fit the graph", a);
    return MOSA_OK;
}

// --- launching ------------------------------------------------------------------------------------------------------

static mosa_status gather_inputs(mosa_exec *exec, mosa_error *err) {
    for (int i = 0; i < exec->plan->graph->n_inputs; i++) {
        const mosa_cuda_gather *gather = &exec->gathers[i];
        if (!gather->from) continue;
        const int32_t *index = (const int32_t *)(const void *)(exec->step + exec->input_at[i]);
        MOSA_CUDA_TRY(
            mosa_cuda_gather_rows(gather->from, index, gather->to, gather->width, exec->batch.rows, exec->cuda->stream),
            "rows", err);
    }
    return MOSA_OK;
}

static mosa_status fetch_outputs(mosa_exec *exec, mosa_error *err) {
    const mosa_plan *plan = exec->plan;
    const mosa_graph *graph = plan->graph;
    for (int i = 0; i < graph->n_outputs; i++) {
        mosa_value v = graph->outputs[i];
        const mosa_value_info *value = &graph->values[v];
        if (value->kind != MOSA_VALUE_COMPUTED) continue;
        int64_t rows = value->shape.dim[0] == MOSA_ROWS ? exec->batch.rows : value->shape.dim[0];
        if (value->shape.ndim < 2 && value->shape.dim[0] != MOSA_ROWS) rows = 1;
        MOSA_CUDA_TRY(cudaMemcpyAsync(exec->host_out + exec->out_at[i], exec->memory + plan->offset[v],
                                      (size_t)rows * (size_t)plan->row_stride[v], cudaMemcpyDeviceToHost,
                                      exec->cuda->stream),
                      "outputs", err);
    }
    return MOSA_OK;
}

#ifdef MOSA_CUDA_LINEAR
enum { LINEARS_MAX = 4 };

// LINEAR nodes from place i of the order on that read the same rows: they run at once. *args: what each is handed.
static int linears_together(const mosa_exec *exec, int i, const mosa_cuda_args *args[LINEARS_MAX]) {
    const mosa_graph *graph = exec->plan->graph;
    int n = 0;
    for (; n < LINEARS_MAX && i + n < graph->n_nodes; n++) {
        int32_t node = exec->plan->order[i + n];
        const mosa_cuda_args *a = &exec->args[node];
        if (graph->nodes[node].op != MOSA_OP_LINEAR || exec->skipped[node] || exec->packed[node].rows ||
            !((const mosa_weight *)a->in[1])->packed || (n && a->in[0] != args[0]->in[0]))
            break;
        args[n] = a;
    }
    return n;
}
#endif

static cudaError_t launch_node(mosa_exec *exec, int32_t n) {
    cudaStream_t stream = exec->cuda->stream;
    if (exec->packed[n].rows) return mosa_cuda_packed_launch(&exec->args[n], &exec->packed[n], stream);
    return exec->cuda->kernels[exec->plan->graph->nodes[n].op].launch(&exec->args[n], stream);
}

// Rows of other execs, all nodes, then the copies of the outputs, on the step's stream.
static mosa_status launch_all(mosa_exec *exec, bool fetches, mosa_error *err) {
    const mosa_plan *plan = exec->plan;
    const mosa_graph *graph = plan->graph;
    cudaStream_t stream = exec->cuda->stream;
    MOSA_TRY(gather_inputs(exec, err));
    for (int i = 0; i < graph->n_nodes; i++) {
        int32_t n = plan->order[i];
        if (exec->profile) (void)cudaEventRecord(exec->events[i], stream);
        if (exec->skipped[n]) continue;
        cudaError_t error;
#ifdef MOSA_CUDA_LINEAR
        const mosa_cuda_args *args[LINEARS_MAX];
        int some = exec->profile ? 0 : linears_together(exec, i, args);
        if (some > 1) {
            error = mosa_cuda_linear_launch_together(args, some, stream);
            i += some - 1;
        } else
#endif
            error = launch_node(exec, n);
        if (error != cudaSuccess) return mosa_cuda_fail(err, error, mosa_op_get(graph->nodes[n].op)->name);
    }
    if (exec->profile) (void)cudaEventRecord(exec->events[graph->n_nodes], stream);
    return fetches ? fetch_outputs(exec, err) : MOSA_OK;
}

void mosa_cuda_exec_forget_graphs(mosa_exec *exec) {
    for (int i = 0; i < exec->n_graphs; i++)
        if (exec->graphs[i].exec) (void)cudaGraphExecDestroy(exec->graphs[i].exec);
    exec->n_graphs = 0;
}

// Rounds up to 1 or 1.5 times a power of two, in whole splits: kernels skip what lies beyond a sequence's end.
static int32_t round_position(int32_t position) {
    int64_t end = MOSA_ATTENTION_SPLIT;
    while (end <= position) {
        if (end + end / 2 > position && end / 2 % MOSA_ATTENTION_SPLIT == 0) return (int32_t)(end + end / 2) - 1;
        end *= 2;
    }
    return end > INT32_MAX ? position : (int32_t)end - 1;
}

// The entry of a key: found, or made in the place of the one used longest ago.
static mosa_cuda_graph *graph_of(mosa_exec *exec, const mosa_cuda_graph_key *key) {
    mosa_cuda_graph *oldest = &exec->graphs[0];
    for (int i = 0; i < exec->n_graphs; i++) {
        mosa_cuda_graph *graph = &exec->graphs[i];
        if (memcmp(&graph->key, key, sizeof *key) == 0) return graph;
        if (graph->used < oldest->used) oldest = graph;
    }
    if (exec->n_graphs < MOSA_CUDA_GRAPHS_MAX)
        oldest = &exec->graphs[exec->n_graphs++];
    else if (oldest->exec)
        (void)cudaGraphExecDestroy(oldest->exec);
    *oldest = (mosa_cuda_graph){.key = *key};
    return oldest;
}

static mosa_status capture(mosa_exec *exec, mosa_cuda_graph *graph, mosa_error *err) {
    cudaStream_t stream = exec->cuda->stream;
    cudaGraph_t captured = NULL;
    MOSA_CUDA_TRY(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture", err);
    mosa_status status = launch_all(exec, graph->key.fetches, err);
    cudaError_t error = cudaStreamEndCapture(stream, &captured);
    if (status == MOSA_OK && error == cudaSuccess) error = cudaGraphInstantiate(&graph->exec, captured, 0);
    if (captured) (void)cudaGraphDestroy(captured);
    if (status == MOSA_OK && error != cudaSuccess) status = mosa_cuda_fail(err, error, "capture");
    if (status != MOSA_OK) graph->exec = NULL;
    return status;
}

// Whether a step is short enough, and common enough, to be worth capturing, and its key says all that it depends on.
static bool may_capture(const mosa_exec *exec) {
    for (int i = MOSA_CUDA_SOURCES_MAX; i < exec->plan->graph->n_inputs; i++)
        if (exec->gathers[i].from) return false;
    if (exec->plan->graph->n_states > (exec->adapter_slot < 0 ? 1 : 2) || exec->grads_slot >= 0) return false;
    return !exec->graphs_off && !exec->profile && exec->batch.rows <= MOSA_CUDA_GRAPH_ROWS_MAX &&
           exec->batch.max_rows_of_segment <= 8;
}

static mosa_cuda_graph_key key_of(const mosa_exec *exec, const mosa_bindings *bindings) {
    const mosa_cuda_batch *batch = &exec->batch;
    mosa_cuda_graph_key key;
    memset(&key, 0, sizeof key); // compared as bytes
    key.rows = batch->rows;
    key.n_segments = batch->n_segments;
    key.n_adapters = batch->n_adapters;
    key.max_rows_of_segment = batch->max_rows_of_segment;
    key.max_position = batch->max_position;
    key.generation = exec->cuda->generation;
    key.fetches = bindings->outputs != NULL;
    key.state = exec->plan->graph->n_states && bindings->states ? bindings->states[0] : NULL;
    for (int i = 0; i < exec->plan->graph->n_inputs && i < MOSA_CUDA_SOURCES_MAX; i++)
        key.sources[i] = exec->gathers[i].from;
    return key;
}

static mosa_status launch(mosa_exec *exec, const mosa_bindings *bindings, mosa_error *err) {
    const mosa_cuda_batch *batch = &exec->batch;
    bool capturable = may_capture(exec), fetches = bindings->outputs != NULL;
    if (capturable && exec->uses_segments) exec->batch.max_position = round_position(batch->max_position);
    MOSA_TRY(mosa_cuda_exec_reserve_scratch(exec, batch->rows, batch->max_position, err));
    if (!capturable) return launch_all(exec, fetches, err);
    mosa_cuda_graph_key key = key_of(exec, bindings);
    mosa_cuda_graph *graph = graph_of(exec, &key);
    bool seen = graph->used != 0;
    graph->used = exec->runs;
    if (!seen) return launch_all(exec, fetches, err);
    if (!graph->exec && capture(exec, graph, NULL) != MOSA_OK) {
        exec->graphs_off = true; // a kernel that cannot be captured still runs
        return launch_all(exec, fetches, err);
    }
    MOSA_CUDA_TRY(cudaGraphLaunch(graph->exec, exec->cuda->stream), "step", err);
    return MOSA_OK;
}

static mosa_status read_times(mosa_exec *exec, mosa_error *err) {
    for (int i = 0; i < exec->plan->graph->n_nodes; i++) {
        float ms = 0;
        MOSA_CUDA_TRY(cudaEventElapsedTime(&ms, exec->events[i], exec->events[i + 1]), "profile", err);
        exec->times[exec->plan->order[i]] = (int64_t)((double)ms * 1e6);
    }
    return MOSA_OK;
}

static void set_outputs(const mosa_exec *exec, const mosa_bindings *bindings) {
    const mosa_graph *graph = exec->plan->graph;
    for (int i = 0; i < graph->n_outputs; i++) {
        const mosa_value_info *value = &graph->values[graph->outputs[i]];
        bindings->outputs[i] = value->kind == MOSA_VALUE_INPUT ? bindings->inputs[value->slot]
                                                               : (const void *)(exec->host_out + exec->out_at[i]);
    }
}

// --- gradients ------------------------------------------------------------------------------------------------------

float *mosa_cuda_exec_grad(const mosa_exec *exec, const mosa_node *node) {
    int32_t slot = node->attrs2.grad.slot;
    return slot < 0 ? NULL : exec->grads + exec->bound_grads->offset[slot];
}

// The caller's sums so far go up, and come back with the run's added: one order of additions for every run.
static mosa_status send_grads(mosa_exec *exec, const mosa_grads *grads, mosa_error *err) {
    exec->bound_grads = grads;
    if (exec->grads_slot < 0) return MOSA_OK;
    if (exec->grads_count < grads->count) {
        (void)cudaFree(exec->grads);
        exec->grads = NULL;
        exec->grads_count = 0;
        MOSA_TRY(mosa_cuda_alloc((void **)&exec->grads, (size_t)grads->count * sizeof(float), "gradients", err));
        exec->grads_count = grads->count;
    }
    return mosa_cuda_upload(exec->grads, grads->data, (size_t)grads->count * sizeof(float), exec->cuda->stream, err);
}

static mosa_status fetch_grads(mosa_exec *exec, mosa_error *err) {
    const mosa_grads *grads = exec->bound_grads;
    if (exec->grads_slot < 0) return MOSA_OK;
    MOSA_CUDA_TRY(cudaMemcpyAsync(grads->data, exec->grads, (size_t)grads->count * sizeof(float),
                                  cudaMemcpyDeviceToHost, exec->cuda->stream),
                  "gradients", err);
    MOSA_CUDA_TRY(cudaStreamSynchronize(exec->cuda->stream), "gradients", err);
    return MOSA_OK;
}

// Waits for nothing when the outputs stay on the device, so that the host goes on while it works.
mosa_status mosa_cuda_exec_run(mosa_exec *exec, const mosa_batch *batch, const mosa_bindings *bindings,
                               mosa_error *err) {
    cudaStream_t stream = exec->cuda->stream;
    MOSA_TRY(check(exec, batch, bindings, err));
    MOSA_TRY(mosa_cuda_use(&exec->cuda->base, err));
    exec->runs++;
    size_t bytes = 0;
    if (bindings->outputs && !exec->host_out)
        MOSA_CUDA_TRY(cudaHostAlloc((void **)&exec->host_out, exec->out_bytes ? exec->out_bytes : 1, 0),
                      "pinned memory for outputs", err);
    MOSA_CUDA_TRY(cudaEventSynchronize(exec->sent), "step", err);
    MOSA_TRY(send_grads(exec, bindings->grads, err));
    MOSA_TRY(mosa_cuda_step_fill(exec, batch, bindings, &bytes, err));
    if (bytes)
        MOSA_CUDA_TRY(cudaMemcpyAsync(exec->step, exec->host_step, bytes, cudaMemcpyHostToDevice, stream), "step", err);
    MOSA_CUDA_TRY(cudaEventRecord(exec->sent, stream), "step", err);
    MOSA_TRY(launch(exec, bindings, err));
    exec->last_rows = batch->rows;
    MOSA_TRY(fetch_grads(exec, err));
    if (bindings->outputs || exec->profile) MOSA_CUDA_TRY(cudaStreamSynchronize(stream), "step", err);
    if (exec->profile) MOSA_TRY(read_times(exec, err));
    if (bindings->outputs) set_outputs(exec, bindings);
    return MOSA_OK;
}

const float *mosa_cuda_exec_rows(const mosa_exec *exec, int output, int64_t *width) {
    const mosa_graph *graph = exec->plan->graph;
    if (output < 0 || output >= graph->n_outputs) return NULL;
    const mosa_value_info *value = &graph->values[graph->outputs[output]];
    if (value->kind != MOSA_VALUE_COMPUTED || value->dtype != MOSA_F32 || value->shape.ndim != 2) return NULL;
    *width = value->shape.dim[1];
    return (const float *)(const void *)(exec->memory + exec->plan->offset[graph->outputs[output]]);
}

mosa_status mosa_cuda_exec_read(mosa_exec *exec, int output, const int32_t *index, int32_t n, float *out,
                                mosa_error *err) {
    int64_t width = 0;
    const float *rows = mosa_cuda_exec_rows(exec, output, &width);
    if (!rows) return mosa_fail(err, MOSA_EINVALID, "output %d is not made of rows", output);
    MOSA_TRY(check_rows(exec, index, n, err));
    MOSA_TRY(mosa_cuda_use(&exec->cuda->base, err));
    cudaStream_t stream = exec->cuda->stream;
    size_t bytes = (size_t)width * sizeof(float);
    if (!index)
        MOSA_CUDA_TRY(cudaMemcpyAsync(out, rows, (size_t)n * bytes, cudaMemcpyDeviceToHost, stream), "rows", err);
    for (int32_t i = 0; index && i < n; i++)
        MOSA_CUDA_TRY(cudaMemcpyAsync(out + i * width, rows + index[i] * width, bytes, cudaMemcpyDeviceToHost, stream),
                      "rows", err);
    MOSA_CUDA_TRY(cudaStreamSynchronize(stream), "rows", err);
    return MOSA_OK;
}

void mosa_cuda_exec_profile(mosa_exec *exec, bool on) {
    int n_events = exec->plan->graph->n_nodes + 1;
    exec->profile = false;
    for (int i = 0; exec->events && i < n_events; i++) {
        if (exec->events[i]) (void)cudaEventDestroy(exec->events[i]);
        exec->events[i] = NULL;
    }
    if (!on) return;
    for (int i = 0; i < n_events; i++)
        if (cudaEventCreate(&exec->events[i]) != cudaSuccess) return; // no times then
    exec->profile = true;
}

const int64_t *mosa_cuda_exec_times(const mosa_exec *exec) {
    return exec->profile ? exec->times : NULL;
}
