/* The tables of a comparison as plain text, Markdown and LaTeX. */
#include <string.h>

#include "lab/compare.h"
#include "lab/report/page.h"

/* Characters, not bytes: nothing here is wider than one column. */
static int width_of(const char *text) {
    int n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static void put_padded(cel_page *page, const char *text, int width, bool left) {
    int room = width - width_of(text);
    if (room < 0) room = 0;
    if (left)
        cel_page_put(page, "%s%*s", text, room, "");
    else
        cel_page_put(page, "%*s%s", room, "", text);
}

static void put_plain(cel_page *page, const cel_sheet *s) {
    int width[16] = {0}, total = 0;
    for (int c = 0; c < s->n_cols; c++) {
        for (int row = 0; row <= s->n_rows; row++) {
            int w = width_of(s->cell[row * s->n_cols + c]);
            if (w > width[c]) width[c] = w;
        }
        total += width[c] + 2;
    }
    cel_page_put(page, "%s\n\n", s->title);
    for (int row = 0; row <= s->n_rows; row++) {
        if (row == 1 || (s->rule && row == s->rule + 1)) {
            for (int i = 0; i < total - 2; i++) cel_page_put(page, "-");
            cel_page_put(page, "\n");
        }
        for (int c = 0; c < s->n_cols; c++) {
            put_padded(page, s->cell[row * s->n_cols + c], width[c], c < s->n_texts);
            cel_page_put(page, "%s", c + 1 < s->n_cols ? "  " : "\n");
        }
    }
    cel_page_put(page, "\n");
}

/* Anybody's text in a table of Markdown. */
static void put_markdown_text(cel_page *page, const char *text) {
    for (; *text; text++) {
        if (strchr("|\\`*_<>[]", *text)) cel_page_put(page, "\\");
        cel_page_put(page, "%c", *text == '\n' ? ' ' : *text);
    }
}

static void put_markdown(cel_page *page, const cel_sheet *s) {
    put_markdown_text(page, s->title);
    cel_page_put(page, "\n\n");
    for (int row = 0; row <= s->n_rows; row++) {
        for (int c = 0; c < s->n_cols; c++) {
            cel_page_put(page, "| ");
            put_markdown_text(page, s->cell[row * s->n_cols + c]);
            cel_page_put(page, " ");
        }
        cel_page_put(page, "|\n");
        for (int c = 0; c < s->n_cols && !row; c++) cel_page_put(page, c < s->n_texts ? "|-" : "|-:");
        if (!row) cel_page_put(page, "|\n");
    }
    cel_page_put(page, "\n");
}

static void put_latex_text(cel_page *page, const char *text) {
    static const struct {
        const char *utf8, *latex;
    } words[] = {{"±", "$\\pm$"},
                 {"−", "$-$"},
                 {"–", "--"},
                 {"×", "$\\times$"},
                 {"&", "\\&"},
                 {"%", "\\%"},
                 {"_", "\\_"},
                 {"#", "\\#"},
                 {"$", "\\$"},
                 {"{", "\\{"},
                 {"}", "\\}"},
                 {"~", "\\textasciitilde{}"},
                 {"^", "\\textasciicircum{}"},
                 {"\\", "\\textbackslash{}"},
                 {"<", "$<$"},
                 {">", "$>$"},
                 {"|", "\\textbar{}"},
                 {"\n", " "}};
    while (*text) {
        size_t i = 0;
        while (i < CEL_COUNT(words) && strncmp(text, words[i].utf8, strlen(words[i].utf8)) != 0) i++;
        if (i < CEL_COUNT(words)) {
            cel_page_put(page, "%s", words[i].latex);
            text += strlen(words[i].utf8);
        } else {
            cel_page_put(page, "%c", *text++);
        }
    }
}

static void put_latex(cel_page *page, const cel_sheet *s) {
    cel_page_put(page, "\\begin{table}\n\\centering\n\\caption{");
    put_latex_text(page, s->title);
    cel_page_put(page, "}\n\\begin{tabular}{");
    for (int c = 0; c < s->n_cols; c++) cel_page_put(page, c < s->n_texts ? "l" : "r");
    cel_page_put(page, "}\n\\toprule\n");
    for (int row = 0; row <= s->n_rows; row++) {
        if (row == 1 || (s->rule && row == s->rule + 1)) cel_page_put(page, "\\midrule\n");
        for (int c = 0; c < s->n_cols; c++) {
            put_latex_text(page, s->cell[row * s->n_cols + c]);
            cel_page_put(page, "%s", c + 1 < s->n_cols ? " & " : " \\\\\n");
        }
    }
    cel_page_put(page, "\\bottomrule\n\\end{tabular}\n\\end{table}\n\n");
}

static void put_head(cel_page *page, const cel_result *r, cel_comparison_form form) {
    const char *title = *r->c->conf.title ? r->c->conf.title : r->c->name;
    if (form == CEL_COMPARISON_LATEX) {
        cel_page_put(page, "%% ");
        put_latex_text(page, title);
        cel_page_put(page, "\n%% written by cellar %s; needs \\usepackage{booktabs}\n\n", CEL_VERSION_TEXT);
    } else if (form == CEL_COMPARISON_MARKDOWN) {
        cel_page_put(page, "# ");
        put_markdown_text(page, title);
        cel_page_put(page, "\n\n");
    } else {
        cel_page_put(page, "%s\n\n", title);
    }
}

static void put_note(cel_page *page, const char *note, cel_comparison_form form) {
    cel_page_put(page, form == CEL_COMPARISON_LATEX ? "%% " : "* ");
    if (form == CEL_COMPARISON_LATEX)
        put_latex_text(page, note);
    else if (form == CEL_COMPARISON_MARKDOWN)
        put_markdown_text(page, note);
    else
        cel_page_put(page, "%s", note);
    cel_page_put(page, "\n");
}

void cel_compare_text(cel_page *page, const cel_result *r, cel_comparison_form form) {
    static void (*const put[])(cel_page *, const cel_sheet *) = {[CEL_COMPARISON_TEXT] = put_plain,
                                                                 [CEL_COMPARISON_MARKDOWN] = put_markdown,
                                                                 [CEL_COMPARISON_LATEX] = put_latex};
    const char *notes[CEL_NOTES];
    put_head(page, r, form);
    for (int d = 0; d < r->c->conf.n_datasets; d++) {
        cel_sheet sheets[CEL_SHEETS];
        int n = cel_compare_sheets(page, r, d, sheets);
        for (int i = 0; i < n; i++) put[form](page, &sheets[i]);
    }
    int n = cel_compare_notes(page, r, notes);
    for (int i = 0; i < n; i++) put_note(page, notes[i], form);
}
