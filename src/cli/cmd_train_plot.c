// mosa train plot: the curves of one or more runs, in the terminal or in a file.
#include "base/out_file.h"
#include "cli/command.h"
#include "cli/help.h"
#include "cli/plot.h"
#include "train/run_log.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

typedef struct plot_values {
    const char *svg, *html;
    mosa_string_list metrics;
    double smooth;
    int64_t width, height;
} plot_values;

static const mosa_option options[] = {
    {.flag = "--metrics",
     .type = MOSA_OPTION_LIST,
     .value = "NAME",
     .help = "What to draw, each in a panel: columns of metrics.jsonl. Else loss, eval_loss, learning_rate, grad_norm "
             "and what else the runs have.",
     MOSA_OPTION_FIELD(plot_values, metrics)},
    {.flag = "--smooth",
     .type = MOSA_OPTION_FLOAT,
     .fallback = "0.6",
     .min = 0,
     .max = 0.999,
     .help = "Smoothing of losses; the values themselves stay visible behind.",
     MOSA_OPTION_FIELD(plot_values, smooth)},
    {.flag = "--svg",
     .type = MOSA_OPTION_STRING,
     .value = "FILE",
     .help = "Write a picture instead.",
     MOSA_OPTION_FIELD(plot_values, svg)},
    {.flag = "--html",
     .type = MOSA_OPTION_STRING,
     .value = "FILE",
     .help = "Write a page with the picture and the last values.",
     MOSA_OPTION_FIELD(plot_values, html)},
    {.flag = "--width",
     .type = MOSA_OPTION_INT,
     .fallback = "0",
     .min = 0,
     .max = 1000,
     .help = "Columns of the terminal; 0 = as it is.",
     MOSA_OPTION_FIELD(plot_values, width)},
    {.flag = "--height",
     .type = MOSA_OPTION_INT,
     .fallback = "12",
     .min = 3,
     .max = 200,
     .help = "Lines of a panel.",
     MOSA_OPTION_FIELD(plot_values, height)},
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

enum { METRICS_MAX = 64 };

typedef struct plotting {
    const plot_values *values;
    mosa_arena *arena;
    const mosa_string_list *runs;
    json_t **rows; // (runs->count) arrays
    const char *metrics[METRICS_MAX];
    size_t n_metrics;
    mosa_panel panels[METRICS_MAX];
} plotting;

static bool has_metric(const plotting *p, const char *name) {
    for (size_t i = 0; i < p->n_metrics; i++)
        if (strcmp(p->metrics[i], name) == 0) return true;
    return false;
}

static bool runs_have(const plotting *p, const char *name) {
    for (size_t r = 0; r < p->runs->count; r++)
        for (size_t i = 0; i < json_array_size(p->rows[r]); i++)
            if (json_is_number(json_object_get(json_array_get(p->rows[r], i), name))) return true;
    return false;
}

static void add_metric(plotting *p, const char *name) {
    if (p->n_metrics < METRICS_MAX && !has_metric(p, name)) p->metrics[p->n_metrics++] = name;
}

static void choose_metrics(plotting *p) {
    static const char *const first[] = {"loss", "eval_loss", "learning_rate", "grad_norm"};
    static const char *const left_out[] = {"step", "epoch", "loss", "total_tokens", "elapsed_seconds"};
    for (size_t i = 0; i < p->values->metrics.count; i++) add_metric(p, p->values->metrics.items[i]);
    if (p->n_metrics) return;
    for (size_t i = 0; i < MOSA_COUNT(first); i++)
        if (runs_have(p, first[i])) add_metric(p, first[i]);
    for (size_t r = 0; r < p->runs->count; r++)
        for (size_t i = 0; i < json_array_size(p->rows[r]); i++) {
            const char *name;
            json_t *value;
            json_object_foreach(json_array_get(p->rows[r], i), name, value) {
                bool wanted = json_is_number(value);
                for (size_t k = 0; k < MOSA_COUNT(left_out); k++) wanted = wanted && strcmp(name, left_out[k]) != 0;
                if (wanted) add_metric(p, name);
            }
        }
}

// Points of one metric of one run; *out gets them as they are, out[1] smoothed.
static mosa_status make_curves(plotting *p, size_t run, const char *metric, mosa_curve out[2], mosa_error *err) {
    size_t n = json_array_size(p->rows[run]), used = 0;
    double *x = MOSA_ARENA_ARRAY(p->arena, double, n), *y = MOSA_ARENA_ARRAY(p->arena, double, n),
           *smooth = MOSA_ARENA_ARRAY(p->arena, double, n);
    if (!x || !y || !smooth) return mosa_fail(err, MOSA_ENOMEM, "out of memory for curves");
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(p->rows[run], i), *value = json_object_get(row, metric);
        if (!value) continue;
        x[used] = (double)json_integer_value(json_object_get(row, "step"));
        y[used++] = json_is_number(value) ? json_number_value(value) : NAN;
    }
    const char *name = p->runs->count > 1 ? p->runs->items[run] : metric;
    bool loss = strcmp(metric, "loss") == 0 || strcmp(metric, "grad_norm") == 0;
    mosa_plot_smooth(y, used, loss ? p->values->smooth : 0, smooth);
    out[0] = (mosa_curve){name, x, y, loss ? used : 0, (int)run, true};
    out[1] = (mosa_curve){name, x, smooth, used, (int)run, false};
    return MOSA_OK;
}

