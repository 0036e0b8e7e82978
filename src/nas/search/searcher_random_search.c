/* Random search: architectures drawn uniformly, none twice (Li and Talwalkar, arXiv:1902.07638, without weight sharing;
 * what NAS-Bench-201 calls RS). */
#include "nas/search/searcher.h"

const cel_searcher cel_searcher_random_search = {
    .name = "random_search", .title = "random search", .paper = "arXiv:1902.07638", .propose = cel_seeker_draw};
