#include "data/pickle.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cellar/text.h"

typedef cel_pickle_value value;

/* The names that are known, in both places where numpy has kept them. */
typedef enum known { RECONSTRUCT, SCALAR, NDARRAY, DTYPE, ENCODE, N_KNOWN } known;
static const struct {
    const char *module, *name;
    known what;
} globals[] = {
    {"numpy.core.multiarray", "_reconstruct", RECONSTRUCT},
    {"numpy._core.multiarray", "_reconstruct", RECONSTRUCT},
    {"numpy.core.multiarray", "scalar", SCALAR},
    {"numpy._core.multiarray", "scalar", SCALAR},
    {"numpy", "ndarray", NDARRAY},
    {"numpy", "dtype", DTYPE},
    {"_codecs", "encode", ENCODE},
};

struct cel_pickle {
    cel_arena arena;
    value *root;
};

enum { MAX_MARKS = 64, MAX_TEXT_LINE = 1 << 16 };

/* The stack machine. */
typedef struct machine {
    cel_pickle *pickle;
    const char *name;
    const uint8_t *data;
    size_t n, at, op_at; /* op_at: where the running instruction began */
    uint8_t op;
    value **stack;
    size_t n_stack, stack_room;
    size_t mark[MAX_MARKS];
    int n_marks;
    value **memo;
    size_t memo_room, n_memo; /* n_memo: how many MEMOIZE will number */
    size_t n_objects, n_copied;
} machine;

static cel_status wrong(machine *m, cel_status code, const char *expected, const char *found) {
    char op[8];
    snprintf(op, sizeof op, m->op > 32 && m->op < 127 ? "'%c'" : "0x%02x", m->op);
    return CEL_FAIL(
        code,
        "%s: pickle instruction %s at byte %zu: expected %s, found %s; the file is damaged or is no batch of images",
        m->name, op, m->op_at, expected, found);
}

static cel_status no_memory(machine *m) {
    return CEL_FAIL(CEL_NOMEM, "%s: out of memory at byte %zu of %zu", m->name, m->op_at, m->n);
}

static cel_status take(machine *m, size_t n, const uint8_t **p) {
    if (n > m->n - m->at)
        return CEL_FAIL(
            CEL_FORMAT,
            "%s: pickle is cut off: the instruction at byte %zu needs %zu bytes more, found %zu; fetch the file again",
            m->name, m->op_at, n, m->n - m->at);
    *p = m->data + m->at;
    m->at += n;
    return CEL_OK;
}

static cel_status take_little(machine *m, int n_bytes, uint64_t *number) {
    const uint8_t *p = NULL;
    CEL_TRY(take(m, (size_t)n_bytes, &p));
    *number = 0;
    for (int i = 0; i < n_bytes; i++) *number |= (uint64_t)p[i] << 8 * i;
    return CEL_OK;
}

/* A line of a text protocol, without its end. */
static cel_status take_line(machine *m, const uint8_t **p, size_t *n) {
    size_t left = m->n - m->at;
    const uint8_t *end = left ? memchr(m->data + m->at, '\n', left) : NULL;
    if (!end) return wrong(m, CEL_FORMAT, "a line", "no end of line");
    *p = m->data + m->at;
    *n = (size_t)(end - *p);
    m->at += *n + 1;
    return CEL_OK;
}

/* A decimal number on a line; Python 2 puts an L behind a long one. */
static cel_status take_decimal(machine *m, int64_t *number) {
    const uint8_t *p = NULL;
    size_t n = 0;
    CEL_TRY(take_line(m, &p, &n));
    if (n && p[n - 1] == 'L') n--;
    size_t i = n && (p[0] == '-' || p[0] == '+');
    if (i >= n) return wrong(m, CEL_FORMAT, "a whole number", "none");
    int64_t v = 0;
    for (; i < n; i++) {
        if (p[i] < '0' || p[i] > '9') return wrong(m, CEL_FORMAT, "a whole number", "another character");
        int digit = p[0] == '-' ? -(p[i] - '0') : p[i] - '0';
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v))
            return wrong(m, CEL_FORMAT, "a number of at most 64 bits", "a longer one");
    }
    *number = v;
    return CEL_OK;
}

static cel_status count_object(machine *m) {
    if (m->n_objects++ < CEL_PICKLE_MAX_OBJECTS) return CEL_OK;
    return CEL_FAIL(
        CEL_FORMAT,
        "%s: pickle has more than %d objects at byte %zu; expected a batch of images (an array and a list of labels)",
        m->name, CEL_PICKLE_MAX_OBJECTS, m->op_at);
}

