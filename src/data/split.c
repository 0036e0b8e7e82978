#include "data/split.h"

#include <string.h>

#include "base/datadir.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"

static const char *const kind_names[CEL_SPLIT_KIND_COUNT] = {"halves", "nb201", "random", "nb201-test"};

const char *cel_split_kind_name(cel_split_kind kind) {
    return (unsigned)kind < CEL_SPLIT_KIND_COUNT ? kind_names[kind] : NULL;
}

/* Which published list belongs to which data set. CIFAR-100 has as many training images as CIFAR-10 and takes its list, as in
 * the benchmark's code. */
static const struct {
    const char *dataset;
    cel_split_kind kind;
    const char *file;
} lists[] = {
    {"cifar10", CEL_SPLIT_NB201, "splits/cifar-split.txt"},
    {"cifar100", CEL_SPLIT_NB201, "splits/cifar-split.txt"},
    {"imagenet16-120", CEL_SPLIT_NB201, "splits/imagenet16-120-split.txt"},
    {"cifar100", CEL_SPLIT_NB201_TEST, "splits/cifar100-test-split.txt"},
    {"imagenet16-120", CEL_SPLIT_NB201_TEST, "splits/imagenet16-120-test-split.txt"},
};

void cel_split_fini(cel_split *s) {
    for (int k = 0; k < 2; k++) {
        cel_free(s->index[k]);
        s->index[k] = NULL;
        s->n[k] = 0;
    }
}

/* A reader of words and numbers that knows its line. */
typedef struct {
    const char *name, *text;
    size_t n, at;
    int line;
} words;

enum { MAX_INDEX = 1 << 24 };

static void skip_spaces(words *w) {
    while (w->at < w->n && strchr(" \t\r\n", w->text[w->at]) && w->text[w->at]) w->line += w->text[w->at++] == '\n';
}

static cel_status next_number(words *w, int32_t *number) {
    skip_spaces(w);
    int64_t v = 0;
    size_t begin = w->at;
    for (; w->at < w->n && w->text[w->at] >= '0' && w->text[w->at] <= '9'; w->at++) {
        v = 10 * v + (w->text[w->at] - '0');
        if (v > MAX_INDEX)
            return CEL_FAIL(CEL_FORMAT, "%s: line %d: expected numbers up to %d, found a larger one", w->name, w->line,
                            MAX_INDEX);
    }
    if (w->at == begin)
        return CEL_FAIL(CEL_FORMAT, "%s: line %d: expected a number, found %s at byte %zu", w->name, w->line,
                        w->at == w->n ? "the end of the file" : "other text", w->at);
    *number = (int32_t)v;
    return CEL_OK;
}

static cel_status read_list(words *w, int32_t **index, int *n) {
    skip_spaces(w);
    size_t begin = w->at;
    while (w->at < w->n && w->text[w->at] >= 'a' && w->text[w->at] <= 'z') w->at++;
    if (w->at == begin)
        return CEL_FAIL(CEL_FORMAT, "%s: line %d: expected the name of a list and its length, found %s at byte %zu",
                        w->name, w->line, w->at == w->n ? "the end of the file" : "other text", w->at);
    int32_t count;
    CEL_TRY(next_number(w, &count));
    if ((size_t)count > w->n) /* each index takes a byte at the least: refuse before memory is asked for */
        return CEL_FAIL(CEL_FORMAT, "%s: line %d: a list of %d numbers in a file of %zu bytes; the file is cut off",
                        w->name, w->line, count, w->n);
    CEL_ALLOC(*index, (size_t)count);
    *n = count;
    for (int i = 0; i < count; i++) {
        CEL_TRY(next_number(w, &(*index)[i]));
        if (i && (*index)[i] <= (*index)[i - 1])
            return CEL_FAIL(CEL_FORMAT, "%s: line %d: expected ascending numbers, found %d after %d", w->name, w->line,
                            (*index)[i], (*index)[i - 1]);
    }
    return CEL_OK;
}

