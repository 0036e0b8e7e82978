/* Scoring many cells; see scorer.h. */
#include "nas/eval/scorer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/pool.h"
#include "data/augment.h"

static const char *const start_names[] = {"default", "kaiming", NULL};

const cel_opt cel_score_opts[] = {
    CEL_TEXT(cel_score_conf, space, "nb201", "search space"),
    CEL_LONG(cel_score_conf, seed, 1, 0, INT64_MAX, "seed of the weights and of the choice of images"),
    CEL_INT(cel_score_conf, batch, 64, 2, 65536, "images that a proxy looks at, taken at random"),
    CEL_BOOL(cel_score_conf, augment, false,
             "crop (from the image padded by an eighth of its side) and mirror them at random, as in training"),
    CEL_BOOL(cel_score_conf, own_draws, false,
             "each cell draws weights and images of its own, as in zero-cost-nas, where all cells else share one draw"),
    CEL_BOOL(
        cel_score_conf, cell_bias, false,
        "a cell's convolutions have a bias and its batch norms nothing to learn, as in zero-cost-nas' own network; "
        "params and flops stay the benchmark's"),
    CEL_ENUM(cel_score_conf, init, CEL_START_DEFAULT, start_names,
             "how weights start: PyTorch's default, or He-normal (ntk and linear_regions always take that)"),
    CEL_INT(cel_score_conf, image, 32, 4, 4096, "side of an image where no images are looked at"),
    CEL_INT(cel_score_conf, channels, 3, 1, 64, "channels of an image where no images are looked at"),
    CEL_INT(cel_score_conf, classes, 10, 2, 1000000, "classes where no images are looked at"),
    CEL_INT(cel_score_conf, zico_batches, 2, 2, 64, "batches of zico"),
    CEL_INT(cel_score_conf, ntk_batch, 16, 2, 1024,
            "images of ntk, each of which costs a pass (the authors take 72 for NAS-Bench-201, 14 for DARTS)"),
    CEL_INT(cel_score_conf, ntk_repeats, 3, 1, 100, "networks whose ntk is averaged"),
    CEL_INT(cel_score_conf, regions_samples, 3000, 2, 1000000,
            "crops that linear_regions counts the patterns of, in equal batches of at most 1000"),
    CEL_INT(cel_score_conf, regions_c, 1, 1, 1024, "channels of its thin network, which has one cell a resolution"),
    CEL_TEXT(cel_score_conf, backend, "cpu", "what computes: cpu or ref (slow and plain)"),
    CEL_OPTS_END};

enum { REGIONS_SIDE = 4, REGIONS_BATCH = 1000 };

/* Section `data`. */
typedef struct {
    const char *source, *path;
} data_conf;
static const cel_opt data_opts[] = {
    CEL_TEXT(data_conf, source, "cifar10-mini", "data set; its training images are looked at"),
    CEL_TEXT(data_conf, path, "", "its directory or archive; empty where it comes with cellar"), CEL_OPTS_END};

/* What the probes of one cell, or of all, are opened with. Not to be moved: main points at the others. */
typedef struct {
    float *images, *crops;
    int32_t *labels;
    cel_probe_conf main, ntk, regions;
} sight;

struct cel_scorer {
    cel_score_conf conf;
    cel_scorer_view view;
    int n_asked, n_columns;
    const cel_proxy *column[CEL_SCORER_COLUMNS];
    unsigned reads;
    const cel_backend *backend;
    cel_net_shape shape;
    sight all; /* what all cells see; where each has its own, it shows at once that there are images enough */
    void *regions_space;
    cel_weights *weights;
    cel_pool *pool;
    cel_probe_room *room; /* one a thread */
    /* of a scorer that cel_scorer_create made */
    cel_conf *tree;
    data_conf data;
    void *space_conf;
    cel_dataset *own_data;
};

/* ---- which proxies ---- */

