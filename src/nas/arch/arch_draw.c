/* Pictures of cells as text: nodes on one line, edges to the next node on it, longer ones in lanes above (from even
 * nodes) and below. Lines are drawn into a grid of directions first, so that crossings and forks find their characters. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cellar/arch.h"

enum { UP = 1, DOWN = 2, LEFT = 4, RIGHT = 8 };
enum { ROWS = 2 * 16 + 3, COLS = 128, STEP = 20, MIDDLE = ROWS / 2 };

typedef struct spot {
    uint8_t lines;     /* directions */
    bool solid;        /* some edge through here is not `none` */
    char letter;       /* a label's or node's character instead; 'x' of "3x3" is stored as '*' */
    uint8_t color;     /* operation + 1 */
    const char *arrow; /* a head instead */
} spot;

typedef struct board {
    spot at[ROWS][COLS];
    int top, bottom; /* rows in use */
    unsigned flags;
    cel_arch_space space;
} board;

static int node_col(int node) { return 2 + node * STEP; }

static void mark(board *b, int row, int col, int lines, bool solid, int op) {
    spot *s = &b->at[row][col];
    s->lines |= (uint8_t)lines;
    if (solid || !s->solid) s->color = (uint8_t)(op + 1);
    s->solid |= solid;
    if (row < b->top) b->top = row;
    if (row > b->bottom) b->bottom = row;
}

/* Writes a label into a lane near its middle, where nothing crosses. */
static void put_label(board *b, int row, int first, int last, int op) {
    const char *label = cel_arch_op_label(b->space, op);
    int n = (int)strlen(label) + 2, middle = (first + last + 1 - n) / 2;
    for (int shift = 0; shift < COLS; shift++) {
        int col = middle + (shift % 2 ? -(shift + 1) / 2 : shift / 2);
        if (col <= first || col + n > last) continue;
        bool clear = true;
        for (int i = 0; i < n; i++)
            clear = clear && b->at[row][col + i].lines == (LEFT | RIGHT) && !b->at[row][col + i].letter;
        if (!clear) continue;
        for (int i = 0; i < n; i++) {
            char c = i && i < n - 1 ? label[i - 1] : ' ';
            b->at[row][col + i].letter = c == 'x' && isdigit((unsigned char)label[i - 2]) ? '*' : c;
            b->at[row][col + i].color = (uint8_t)(op + 1);
        }
        return;
    }
}

static void straight(board *b, const struct cel_genotype_edge *e, bool solid) {
    int first = node_col(e->from) + 2, last = node_col(e->to) - 3;
    for (int col = first; col <= last; col++) mark(b, MIDDLE, col, LEFT | RIGHT, solid, e->op);
    mark(b, MIDDLE, last + 1, LEFT, solid, e->op);
    if (solid) b->at[MIDDLE][last + 1].arrow = b->flags & CEL_DRAW_ASCII ? ">" : "▶";
}

static void lane(board *b, const struct cel_genotype_edge *e, int row, bool solid) {
    int first = node_col(e->from) + 1, last = node_col(e->to) - 1, away = row < MIDDLE ? -1 : 1;
    int back = away < 0 ? DOWN : UP;
    for (int r = MIDDLE + away; r != row; r += away) {
        mark(b, r, first, UP | DOWN, solid, e->op);
        mark(b, r, last, UP | DOWN, solid, e->op);
    }
    mark(b, row, first, RIGHT | back, solid, e->op);
    mark(b, row, last, LEFT | back, solid, e->op);
    for (int col = first + 1; col < last; col++) mark(b, row, col, LEFT | RIGHT, solid, e->op);
    if (solid)
        b->at[MIDDLE + away][last].arrow = b->flags & CEL_DRAW_ASCII ? (away < 0 ? "v" : "^") : (away < 0 ? "▼" : "▲");
}

static bool lane_is_free(const board *b, int row, int first, int last) {
    for (int col = first; col <= last; col++)
        if (b->at[row][col].lines & (LEFT | RIGHT)) return false;
    return true;
}

