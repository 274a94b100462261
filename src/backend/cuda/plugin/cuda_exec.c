// Binding a plan to weights and device memory.
//
// exec_create resolves every pointer that does not change and lists those that do: `patches` for inputs and states,
// `checks` for indices that kernels follow. Thread: one at a time.
#include "backend/cuda/plugin/cuda_exec.h"

#include "graph/op.h"

#include <stdlib.h>
#include <string.h>

static mosa_status check_weight(const mosa_exec *exec, const mosa_node *node, int operand, const mosa_weight *weight,
                                mosa_error *err) {
    const mosa_graph *graph = exec->plan->graph;
    const char *name = graph->values[node->in[operand]].name;
    if (!name) name = "(unnamed)";
    if (!weight) return mosa_fail(err, MOSA_EINVALID, "weight %.200s is missing", name);
    MOSA_TRY(mosa_check_weight_view(graph, node, operand, &weight->view, err));
    bool table = operand == mosa_op_table_operand(node->op), matrix = operand == mosa_op_matrix_operand(node->op);
    bool ready = table || matrix || weight->vector;
    if (table) ready &= weight->table != NULL;
    if (matrix) ready &= weight->packed || weight->table;
    if (ready) return MOSA_OK;
    return mosa_fail(err, MOSA_EINVALID, "weight %.200s was not made for its use in %s", name,
                     mosa_op_get(node->op)->name);
}

static mosa_status bind_operand(mosa_exec *exec, int32_t n, int operand, mosa_weight *const *weights, mosa_error *err) {
    const mosa_plan *plan = exec->plan;
    const mosa_node *node = &plan->graph->nodes[n];
    mosa_value v = node->in[operand];
    const mosa_value_info *value = &plan->graph->values[v];
    mosa_cuda_args *args = &exec->args[n];
    args->in_stride[operand] = plan->row_stride[v];
    switch (value->kind) {
    case MOSA_VALUE_COMPUTED:
        args->in[operand] = exec->memory + plan->offset[v];
        return MOSA_OK;
    case MOSA_VALUE_WEIGHT:
        args->in[operand] = weights[value->slot];
        return check_weight(exec, node, operand, weights[value->slot], err);
    case MOSA_VALUE_STATE:
        if (node->op == MOSA_OP_LORA) { // adapters come with the batch
            exec->adapter_slot = value->slot;
            return MOSA_OK;
        }
        if (mosa_op_adds_gradients(node->op)) exec->grads_slot = value->slot;
        __attribute__((fallthrough));
    default:
        exec->patches[exec->n_patches++] = (mosa_cuda_patch){n, operand, value->slot, value->kind};
        return MOSA_OK;
    }
}

static mosa_status bind_node(mosa_exec *exec, int32_t n, mosa_weight *const *weights, mosa_error *err) {
    const mosa_plan *plan = exec->plan;
    const mosa_node *node = &plan->graph->nodes[n];
    mosa_cuda_args *args = &exec->args[n];
    if (!exec->cuda->kernels[node->op].launch)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "cuda: no kernel for %s", mosa_op_get(node->op)->name);
    args->graph = plan->graph;
    args->node = node;
    args->batch = &exec->batch;
    for (int i = 0; i < node->n_in; i++) MOSA_TRY(bind_operand(exec, n, i, weights, err));
    for (int i = 0; i < node->n_out; i++) {
        const mosa_value_info *value = &plan->graph->values[node->out[i]];
        if (value->kind == MOSA_VALUE_STATE) continue;
        args->out[i] = exec->memory + plan->offset[node->out[i]];
        args->out_stride[i] = plan->row_stride[node->out[i]];
    }
    exec->uses_segments |= node->op == MOSA_OP_ATTENTION_DX || node->op == MOSA_OP_ATTENTION_DSINKS ||
                           (mosa_op_get(node->op)->stateful && !mosa_op_adds_gradients(node->op));
    if (mosa_index_check_of(plan->graph, node, &exec->checks[exec->n_checks])) exec->n_checks++;
    return MOSA_OK;
}

// Offsets of the outputs in their pinned block, which the first run that wants it makes.
static void place_outputs(mosa_exec *exec) {
    const mosa_plan *plan = exec->plan;
    const mosa_graph *graph = plan->graph;
    for (int i = 0; i < graph->n_outputs; i++) {
        const mosa_value_info *value = &graph->values[graph->outputs[i]];
        int64_t rows = value->shape.dim[0] == MOSA_ROWS ? plan->max_rows : value->shape.dim[0];
        if (value->shape.ndim < 2 && value->shape.dim[0] != MOSA_ROWS) rows = 1;
        exec->out_at[i] = exec->out_bytes;
        exec->out_bytes += ((size_t)rows * (size_t)plan->row_stride[graph->outputs[i]] + 255) / 256 * 256;
    }
}

