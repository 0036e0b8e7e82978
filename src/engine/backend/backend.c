/* The registry of backends. */
#include "engine/backend/backend.h"

#include <string.h>

#define CEL_BACKEND(name) &cel_backend_##name,
const cel_backend *const cel_backends[] = {
#include "engine/backend/backends.def"
    NULL};
#undef CEL_BACKEND

const cel_backend *cel_backend_find(const char *name) {
    for (const cel_backend *const *b = cel_backends; *b; b++)
        if (!strcmp((*b)->name, name)) return *b;
    return NULL;
}
