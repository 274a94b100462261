// The executor: a plan bound to weights and memory, run stage by stage by all threads.
//
// exec_create resolves every pointer that does not change and lists those that do: `patches` for inputs and states,
// `checks` for indices that kernels follow. exec_run checks the batch, applies the patches and lets the pool go through
// the stages; it allocates nothing. Invariant: no kernel sees an index, a position or a page that was not checked.
// Thread: exec_run by one thread at a time; kernels by the pool's threads, which only read the exec.
#include "backend/cpu/cpu_backend.h"

#include "backend/check.h"
#include "base/clock.h"
#include "graph/op.h"

#include <stdlib.h>
#include <string.h>

typedef struct patch {
    int32_t node, operand, slot;
    mosa_value_kind kind; // INPUT or STATE
} patch;

// Rows of an input that is taken from another exec's output; memory NULL for inputs that cannot be.
typedef struct gather_buffer {
    float *memory;
    size_t bytes;
    int64_t width;
} gather_buffer;

struct mosa_exec {
    mosa_cpu_backend *cpu;
    const mosa_plan *plan;
    unsigned char *memory; // the plan's arena, then one scratch area per thread
    size_t memory_bytes;
    unsigned char *scratch;
    mosa_cpu_args *args;      // (n_nodes)
    patch *patches;           // (n_patches)
    mosa_index_check *checks; // (n_checks)
    gather_buffer *gathers;   // (n_inputs) room for the rows that another exec left
    int n_patches, n_checks;
    bool uses_segments;
    int32_t last_rows;       // of the last run
    bool bounds_segments;    // to MOSA_ATTENTION_DX_ROWS_MAX rows
    int32_t adapter_slot;    // of the state that LORA nodes read, -1 when there are none
    int32_t grads_slot;      // of the state that gradients are added to, likewise
    mosa_cpu_lora_rows lora; // of the batch that runs
    bool profile;
    int64_t *times; // (n_nodes) nanoseconds of the last run
};

static const char *value_name(const mosa_graph *graph, mosa_value value) {
    const char *name = graph->values[value].name;
    return name ? name : "(unnamed)";
}

static mosa_status check_weight(const mosa_exec *exec, const mosa_node *node, int operand, const mosa_weight *weight,
                                mosa_error *err) {
    const mosa_graph *graph = exec->plan->graph;
    const char *name = value_name(graph, node->in[operand]);
    if (!weight) return mosa_fail(err, MOSA_EINVALID, "weight %.200s is missing", name);
    MOSA_TRY(mosa_check_weight_view(graph, node, operand, &weight->view, err));
    bool table = operand == mosa_op_table_operand(node->op), matrix = operand == mosa_op_matrix_operand(node->op);
    bool ready = table || matrix || weight->vector != NULL;
    if (table) ready &= (weight->uses & MOSA_WEIGHT_TABLE) != 0;
    bool live = weight->uses & MOSA_WEIGHT_LIVE; // what such a weight lacks is not needed
    if (matrix) ready &= (weight->uses & MOSA_WEIGHT_MATRIX) && (weight->packed || live || !exec->cpu->packs);
    if (!ready)
        return mosa_fail(err, MOSA_EINVALID, "weight %.200s was not made for its use in %s", name,
                         mosa_op_get(node->op)->name);
    return MOSA_OK;
}

static mosa_status bind_operand(mosa_exec *exec, int32_t n, int operand, mosa_weight *const *weights, mosa_error *err) {
    const mosa_plan *plan = exec->plan;
    const mosa_node *node = &plan->graph->nodes[n];
    mosa_value v = node->in[operand];
    const mosa_value_info *value = &plan->graph->values[v];
    mosa_cpu_args *args = &exec->args[n];
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
            args->lora = &exec->lora;
            return MOSA_OK;
        }
        if (mosa_op_adds_gradients(node->op)) exec->grads_slot = value->slot;
        __attribute__((fallthrough));
    default:
        exec->patches[exec->n_patches++] = (patch){n, operand, value->slot, value->kind};
        return MOSA_OK;
    }
}

