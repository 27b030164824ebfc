/* eval_chart.c: the chart of --svg: a panel per task, score over length on a logarithmic axis, a
 * line per policy in the order of the table. Plain SVG text; colours are told apart without red
 * against green, and each policy has its own mark. */
#include <math.h>
#include <string.h>

#include "eval/eval_report.h"
#include "shell/out_file.h"

enum {
    PANEL_W = 260,
    PANEL_H = 180,
    GAP_X = 60,
    GAP_Y = 64,
    LEFT = 56,
    TOP = 56,
    N_ACROSS = 3,
    N_COLORS = 8,
    LEGEND_W = 130
};

static const char *const colors[N_COLORS] = { "#222222", "#0072b2", "#e69f00", "#009e73",
                                              "#cc79a7", "#d55e00", "#56b4e9", "#8c6d31" };

typedef struct {
    FILE *out;
    const eval_table *table;
    const char *tasks[64], *policies[64];
    size_t n_tasks, n_policies;
    double low, high; /* of the logarithm of the length */
} chart;

static size_t index_of(const char **names, size_t *n, size_t most, const char *name)
{
    for (size_t i = 0; i < *n; i++)
        if (!strcmp(names[i], name)) return i;
    if (*n < most) names[(*n)++] = name;
    return *n - 1;
}

static double x_of(const chart *c, int ctx)
{
    const double span = c->high - c->low;
    return span > 0 ? PANEL_W * (log2(ctx) - c->low) / span : PANEL_W / 2.0;
}

static double y_of(double score)
{
    return PANEL_H * (1 - score);
}

/* A different shape for each policy: circle, square, diamond, triangle. */
static void put_mark(const chart *c, double x, double y, size_t policy)
{
    const char *color = colors[policy % N_COLORS];
    switch (policy % 4) {
    case 0:
        fprintf(c->out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"/>\n", x, y, color);
        break;
    case 1:
        fprintf(c->out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"6\" height=\"6\" fill=\"%s\"/>\n",
                x - 3, y - 3, color);
        break;
    case 2:
        fprintf(c->out, "<path d=\"M%.1f %.1fl4 4l-4 4l-4 -4z\" fill=\"%s\"/>\n", x, y - 4, color);
        break;
    default:
        fprintf(c->out, "<path d=\"M%.1f %.1fl4 7h-8z\" fill=\"%s\"/>\n", x, y - 4, color);
        break;
    }
}

static void put_axes(const chart *c, const char *task)
{
    fprintf(c->out,
            "<text x=\"0\" y=\"-12\"><tspan font-weight=\"bold\">%s</tspan>, score</text>\n"
            "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">context, tokens</text>\n",
            task, PANEL_W / 2, PANEL_H + 34);
    for (int percent = 0; percent <= 100; percent += 25) {
        const double y = y_of(percent / 100.0);
        fprintf(c->out,
                "<line x1=\"0\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>"
                "<text x=\"-8\" y=\"%.1f\" text-anchor=\"end\">%d</text>\n",
                PANEL_W, y, y, y + 4, percent);
    }
    for (size_t i = 0; i < c->table->n; i++) {
        const eval_row *row = &c->table->rows[i];
        if (strcmp(row->task, task) != 0 || strcmp(row->policy, c->policies[0]) != 0) continue;
        fprintf(c->out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>\n",
                x_of(c, row->ctx), PANEL_H + 18, row->ctx);
    }
}

/* The line of one policy: means over depths where there are several. */
static void put_line(const chart *c, const char *task, size_t policy)
{
    double x[64], y[64];
    size_t n = 0;
    for (size_t i = 0; i < c->table->n; i++) {
        const eval_row *row = &c->table->rows[i];
        double sum = 0;
        int n_depths = 0;
        if (strcmp(row->task, task) != 0 || strcmp(row->policy, c->policies[policy]) != 0) continue;
        if (n && x[n - 1] == x_of(c, row->ctx)) continue; /* another depth of the same length */
        for (size_t k = i; k < c->table->n; k++) {
            const eval_row *other = &c->table->rows[k];
            if (strcmp(other->task, task) != 0 || other->ctx != row->ctx ||
                strcmp(other->policy, row->policy) != 0)
                continue;
            sum += other->mean.score;
            n_depths++;
        }
        if (n == sizeof x / sizeof *x) break;
        x[n] = x_of(c, row->ctx);
        y[n++] = y_of(sum / n_depths);
    }
    for (size_t i = 0; i < n; i++)
        fprintf(c->out, "%s%.1f,%.1f", i ? " " : "<polyline fill=\"none\" points=\"", x[i], y[i]);
    if (n) fprintf(c->out, "\" stroke=\"%s\" stroke-width=\"1.5\"/>\n", colors[policy % N_COLORS]);
    for (size_t i = 0; i < n; i++)
        put_mark(c, x[i], y[i], policy);
}

static void put_legend(const chart *c)
{
    for (size_t p = 0; p < c->n_policies; p++) {
        const int x = LEFT + (int)p * LEGEND_W;
        put_mark(c, x, 20, p);
        fprintf(c->out, "<text x=\"%d\" y=\"24\">%s</text>\n", x + 10, c->policies[p]);
    }
}

static void put_chart(chart *c)
{
    const size_t across = c->n_tasks < N_ACROSS ? c->n_tasks : N_ACROSS;
    const size_t down = (c->n_tasks + N_ACROSS - 1) / N_ACROSS;
    const int panels = LEFT + (int)across * (PANEL_W + GAP_X);
    const int legend = LEFT + (int)c->n_policies * LEGEND_W;
    fprintf(c->out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<title>Score over context length</title>\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
            panels > legend ? panels : legend, TOP + (int)down * (PANEL_H + GAP_Y));
    put_legend(c);
    for (size_t t = 0; t < c->n_tasks; t++) {
        fprintf(c->out, "<g transform=\"translate(%d %d)\">\n",
                LEFT + (int)(t % N_ACROSS) * (PANEL_W + GAP_X),
                TOP + 12 + (int)(t / N_ACROSS) * (PANEL_H + GAP_Y));
        put_axes(c, c->tasks[t]);
        for (size_t p = c->n_policies; p-- > 0;) /* dense on top */
            put_line(c, c->tasks[t], p);
        fputs("</g>\n", c->out);
    }
    fputs("</svg>\n", c->out);
}

int eval_chart_write(const eval_table *table, const char *path)
{
    chart c = { .table = table, .low = INFINITY, .high = -INFINITY };
    for (size_t i = 0; i < table->n; i++) {
        (void)index_of(c.tasks, &c.n_tasks, 64, table->rows[i].task);
        (void)index_of(c.policies, &c.n_policies, 64, table->rows[i].policy);
        c.low = fmin(c.low, log2(table->rows[i].ctx));
        c.high = fmax(c.high, log2(table->rows[i].ctx));
    }
    out_file out = { .file = NULL };
    const int code = out_file_open(&out, path, "chart");
    if (code) return code;
    c.out = out.file;
    put_chart(&c);
    return out_file_close(&out, true, true);
}
