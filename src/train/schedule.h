/* Schedules: pure functions of the position, so that a resumed run needs no state. Positions count epochs; a fraction is a step
 * inside one. */
#ifndef CEL_TRAIN_SCHEDULE_H
#define CEL_TRAIN_SCHEDULE_H

/* SGDR's half cosine (Loshchilov and Hutter, arXiv:1608.03983) from `high` at 0 to `low` at `total`, in closed form.
 *
 * `restart` > 0 is the rule that DrNAS' progressive script follows in effect under PyTorch 1.1 and later: at epoch `restart` the optimiser
 * starts again at `high`, but the recursive schedule keeps its position, so the rest of the run is the plain cosine's
 * distance to `low` divided by (1 + cos(pi restart / total)) / 2. 0 gives the plain cosine. */
double cel_schedule_cosine(double at, double total, double high, double low, double restart);
/* From `first` at 0 to `last` at `total` - 1 (GDAS' and SNAS' temperature); `first` when total is 1. */
double cel_schedule_linear(double at, double total, double first, double last);
#endif