static int column_of(const cel_scorer *s, const cel_proxy *p) {
    for (int i = 0; i < s->n_columns; i++)
        if (s->column[i] == p) return i;
    return -1;
}

static cel_status add_column(cel_scorer *s, const cel_proxy *p) {
    if (column_of(s, p) >= 0) return CEL_OK;
    if (s->n_columns == CEL_SCORER_COLUMNS) return CEL_FAIL(CEL_CONFIG, "proxies: more than %d", CEL_SCORER_COLUMNS);
    s->column[s->n_columns++] = p;
    s->reads |= p->reads;
    return CEL_OK;
}

static cel_status choose(cel_scorer *s, const char *names) {
    for (const char *at = names;; at++) {
        char name[64];
        size_t n = strcspn(at, ",");
        int found;
        snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), at);
        CEL_TRY(cel_proxy_find(name, &found));
        CEL_TRY(add_column(s, cel_proxies[found]));
        at += n;
        if (!*at) break;
    }
    s->n_asked = s->n_columns;
    for (int i = 0; i < s->n_asked; i++)
        for (int k = 0; s->column[i]->of_names[k]; k++) {
            int found;
            CEL_TRY(cel_proxy_find(s->column[i]->of_names[k], &found));
            CEL_TRY(add_column(s, cel_proxies[found]));
        }
    return CEL_OK;
}

cel_status cel_scorer_check(const char *proxies, bool *images) {
    cel_scorer s = {0};
    CEL_TRY(choose(&s, proxies));
    if (images) *images = s.reads & CEL_READ_IMAGES;
    return CEL_OK;
}

int cel_scorer_asked(const cel_scorer *s) { return s->n_asked; }
int cel_scorer_columns(const cel_scorer *s) { return s->n_columns; }

const char *cel_scorer_images(const cel_scorer *s) {
    return s->reads & CEL_READ_IMAGES && s->view.data ? cel_dataset_get_info(s->view.data).sha256 : NULL;
}

cel_proxy_info cel_scorer_column(const cel_scorer *s, int column) {
    int found = 0;
    while (cel_proxies[found] != s->column[column]) found++;
    return cel_proxy_get(found);
}

/* ---- what they look at ---- */

/* n images of the training part at random, none twice. */
static cel_status choose_images(const cel_scorer *s, uint64_t seed, size_t n, float *images, int32_t *labels) {
    cel_dataset_info info = cel_dataset_get_info(s->view.data);
    size_t all = (size_t)(s->view.index ? s->view.n_index : info.n_images[CEL_PART_TRAIN]);
    size_t floats = (size_t)info.channels * (size_t)info.height * (size_t)info.width;
    float scale[64], shift[64];
    int32_t *order;
    if (all < n)
        return CEL_FAIL(CEL_CONFIG, "proxies: %zu images are wanted, there are %zu: take a smaller batch", n, all);
    CEL_ALLOC(order, all);
    for (size_t i = 0; i < all; i++) order[i] = s->view.index ? s->view.index[i] : (int32_t)i;
    cel_rng rng = cel_rng_at(seed, "score.images", 0, 0);
    cel_rng_shuffle(&rng, order, all);
    for (int c = 0; c < info.channels; c++) {
        scale[c] = (float)(1 / (255 * info.std[c]));
        shift[c] = (float)(-info.mean[c] / info.std[c]);
    }
    const cel_augment augment = {.pad = info.height / 8, .flip = true}, none = {0};
    for (size_t i = 0; i < n; i++) {
        cel_augment_draw draw = {0};
        cel_rng draws = cel_rng_at(seed, "score.augment", i, 0);
        if (s->conf.augment) draw = cel_augment_sample(&augment, info.height, info.width, &draws);
        cel_augment_apply(s->conf.augment ? &augment : &none, &draw, info.channels, info.height, info.width, scale,
                          shift, cel_dataset_image(s->view.data, CEL_PART_TRAIN, order[i]), images + i * floats);
        labels[i] = cel_dataset_label(s->view.data, CEL_PART_TRAIN, order[i]);
    }
    cel_free(order);
    return CEL_OK;
}