static mosa_status bind_node(mosa_exec *exec, int32_t n, mosa_weight *const *weights, mosa_error *err) {
    const mosa_plan *plan = exec->plan;
    const mosa_node *node = &plan->graph->nodes[n];
    mosa_cpu_args *args = &exec->args[n];
    if (!exec->cpu->kernels.op[node->op].run)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "cpu: no kernel for %s", mosa_op_get(node->op)->name);
    args->graph = plan->graph;
    args->node = node;
    for (int i = 0; i < node->n_in; i++) MOSA_TRY(bind_operand(exec, n, i, weights, err));
    for (int i = 0; i < node->n_out; i++) {
        const mosa_value_info *value = &plan->graph->values[node->out[i]];
        if (value->kind == MOSA_VALUE_STATE) continue;
        args->out[i] = exec->memory + plan->offset[node->out[i]];
        args->out_stride[i] = plan->row_stride[node->out[i]];
    }
    bool packed = node->op == MOSA_OP_ATTENTION_DX || node->op == MOSA_OP_ATTENTION_DSINKS;
    exec->bounds_segments |= packed;
    exec->uses_segments |= packed || (mosa_op_get(node->op)->stateful && !mosa_op_adds_gradients(node->op));
    if (mosa_index_check_of(plan->graph, node, &exec->checks[exec->n_checks])) exec->n_checks++;
    return MOSA_OK;
}

static mosa_status allocate(mosa_exec *exec, mosa_error *err) {
    const mosa_plan *plan = exec->plan;
    size_t nodes = (size_t)plan->graph->n_nodes + 1;
    size_t arena = ((size_t)plan->arena_bytes + 63) / 64 * 64;
    exec->memory_bytes = arena + (size_t)exec->cpu->n_threads * MOSA_CPU_SCRATCH_BYTES;
    exec->memory = mosa_cpu_alloc(exec->memory_bytes);
    exec->args = calloc(nodes, sizeof *exec->args);
    exec->patches = calloc(nodes * MOSA_NODE_INPUTS_MAX, sizeof *exec->patches);
    exec->checks = calloc(nodes, sizeof *exec->checks);
    exec->times = calloc(nodes, sizeof *exec->times);
    if (!exec->memory || !exec->args || !exec->patches || !exec->checks || !exec->times)
        return mosa_fail(err, MOSA_ENOMEM, "%.1f MB for activations are not to be had",
                         (double)exec->memory_bytes / 1e6);
    exec->scratch = exec->memory + arena;
    return MOSA_OK;
}

// Pages of it that no run touches take no memory.
static mosa_status allocate_gathers(mosa_exec *exec, mosa_error *err) {
    const mosa_graph *graph = exec->plan->graph;
    exec->gathers = calloc((size_t)graph->n_inputs + 1, sizeof *exec->gathers);
    if (!exec->gathers) return mosa_fail(err, MOSA_ENOMEM, "cpu: out of memory");
    for (int v = 0; v < graph->n_values; v++) {
        const mosa_value_info *value = &graph->values[v];
        bool rows = value->shape.ndim == 2 && value->shape.dim[0] == MOSA_ROWS && value->dtype == MOSA_F32;
        if (value->kind != MOSA_VALUE_INPUT || !rows) continue;
        gather_buffer *buffer = &exec->gathers[value->slot];
        buffer->width = value->shape.dim[1];
        buffer->bytes = (size_t)exec->plan->max_rows * (size_t)buffer->width * sizeof(float);
        buffer->memory = mosa_cpu_alloc(buffer->bytes);
        if (!buffer->memory)
            return mosa_fail(err, MOSA_ENOMEM, "%.1f MB for rows are not to be had", (double)buffer->bytes / 1e6);
    }
    return MOSA_OK;
}

mosa_status mosa_cpu_exec_create(mosa_backend *backend, const mosa_plan *plan, mosa_weight *const *weights,
                                 mosa_exec **out, mosa_error *err) {
    mosa_exec *exec = calloc(1, sizeof *exec);
    if (!exec) return mosa_fail(err, MOSA_ENOMEM, "cpu: out of memory");
    exec->cpu = (mosa_cpu_backend *)backend;
    exec->plan = plan;
    exec->adapter_slot = exec->grads_slot = -1;
    mosa_status status = allocate(exec, err);
    if (status == MOSA_OK) status = allocate_gathers(exec, err);
    for (int32_t n = 0; status == MOSA_OK && n < plan->graph->n_nodes; n++) status = bind_node(exec, n, weights, err);
    if (status == MOSA_OK && exec->adapter_slot >= 0)
        status = mosa_cpu_lora_rows_init(&exec->lora, plan->max_rows, err);
    if (status == MOSA_OK)
        *out = exec;
    else
        mosa_cpu_exec_destroy(backend, exec);
    return status;
}