static void draw_cell(board *b, const cel_genotype *g, int cell) {
    const cel_topology *t = cel_topology_get(g->space);
    int row_of[CEL_GENOTYPE_EDGES] = {0};
    for (int span = 1; span < t->n_nodes; span++)
        for (int i = 0; i < g->n; i++) {
            const struct cel_genotype_edge *e = &g->edge[i];
            bool solid = g->space != CEL_ARCH_NB201 || e->op != CEL_NB201_NONE;
            if (e->cell != cell || e->to - e->from != span) continue;
            int away = e->from % 2 ? 1 : -1;
            row_of[i] = span == 1 ? MIDDLE : MIDDLE + 2 * away;
            while (span > 1 && !lane_is_free(b, row_of[i], node_col(e->from) + 1, node_col(e->to) - 1))
                row_of[i] += away;
            if (span == 1)
                straight(b, e, solid);
            else
                lane(b, e, row_of[i], solid);
        }
    for (int i = 0; i < g->n; i++)
        if (g->edge[i].cell == cell)
            put_label(b, row_of[i], node_col(g->edge[i].from) + 1, node_col(g->edge[i].to) - 1, g->edge[i].op);
    for (int node = 0; node < t->n_nodes; node++) {
        b->at[MIDDLE][node_col(node) - 1].letter = '(';
        b->at[MIDDLE][node_col(node)].letter = (char)('0' + node);
        b->at[MIDDLE][node_col(node) + 1].letter = ')';
    }
}

static const char *ansi_color(cel_arch_space space, int op) {
    static const char *const nb201[] = {"\033[90m", "\033[37m", "\033[36m", "\033[94m", "\033[33m"};
    static const char *const darts[] = {"\033[31m", "\033[33m", "\033[37m", "\033[94m",
                                        "\033[35m", "\033[36m", "\033[32m"};
    return space == CEL_ARCH_NB201 ? nb201[op] : darts[op];
}

static const char *glyph(const board *b, const spot *s, char one[2]) {
    static const char *const lines[16] = {" ", "│", "│", "│", "─", "╯", "╮", "┤",
                                          "─", "╰", "╭", "├", "─", "┴", "┬", "┼"};
    bool ascii = b->flags & CEL_DRAW_ASCII, upright = !(s->lines & (LEFT | RIGHT)), flat = !(s->lines & (UP | DOWN));
    if (s->letter) {
        one[0] = s->letter == '*' ? 'x' : s->letter;
        return s->letter == '*' && !ascii ? "×" : one;
    }
    if (s->arrow) return s->arrow;
    if (!s->lines) return " ";
    if (!s->solid) return upright ? (ascii ? ":" : "╎") : flat ? (ascii ? "." : "╌") : ascii ? "." : lines[s->lines];
    return !ascii ? lines[s->lines] : upright ? "|" : flat ? "-" : "+";
}

static cel_status render(const board *b, char **text) {
    size_t size = (size_t)(b->bottom - b->top + 1) * (COLS * 16 + 2) + 1, n = 0;
    char *out = cel_alloc(size, 1);
    if (!out) return CEL_FAIL(CEL_NOMEM, "out of memory: the drawing of a cell");
    for (int row = b->top; row <= b->bottom; row++) {
        int end = COLS, color = 0;
        while (end > 0 && !b->at[row][end - 1].lines && !b->at[row][end - 1].letter) end--;
        for (int col = 0; col < end; col++) {
            const spot *s = &b->at[row][col];
            char one[2] = "";
            if ((b->flags & CEL_DRAW_COLOR) && s->color != color) {
                n += (size_t)snprintf(out + n, size - n, "%s",
                                      s->color ? ansi_color(b->space, s->color - 1) : "\033[0m");
                color = s->color;
            }
            n += (size_t)snprintf(out + n, size - n, "%s", glyph(b, s, one));
        }
        n += (size_t)snprintf(out + n, size - n, "%s\n", color ? "\033[0m" : "");
    }
    *text = out;
    return CEL_OK;
}

static cel_status draw(const cel_genotype *g, int cell, unsigned flags, char **text) {
    board *b;
    CEL_ALLOC(b, 1);
    b->top = b->bottom = MIDDLE;
    b->flags = flags;
    b->space = g->space;
    draw_cell(b, g, cell);
    cel_status status = render(b, text);
    cel_free(b);
    return status;
}

cel_status cel_arch_draw(const cel_genotype *g, unsigned flags, char **text) {
    CEL_TRY(cel_genotype_check(g));
    const cel_topology *t = cel_topology_get(g->space);
    if (t->n_cells == 1) return draw(g, 0, flags, text);
    char *cell[2] = {NULL, NULL};
    cel_status status = draw(g, 0, flags, &cell[0]);
    if (status == CEL_OK) status = draw(g, 1, flags, &cell[1]);
    if (status == CEL_OK) {
        *text = cel_asprintf("%s\n%s\n%s\n%s", t->cell_names[0], cell[0], t->cell_names[1], cell[1]);
        if (!*text) status = CEL_FAIL(CEL_NOMEM, "out of memory: the drawing of a cell");
    }
    cel_free(cell[0]);
    cel_free(cell[1]);
    return status;
}
