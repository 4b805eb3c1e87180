// Coordinate descent on the quadratic model of an L1-penalised objective. No data are touched: only the model's
// factors. The reference implementation is src/crosshead/engines/coordinate_descent.py.
#pragma once

#include <cstdint>

#include "descent/sweeps.hpp"

namespace crosshead {

// Minimises over steps S (classes, columns)
//
//   <g, S> + 1/2 <S, B S A> + 1/2 sum l2_d S_cd^2 - 1/2 s^T Q K Q^T s + sum l1_d |W_cd + S_cd|
//
// where A is (columns, columns) or, if `diagonal`, its diagonal; B is (classes, classes) or, if `uncoupled`, its
// diagonal; Q is (classes * columns, rank), QK its product with the symmetric K.
struct QuadraticModel {
  std::int64_t classes = 0, columns = 0, rank = 0;
  const double* weight = nullptr;
  const double* gradient = nullptr;
  const double* class_matrix = nullptr;
  const double* feature_matrix = nullptr;
  bool uncoupled = false, diagonal = false;
  const double* l1 = nullptr;  // (columns,)
  const double* l2 = nullptr;  // (columns,)
  const double* low_rank = nullptr;
  const double* low_rank_scaled = nullptr;
};

// Sweeps until one moves the model `tolerance` times less than the first (as sqrt of sum of curvature * move^2), or
// `ending` ends them before; writes S into `step`. Returns the number of sweeps.
int coordinate_descent(const QuadraticModel& model, const Ending& ending, double* step);

}  // namespace crosshead
