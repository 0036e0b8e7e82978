/* A file of scores: lines that begin with # say how they were made, a line of names, then a line for each cell:
 * index, architecture, numbers with commas between, nothing where a cell has no score. */
#ifndef CEL_LAB_SCORE_FILE_H
#define CEL_LAB_SCORE_FILE_H
#include "cellar/arch.h"

/* Reads as many whole lines as there are: *n_done of the n_cells, whose numbers go into values[cell * n_columns +
 * column]. `head`: all lines before the cells', as they should be. Cells must come in the order of index[]. A last
 * line without an end is left out. CEL_CONFIG: another head (says where); CEL_FORMAT. */
cel_status cel_score_file_parse(const char *name, const char *text, size_t n, const char *head, const int *index,
                                int n_cells, int n_columns, double *values, int *n_done);
/* A cell's line without its end. Caller: cel_free. */
cel_status cel_score_file_line(int index, const cel_genotype *g, const double *values, int n_columns, char **out);
#endif