void mosa_cpu_exec_destroy(mosa_backend *backend, mosa_exec *exec) {
    (void)backend;
    if (!exec) return;
    mosa_cpu_free(exec->memory, exec->memory_bytes);
    for (int i = 0; exec->gathers && i < exec->plan->graph->n_inputs; i++)
        if (exec->gathers[i].memory) mosa_cpu_free(exec->gathers[i].memory, exec->gathers[i].bytes);
    free(exec->gathers);
    free(exec->args);
    free(exec->patches);
    free(exec->checks);
    free(exec->times);
    mosa_cpu_lora_rows_finish(&exec->lora);
    free(exec);
}

static mosa_status check_indices(const mosa_exec *exec, const mosa_batch *batch, const mosa_bindings *bindings,
                                 mosa_error *err) {
    for (int c = 0; c < exec->n_checks; c++)
        MOSA_TRY(mosa_check_index(&exec->checks[c], batch->rows, bindings->inputs[exec->checks[c].slot], err));
    return MOSA_OK;
}

// ATTENTION_DX keeps a row's probabilities in scratch.
static mosa_status check_lengths(const mosa_exec *exec, const mosa_batch *batch, mosa_error *err) {
    for (int32_t s = 0; exec->bounds_segments && s < batch->n_segments; s++)
        if (batch->segments[s].row_count > MOSA_ATTENTION_DX_ROWS_MAX)
            return mosa_fail(err, MOSA_ELIMIT, "batch: segment %d has more than %d rows", s,
                             MOSA_ATTENTION_DX_ROWS_MAX);
    return MOSA_OK;
}

// Whether what an adapter has for a LORA node fits that node's operands.
static bool adapter_fits(const mosa_exec *exec, const mosa_node *node, const mosa_adapter *adapter) {
    const mosa_value_info *values = exec->plan->graph->values;
    const mosa_cpu_lora *lora = &adapter->targets[node->attrs.lora.target];
    return lora->rank == 0 || (lora->rank <= node->attrs.lora.rank && lora->n == values[node->in[0]].shape.dim[1] &&
                               lora->k == values[node->in[1]].shape.dim[1]);
}

static mosa_status check_adapter(const mosa_exec *exec, const mosa_adapter *adapter, int32_t number, mosa_error *err) {
    const mosa_graph *graph = exec->plan->graph;
    bool fits = adapter->n_targets == graph->n_weights;
    for (int n = 0; fits && n < graph->n_nodes; n++)
        if (graph->nodes[n].op == MOSA_OP_LORA) fits = adapter_fits(exec, &graph->nodes[n], adapter);
    return fits ? MOSA_OK : mosa_fail(err, MOSA_EINVALID, "batch: adapter %d does not fit the graph", number);
}

// Segments name adapters of the batch, and those fit the graph.
static mosa_status check_adapters(const mosa_exec *exec, const mosa_batch *batch, mosa_error *err) {
    if (exec->adapter_slot < 0) return MOSA_OK;
    MOSA_TRY(mosa_check_adapter_numbers(batch, exec->plan->max_rows, err));
    for (int32_t a = 0; a < batch->n_adapters; a++) MOSA_TRY(check_adapter(exec, batch->adapters[a], a, err));
    return MOSA_OK;
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
        const patch *p = &exec->patches[i];
        if (p->kind != MOSA_VALUE_STATE || p->slot == exec->grads_slot) continue;
        MOSA_TRY(mosa_check_state(&graph->nodes[p->node], &bindings->states[p->slot]->spec, p->slot, err));
    }
    return MOSA_OK;
}

static const float *output_rows(const mosa_exec *exec, int output, int64_t *width) {
    const mosa_graph *graph = exec->plan->graph;
    mosa_value v = graph->outputs[output];
    *width = graph->values[v].shape.dim[1];
    return (const float *)(exec->memory + exec->plan->offset[v]);
}

