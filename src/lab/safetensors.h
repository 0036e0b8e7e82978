/* The safetensors format: 8 bytes little-endian header length, a JSON header (name -> dtype, shape, data_offsets, and
 * "__metadata__", texts), then the arrays in C order, little-endian. PyTorch's safetensors package reads what is written.
 *
 * The reader takes any bytes: the header is at most CEL_SAFETENSORS_MAX_HEADER bytes, and the arrays must fill the rest of the
 * file exactly, without gap or overlap. */
#ifndef CEL_LAB_SAFETENSORS_H
#define CEL_LAB_SAFETENSORS_H
#include "base/state.h"

enum { CEL_SAFETENSORS_MAX_HEADER = 16 << 20 };

/* The arrays of `state` and n_meta pairs key, value, as a file's bytes (caller frees with cel_free). Wide types come first, so
 * that every array is aligned; within a type in the state's order. */
cel_status cel_safetensors_encode(const cel_state *state, const char *const *meta, int n_meta, char **bytes, size_t *n);

typedef struct cel_safetensors cel_safetensors;
/* Borrows the bytes for the object's life; `origin` is the file's name in messages. CEL_FORMAT for what is wrong in them,
 * CEL_UNSUPPORTED for a dtype other than F32, F64, I32, I64, U8. */
cel_status cel_safetensors_parse(const char *origin, const void *bytes, size_t n, cel_safetensors **out);
void cel_safetensors_destroy(cel_safetensors *file);
/* The arrays in the header's order. Their data lies in the borrowed bytes and need not be aligned: memcpy, do not cast. */
const cel_state *cel_safetensors_items(const cel_safetensors *file);
#endif
