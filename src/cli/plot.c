// Scaling, dots and SVG of curves.
#include "cli/plot.h"

#include "base/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DOTS_X = 2, DOTS_Y = 4, PALETTE = 6, AXIS = 10 };

typedef struct box {
    double x0, x1, y0, y1;
} box;

static const char *const svg_colours[PALETTE] = {"#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf"};
static const int terminal_colours[PALETTE] = {34, 31, 32, 33, 35, 36};

void mosa_plot_smooth(const double *y, size_t n, double weight, double *out) {
    double mean = 0, share = 0;
    for (size_t i = 0; i < n; i++) {
        out[i] = y[i];
        if (!isfinite(y[i])) continue;
        mean = mean * weight + (1 - weight) * y[i];
        share = share * weight + (1 - weight);
        out[i] = mean / share;
    }
}

static bool find_box(const mosa_panel *panel, box *out) {
    box b = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    for (size_t c = 0; c < panel->n_curves; c++)
        for (size_t i = 0; i < panel->curves[c].n; i++) {
            if (!isfinite(panel->curves[c].y[i])) continue;
            b.x0 = fmin(b.x0, panel->curves[c].x[i]);
            b.x1 = fmax(b.x1, panel->curves[c].x[i]);
            b.y0 = fmin(b.y0, panel->curves[c].y[i]);
            b.y1 = fmax(b.y1, panel->curves[c].y[i]);
        }
    if (!(b.x0 <= b.x1)) return false;
    if (b.x1 - b.x0 <= 0) b.x1 = b.x0 + 1;
    double margin = 0.04 * (b.y1 - b.y0);
    if (margin <= 0) margin = fabs(b.y0) > 0 ? 0.05 * fabs(b.y0) : 1;
    b.y0 -= margin;
    b.y1 += margin;
    *out = b;
    return true;
}

// --- terminal -----------------------------------------------------------------------------------------------------

typedef struct canvas {
    int columns, lines;
    unsigned char *dots; // (lines, columns) braille bits
    signed char *colour; // (lines, columns) index, -1 = none
} canvas;

static void put_dot(canvas *c, int x, int y, const mosa_curve *curve) {
    static const unsigned char bits[DOTS_Y][DOTS_X] = {{1, 8}, {2, 16}, {4, 32}, {64, 128}};
    if (x < 0 || y < 0 || x >= c->columns * DOTS_X || y >= c->lines * DOTS_Y) return;
    size_t cell = (size_t)(y / DOTS_Y) * (size_t)c->columns + (size_t)(x / DOTS_X);
    c->dots[cell] |= bits[y % DOTS_Y][x % DOTS_X];
    if (!curve->faint || c->colour[cell] < 0) c->colour[cell] = (signed char)(curve->colour % PALETTE);
}

static void put_line(canvas *c, int x0, int y0, int x1, int y1, const mosa_curve *curve) {
    int dx = abs(x1 - x0), dy = abs(y1 - y0), steps = dx > dy ? dx : dy;
    for (int i = 0; i <= steps; i++)
        put_dot(c, steps ? x0 + (x1 - x0) * i / steps : x0, steps ? y0 + (y1 - y0) * i / steps : y0, curve);
}

static void draw_curve(canvas *c, const box *b, const mosa_curve *curve) {
    int last_x = 0, last_y = 0, width = c->columns * DOTS_X - 1, height = c->lines * DOTS_Y - 1;
    bool joined = false;
    for (size_t i = 0; i < curve->n; i++) {
        if (!isfinite(curve->y[i])) {
            joined = false;
            continue;
        }
        int x = (int)lround((curve->x[i] - b->x0) / (b->x1 - b->x0) * width);
        int y = (int)lround((b->y1 - curve->y[i]) / (b->y1 - b->y0) * height);
        if (joined)
            put_line(c, last_x, last_y, x, y, curve);
        else
            put_dot(c, x, y, curve);
        last_x = x, last_y = y, joined = true;
    }
}

static void print_rows(const canvas *c, const box *b, bool colours, mosa_buf *out) {
    for (int line = 0; line < c->lines; line++) {
        bool marked = line == 0 || line == c->lines - 1 || line == c->lines / 2;
        double y = b->y1 - (b->y1 - b->y0) * (line + 0.5) / c->lines;
        if (marked)
            mosa_buf_printf(out, "%*.4g \xe2\x94\xa4", AXIS - 2, y);
        else
            mosa_buf_printf(out, "%*s\xe2\x94\x82", AXIS - 1, "");
        for (int column = 0; column < c->columns; column++) {
            size_t cell = (size_t)line * (size_t)c->columns + (size_t)column;
            unsigned dots = c->dots[cell];
            if (dots == 0) {
                mosa_buf_append_char(out, ' ');
                continue;
            }
            if (colours) mosa_buf_printf(out, "\033[%dm", terminal_colours[c->colour[cell]]);
            const char glyph[] = {(char)0xe2, (char)(0xa0 | dots >> 6), (char)(0x80 | (dots & 63))}; // U+2800 + dots
            mosa_buf_append(out, glyph, sizeof glyph);
            if (colours) mosa_buf_append_str(out, "\033[0m");
        }
        mosa_buf_append_char(out, '\n');
    }
}

static void print_legend(const mosa_panel *panel, bool colours, mosa_buf *out) {
    mosa_buf_printf(out, "%*s", AXIS, "");
    for (size_t i = 0; i < panel->n_curves; i++) {
        const mosa_curve *curve = &panel->curves[i];
        if (curve->faint || curve->n == 0) continue;
        if (colours) mosa_buf_printf(out, "\033[%dm", terminal_colours[curve->colour % PALETTE]);
        mosa_buf_printf(out, "%s %.4g%s  ", curve->name, curve->y[curve->n - 1], colours ? "\033[0m" : "");
    }
    mosa_buf_append_char(out, '\n');
}

