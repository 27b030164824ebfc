/* eval_report.c: see eval_report.h. Scores are points of 100, as RULER prints them; shares stay
 * shares. */
#include "eval/eval_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "shell/console.h"
#include "shell/json_out.h"

enum { POINTS = 100 };

/* ------------------------------------------------------------------ rows */

/* Means over what is known: figures of one record added. */
typedef struct {
    double sum[EVAL_N_FIGURES];
    int n[EVAL_N_FIGURES];
} totals;

static void add_figures(totals *t, const eval_figures *figures)
{
    const double *values = (const double *)figures;
    for (size_t i = 0; i < EVAL_N_FIGURES; i++) {
        if (isnan(values[i])) continue;
        t->sum[i] += values[i];
        t->n[i]++;
    }
}

static eval_figures mean_of(const totals *t)
{
    eval_figures mean;
    double *values = (double *)&mean;
    for (size_t i = 0; i < EVAL_N_FIGURES; i++)
        values[i] = t->n[i] ? t->sum[i] / t->n[i] : NAN;
    return mean;
}

/* Fills a row whose names and numbers are set; `differences` has room for all samples. */
static void fill_row(eval_row *row, const eval_grid *grid, const eval_records *records,
                     double *differences)
{
    totals t = { .n = { 0 } };
    eval_record like = { .ctx = row->ctx, .depth = row->depth };
    size_t n_pairs = 0;
    double worst = NAN;
    snprintf(like.task, sizeof like.task, "%s", row->task);
    for (like.index = 0; like.index < grid->samples; like.index++) {
        snprintf(like.policy, sizeof like.policy, "%s", row->policy);
        const eval_record *found = eval_records_find(records, &like);
        snprintf(like.policy, sizeof like.policy, "%s", grid->policies[0]);
        const eval_record *dense = eval_records_find(records, &like);
        if (!found || !dense) continue;
        add_figures(&t, &found->figures);
        worst = fmax(worst, found->figures.kl_worst);
        differences[n_pairs++] = found->figures.score - dense->figures.score;
    }
    row->samples = (int)n_pairs;
    row->mean = mean_of(&t);
    row->mean.kl_worst = worst;
    /* dense against itself is no measurement */
    row->paired = (eval_paired){ .p = 1 };
    if (n_pairs && row->policy != grid->policies[0])
        row->paired = eval_paired_of(differences, n_pairs, grid->seed);
}

int eval_table_make(eval_table *out, const eval_grid *grid, const eval_records *records)
{
    const size_t most = grid->n_tasks * grid->n_ctx * grid->n_depths * grid->n_policies;
    eval_table table = { calloc(most, sizeof *table.rows), 0 };
    double *differences = malloc((size_t)grid->samples * sizeof *differences);
    if (!table.rows || !differences) {
        free(table.rows);
        free(differences);
        return console_fail(EXIT_MEMORY, "out of memory for %zu rows", most);
    }
    for (size_t i = 0; i < most; i++) {
        size_t at = i;
        eval_row *row = &table.rows[table.n];
        row->policy = grid->policies[at % grid->n_policies];
        at /= grid->n_policies;
        row->depth = grid->depths[at % grid->n_depths];
        at /= grid->n_depths;
        row->ctx = grid->ctx[at % grid->n_ctx];
        row->task = grid->tasks[at / grid->n_ctx];
        fill_row(row, grid, records, differences);
        table.n += row->samples > 0;
    }
    free(differences);
    *out = table;
    return EXIT_OK;
}

void eval_table_free(eval_table *table)
{
    free(table->rows);
    *table = (eval_table){ .rows = NULL };
}

/* ------------------------------------------------------------------ formats */

/* The columns of all formats, in order. Keys before `first_extra` are what scripts rely on. */
typedef struct {
    const char *key;
    double value;
    int digits; /* behind the point, in tables */
} column;
enum { N_COLUMNS = 19 };

static void columns_of(const eval_row *row, column out[N_COLUMNS])
{
    const eval_figures *f = &row->mean;
    const eval_paired *d = &row->paired;
    const column columns[N_COLUMNS] = {
        { "score", POINTS * f->score, 1 },
        { "exact", POINTS * f->exact, 1 },
        { "agree", f->agree, 4 },
        { "kl", f->kl, 5 },
        { "kept_mass", f->kept_mass, 3 },
        { "density", f->density, 3 },
        { "ms_per_step", f->ms_per_step, 2 },
        { "needle_kept", f->needle_kept, 3 },
        { "kl_worst", f->kl_worst, 4 },
        { "top1", f->top1, 4 },
        { "tokens_per_forward", f->tokens_per_forward, 2 },
        { "score_diff", POINTS * d->mean, 1 },
        { "diff_low", POINTS * d->low, 1 },
        { "diff_high", POINTS * d->high, 1 },
        { "wins", d->n_up, 0 },
        { "losses", d->n_down, 0 },
        { "p", d->p, 3 },
        { "union_inflation", f->union_inflation, 2 },
        { "bytes_read", f->bytes_read, 0 },
    };
    memcpy(out, columns, sizeof columns);
}

static void put_json(const eval_row *row, json_out *j)
{
    column columns[N_COLUMNS];
    columns_of(row, columns);
    json_begin_object(j);
    json_key(j, "task");
    json_string(j, row->task);
    json_key(j, "ctx");
    json_int(j, row->ctx);
    json_key(j, "policy");
    json_string(j, row->policy);
    json_key(j, "samples");
    json_int(j, row->samples);
    for (size_t i = 0; i < N_COLUMNS; i++) {
        json_key(j, columns[i].key);
        json_float(j, (float)columns[i].value);
    }
    json_key(j, "depth");
    if (row->depth == EVAL_STRATIFIED)
        json_string(j, NULL);
    else
        json_int(j, row->depth);
    json_end_object(j);
}