/* Crops of images, with repetition. */
static void choose_crops(const sight *v, size_t n_images, size_t n, float *crops) {
    const cel_net_shape *from = &v->main.shape;
    size_t plane = (size_t)from->height * (size_t)from->width;
    cel_rng rng = cel_rng_at(v->main.seed, "score.crops", 0, 0);
    for (size_t i = 0; i < n; i++) {
        const float *image = v->images + cel_rng_below(&rng, (uint32_t)n_images) * (size_t)from->channels * plane;
        size_t top = cel_rng_below(&rng, (uint32_t)(from->height - REGIONS_SIDE + 1));
        size_t left = cel_rng_below(&rng, (uint32_t)(from->width - REGIONS_SIDE + 1));
        for (size_t c = 0; c < (size_t)from->channels; c++)
            for (size_t y = 0; y < REGIONS_SIDE; y++)
                for (size_t x = 0; x < REGIONS_SIDE; x++)
                    *crops++ = image[c * plane + (top + y) * (size_t)from->width + left + x];
    }
}

/* A copy of the space's settings with c channels and one cell. */
static cel_status thin_space(cel_scorer *s) {
    const cel_space *space = s->view.space;
    s->regions_space = cel_alloc(1, space->conf_size + 1);
    if (!s->regions_space) return CEL_FAIL(CEL_NOMEM, "out of memory: a thin network");
    memcpy(s->regions_space, s->view.space_conf, space->conf_size);
    int found = 0;
    for (const cel_opt *o = space->opts; o && o->kind != CEL_OPT_END; o++) {
        bool c = !strcmp(o->name, "c"), n = !strcmp(o->name, "n");
        if (o->kind != CEL_OPT_INT || (!c && !n)) continue;
        int value = c ? s->conf.regions_c : 1;
        memcpy((char *)s->regions_space + o->offset, &value, sizeof value);
        found++;
    }
    if (found != 2)
        return CEL_FAIL(CEL_UNSUPPORTED, "linear_regions: space %s has no settings c and n to make it thin",
                        space->name);
    return CEL_OK;
}

static void sight_fini(sight *v) {
    cel_free(v->images);
    cel_free(v->labels);
    cel_free(v->crops);
}

/* Everything random comes from the seed. */
static cel_status look(const cel_scorer *s, uint64_t seed, sight *out) {
    const cel_score_conf *c = &s->conf;
    int n_batches = s->reads & CEL_READ_BATCHES ? c->zico_batches : 1;
    cel_net_shape shape = s->shape;
    out->main = (cel_probe_conf){.space = s->view.space,
                                 .space_conf = s->view.space_conf,
                                 .cell_bias = c->cell_bias,
                                 .shape = shape,
                                 .backend = s->backend,
                                 .seed = seed,
                                 .start = (cel_probe_start)c->init,
                                 .n_batches = n_batches,
                                 .ntk = &out->ntk,
                                 .regions = &out->regions};
    if (!(s->reads & CEL_READ_IMAGES)) return CEL_OK;
    size_t floats = (size_t)shape.channels * (size_t)shape.height * (size_t)shape.width;
    size_t n = (size_t)c->batch * (size_t)n_batches;
    if (s->reads & CEL_READ_NTK && n < (size_t)c->ntk_batch) n = (size_t)c->ntk_batch;
    CEL_ALLOC(out->images, n * floats);
    CEL_ALLOC(out->labels, n);
    CEL_TRY(choose_images(s, seed, n, out->images, out->labels));
    out->main.images = out->images;
    out->main.labels = out->labels;
    out->ntk = out->main;
    out->ntk.shape.batch = c->ntk_batch;
    out->ntk.start = CEL_START_KAIMING;
    out->ntk.n_batches = 1;
    out->ntk.ntk_repeats = c->ntk_repeats;
    if (!(s->reads & CEL_READ_REGIONS)) return CEL_OK;
    out->regions = out->ntk;
    out->regions.space_conf = s->regions_space;
    out->regions.n_batches = (c->regions_samples + REGIONS_BATCH - 1) / REGIONS_BATCH;
    int batch = c->regions_samples / out->regions.n_batches;
    out->regions.shape.batch = batch;
    out->regions.shape.height = out->regions.shape.width = REGIONS_SIDE;
    size_t crops = (size_t)batch * (size_t)out->regions.n_batches;
    CEL_ALLOC(out->crops, crops * (size_t)shape.channels * REGIONS_SIDE * REGIONS_SIDE);
    choose_crops(out, n, crops, out->crops);
    out->regions.images = out->crops;
    out->regions.labels = NULL;
    return CEL_OK;
}

