// The sweeps of dual_ascent.hpp, compiled once for each instruction set.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "descent/dual_ascent.hpp"
#include "descent/dual_rows.hpp"
#include "pass/dual_steps.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

constexpr std::uint8_t kMostPause = 16;
constexpr double kUnmoved = 1e-9;                                   // of a residual, whose size is at most about one
constexpr double kLeastCurvature = 1e-200, kMostCurvature = 1e300;  // of a row that is looked at: others overflow

// SplitMix64 (Steele, Lea and Flood, 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::int64_t below(std::int64_t count) {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return static_cast<std::int64_t>((z ^ (z >> 31)) % static_cast<std::uint64_t>(count));
  }

 private:
  std::uint64_t state_;
};

template <class Rows>
class Sweeper {
 public:
  explicit Sweeper(const AscentTask& task)
      : t_(task),
        rows_(task),
        memory_(static_cast<std::size_t>((2 + DualStep::kBuffers) * DualStep::padded(task.classes))),
        step_({task.classes, task.labels, task.soft_target, task.loss, task.parameters},
              memory_.data() + 2 * DualStep::padded(task.classes)) {}

  double sweep(Random& random) {
    const std::int64_t rows = t_.features.rows;
    largest_ = 0;
    for (std::int64_t i = rows - 1; i > 0; --i) std::swap(t_.order[i], t_.order[random.below(i + 1)]);
    for (std::int64_t k = 0; k < rows; ++k) {
      const std::int64_t i = t_.order[k];
      if (t_.waiting[i]) {
        --t_.waiting[i];
        continue;
      }
      if (k + 2 < rows) prefetch(t_.order[k + 2]);
      if (visit(i)) {
        t_.pause[i] = 0;
      } else {
        t_.pause[i] = static_cast<std::uint8_t>(std::min(2 * t_.pause[i] + 1, static_cast<int>(kMostPause)));
        t_.waiting[i] = t_.pause[i];
      }
    }
    return largest_;
  }

 private:
  void prefetch(std::int64_t i) const {
    rows_.prefetch(i);
    const double* residual = t_.residual + i * t_.classes;
    for (std::int64_t c = 0; c < t_.classes; c += 64 / static_cast<std::int64_t>(sizeof(double)))
      __builtin_prefetch(residual + c);
  }

  // Maximises over the residuals of row i; whether they moved by more than what lets a row wait.
  bool visit(std::int64_t i) {
    const double curvature = t_.share[i] * (t_.squares[i] / t_.l2 + t_.bias_step);
    if (!(curvature > kLeastCurvature && curvature < kMostCurvature)) return false;
    double* residual = t_.residual + i * t_.classes;
    double* scores = memory_.data();
    rows_.scores(i, scores);
    double size = 0;
    for (std::int64_t c = 0; c < t_.classes; ++c) {
      scores[c] += t_.bias[c];
      size += std::fabs(scores[c]);
    }
    if (!std::isfinite(size)) return false;  // NaN cannot be sorted
    double* wanted = scores + DualStep::padded(t_.classes);
    if (!step_.want(i, residual, scores, curvature, wanted)) return false;
    double moved = 0;
    for (std::int64_t c = 0; c < t_.classes; ++c) moved = std::max(moved, std::fabs(wanted[c] - residual[c]));
    if (!(moved > kUnmoved)) return false;
    largest_ = std::max(largest_, moved);
    for (std::int64_t c = 0; c < t_.classes; ++c) {
      const double change = t_.share[i] * (wanted[c] - residual[c]);
      residual[c] = wanted[c];
      t_.bias[c] -= change * t_.bias_step;
      wanted[c] = -change / t_.l2;
    }
    rows_.add(i, wanted);
    return moved > t_.still;
  }

  const AscentTask& t_;
  Rows rows_;
  std::vector<double> memory_;
  DualStep step_;
  double largest_ = 0;
};

template <class Rows>
double ascend_over(const AscentTask& task, int sweeps, std::uint64_t seed) {
  Random random(seed);
  Sweeper<Rows> sweeper(task);
  double largest = 0;
  for (int k = 0; k < sweeps; ++k) largest = sweeper.sweep(random);
  return largest;
}

template <class T>
double ascend_as(const AscentTask& task, int sweeps, std::uint64_t seed) {
  if (!task.features.sparse) return ascend_over<DenseRows<T>>(task, sweeps, seed);
  if (task.features.wide_indices) return ascend_over<SparseRows<T, std::int64_t>>(task, sweeps, seed);
  return ascend_over<SparseRows<T, std::int32_t>>(task, sweeps, seed);
}

inline double ascend(const AscentTask& task, int sweeps, std::uint64_t seed) {
  return task.features.element == Element::float32 ? ascend_as<float>(task, sweeps, seed) : ascend_as<double>(task, sweeps, seed);
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
