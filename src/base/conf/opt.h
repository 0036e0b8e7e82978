/* Option tables: the one place where a setting exists. Reading, checking, defaults, help and the resolved dump come from it.
 *
 *     typedef struct { double lr; int warmup; } conf;
 *     static const cel_opt opts[] = {
 *         CEL_REAL(conf, lr, 3e-4, 0, 1, "learning rate of the concentration"),
 *         CEL_INT(conf, warmup, 0, 0, 1000, "epochs before the architecture moves"), CEL_OPTS_END};
 *
 * The setting is called like the member. A member of the wrong type does not compile. Ranges include both ends. */
#ifndef CEL_BASE_CONF_OPT_H
#define CEL_BASE_CONF_OPT_H
#include "cellar/status.h"

typedef enum cel_opt_kind {
    CEL_OPT_END,
    CEL_OPT_REAL, /* double */
    CEL_OPT_INT,  /* int */
    CEL_OPT_LONG, /* int64_t */
    CEL_OPT_BOOL, /* bool */
    CEL_OPT_TEXT, /* const char *, never NULL; lives as long as the cel_conf it was read from, or as the default */
    CEL_OPT_ENUM, /* an enum: index into a list of names */
    CEL_OPT_LIST, /* an array of structs with a table of their own, and a count; empty by default */
    CEL_OPT_TREE  /* a section that other tables will read (cel_conf_lay): no member, and not in a dump */
} cel_opt_kind;

typedef struct cel_opt {
    cel_opt_kind kind;
    const char *name, *help;
    size_t offset;
    double real, real_min, real_max;
    int64_t integer, integer_min, integer_max;
    const char *text;
    const char *const *names; /* ENUM: ends with NULL */
    const struct cel_opt *items;
    size_t count_offset, item_size, capacity;
} cel_opt;

#define CEL_OPT_AT_(T, member, type) _Generic(((T *)0)->member, type : offsetof(T, member))
#define CEL_REAL(T, member, fallback, lo, hi, text_)                                                                   \
    {                                                                                                                  \
        .kind = CEL_OPT_REAL, .name = #member, .help = (text_), .offset = CEL_OPT_AT_(T, member, double),              \
        .real = (fallback), .real_min = (lo), .real_max = (hi)                                                         \
    }
#define CEL_INT(T, member, fallback, lo, hi, text_)                                                                    \
    {                                                                                                                  \
        .kind = CEL_OPT_INT, .name = #member, .help = (text_), .offset = CEL_OPT_AT_(T, member, int),                  \
        .integer = (fallback), .integer_min = (lo), .integer_max = (hi)                                                \
    }
#define CEL_LONG(T, member, fallback, lo, hi, text_)                                                                   \
    {                                                                                                                  \
        .kind = CEL_OPT_LONG, .name = #member, .help = (text_), .offset = CEL_OPT_AT_(T, member, int64_t),             \
        .integer = (fallback), .integer_min = (lo), .integer_max = (hi)                                                \
    }
#define CEL_BOOL(T, member, fallback, text_)                                                                           \
    {                                                                                                                  \
        .kind = CEL_OPT_BOOL, .name = #member, .help = (text_), .offset = CEL_OPT_AT_(T, member, bool),                \
        .integer = (fallback)                                                                                          \
    }
#define CEL_TEXT(T, member, fallback, text_)                                                                           \
    {                                                                                                                  \
        .kind = CEL_OPT_TEXT, .name = #member, .help = (text_), .offset = CEL_OPT_AT_(T, member, const char *),        \
        .text = (fallback)                                                                                             \
    }
/* The member is an int or an enum without negative values; `names_` is a NULL-terminated array in the enum's order. */
#define CEL_ENUM(T, member, fallback, names_, text_)                                                                   \
    {                                                                                                                  \
        .kind = CEL_OPT_ENUM, .name = #member, .help = (text_),                                                        \
        .offset = _Generic(((T *)0)->member, int                                                                       \
                           : offsetof(T, member), unsigned                                                             \
                           : offsetof(T, member)),                                                                     \
        .integer = (fallback), .names = (names_)                                                                       \
    }
/* `member` is an array, `count` an int member; the list holds at most as many items as the array. */
#define CEL_LIST(T, member, count, items_, text_)                                                                      \
    {                                                                                                                  \
        .kind = CEL_OPT_LIST, .name = #member, .help = (text_), .offset = offsetof(T, member),                         \
        .count_offset = CEL_OPT_AT_(T, count, int), .items = (items_), .item_size = sizeof((T *)0)->member[0],         \
        .capacity = sizeof((T *)0)->member / sizeof((T *)0)->member[0]                                                 \
    }
#define CEL_TREE(name_, text_)                                                                                         \
    { .kind = CEL_OPT_TREE, .name = (name_), .help = (text_) }
#define CEL_OPTS_END                                                                                                   \
    { .kind = CEL_OPT_END }

/* Sets every member that the table names to its default. */
void cel_opt_defaults(const cel_opt *opts, void *conf);
#endif
