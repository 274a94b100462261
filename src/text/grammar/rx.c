// Constructors of terms: each simplifies what would otherwise be many names for one language.
#include "text/grammar/rx.h"

#include "text/grammar/reserve.h"

#include <stdlib.h>
#include <string.h>

enum { HEADS = 1 << 17, MEMO = 1 << 16, OR_SCRATCH = 1 << 12 };

// --- pool ----------------------------------------------------------------------------------------------------------

bool mosa_rx_pool_init(mosa_rx_pool *p) {
    *p = (mosa_rx_pool){0};
    p->nodes = mosa_reserve(MOSA_RX_NODES_MAX, sizeof *p->nodes);
    p->args = mosa_reserve(MOSA_RX_ARGS_MAX, sizeof *p->args);
    p->sets = mosa_reserve(MOSA_RX_SETS_MAX, sizeof *p->sets);
    p->heads = mosa_reserve(HEADS, sizeof *p->heads);
    p->memo = mosa_reserve(MEMO, sizeof *p->memo);
    p->stack = mosa_reserve(MOSA_RX_NODES_MAX, sizeof *p->stack);
    p->spine = mosa_reserve(MOSA_RX_NODES_MAX, sizeof *p->spine);
    p->set_next = mosa_reserve(MOSA_RX_SETS_MAX, sizeof *p->set_next);
    if (!p->nodes || !p->args || !p->sets || !p->heads || !p->memo || !p->stack || !p->spine || !p->set_next) {
        mosa_rx_pool_finish(p);
        return false;
    }
    p->nodes[MOSA_RX_NONE] = (mosa_rx_node){.kind = MOSA_RX_KIND_NONE, .known = 2};
    p->nodes[MOSA_RX_EPS] = (mosa_rx_node){.kind = MOSA_RX_KIND_EPS, .nullable = true, .known = 1};
    p->nodes[MOSA_RX_ALL] = (mosa_rx_node){.kind = MOSA_RX_KIND_ALL, .nullable = true, .known = 1};
    p->node_count = 3;
    p->class_count = 1;
    return true;
}

void mosa_rx_pool_finish(mosa_rx_pool *p) {
    mosa_unreserve(p->nodes, MOSA_RX_NODES_MAX, sizeof *p->nodes);
    mosa_unreserve(p->args, MOSA_RX_ARGS_MAX, sizeof *p->args);
    mosa_unreserve(p->sets, MOSA_RX_SETS_MAX, sizeof *p->sets);
    mosa_unreserve(p->heads, HEADS, sizeof *p->heads);
    mosa_unreserve(p->memo, MEMO, sizeof *p->memo);
    mosa_unreserve(p->stack, MOSA_RX_NODES_MAX, sizeof *p->stack);
    mosa_unreserve(p->spine, MOSA_RX_NODES_MAX, sizeof *p->spine);
    mosa_unreserve(p->set_next, MOSA_RX_SETS_MAX, sizeof *p->set_next);
    *p = (mosa_rx_pool){0};
}

void mosa_rx_pool_cut(mosa_rx_pool *p, uint32_t node_count, uint32_t arg_count) {
    // Chains link newer nodes to older ones, so what stays is a tail of its chain.
    for (uint32_t h = 0; h < HEADS; h++)
        while (p->heads[h] >= node_count) p->heads[h] = p->nodes[p->heads[h]].next;
    p->node_count = node_count;
    p->arg_count = arg_count;
    p->failed = false;
    memset(p->memo, 0, MEMO * sizeof *p->memo);
}

// Sets that derivation adds are unions and intersections of older ones: they split no class, and numbers stay.
void mosa_rx_classes(mosa_rx_pool *p) {
    if (p->classed_sets == p->set_count) return;
    uint8_t split[256];
    for (uint32_t s = p->classed_sets; s < p->set_count && p->class_count < 256; s++) {
        // A class is cut in two by this set: its members outside keep the number, those inside get a new one.
        int seen[256] = {0}, inside[256] = {0};
        for (unsigned b = 0; b < 256; b++) {
            seen[p->class_of[b]]++;
            inside[p->class_of[b]] += mosa_byte_set_has(&p->sets[s], b);
        }
        int count = p->class_count;
        for (int c = 0; c < count; c++)
            split[c] = inside[c] && inside[c] < seen[c] ? (uint8_t)p->class_count++ : (uint8_t)c;
        for (unsigned b = 0; b < 256; b++)
            if (mosa_byte_set_has(&p->sets[s], b)) p->class_of[b] = split[p->class_of[b]];
    }
    for (int b = 255; b >= 0; b--) p->class_byte[p->class_of[b]] = (uint8_t)b;
    p->classed_sets = p->set_count;
}