static cel_status grow(machine *m, value ***list, size_t *room, size_t need) {
    if (need <= *room) return CEL_OK;
    size_t bigger = *room ? *room : 64;
    while (bigger < need) bigger *= 2;
    value **moved = cel_realloc(*list, *room, bigger, sizeof **list);
    if (!moved) return no_memory(m);
    *list = moved;
    *room = bigger;
    return CEL_OK;
}

static cel_status push(machine *m, value *v) {
    CEL_TRY(count_object(m));
    CEL_TRY(grow(m, &m->stack, &m->stack_room, m->n_stack + 1));
    m->stack[m->n_stack++] = v;
    return CEL_OK;
}

static cel_status push_new(machine *m, value v) {
    value *kept = cel_arena_alloc(&m->pickle->arena, 1, sizeof *kept);
    if (!kept) return no_memory(m);
    *kept = v;
    return push(m, kept);
}

static cel_status push_bytes(machine *m, cel_pickle_kind kind, const uint8_t *p, size_t n) {
    value v = {.kind = kind};
    v.bytes.data = p;
    v.bytes.n = n;
    return push_new(m, v);
}

static cel_status push_counted(machine *m, cel_pickle_kind kind, int n_bytes) {
    uint64_t n = 0;
    const uint8_t *p = NULL;
    CEL_TRY(take_little(m, n_bytes, &n));
    if (n > m->n) n = m->n; /* more than there is in any case: take says so */
    CEL_TRY(take(m, (size_t)n, &p));
    return push_bytes(m, kind, p, (size_t)n);
}

/* How many values lie above the last mark, or on the whole stack. */
static size_t above_mark(const machine *m) { return m->n_stack - (m->n_marks ? m->mark[m->n_marks - 1] : 0); }

static cel_status need(machine *m, size_t n) {
    if (above_mark(m) >= n) return CEL_OK;
    return wrong(m, CEL_FORMAT, "more values on the stack", "too few");
}

static cel_status pop(machine *m, value **v) {
    CEL_TRY(need(m, 1));
    *v = m->stack[--m->n_stack];
    return CEL_OK;
}

/* Takes the mark away; the values above it begin at *first. */
static cel_status pop_mark(machine *m, size_t *first) {
    if (!m->n_marks) return wrong(m, CEL_FORMAT, "a mark on the stack", "none");
    *first = m->mark[--m->n_marks];
    return CEL_OK;
}

/* Appends stack values first .. end of the stack to `list` and drops them. */
static cel_status append_from(machine *m, value *list, size_t first) {
    size_t n = m->n_stack - first, whole = list->list.n + n;
    if (whole > list->list.room) {
        size_t room = list->list.room ? 2 * list->list.room : n;
        if (room < whole) room = whole;
        value **moved = cel_arena_alloc(&m->pickle->arena, room, sizeof *moved);
        if (!moved) return no_memory(m);
        if (list->list.n) memcpy(moved, list->list.item, list->list.n * sizeof *moved);
        list->list.item = moved;
        list->list.room = room;
    }
    if (n) memcpy(list->list.item + list->list.n, m->stack + first, n * sizeof *m->stack);
    list->list.n = whole;
    m->n_stack = first;
    return CEL_OK;
}

static cel_status collect(machine *m, cel_pickle_kind kind, size_t first) {
    if (kind == CEL_PICKLE_DICT && (m->n_stack - first) % 2)
        return wrong(m, CEL_FORMAT, "a value for each key", "an odd number of values");
    CEL_TRY(push_new(m, (value){.kind = kind}));
    value *v = m->stack[--m->n_stack];
    CEL_TRY(append_from(m, v, first));
    return push(m, v);
}

static cel_status collect_marked(machine *m, cel_pickle_kind kind) {
    size_t first = 0;
    CEL_TRY(pop_mark(m, &first));
    return collect(m, kind, first);
}

/* What APPEND(S) and SETITEM(S) do: n = 0 takes everything above the mark. */
static cel_status append(machine *m, cel_pickle_kind kind, size_t n) {
    size_t first = 0;
    if (n) {
        CEL_TRY(need(m, n + 1));
        first = m->n_stack - n;
    } else {
        CEL_TRY(pop_mark(m, &first));
        if (first == (m->n_marks ? m->mark[m->n_marks - 1] : 0))
            return wrong(m, CEL_FORMAT, "a list or dictionary under the mark", "nothing");
    }
    value *list = m->stack[first - 1];
    if (list->kind != kind)
        return wrong(m, CEL_FORMAT, kind == CEL_PICKLE_LIST ? "a list" : "a dict", cel_pickle_kind_name(list));
    if (kind == CEL_PICKLE_DICT && (m->n_stack - first) % 2)
        return wrong(m, CEL_FORMAT, "a value for each key", "an odd number of values");
    return append_from(m, list, first);
}

