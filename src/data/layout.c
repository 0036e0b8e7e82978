/* Reads the two families of files that small-image data sets come in: records (label bytes, then the planes of one image, again and
 * again: the CIFAR binary version) and Python batches (a pickled dictionary of an array `data` and a list of labels: the CIFAR python
 * version, ImageNet16). */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "data/fileset.h"
#include "data/pickle.h"
#include "data/source.h"

static size_t image_bytes(const cel_source *s) { return (size_t)s->channels * (size_t)s->height * (size_t)s->width; }

static size_t record_bytes(const cel_source *s, const cel_layout *l) { return (size_t)l->label_bytes + image_bytes(s); }

/* A pickle may write a byte as up to four characters, and holds labels and file names beside the pixels. */
static size_t max_file_bytes(const cel_source *s, const cel_layout *l, int part) {
    size_t n = (size_t)l->max_images[part];
    return l->label_key ? n * (4 * image_bytes(s) + 256) + (1 << 20) : n * record_bytes(s, l);
}

enum { MAX_NAMES_BYTES = 1 << 18, MAX_WANTED = 64 };

/* Every file of every layout, once. */
static size_t list_wanted(const cel_source *s, cel_file_want want[MAX_WANTED]) {
    size_t n = 0;
    for (int i = 0; i < s->n_layouts; i++) {
        const cel_layout *l = &s->layouts[i];
        for (int part = 0; part <= CEL_PART_COUNT; part++) {
            const char *const names[] = {l->names_file, NULL};
            for (const char *const *name = part < CEL_PART_COUNT ? l->files[part] : names; *name; name++) {
                size_t max = part < CEL_PART_COUNT ? max_file_bytes(s, l, part) : MAX_NAMES_BYTES, k = 0;
                while (k < n && strcmp(want[k].name, *name)) k++;
                assert(k < MAX_WANTED);
                if (k == n) want[n++] = (cel_file_want){*name, 0};
                if (max > want[k].max_bytes) want[k].max_bytes = max;
            }
        }
    }
    return n;
}

static const cel_layout *recognise(const cel_source *s, const cel_fileset *set) {
    for (int i = 0; i < s->n_layouts; i++)
        for (int part = 0; part < CEL_PART_COUNT; part++)
            for (const char *const *name = s->layouts[i].files[part]; *name; name++)
                if (cel_fileset_find(set, *name)) return &s->layouts[i];
    return NULL;
}

char *cel_layout_describe(const cel_source *s) {
    cel_arena arena = {0};
    char *text = cel_arena_strdup(&arena, "");
    for (int i = 0; text && i < s->n_layouts; i++)
        for (int part = 0; text && part < CEL_PART_COUNT; part++) {
            const char *const *files = s->layouts[i].files[part];
            size_t n = 0;
            while (files[n]) n++;
            text = cel_arena_printf(&arena, "%s%s%s%s%s", text, *text ? ", " : "", files[0], n > 1 ? " .. " : "",
                                    n > 1 ? files[n - 1] : "");
        }
    for (const char *const *d = s->subdirs; text && *d; d++) text = cel_arena_printf(&arena, "%s, %s/", text, *d);
    for (const char *const *a = s->archives; text && *a; a++) text = cel_arena_printf(&arena, "%s, %s", text, *a);
    char *out = text ? cel_strdup(text) : NULL;
    cel_arena_fini(&arena);
    return out;
}

static cel_status bad_label(const cel_source *s, const cel_layout *l, const char *where, int64_t label) {
    return CEL_FAIL(CEL_FORMAT, "%s: label %lld, expected %d to %d (%s); the file is damaged or of another data set",
                    where, (long long)label, l->first_label, l->last_label, s->name);
}

static cel_status too_many(const cel_data_file *f, int64_t found, int most) {
    return CEL_FAIL(CEL_FORMAT, "%s: %lld images, expected at most %d; is it the file of another data set?", f->shown,
                    (long long)found, most);
}

