// The table of backends, and what a graph asks of its weights.
#include "backend/backend.h"

#include "backend/cpu/cpu_backend.h"
#include "backend/cuda/cuda_loader.h"
#include "graph/op.h"

#include <string.h>

typedef struct backend_entry {
    const char *name; // the device name up to a colon
    mosa_status (*open)(const mosa_backend_options *options, const char *variant, mosa_backend **out, mosa_error *err);
} backend_entry;

static const backend_entry backends[] = {
    {"cpu", mosa_cpu_open},
    {"cuda", mosa_cuda_open},
};

mosa_status mosa_backend_open(const mosa_backend_options *options, mosa_backend **out, mosa_error *err) {
    const char *device = options->device ? options->device : "cpu";
    size_t name_len = strcspn(device, ":");
    for (size_t i = 0; i < MOSA_COUNT(backends); i++) {
        if (strlen(backends[i].name) != name_len || memcmp(backends[i].name, device, name_len) != 0) continue;
        return backends[i].open(options, device + name_len + (device[name_len] == ':'), out, err);
    }
    (void)mosa_fail(err, MOSA_ENOTFOUND, "no device '%.60s'", device);
    return err ? mosa_hint(err, "devices are: cpu, cpu:avx2, cpu:ref, cuda, cuda:N") : MOSA_ENOTFOUND;
}

static unsigned use_of(mosa_op op, int operand) {
    unsigned uses = 0;
    if (operand == mosa_op_table_operand(op)) uses |= MOSA_WEIGHT_TABLE;
    if (operand == mosa_op_matrix_operand(op)) uses |= MOSA_WEIGHT_MATRIX;
    return uses ? uses : MOSA_WEIGHT_VECTOR;
}

unsigned mosa_graph_weight_uses(const mosa_graph *graph, int32_t slot) {
    unsigned uses = 0;
    for (int n = 0; n < graph->n_nodes; n++) {
        const mosa_node *node = &graph->nodes[n];
        for (int i = 0; i < node->n_in; i++) {
            const mosa_value_info *value = mosa_graph_value(graph, node->in[i]);
            if (value->kind == MOSA_VALUE_WEIGHT && value->slot == slot) uses |= use_of(node->op, i);
        }
    }
    return uses;
}