static cel_status memo_put(machine *m, uint64_t index) {
    CEL_TRY(need(m, 1));
    if (index >= CEL_PICKLE_MAX_OBJECTS) return wrong(m, CEL_FORMAT, "a memo index below 4194304", "a larger one");
    CEL_TRY(grow(m, &m->memo, &m->memo_room, (size_t)index + 1));
    m->n_memo += !m->memo[index];
    m->memo[index] = m->stack[m->n_stack - 1];
    return CEL_OK;
}

static cel_status memo_get(machine *m, uint64_t index) {
    if (index >= m->memo_room || !m->memo[index])
        return wrong(m, CEL_FORMAT, "the index of a value put into the memo", "another index");
    return push(m, m->memo[index]);
}

static cel_status push_global(machine *m, const uint8_t *module, size_t n_module, const uint8_t *name, size_t n_name) {
    for (size_t i = 0; i < CEL_COUNT(globals); i++)
        if (n_module == strlen(globals[i].module) && !memcmp(module, globals[i].module, n_module) &&
            n_name == strlen(globals[i].name) && !memcmp(name, globals[i].name, n_name)) {
            value v = {.kind = CEL_PICKLE_GLOBAL};
            v.global = (int)globals[i].what;
            return push_new(m, v);
        }
    char shown[2][65] = {{0}};
    const uint8_t *text[2] = {module, name};
    size_t length[2] = {n_module, n_name};
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < length[k] && i < 64; i++)
            shown[k][i] = text[k][i] >= 32 && text[k][i] < 127 ? (char)text[k][i] : '?';
    return CEL_FAIL(
        CEL_UNSUPPORTED,
        "%s: pickle instruction at byte %zu names %s.%s, which is refused: nothing in a pickle is executed; expected a "
        "batch with a numpy array of bytes and a list of labels",
        m->name, m->op_at, shown[0], shown[1]);
}

/* 'text in single or double quotes' with Python's escapes, as protocol 0 writes a str. */
static cel_status push_quoted(machine *m) {
    const uint8_t *p = NULL;
    size_t n = 0;
    CEL_TRY(take_line(m, &p, &n));
    if (n < 2 || p[0] != p[n - 1] || (p[0] != '\'' && p[0] != '"'))
        return wrong(m, CEL_FORMAT, "text in quotes", "none");
    p++, n -= 2;
    if (n == 0 || !memchr(p, '\\', n)) return push_bytes(m, CEL_PICKLE_BYTES, p, n);
    uint8_t *out = cel_arena_alloc(&m->pickle->arena, n, 1);
    if (!out) return no_memory(m);
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] != '\\') {
            out[used++] = p[i];
            continue;
        }
        if (++i == n) return wrong(m, CEL_FORMAT, "a character after \\", "the end");
        static const char from[] = "\\'\"nrtabfv", to[] = "\\'\"\n\r\t\a\b\f\v";
        const char *known_escape = p[i] ? strchr(from, p[i]) : NULL;
        if (known_escape) {
            out[used++] = (uint8_t)to[known_escape - from];
            continue;
        }
        int byte = 0;
        for (int k = 0; k < 2 && p[i] == 'x'; k++) {
            uint8_t c = i + 1 + (size_t)k < n ? p[i + 1 + (size_t)k] : 0;
            int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
            byte = digit < 0 ? -1 : byte < 0 ? -1 : 16 * byte + digit;
        }
        if (p[i] != 'x' || byte < 0) return wrong(m, CEL_FORMAT, "an escape such as \\n or \\x41", "another");
        out[used++] = (uint8_t)byte;
        i += 2;
    }
    return push_bytes(m, CEL_PICKLE_BYTES, out, used);
}