static cel_status read_records(const cel_source *s, const cel_layout *l, const cel_data_file *f, cel_part part,
                               cel_dataset *d) {
    size_t record = record_bytes(s, l), rest = f->n % record;
    if (rest)
        return CEL_FAIL(CEL_FORMAT,
                        "%s: %zu bytes, expected a multiple of %zu (%d label byte%s and %d x %d x %d pixels): the "
                        "image at byte %zu has only "
                        "%zu bytes; the file is cut off (fetch it again) or of another data set",
                        f->shown, f->n, record, l->label_bytes, l->label_bytes > 1 ? "s" : "", s->channels, s->height,
                        s->width, f->n - rest, rest);
    size_t n = f->n / record;
    if (n > (size_t)l->max_images[part]) return too_many(f, (int64_t)n, l->max_images[part]);
    CEL_TRY(cel_dataset_reserve(d, part, (int)n));
    for (size_t i = 0; i < n; i++) {
        const uint8_t *p = f->data + i * record;
        int label = p[l->label_at];
        if (label < l->first_label || label > l->last_label) {
            char where[1200];
            snprintf(where, sizeof where, "%.1000s: byte %zu: image %zu", f->shown, i * record + (size_t)l->label_at,
                     i);
            return bad_label(s, l, where, label);
        }
        if (label - l->first_label < s->n_classes) cel_dataset_add(d, part, p + l->label_bytes, label - l->first_label);
    }
    return CEL_OK;
}

/* Pixels that lie in the pickle's own memory (bytes written as text) move into the data set. */
static cel_status keep_pixels(const uint8_t **pixels, size_t n_bytes, const cel_fileset *files, cel_dataset *d) {
    if (n_bytes == 0 || cel_fileset_holds(files, *pixels)) return CEL_OK;
    uint8_t *copy = cel_arena_alloc(&d->arena, n_bytes, 1);
    if (!copy) return CEL_FAIL(CEL_NOMEM, "%s: out of memory for %zu bytes of pixels", d->path, n_bytes);
    memcpy(copy, *pixels, n_bytes);
    *pixels = copy;
    return CEL_OK;
}

/* (n, planes) or (n, channels, height, width): other orders of the axes have the same length and other pixels. */
static bool is_planes(const cel_source *s, int n_dims, const size_t *dim) {
    return (n_dims == 2 && dim[1] == image_bytes(s)) ||
           (n_dims == 4 && dim[1] == (size_t)s->channels && dim[2] == (size_t)s->height && dim[3] == (size_t)s->width);
}

static cel_status read_pixels(const cel_source *s, const cel_data_file *f, const cel_pickle_value *root,
                              const uint8_t **pixels, size_t *n) {
    const cel_pickle_value *data = cel_pickle_find(root, "data");
    size_t bytes = 1;
    bool good = false, planes = true;
    if (data && data->kind == CEL_PICKLE_BYTES) {
        *pixels = data->bytes.data;
        bytes = data->bytes.n;
        good = true;
    } else if (data && data->kind == CEL_PICKLE_ARRAY && data->array.dtype && data->array.n_dims >= 1) {
        *pixels = data->array.data;
        for (int i = 0; i < data->array.n_dims; i++) bytes *= data->array.dim[i];
        planes = is_planes(s, data->array.n_dims, data->array.dim);
        good = data->array.dtype->dtype.code == 'u' && data->array.dtype->dtype.item_bytes == 1;
    }
    if (!good)
        return CEL_FAIL(CEL_FORMAT,
                        "%s: expected a dictionary whose \"data\" is an array of bytes (uint8), found %s%s; is it a "
                        "batch of images?",
                        f->shown, cel_pickle_kind_name(root->kind == CEL_PICKLE_DICT ? data : root),
                        data && data->kind == CEL_PICKLE_ARRAY ? " of another type" : "");
    *n = bytes / image_bytes(s);
    if (bytes % image_bytes(s))
        return CEL_FAIL(CEL_FORMAT,
                        "%s: \"data\" has %zu bytes, expected a multiple of %zu (%d x %d x %d pixels); is it the batch "
                        "of another data set?",
                        f->shown, bytes, image_bytes(s), s->channels, s->height, s->width);
    if (!planes)
        return CEL_FAIL(
            CEL_FORMAT,
            "%s: \"data\" is no array of n x %zu or n x %d x %d x %d bytes, colour planes first; is it the batch "
            "of another data set?",
            f->shown, image_bytes(s), s->channels, s->height, s->width);
    return CEL_OK;
}

