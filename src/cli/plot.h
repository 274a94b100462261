// Curves over steps: in the terminal, with braille dots, and as SVG.
//
// Points whose y is not finite break a curve. Curves of one panel share its axes.
#ifndef MOSA_CLI_PLOT_H
#define MOSA_CLI_PLOT_H

#include "base/str.h"

typedef struct mosa_curve {
    const char *name;
    double *x, *y; // (n) x ascends
    size_t n;
    int colour; // index, taken modulo the palette
    bool faint; // a background to another curve; not in the legend
} mosa_curve;

typedef struct mosa_panel {
    const char *title;
    const mosa_curve *curves; // (n_curves)
    size_t n_curves;
} mosa_panel;

// `columns` by `lines` characters of dots plus axes, title and legend. Appends nothing for a panel without points.
void mosa_plot_terminal(const mosa_panel *panel, int columns, int lines, bool colours, mosa_buf *out);

// All panels, two in a row, as one <svg> element.
void mosa_plot_svg(const mosa_panel *panels, size_t n_panels, mosa_buf *out);

void mosa_plot_escape(const char *words, mosa_buf *out); // for XML and HTML

// y smoothed by an exponential mean without the bias of its beginning: TensorBoard's slider. weight 0 copies.
void mosa_plot_smooth(const double *y, size_t n, double weight, double *out);

#endif
