// Derivatives of terms, and whether a term matches anything at all.
#include "text/grammar/rx.h"

enum { MEMO_MASK = (1 << 16) - 1, SEARCH_MAX = 1 << 14, DERIVE_DEPTH_MAX = 2000 };

static mosa_rx derive(mosa_rx_pool *p, mosa_rx r, uint8_t byte, int depth);

static mosa_rx derive_args(mosa_rx_pool *p, mosa_rx_node n, uint8_t byte, int depth) {
    if (n.kind == MOSA_RX_KIND_AND) {
        mosa_rx all = MOSA_RX_ALL;
        for (uint32_t i = 0; i < n.b && all != MOSA_RX_NONE; i++)
            all = mosa_rx_and(p, all, derive(p, p->args[n.a + i], byte, depth));
        return all;
    }
    mosa_rx any = MOSA_RX_NONE, list[64];
    size_t have = 0;
    for (uint32_t i = 0; i < n.b; i++) {
        mosa_rx d = derive(p, p->args[n.a + i], byte, depth);
        if (d != MOSA_RX_NONE) list[have++] = d;
        if (have < 64 && i + 1 < n.b) continue;
        any = mosa_rx_or(p, any, mosa_rx_or_all(p, list, have));
        have = 0;
    }
    return any;
}

static mosa_rx derive_multiple(mosa_rx_pool *p, mosa_rx_node n, uint8_t byte) {
    uint32_t scale = n.c >> 8, point = n.c & 255;
    if (byte == '.' && point == 0) return mosa_rx_multiple_after(p, n.a, scale, n.b, 1);
    if (byte < '0' || byte > '9') return MOSA_RX_NONE;
    if (point > scale) return byte == '0' ? mosa_rx_multiple_after(p, n.a, scale, n.b, point) : MOSA_RX_NONE;
    uint32_t remainder = (uint32_t)(((uint64_t)n.b * 10 + (uint64_t)(byte - '0')) % n.a);
    return mosa_rx_multiple_after(p, n.a, scale, remainder, point ? point + 1 : 0);
}

static mosa_rx derive_new(mosa_rx_pool *p, mosa_rx r, uint8_t byte, int depth) {
    mosa_rx_node n = p->nodes[r];
    switch (n.kind) {
    case MOSA_RX_KIND_SET:
        return mosa_byte_set_has(&p->sets[n.a], byte) ? MOSA_RX_EPS : MOSA_RX_NONE;
    case MOSA_RX_KIND_CAT: {
        mosa_rx first = mosa_rx_cat(p, derive(p, n.a, byte, depth), n.b);
        return p->nodes[n.a].nullable ? mosa_rx_or(p, first, derive(p, n.b, byte, depth)) : first;
    }
    case MOSA_RX_KIND_OR:
    case MOSA_RX_KIND_AND:
        return derive_args(p, n, byte, depth);
    case MOSA_RX_KIND_NOT:
        return mosa_rx_not(p, derive(p, n.a, byte, depth));
    case MOSA_RX_KIND_REPEAT: {
        uint32_t max = n.c == MOSA_RX_FOREVER ? n.c : n.c - 1;
        mosa_rx first = derive(p, n.a, byte, depth);
        return mosa_rx_cat(p, first, mosa_rx_repeat(p, n.a, n.b ? n.b - 1 : 0, max));
    }
    case MOSA_RX_KIND_MULTIPLE:
        return derive_multiple(p, n, byte);
    default:
        return n.kind == MOSA_RX_KIND_ALL ? MOSA_RX_ALL : MOSA_RX_NONE;
    }
}

static mosa_rx derive(mosa_rx_pool *p, mosa_rx r, uint8_t byte, int depth) {
    if (r <= MOSA_RX_ALL) return r == MOSA_RX_ALL ? r : MOSA_RX_NONE;
    if (depth > DERIVE_DEPTH_MAX || p->budget <= 0) p->failed = true;
    if (p->failed) return MOSA_RX_NONE;
    uint64_t key = ((uint64_t)r << 8 | byte) + 1;
    mosa_rx_memo *slot = &p->memo[(key * 0x9e3779b97f4a7c15u >> 40) & MEMO_MASK];
    if (slot->key == key) return slot->value;
    p->budget -= p->nodes[r].kind == MOSA_RX_KIND_OR || p->nodes[r].kind == MOSA_RX_KIND_AND ? p->nodes[r].b : 1;
    mosa_rx value = derive_new(p, r, byte, depth + 1);
    if (!p->failed) *slot = (mosa_rx_memo){key, value};
    return value;
}

mosa_rx mosa_rx_derive(mosa_rx_pool *p, mosa_rx r, uint8_t byte) {
    return derive(p, r, byte, 0);
}

// --- emptiness

// Depth first over derivatives until one matches the empty string. stack holds (node, next class) pairs; every node on
// it has a path to the newest, so that a match settles all of them; nodes left without one match nothing.
static bool search(mosa_rx_pool *p, mosa_rx start) {
    uint32_t n = 0, seen = 0, first_seen = ++p->search;
    p->stack[n++] = start;
    p->stack[n++] = 0;
    p->nodes[start].marked = first_seen;
    while (n) {
        mosa_rx r = p->stack[n - 2];
        uint32_t class = p->stack[n - 1]++;
        if (class == (uint32_t)p->class_count) {
            n -= 2;
            continue;
        }
        mosa_rx d = mosa_rx_derive(p, r, p->class_byte[class]);
        if (p->failed) return true;
        mosa_rx_node *x = &p->nodes[d];
        bool found = x->known == 1 || x->nullable || (!x->logical && d != MOSA_RX_NONE);
        if (found) {
            for (uint32_t i = 0; i < n; i += 2) p->nodes[p->stack[i]].known = 1;
            return true;
        }
        if (x->known == 2 || x->marked == first_seen) continue;
        x->marked = first_seen;
        if (++seen > SEARCH_MAX || n + 2 > MOSA_RX_NODES_MAX) {
            p->failed = true;
            return true;
        }
        p->stack[n++] = d;
        p->stack[n++] = 0;
    }
    p->nodes[start].known = 2;
    return false;
}

mosa_rx mosa_rx_prune(mosa_rx_pool *p, mosa_rx r) {
    const mosa_rx_node *n = &p->nodes[r];
    if (!n->logical || n->known == 1) return r;
    if (n->known == 2) return MOSA_RX_NONE;
    if (n->nullable) return r;
    mosa_rx_classes(p);
    return search(p, r) ? r : MOSA_RX_NONE;
}

bool mosa_rx_matches(mosa_rx_pool *p, mosa_rx r, mosa_slice text) {
    for (size_t i = 0; i < text.len && r != MOSA_RX_NONE; i++) r = mosa_rx_derive(p, r, (uint8_t)text.data[i]);
    return p->nodes[r].nullable;
}