static cel_status read_batch(const cel_source *s, const cel_layout *l, const cel_data_file *f, cel_part part,
                             const cel_fileset *files, const cel_pickle_value *root, cel_dataset *d) {
    const uint8_t *pixels = NULL;
    size_t n = 0;
    CEL_TRY(read_pixels(s, f, root, &pixels, &n));
    const cel_pickle_value *labels = cel_pickle_find(root, l->label_key);
    int64_t n_labels = labels ? cel_pickle_numbers(labels) : -1;
    if (n_labels < 0)
        return CEL_FAIL(CEL_FORMAT,
                        "%s: expected a list of whole numbers \"%s\", found %s; is it the batch of another data set?",
                        f->shown, l->label_key, cel_pickle_kind_name(labels));
    if ((uint64_t)n_labels != n)
        return CEL_FAIL(CEL_FORMAT, "%s: %lld labels for %zu images, expected as many; fetch it again", f->shown,
                        (long long)n_labels, n);
    if (n > (size_t)l->max_images[part]) return too_many(f, n_labels, l->max_images[part]);
    CEL_TRY(keep_pixels(&pixels, n * image_bytes(s), files, d));
    CEL_TRY(cel_dataset_reserve(d, part, (int)n));
    for (size_t i = 0; i < n; i++) {
        int64_t label;
        char where[1200];
        snprintf(where, sizeof where, "%.1000s: image %zu", f->shown, i);
        if (!cel_pickle_number(labels, i, &label))
            return CEL_FAIL(CEL_FORMAT, "%s: its label is no whole number", where);
        if (label < l->first_label || label > l->last_label) return bad_label(s, l, where, label);
        if (label - l->first_label < s->n_classes)
            cel_dataset_add(d, part, pixels + i * image_bytes(s), (int)(label - l->first_label));
    }
    return CEL_OK;
}

static cel_status read_file(const cel_source *s, const cel_layout *l, const cel_data_file *f, cel_part part,
                            const cel_fileset *files, cel_dataset *d) {
    if (f->n == 0) return CEL_FAIL(CEL_FORMAT, "%s: the file is empty, expected images; fetch it again", f->shown);
    if (!l->label_key) return read_records(s, l, f, part, d);
    cel_pickle *pickle;
    CEL_TRY(cel_pickle_read(f->shown, f->data, f->n, &pickle));
    cel_status status = read_batch(s, l, f, part, files, cel_pickle_root(pickle), d);
    cel_pickle_destroy(pickle);
    return status;
}

static cel_status wrong_count(const cel_source *s, const cel_data_file *f, size_t found) {
    return CEL_FAIL(CEL_FORMAT, "%s: %zu class names, expected %d; fetch it again", f->shown, found, s->n_classes);
}

/* A name a line; what stands before a tab is an identifier. Empty lines do not count. */
static cel_status read_name_lines(const cel_source *s, const cel_data_file *f, const char **name, cel_dataset *d) {
    size_t found = 0;
    for (size_t at = 0; at < f->n;) {
        const char *line = (const char *)f->data + at;
        const char *end = memchr(line, '\n', f->n - at);
        size_t n = end ? (size_t)(end - line) : f->n - at;
        at += n + 1;
        while (n && (line[n - 1] == '\r' || line[n - 1] == ' ')) n--;
        const char *tab = n ? memchr(line, '\t', n) : NULL;
        if (tab) n -= (size_t)(tab + 1 - line), line = tab + 1;
        if (n == 0) continue;
        if (found < (size_t)s->n_classes && !(name[found] = cel_arena_printf(&d->arena, "%.*s", (int)n, line)))
            return CEL_FAIL(CEL_NOMEM, "%s: out of memory", f->shown);
        found++;
    }
    return found == (size_t)s->n_classes ? CEL_OK : wrong_count(s, f, found);
}

static cel_status read_name_list(const cel_source *s, const cel_layout *l, const cel_data_file *f, const char **name,
                                 cel_dataset *d) {
    cel_pickle *pickle;
    CEL_TRY(cel_pickle_read(f->shown, f->data, f->n, &pickle));
    const cel_pickle_value *list = cel_pickle_find(cel_pickle_root(pickle), l->names_key);
    cel_status status = CEL_OK;
    if (!list || list->kind != CEL_PICKLE_LIST)
        status = CEL_FAIL(CEL_FORMAT, "%s: expected a list \"%s\" of class names, found %s; fetch it again", f->shown,
                          l->names_key, cel_pickle_kind_name(list));
    else if (list->list.n != (size_t)s->n_classes)
        status = wrong_count(s, f, list->list.n);
    for (int i = 0; status == CEL_OK && i < s->n_classes; i++) {
        const cel_pickle_value *item = list->list.item[i];
        if ((item->kind != CEL_PICKLE_TEXT && item->kind != CEL_PICKLE_BYTES) || item->bytes.n > 200)
            status = CEL_FAIL(CEL_FORMAT, "%s: class name %d: expected a short text, found %s", f->shown, i,
                              cel_pickle_kind_name(item));
        else if (!(name[i] = cel_arena_printf(&d->arena, "%.*s", (int)item->bytes.n, (const char *)item->bytes.data)))
            status = CEL_FAIL(CEL_NOMEM, "%s: out of memory", f->shown);
    }
    cel_pickle_destroy(pickle);
    return status;
}