static uint32_t hash_node(const mosa_rx_node *n, const mosa_rx *args) {
    uint64_t h = (uint64_t)n->kind * 0x9e3779b97f4a7c15u;
    if (n->kind == MOSA_RX_KIND_OR || n->kind == MOSA_RX_KIND_AND) {
        for (uint32_t i = 0; i < n->b; i++) h = (h ^ args[i]) * 0xff51afd7ed558ccdu;
    } else {
        h = (h ^ n->a) * 0xff51afd7ed558ccdu;
        h = (h ^ (h >> 29) ^ n->b) * 0xff51afd7ed558ccdu;
        h = (h ^ (h >> 29) ^ n->c) * 0xff51afd7ed558ccdu;
    }
    return (uint32_t)((h ^ (h >> 32)) & (HEADS - 1));
}

static bool same_node(const mosa_rx_pool *p, const mosa_rx_node *x, const mosa_rx_node *n, const mosa_rx *args) {
    if (x->kind != n->kind || x->b != n->b) return false;
    if (n->kind == MOSA_RX_KIND_OR || n->kind == MOSA_RX_KIND_AND)
        return memcmp(p->args + x->a, args, n->b * sizeof *args) == 0;
    return x->a == n->a && x->c == n->c;
}

// The number of the node; args are those of an OR or AND, copied when the node is new.
static mosa_rx intern(mosa_rx_pool *p, mosa_rx_node n, const mosa_rx *args) {
    uint32_t h = hash_node(&n, args);
    for (uint32_t i = p->heads[h]; i; i = p->nodes[i].next)
        if (same_node(p, &p->nodes[i], &n, args)) return i;
    uint32_t n_args = args ? n.b : 0;
    if (p->node_count == MOSA_RX_NODES_MAX || p->arg_count + n_args > MOSA_RX_ARGS_MAX) {
        p->failed = true;
        return MOSA_RX_NONE;
    }
    if (args) {
        memcpy(p->args + p->arg_count, args, n_args * sizeof *args);
        n.a = p->arg_count;
        p->arg_count += n_args;
    }
    n.next = p->heads[h];
    p->nodes[p->node_count] = n;
    p->heads[h] = p->node_count;
    return p->node_count++;
}

// --- sets and strings ----------------------------------------------------------------------------------------------

mosa_rx mosa_rx_set(mosa_rx_pool *p, const mosa_byte_set *set) {
    if (!(set->words[0] | set->words[1] | set->words[2] | set->words[3])) return MOSA_RX_NONE;
    uint32_t *head = &p->set_heads[mosa_hash_bytes(set, sizeof *set, 0) & 255], i = *head;
    while (i && memcmp(&p->sets[i - 1], set, sizeof *set) != 0) i = p->set_next[i - 1];
    if (!i && p->set_count == MOSA_RX_SETS_MAX) {
        p->failed = true;
        return MOSA_RX_NONE;
    }
    if (!i) {
        p->sets[p->set_count] = *set;
        p->set_next[p->set_count] = *head;
        *head = i = ++p->set_count;
    }
    i--;
    return intern(p, (mosa_rx_node){.kind = MOSA_RX_KIND_SET, .a = i, .known = 1}, NULL);
}

mosa_rx mosa_rx_range(mosa_rx_pool *p, unsigned char lo, unsigned char hi) {
    mosa_byte_set set = {0};
    mosa_byte_set_add(&set, lo, hi);
    return mosa_rx_set(p, &set);
}

mosa_rx mosa_rx_byte(mosa_rx_pool *p, unsigned char byte) {
    return mosa_rx_range(p, byte, byte);
}

