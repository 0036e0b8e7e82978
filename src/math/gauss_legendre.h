/* The 20-point Gauss-Legendre rule on [-1, 1]: the positive nodes and their weights (the others mirror them). */
#ifndef CEL_MATH_GAUSS_LEGENDRE_H
#define CEL_MATH_GAUSS_LEGENDRE_H

enum { CEL_GAUSS_HALF = 10 };
extern const double cel_gauss_node[CEL_GAUSS_HALF], cel_gauss_weight[CEL_GAUSS_HALF];
#endif
