/* The registered search spaces. */
#include "nas/space/space.h"

#include <string.h>

#include "base/mem.h"
#include "cellar/text.h"

const cel_space *const cel_spaces[] = {
#define CEL_SPACE(name) &cel_space_##name,
#include "nas/space/spaces.def"
#undef CEL_SPACE
    NULL};

cel_status cel_space_find(const char *name, const cel_space **out) {
    const char *names[CEL_COUNT(cel_spaces)];
    for (size_t i = 0; i + 1 < CEL_COUNT(cel_spaces); i++) {
        names[i] = cel_spaces[i]->name;
        if (!strcmp(name, names[i])) {
            *out = cel_spaces[i];
            return CEL_OK;
        }
    }
    const char *nearest = cel_text_nearest(name, names, CEL_COUNT(cel_spaces) - 1);
    return CEL_FAIL(CEL_CONFIG, "search space: there is no \"%s\"%s%s%s; `cellar list spaces` shows all", name,
                    nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}

cel_status cel_space_derive(const cel_space *space, const double *scores, const uint8_t *live, cel_genotype *out) {
    return cel_genotype_derive(space->arch, scores, live, out);
}
