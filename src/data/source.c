#include "data/source.h"

#include <string.h>

#include "base/datadir.h"
#include "cellar/text.h"

#define CEL_SOURCE(name) extern const cel_source cel_source_##name;
#include "data/sources.def"
#undef CEL_SOURCE

static const cel_source *const sources[] = {
#define CEL_SOURCE(name) &cel_source_##name,
#include "data/sources.def"
#undef CEL_SOURCE
};

int cel_source_count(void) { return (int)CEL_COUNT(sources); }

cel_source_info cel_source_get(int i) {
    const cel_source *s = sources[i];
    return (cel_source_info){.name = s->name, .about = s->about, .needs_path = !s->shipped && !s->computed};
}

char *cel_source_files(int i) { return sources[i]->n_layouts ? cel_layout_describe(sources[i]) : cel_strdup(""); }

static cel_status unknown(const char *name) {
    const char *names[CEL_COUNT(sources)];
    cel_arena arena = {0};
    char *list = cel_arena_strdup(&arena, "");
    for (size_t i = 0; i < CEL_COUNT(sources); i++) {
        names[i] = sources[i]->name;
        if (list) list = cel_arena_printf(&arena, "%s%s%s", list, i ? ", " : "", names[i]);
    }
    const char *near = cel_text_nearest(name, names, CEL_COUNT(names));
    cel_status status =
        CEL_FAIL(CEL_CONFIG, "no data set is called \"%s\"; expected one of %s%s%s%s", name,
                 list ? list : "(out of memory)", near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    cel_arena_fini(&arena);
    return status;
}

cel_status cel_dataset_begin(const cel_source *s, const char *path, cel_dataset **out) {
    cel_dataset *d;
    CEL_ALLOC(d, 1);
    d->name = s->name;
    d->path = cel_arena_strdup(&d->arena, path);
    d->channels = s->channels, d->height = s->height, d->width = s->width, d->n_classes = s->n_classes;
    if (!d->path) {
        cel_dataset_destroy(d);
        return CEL_FAIL(CEL_NOMEM, "%s: out of memory", path);
    }
    *out = d;
    return CEL_OK;
}

static cel_status open_at(const cel_source *s, const char *path, cel_dataset **out) {
    cel_dataset *d = NULL;
    CEL_TRY(cel_dataset_begin(s, path, &d));
    cel_status status = s->open(s, path, d);
    if (status == CEL_OK) status = cel_dataset_finish(d);
    if (status == CEL_OK)
        *out = d;
    else
        cel_dataset_destroy(d);
    return status;
}

cel_status cel_dataset_open(const char *name, const char *path, cel_dataset **out) {
    const cel_source *s = NULL;
    for (size_t i = 0; i < CEL_COUNT(sources); i++)
        if (!strcmp(sources[i]->name, name)) s = sources[i];
    if (!s) return unknown(name);
    if (path && *path && s->computed)
        return CEL_FAIL(CEL_CONFIG, "%s: computed, expected no path, found \"%s\"", s->name, path);
    if (s->computed) return open_at(s, "", out);
    if (path && *path) return open_at(s, path, out);
    if (!s->shipped)
        return CEL_FAIL(
            CEL_CONFIG,
            "%s: needs the path of its files (a directory or the official archive); get them with: cellar fetch %s",
            s->name, s->name);
    char *found;
    CEL_TRY(cel_data_find(s->shipped, &found));
    cel_status status = open_at(s, found, out);
    cel_free(found);
    return status;
}
