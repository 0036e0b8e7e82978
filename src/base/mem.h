/* Memory: counted allocation that a test can make fail, and an arena for things that die together.
 *
 * cel_alloc and friends return NULL when memory is out, zero-filled memory otherwise.
 * cel_free (cellar/status.h) releases it. */
#ifndef CEL_BASE_MEM_H
#define CEL_BASE_MEM_H
#include "cellar/status.h"

/* `n` objects of `size` bytes, zeroed; NULL on overflow, exhaustion or an injected failure. n = 0 gives a block too. */
void *cel_alloc(size_t n, size_t size);
/* Grows to `n` objects; new bytes are zero when old_n is right. The old block stays valid on failure. */
void *cel_realloc(void *p, size_t old_n, size_t n, size_t size);
char *cel_strdup(const char *text);
char *cel_strndup(const char *text, size_t n);
/* printf into a new string. */
char *cel_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A large zeroed block aligned to a huge page (or 64 bytes when small), for tensors; release with cel_block_free. */
void *cel_block_alloc(size_t bytes);
/* The same without touching it: what is in it is undefined, and it takes memory only where it is written. */
void *cel_block_reserve(size_t bytes);
void cel_block_free(void *p, size_t bytes);

/* Allocations made since the start by all threads; a step that allocates nothing leaves it unchanged. */
uint64_t cel_mem_count(void);
/* Tests: the n-th allocation from now fails (1 = the next), once; 0 switches it off. */
void cel_mem_fail_at(uint64_t n);

/* An arena: allocations live until cel_arena_fini. Zero-initialised is empty. */
typedef struct cel_arena {
    struct cel_arena_block *head;
} cel_arena;
void *cel_arena_alloc(cel_arena *arena, size_t n, size_t size);
char *cel_arena_strdup(cel_arena *arena, const char *text);
char *cel_arena_printf(cel_arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cel_arena_fini(cel_arena *arena);

/* p = cel_alloc(...) or leave the function with CEL_NOMEM. */
#define CEL_ALLOC(p, n)                                                                                                \
    do {                                                                                                               \
        (p) = cel_alloc((n), sizeof *(p));                                                                             \
        if (!(p)) return CEL_FAIL(CEL_NOMEM, "out of memory: %zu objects of %zu bytes", (size_t)(n), sizeof *(p));     \
    } while (0)
#define CEL_COUNT(array) (sizeof(array) / sizeof(array)[0])
#endif
