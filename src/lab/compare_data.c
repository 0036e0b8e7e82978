/* A comparison for programs: a row of CSV for each search, everything as JSON. Numbers have all their digits; what
 * there is not is an empty field, or null. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cellar/text.h"
#include "lab/compare.h"
#include "lab/report/page.h"

static const char *exact(double v, char out[CEL_REAL_TEXT]) {
    if (isfinite(v))
        cel_text_from_real(v, out);
    else
        out[0] = 0;
    return out;
}

static void put_quoted(cel_page *page, const char *text) {
    bool plain = !strpbrk(text, ",\"\r\n");
    cel_page_put(page, "%s", plain ? "" : "\"");
    for (; *text; text++) cel_page_put(page, *text == '"' ? "\"\"" : "%c", *text);
    cel_page_put(page, "%s", plain ? "" : "\"");
}

static void put_row(cel_page *page, const cel_result *r, int m, int d, int s) {
    const cel_compare_conf *conf = &r->c->conf;
    const cel_outcome *o = cel_outcome_of(r, m, d, s);
    char number[CEL_REAL_TEXT];
    cel_page_put(page, "%s,%s,%s,%lld,%s,", conf->methods[m].name, conf->datasets[d].name,
                 cel_history_dataset[r->c->worth[d]], (long long)(conf->first_seed + s),
                 o->found     ? "found"
                 : o->failure ? "failed"
                              : "missing");
    put_quoted(page, o->found ? o->text : o->failure ? o->failure : "");
    cel_page_put(page, ",");
    if (o->found) cel_page_put(page, "%d", o->row);
    for (int k = 0; k < CEL_HISTORY_DATASETS; k++)
        cel_page_put(page, ",%s", exact(o->found ? o->test[k] : NAN, number));
    cel_page_put(page, ",%s", exact(o->found ? o->params : NAN, number));
    cel_page_put(page, ",%s", exact(o->found ? o->flops : NAN, number));
    cel_page_put(page, ",%s", exact(o->ended ? o->seconds : NAN, number));
    cel_page_put(page, ",");
    if (o->queries) cel_page_put(page, "%d", o->queries->n_queries);
    cel_page_put(page, "\n");
}

void cel_compare_csv(cel_page *page, const cel_result *r) {
    const cel_compare_conf *conf = &r->c->conf;
    cel_page_put(page, "method,dataset,images,seed,status,cell,index");
    for (int k = 0; k < CEL_HISTORY_DATASETS; k++) cel_page_put(page, ",test_%s", cel_history_dataset[k]);
    cel_page_put(page, ",params,flops,seconds,queries\n");
    for (int d = 0; d < conf->n_datasets; d++)
        for (int m = 0; m < conf->n_methods; m++)
            for (int s = 0; s < conf->seeds; s++) put_row(page, r, m, d, s);
}

/* ---- JSON ---- */

/* A missing member would be seen at once; memory that is out is told at the end, by the dump. */
static void put(json_t *object, const char *key, json_t *value) { json_object_set_new(object, key, value); }