mosa_rx mosa_rx_literal(mosa_rx_pool *p, mosa_slice bytes) {
    mosa_rx r = MOSA_RX_EPS;
    for (size_t i = bytes.len; i > 0; i--) r = mosa_rx_cat(p, mosa_rx_byte(p, (unsigned char)bytes.data[i - 1]), r);
    return r;
}

// --- concatenation, repetition

static bool is_star(const mosa_rx_node *n) {
    return n->kind == MOSA_RX_KIND_ALL || (n->kind == MOSA_RX_KIND_REPEAT && n->b == 0 && n->c == MOSA_RX_FOREVER);
}

// a is no CAT.
static mosa_rx cat_one(mosa_rx_pool *p, mosa_rx a, mosa_rx b) {
    if (a == MOSA_RX_NONE || b == MOSA_RX_NONE) return MOSA_RX_NONE;
    if (b == MOSA_RX_EPS) return a;
    mosa_rx_node x = p->nodes[a], y = p->nodes[b];
    if (is_star(&x) && (a == b || (y.kind == MOSA_RX_KIND_CAT && y.a == a))) return b;
    return intern(p,
                  (mosa_rx_node){.kind = MOSA_RX_KIND_CAT,
                                 .a = a,
                                 .b = b,
                                 .nullable = x.nullable && y.nullable,
                                 .logical = x.logical || y.logical,
                                 .known = x.known == 1 && y.known == 1},
                  NULL);
}

mosa_rx mosa_rx_cat(mosa_rx_pool *p, mosa_rx a, mosa_rx b) {
    if (a == MOSA_RX_NONE || b == MOSA_RX_NONE) return MOSA_RX_NONE;
    if (a == MOSA_RX_EPS) return b;
    if (b == MOSA_RX_EPS) return a;
    uint32_t n = 0;
    for (; p->nodes[a].kind == MOSA_RX_KIND_CAT; a = p->nodes[a].b) p->spine[n++] = p->nodes[a].a;
    b = cat_one(p, a, b);
    while (n) b = cat_one(p, p->spine[--n], b);
    return b;
}

mosa_rx mosa_rx_repeat(mosa_rx_pool *p, mosa_rx a, uint32_t min, uint32_t max) {
    if (max == 0 || a == MOSA_RX_EPS) return MOSA_RX_EPS;
    if (a == MOSA_RX_NONE) return min ? MOSA_RX_NONE : MOSA_RX_EPS;
    if (a == MOSA_RX_ALL) return a;
    if (min == 1 && max == 1) return a;
    mosa_rx_node x = p->nodes[a];
    if (x.nullable) min = 0;
    if (is_star(&x)) return a;
    return intern(p,
                  (mosa_rx_node){.kind = MOSA_RX_KIND_REPEAT,
                                 .a = a,
                                 .b = min,
                                 .c = max,
                                 .nullable = min == 0,
                                 .logical = x.logical,
                                 .known = min == 0 || x.known == 1},
                  NULL);
}

mosa_rx mosa_rx_multiple(mosa_rx_pool *p, uint32_t step, uint32_t scale) {
    for (unsigned char digit = '0'; digit <= '9'; digit++) mosa_rx_byte(p, digit); // so that each is a class
    mosa_rx_byte(p, '.');
    return mosa_rx_multiple_after(p, step, scale, 0, 0);
}

// a: step, b: remainder, c: scale << 8 | point.
mosa_rx mosa_rx_multiple_after(mosa_rx_pool *p, uint32_t step, uint32_t scale, uint32_t remainder, uint32_t point) {
    uint64_t rest = remainder; // a number that ends here has zeros for the digits that scale still expects
    for (uint32_t i = point ? point - 1 : 0; i < scale; i++) rest = rest * 10 % step;
    return intern(p,
                  (mosa_rx_node){.kind = MOSA_RX_KIND_MULTIPLE,
                                 .a = step,
                                 .b = remainder,
                                 .c = scale << 8 | point,
                                 .nullable = rest == 0,
                                 .logical = true,
                                 .known = rest == 0},
                  NULL);
}

// --- union, intersection, complement

