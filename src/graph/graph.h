// The graph: how every model is described, for serving and for training alike.
//
// A graph is a list of nodes in topological order over values in SSA form. A node applies one op of the op table to
// input values and yields output values. Four kinds of value exist:
//   input    bound at every run (token ids, positions, hidden states)
//   weight   constant and resident, of any dtype including the quantised block types; shape [out, in] for matrices
//   state    a port of something that outlives the run (KV pages). An op with a side effect consumes a state value and
//            yields the next version of it, so that order is a data dependency and passes need no special cases
//   computed the output of a node
//
// Rows. Dimension 0 of an activation is MOSA_ROWS, the rows of tokens of this batch: the one dynamic dimension of a
// plan. Every op but attention treats rows independently. Shapes use the glossary of docs/glossary.md: T rows, D model
// width, H heads, G key/value heads, C head width, F feed-forward width, V vocabulary.
//
// Autodiff, adapters, sharding, fusion and lowering are passes that read one graph and build another (graph/pass.h).
//
// Ownership: a graph owns its nodes, values and names (one arena). Weight data is borrowed from the model.
// Errors: builder calls never fail visibly; the first fault is kept (mosa_graph_status) and later calls return
// MOSA_NO_VALUE. Thread: one thread builds; a finished graph is read-only and may be shared.
#ifndef MOSA_GRAPH_GRAPH_H
#define MOSA_GRAPH_GRAPH_H

#include "base/arena.h"
#include "base/status.h"
#include "tensor/dtype.h"

#include <stdbool.h>
#include <stdint.h>

typedef int32_t mosa_value; // index into the graph's values
#define MOSA_NO_VALUE ((mosa_value)-1)
#define MOSA_ROWS     ((int64_t)-1)

enum { MOSA_DIMS_MAX = 3, MOSA_NODE_INPUTS_MAX = 8, MOSA_NODE_OUTPUTS_MAX = 4, MOSA_HEAD_WIDTH_MAX = 1024 };
enum { MOSA_EXPERTS_MAX = 1024 };

typedef struct mosa_shape {
    int ndim;                   // 0 = scalar or state
    int64_t dim[MOSA_DIMS_MAX]; // row-major, outermost first; only dim[0] may be MOSA_ROWS
} mosa_shape;

#define MOSA_SHAPE1(a)       ((mosa_shape){1, {(a)}})
#define MOSA_SHAPE2(a, b)    ((mosa_shape){2, {(a), (b)}})
#define MOSA_SHAPE3(a, b, c) ((mosa_shape){3, {(a), (b), (c)}})

typedef enum mosa_value_kind {
    MOSA_VALUE_INPUT,
    MOSA_VALUE_WEIGHT,
    MOSA_VALUE_STATE,
    MOSA_VALUE_COMPUTED
} mosa_value_kind;

