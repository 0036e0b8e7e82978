/* A reader of the pickles that hold image batches. Nothing in them is executed.
 *
 * Python's pickle is a program for a stack machine that may call anything. This reader knows the instructions (protocols 0 to 4)
 * that build dictionaries, lists, tuples, text, bytes, numbers and numpy arrays, and five names: numpy's ndarray, dtype,
 * _reconstruct and scalar, and _codecs.encode (how Python 3 writes bytes in protocols 0 to 2), each with a meaning of its own here.
 * Every other instruction or name is an error that says which it was and at which byte. Memory is bounded: objects by
 * CEL_PICKLE_MAX_OBJECTS, copied bytes by the size of the input; bytes and arrays otherwise point into the input. */
#ifndef CEL_DATA_PICKLE_H
#define CEL_DATA_PICKLE_H
#include "cellar/status.h"

enum { CEL_PICKLE_MAX_OBJECTS = 1 << 22, CEL_PICKLE_MAX_DIMS = 8 };

typedef enum cel_pickle_kind {
    CEL_PICKLE_NONE,
    CEL_PICKLE_BOOL,
    CEL_PICKLE_INT,
    CEL_PICKLE_FLOAT,
    CEL_PICKLE_BYTES, /* Python 3 bytes, Python 2 str */
    CEL_PICKLE_TEXT,  /* UTF-8 */
    CEL_PICKLE_LIST,
    CEL_PICKLE_TUPLE,
    CEL_PICKLE_DICT,
    CEL_PICKLE_ARRAY,
    CEL_PICKLE_DTYPE,
    CEL_PICKLE_GLOBAL
} cel_pickle_kind;

typedef struct cel_pickle_value cel_pickle_value;
struct cel_pickle_value {
    cel_pickle_kind kind;
    union {
        int64_t integer; /* BOOL, INT */
        double real;
        struct {
            const uint8_t *data;
            size_t n;
        } bytes; /* BYTES, TEXT: into the input or the pickle */
        struct {
            cel_pickle_value **item; /* DICT: key, value, key, value ... and n counts both */
            size_t n, room;
        } list; /* LIST, TUPLE, DICT; a list may hold itself */
        struct {
            char
                code; /* numpy's kind: 'u' unsigned, 'i' signed, 'f' float, 'b' bool; 0 before an array has its state */
            bool big_endian;
            uint8_t item_bytes;
        } dtype;
        struct {
            const uint8_t *data; /* C order, into the input or the pickle */
            const cel_pickle_value *dtype;
            int n_dims;
            const size_t *dim; /* the product of the dimensions and the item's size is the number of bytes there */
        } array;
        int global; /* which of the known names */
    };
};

typedef struct cel_pickle cel_pickle;
/* `name` stands in messages; `data` stays the caller's and outlives the pickle. CEL_FORMAT for everything that is not a whole
 * pickle of the kind above, CEL_UNSUPPORTED for names and protocols that are refused, CEL_NOMEM. */
cel_status cel_pickle_read(const char *name, const void *data, size_t n, cel_pickle **out);
void cel_pickle_destroy(cel_pickle *pickle);
const cel_pickle_value *cel_pickle_root(const cel_pickle *pickle);
/* The value of a text or bytes key; NULL when `dict` is no dictionary or has no such key. */
const cel_pickle_value *cel_pickle_find(const cel_pickle_value *dict, const char *key);
/* "dict", "list", ...; "nothing" for NULL. */
const char *cel_pickle_kind_name(const cel_pickle_value *value);
/* The whole numbers of a list, tuple or one-dimensional integer array: how many (-1: it is none of these), and number i. False
 * when item i is no whole number. */
int64_t cel_pickle_numbers(const cel_pickle_value *value);
bool cel_pickle_number(const cel_pickle_value *value, size_t i, int64_t *number);
#endif
