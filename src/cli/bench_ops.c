// From profile rows to a table and to JSON.
#include "cli/bench_ops.h"

#include <stdio.h>
#include <string.h>

// Products with block types run on int8, everything else on f32.
static bool runs_on_int8(const char *name) {
    const char *type = strrchr(name, ' ');
    bool matrix = strstr(name, "linear") && type;
    return matrix && strcmp(type, " f32") != 0 && strcmp(type, " f16") != 0 && strcmp(type, " bf16") != 0;
}

static double limit_s(const mosa_profile_row *row, const mosa_limits *limits) {
    double rate = runs_on_int8(row->name) ? limits->int8_ops_per_s : limits->f32_ops_per_s;
    double compute = rate > 0 ? row->flops / rate : 0;
    double memory = limits->read_bytes_per_s > 0 ? row->bytes / limits->read_bytes_per_s : 0;
    return compute > memory ? compute : memory;
}

static double seconds(const mosa_profile_row *row) {
    return (double)row->ns * 1e-9;
}

void mosa_bench_ops_print(const char *title, const mosa_engine *engine, const mosa_limits *limits) {
    mosa_profile_row rows[MOSA_PROFILE_ROWS_MAX];
    int n = mosa_engine_get_profile(engine, rows, MOSA_PROFILE_ROWS_MAX);
    double all = 0;
    for (int i = 0; i < n; i++) all += seconds(&rows[i]);
    printf("\n%-24s %8s %10s %7s %10s %10s %10s\n", title, "calls", "ms", "share", "GB/s", "Gop/s", "of limit");
    for (int i = 0; i < n; i++) {
        double s = seconds(&rows[i]);
        if (s <= 0) continue;
        printf("%-24s %8llu %10.2f %6.1f%% %10.2f %10.1f %9.0f%%\n", rows[i].name, (unsigned long long)rows[i].calls,
               s * 1e3, 100 * s / all, rows[i].bytes / s * 1e-9, rows[i].flops / s * 1e-9,
               100 * limit_s(&rows[i], limits) / s);
    }
}

json_t *mosa_bench_ops_json(const mosa_engine *engine, const mosa_limits *limits) {
    mosa_profile_row rows[MOSA_PROFILE_ROWS_MAX];
    int n = mosa_engine_get_profile(engine, rows, MOSA_PROFILE_ROWS_MAX);
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:I, s:f, s:f, s:f, s:f}", "op", rows[i].name, "calls",
                                        (json_int_t)rows[i].calls, "seconds", seconds(&rows[i]), "bytes", rows[i].bytes,
                                        "operations", rows[i].flops, "limit_seconds", limit_s(&rows[i], limits)));
    return list;
}