static mosa_status make_panels(plotting *p, mosa_error *err) {
    for (size_t m = 0; m < p->n_metrics; m++) {
        mosa_curve *curves = MOSA_ARENA_ARRAY(p->arena, mosa_curve, 2 * p->runs->count);
        if (!curves) return mosa_fail(err, MOSA_ENOMEM, "out of memory for curves");
        if (!runs_have(p, p->metrics[m]))
            return mosa_fail(err, MOSA_ENOTFOUND, "%s: has no metric '%s'", p->runs->items[0], p->metrics[m]);
        for (size_t r = 0; r < p->runs->count; r++) MOSA_TRY(make_curves(p, r, p->metrics[m], curves + 2 * r, err));
        p->panels[m] = (mosa_panel){p->metrics[m], curves, 2 * p->runs->count};
    }
    return MOSA_OK;
}

static mosa_status save(const char *path, mosa_buf *text, mosa_error *err) {
    mosa_status status = mosa_buf_failed(text) ? mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path)
                                               : mosa_out_file_save(path, text->data, text->len, err);
    mosa_buf_finish(text);
    return status;
}

static mosa_status write_svg(const plotting *p, mosa_error *err) {
    mosa_buf text = {0};
    mosa_plot_svg(p->panels, p->n_metrics, &text);
    return save(p->values->svg, &text, err);
}

static mosa_status write_html(const plotting *p, mosa_error *err) {
    mosa_buf text = {0};
    mosa_buf_append_str(&text, "<!doctype html><meta charset=\"utf-8\"><title>Training run</title>\n<style>body{"
                               "font-family:sans-serif;margin:2em}td,th{padding:.2em 1em;text-align:right}</style>\n");
    mosa_plot_svg(p->panels, p->n_metrics, &text);
    mosa_buf_append_str(&text, "<table><tr><th>metric<th>curve<th>last\n");
    for (size_t m = 0; m < p->n_metrics; m++)
        for (size_t c = 0; c < p->panels[m].n_curves; c++) {
            const mosa_curve *curve = &p->panels[m].curves[c];
            if (curve->faint || curve->n == 0) continue;
            mosa_buf_append_str(&text, "<tr><td>");
            mosa_plot_escape(p->panels[m].title, &text);
            mosa_buf_append_str(&text, "<td>");
            mosa_plot_escape(curve->name, &text);
            mosa_buf_printf(&text, "<td>%.6g\n", curve->y[curve->n - 1]);
        }
    mosa_buf_append_str(&text, "</table>\n");
    return save(p->values->html, &text, err);
}

static mosa_status print_curves(const plotting *p, mosa_error *err) {
    struct winsize size;
    bool terminal = isatty(STDOUT_FILENO);
    int columns = (int)p->values->width;
    if (columns == 0) columns = terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 80;
    mosa_buf text = {0};
    for (size_t m = 0; m < p->n_metrics; m++) {
        mosa_plot_terminal(&p->panels[m], columns - 12, (int)p->values->height, terminal && !getenv("NO_COLOR"), &text);
        mosa_buf_append_char(&text, '\n');
    }
    return mosa_print(&text, err);
}

static mosa_status draw(plotting *p, mosa_error *err) {
    for (size_t r = 0; r < p->runs->count; r++) MOSA_TRY(mosa_run_log_read(p->runs->items[r], &p->rows[r], err));
    choose_metrics(p);
    if (p->n_metrics == 0) return mosa_fail(err, MOSA_ENOTFOUND, "%s: has no metrics yet", p->runs->items[0]);
    MOSA_TRY(make_panels(p, err));
    if (p->values->svg) MOSA_TRY(write_svg(p, err));
    if (p->values->html) MOSA_TRY(write_html(p, err));
    return p->values->svg || p->values->html ? MOSA_OK : print_curves(p, err);
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    plotting p = {.values = call->values, .arena = call->arena, .runs = &call->arguments};
    p.rows = MOSA_ARENA_ARRAY(call->arena, json_t *, p.runs->count);
    if (!p.rows) return mosa_fail(err, MOSA_ENOMEM, "out of memory for %zu runs", p.runs->count);
    mosa_status status = draw(&p, err);
    for (size_t r = 0; r < p.runs->count; r++) json_decref(p.rows[r]);
    return status;
}

extern const mosa_command mosa_command_train_plot;
const mosa_command mosa_command_train_plot = {
    .name = "train plot",
    .group = MOSA_GROUP_TRAIN,
    .summary = "Draw the curves of training runs",
    .usage = "RUN...",
    .description = "Reads metrics.jsonl of each run's folder, also while it is running.\n\n"
                   "  mosa train plot runs/first\n"
                   "  mosa train plot runs/first runs/second --metrics loss --html curves.html",
    .options = &table,
    .values_bytes = sizeof(plot_values),
    .min_arguments = 1,
    .max_arguments = 16,
    .run = run,
};
