/* The forms of a comparison: names, files, one call for each. */
#include <string.h>

#include "base/file.h"
#include "lab/compare.h"
#include "lab/report/page.h"

static const struct {
    const char *name, *file;
} forms[CEL_COMPARISON_FORMS] = {
    [CEL_COMPARISON_TEXT] = {"text", "results.txt"},   [CEL_COMPARISON_MARKDOWN] = {"markdown", "results.md"},
    [CEL_COMPARISON_LATEX] = {"latex", "results.tex"}, [CEL_COMPARISON_CSV] = {"csv", "results.csv"},
    [CEL_COMPARISON_JSON] = {"json", "results.json"},  [CEL_COMPARISON_HTML] = {"html", "report.html"}};

const char *cel_comparison_form_name(int form) {
    return form >= 0 && form < CEL_COMPARISON_FORMS ? forms[form].name : NULL;
}

const char *cel_comparison_form_file(int form) {
    return form >= 0 && form < CEL_COMPARISON_FORMS ? forms[form].file : NULL;
}

static cel_status make(const cel_result *r, cel_comparison_form form, cel_page *page) {
    if (form == CEL_COMPARISON_CSV)
        cel_compare_csv(page, r);
    else if (form == CEL_COMPARISON_JSON)
        cel_compare_json(page, r);
    else if (form == CEL_COMPARISON_HTML)
        cel_compare_html(page, r);
    else
        cel_compare_text(page, r, form);
    return cel_page_check(page);
}

cel_status cel_comparison_text(const cel_comparison *c, const char *dir, cel_comparison_form form, char **out) {
    cel_result result;
    cel_page page = {0};
    CEL_TRY(cel_result_read(c, dir, &result));
    cel_status status = make(&result, form, &page);
    if (status == CEL_OK && !(*out = cel_strndup(page.text, page.n))) status = CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_page_fini(&page);
    cel_result_fini(&result);
    return status;
}

static cel_status write_form(const cel_result *r, const char *dir, cel_comparison_form form) {
    cel_page page = {0};
    char *path = cel_path_join(dir, forms[form].file);
    cel_status status = path ? make(r, form, &page) : CEL_FAIL(CEL_NOMEM, "out of memory");
    if (status == CEL_OK) status = cel_file_write_atomic(path, page.text, page.n);
    cel_free(path);
    cel_page_fini(&page);
    return status;
}

cel_status cel_comparison_write(const cel_comparison *c, const char *dir) {
    cel_result result;
    cel_status status = CEL_OK;
    CEL_TRY(cel_result_read(c, dir, &result));
    for (int f = 0; f < CEL_COMPARISON_FORMS && status == CEL_OK; f++)
        status = write_form(&result, dir, (cel_comparison_form)f);
    cel_result_fini(&result);
    return status == CEL_OK ? CEL_OK : cel_status_pass(status, __FILE__, __LINE__);
}
