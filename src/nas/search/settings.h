/* The settings of a search: one table for each section of a recipe. `search`, `train` and `data` are here, `select` in select.h; `space` and `method`
 * come from the chosen space's and method's own tables. */
#ifndef CEL_NAS_SETTINGS_H
#define CEL_NAS_SETTINGS_H
#include "base/conf/conf.h"
#include "data/split.h"
#include "nas/search/policy.h"
#include "nas/search/select.h"
#include "nas/search/watch.h"
#include "nas/space/space.h"

enum { CEL_SEARCH_MAX_STAGES = 8 };

/* A progressive stage. */
typedef struct cel_search_stage {
    int k, ops, epochs, warmup;
} cel_search_stage;

typedef enum cel_precision { CEL_PRECISION_FP32, CEL_PRECISION_BF16 } cel_precision;

typedef struct cel_search_conf {
    const char *method, *space, *backend;
    int64_t seed;
    cel_search_stage stages[CEL_SEARCH_MAX_STAGES];
    int n_stages, sampled;
    int levels, order, edge_norm; /* cel_search_levels, cel_search_order, cel_search_edge_norm */
    double xi, edge_lr, edge_weight_decay;
    int precision;
    bool validate, fused;
    double checkpoint_s;
    int64_t max_params, max_flops; /* of the derived cell's network; 0: any */
} cel_search_conf;
typedef enum cel_search_levels { CEL_SEARCH_LEVELS_METHOD, CEL_SEARCH_BILEVEL, CEL_SEARCH_SINGLE } cel_search_levels;
typedef enum cel_search_order { CEL_SEARCH_FIRST, CEL_SEARCH_SECOND } cel_search_order;
typedef enum cel_search_edge_norm {
    CEL_SEARCH_EDGES_METHOD,
    CEL_SEARCH_EDGES_OFF,
    CEL_SEARCH_EDGES_ON
} cel_search_edge_norm;

typedef struct cel_train_conf {
    int batch;
    double lr, lr_min, momentum, weight_decay, clip;
    bool nesterov, lr_per_step, lr_restart, clip_arch;
} cel_train_conf;

typedef struct cel_data_conf {
    const char *source, *path;
    int split, limit, limit_per_class, pad, cutout;
    bool flip;
} cel_data_conf;

extern const cel_opt cel_search_opts[], cel_train_opts[], cel_data_opts[];

typedef struct cel_settings {
    cel_search_conf search;
    cel_train_conf train;
    cel_data_conf data;
    cel_select_conf select;
    cel_watch_conf watch;
    const cel_space *space;
    const cel_method *method;
    void *space_conf, *method_conf; /* structs of their tables; owned */
} cel_settings;

/* Reads a recipe. `more`: other sections it may have (filled as well); NULL for none. Texts live as long as `tree`. CEL_CONFIG names
 * the setting, what is legal and what to try. */
cel_status cel_settings_init(cel_settings *settings, const cel_conf *tree, const cel_section *more, size_t n_more);
void cel_settings_fini(cel_settings *settings);
/* The sections of these settings, for cel_conf_dump and help. */
enum { CEL_SETTINGS_SECTIONS = 7 };
void cel_settings_sections(cel_settings *settings, cel_section sections[CEL_SETTINGS_SECTIONS]);
/* Do the settings go together? `shape` may be NULL while the images are not known. */
cel_status cel_settings_check(const cel_settings *settings, const cel_net_shape *shape);

/* Sum over the stages. */
int cel_settings_epochs(const cel_settings *settings);
/* The stage that an epoch lies in, and the stage's first epoch. */
int cel_settings_stage(const cel_settings *settings, int epoch, int *first);
/* Operations that a stage keeps on each edge (all = the most that a choice has). */
int cel_settings_ops(const cel_settings *settings, int stage);
/* What the recipe says, else the method. */
cel_levels cel_settings_levels(const cel_settings *settings);
bool cel_settings_edge_norm(const cel_settings *settings);
#endif