// Room for the rows that other execs leave, for every input of f32 rows.
static mosa_status allocate_gathers(mosa_exec *exec, mosa_error *err) {
    const mosa_graph *graph = exec->plan->graph;
    for (int v = 0; v < graph->n_values; v++) {
        const mosa_value_info *value = &graph->values[v];
        bool rows = value->shape.ndim == 2 && value->shape.dim[0] == MOSA_ROWS && value->dtype == MOSA_F32;
        if (value->kind != MOSA_VALUE_INPUT || !rows) continue;
        mosa_cuda_gather *gather = &exec->gathers[value->slot];
        gather->width = value->shape.dim[1];
        MOSA_TRY(mosa_cuda_alloc((void **)&gather->to,
                                 (size_t)exec->plan->max_rows * (size_t)gather->width * sizeof(float), "rows", err));
    }
    return MOSA_OK;
}

static mosa_status allocate(mosa_exec *exec, mosa_error *err) {
    const mosa_plan *plan = exec->plan;
    const mosa_graph *graph = plan->graph;
    size_t nodes = (size_t)graph->n_nodes + 1;
    exec->args = calloc(nodes, sizeof *exec->args);
    exec->packed = calloc(nodes, sizeof *exec->packed);
    exec->skipped = calloc(nodes, sizeof *exec->skipped);
    exec->patches = calloc(nodes * MOSA_NODE_INPUTS_MAX, sizeof *exec->patches);
    exec->checks = calloc(nodes, sizeof *exec->checks);
    exec->times = calloc(nodes, sizeof *exec->times);
    exec->events = calloc(nodes, sizeof(cudaEvent_t));
    exec->out_at = calloc((size_t)graph->n_outputs + 1, sizeof *exec->out_at);
    exec->input_at = calloc((size_t)graph->n_inputs + 1, sizeof *exec->input_at);
    exec->gathers = calloc((size_t)graph->n_inputs + 1, sizeof *exec->gathers);
    if (!exec->packed || !exec->skipped || !exec->args || !exec->patches || !exec->checks || !exec->times ||
        !exec->events || !exec->out_at || !exec->input_at || !exec->gathers)
        return mosa_fail(err, MOSA_ENOMEM, "cuda: out of memory");
    exec->arena_bytes = ((size_t)plan->arena_bytes + 255) / 256 * 256;
    MOSA_TRY(mosa_cuda_alloc((void **)&exec->memory, exec->arena_bytes, "activations", err));
    MOSA_CUDA_TRY(cudaMemsetAsync(exec->memory, 0, exec->arena_bytes, exec->cuda->stream), "activations", err);
    enum { PAGES_AT_FIRST = 1 << 16 };
    MOSA_TRY(mosa_cuda_exec_reserve_step(
        exec, mosa_cuda_step_bytes_max(graph, plan->max_rows) + PAGES_AT_FIRST * sizeof(int32_t), err));
    MOSA_CUDA_TRY(cudaEventCreateWithFlags(&exec->sent, cudaEventDisableTiming), "event", err);
    place_outputs(exec);
    return allocate_gathers(exec, err);
}

static bool packs(mosa_op op) { // rows.h
    return op == MOSA_OP_RMS_NORM || op == MOSA_OP_LAYER_NORM || op == MOSA_OP_ADD_RMS_NORM || op == MOSA_OP_GATED_ACT;
}

static int stage_of(const mosa_plan *plan, int32_t node) {
    for (int s = 0; s < plan->n_stages; s++)
        for (int i = 0; i < plan->stages[s].node_count; i++)
            if (plan->order[plan->stages[s].node_begin + i] == node) return s;
    return -1;
}

// Lets a node that makes rows make their packed copy as well. Values of one stage never share memory, so the copy may
// be written before its node's turn.
static void pack_with_producer(mosa_exec *exec, int32_t n) {
    const mosa_graph *graph = exec->plan->graph;
    const mosa_node *node = &graph->nodes[n];
    mosa_value x = node->in[0];
    int32_t producer = graph->values[x].producer;
    if (node->attrs.quantize.layout != MOSA_CUDA_ROWS_BF16 || producer < 0) return;
    const mosa_node *from = &graph->nodes[producer];
    if (!packs(from->op) || from->out[from->n_out - 1] != x || exec->packed[producer].rows ||
        stage_of(exec->plan, n) != stage_of(exec->plan, producer))
        return;
    int uses = 0;
    for (int i = 0; i < graph->n_nodes; i++)
        for (int k = 0; k < graph->nodes[i].n_in; k++) uses += graph->nodes[i].in[k] == x;
    for (int i = 0; i < graph->n_outputs; i++) uses += graph->outputs[i] == x;
    exec->packed[producer] = (mosa_cuda_packed){exec->args[n].out[0], exec->args[n].out_stride[0], uses > 1};
    exec->skipped[n] = true;
}

