#define _GNU_SOURCE
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/mem.h"

/* A worker's share of a loop, far enough from its neighbours' to have cache lines of its own. */
typedef struct {
    _Atomic int next;
    int end;
    char apart[120];
} share;

struct cel_pool {
    int n_threads;
    pthread_t *thread;
    share *share;
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    int sleeping; /* workers in the wait below, under lock */
    bool stop, caller_waits;
    cel_task_fn *fn;
    void *ctx;
    _Atomic uint32_t epoch; /* grows by one a loop */
    _Atomic int busy;       /* workers that have not finished this loop */
};

typedef struct {
    cel_pool *pool;
    int index;
} worker_arg;

enum { SPINS = 4000 };

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Its own share first: loops over the same data give a worker the same part of it, which its cache may still hold. */
static void work(cel_pool *p, int worker) {
    for (int i = 0; i < p->n_threads; i++) {
        share *s = &p->share[(worker + i) % p->n_threads];
        if (atomic_load_explicit(&s->next, memory_order_relaxed) >= s->end) continue;
        for (int task; (task = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed)) < s->end;)
            p->fn(p->ctx, task, worker);
    }
}

static void *worker_main(void *arg) {
    cel_pool *p = ((worker_arg *)arg)->pool;
    int index = ((worker_arg *)arg)->index;
    cel_free(arg);
    uint32_t seen = 0;
    for (;;) {
        for (int i = 0; i < SPINS && atomic_load_explicit(&p->epoch, memory_order_acquire) == seen; i++) relax();
        if (atomic_load_explicit(&p->epoch, memory_order_acquire) == seen) {
            pthread_mutex_lock(&p->lock);
            p->sleeping++;
            while (atomic_load_explicit(&p->epoch, memory_order_acquire) == seen)
                pthread_cond_wait(&p->start, &p->lock);
            p->sleeping--;
            pthread_mutex_unlock(&p->lock);
        }
        seen = atomic_load_explicit(&p->epoch, memory_order_acquire);
        if (p->stop) return NULL;
        work(p, index);
        if (atomic_fetch_sub_explicit(&p->busy, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&p->lock);
            if (p->caller_waits) pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
    }
}

static int available_threads(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n;
}

static void begin(cel_pool *p) {
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add_explicit(&p->epoch, 1, memory_order_acq_rel);
    if (p->sleeping) pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->lock);
}

cel_status cel_pool_create(int n_threads, cel_pool **out) {
    if (n_threads < 0 || n_threads > 1024)
        return CEL_FAIL(CEL_CONFIG, "threads: expected 1 to 1024, or 0 for all cores, found %d", n_threads);
    if (n_threads == 0) n_threads = available_threads();
    cel_pool *p;
    CEL_ALLOC(p, 1);
    p->thread = cel_alloc((size_t)n_threads, sizeof *p->thread);
    p->share = cel_alloc((size_t)n_threads, sizeof *p->share);
    if (!p->thread || !p->share) {
        cel_free(p->thread);
        cel_free(p->share);
        cel_free(p);
        return CEL_FAIL(CEL_NOMEM, "out of memory for %d threads", n_threads);
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->start, NULL);
    pthread_cond_init(&p->done, NULL);
    p->n_threads = 1;
    for (int i = 1; i < n_threads; i++) {
        worker_arg *arg = cel_alloc(1, sizeof *arg);
        if (arg) *arg = (worker_arg){p, i};
        if (!arg || pthread_create(&p->thread[i], NULL, worker_main, arg) != 0) {
            cel_free(arg);
            cel_pool_destroy(p);
            return CEL_FAIL(CEL_NOMEM, "cannot start thread %d of %d: try fewer threads", i + 1, n_threads);
        }
        p->n_threads = i + 1;
    }
    *out = p;
    return CEL_OK;
}

void cel_pool_destroy(cel_pool *p) {
    if (!p) return;
    p->stop = true;
    begin(p);
    for (int i = 1; i < p->n_threads; i++) pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->start);
    pthread_mutex_destroy(&p->lock);
    cel_free(p->thread);
    cel_free(p->share);
    cel_free(p);
}

int cel_pool_threads(const cel_pool *p) { return p ? p->n_threads : 1; }

void cel_pool_run(cel_pool *p, int n_tasks, cel_task_fn *fn, void *ctx) {
    if (!p || p->n_threads == 1 || n_tasks == 1) {
        for (int i = 0; i < n_tasks; i++) fn(ctx, i, 0);
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    for (int i = 0; i < p->n_threads; i++) {
        atomic_store_explicit(&p->share[i].next, (int)((long)n_tasks * i / p->n_threads), memory_order_relaxed);
        p->share[i].end = (int)((long)n_tasks * (i + 1) / p->n_threads);
    }
    atomic_store_explicit(&p->busy, p->n_threads - 1, memory_order_relaxed);
    begin(p);
    work(p, 0);
    for (int i = 0; i < SPINS && atomic_load_explicit(&p->busy, memory_order_acquire); i++) relax();
    if (!atomic_load_explicit(&p->busy, memory_order_acquire)) return;
    pthread_mutex_lock(&p->lock);
    p->caller_waits = true;
    while (atomic_load_explicit(&p->busy, memory_order_acquire)) pthread_cond_wait(&p->done, &p->lock);
    p->caller_waits = false;
    pthread_mutex_unlock(&p->lock);
}