// The op table (graph/op.c) gives each its name, arity, shape rule and decomposition. Append at the end of its group.
typedef enum mosa_op {
    // sources and row movement
    MOSA_OP_EMBED,       // y[T,D] f32 = table[ids[T]]                         in: ids i32 [T], table [V,D] any dtype
    MOSA_OP_GATHER_ROWS, // y[R,D] = x[index[R]]                               in: x [N,D], index i32 [R]
    // dense
    MOSA_OP_LINEAR,   // y[T,N] f32 = x[T,K] * w[N,K]^T (+ b[N])            in: x (f32 or QUANTIZE_ROWS result), w, (b)
    MOSA_OP_LORA,     // y'[T,N] = y + s * (x A^T) B^T by the adapter of the row's segment, y where it has none
                      // in: y [T,N], x [T,K] f32, state of adapters; out: y', u [T,rank] = s * x A^T
    MOSA_OP_LORA_ADD, // y'[T,N] = y + u * b[N,rank]^T, as LORA adds it: an adapter in training  in: y, u [T,rank], b
    // norms, over the last dimension or over heads of width attrs.norm.group
    MOSA_OP_RMS_NORM,   // y = x / sqrt(mean(x^2) + eps) * w                  in: x [T,D], w [group]
    MOSA_OP_LAYER_NORM, // y = (x - mean) / sqrt(var + eps) * w (+ b)         in: x, w, (b)
    MOSA_OP_L2_NORM,    // y = x / max(|x|, eps)                              in: x
    // elementwise
    MOSA_OP_ADD,   // y = a + b, same shape
    MOSA_OP_MUL,   // y = a * b, same shape
    MOSA_OP_SCALE, // y = x * attrs.scale.value
    MOSA_OP_ACT,   // y = act(x), attrs.act.kind
    MOSA_OP_ROUND, // y = x as attrs.round.dtype holds it; gradients pass as if it were x
    MOSA_OP_SLICE, // y[T,n] = x[T, attrs.slice.begin : begin+n]         columns, of each group of attrs.slice.group
    MOSA_OP_JOIN,  // y[T,G*(a+b)]: per group the columns of a, then those of b       in: a [T,G*a], b [T,G*b]
    // position
    MOSA_OP_ROPE_TABLE, // y[T,rot] = cos, sin of position * inv_freq         in: positions i32 [T], inv_freq f32
                        // [rot/2]
    MOSA_OP_ROPE,       // rotates each head's first rot columns               in: x [T,heads*C], table [T,rot]
    // attention and its state
    MOSA_OP_KV_WRITE,  // state' = state with rows k, v stored at (segment, position)   in: k [T,G*C], (v [T,G*W]),
                       // state. No v when attrs.attention.value_in_key
    MOSA_OP_ATTENTION, // y[T,H*W] = softmax(scale * q k^T + mask) v, W = mosa_attention_value_width
                       // in: q [T,H*C], state, (sinks f32 [H]) | q, k, (v), (sinks) for packed segments. A sink is a
                       // further logit of its head that takes part in the softmax's sum and has no value; no v when
                       // value_in_key
    // mixture of experts: E matrices of one shape, of which a row uses some, one per slot
    MOSA_OP_MOE_ROUTE, // index, weight = the top_k experts of each row, best first  in: logits [T,E], (bias [E], which
                       // counts for choosing only)                              out: index i32 [T,k], weight [T,k]
    MOSA_OP_EXPERT_LINEAR, // y[T,k*N]: slot s = x_s * w[index[t,s]]^T (+ b)          in: x, w [E,N,K], (index), (b
                           // [E,N]); x is [T,K], shared by the slots, or [T,k*K]; without index k = E and slot s uses
                           // matrix s
    MOSA_OP_MOE_COMBINE,   // y[T,D] = sum over slots of weight[t,s] * x_s           in: x [T,k*D], weight [T,k]
    // fused forms; each has a decomposition into the ops above that a test compares it with
    MOSA_OP_ADD_RMS_NORM,  // s = a + b; y = rms_norm(s, w)                      out: s, y
    MOSA_OP_GATED_ACT,     // y = act(gate) * up                                 in: gate [T,F], up [T,F]
    MOSA_OP_ROPE_KV_WRITE, // q' = rope(q); state' = kv_write(rope(k), v)         in: q, k, v, table, state; out: q',
                           // state'
    // lowering
    MOSA_OP_QUANTIZE_ROWS, // rows of x in the packed int8 layout of a backend   in: x; out dtype MOSA_U8, opaque row
                           // bytes
    // training: the loss, and derivatives that mosa_pass_autodiff emits. dy, dx: gradients of y, x. `grads` is the
    // state of
    // accumulated weight gradients (mosa_grads of backend/backend.h): an op that takes it adds to the elements of slot
    // attrs2.grad.slot and yields the state's next version. Sums over rows run in order of rows.
    MOSA_OP_LINEAR_CE, // z = cap(scale * h w^T); dz = coef (softmax(z) - onehot(label))    in: h [T,D], w [V,D], labels
                       // i32 [T] (-1: the row does not count), coef f32 [T,1], grads, (h as QUANTIZE_ROWS packs it)
                       // out: stats [T,4] = (logp, logsumexp, entropy, argmax is label) of the label, zeros where it is
                       // -1; dh [T,D]; room for the logits of a chunk of rows [chunk,V]; grads. dw is added when
                       // attrs2.grad.slot >= 0
    MOSA_OP_LINEAR_DX, // dx[T,K] = dy w                                     in: dy [T,N], w [N,K]
    MOSA_OP_LINEAR_DW, // dw[N,K] += dy^T x                                  in: dy [T,N], x [T,K], grads
    MOSA_OP_ROWS_SUM,  // db[n] += sum over rows and groups of n columns     in: dy, grads; n = attrs2.grad.elements
    MOSA_OP_EMBED_DW,  // dtable[ids[t]] += dy[t]                            in: dy [T,D], ids, grads
    MOSA_OP_SCATTER_ROWS,     // dx[N,D] = sum of dy[r] over index[r] = n           in: dy [R,D], index; N =
                              // attrs.scatter.rows
    MOSA_OP_RMS_NORM_DX,      // in: dy, x, w; attrs.norm
    MOSA_OP_RMS_NORM_DW,      // in: dy, x, grads
    MOSA_OP_LAYER_NORM_DX,    // in: dy, x, w
    MOSA_OP_LAYER_NORM_DW,    // in: dy, x, grads
    MOSA_OP_L2_NORM_DX,       // in: dy, x
    MOSA_OP_ACT_DX,           // dx = dy act'(x)                                    in: dy, x
    MOSA_OP_GATED_ACT_DX,     // in: dy, gate, up; out: dgate, dup
    MOSA_OP_UNSLICE,          // SLICE turned round: other columns are 0            in: dy; attrs.slice, row width
                              // attrs2.slice.count
    MOSA_OP_ROPE_DX,          // the transposed rotation                            in: dy, table; attrs.rope
    MOSA_OP_ATTENTION_DX,     // of packed segments; probabilities are recomputed   in: dy [T,H*W], q, k, (v), (sinks)
                              // out: dq, dk, dv ([T,1] and unused with value_in_key)
    MOSA_OP_ATTENTION_DSINKS, // dsinks[H] +=                                      in: dy, q, k, (v), sinks, grads
    MOSA_OP_MOE_ROUTE_DX,     // dlogits [T,E]                                     in: dweight [T,k], logits, index
    MOSA_OP_EXPERT_LINEAR_DX, // dx [T,attrs.expert.columns]                       in: dy [T,k*N], w [E,N,K], (index)
    MOSA_OP_EXPERT_LINEAR_DW, // dw[index] += dy^T x                               in: dy, x, (index), grads;
                              // attrs.expert
    MOSA_OP_EXPERT_ROWS_SUM,  // db[index] += dy                                   in: dy, index, grads; attrs.expert
    MOSA_OP_MOE_COMBINE_DX,   // dx_s = weight_s dy, dweight_s = x_s . dy          in: dy [T,D], x [T,k*D], weight; out:
                              // dx, dweight
    MOSA_OP_COUNT
} mosa_op;

