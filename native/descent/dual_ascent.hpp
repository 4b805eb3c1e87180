// Dual coordinate ascent with an L2 penalty: one row's residuals at a time.
// The reference implementation is src/crosshead/engines/dual_ascent.py.
#pragma once

#include <cstdint>

#include "pass/task.hpp"

namespace crosshead {

// With residuals r (rows, classes) in the domain of the loss's conjugate,
//   W = -1/l2 sum s r x^T    and    b = b0 - bias_step sum s r.
struct AscentTask {
  Features features;  // all rows, dense with columns side by side, or CSR
  std::int64_t classes = 0;
  const std::int32_t* labels = nullptr;  // (rows,), negative where no class is; or null
  const double* soft_target = nullptr;   // (rows, classes) or null
  const double* share = nullptr;         // (rows,) s, normalised
  const double* squares = nullptr;       // (rows,) |x|^2
  LossName loss = LossName::softmax;
  LossParameters parameters;
  double l2 = 1.0, bias_step = 0.0;
  void* weight = nullptr;           // in the features' type: dense (classes, columns), CSR (columns, stride)
  std::int64_t stride = 0;          // of CSR features' weights: at least as many as there are classes
  double* bias = nullptr;           // (classes,)
  double* residual = nullptr;       // (rows, classes)
  std::uint8_t* pause = nullptr;    // (rows,) sweeps to leave a row out that did not move when it was looked at last
  std::uint8_t* waiting = nullptr;  // (rows,) of those, how many are still to come
  std::int64_t* order = nullptr;    // (rows,) a permutation, shuffled further
  double still = 0.0;               // a row whose residuals change by no more than that may wait
};

// Sweeps over the rows in a random order that `seed` decides; returns the largest change of a residual in the last one.
using Ascend = double (*)(const AscentTask& task, int sweeps, std::uint64_t seed);

}  // namespace crosshead
