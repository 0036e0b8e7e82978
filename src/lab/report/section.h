/* The sections of a run's page, and what they are written from. */
#ifndef CEL_LAB_SECTION_H
#define CEL_LAB_SECTION_H
#include "cellar/table.h"
#include "lab/report/chart.h"
#include "lab/report/history.h"

/* What the found cell is worth on a data set: test accuracy after 200 epochs, in percent. */
typedef struct cel_standing {
    double test, best, mean,
        skip;           /* of the cell, the best, all on average, the one with a skip connection everywhere */
    double paper;       /* NAN: none published */
    double better_than; /* share of all cells that are worse, in percent, rounded down to two digits */
    int rank, count;
    double params, flops; /* of the benchmark's network */
} cel_standing;

typedef struct cel_report {
    const cel_history *history;
    const cel_record *last;                      /* with the cell that was found; NULL: no epoch is finished */
    bool finished, has_standing;                 /* of the run; false: no table has the cell */
    const char *why_not;                         /* without a standing: why */
    cel_standing standing[CEL_HISTORY_DATASETS]; /* in the order of the history's data sets */
    double *test;                                /* all cells' accuracies on the history's data set, `count` of them */
    bool on_benchmark;                           /* the images are those of a data set of the tables */
    int worth;                                   /* its index; 0 without */
    int stride;                                  /* charts and tables show every stride-th epoch and the last */
    const int *shown;                            /* their indices */
    int n_shown;
    const double *x; /* n_shown: the epochs' numbers, from 0 */
} cel_report;

void cel_section_style(cel_page *page, const cel_report *report);
void cel_section_verdict(cel_page *page, const cel_report *report);
void cel_section_selection(cel_page *page, const cel_report *report);
void cel_section_trajectory(cel_page *page, const cel_report *report);
void cel_section_curves(cel_page *page, const cel_report *report);
void cel_section_concentration(cel_page *page, const cel_report *report);
void cel_section_cost(cel_page *page, const cel_report *report);
void cel_section_repeat(cel_page *page, const cel_report *report);
void cel_section_numbers(cel_page *page, const cel_report *report);

/* A chart over the epochs of the run, with its stages; the sections add the series. */
cel_chart cel_section_chart(cel_page *page, const cel_report *report, const char *title, const char *y_title);
/* One number of each epoch that is shown, from offsetof(cel_record, member). */
const double *cel_section_series(cel_page *page, const cel_report *report, size_t offset);
/* What the benchmark table said of the cell of an epoch; "–" where it said nothing. */
const char *cel_section_test(cel_page *page, const cel_report *report, const cel_record *epoch);
const char *cel_section_rank(cel_page *page, const cel_report *report, const cel_record *epoch);
/* "conv 3×3" */
const char *cel_section_op(cel_page *page, const cel_report *report, int op);
#endif
