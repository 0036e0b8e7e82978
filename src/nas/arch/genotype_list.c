/* Files of architectures: plain lines, or the JSON lines that a run writes. */
#include <jansson.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "cellar/arch.h"

enum { FILE_MAX_BYTES = 64 << 20 };

static cel_status parse_json(const char *line, cel_genotype *out) {
    json_error_t error;
    json_t *json = json_loads(line, 0, &error);
    if (!json) return CEL_FAIL(CEL_FORMAT, "column %d: %s", error.column, error.text);
    const char *text = json_string_value(json_object_get(json, "genotype"));
    cel_status status = text ? cel_genotype_parse(text, out)
                             : CEL_FAIL(CEL_FORMAT, "expected a JSON object with the text \"genotype\"");
    json_decref(json);
    return status;
}

static cel_status parse_line(char *line, cel_genotype *out) {
    size_t n = strlen(line);
    while (n && strchr(" \t\r", line[n - 1])) line[--n] = 0;
    return *line == '{' ? parse_json(line, out) : cel_genotype_parse(line, out);
}

cel_status cel_genotype_list_read(const char *path, cel_genotype **list, size_t *n) {
    char *text;
    size_t bytes, lines = 1, count = 0;
    CEL_TRY(cel_file_read(path, FILE_MAX_BYTES, &text, &bytes));
    for (size_t i = 0; i < bytes; i++) lines += text[i] == '\n';
    cel_status status = CEL_OK;
    cel_genotype *all = NULL;
    if (strlen(text) != bytes) {
        status = CEL_FAIL(CEL_FORMAT, "%s: zero byte at offset %zu: not a file of architectures", path, strlen(text));
        goto done;
    }
    size_t filled = 0;
    for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n') {
        size_t blank = strspn(p, " \t\r");
        filled += p[blank] && p[blank] != '\n' && p[blank] != '#';
    }
    all = cel_alloc(filled, sizeof *all);
    if (!all) {
        status = CEL_FAIL(CEL_NOMEM, "%s: out of memory: %zu architectures", path, filled);
        goto done;
    }
    char *p = text;
    for (size_t line = 1; line <= lines; line++) {
        size_t length = strcspn(p, "\n");
        char *start = p + strspn(p, " \t\r");
        p[length] = 0;
        if (*start && *start != '#') {
            status = parse_line(start, &all[count]);
            if (status != CEL_OK) {
                cel_status_prefix(status, "%s, line %zu", path, line);
                goto done;
            }
            count++;
        }
        p += length + 1;
    }
    if (!count) status = CEL_FAIL(CEL_FORMAT, "%s: no architecture in it", path);
done:
    cel_free(text);
    if (status != CEL_OK) {
        cel_free(all);
        return status;
    }
    *list = all;
    *n = count;
    return CEL_OK;
}