void mosa_plot_terminal(const mosa_panel *panel, int columns, int lines, bool colours, mosa_buf *out) {
    box b;
    if (columns < 4 || lines < 3 || !find_box(panel, &b)) return;
    size_t cells = (size_t)columns * (size_t)lines;
    canvas c = {columns, lines, calloc(cells, 1), malloc(cells)};
    if (c.dots && c.colour) {
        memset(c.colour, -1, cells);
        for (int faint = 1; faint >= 0; faint--)
            for (size_t i = 0; i < panel->n_curves; i++)
                if (panel->curves[i].faint == (bool)faint) draw_curve(&c, &b, &panel->curves[i]);
        mosa_buf_printf(out, "%*s%s\n", AXIS, "", panel->title);
        print_rows(&c, &b, colours, out);
        char first[32], last[32];
        snprintf(first, sizeof first, "%.6g", b.x0);
        snprintf(last, sizeof last, "%.6g", b.x1);
        mosa_buf_printf(out, "%*s%s%*s\n", AXIS, "", first, columns - (int)strlen(first), last);
        print_legend(panel, colours, out);
    } else {
        out->failed = true;
    }
    free(c.dots);
    free(c.colour);
}

// --- SVG ----------------------------------------------------------------------------------------------------------

enum { PANEL_W = 460, PANEL_H = 260, LEFT = 64, TOP = 36, CELL_W = PANEL_W + LEFT + 24, CELL_H = PANEL_H + TOP + 44 };

void mosa_plot_escape(const char *words, mosa_buf *out) {
    for (; *words; words++) switch (*words) {
        case '<':
            mosa_buf_append_str(out, "&lt;");
            break;
        case '>':
            mosa_buf_append_str(out, "&gt;");
            break;
        case '&':
            mosa_buf_append_str(out, "&amp;");
            break;
        default:
            mosa_buf_append_char(out, *words);
        }
}

static void svg_text(mosa_buf *out, double x, double y, const char *anchor, const char *colour, const char *words) {
    mosa_buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"%s\">", x, y, anchor, colour);
    mosa_plot_escape(words, out);
    mosa_buf_append_str(out, "</text>\n");
}

static void svg_curve(const mosa_curve *curve, const box *b, double x0, double y0, mosa_buf *out) {
    bool open = false;
    for (size_t i = 0; i <= curve->n; i++) {
        if (i == curve->n || !isfinite(curve->y[i])) {
            if (open) mosa_buf_append_str(out, "\"/>\n");
            open = false;
            continue;
        }
        if (!open)
            mosa_buf_printf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\"%s points=\"",
                            svg_colours[curve->colour % PALETTE], curve->faint ? " opacity=\"0.3\"" : "");
        open = true;
        mosa_buf_printf(out, "%.1f,%.1f ", x0 + (curve->x[i] - b->x0) / (b->x1 - b->x0) * PANEL_W,
                        y0 + (b->y1 - curve->y[i]) / (b->y1 - b->y0) * PANEL_H);
    }
}

static void svg_panel(const mosa_panel *panel, double x, double y, mosa_buf *out) {
    box b;
    char words[32];
    if (!find_box(panel, &b)) b = (box){0, 1, 0, 1};
    double x0 = x + LEFT, y0 = y + TOP;
    mosa_buf_printf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"#888\"/>\n", x0,
                    y0, PANEL_W, PANEL_H);
    svg_text(out, x0 + PANEL_W / 2.0, y0 - 12, "middle", "#222", panel->title);
    for (int i = 0; i <= 4; i++) {
        double gx = x0 + PANEL_W * i / 4.0, gy = y0 + PANEL_H * (1 - i / 4.0);
        mosa_buf_printf(out, "<path d=\"M%.1f %.1fv%dM%.1f %.1fh%d\" stroke=\"#ddd\"/>\n", gx, y0, PANEL_H, x0, gy,
                        PANEL_W);
        snprintf(words, sizeof words, "%.5g", b.x0 + (b.x1 - b.x0) * i / 4);
        svg_text(out, gx, y0 + PANEL_H + 16, "middle", "#444", words);
        snprintf(words, sizeof words, "%.4g", b.y0 + (b.y1 - b.y0) * i / 4);
        svg_text(out, x0 - 6, gy + 4, "end", "#444", words);
    }
    int legend = 0;
    for (size_t i = 0; i < panel->n_curves; i++) {
        svg_curve(&panel->curves[i], &b, x0, y0, out);
        if (panel->curves[i].faint) continue;
        svg_text(out, x0 + PANEL_W - 8, y0 + 16 + 15 * legend++, "end", svg_colours[panel->curves[i].colour % PALETTE],
                 panel->curves[i].name);
    }
}

void mosa_plot_svg(const mosa_panel *panels, size_t n_panels, mosa_buf *out) {
    int columns = n_panels > 1 ? 2 : 1, rows = (int)(n_panels + 1) / 2;
    mosa_buf_printf(out,
                    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
                    "font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%%\" height=\"100%%\" "
                    "fill=\"#fff\"/>\n",
                    columns * CELL_W, rows * CELL_H, columns * CELL_W, rows * CELL_H);
    for (size_t i = 0; i < n_panels; i++)
        svg_panel(&panels[i], (double)(i % 2) * CELL_W, (double)(i / 2) * CELL_H, out);
    mosa_buf_append_str(out, "</svg>\n");
}
