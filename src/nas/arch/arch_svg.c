/* Pictures of cells as SVG: nodes on a line, edges to the next node straight, longer ones as arcs, those that leave an
 * even node above and the others below. All coordinates are whole numbers, tenths of a pixel. */
#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "cellar/arch.h"

typedef struct style {
    const char *label, *color;
} style;

static const style nb201_styles[] = {{"none", "#b3b9c2"},
                                     {"skip", "#6f7782"},
                                     {"conv 1x1", "#178a8a"},
                                     {"conv 3x3", "#2457a6"},
                                     {"avg pool 3x3", "#c9720b"}};
static const style darts_styles[] = {
    {"max pool 3x3", "#b0440f"}, {"avg pool 3x3", "#c9720b"}, {"skip", "#6f7782"},        {"sep conv 3x3", "#2457a6"},
    {"sep conv 5x5", "#5b3fa8"}, {"dil conv 3x3", "#178a8a"}, {"dil conv 5x5", "#3d7a24"}};

static const style *style_of(cel_arch_space space, int op) {
    return space == CEL_ARCH_NB201 ? &nb201_styles[op] : &darts_styles[op];
}

const char *cel_arch_op_label(cel_arch_space space, int op) { return style_of(space, op)->label; }
const char *cel_arch_op_color(cel_arch_space space, int op) { return style_of(space, op)->color; }

enum {
    STEP = 1760,
    RADIUS = 200,
    MARGIN = 320,
    ARC = 500,
    ARC_MORE = 430,
    TITLE = 420,
    ARROW = 110,
    GAP = 20,
    SVG_MAX = 64 << 10
};

typedef struct sheet {
    char *text;
    size_t n;
} sheet;