static int by_number(const void *a, const void *b) {
    mosa_rx x = *(const mosa_rx *)a, y = *(const mosa_rx *)b;
    return x < y ? -1 : x > y;
}

// Copies args flat (an OR inside an OR gives its own args) into list; false when they are too many.
static bool flatten(const mosa_rx_pool *p, int kind, const mosa_rx *args, size_t count, mosa_rx *list, size_t *n) {
    for (size_t i = 0; i < count; i++) {
        const mosa_rx_node *x = &p->nodes[args[i]];
        size_t more = x->kind == kind ? x->b : 1;
        if (*n + more > OR_SCRATCH) return false;
        if (x->kind == kind)
            memcpy(list + *n, p->args + x->a, more * sizeof *list);
        else
            list[*n] = args[i];
        *n += more;
    }
    return true;
}

static size_t unique(mosa_rx *list, size_t n) {
    qsort(list, n, sizeof *list, by_number);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || list[kept - 1] != list[i]) list[kept++] = list[i];
    return kept;
}

// All single-byte sets of a union become one.
static size_t merge_sets(mosa_rx_pool *p, mosa_rx *list, size_t n) {
    mosa_byte_set all = {0};
    size_t kept = 0, sets = 0;
    for (size_t i = 0; i < n; i++) {
        const mosa_rx_node *x = &p->nodes[list[i]];
        if (x->kind != MOSA_RX_KIND_SET) {
            list[kept++] = list[i];
            continue;
        }
        sets++;
        for (int w = 0; w < 4; w++) all.words[w] |= p->sets[x->a].words[w];
    }
    if (sets) list[kept++] = mosa_rx_set(p, &all);
    return kept;
}

static mosa_rx finish_or(mosa_rx_pool *p, mosa_rx *list, size_t n) {
    n = merge_sets(p, list, n);
    n = unique(list, n);
    size_t kept = 0;
    bool nullable = false, logical = false, known = false, eps = false;
    for (size_t i = 0; i < n; i++) {
        const mosa_rx_node *x = &p->nodes[list[i]];
        if (x->kind == MOSA_RX_KIND_NONE) continue;
        if (x->kind == MOSA_RX_KIND_ALL) return MOSA_RX_ALL;
        if (x->kind == MOSA_RX_KIND_EPS) {
            eps = true;
            continue;
        }
        nullable |= x->nullable;
        logical |= x->logical;
        known |= x->known == 1;
        list[kept++] = list[i];
    }
    if (eps && !nullable) {
        memmove(list + 1, list, kept * sizeof *list);
        list[0] = MOSA_RX_EPS; // the smallest number, so the list stays sorted
        kept++;
        nullable = known = true;
    }
    if (kept == 0) return eps ? MOSA_RX_EPS : MOSA_RX_NONE;
    if (kept == 1) return list[0];
    return intern(p,
                  (mosa_rx_node){.kind = MOSA_RX_KIND_OR,
                                 .b = (uint32_t)kept,
                                 .nullable = nullable,
                                 .logical = logical,
                                 .known = known || !logical},
                  list);
}

mosa_rx mosa_rx_or_all(mosa_rx_pool *p, const mosa_rx *args, size_t count) {
    if (count > OR_SCRATCH / 2) { // halves first; what they share is found later
        return mosa_rx_or(p, mosa_rx_or_all(p, args, count / 2),
                          mosa_rx_or_all(p, args + count / 2, count - count / 2));
    }
    mosa_rx list[OR_SCRATCH];
    size_t n = 0;
    if (flatten(p, MOSA_RX_KIND_OR, args, count, list, &n)) return finish_or(p, list, n);
    p->failed = true;
    return MOSA_RX_NONE;
}

mosa_rx mosa_rx_or(mosa_rx_pool *p, mosa_rx a, mosa_rx b) {
    if (a == b || b == MOSA_RX_NONE) return a;
    if (a == MOSA_RX_NONE) return b;
    return mosa_rx_or_all(p, (mosa_rx[]){a, b}, 2);
}

