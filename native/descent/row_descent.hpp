// Coordinate descent on a sum over rows of quadratic models of the loss, with an L1 penalty, over some coordinates of W.
// The reference implementation is src/crosshead/curvature/row_model.py.
#pragma once

#include <cstdint>

#include "descent/sweeps.hpp"

namespace crosshead {

// Minimises over steps s of m coordinates, of which the k-th is the weight of column[k] in class class_of[k],
//
//   sum g_k s_k + 1/2 sum_i z_i^T H_i z_i + 1/2 sum l2_k s_k^2 + sum l1_k |w_k + s_k|,
//   z_ic = sum of s_k x_{i, column[k]} over the coordinates of class c,   H_i = diag p_i - q_i r_i^T - r_i q_i^T.
//
// With `rank` 0 there is neither q nor r; with 1, H_i = diag p_i - q_i q_i^T. Columns are dense, or sparse with the
// entries starts[d] to starts[d + 1] of `indices` and `features`.
struct RowModel {
  std::int64_t rows = 0, classes = 0, coordinates = 0;
  int rank = 0;
  bool single = true, sparse = false;    // float32, not float64
  const void* features = nullptr;        // dense: (columns, rows); sparse: the entries
  const std::int64_t* starts = nullptr;  // (columns + 1,)
  const std::int32_t* indices = nullptr;
  const void *p = nullptr, *q = nullptr, *r = nullptr;  // (classes, rows)
  const std::int64_t *column = nullptr, *class_of = nullptr;
  const double *weight = nullptr, *gradient = nullptr, *l1 = nullptr, *l2 = nullptr;
};

// Sweeps until one over all coordinates moves the model `tolerance` times less than the first did (as the root of the
// sum of curvature * move^2), or `ending` ends them before; in between coordinates at zero are left alone. Writes s
// into `step` and returns the number of sweeps.
using DescendRows = int (*)(const RowModel& model, const Ending& ending, double* step);

}  // namespace crosshead