typedef enum mosa_act {
    MOSA_ACT_SILU,
    MOSA_ACT_GELU,
    MOSA_ACT_GELU_TANH,
    MOSA_ACT_RELU,
    MOSA_ACT_SIGMOID,
    MOSA_ACT_TANH,
    MOSA_ACT_CLAMPED_SWIGLU // GATED_ACT alone: (clamp(up) + 1) * g * sigmoid(1.702 g), g = min(gate, limit), |up| <=
                            // limit
} mosa_act;

typedef enum mosa_rope_style {
    MOSA_ROPE_HALF,       // pairs (i, i + rot/2): Hugging Face, "neox"
    MOSA_ROPE_INTERLEAVED // pairs (2i, 2i + 1): llama GGUF files, "norm"
} mosa_rope_style;

// What an expert's score is, from the logits of all.
typedef enum mosa_scoring {
    MOSA_SCORE_SOFTMAX,
    MOSA_SCORE_SIGMOID,
    MOSA_SCORE_SOFTMAX_CHOSEN // chosen by logit; weights are the softmax over the chosen
} mosa_scoring;

typedef union mosa_attrs {
    struct {
        float eps;
        int64_t group;
    } norm; // group 0 = the whole row
    struct {
        float value;
    } scale;
    struct {
        mosa_act kind;
        float limit; // of CLAMPED_SWIGLU
    } act;           // ACT and GATED_ACT
    struct {
        int64_t begin, count;
        int64_t group; // 0 = the whole row; else the range is taken of every group of so many columns
    } slice;
    struct {
        int64_t groups;
    } join;
    struct {
        int rot;
        float mscale;
    } rope_table; // cos and sin are multiplied by mscale (YaRN)
    struct {
        int head_width, rot;
        mosa_rope_style style;
    } rope; // ROPE and ROPE_KV_WRITE
    struct {
        int heads, kv_heads, head_width;
        int value_width;   // columns of a head's values; 0 = head_width
        bool value_in_key; // values are the first value_width columns of the keys (MLA): the state stores keys alone
        int layer;         // which layer of the KV state
        int window;        // 0 = full; else position p sees (p - window, p]
        float scale;       // usually 1/sqrt(C)
        float softcap;     // 0 = none; else scores become softcap * tanh(score / softcap)
        bool causal;
    } attention; // ATTENTION and KV_WRITE (layer, kv_heads, head_width, value_width, value_in_key)
    struct {
        int top_k;
        mosa_scoring scoring;
        bool normalise;         // weights of a row are divided by their sum (+ 1e-20)
        float scale;            // then multiplied by this
        int groups, top_groups; // only experts of the best top_groups groups may be chosen; groups 0 = no groups
        int group_best;         // a group is as good as the sum of its best 1 or 2 experts
    } moe_route;
    struct {
        int32_t target; // weight slot of the LINEAR whose output y is: how an adapter names its matrices
        int32_t rank;   // columns of u: no adapter has more
    } lora;
    struct {
        mosa_dtype dtype; // MOSA_F16, as pages of keys and values hold it, or MOSA_BF16
    } round;
    struct {
        int64_t row_bytes;
        int layout;
    } quantize; // backend-private layout number and bytes of one packed row
    struct {
        float scale, softcap; // of the logits; softcap 0 = none
        int32_t chunk;        // rows whose logits exist at one time
    } linear_ce;
    struct {
        int32_t slot;     // weight slot whose gradient is added to
        int64_t elements; // of that weight
    } grad;               // in attrs2
    struct {
        int64_t rows; // MOSA_ROWS or a number
    } scatter;
    struct {
        int64_t experts, width, columns; // E, K, and the columns of x: K, or K for each slot
    } expert;
} mosa_attrs;

