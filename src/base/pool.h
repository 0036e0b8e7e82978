/* A thread pool for data-parallel loops.
 *
 * cel_pool_run(pool, n, fn, ctx) calls fn(ctx, task, worker) once for each task 0 .. n-1 and returns when all are done.
 * Which worker runs a task is not fixed, so a task may write only what is its own; callers fix the number of tasks by the
 * problem, never by the number of threads, and add partial results in task order: that is what keeps results the same
 * on any number of threads. Waiting threads spin for some microseconds, then sleep: they never fight for a core. */
#ifndef CEL_BASE_POOL_H
#define CEL_BASE_POOL_H
#include "cellar/status.h"

typedef struct cel_pool cel_pool;
typedef void cel_task_fn(void *ctx, int task, int worker);

/* n_threads >= 1 counts the calling thread; 0 takes as many as the process may use. */
cel_status cel_pool_create(int n_threads, cel_pool **out);
void cel_pool_destroy(cel_pool *pool);
/* 1 for NULL: a NULL pool runs everything on the calling thread. */
int cel_pool_threads(const cel_pool *pool);
/* One caller at a time; not from inside a task. */
void cel_pool_run(cel_pool *pool, int n_tasks, cel_task_fn *fn, void *ctx);
#endif
