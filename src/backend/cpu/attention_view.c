// One split of an attention tile: where its keys and values lie, and the steps of the contract over them.
#include "backend/cpu/attention.h"

#include "backend/cpu/rows.h"

#include <string.h>

static const unsigned char *page_group(const mosa_attention_tile *tile, int32_t position, bool value) {
    const mosa_cpu_args *args = tile->args;
    return mosa_kv_group_at(args->in[1], tile->segment, args->node->attrs.attention.layer, tile->kv_head, position,
                            value);
}

// The row of an operand for a position of a packed segment, from the tile's head on.
static const float *packed_row(const mosa_attention_tile *tile, int operand, int width, int32_t position) {
    int64_t row = tile->segment->row_begin + ((int64_t)position - tile->segment->pos_begin);
    return mosa_cpu_in_row(tile->args, operand, row) + (int64_t)tile->kv_head * width;
}

static void find_groups(mosa_attention_work *work, int g0, int g1) {
    const mosa_attention_tile *tile = &work->tile;
    mosa_attention_view *view = &work->view;
    view->key_dtype = view->value_dtype = tile->dtype;
    view->value_stride = tile->value_width;
    for (int g = g0; g < g1 && tile->paged; g++) {
        int32_t position = view->split + g * MOSA_KV_GROUP;
        view->key[g] = page_group(tile, position, false);
        if (!tile->in_key) view->value[g] = page_group(tile, position, true);
    }
    if (tile->paged) return;
    int operand = tile->in_key ? 1 : 2, width = tile->in_key ? tile->width : tile->value_width;
    view->value_stride = tile->args->in_stride[operand] / (int64_t)sizeof(float);
    for (int g = g0; g < g1; g++)
        view->value[g] = (const unsigned char *)packed_row(tile, operand, width, view->split + g * MOSA_KV_GROUP);
}

// Keys of packed rows as groups [width][16], as many at once as there is room for.
static void score_packed(mosa_attention_work *work, const mosa_attention_math *math, int begin, int end, int g0,
                         int g1) {
    const mosa_attention_tile *tile = &work->tile;
    mosa_attention_view *view = &work->view;
    size_t group_bytes = (size_t)tile->width * MOSA_KV_GROUP * sizeof(float);
    int at_once = (int)(MOSA_TILE_TURNED / group_bytes);
    for (int g = g0; g < g1; g += at_once) {
        int last = g + at_once < g1 ? g + at_once : g1;
        for (int i = g; i < last; i++) {
            float *to = (float *)(void *)(work->turned + (size_t)(i - g) * group_bytes);
            view->key[i] = (const unsigned char *)to;
            for (int lane = 0; lane < MOSA_KV_GROUP; lane++) {
                // Rows outside of the segment may not exist: an edge stands for them.
                int at = mosa_attention_clamp(i * MOSA_KV_GROUP + lane, view->from, view->to - 1);
                const float *key = packed_row(tile, 1, tile->width, view->split + at);
                for (int c = 0; c < tile->width; c++) to[c * MOSA_KV_GROUP + lane] = key[c];
            }
        }
        math->scores(work, begin, end, g, last);
    }
}

// ---- values that are part of the keys of pages

static void turn_group(const mosa_attention_tile *tile, const unsigned char *key, float *to) {
    for (int c = 0; c < tile->value_width; c++)
        for (int lane = 0; lane < MOSA_KV_GROUP; lane++) {
            int from = c * MOSA_KV_GROUP + lane;
            to[lane * tile->value_width + c] = tile->dtype == MOSA_F32
                                                   ? ((const float *)(const void *)key)[from]
                                                   : mosa_f16_to_f32(((const uint16_t *)(const void *)key)[from]);
        }
}

static void values_in_keys(mosa_attention_work *work, const mosa_attention_math *math, int begin, int end, int g0,
                           int g1) {
    const mosa_attention_tile *tile = &work->tile;
    mosa_attention_view *view = &work->view;
    size_t group_bytes = (size_t)tile->value_width * MOSA_KV_GROUP * sizeof(float);
    int at_once = (int)(MOSA_TILE_TURNED / group_bytes);
    view->value_dtype = MOSA_F32;
    for (int g = g0; g < g1; g += at_once) {
        int last = g + at_once < g1 ? g + at_once : g1;
        for (int i = g; i < last; i++) {
            float *to = (float *)(void *)(work->turned + (size_t)(i - g) * group_bytes);
            turn_group(tile, view->key[i], to);
            view->value[i] = (const unsigned char *)to;
        }
        math->values(work, begin, end, g, last);
    }
}