typedef struct mosa_value_info {
    mosa_value_kind kind;
    mosa_dtype dtype;
    mosa_shape shape;
    int32_t producer; // node index, or -1
    int32_t slot;     // input: binding index; weight: weight index; state: state index, also of later versions;
                      // computed: output number of its producer
    const char *name; // "blk.3.attn_q.weight", "tokens", or NULL
} mosa_value_info;

typedef struct mosa_node {
    mosa_op op;
    int n_in, n_out;
    mosa_value in[MOSA_NODE_INPUTS_MAX];
    mosa_value out[MOSA_NODE_OUTPUTS_MAX];
    mosa_attrs attrs;
    mosa_attrs attrs2; // second parameter set of a fused op (ROPE_KV_WRITE: rope in attrs, attention in attrs2)
    mosa_value after;  // a value that must be there before the node runs, though it does not read it; MOSA_NO_VALUE
} mosa_node;

typedef struct mosa_graph {
    mosa_arena arena;
    mosa_node *nodes;        // (n_nodes)
    mosa_value_info *values; // (n_values)
    mosa_value *outputs;     // (n_outputs) what a run must deliver, in order
    int n_nodes, n_values, n_outputs;
    int n_inputs, n_weights, n_states;
    int cap_nodes, cap_values, cap_outputs;
    mosa_error error; // first fault of the builder
} mosa_graph;

mosa_graph *mosa_graph_create(mosa_error *err); // NULL on out-of-memory
void mosa_graph_destroy(mosa_graph *graph);     // NULL-safe
mosa_status mosa_graph_status(const mosa_graph *graph, mosa_error *err);

// Sources. Names are copied. Slots are numbered in order of creation. A version of a state may be used until an op
// consumes it to make the next version; a use after that is a fault.
mosa_value mosa_graph_input(mosa_graph *graph, const char *name, mosa_dtype dtype, mosa_shape shape);
mosa_value mosa_graph_weight(mosa_graph *graph, const char *name, mosa_dtype dtype, mosa_shape shape);
mosa_value mosa_graph_state(mosa_graph *graph, const char *name);
void mosa_graph_output(mosa_graph *graph, mosa_value value);

// The general form: checks arity, dtypes and shapes by the op's rule, appends the node, returns its first output.
mosa_value mosa_graph_apply(mosa_graph *graph, mosa_op op, const mosa_value *in, int n_in, const mosa_attrs *attrs);
mosa_value mosa_graph_apply2(mosa_graph *graph, mosa_op op, const mosa_value *in, int n_in, const mosa_attrs *attrs,
                             const mosa_attrs *attrs2);
mosa_value mosa_graph_node_output(const mosa_graph *graph, mosa_value first_output, int number);