static json_t *real(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static json_t *by_dataset(const double v[CEL_HISTORY_DATASETS]) {
    json_t *out = json_object();
    for (int k = 0; k < CEL_HISTORY_DATASETS; k++) put(out, cel_history_dataset[k], real(v[k]));
    return out;
}

static json_t *search_of(const cel_result *r, int m, int d, int s) {
    const cel_compare_conf *conf = &r->c->conf;
    const cel_outcome *o = cel_outcome_of(r, m, d, s);
    json_t *out = json_object();
    put(out, "method", json_string(conf->methods[m].name));
    put(out, "dataset", json_string(conf->datasets[d].name));
    put(out, "seed", json_integer(conf->first_seed + s));
    put(out, "status", json_string(o->found ? "found" : o->failure ? "failed" : "missing"));
    if (o->failure) put(out, "failure", json_string(o->failure));
    if (o->ended) put(out, "seconds", real(o->seconds));
    if (!o->found) return out;
    put(out, "genotype", json_string(o->text));
    put(out, "index", json_integer(o->row));
    put(out, "test", by_dataset(o->test));
    put(out, "params", real(o->params));
    put(out, "flops", real(o->flops));
    if (o->queries) put(out, "queries", json_integer(o->queries->n_queries));
    return out;
}

static json_t *expect_of(const cel_recipe_expect *e) {
    if (!(e->test > 0)) return json_null();
    json_t *out = json_object();
    put(out, "dataset", json_string(e->dataset));
    put(out, "test", real(e->test));
    put(out, "std", real(e->std));
    put(out, "source", json_string(e->source));
    return out;
}

static json_t *summary_of(const cel_result *r, int m, int d) {
    const cel_compare_conf *conf = &r->c->conf;
    const cel_summary *s = &r->summary[m][d];
    json_t *out = json_object(), *tests = json_object();
    put(out, "method", json_string(conf->methods[m].name));
    put(out, "label", json_string(cel_compare_label(r->c, m)));
    put(out, "dataset", json_string(conf->datasets[d].name));
    put(out, "found", json_integer(s->n));
    put(out, "failed", json_integer(s->n_failed));
    put(out, "missing", json_integer(s->n_missing));
    put(out, "mean", by_dataset(s->mean));
    put(out, "deviation", by_dataset(s->deviation));
    put(out, "interval_half_width", by_dataset(s->interval));
    put(out, "best", real(s->best));
    put(out, "worst", real(s->worst));
    put(out, "regret", real(s->regret));
    put(out, "rank", real(s->rank));
    put(out, "cells", json_integer(s->cells));
    put(out, "params", real(s->params));
    put(out, "flops", real(s->flops));
    put(out, "seconds", real(s->seconds));
    put(out, "published", expect_of(&r->c->plan[m][d].expect));
    put(tests, "pairs", json_integer(s->pairs));
    put(tests, "too_few", json_boolean(s->pairs < CEL_COMPARE_PAIRS));
    put(tests, "difference", real(s->difference));
    put(tests, "paired_t_p", real(s->t_p));
    put(tests, "paired_t_holm", real(s->t_holm));
    put(tests, "signed_rank_p", real(s->rank_p));
    put(tests, "signed_rank_holm", real(s->rank_holm));
    put(out, "against_reference", m == r->c->reference ? json_null() : json_incref(tests));
    json_decref(tests);
    return out;
}

static json_t *dataset_of(const cel_result *r, int d) {
    json_t *out = json_object(), *baselines = json_object();
    static const char *const keys[CEL_BASELINES] = {"optimum", "most_params", "mean_of_all", "all_skip"};
    put(out, "name", json_string(r->c->conf.datasets[d].name));
    put(out, "source", json_string(r->c->source[d]));
    put(out, "table", json_string(cel_history_dataset[r->c->worth[d]]));
    put(out, "rank_blocks", json_integer(r->rank_blocks[d]));
    put(out, "critical_difference", real(r->critical[d]));
    for (int b = 0; b < CEL_BASELINES; b++) {
        json_t *one = json_object();
        put(one, "test", by_dataset(r->baseline[d][b].test));
        put(one, "params", real(r->baseline[d][b].params));
        put(baselines, keys[b], one);
    }
    put(out, "baselines", baselines);
    return out;
}

void cel_compare_json(cel_page *page, const cel_result *r) {
    const cel_compare_conf *conf = &r->c->conf;
    json_t *root = json_object(), *datasets = json_array(), *methods = json_array(), *searches = json_array(),
           *remarks = json_array();
    const char *notes[CEL_NOTES];
    for (int d = 0; d < conf->n_datasets; d++) {
        json_array_append_new(datasets, dataset_of(r, d));
        for (int m = 0; m < conf->n_methods; m++) {
            json_array_append_new(methods, summary_of(r, m, d));
            for (int s = 0; s < conf->seeds; s++) json_array_append_new(searches, search_of(r, m, d, s));
        }
    }
    int n = cel_compare_notes(page, r, notes);
    for (int i = 0; i < n; i++) json_array_append_new(remarks, json_string(notes[i]));
    put(root, "format", json_string("cellar comparison"));
    put(root, "version", json_integer(1));
    put(root, "name", json_string(r->c->name));
    put(root, "title", json_string(conf->title));
    put(root, "seeds", json_integer(conf->seeds));
    put(root, "first_seed", json_integer(conf->first_seed));
    put(root, "level", real(conf->level));
    put(root, "reference", json_string(conf->methods[r->c->reference].name));
    put(root, "ended", json_integer(r->n_ended));
    put(root, "datasets", datasets);
    put(root, "methods", methods);
    put(root, "searches", searches);
    put(root, "notes", remarks);
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    if (text)
        cel_page_put(page, "%s\n", text);
    else
        page->failed = true;
    free(text);
    json_decref(root);
}
