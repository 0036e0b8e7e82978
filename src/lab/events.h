/* TensorBoard event files: TFRecord frames (length, masked CRC-32C of it, data, masked CRC-32C of it), each an Event message with a
 * summary of scalars; the first says "brain.Event:2". The name is events.out.tfevents.SECONDS.cellar. */
#ifndef CEL_LAB_EVENTS_H
#define CEL_LAB_EVENTS_H
#include "cellar/status.h"

typedef struct cel_scalar {
    const char *tag; /* "loss/train" */
    double value;    /* kept as a float */
} cel_scalar;

typedef struct cel_events {
    int fd; /* -1: closed */
    char *path;
    int64_t n, bytes; /* records, with the first one */
} cel_events;

/* With keep = 0 removes the directory's event files and begins a new one; else goes on with its only one, cut back to its first `keep`
 * records; CEL_FORMAT when there are fewer whole ones. */
cel_status cel_events_open(cel_events *events, const char *dir, int64_t keep);
/* One record with all the scalars, at the present time. On failure (CEL_IO) the file is as it was. */
cel_status cel_events_append(cel_events *events, int64_t step, const cel_scalar *scalars, int n);
cel_status cel_events_sync(cel_events *events);
void cel_events_close(cel_events *events);
#endif
