/* The registered search spaces (include/cellar/plugin.h has their table). */
#ifndef CEL_NAS_SPACE_H
#define CEL_NAS_SPACE_H
#include "cellar/plugin.h"

#define CEL_SPACE(name) extern const cel_space cel_space_##name;
#include "nas/space/spaces.def"
#undef CEL_SPACE
/* NULL at the end. */
extern const cel_space *const cel_spaces[];
/* By name; CEL_CONFIG names the nearest. */
cel_status cel_space_find(const char *name, const cel_space **out);
/* The genotype of the largest live score of each choice; `live` may be NULL. */
cel_status cel_space_derive(const cel_space *space, const double *scores, const uint8_t *live, cel_genotype *out);
#endif