/* Protocol 0 text: raw-unicode-escape, which is latin-1 with \uXXXX and \UXXXXXXXX; kept as UTF-8. */
static cel_status push_raw_unicode(machine *m) {
    const uint8_t *p = NULL;
    size_t n = 0;
    CEL_TRY(take_line(m, &p, &n));
    uint8_t *out =
        cel_arena_alloc(&m->pickle->arena, 2 * n + 1, 1); /* a latin-1 byte takes two, an escape fewer than its text */
    if (!out) return no_memory(m);
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = p[i];
        if (c == '\\' && i + 1 < n && (p[i + 1] == 'u' || p[i + 1] == 'U')) {
            size_t digits = p[i + 1] == 'u' ? 4 : 8;
            i += 2;
            c = 0;
            for (size_t k = 0; k < digits; k++, i++) {
                uint8_t h = i < n ? p[i] : 0;
                int digit = h >= '0' && h <= '9'   ? h - '0'
                            : h >= 'a' && h <= 'f' ? h - 'a' + 10
                            : h >= 'A' && h <= 'F' ? h - 'A' + 10
                                                   : -1;
                if (digit < 0) return wrong(m, CEL_FORMAT, "hexadecimal digits after \\u", "another character");
                c = c << 4 | (uint32_t)digit;
            }
            i--;
            if (c > 0x10ffff) return wrong(m, CEL_FORMAT, "a Unicode character", "a larger number");
        }
        if (c < 0x80) {
            out[used++] = (uint8_t)c;
            continue;
        }
        if (c >= 0x10000) {
            out[used++] = (uint8_t)(0xf0 | c >> 18);
            out[used++] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        } else if (c >= 0x800) {
            out[used++] = (uint8_t)(0xe0 | c >> 12);
        }
        if (c >= 0x800)
            out[used++] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        else
            out[used++] = (uint8_t)(0xc0 | c >> 6);
        out[used++] = (uint8_t)(0x80 | (c & 0x3f));
    }
    return push_bytes(m, CEL_PICKLE_TEXT, out, used);
}

static cel_status push_float_line(machine *m) {
    const uint8_t *p = NULL;
    size_t n = 0;
    CEL_TRY(take_line(m, &p, &n));
    char text[64];
    if (n == 0 || n >= sizeof text) return wrong(m, CEL_FORMAT, "a number", "none");
    memcpy(text, p, n);
    text[n] = 0;
    value v = {.kind = CEL_PICKLE_FLOAT};
    if (!cel_text_to_real(text, &v.real)) return wrong(m, CEL_FORMAT, "a number", "other text");
    return push_new(m, v);
}

static cel_status push_int(machine *m, cel_pickle_kind kind, int64_t number) {
    value v = {.kind = kind};
    v.integer = number;
    return push_new(m, v);
}

/* Protocol 0 writes True and False as I01 and I00. */
static cel_status push_int_line(machine *m) {
    size_t begin = m->at;
    int64_t number = 0;
    CEL_TRY(take_decimal(m, &number));
    bool is_bool = m->at - begin == 3 && m->data[begin] == '0';
    return push_int(m, is_bool ? CEL_PICKLE_BOOL : CEL_PICKLE_INT, number);
}

/* LONG1 and LONG4: two's complement, little endian. */
static cel_status push_long(machine *m, int n_length) {
    uint64_t n = 0, v = 0;
    const uint8_t *p = NULL;
    CEL_TRY(take_little(m, n_length, &n));
    if (n > 8) return wrong(m, CEL_FORMAT, "a number of at most 64 bits", "a longer one");
    CEL_TRY(take(m, (size_t)n, &p));
    for (uint64_t i = 0; i < n; i++) v |= (uint64_t)p[i] << 8 * i;
    if (n && n < 8 && p[n - 1] & 0x80) v |= UINT64_MAX << 8 * n;
    return push_int(m, CEL_PICKLE_INT, (int64_t)v);
}

static bool is_text(const value *v, const char *text) {
    return (v->kind == CEL_PICKLE_TEXT || v->kind == CEL_PICKLE_BYTES) && v->bytes.n == strlen(text) &&
           !memcmp(v->bytes.data, text, v->bytes.n);
}