mosa_status mosa_cuda_exec_create(mosa_backend *backend, const mosa_plan *plan, mosa_weight *const *weights,
                                  mosa_exec **out, mosa_error *err) {
    enum { POSITIONS_AT_FIRST = 4096 };
    MOSA_TRY(mosa_cuda_use(backend, err));
    mosa_exec *exec = calloc(1, sizeof *exec);
    if (!exec) return mosa_fail(err, MOSA_ENOMEM, "cuda: out of memory");
    exec->cuda = (mosa_cuda_backend *)backend;
    exec->plan = plan;
    exec->adapter_slot = exec->grads_slot = -1;
    const char *graphs = getenv("MOSA_CUDA_GRAPHS");
    exec->graphs_off = graphs && strcmp(graphs, "0") == 0;
    mosa_status status = allocate(exec, err);
    for (int32_t n = 0; status == MOSA_OK && n < plan->graph->n_nodes; n++) status = bind_node(exec, n, weights, err);
    for (int32_t n = 0; status == MOSA_OK && n < plan->graph->n_nodes; n++)
        if (plan->graph->nodes[n].op == MOSA_OP_QUANTIZE_ROWS) pack_with_producer(exec, n);
    if (status == MOSA_OK) status = mosa_cuda_exec_reserve_scratch(exec, plan->max_rows, POSITIONS_AT_FIRST, err);
    if (status == MOSA_OK)
        *out = exec;
    else
        mosa_cuda_exec_destroy(backend, exec);
    return status;
}

void mosa_cuda_exec_destroy(mosa_backend *backend, mosa_exec *exec) {
    if (!exec) return;
    (void)mosa_cuda_use(backend, NULL);
    (void)cudaStreamSynchronize(exec->cuda->stream);
    mosa_cuda_exec_forget_graphs(exec);
    mosa_cuda_exec_profile(exec, false);
    (void)cudaFree(exec->memory);
    (void)cudaFree(exec->step);
    (void)cudaFree(exec->scratch);
    if (exec->host_step) (void)cudaFreeHost(exec->host_step);
    if (exec->host_out) (void)cudaFreeHost(exec->host_out);
    free(exec->packed);
    free(exec->skipped);
    free(exec->args);
    free(exec->patches);
    free(exec->checks);
    free(exec->times);
    free(exec->events);
    for (int i = 0; exec->gathers && i < exec->plan->graph->n_inputs; i++) (void)cudaFree(exec->gathers[i].to);
    if (exec->sent) (void)cudaEventDestroy(exec->sent);
    mosa_cuda_draws_destroy(exec->draws);
    (void)cudaFree(exec->grads);
    free(exec->gathers);
    free(exec->out_at);
    free(exec->input_at);
    free(exec);
}

mosa_status mosa_cuda_exec_reserve_step(mosa_exec *exec, size_t bytes, mosa_error *err) {
    if (bytes <= exec->step_bytes) return MOSA_OK;
    bytes += exec->step_bytes; // grows by doubling
    (void)cudaStreamSynchronize(exec->cuda->stream);
    char *device = NULL, *host = NULL;
    MOSA_TRY(mosa_cuda_alloc((void **)&device, bytes, "step block", err));
    cudaError_t error = cudaHostAlloc((void **)&host, bytes, 0);
    if (error != cudaSuccess) {
        (void)cudaFree(device);
        return mosa_cuda_fail(err, error, "pinned memory for a step");
    }
    mosa_cuda_exec_forget_graphs(exec);
    (void)cudaFree(exec->step);
    if (exec->host_step) (void)cudaFreeHost(exec->host_step);
    exec->step = device;
    exec->host_step = host;
    exec->step_bytes = bytes;
    return MOSA_OK;
}

mosa_status mosa_cuda_exec_reserve_scratch(mosa_exec *exec, int64_t rows, int64_t max_position, mosa_error *err) {
    const mosa_graph *graph = exec->plan->graph;
    size_t need = 0;
    for (int n = 0; n < graph->n_nodes; n++) {
        mosa_cuda_scratch_fn scratch = exec->cuda->kernels[graph->nodes[n].op].scratch;
        size_t bytes = scratch ? scratch(graph, &graph->nodes[n], rows, max_position) : 0;
        if (bytes > need) need = bytes;
    }
    if (need <= exec->scratch_bytes) return MOSA_OK;
    need = (need + 255) / 256 * 256;
    (void)cudaStreamSynchronize(exec->cuda->stream);
    mosa_cuda_exec_forget_graphs(exec);
    (void)cudaFree(exec->scratch);
    exec->scratch = NULL;
    exec->scratch_bytes = 0;
    MOSA_TRY(mosa_cuda_alloc((void **)&exec->scratch, need, "scratch", err));
    exec->scratch_bytes = need;
    for (int n = 0; n < graph->n_nodes; n++) {
        exec->args[n].scratch = exec->scratch;
        exec->args[n].scratch_bytes = need;
    }
    return MOSA_OK;
}