static mosa_rx finish_and(mosa_rx_pool *p, mosa_rx *list, size_t n) {
    size_t kept = 0;
    bool nullable = true, eps = false;
    for (size_t i = 0; i < n; i++) {
        const mosa_rx_node *x = &p->nodes[list[i]];
        if (x->kind == MOSA_RX_KIND_NONE) return MOSA_RX_NONE;
        nullable &= x->nullable;
        eps |= x->kind == MOSA_RX_KIND_EPS;
        if (x->kind != MOSA_RX_KIND_ALL) list[kept++] = list[i];
    }
    if (eps) return nullable ? MOSA_RX_EPS : MOSA_RX_NONE;
    if (kept == 0) return MOSA_RX_ALL;
    if (kept == 1) return list[0];
    return intern(
        p,
        (mosa_rx_node){
            .kind = MOSA_RX_KIND_AND, .b = (uint32_t)kept, .nullable = nullable, .logical = true, .known = nullable},
        list);
}

mosa_rx mosa_rx_and(mosa_rx_pool *p, mosa_rx a, mosa_rx b) {
    if (a == b || b == MOSA_RX_ALL) return a;
    if (a == MOSA_RX_ALL) return b;
    mosa_rx_node x = p->nodes[a], y = p->nodes[b];
    if (x.kind == MOSA_RX_KIND_SET && y.kind == MOSA_RX_KIND_SET) {
        mosa_byte_set both;
        for (int w = 0; w < 4; w++) both.words[w] = p->sets[x.a].words[w] & p->sets[y.a].words[w];
        return mosa_rx_set(p, &both);
    }
    mosa_rx list[OR_SCRATCH];
    size_t n = 0;
    if (flatten(p, MOSA_RX_KIND_AND, (mosa_rx[]){a, b}, 2, list, &n)) return finish_and(p, list, unique(list, n));
    p->failed = true;
    return MOSA_RX_NONE;
}

mosa_rx mosa_rx_not(mosa_rx_pool *p, mosa_rx a) {
    if (a == MOSA_RX_NONE) return MOSA_RX_ALL;
    if (a == MOSA_RX_ALL) return MOSA_RX_NONE;
    mosa_rx_node x = p->nodes[a];
    if (x.kind == MOSA_RX_KIND_NOT) return x.a;
    return intern(p,
                  (mosa_rx_node){
                      .kind = MOSA_RX_KIND_NOT, .a = a, .nullable = !x.nullable, .logical = true, .known = !x.nullable},
                  NULL);
}

// --- many strings

static int by_string(const void *a, const void *b) {
    const mosa_slice *x = a, *y = b;
    int order = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
    return order ? order : x->len < y->len ? -1 : x->len > y->len;
}

// strings[0..count) are sorted and share their first `depth` bytes. Recursion is as deep as the longest shared prefix
// has branches, since unshared tails become literals.
static mosa_rx share_prefixes(mosa_rx_pool *p, const mosa_slice *strings, size_t count, size_t depth) {
    if (count == 1) return mosa_rx_literal(p, (mosa_slice){strings[0].data + depth, strings[0].len - depth});
    size_t common = depth;
    while (common < strings[0].len && common < strings[count - 1].len &&
           strings[0].data[common] == strings[count - 1].data[common])
        common++;
    mosa_rx branches[257];
    size_t n = 0, i = 0;
    while (i < count && strings[i].len == common) i++;
    if (i) branches[n++] = MOSA_RX_EPS;
    while (i < count) {
        size_t end = i + 1;
        while (end < count && strings[end].data[common] == strings[i].data[common]) end++;
        mosa_rx tail = share_prefixes(p, strings + i, end - i, common + 1);
        branches[n++] = mosa_rx_cat(p, mosa_rx_byte(p, (unsigned char)strings[i].data[common]), tail);
        i = end;
    }
    mosa_rx rest = mosa_rx_or_all(p, branches, n);
    mosa_slice head = {strings[0].data + depth, common - depth};
    return mosa_rx_cat(p, mosa_rx_literal(p, head), rest);
}

mosa_rx mosa_rx_one_of(mosa_rx_pool *p, mosa_slice *strings, size_t count) {
    if (count == 0) return MOSA_RX_NONE;
    qsort(strings, count, sizeof *strings, by_string);
    return share_prefixes(p, strings, count, 0);
}