static bool is_row_output(const mosa_exec *exec, int output) {
    const mosa_graph *graph = exec->plan->graph;
    if (output < 0 || output >= graph->n_outputs) return false;
    const mosa_value_info *value = &graph->values[graph->outputs[output]];
    return value->kind == MOSA_VALUE_COMPUTED && value->dtype == MOSA_F32 && value->shape.ndim == 2;
}

static mosa_status read_rows(mosa_exec *exec, int output, const int32_t *index, int32_t n, float *out,
                             mosa_error *err) {
    if (!is_row_output(exec, output)) return mosa_fail(err, MOSA_EINVALID, "output %d is not made of rows", output);
    int64_t width;
    const float *rows = output_rows(exec, output, &width);
    for (int32_t i = 0; i < n; i++) {
        int32_t row = index ? index[i] : i;
        if (row < 0 || row >= exec->last_rows)
            return mosa_fail(err, MOSA_EINVALID, "row %d of %d is not there", row, exec->last_rows);
        memcpy(out + (size_t)i * (size_t)width, rows + (size_t)row * (size_t)width, (size_t)width * sizeof *out);
    }
    return MOSA_OK;
}

// Every gradient that a node adds to lies in the arena.
static mosa_status check_grads(const mosa_exec *exec, const mosa_bindings *bindings, mosa_error *err) {
    if (exec->grads_slot < 0) return MOSA_OK;
    const mosa_graph *graph = exec->plan->graph;
    const mosa_grads *grads = bindings->grads;
    if (!grads || grads->n_slots < 0 || (grads->n_slots > 0 && (!grads->offset || !grads->data)))
        return mosa_fail(err, MOSA_EINVALID, "gradients have no arena");
    for (int n = 0; n < graph->n_nodes; n++) {
        const mosa_node *node = &graph->nodes[n];
        int32_t slot = node->attrs2.grad.slot;
        if (!mosa_op_adds_gradients(node->op) || slot < 0) continue;
        int64_t offset = slot < grads->n_slots ? grads->offset[slot] : -1;
        if (offset < 0 || offset > grads->count || node->attrs2.grad.elements > grads->count - offset)
            return mosa_fail(err, MOSA_EINVALID, "%s: the arena of gradients has no room for weight slot %d",
                             mosa_op_get(node->op)->name, slot);
    }
    return MOSA_OK;
}

mosa_status mosa_cpu_exec_read(mosa_exec *exec, int output, const int32_t *index, int32_t n, float *out,
                               mosa_error *err) {
    return read_rows(exec, output, index, n, out, err);
}

// Copies rows that other execs left into this one's buffers.
static mosa_status gather_inputs(mosa_exec *exec, const mosa_batch *batch, const mosa_bindings *bindings,
                                 mosa_error *err) {
    for (int i = 0; bindings->rows && i < exec->plan->graph->n_inputs; i++) {
        const mosa_rows *rows = &bindings->rows[i];
        gather_buffer *buffer = &exec->gathers[i];
        if (!rows->exec) continue;
        const mosa_graph *from = rows->exec->plan->graph;
        if (!buffer->memory || !is_row_output(rows->exec, rows->output) ||
            from->values[from->outputs[rows->output]].shape.dim[1] != buffer->width)
            return mosa_fail(err, MOSA_EINVALID, "input %d cannot be those rows", i);
        MOSA_TRY(read_rows(rows->exec, rows->output, rows->index, batch->rows, buffer->memory, err));
    }
    return MOSA_OK;
}

static const void *input_of(const mosa_exec *exec, const mosa_bindings *bindings, int slot) {
    return bindings->rows && bindings->rows[slot].exec ? exec->gathers[slot].memory : bindings->inputs[slot];
}

static void bind_run(mosa_exec *exec, const mosa_batch *batch, const mosa_bindings *bindings) {
    const mosa_graph *graph = exec->plan->graph;
    for (int n = 0; n < graph->n_nodes; n++) {
        exec->args[n].batch = batch;
        exec->args[n].rows = mosa_node_rows(graph, &graph->nodes[n], batch->rows);
    }
    for (int i = 0; i < exec->n_patches; i++) {
        const patch *p = &exec->patches[i];
        exec->args[p->node].in[p->operand] = p->kind != MOSA_VALUE_STATE   ? input_of(exec, bindings, p->slot)
                                             : p->slot == exec->grads_slot ? (const void *)bindings->grads
                                                                           : (const void *)bindings->states[p->slot];
    }
}