// Typed forms for family files. Bias may be MOSA_NO_VALUE.
mosa_value mosa_g_embed(mosa_graph *g, mosa_value ids, mosa_value table);
mosa_value mosa_g_linear(mosa_graph *g, mosa_value x, mosa_value w, mosa_value bias);
mosa_value mosa_g_rms_norm(mosa_graph *g, mosa_value x, mosa_value w, float eps);
mosa_value mosa_g_head_rms_norm(mosa_graph *g, mosa_value x, mosa_value w, float eps); // per head of width |w|
mosa_value mosa_g_layer_norm(mosa_graph *g, mosa_value x, mosa_value w, mosa_value bias, float eps);
mosa_value mosa_g_add(mosa_graph *g, mosa_value a, mosa_value b);
mosa_value mosa_g_mul(mosa_graph *g, mosa_value a, mosa_value b);
mosa_value mosa_g_scale(mosa_graph *g, mosa_value x, float value);
mosa_value mosa_g_act(mosa_graph *g, mosa_value x, mosa_act kind);
mosa_value mosa_g_rope_table(mosa_graph *g, mosa_value positions, mosa_value inv_freq, float mscale);
mosa_value mosa_g_rope(mosa_graph *g, mosa_value x, mosa_value table, int head_width, mosa_rope_style style);
// v is MOSA_NO_VALUE with value_in_key.
mosa_value mosa_g_kv_write(mosa_graph *g, mosa_value k, mosa_value v, mosa_value state, const mosa_attrs *attention);
mosa_value mosa_g_attention_kv(mosa_graph *g, mosa_value q, mosa_value state, const mosa_attrs *attention);
mosa_value mosa_g_attention_kv_sinks(mosa_graph *g, mosa_value q, mosa_value state, mosa_value sinks,
                                     const mosa_attrs *attention);
mosa_value mosa_g_attention(mosa_graph *g, mosa_value q, mosa_value k, mosa_value v, const mosa_attrs *attention);
mosa_value mosa_g_attention_sinks(mosa_graph *g, mosa_value q, mosa_value k, mosa_value v, mosa_value sinks,
                                  const mosa_attrs *attention);
mosa_value mosa_g_clamped_swiglu(mosa_graph *g, mosa_value gate, mosa_value up, float limit);
mosa_value mosa_g_slice(mosa_graph *g, mosa_value x, int64_t begin, int64_t count, int64_t group);
mosa_value mosa_g_join(mosa_graph *g, mosa_value a, mosa_value b, int64_t groups);
mosa_value mosa_g_round(mosa_graph *g, mosa_value x, mosa_dtype dtype); // x itself for MOSA_F32
// The loss of rows h against labels; returns stats, *grads becomes the state's next version.
mosa_value mosa_g_linear_ce(mosa_graph *g, mosa_value h, mosa_value w, mosa_value labels, mosa_value coef,
                            mosa_value *grads, float scale, float softcap);
// Index and bias may be MOSA_NO_VALUE; a bias needs an index.
mosa_value mosa_g_expert_linear(mosa_graph *g, mosa_value x, mosa_value w, mosa_value index, mosa_value bias);
mosa_value mosa_g_moe_combine(mosa_graph *g, mosa_value x, mosa_value weight);

static inline const mosa_value_info *mosa_graph_value(const mosa_graph *g, mosa_value v) {
    return &g->values[v];
}
static inline int mosa_attention_value_width(const mosa_attrs *attrs) {
    return attrs->attention.value_width ? attrs->attention.value_width : attrs->attention.head_width;
}
// Whether an ATTENTION node reads a state; otherwise it reads packed rows of keys and values.
static inline bool mosa_attention_paged(const mosa_graph *g, const mosa_node *node) {
    return g->values[node->in[1]].kind == MOSA_VALUE_STATE;
}
// The operand of an ATTENTION node that holds its sinks, or -1.
static inline int mosa_attention_sinks(const mosa_graph *g, const mosa_node *node) {
    int others = mosa_attention_paged(g, node) || node->attrs.attention.value_in_key ? 2 : 3;
    return node->n_in > others ? others : -1;
}
int64_t mosa_shape_row_elements(const mosa_shape *shape);         // product of all dims but a leading MOSA_ROWS
void mosa_graph_print(const mosa_graph *graph, void *stdio_file); // one readable line per node, for --verbose and tests

#endif
