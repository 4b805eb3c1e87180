// The sweeps of dual_ascent.hpp, compiled once for each instruction set.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "dual_ascent.hpp"
#include "lanes.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

constexpr int kAscentClasses = 5;      // dot products side by side
constexpr std::uint8_t kMostPause = 16;
constexpr double kUnmoved = 1e-9;      // of a residual, whose size is at most about one
constexpr int kMostRoots = 60;
constexpr double kRoot = 1e-13;        // of the same, at the end of Newton's method
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

template <class T, int count>
inline void ascent_dots(const T* x, const T* weight, std::int64_t columns, double* scores) {
  Lane<T> sums[count] = {};
  std::int64_t d = 0;
  for (; d + kLanes <= columns; d += kLanes) {
    const Lane<T> features = load(x + d);
#pragma GCC unroll 8
    for (int c = 0; c < count; ++c) sums[c] += features * load(weight + c * columns + d);
  }
  for (int c = 0; c < count; ++c) {
    T total = 0;
    for (int lane = 0; lane < kLanes; ++lane) total += sums[c][lane];
    for (std::int64_t e = d; e < columns; ++e) total += x[e] * weight[c * columns + e];
    scores[c] = static_cast<double>(total);
  }
}

template <class T>
inline void ascent_add(T factor, const T* x, T* weight, std::int64_t columns) {
  std::int64_t d = 0;
  for (; d + kLanes <= columns; d += kLanes) store(weight + d, load(weight + d) + fill<T>(factor) * load(x + d));
  for (; d < columns; ++d) weight[d] += factor * x[d];
}

template <class T>
class Sweeper {
 public:
  explicit Sweeper(const AscentTask& task)
      : t_(task),
        scores_(static_cast<std::size_t>(task.classes)),
        wanted_(static_cast<std::size_t>(task.classes)),
        sorted_(static_cast<std::size_t>(task.classes)) {}

  void sweep(Random& random) {
    for (std::int64_t i = t_.rows - 1; i > 0; --i) std::swap(t_.order[i], t_.order[random.below(i + 1)]);
    for (std::int64_t k = 0; k < t_.rows; ++k) {
      const std::int64_t i = t_.order[k];
      if (t_.waiting[i]) {
        --t_.waiting[i];
        continue;
      }
      if (k + 2 < t_.rows) prefetch(row(t_.order[k + 2]));
      if (visit(i)) {
        t_.pause[i] = 0;
      } else {
        t_.pause[i] = static_cast<std::uint8_t>(std::min(2 * t_.pause[i] + 1, static_cast<int>(kMostPause)));
        t_.waiting[i] = t_.pause[i];
      }
    }
  }

 private:
  const T* row(std::int64_t i) const { return static_cast<const T*>(t_.features) + i * t_.row_stride; }

  void prefetch(const T* x) const {
    for (std::int64_t d = 0; d < t_.columns; d += 64 / static_cast<std::int64_t>(sizeof(T))) __builtin_prefetch(x + d);
  }

  // Maximises over the residuals of row i; whether they moved.
  bool visit(std::int64_t i) {
    const double curvature = t_.share[i] * (t_.squares[i] / t_.l2 + t_.bias_step);
    if (!(curvature > kLeastCurvature && curvature < kMostCurvature)) return false;
    const std::int64_t own = t_.labels[i], classes = t_.classes;
    const T* x = row(i);
    T* weight = static_cast<T*>(t_.weight);
    double* residual = t_.residual + i * classes;
    std::int64_t c = 0;
    for (; c + kAscentClasses <= classes; c += kAscentClasses)
      ascent_dots<T, kAscentClasses>(x, weight + c * t_.columns, t_.columns, scores_.data() + c);
    for (; c < classes; ++c) ascent_dots<T, 1>(x, weight + c * t_.columns, t_.columns, scores_.data() + c);
    double size = 0;
    for (c = 0; c < classes; ++c) {
      scores_[at(c)] += t_.bias[c];
      size += std::fabs(scores_[at(c)]);
    }
    if (!std::isfinite(size)) return false;  // what is no number has no order to be sorted in
    if (t_.worst) want_worst(residual, own, curvature);
    else want_each(residual, own, curvature);
    double moved = 0;
    for (c = 0; c < classes; ++c) moved = std::max(moved, std::fabs(wanted_[at(c)] - residual[c]));
    if (!(moved > kUnmoved)) return false;
    for (c = 0; c < classes; ++c) {
      const double change = t_.share[i] * (wanted_[at(c)] - residual[c]);
      if (change == 0) continue;
      residual[c] = wanted_[at(c)];
      ascent_add(static_cast<T>(-change / t_.l2), x, weight + c * t_.columns, t_.columns);
      t_.bias[c] -= change * t_.bias_step;
    }
    return true;
  }