// Runs one phase of a stage's nodes as one of the pool's threads. Returns whether another phase follows.
static bool run_phase(mosa_exec *exec, const mosa_stage *stage, int phase, int thread, int n_threads) {
    bool more = false, timed = exec->profile && thread == 0;
    for (int i = 0; i < stage->node_count; i++) {
        int32_t n = exec->plan->order[stage->node_begin + i];
        const mosa_cpu_kernel *kernel = &exec->cpu->kernels.op[exec->args[n].node->op];
        int phases = kernel->phases_of ? kernel->phases_of(&exec->args[n]) : kernel->phases;
        if (phase >= phases) continue;
        more |= phase + 1 < phases;
        uint64_t begin = timed ? mosa_clock_ns() : 0;
        mosa_cpu_args args = exec->args[n];
        args.scratch = exec->scratch + (size_t)thread * MOSA_CPU_SCRATCH_BYTES;
        args.phase = phase;
        kernel->run(&args, thread, n_threads);
        if (timed) exec->times[n] += (int64_t)(mosa_clock_ns() - begin);
    }
    return more;
}

static void run_stages(void *context, int thread, int n_threads) {
    mosa_exec *exec = context;
    const mosa_plan *plan = exec->plan;
    for (int s = 0; s < plan->n_stages; s++) {
        const mosa_stage *stage = &plan->stages[s];
        bool more = true;
        for (int phase = 0; more; phase++) {
            more = run_phase(exec, stage, phase, thread, n_threads);
            if (!more && s + 1 == plan->n_stages) return; // the pool waits for all of us
            uint64_t begin = exec->profile && thread == 0 ? mosa_clock_ns() : 0;
            mosa_pool_barrier(exec->cpu->pool);
            // Waiting counts for the last node of the stage.
            int32_t last = plan->order[stage->node_begin + stage->node_count - 1];
            if (begin) exec->times[last] += (int64_t)(mosa_clock_ns() - begin);
        }
    }
}

mosa_status mosa_cpu_exec_run(mosa_exec *exec, const mosa_batch *batch, const mosa_bindings *bindings,
                              mosa_error *err) {
    const mosa_graph *graph = exec->plan->graph;
    for (int i = 0; i < graph->n_inputs; i++)
        if (!bindings->inputs[i] && !(bindings->rows && bindings->rows[i].exec))
            return mosa_fail(err, MOSA_EINVALID, "input %d is missing", i);
    MOSA_TRY(mosa_check_batch(batch, exec->plan->max_rows, exec->uses_segments, err));
    MOSA_TRY(check_lengths(exec, batch, err));
    MOSA_TRY(gather_inputs(exec, batch, bindings, err));
    MOSA_TRY(check_indices(exec, batch, bindings, err));
    MOSA_TRY(check_states(exec, batch, bindings, err));
    MOSA_TRY(check_grads(exec, bindings, err));
    MOSA_TRY(check_adapters(exec, batch, err));
    bind_run(exec, batch, bindings);
    if (exec->adapter_slot >= 0) mosa_cpu_lora_rows_set(&exec->lora, batch);
    if (exec->profile)
        for (int n = 0; n < graph->n_nodes; n++) exec->times[n] = 0;
    if (exec->plan->n_stages > 0) mosa_pool_run(exec->cpu->pool, run_stages, exec);
    exec->last_rows = batch->rows;
    for (int i = 0; bindings->outputs && i < graph->n_outputs; i++) {
        const mosa_value_info *value = &graph->values[graph->outputs[i]];
        bindings->outputs[i] = value->kind == MOSA_VALUE_INPUT
                                   ? input_of(exec, bindings, value->slot)
                                   : (const void *)(exec->memory + exec->plan->offset[graph->outputs[i]]);
    }
    return MOSA_OK;
}

void mosa_cpu_exec_profile(mosa_exec *exec, bool on) {
    exec->profile = on;
}

const int64_t *mosa_cpu_exec_times(const mosa_exec *exec) {
    return exec->profile ? exec->times : NULL;
}