static cel_status find_shape(cel_scorer *s) {
    const cel_score_conf *c = &s->conf;
    s->shape = (cel_net_shape){c->batch, c->channels, c->image, c->image, c->classes};
    if (s->view.data) {
        cel_dataset_info info = cel_dataset_get_info(s->view.data);
        s->shape = (cel_net_shape){c->batch, info.channels, info.height, info.width, info.n_classes};
    } else if (s->reads & CEL_READ_IMAGES) {
        return CEL_FAIL(CEL_CONFIG, "proxies: one of them looks at images: give a data set");
    }
    if (c->cell_bias && !s->view.space->biased)
        return CEL_FAIL(CEL_UNSUPPORTED, "score.cell_bias: space %s has no such network: leave it out",
                        s->view.space->name);
    return s->view.space->check(s->view.space_conf, &s->shape, 1);
}

static cel_status open_scorer(cel_scorer *s, const char *proxies) {
    s->backend = cel_backend_find(s->conf.backend);
    if (!s->backend)
        return CEL_FAIL(CEL_CONFIG, "score.backend: there is no \"%.80s\": take cpu or ref", s->conf.backend);
    if (!s->n_columns) CEL_TRY(choose(s, proxies));
    CEL_TRY(find_shape(s));
    if (s->reads & CEL_READ_REGIONS) CEL_TRY(thin_space(s));
    CEL_TRY(look(s, (uint64_t)s->conf.seed, &s->all));
    CEL_TRY(cel_weights_create(&s->weights));
    CEL_TRY(cel_pool_create(s->view.threads, &s->pool));
    CEL_ALLOC(s->room, (size_t)cel_pool_threads(s->pool));
    for (int i = 0; i < cel_pool_threads(s->pool); i++) s->room[i].weights = s->conf.own_draws ? NULL : s->weights;
    return CEL_OK;
}

void cel_scorer_destroy(cel_scorer *s) {
    if (!s) return;
    for (int i = 0; s->room && i < cel_pool_threads(s->pool); i++) cel_probe_room_fini(&s->room[i]);
    cel_free(s->room);
    cel_pool_destroy(s->pool);
    cel_weights_destroy(s->weights);
    sight_fini(&s->all);
    cel_free(s->regions_space);
    cel_dataset_destroy(s->own_data);
    cel_free(s->space_conf);
    cel_conf_destroy(s->tree);
    cel_free(s);
}

