#define _GNU_SOURCE
#include "base/datadir.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

/* What was tried so far, for the message. */
typedef struct {
    const char *relative;
    char *tried, *found;
    bool no_memory;
} search;

static bool look(search *s, const char *dir) {
    char *path = cel_path_join(dir, s->relative);
    char *tried = path ? cel_asprintf("%s%s%s", s->tried ? s->tried : "", s->tried ? ", " : "", path) : NULL;
    if (!tried) {
        s->no_memory = true;
        cel_free(path);
        return true;
    }
    cel_free(s->tried);
    s->tried = tried;
    if (cel_path_exists(path)) {
        s->found = path;
        return true;
    }
    cel_free(path);
    return false;
}

/* share/cellar of the prefix whose bin/ or lib/ holds `file`; a Debian library lies one level deeper. */
static bool look_beside(search *s, const char *file) {
    char real[PATH_MAX];
    if (!realpath(file, real)) return false;
    for (int up = 0; up < 3; up++) {
        char *slash = strrchr(real, '/');
        if (!slash || slash == real) return false;
        *slash = 0;
        if (up == 0) continue;
        char *share = cel_path_join(real, "share/cellar");
        if (!share) return s->no_memory = true;
        bool done = cel_path_is_dir(share) && look(s, share);
        cel_free(share);
        if (done) return true;
    }
    return false;
}

static bool look_everywhere(search *s) {
    const char *chosen = getenv("CELLAR_DATA");
    if (chosen && *chosen && look(s, chosen)) return true;
    Dl_info here;
    static const char anchor; /* an address of the object that holds this code */
    if (dladdr(&anchor, &here) && here.dli_fname && look_beside(s, here.dli_fname)) return true;
    return look_beside(s, "/proc/self/exe") || look(s, CEL_DATADIR_BUILD) || look(s, CEL_DATADIR_SOURCE "/data") ||
           look(s, CEL_DATADIR_SOURCE) || look(s, CEL_DATADIR_INSTALLED);
}

cel_status cel_data_find(const char *relative, char **path) {
    search s = {.relative = relative};
    look_everywhere(&s);
    cel_status status = CEL_OK;
    if (s.no_memory)
        status = CEL_FAIL(CEL_NOMEM, "%s: out of memory", relative);
    else if (!s.found)
        status = CEL_FAIL(CEL_NOTFOUND,
                          "%s: not among the files that come with cellar; tried %s; set CELLAR_DATA to the directory "
                          "that holds it",
                          relative, s.tried);
    else
        *path = s.found;
    cel_free(s.tried);
    return status;
}