/* Both lists ascend: walking through them together must meet 0, 1, 2, ... each once. */
static cel_status check_cover(const char *name, const cel_split *s) {
    int at[2] = {0, 0};
    for (int32_t want = 0; want < s->n[0] + s->n[1]; want++) {
        bool in[2];
        for (int k = 0; k < 2; k++) in[k] = at[k] < s->n[k] && s->index[k][at[k]] == want;
        if (in[0] == in[1])
            return CEL_FAIL(CEL_FORMAT, "%s: image %d is in %s of the two lists; expected each of 0 to %d in one", name,
                            want, in[0] ? "both" : "neither", s->n[0] + s->n[1] - 1);
        at[in[1]]++;
    }
    return CEL_OK;
}

cel_status cel_split_parse(const char *name, const char *text, size_t n_text, cel_split *out) {
    words w = {name, text, n_text, 0, 1};
    cel_split s = {0};
    cel_status status = CEL_OK;
    for (int k = 0; k < 2 && status == CEL_OK; k++) status = read_list(&w, &s.index[k], &s.n[k]);
    skip_spaces(&w);
    if (status == CEL_OK && w.at < w.n)
        status =
            CEL_FAIL(CEL_FORMAT, "%s: line %d: expected the end of the file after two lists, found more at byte %zu",
                     name, w.line, w.at);
    if (status == CEL_OK) status = check_cover(name, &s);
    if (status == CEL_OK)
        *out = s;
    else
        cel_split_fini(&s);
    return status;
}

/* Marks the images that the limits leave; their number in *n. */
static cel_status choose(const cel_dataset *data, cel_part part, const cel_split_conf *conf, uint8_t **chosen, int *n) {
    cel_dataset_info info = cel_dataset_get_info(data);
    int all = info.n_images[part];
    if (conf->limit < 0 || conf->limit_per_class < 0 || (conf->limit && conf->limit_per_class))
        return CEL_FAIL(CEL_CONFIG,
                        "%s: expected one limit of the images, in all or per class, from 1 on; found %d and %d",
                        info.name, conf->limit, conf->limit_per_class);
    if (conf->limit > all)
        return CEL_FAIL(CEL_CONFIG, "%s: limit: expected 1 to %d images (0 = all), found %d", info.name, all,
                        conf->limit);
    int *left;
    CEL_ALLOC(left, (size_t)info.n_classes);
    *chosen = cel_alloc((size_t)all, 1);
    if (!*chosen) {
        cel_free(left);
        return CEL_FAIL(CEL_NOMEM, "out of memory for %d images", all);
    }
    for (int c = 0; c < info.n_classes; c++) left[c] = conf->limit_per_class;
    *n = 0;
    for (int i = 0; i < all; i++) {
        int label = cel_dataset_label(data, part, i);
        bool in = conf->limit_per_class ? left[label]-- > 0 : !conf->limit || i < conf->limit;
        (*chosen)[i] = in;
        *n += in;
    }
    cel_status status = CEL_OK;
    for (int c = 0; conf->limit_per_class && c < info.n_classes && status == CEL_OK; c++)
        if (left[c] > 0)
            status = CEL_FAIL(CEL_CONFIG,
                              "%s: limit_per_class: class %s has only %d images, expected %d; take a smaller limit",
                              info.name, info.class_names[c], conf->limit_per_class - left[c], conf->limit_per_class);
    cel_free(left);
    return status;
}