/* numpy.dtype('u1', ...): letter and size. */
static cel_status make_dtype(machine *m, const value *arg, value *v) {
    if (arg->list.n < 1 || (arg->list.item[0]->kind != CEL_PICKLE_TEXT && arg->list.item[0]->kind != CEL_PICKLE_BYTES))
        return wrong(m, CEL_FORMAT, "the name of a numpy type", "none");
    static const char *const known_types[] = {"u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "b1"};
    for (size_t i = 0; i < CEL_COUNT(known_types); i++)
        if (is_text(arg->list.item[0], known_types[i])) {
            v->kind = CEL_PICKLE_DTYPE;
            v->dtype.code = known_types[i][0];
            v->dtype.item_bytes = (uint8_t)(known_types[i][1] - '0');
            return CEL_OK;
        }
    return wrong(m, CEL_UNSUPPORTED, "a numpy type of numbers (u1, i8, f4, ...)", "another type");
}

/* _codecs.encode(text, 'latin1'): how Python 3 writes bytes when asked for protocol 0 to 2. */
static cel_status make_encoded(machine *m, const value *arg, value *v) {
    if (arg->list.n < 1 || arg->list.n > 2 || arg->list.item[0]->kind != CEL_PICKLE_TEXT ||
        (arg->list.n == 2 && !is_text(arg->list.item[1], "latin1") && !is_text(arg->list.item[1], "latin-1")))
        return wrong(m, CEL_UNSUPPORTED, "_codecs.encode(text, 'latin1')", "other arguments");
    const uint8_t *p = arg->list.item[0]->bytes.data;
    size_t n = arg->list.item[0]->bytes.n, used = 0;
    m->n_copied += n;
    if (m->n_copied > 2 * m->n + 16) /* a text encoded again and again through the memo */
        return wrong(m, CEL_FORMAT, "each text to be encoded once", "more bytes than the file has");
    uint8_t *out = cel_arena_alloc(&m->pickle->arena, n, 1);
    if (!out) return no_memory(m);
    for (size_t i = 0; i < n; i++) {
        if (p[i] < 0x80) {
            out[used++] = p[i];
        } else if ((p[i] == 0xc2 || p[i] == 0xc3) && i + 1 < n && (p[i + 1] & 0xc0) == 0x80) {
            out[used++] = (uint8_t)(p[i] << 6 | (p[i + 1] & 0x3f));
            i++;
        } else {
            return wrong(m, CEL_FORMAT, "text of latin-1 characters", "another character");
        }
    }
    v->kind = CEL_PICKLE_BYTES;
    v->bytes.data = out;
    v->bytes.n = used;
    return CEL_OK;
}

static bool whole_number(const value *dtype, const uint8_t *p, int64_t *number) {
    int n = dtype->dtype.item_bytes;
    if (dtype->dtype.code != 'u' && dtype->dtype.code != 'i' && dtype->dtype.code != 'b') return false;
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[dtype->dtype.big_endian ? n - 1 - i : i] << 8 * i;
    if (dtype->dtype.code == 'i' && n < 8 && v >> (8 * n - 1)) v |= UINT64_MAX << 8 * n;
    if (dtype->dtype.code == 'u' && v > INT64_MAX) return false;
    *number = (int64_t)v;
    return true;
}

static cel_status make_scalar(machine *m, const value *arg, value *v) {
    const value *dtype = arg->list.n == 2 ? arg->list.item[0] : NULL, *raw = dtype ? arg->list.item[1] : NULL;
    if (!dtype || dtype->kind != CEL_PICKLE_DTYPE || raw->kind != CEL_PICKLE_BYTES ||
        raw->bytes.n != dtype->dtype.item_bytes)
        return wrong(m, CEL_FORMAT, "a numpy scalar (type, bytes)", "other arguments");
    v->kind = CEL_PICKLE_INT;
    if (!whole_number(dtype, raw->bytes.data, &v->integer)) v->kind = CEL_PICKLE_NONE; /* its value is of no use here */
    return CEL_OK;
}

static cel_status reduce(machine *m) {
    value *arg = NULL, *callee = NULL, made = {.kind = CEL_PICKLE_ARRAY};
    CEL_TRY(pop(m, &arg));
    CEL_TRY(pop(m, &callee));
    if (callee->kind != CEL_PICKLE_GLOBAL)
        return wrong(m, CEL_FORMAT, "one of the known names to call", cel_pickle_kind_name(callee));
    if (arg->kind != CEL_PICKLE_TUPLE) return wrong(m, CEL_FORMAT, "a tuple of arguments", cel_pickle_kind_name(arg));
    switch ((known)callee->global) {
    case RECONSTRUCT: /* makes an empty array; BUILD brings shape, type and bytes */
        if (arg->list.n != 3 || arg->list.item[0]->kind != CEL_PICKLE_GLOBAL || arg->list.item[0]->global != NDARRAY)
            return wrong(m, CEL_UNSUPPORTED, "_reconstruct(numpy.ndarray, ...)", "other arguments");
        break;
    case DTYPE:
        CEL_TRY(make_dtype(m, arg, &made));
        break;
    case SCALAR:
        CEL_TRY(make_scalar(m, arg, &made));
        break;
    case ENCODE:
        CEL_TRY(make_encoded(m, arg, &made));
        break;
    default:
        return wrong(m, CEL_UNSUPPORTED, "one of numpy's ways to rebuild an array", "a call of numpy.ndarray");
    }
    return push_new(m, made);
}

/* State of a dtype: (version, byte order, ...). */
static cel_status build_dtype(machine *m, value *dtype, const value *state) {
    if (state->kind != CEL_PICKLE_TUPLE || state->list.n < 2)
        return wrong(m, CEL_FORMAT, "a numpy type's state (version, byte order, ...)", cel_pickle_kind_name(state));
    const value *order = state->list.item[1];
    bool little = is_text(order, "<") || is_text(order, "|") || is_text(order, "=");
    if (!little && !is_text(order, ">")) return wrong(m, CEL_FORMAT, "a byte order (< > | =)", "none of them");
    dtype->dtype.big_endian = !little;
    return CEL_OK;
}

/* State of an array: (version, shape, type, Fortran order, bytes). */
static cel_status build_array(machine *m, value *array, const value *state) {
    if (state->kind != CEL_PICKLE_TUPLE || state->list.n != 5)
        return wrong(m, CEL_FORMAT, "an array's state (version, shape, type, order, bytes)",
                     cel_pickle_kind_name(state));
    const value *shape = state->list.item[1], *dtype = state->list.item[2], *fortran = state->list.item[3],
                *raw = state->list.item[4];
    if (array->array.dtype) return wrong(m, CEL_FORMAT, "an array without a state", "one that has it already");
    if (shape->kind != CEL_PICKLE_TUPLE || shape->list.n > CEL_PICKLE_MAX_DIMS)
        return wrong(m, CEL_FORMAT, "a shape of at most 8 dimensions", cel_pickle_kind_name(shape));
    if (dtype->kind != CEL_PICKLE_DTYPE) return wrong(m, CEL_FORMAT, "a numpy type", cel_pickle_kind_name(dtype));
    if (raw->kind != CEL_PICKLE_BYTES) return wrong(m, CEL_FORMAT, "the array's bytes", cel_pickle_kind_name(raw));
    if ((fortran->kind != CEL_PICKLE_BOOL && fortran->kind != CEL_PICKLE_INT) ||
        (fortran->integer && shape->list.n > 1))
        return wrong(m, CEL_UNSUPPORTED, "an array in C order", "one in Fortran order");
    size_t n_dims = shape->list.n, bytes = dtype->dtype.item_bytes;
    size_t *dim = cel_arena_alloc(&m->pickle->arena, n_dims, sizeof *dim);
    if (!dim) return no_memory(m);
    for (size_t i = 0; i < n_dims; i++) {
        const value *side = shape->list.item[i];
        if (side->kind != CEL_PICKLE_INT || side->integer < 0 ||
            __builtin_mul_overflow(bytes, (size_t)side->integer, &bytes))
            return wrong(m, CEL_FORMAT, "sides of an array", "a negative or huge number");
        dim[i] = (size_t)side->integer;
    }
    if (bytes != raw->bytes.n) {
        char expected[64], found[64];
        snprintf(expected, sizeof expected, "%zu bytes for the array's shape", bytes);
        snprintf(found, sizeof found, "%zu", raw->bytes.n);
        return wrong(m, CEL_FORMAT, expected, found);
    }
    array->array.data = raw->bytes.data;
    array->array.dtype = dtype;
    array->array.n_dims = (int)n_dims;
    array->array.dim = dim;
    return CEL_OK;
}

static cel_status build(machine *m) {
    value *state = NULL;
    CEL_TRY(need(m, 2));
    CEL_TRY(pop(m, &state));
    value *target = m->stack[m->n_stack - 1];
    if (target->kind == CEL_PICKLE_DTYPE) return build_dtype(m, target, state);
    if (target->kind == CEL_PICKLE_ARRAY) return build_array(m, target, state);
    return wrong(m, CEL_UNSUPPORTED, "a numpy array or type to set up", cel_pickle_kind_name(target));
}

static cel_status run_one(machine *m, bool *stop) {
    const uint8_t *p = NULL, *q = NULL;
    size_t n = 0, n2 = 0;
    uint64_t number = 0;
    int64_t integer = 0;
    value *v = NULL, *w = NULL;
    switch (m->op) {
    case 0x80: /* PROTO */
        CEL_TRY(take_little(m, 1, &number));
        if (number > 4)
            return CEL_FAIL(CEL_UNSUPPORTED, "%s: pickle of protocol %u, expected 0 to 4; write it with protocol=4",
                            m->name, (unsigned)number);
        return CEL_OK;
    case 0x95: /* FRAME: the size of what follows, of use only to who reads piece by piece */
        CEL_TRY(take_little(m, 8, &number));
        if (number > m->n - m->at) return wrong(m, CEL_FORMAT, "a frame inside the file", "one beyond its end");
        return CEL_OK;
    case '.':
        *stop = true;
        return CEL_OK;
    case '(':
        if (m->n_marks == MAX_MARKS) return wrong(m, CEL_FORMAT, "at most 64 open brackets", "more");
        m->mark[m->n_marks++] = m->n_stack;
        return CEL_OK;
    case '0':
        return pop(m, &v);
    case '1':
        CEL_TRY(pop_mark(m, &n));
        m->n_stack = n;
        return CEL_OK;
    case '2':
        CEL_TRY(need(m, 1));
        return push(m, m->stack[m->n_stack - 1]);
    case 'N':
        return push_new(m, (value){.kind = CEL_PICKLE_NONE});
    case 0x88:
        return push_int(m, CEL_PICKLE_BOOL, 1);
    case 0x89:
        return push_int(m, CEL_PICKLE_BOOL, 0);
    case 'I':
        return push_int_line(m);
    case 'L':
        CEL_TRY(take_decimal(m, &integer));
        return push_int(m, CEL_PICKLE_INT, integer);
    case 'K':
        CEL_TRY(take_little(m, 1, &number));
        return push_int(m, CEL_PICKLE_INT, (int64_t)number);
    case 'M':
        CEL_TRY(take_little(m, 2, &number));
        return push_int(m, CEL_PICKLE_INT, (int64_t)number);
    case 'J':
        CEL_TRY(take_little(m, 4, &number));
        return push_int(m, CEL_PICKLE_INT, (int32_t)(uint32_t)number);
    case 0x8a:
        return push_long(m, 1);
    case 0x8b:
        return push_long(m, 4);
    case 'F':
        return push_float_line(m);
    case 'G': {
        CEL_TRY(take(m, 8, &p));
        uint64_t bits = 0;
        for (int i = 0; i < 8; i++) bits = bits << 8 | p[i];
        value real = {.kind = CEL_PICKLE_FLOAT};
        memcpy(&real.real, &bits, 8);
        return push_new(m, real);
    }
    case 'S':
        return push_quoted(m);
    case 'V':
        return push_raw_unicode(m);
    case 'U':
    case 'C':
        return push_counted(m, CEL_PICKLE_BYTES, 1);
    case 'T':
    case 'B':
        return push_counted(m, CEL_PICKLE_BYTES, 4);
    case 0x8e:
        return push_counted(m, CEL_PICKLE_BYTES, 8);
    case 0x8c:
        return push_counted(m, CEL_PICKLE_TEXT, 1);
    case 'X':
        return push_counted(m, CEL_PICKLE_TEXT, 4);
    case 0x8d:
        return push_counted(m, CEL_PICKLE_TEXT, 8);
    case ']':
        return collect(m, CEL_PICKLE_LIST, m->n_stack);
    case ')':
        return collect(m, CEL_PICKLE_TUPLE, m->n_stack);
    case '}':
        return collect(m, CEL_PICKLE_DICT, m->n_stack);
    case 'l':
        return collect_marked(m, CEL_PICKLE_LIST);
    case 't':
        return collect_marked(m, CEL_PICKLE_TUPLE);
    case 'd':
        return collect_marked(m, CEL_PICKLE_DICT);
    case 0x85:
    case 0x86:
    case 0x87:
        CEL_TRY(need(m, m->op - 0x84u));
        return collect(m, CEL_PICKLE_TUPLE, m->n_stack - (m->op - 0x84u));
    case 'a':
        return append(m, CEL_PICKLE_LIST, 1);
    case 'e':
        return append(m, CEL_PICKLE_LIST, 0);
    case 's':
        return append(m, CEL_PICKLE_DICT, 2);
    case 'u':
        return append(m, CEL_PICKLE_DICT, 0);
    case 'p':
    case 'g':
        CEL_TRY(take_decimal(m, &integer));
        if (integer < 0) return wrong(m, CEL_FORMAT, "a memo index", "a negative number");
        return m->op == 'p' ? memo_put(m, (uint64_t)integer) : memo_get(m, (uint64_t)integer);
    case 'q':
        CEL_TRY(take_little(m, 1, &number));
        return memo_put(m, number);
    case 'r':
        CEL_TRY(take_little(m, 4, &number));
        return memo_put(m, number);
    case 'h':
        CEL_TRY(take_little(m, 1, &number));
        return memo_get(m, number);
    case 'j':
        CEL_TRY(take_little(m, 4, &number));
        return memo_get(m, number);
    case 0x94:
        return memo_put(m, m->n_memo);
    case 'c':
        CEL_TRY(take_line(m, &p, &n));
        CEL_TRY(take_line(m, &q, &n2));
        return push_global(m, p, n, q, n2);
    case 0x93: /* STACK_GLOBAL */
        CEL_TRY(pop(m, &v));
        CEL_TRY(pop(m, &w));
        if (v->kind != CEL_PICKLE_TEXT || w->kind != CEL_PICKLE_TEXT)
            return wrong(m, CEL_FORMAT, "a module and a name",
                         cel_pickle_kind_name(v->kind != CEL_PICKLE_TEXT ? v : w));
        return push_global(m, w->bytes.data, w->bytes.n, v->bytes.data, v->bytes.n);
    case 'R':
        return reduce(m);
    case 'b':
        return build(m);
    default:
        return wrong(m, CEL_UNSUPPORTED, "an instruction that builds numbers, text, lists or arrays",
                     "one that is refused");
    }
}

cel_status cel_pickle_read(const char *name, const void *data, size_t n, cel_pickle **out) {
    machine m = {.name = name, .data = data, .n = n};
    cel_status status = CEL_OK;
    bool stop = false;
    m.pickle = cel_alloc(1, sizeof *m.pickle);
    if (!m.pickle) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", name);
    while (status == CEL_OK && !stop) {
        m.op_at = m.at;
        if (m.at == n) {
            status = CEL_FAIL(CEL_FORMAT,
                              "%s: pickle is cut off: expected an end mark, found the end of the file at byte %zu; "
                              "fetch the file again",
                              name, n);
            break;
        }
        m.op = m.data[m.at++];
        status = run_one(&m, &stop);
    }
    if (status == CEL_OK && m.n_stack != 1)
        status = wrong(&m, CEL_FORMAT, "one value at the end", m.n_stack ? "several" : "none");
    if (status == CEL_OK && m.at != n)
        status = CEL_FAIL(CEL_FORMAT,
                          "%s: %zu bytes behind the end of the pickle at byte %zu; expected none: fetch the file again",
                          name, n - m.at, m.at);
    if (status == CEL_OK) {
        m.pickle->root = m.stack[0];
        *out = m.pickle;
    } else {
        cel_pickle_destroy(m.pickle);
    }
    cel_free(m.stack);
    cel_free(m.memo);
    return status;
}

void cel_pickle_destroy(cel_pickle *pickle) {
    if (!pickle) return;
    cel_arena_fini(&pickle->arena);
    cel_free(pickle);
}

const cel_pickle_value *cel_pickle_root(const cel_pickle *pickle) { return pickle->root; }

const cel_pickle_value *cel_pickle_find(const cel_pickle_value *dict, const char *key) {
    if (dict->kind != CEL_PICKLE_DICT) return NULL;
    for (size_t i = dict->list.n; i > 0; i -= 2) /* a later entry replaces an earlier one */
        if (is_text(dict->list.item[i - 2], key)) return dict->list.item[i - 1];
    return NULL;
}

const char *cel_pickle_kind_name(const cel_pickle_value *v) {
    static const char *const names[] = {"None",   "a bool",  "a number", "a float",  "bytes",        "text",
                                        "a list", "a tuple", "a dict",   "an array", "a numpy type", "a name"};
    return v ? names[v->kind] : "nothing";
}

int64_t cel_pickle_numbers(const cel_pickle_value *v) {
    if (v->kind == CEL_PICKLE_LIST || v->kind == CEL_PICKLE_TUPLE) return (int64_t)v->list.n;
    if (v->kind == CEL_PICKLE_ARRAY && v->array.dtype && v->array.n_dims == 1 && v->array.dim[0] <= INT64_MAX &&
        strchr("uib", v->array.dtype->dtype.code))
        return (int64_t)v->array.dim[0];
    return -1;
}

bool cel_pickle_number(const cel_pickle_value *v, size_t i, int64_t *number) {
    if (v->kind == CEL_PICKLE_ARRAY)
        return whole_number(v->array.dtype, v->array.data + i * v->array.dtype->dtype.item_bytes, number);
    const value *item = v->list.item[i];
    if (item->kind != CEL_PICKLE_INT && item->kind != CEL_PICKLE_BOOL) return false;
    *number = item->integer;
    return true;
}