static void put(sheet *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(sheet *s, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    s->n += (size_t)vsnprintf(s->text + s->n, SVG_MAX - s->n, fmt, args);
    va_end(args);
    assert(s->n < SVG_MAX);
}

/* A label with a real multiplication sign. */
static void put_label(sheet *s, const char *label) {
    for (const char *p = label; *p; p++)
        if (*p == 'x' && p > label && isdigit((unsigned char)p[-1]))
            put(s, "×");
        else
            put(s, "%c", *p);
}

static int arc_height(const struct cel_genotype_edge *e) {
    int span = e->to - e->from;
    return span == 1 ? 0 : ARC + (span - 2) * ARC_MORE;
}

static bool is_none(cel_arch_space space, int op) { return space == CEL_ARCH_NB201 && op == CEL_NB201_NONE; }

static int whole(double v) { return (int)lround(v); }

/* An edge as a cubic from the rim of one node to the arrow's back at the other. */
typedef struct curve {
    double x[4], y[4], ux, uy; /* (ux, uy): direction at the start; at the end it is (ux, -uy) */
} curve;

static curve curve_of(const cel_genotype *g, const struct cel_genotype_edge *e, int y) {
    int x0 = MARGIN + e->from * STEP, x1 = MARGIN + e->to * STEP, side = e->from % 2 ? 1 : -1;
    /* A cubic's middle is at three quarters of its control points' height. */
    double cx = (x1 - x0) * 0.26, cy = side * arc_height(e) / 0.75, length = hypot(cx, cy);
    double ux = cx / length, uy = cy / length, end = is_none(g->space, e->op) ? RADIUS : RADIUS + GAP + ARROW;
    return (curve){
        {x0 + ux * RADIUS, x0 + cx, x1 - cx, x1 - ux * end}, {y + uy * RADIUS, y + cy, y + cy, y + uy * end}, ux, uy};
}

static void put_line(sheet *s, const cel_genotype *g, const struct cel_genotype_edge *e, int y) {
    bool none = is_none(g->space, e->op);
    const char *color = style_of(g->space, e->op)->color;
    curve c = curve_of(g, e, y);
    put(s, "<path d=\"M%d %dC%d %d %d %d %d %d\" fill=\"none\" stroke=\"%s\" stroke-width=\"%d\"%s/>", whole(c.x[0]),
        whole(c.y[0]), whole(c.x[1]), whole(c.y[1]), whole(c.x[2]), whole(c.y[2]), whole(c.x[3]), whole(c.y[3]), color,
        none ? 14 : 26, none ? " stroke-dasharray=\"1 60\" stroke-linecap=\"round\"" : "");
    if (none) return;
    double wide = ARROW * 0.55;
    put(s, "<path d=\"M%d %dL%d %dL%d %dZ\" fill=\"%s\"/>", whole(c.x[3] + c.ux * ARROW), whole(c.y[3] - c.uy * ARROW),
        whole(c.x[3] - c.uy * wide), whole(c.y[3] - c.ux * wide), whole(c.x[3] + c.uy * wide),
        whole(c.y[3] + c.ux * wide), color);
}

static void put_pill(sheet *s, const cel_genotype *g, const struct cel_genotype_edge *e, int y) {
    const style *look = style_of(g->space, e->op);
    bool none = is_none(g->space, e->op);
    curve c = curve_of(g, e, y);
    int x = whole((c.x[0] + 3 * c.x[1] + 3 * c.x[2] + c.x[3]) / 8);
    int at = whole((c.y[0] + 3 * c.y[1] + 3 * c.y[2] + c.y[3]) / 8);
    int width = (int)strlen(look->label) * 72 + 160;
    if (!none)
        put(s,
            "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"220\" rx=\"110\" fill=\"#fff\" stroke=\"%s\" "
            "stroke-width=\"12\"/>",
            x - width / 2, at - 110, width, look->color);
    put(s, "<text x=\"%d\" y=\"%d\" fill=\"%s\" font-size=\"%d\" font-weight=\"%d\">", x, at + (none ? -48 : 44),
        look->color, none ? 110 : 125, none ? 400 : 600);
    put_label(s, look->label);
    put(s, "</text>");
}

static void put_node(sheet *s, const cel_topology *t, int node, int y) {
    static const char *const inputs[2][2] = {{"in", ""}, {"k−2", "k−1"}};
    bool input = node < t->n_inputs, output = t->n_inputs == 1 && node == t->n_nodes - 1;
    int x = MARGIN + node * STEP;
    put(s, "<circle cx=\"%d\" cy=\"%d\" r=\"%d\" fill=\"%s\" stroke=\"#1c2733\" stroke-width=\"18\"/>", x, y, RADIUS,
        input || output ? "#1c2733" : "#fff");
    put(s, "<text x=\"%d\" y=\"%d\" fill=\"%s\" font-size=\"140\" font-weight=\"700\">", x, y + 49,
        input || output ? "#fff" : "#1c2733");
    if (input)
        put(s, "%s", inputs[t->n_inputs - 1][node]);
    else if (output)
        put(s, "out");
    else
        put(s, "%d", node);
    put(s, "</text>");
}

/* Draws one kind of cell below `top`; returns where it ends. */
static int put_cell(sheet *s, const cel_genotype *g, int cell, int top) {
    const cel_topology *t = cel_topology_get(g->space);
    int above = RADIUS, below = RADIUS;
    for (int i = 0; i < g->n; i++) {
        const struct cel_genotype_edge *e = &g->edge[i];
        int reach = arc_height(e) + 130, *side = e->from % 2 ? &below : &above;
        if (e->cell == cell && reach > *side) *side = reach;
    }
    if (t->n_cells > 1) {
        put(s,
            "<text x=\"%d\" y=\"%d\" fill=\"#1c2733\" font-size=\"160\" font-weight=\"700\" "
            "style=\"text-anchor:start\">"
            "%s cell</text>",
            MARGIN - RADIUS, top + 190, cell ? "Reduction" : "Normal");
        put(s,
            "<text x=\"%d\" y=\"%d\" fill=\"#6f7782\" font-size=\"125\" style=\"text-anchor:end\">output: nodes %d to "
            "%d "
            "side by side</text>",
            MARGIN + (t->n_nodes - 1) * STEP + RADIUS, top + 190, t->n_inputs, t->n_nodes - 1);
        top += TITLE;
    }
    int y = top + above + 60;
    for (int i = 0; i < g->n; i++)
        if (g->edge[i].cell == cell) put_line(s, g, &g->edge[i], y);
    for (int node = 0; node < t->n_nodes; node++) put_node(s, t, node, y);
    for (int i = 0; i < g->n; i++)
        if (g->edge[i].cell == cell) put_pill(s, g, &g->edge[i], y);
    return y + below + 60;
}

cel_status cel_arch_svg(const cel_genotype *g, char **svg) {
    CEL_TRY(cel_genotype_check(g));
    const cel_topology *t = cel_topology_get(g->space);
    char text[CEL_GENOTYPE_TEXT];
    sheet body = {0}, page = {0};
    int width = 2 * MARGIN + (t->n_nodes - 1) * STEP, height = 0;
    body.text = cel_alloc(SVG_MAX, 1);
    page.text = cel_alloc(SVG_MAX, 1);
    if (!body.text || !page.text) {
        cel_free(body.text);
        cel_free(page.text);
        return CEL_FAIL(CEL_NOMEM, "out of memory: the picture of a cell");
    }
    cel_genotype_format(g, text);
    for (int cell = 0; cell < t->n_cells; cell++) height = put_cell(&body, g, cell, height) + (cell ? 0 : 60);
    put(&page,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
        "style=\"max-width:100%%;height:auto\" font-family=\"system-ui,-apple-system,'Segoe UI','DejaVu "
        "Sans',sans-serif\" "
        "text-anchor=\"middle\"><title>%s</title>%s</svg>",
        width, height, width / 10, height / 10, text, body.text);
    cel_free(body.text);
    *svg = page.text;
    return CEL_OK;
}

cel_status cel_arch_svg_write(const cel_genotype *g, const char *path) {
    char *svg;
    CEL_TRY(cel_arch_svg(g, &svg));
    cel_status status = cel_file_write_named(path, svg, strlen(svg));
    cel_free(svg);
    return status;
}
