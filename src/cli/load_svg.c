// The picture of a load test: two panels of SVG, drawn without a library.
#include "cli/load_report.h"

#include <math.h>

enum { PANEL_W = 420, PANEL_H = 280, LEFT = 56, TOP = 36, GAP = 84, CURVE_POINTS = 200, DOTS_MAX = 4000 };

static const char *const colours[MOSA_LOAD_METRICS] = {"#1f77b4", "#d62728", "#ff9896", "#2ca02c"};

typedef struct panel {
    double x, y;   // its upper left corner
    double lo, hi; // of the horizontal axis; as logarithms when `log` is set
    double top;    // of the vertical axis, which begins at 0
    bool log;
} panel;

static double clamp01(double value) {
    return value < 0 ? 0 : value > 1 ? 1 : value;
}
static double px(const panel *p, double value) {
    double at = p->log ? log10(value > 1e-3 ? value : 1e-3) : value;
    return p->x + clamp01((at - p->lo) / (p->hi - p->lo)) * PANEL_W;
}
static double py(const panel *p, double value) {
    return p->y + PANEL_H - clamp01(value / p->top) * PANEL_H;
}

static void text(mosa_buf *out, double x, double y, const char *anchor, const char *words) {
    mosa_buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, words);
}

static void frame(const panel *p, const char *title, const char *below, mosa_buf *out) {
    mosa_buf_printf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"#888\"/>\n",
                    p->x, p->y, PANEL_W, PANEL_H);
    text(out, p->x + PANEL_W / 2.0, p->y - 12, "middle", title);
    text(out, p->x + PANEL_W / 2.0, p->y + PANEL_H + 34, "middle", below);
}

static void horizontal_marks(const panel *p, mosa_buf *out) {
    char words[32];
    double step = p->log ? 1 : (p->hi - p->lo) / 5;
    for (double at = p->lo; at <= p->hi + 1e-9; at += step) {
        double x = p->x + (at - p->lo) / (p->hi - p->lo) * PANEL_W;
        snprintf(words, sizeof words, "%.4g", p->log ? pow(10, at) : at);
        mosa_buf_printf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", x, p->y, x,
                        p->y + PANEL_H);
        text(out, x, p->y + PANEL_H + 16, "middle", words);
    }
}

static void vertical_marks(const panel *p, mosa_buf *out) {
    char words[32];
    for (int i = 0; i <= 4; i++) {
        snprintf(words, sizeof words, "%.4g", p->top * i / 4);
        text(out, p->x - 6, py(p, p->top * i / 4) + 4, "end", words);
    }
}

static void curve(const panel *p, const mosa_load_samples *samples, const char *colour, mosa_buf *out) {
    if (samples->count == 0) return;
    mosa_buf_printf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"", colour);
    for (int i = 0; i <= CURVE_POINTS; i++) {
        double share = 100.0 * i / CURVE_POINTS;
        mosa_buf_printf(out, "%.1f,%.1f ", px(p, mosa_load_percentile(samples, share)), py(p, share));
    }
    mosa_buf_append_str(out, "\"/>\n");
}

static void draw_distributions(const mosa_load_report *report, mosa_buf *out) {
    double lo = INFINITY, hi = -INFINITY;
    for (int m = 0; m < MOSA_LOAD_METRICS; m++) {
        if (report->samples[m].count == 0) continue;
        lo = fmin(lo, mosa_load_percentile(&report->samples[m], 0));
        hi = fmax(hi, mosa_load_percentile(&report->samples[m], 100));
    }
    if (!(lo <= hi)) lo = hi = 1;
    panel p = {LEFT, TOP, floor(log10(fmax(lo, 1e-3))), ceil(log10(fmax(hi, 1e-3))), 100, true};
    if (p.hi <= p.lo) p.hi = p.lo + 1;
    horizontal_marks(&p, out);
    vertical_marks(&p, out);
    frame(&p, "Share of requests (%) within a latency", "milliseconds", out);
    for (int m = 0; m < MOSA_LOAD_METRICS; m++) {
        curve(&p, &report->samples[m], colours[m], out);
        mosa_buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">%s</text>\n", p.x + 10, p.y + 18 + 16 * m,
                        colours[m], mosa_load_metric_names[m]);
    }
}

static void draw_timeline(const mosa_load_report *report, const mosa_load_run *run, mosa_buf *out) {
    double top = mosa_load_percentile(&report->samples[MOSA_LOAD_TTFT], 100);
    panel p = {LEFT + PANEL_W + GAP, TOP, 0, fmax(run->duration_s, 1e-3), fmax(top, 1e-3), false};
    horizontal_marks(&p, out);
    vertical_marks(&p, out);
    frame(&p, "Time to first token (ms) of each request", "seconds into the run", out);
    size_t stride = run->count / DOTS_MAX + 1;
    for (size_t i = 0; i < run->count; i += stride) {
        const mosa_load_result *r = &run->results[i];
        mosa_buf_printf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2\" fill=\"%s\"/>\n", px(&p, r->sent_s),
                        py(&p, r->ok ? (r->first_s - r->sent_s) * 1e3 : p.top),
                        r->ok ? colours[MOSA_LOAD_TTFT] : "#d62728");
    }
}

void mosa_load_report_svg(const mosa_load_report *report, const mosa_load_run *run, mosa_buf *out) {
    int width = 2 * PANEL_W + GAP + LEFT + 24, height = PANEL_H + TOP + 48;
    mosa_buf_printf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
        "font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
        width, height, width, height);
    draw_distributions(report, out);
    draw_timeline(report, run, out);
    mosa_buf_append_str(out, "</svg>\n");
}