cel_status cel_scorer_open(const cel_score_conf *conf, const char *proxies, const cel_scorer_view *view,
                           cel_scorer **out) {
    cel_scorer *s;
    CEL_ALLOC(s, 1);
    s->conf = *conf;
    s->view = *view;
    cel_status status = open_scorer(s, proxies);
    if (status != CEL_OK) {
        cel_scorer_destroy(s);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    *out = s;
    return CEL_OK;
}

/* ---- settings from text ---- */

enum { SECTIONS = 3 };
static const cel_opt no_opts[] = {CEL_OPTS_END};

static void sections_of(cel_scorer *s, cel_section sections[SECTIONS]) {
    const cel_opt *space = s->view.space->opts;
    sections[0] = (cel_section){"score", cel_score_opts, &s->conf};
    sections[1] = (cel_section){"space", space ? space : no_opts, s->space_conf};
    sections[2] = (cel_section){"data", data_opts, &s->data};
}

static cel_status read_settings(cel_scorer *s, const char *const *sets, int n_sets) {
    cel_section sections[SECTIONS] = {{"score", cel_score_opts, &s->conf}};
    CEL_TRY(cel_conf_parse("settings", "{}", 2, &s->tree));
    for (int i = 0; i < n_sets; i++) CEL_TRY(cel_conf_set(s->tree, sets[i]));
    CEL_TRY(cel_conf_peek(s->tree, sections, 1));
    CEL_TRY(cel_space_find(s->conf.space, &s->view.space));
    s->space_conf = cel_alloc(1, s->view.space->conf_size + 1);
    if (!s->space_conf) return CEL_FAIL(CEL_NOMEM, "out of memory: settings");
    s->view.space_conf = s->space_conf;
    sections_of(s, sections);
    return cel_conf_read(s->tree, sections, SECTIONS);
}

cel_status cel_scorer_create(const cel_scorer_options *o, cel_scorer **out) {
    cel_scorer *s;
    CEL_ALLOC(s, 1);
    s->view.threads = o->threads;
    cel_status status = read_settings(s, o->sets, o->n_sets);
    if (status == CEL_OK) status = choose(s, o->proxies);
    if (status == CEL_OK && s->reads & CEL_READ_IMAGES) {
        status = cel_dataset_open(s->data.source, *s->data.path ? s->data.path : NULL, &s->own_data);
        s->view.data = s->own_data;
    }
    if (status == CEL_OK) status = open_scorer(s, o->proxies);
    if (status != CEL_OK) {
        cel_scorer_destroy(s);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    *out = s;
    return CEL_OK;
}

cel_status cel_scorer_settings(const cel_scorer *scorer, bool help, char **out) {
    cel_scorer defaults = {0}, *s = scorer ? (cel_scorer *)(uintptr_t)scorer : &defaults;
    cel_section sections[SECTIONS];
    cel_status status = scorer ? CEL_OK : read_settings(&defaults, NULL, 0);
    if (status == CEL_OK) {
        sections_of(s, sections);
        status = cel_conf_dump(sections, SECTIONS, help ? CEL_CONF_YAML_HELP : CEL_CONF_YAML, out);
    }
    cel_free(defaults.space_conf);
    cel_conf_destroy(defaults.tree);
    return status;
}

/* ---- scoring ---- */

typedef struct {
    cel_scorer *s;
    const cel_genotype *cells;
    double *values;
    cel_status *status;
    char (*message)[512];
} job;

/* Of the cell's own text, so that cells that compute the same differ too. */
static uint64_t seed_of(const cel_scorer *s, const cel_genotype *g) {
    char text[CEL_GENOTYPE_TEXT];
    cel_genotype_format(g, text);
    cel_rng rng = cel_rng_at((uint64_t)s->conf.seed, text, 0, 0);
    return cel_rng_u64(&rng);
}

static cel_status score_seen(const cel_scorer *s, const sight *v, const cel_genotype *g, cel_probe_room *room,
                             double *values) {
    cel_probe *probe = NULL;
    bool connected = cel_genotype_connected(g);
    unsigned reads = connected ? s->reads : 0;
    for (int c = 0; c < s->n_columns; c++) values[c] = NAN;
    cel_status status = CEL_OK;
    const cel_probe nothing = {.conf = &v->main, .genotype = g};
    if (reads) status = cel_probe_open(&v->main, g, reads, room, &probe);
    for (int c = 0; c < s->n_columns && status == CEL_OK; c++) {
        const cel_proxy *p = s->column[c];
        if (!p->score || (p->reads && !connected)) continue;
        status = p->score(probe ? probe : &nothing, &values[c]);
        if (status == CEL_OK && isinf(values[c])) values[c] = NAN;
        if (status != CEL_OK) status = cel_status_prefix(status, "%s", p->name);
    }
    cel_probe_close(probe);
    return status;
}

static cel_status score_cell(const cel_scorer *s, const cel_genotype *g, cel_probe_room *room, double *values) {
    if (!s->conf.own_draws) return score_seen(s, &s->all, g, room, values);
    sight own = {0};
    cel_status status = look(s, seed_of(s, g), &own);
    if (status == CEL_OK) status = score_seen(s, &own, g, room, values);
    sight_fini(&own);
    return status;
}

static void one_cell(void *ctx, int i, int worker) {
    job *j = ctx;
    j->status[i] = score_cell(j->s, &j->cells[i], &j->s->room[worker], j->values + (size_t)i * (size_t)j->s->n_columns);
    if (j->status[i] != CEL_OK) snprintf(j->message[i], sizeof j->message[i], "%s", cel_status_message());
}

static cel_status run_some(cel_scorer *s, const cel_genotype *cells, int n, double *values) {
    enum { MOST = 1024 };
    cel_status status[MOST] = {CEL_OK};
    job j = {s, cells, values, status, cel_alloc((size_t)n, sizeof *j.message)};
    if (!j.message) return CEL_FAIL(CEL_NOMEM, "out of memory: %d cells", n);
    cel_pool_run(s->pool, n, one_cell, &j);
    cel_status result = CEL_OK;
    for (int i = 0; i < n && result == CEL_OK; i++) {
        char text[CEL_GENOTYPE_TEXT];
        if (status[i] == CEL_OK) continue;
        cel_genotype_format(&cells[i], text);
        result = CEL_FAIL(status[i], "%s: %s", text, j.message[i]);
    }
    cel_free(j.message);
    return result;
}

cel_status cel_scorer_combine(const cel_scorer *s, int n, double *values) {
    double *list;
    CEL_ALLOC(list, (size_t)n * (CEL_PROXY_OF + 1) + 1);
    cel_status status = CEL_OK;
    for (int c = 0; c < s->n_columns && status == CEL_OK; c++) {
        const cel_proxy *p = s->column[c];
        const double *of[CEL_PROXY_OF];
        int n_of = 0;
        if (!p->combine) continue;
        for (; p->of_names[n_of]; n_of++) {
            int found = 0;
            while (strcmp(s->column[found]->name, p->of_names[n_of]) != 0) found++;
            double sign = s->column[found]->higher_is_better ? 1 : -1, *x = list + (size_t)(n_of + 1) * (size_t)n;
            for (int i = 0; i < n; i++) x[i] = sign * values[i * s->n_columns + found];
            of[n_of] = x;
        }
        status = p->combine(of, n_of, n, list);
        for (int i = 0; i < n && status == CEL_OK; i++) values[i * s->n_columns + c] = list[i];
    }
    cel_free(list);
    return status;
}

cel_status cel_scorer_run(cel_scorer *s, const cel_genotype *cells, int n, double *values,
                          cel_scorer_progress *progress, void *ctx) {
    enum { A_TURN = 32 };
    for (int i = 0; i < n; i++) {
        CEL_TRY(cel_genotype_check(&cells[i]));
        if (cells[i].space != s->view.space->arch)
            return CEL_FAIL(CEL_CONFIG, "score: cell %d is of space %s, expected %s", i,
                            cel_topology_get(cells[i].space)->name, s->view.space->name);
    }
    for (int done = 0; done < n;) {
        int some = n - done < A_TURN ? n - done : A_TURN;
        CEL_TRY(run_some(s, cells + done, some, values + (size_t)done * (size_t)s->n_columns));
        done += some;
        if (progress && progress(ctx, done, n))
            return CEL_FAIL(CEL_INTERRUPTED, "interrupted after %d of %d cells", done, n);
    }
    return cel_scorer_combine(s, n, values);
}