static void turn_group_q8(const mosa_attention_tile *tile, const unsigned char *key, unsigned char *to) {
    for (int c = 0; c < tile->value_width; c++)
        for (int lane = 0; lane < MOSA_KV_GROUP; lane++)
            to[lane / 2 * tile->value_width * 2 + 2 * c + lane % 2] =
                (unsigned char)(key[c / 4 * 64 + lane * 4 + c % 4] - 128);
}

static void values_in_keys_q8(mosa_attention_work *work, const mosa_attention_math *math, int begin, int end, int g0,
                              int g1) {
    const mosa_attention_tile *tile = &work->tile;
    mosa_attention_view *view = &work->view;
    for (int g = g0; g < g1; g++) {
        unsigned char *to = work->turned + (size_t)g * (size_t)tile->value_width * MOSA_KV_GROUP;
        turn_group_q8(tile, view->key[g], to);
        view->value[g] = to;
    }
    size_t scales = mosa_kv_key_scales(tile->width);
    for (int c = 0; c < tile->value_width; c += MOSA_KV_BLOCK) {
        for (int g = g0; g < g1; g++) {
            const uint16_t *from = (const uint16_t *)(const void *)(view->key[g] + scales) + c / MOSA_KV_BLOCK * 16;
            for (int i = 0; i < MOSA_KV_GROUP; i++) work->scale[g * MOSA_KV_GROUP + i] = mosa_f16_to_f32(from[i]);
        }
        math->weigh(work, begin, end, g0, g1);
        int left = tile->value_width - c;
        math->values_q8(work, begin, end, g0, g1, c, left < MOSA_KV_BLOCK ? left : MOSA_KV_BLOCK);
    }
}

static void values_q8(mosa_attention_work *work, const mosa_attention_math *math, int begin, int end, int g0, int g1) {
    size_t scales = mosa_kv_value_scales(work->tile.value_width);
    for (int g = g0; g < g1; g++)
        memcpy(work->scale + g * MOSA_KV_GROUP, work->view.value[g] + scales, MOSA_KV_GROUP * sizeof(float));
    math->weigh(work, begin, end, g0, g1);
    math->values_q8(work, begin, end, g0, g1, 0, work->tile.value_width);
}

static void add_values(mosa_attention_work *work, const mosa_attention_math *math, int begin, int end, int g0, int g1) {
    const mosa_attention_tile *tile = &work->tile;
    bool in_key_pages = tile->in_key && tile->paged;
    if (tile->dtype == MOSA_Q8_0) {
        (in_key_pages ? values_in_keys_q8 : values_q8)(work, math, begin, end, g0, g1);
        return;
    }
    memset(work->acc + (int64_t)begin * tile->value_width, 0,
           sizeof(float) * (size_t)(end - begin) * (size_t)tile->value_width);
    if (in_key_pages)
        values_in_keys(work, math, begin, end, g0, g1);
    else
        math->values(work, begin, end, g0, g1);
}

void mosa_attention_split(mosa_attention_work *work, const mosa_attention_math *math, int32_t split, int begin,
                          int end) {
    const mosa_attention_tile *tile = &work->tile;
    mosa_attention_view *view = &work->view;
    view->split = split;
    view->from = mosa_attention_clamp(tile->lo[begin] - split, 0, MOSA_ATTENTION_SPLIT);
    view->to = mosa_attention_clamp(tile->end[end - 1] - split, 0, MOSA_ATTENTION_SPLIT);
    int g0 = view->from / MOSA_KV_GROUP, g1 = (view->to + MOSA_KV_GROUP - 1) / MOSA_KV_GROUP;
    find_groups(work, g0, g1);
    if (tile->paged)
        math->scores(work, begin, end, g0, g1);
    else
        score_packed(work, math, begin, end, g0, g1);
    for (int i = begin; i < end; i++)
        math->soften(work, i, mosa_attention_clamp(tile->lo[i] - split, 0, MOSA_ATTENTION_SPLIT),
                     mosa_attention_clamp(tile->end[i] - split, 0, MOSA_ATTENTION_SPLIT), g0, g1);
    add_values(work, math, begin, end, g0, g1);
}
