#define _DEFAULT_SOURCE
#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Atomic uint64_t count;
static _Atomic int64_t fail_at;

uint64_t cel_mem_count(void) { return atomic_load(&count); }
void cel_mem_fail_at(uint64_t n) { atomic_store(&fail_at, (int64_t)n); }

static bool refused(void) {
    atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
    if (atomic_load_explicit(&fail_at, memory_order_relaxed) <= 0) return false;
    return atomic_fetch_sub(&fail_at, 1) == 1;
}

void *cel_alloc(size_t n, size_t size) {
    size_t bytes;
    if (refused() || __builtin_mul_overflow(n, size, &bytes) || bytes > PTRDIFF_MAX) return NULL;
    return calloc(bytes ? bytes : 1, 1);
}

void *cel_realloc(void *p, size_t old_n, size_t n, size_t size) {
    size_t bytes;
    if (refused() || __builtin_mul_overflow(n, size, &bytes) || bytes > PTRDIFF_MAX) return NULL;
    char *q = realloc(p, bytes ? bytes : 1);
    if (q && n > old_n) memset(q + old_n * size, 0, (n - old_n) * size);
    return q;
}

char *cel_strndup(const char *text, size_t n) {
    char *copy = cel_alloc(n + 1, 1);
    if (copy) memcpy(copy, text, n);
    return copy;
}

char *cel_strdup(const char *text) { return cel_strndup(text, strlen(text)); }

char *cel_asprintf(const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    char *text = n < 0 ? NULL : cel_alloc((size_t)n + 1, 1);
    if (text) vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(ap);
    return text;
}

void cel_free(void *p) { free(p); }

enum { HUGE_PAGE = 2 << 20 };

static size_t block_align(size_t bytes) { return bytes >= 4 * (size_t)HUGE_PAGE ? HUGE_PAGE : 64; }

void *cel_block_reserve(size_t bytes) {
    if (refused()) return NULL;
    size_t align = block_align(bytes), whole;
    if (__builtin_add_overflow(bytes, align - 1, &whole)) return NULL;
    whole = whole / align * align;
    void *p = aligned_alloc(align, whole ? whole : align);
    if (p && align == HUGE_PAGE)
        madvise(p, whole, MADV_HUGEPAGE); /* advice only: fewer TLB misses where the system agrees */
    return p;
}

void *cel_block_alloc(size_t bytes) {
    void *p = cel_block_reserve(bytes);
    size_t align = block_align(bytes);
    if (p) memset(p, 0, (bytes + align - 1) / align * align);
    return p;
}

void cel_block_free(void *p, size_t bytes) {
    (void)bytes;
    free(p);
}

typedef struct cel_arena_block {
    struct cel_arena_block *next;
    size_t used, size;
    max_align_t data[];
} cel_arena_block;

void *cel_arena_alloc(cel_arena *arena, size_t n, size_t size) {
    enum { ALIGN = sizeof(max_align_t), FIRST = 16 << 10 };
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 4) return NULL;
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    cel_arena_block *b = arena->head;
    if (!b || b->size - b->used < bytes) {
        size_t room = bytes > FIRST ? bytes : FIRST;
        b = cel_alloc(1, sizeof *b + room);
        if (!b) return NULL;
        b->size = room;
        b->next = arena->head;
        arena->head = b;
    }
    void *p = (char *)b->data + b->used;
    b->used += bytes;
    return p;
}

char *cel_arena_strdup(cel_arena *arena, const char *text) {
    size_t n = strlen(text) + 1;
    char *copy = cel_arena_alloc(arena, n, 1);
    if (copy) memcpy(copy, text, n);
    return copy;
}

char *cel_arena_printf(cel_arena *arena, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    char *text = n < 0 ? NULL : cel_arena_alloc(arena, (size_t)n + 1, 1);
    if (text) vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(ap);
    return text;
}

void cel_arena_fini(cel_arena *arena) {
    while (arena->head) {
        cel_arena_block *next = arena->head->next;
        cel_free(arena->head);
        arena->head = next;
    }
}
