// Dual coordinate ascent for piecewise linear hinges with an L2 penalty: one row's residuals at a time, in closed form.
// The readable twin is src/crosshead/engines/dual_ascent.py.
#pragma once

#include <cstdint>

namespace crosshead {

// With residuals r (rows, classes) that sum to zero in each row, W = W0 - 1/l2 sum s r x^T and b = b0 - bias_step sum s r.
struct AscentTask {
  std::int64_t rows = 0, columns = 0, classes = 0, row_stride = 0;
  bool single = true;                // features and weight are float32, not float64
  const void* features = nullptr;    // each row's columns side by side
  const std::int32_t* labels = nullptr;
  const double* share = nullptr;     // (rows,) s, normalised
  const double* squares = nullptr;   // (rows,) |x|^2
  bool worst = true;                 // only the worst violation of a row is charged for
  double margin = 1.0, l2 = 1.0, bias_step = 0.0;
  void* weight = nullptr;            // (classes, columns)
  double* bias = nullptr;            // (classes,)
  double* residual = nullptr;        // (rows, classes)
  std::uint8_t* pause = nullptr;     // (rows,) sweeps to leave a row out that did not move when it was looked at last
  std::uint8_t* waiting = nullptr;   // (rows,) of those, how many are still to come
  std::int64_t* order = nullptr;     // (rows,) a permutation, shuffled further
};

// Sweeps over the rows in a random order that `seed` decides.
using Ascend = void (*)(const AscentTask& task, int sweeps, std::uint64_t seed);
void ascend_plain(const AscentTask& task, int sweeps, std::uint64_t seed);
#ifdef CROSSHEAD_X86
void ascend_avx2(const AscentTask& task, int sweeps, std::uint64_t seed);
void ascend_avx512(const AscentTask& task, int sweeps, std::uint64_t seed);
#endif

}  // namespace crosshead
