/* Benchmark tables: what every architecture of a space is worth, measured by others.
 *
 * The table that ships with cellar holds NAS-Bench-201: accuracies after 200 and after 12 epochs, costs, and latencies of
 * 27 devices. A metric's name says data set, split and epochs, and its record says on which images was trained and over
 * how many seeds the number is a mean; nothing else is ever answered in its place. A table scores a search after its
 * end; it must never steer one.
 *
 * An open table is read-only and may be used by any number of threads. `index` is a row of the table, 0 .. count-1, for
 * NAS-Bench-201 the official index; `metric` is a number 0 .. n_metrics-1. Calls without a status want such numbers. */
#ifndef CELLAR_TABLE_H
#define CELLAR_TABLE_H
#include "cellar/arch.h"
#include "cellar/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cel_table cel_table;

typedef enum cel_metric_kind {
    CEL_METRIC_ACCURACY, /* percent */
    CEL_METRIC_PARAMS,
    CEL_METRIC_FLOPS,
    CEL_METRIC_LATENCY, /* milliseconds */
    CEL_METRIC_CLASS,   /* number of the isomorphism class */
    CEL_METRIC_KINDS
} cel_metric_kind;

typedef struct cel_metric {
    const char *name;  /* "cifar10_test_200", "latency_pixel3" */
    const char *label; /* "CIFAR-10 test after 200 epochs" */
    cel_metric_kind kind;
    const char *dataset;      /* "cifar10", "cifar10-valid", "cifar100", "imagenet16"; "" where there is none */
    const char *split;        /* "test" or "valid"; "" where there is none */
    int epochs;               /* 0 where there is none */
    const char *trained_on;   /* "train+valid" or "train"; "" where there is none */
    int seeds_min, seeds_max; /* the number is a mean over that many seeds; 0 where it is no measurement of seeds */
    const char *unit;         /* "%", "ms" or "" */
    bool higher_is_better;
    const char *device; /* "pixel3" of a latency, else "" */
} cel_metric;

/* `path` NULL opens the table that ships with cellar. CEL_FORMAT, CEL_VERSION for a file that is no (such) table. */
cel_status cel_table_open(const char *path, cel_table **out);
void cel_table_close(cel_table *table);
int cel_table_count(const cel_table *table);
int cel_table_n_metrics(const cel_table *table);
const cel_metric *cel_table_metric(const cel_table *table, int metric);

/* By name, "cifar10_test_200", or in words, "cifar10 test 200" (blanks, commas or slashes between). CEL_NOTFOUND lists
 * what the table has of that data set, and says so when it has the number only for another split or schedule. */
cel_status cel_table_find_metric(const cel_table *table, const char *name, int *metric);
/* The same by parts; ImageNet16-120 answers to "imagenet16" and "imagenet16-120". */
cel_status cel_table_find_accuracy(const cel_table *table, const char *dataset, const char *split, int epochs,
                                   int *metric);
cel_status cel_table_find_latency(const cel_table *table, const char *device, int *metric);

/* The data set of the tables whose images a source (cellar/data.h) has: "cifar10" for "cifar10" and "cifar10-mini";
 * NULL when no accuracy of a table was measured on such images ("synthetic"). */
const char *cel_table_dataset_of(const char *source);

/* The row of an architecture; CEL_UNSUPPORTED when the table holds another space. */
cel_status cel_table_find(const cel_table *table, const cel_genotype *g, int *index);
/* The first row from `from` on whose architecture has this hash (cel_genotype_hash); -1 when there is none. */
int cel_table_find_hash(const cel_table *table, uint64_t hash, int from);
uint64_t cel_table_hash(const cel_table *table, int index);
void cel_table_genotype(const cel_table *table, int index, cel_genotype *out);

double cel_table_value(const cel_table *table, int metric, int index);
/* 1 + how many rows are better; equal values share a rank. */
int cel_table_rank(const cel_table *table, int metric, int index);
/* The share of the other rows, in percent, that are not better: 100 for the best. */
double cel_table_percentile(const cel_table *table, int metric, int index);
/* The distance to the best value, >= 0, in the metric's unit. */
double cel_table_regret(const cel_table *table, int metric, int index);
/* The best row, the first of equals. */
int cel_table_best(const cel_table *table, int metric);
/* The mean over all rows: what a random architecture is worth. */
double cel_table_mean(const cel_table *table, int metric);
/* All rows, the best first, equals in order of their index. order: count entries. */
cel_status cel_table_sort(const cel_table *table, int metric, int *order);

/* --- conditions ------------------------------------------------------------------------------------------------------
 * A condition is text over the metrics of a row, only ever read: "params < 0.5M and cifar10_test_200 > 93".
 *
 *   and or not ( )       < <= > >= = !=        + - * /        numbers with k, M, G, % or ms behind
 *   a metric's name; params, flops (those of the CIFAR-10 network); index
 *   rank(metric)  percentile(metric)  regret(metric)  count(operation)
 *
 * CEL_CONFIG says at which character, what was expected and what was found, with the nearest name. */
typedef struct cel_where cel_where;
cel_status cel_where_parse(const cel_table *table, const char *text, cel_where **out);
bool cel_where_test(const cel_where *where, int index);
void cel_where_destroy(cel_where *where);

#ifdef __cplusplus
}
#endif
#endif