static cel_status read_names(const cel_source *s, const cel_layout *l, const cel_fileset *files, cel_dataset *d) {
    const cel_data_file *f = l->names_file ? cel_fileset_find(files, l->names_file) : NULL;
    if (!f) return CEL_OK;
    const char **name = cel_arena_alloc(&d->arena, (size_t)s->n_classes, sizeof *name);
    if (!name) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", f->shown);
    CEL_TRY(l->names_key ? read_name_list(s, l, f, name, d) : read_name_lines(s, f, name, d));
    d->class_name = name;
    return CEL_OK;
}

static cel_status read_layout(const cel_source *s, const cel_layout *l, const char *place, cel_dataset *d) {
    d->form = l->form;
    for (int part = 0; part < CEL_PART_COUNT; part++) {
        int first = -1, before = 0;
        for (const char *const *name = l->files[part]; *name; name++) {
            const cel_data_file *f = cel_fileset_find(d->files, *name);
            if (!f)
                return CEL_FAIL(CEL_NOTFOUND,
                                "%s: the file %s is missing beside the others of %s (%s); fetch the data set again",
                                place, *name, s->name, l->form);
            CEL_TRY(read_file(s, l, f, (cel_part)part, d->files, d));
            int n = d->part[part].n - before;
            before = d->part[part].n;
            if (first < 0) first = n;
            if (l->equal_files && n != first)
                return CEL_FAIL(CEL_FORMAT, "%s: %d images, expected %d as in %s; the file is cut off: fetch it again",
                                f->shown, n, first, l->files[part][0]);
        }
        if (d->part[part].n < s->complete[part])
            cel_log(CEL_LOG_WARN, "%s: %d of the %d %s images of %s: a part of the data set", place, d->part[part].n,
                    s->complete[part], part == CEL_PART_TRAIN ? "training" : "test", s->name);
    }
    return read_names(s, l, d->files, d);
}

/* Reads the place if it holds one of the layouts; *found says whether it does. */
static cel_status try_place(const cel_source *s, const char *place, cel_dataset *d, bool *found) {
    cel_file_want want[MAX_WANTED];
    cel_fileset *files;
    CEL_TRY(cel_fileset_open(place, want, list_wanted(s, want), &files));
    const cel_layout *layout = recognise(s, files);
    if (!layout) {
        cel_fileset_close(files);
        return CEL_OK;
    }
    *found = true;
    d->files = files;
    return read_layout(s, layout, place, d);
}

static cel_status try_below(const cel_source *s, const char *path, const char *const *names, cel_dataset *d,
                            bool *found) {
    for (; *names && !*found; names++) {
        char *place = cel_path_join(path, *names);
        if (!place) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", path);
        cel_status status = cel_path_exists(place) ? try_place(s, place, d, found) : CEL_OK;
        cel_free(place);
        if (status != CEL_OK) return status;
    }
    return CEL_OK;
}

cel_status cel_layout_open(const cel_source *s, const char *path, cel_dataset *d) {
    bool found = false;
    if (!cel_path_exists(path))
        return CEL_FAIL(CEL_NOTFOUND,
                        "%s: no such file or directory; expected a directory or archive with %s; check the spelling, "
                        "or fetch it with: cellar fetch %s",
                        path, s->name, s->name);
    CEL_TRY(try_place(s, path, d, &found));
    if (!found && cel_path_is_dir(path)) {
        CEL_TRY(try_below(s, path, s->subdirs, d, &found));
        CEL_TRY(try_below(s, path, s->archives, d, &found));
    }
    if (found) return CEL_OK;
    char *looked = cel_layout_describe(s);
    cel_status status =
        looked ? CEL_FAIL(CEL_NOTFOUND,
                          "%s: no %s here: looked for %s; give the directory that holds them, or the archive", path,
                          s->name, looked)
               : CEL_FAIL(CEL_NOMEM, "%s: out of memory", path);
    cel_free(looked);
    return status;
}