static int write_json(const eval_table *table, FILE *out)
{
    json_out j = { .data = NULL };
    bool sound = true;
    for (size_t i = 0; i < table->n && sound; i++) {
        put_json(&table->rows[i], &j);
        sound = json_write_line(&j, out);
    }
    json_free(&j);
    return sound ? EXIT_OK : console_fail(EXIT_MEMORY, "out of memory for the rows");
}

static void write_csv(const eval_table *table, FILE *out)
{
    column columns[N_COLUMNS];
    for (size_t i = 0; i < table->n; i++) {
        const eval_row *row = &table->rows[i];
        columns_of(row, columns);
        if (i == 0) {
            fputs("task,ctx,policy,samples", out);
            for (size_t k = 0; k < N_COLUMNS; k++)
                fprintf(out, ",%s", columns[k].key);
            fputs(",depth\n", out);
        }
        const char *quote = strchr(row->policy, ',') ? "\"" : "";
        fprintf(out, "%s,%d,%s%s%s,%d", row->task, row->ctx, quote, row->policy, quote,
                row->samples);
        for (size_t k = 0; k < N_COLUMNS; k++)
            if (isnan(columns[k].value))
                fputc(',', out);
            else
                fprintf(out, ",%.7g", columns[k].value);
        if (row->depth == EVAL_STRATIFIED)
            fputs(",\n", out);
        else
            fprintf(out, ",%d\n", row->depth);
    }
}

enum { N_SHOWN = 17, FIRST_CACHE = 14, END_CACHE = 16, CELL = EVAL_POLICY_MAX };

/* The cells of one line of a table; row NULL = the head. */
static void cells_of(const eval_row *row, char cells[N_SHOWN][CELL])
{
    static const char *const head[N_SHOWN] = {
        "task",  "ctx",        "depth",         "policy", "n",       "score",   "exact",
        "agree", "kl",         "kept",          "needle", "density", "ms/step", "tok/fwd",
        "union", "bytes/step", "vs dense (95%)"
    };
    static const size_t shown[] = { 0, 1, 2, 3, 4, 7, 5, 6, 10, 17, 18 };
    if (!row) {
        for (size_t i = 0; i < N_SHOWN; i++)
            snprintf(cells[i], CELL, "%s", head[i]);
        return;
    }
    column columns[N_COLUMNS];
    columns_of(row, columns);
    snprintf(cells[0], CELL, "%s", row->task);
    snprintf(cells[1], CELL, "%d", row->ctx);
    if (row->depth == EVAL_STRATIFIED)
        snprintf(cells[2], CELL, "all");
    else
        snprintf(cells[2], CELL, "%d%%", row->depth);
    snprintf(cells[3], CELL, "%s", row->policy);
    snprintf(cells[4], CELL, "%d", row->samples);
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        const column *c = &columns[shown[i]];
        if (isnan(c->value))
            snprintf(cells[5 + i], CELL, "-");
        else
            snprintf(cells[5 + i], CELL, "%.*f", c->digits, c->value);
    }
    const eval_paired *d = &row->paired;
    if (d->low == 0 && d->high == 0)
        snprintf(cells[END_CACHE], CELL, "-");
    else
        snprintf(cells[END_CACHE], CELL, "%+.1f [%+.1f, %+.1f]", POINTS * d->mean, POINTS * d->low,
                 POINTS * d->high);
}

static bool is_word_column(size_t i)
{
    return i == 0 || i == 3;
}

/* Columns that only models behind a key cache fill. */
static bool is_left_out(const eval_table *table, size_t i)
{
    bool is_known = i < FIRST_CACHE || i >= END_CACHE;
    for (size_t k = 0; k < table->n && !is_known; k++)
        is_known = !isnan(table->rows[k].mean.bytes_read);
    return !is_known;
}

static void write_lines(const eval_table *table, bool markdown, FILE *out)
{
    char cells[N_SHOWN][CELL];
    int width[N_SHOWN] = { 0 };
    for (size_t i = 0; i <= table->n; i++) {
        cells_of(i ? &table->rows[i - 1] : NULL, cells);
        for (size_t k = 0; k < N_SHOWN; k++)
            if ((int)strlen(cells[k]) > width[k]) width[k] = (int)strlen(cells[k]);
    }
    for (size_t i = 0; i <= table->n; i++) {
        cells_of(i ? &table->rows[i - 1] : NULL, cells);
        fputs(markdown ? "| " : "", out);
        for (size_t k = 0; k < N_SHOWN; k++) {
            if (is_left_out(table, k)) continue;
            fprintf(out, is_word_column(k) ? "%-*s" : "%*s", width[k], cells[k]);
            if (k + 1 < N_SHOWN) fputs(markdown ? " | " : "  ", out);
        }
        fputs(markdown ? " |\n" : "\n", out);
        if (i || !markdown) continue;
        for (size_t k = 0; k < N_SHOWN; k++)
            if (!is_left_out(table, k)) fputs(is_word_column(k) ? "| --- " : "| ---: ", out);
        fputs("|\n", out);
    }
}

int eval_table_write(const eval_table *table, eval_format format, FILE *out)
{
    if (format == EVAL_JSON) return write_json(table, out);
    if (format == EVAL_CSV)
        write_csv(table, out);
    else
        write_lines(table, format == EVAL_MARKDOWN, out);
    return EXIT_OK;
}