  // r + e_y is the projection of (r + e_y) + (z + margin off y)/curvature on the simplex.
  void want_worst(const double* residual, std::int64_t own, double curvature) {
    for (std::int64_t c = 0; c < t_.classes; ++c) {
      const double bound = c == own ? 1.0 : 0.0;
      wanted_[at(c)] = residual[c] + bound + (scores_[at(c)] + (1 - bound) * t_.margin - scores_[at(own)]) / curvature;
    }
    // A common shift changes nothing, and keeps the digits of the sums where the row's curvature is tiny.
    const double top = *std::max_element(wanted_.begin(), wanted_.end());
    for (double& value : wanted_) value -= top;
    sorted_ = wanted_;
    std::sort(sorted_.begin(), sorted_.end(), std::greater<double>());
    double sum = 0, threshold = 0;
    for (std::size_t k = 0; k < sorted_.size(); ++k) {
      sum += sorted_[k];
      const double candidate = (sum - 1) / static_cast<double>(k + 1);
      if (sorted_[k] > candidate) threshold = candidate;
    }
    double others = 0;
    for (std::int64_t c = 0; c < t_.classes; ++c) {
      if (c == own) continue;
      wanted_[at(c)] = std::max(wanted_[at(c)] - threshold, 0.0);
      others += wanted_[at(c)];
    }
    wanted_[at(own)] = -others;
  }

  // r_j becomes clip(r_j + m_j/curvature - S, 0, 1), where S is what all r_j grow by together.
  void want_each(const double* residual, std::int64_t own, double curvature) {
    double before = 0;
    for (std::int64_t c = 0; c < t_.classes; ++c) {
      if (c == own) continue;
      wanted_[at(c)] = residual[c] + (scores_[at(c)] - scores_[at(own)] + t_.margin) / curvature;
      before += residual[c];
    }
    const double classes = static_cast<double>(t_.classes);
    double low = -classes, high = classes, grown = 0;
    for (int k = 0; k < kMostRoots; ++k) {  // Newton's method, kept inside a bracket, on a falling piecewise linear function
      double excess = -grown - before, slope = -1;
      for (std::int64_t c = 0; c < t_.classes; ++c) {
        if (c == own) continue;
        const double value = wanted_[at(c)] - grown;
        excess += std::min(std::max(value, 0.0), 1.0);
        if (value > 0 && value < 1) slope -= 1;
      }
      if (std::fabs(excess) < kRoot) break;
      (excess > 0 ? low : high) = grown;
      grown -= excess / slope;
      if (!(grown > low && grown < high)) grown = (low + high) / 2;
    }
    double others = 0;
    for (std::int64_t c = 0; c < t_.classes; ++c) {
      if (c == own) continue;
      wanted_[at(c)] = std::min(std::max(wanted_[at(c)] - grown, 0.0), 1.0);
      others += wanted_[at(c)];
    }
    wanted_[at(own)] = -others;
  }

  static std::size_t at(std::int64_t c) { return static_cast<std::size_t>(c); }

  const AscentTask& t_;
  std::vector<double> scores_, wanted_, sorted_;
};

template <class T>
void ascend_as(const AscentTask& task, int sweeps, std::uint64_t seed) {
  Random random(seed);
  Sweeper<T> sweeper(task);
  for (int k = 0; k < sweeps; ++k) sweeper.sweep(random);
}

inline void ascend(const AscentTask& task, int sweeps, std::uint64_t seed) {
  task.single ? ascend_as<float>(task, sweeps, seed) : ascend_as<double>(task, sweeps, seed);
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