/* The official lists, less what is not chosen. */
static cel_status split_by_list(const cel_dataset *data, const cel_split_conf *conf, const uint8_t *chosen,
                                cel_split *s) {
    cel_dataset_info info = cel_dataset_get_info(data);
    const char *file = NULL;
    for (size_t i = 0; i < CEL_COUNT(lists); i++)
        if (lists[i].kind == conf->kind && !strcmp(lists[i].dataset, info.name)) file = lists[i].file;
    if (!file)
        return CEL_FAIL(
            CEL_CONFIG, "%s: NAS-Bench-201 has no %s list for it, expected %s; take the split halves or random",
            info.name, cel_split_kind_name(conf->kind),
            conf->kind == CEL_SPLIT_NB201 ? "cifar10, cifar100 or imagenet16-120" : "cifar100 or imagenet16-120");
    char *path, *text;
    size_t n;
    CEL_TRY(cel_data_find(file, &path));
    cel_status status = cel_file_read(path, 8 << 20, &text, &n);
    if (status == CEL_OK) {
        cel_part part = s->part;
        status = cel_split_parse(path, text, n, s);
        s->part = part;
        cel_free(text);
    }
    cel_free(path);
    if (status != CEL_OK) return status;
    int covers = s->n[0] + s->n[1], images = info.n_images[s->part];
    if (covers != images)
        return CEL_FAIL(CEL_SHAPE,
                        "%s: the official list is for %d %s images, found %d; it needs the complete data set (or take "
                        "the split halves or random)",
                        info.name, covers, s->part == CEL_PART_TRAIN ? "training" : "test", images);
    for (int k = 0; k < 2; k++) {
        int kept = 0;
        for (int i = 0; i < s->n[k]; i++)
            if (chosen[s->index[k][i]]) s->index[k][kept++] = s->index[k][i];
        s->n[k] = kept;
    }
    return CEL_OK;
}

/* Half of the chosen images to each list; `second` marks the positions of the architecture's, NULL = the later half. */
static cel_status split_in_half(const uint8_t *chosen, int n_all, int n, const uint8_t *second, cel_split *s) {
    for (int k = 0; k < 2; k++) CEL_ALLOC(s->index[k], (size_t)(k ? n - n / 2 : n / 2));
    for (int i = 0, at = 0; i < n_all; i++) {
        if (!chosen[i]) continue;
        int k = second ? second[at] : at >= n / 2;
        s->index[k][s->n[k]++] = i;
        at++;
    }
    return CEL_OK;
}

static cel_status split_at_random(uint64_t seed, const uint8_t *chosen, int n_all, int n, cel_split *s) {
    int32_t *order;
    CEL_ALLOC(order, (size_t)n);
    uint8_t *second = cel_alloc((size_t)n, 1);
    cel_status status = second ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory for %d images", n);
    if (status == CEL_OK) {
        for (int i = 0; i < n; i++) order[i] = i;
        cel_rng rng = cel_rng_at(seed, "split", 0, 0);
        cel_rng_shuffle(&rng, order, (size_t)n);
        for (int i = n / 2; i < n; i++) second[order[i]] = 1;
        status = split_in_half(chosen, n_all, n, second, s);
    }
    cel_free(order);
    cel_free(second);
    return status;
}

cel_status cel_split_init(const cel_dataset *data, const cel_split_conf *conf, cel_split *out) {
    if ((unsigned)conf->kind >= CEL_SPLIT_KIND_COUNT)
        return CEL_FAIL(CEL_CONFIG, "split: expected halves, nb201, random or nb201-test, found number %d",
                        (int)conf->kind);
    cel_split s = {.part = conf->kind == CEL_SPLIT_NB201_TEST ? CEL_PART_TEST : CEL_PART_TRAIN};
    int n_all = cel_dataset_get_info(data).n_images[s.part], n = 0;
    uint8_t *chosen = NULL;
    cel_status status = choose(data, s.part, conf, &chosen, &n);
    if (status == CEL_OK) switch (conf->kind) {
        case CEL_SPLIT_HALVES:
            status = split_in_half(chosen, n_all, n, NULL, &s);
            break;
        case CEL_SPLIT_RANDOM:
            status = split_at_random(conf->seed, chosen, n_all, n, &s);
            break;
        default:
            status = split_by_list(data, conf, chosen, &s);
            break;
        }
    cel_free(chosen);
    if (status == CEL_OK && (s.n[0] == 0 || s.n[1] == 0))
        status = CEL_FAIL(CEL_CONFIG,
                          "split %s: %d images for the weights and %d for the architecture, expected some of each; "
                          "take a larger limit",
                          cel_split_kind_name(conf->kind), s.n[0], s.n[1]);
    if (status == CEL_OK)
        *out = s;
    else
        cel_split_fini(&s);
    return status;
}
