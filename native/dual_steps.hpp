// One row of dual ascent: the residual r that maximises
//   -l*(r) + <r - r0, z> - q/2 |r - r0|^2,
// where r0 is the row's residual so far, z its scores and q its curvature. In terms of the scores u that the row then
// has, r is the gradient of l at u = z - q (r - r0).
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "dual_ascent.hpp"
#include "lanes.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

constexpr int kMostRoots = 60;
constexpr double kRoot = 1e-13;   // relative, at the end of Newton's method on one unknown
constexpr int kMostSteps = 60;    // of Newton's method on all scores of a row
constexpr double kNear = 0.01;    // squared error, and the share of that at its beginning: the other rows move as well
constexpr double kUnseen = 1e-24; // a squared error that is rounding
constexpr double kFarBelow = -1e30;  // a score that no class has

class DualStep {
 public:
  explicit DualStep(const AscentTask& task)
      : t_(task),
        padded_((task.classes + kLanes - 1) / kLanes * kLanes),
        target_(size()),
        before_(size()),
        scores_(size()),
        here_(size()),
        last_(size()),
        point_(size()),
        error_(size()),
        sorted_() {}

  // Whether there is a step: `wanted` has room for all classes.
  bool want(std::int64_t row, const double* residual, const double* scores, double curvature, double* wanted) {
    const std::int64_t own = t_.labels == nullptr ? -1 : t_.labels[row];
    switch (t_.loss) {
      case LossName::crammer_singer: return want_worst(residual, scores, own, curvature, wanted);
      case LossName::hinge: return want_each(residual, scores, own, curvature, 1.0, 1.0, wanted);
      case LossName::squared_hinge:
        return want_each(residual, scores, own, curvature, std::numeric_limits<double>::infinity(),
                         1 + 0.5 / curvature, wanted);
      case LossName::squared_error: return want_square(row, own, residual, scores, curvature, wanted);
      case LossName::binary: set_target(row, own, residual); return want_sigmoids(scores, curvature, wanted);
      case LossName::softmax: set_target(row, own, residual); return want_softmax(scores, curvature, wanted);
      default: return false;
    }
  }

 private:
  std::size_t size() const { return static_cast<std::size_t>(padded_); }
  static std::size_t at(std::int64_t c) { return static_cast<std::size_t>(c); }

  // r + e_y is the projection of (r + e_y) + (z + margin off y)/curvature on the simplex.
  bool want_worst(const double* residual, const double* scores, std::int64_t own, double curvature, double* wanted) {
    const double margin = t_.parameters.margin;
    for (std::int64_t c = 0; c < t_.classes; ++c) {
      const double bound = c == own ? 1.0 : 0.0;
      wanted[c] = residual[c] + bound + (scores[c] + (1 - bound) * margin - scores[own]) / curvature;
    }
    // A common shift changes nothing, and keeps the digits of the sums where the row's curvature is tiny.
    const double top = *std::max_element(wanted, wanted + t_.classes);
    for (std::int64_t c = 0; c < t_.classes; ++c) wanted[c] -= top;
    sorted_.assign(wanted, wanted + t_.classes);
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
      wanted[c] = std::max(wanted[c] - threshold, 0.0);
      others += wanted[c];
    }
    wanted[own] = -others;
    return true;
  }

  // r_j becomes clip((r_j + m_j/curvature - S) / divisor, 0, most), where S is what all r_j grow by together.
  bool want_each(const double* residual, const double* scores, std::int64_t own, double curvature, double most,
                 double divisor, double* wanted) {
    const double rate = 1 / divisor;
    double before = 0, positive = 0;
    for (std::int64_t c = 0; c < t_.classes; ++c) {
      if (c == own) continue;
      wanted[c] = residual[c] + (scores[c] - scores[own] + t_.parameters.margin) / curvature;
      before += residual[c];
    }
    for (std::int64_t c = 0; c < t_.classes; ++c)
      if (c != own) positive += std::max((wanted[c] + before) * rate, 0.0);
    // The sum of what they become lies between nothing and what it is where S is least.
    const double classes = static_cast<double>(t_.classes);
    double low = -before - 1, high = most < 1e300 ? classes : positive + 1, grown = 0;
    const double enough = kRoot * std::max(1.0, std::min(high, before));
    for (int k = 0; k < kMostRoots; ++k) {  // Newton's method, kept inside a bracket, on a falling piecewise linear function
      double excess = -grown - before, slope = -1;
      for (std::int64_t c = 0; c < t_.classes; ++c) {
        if (c == own) continue;
        const double value = (wanted[c] - grown) * rate;
        excess += std::min(std::max(value, 0.0), most);
        if (value > 0 && value < most) slope -= rate;
      }
      if (std::fabs(excess) < enough) break;
      (excess > 0 ? low : high) = grown;
      grown -= excess / slope;
      if (!(grown > low && grown < high)) grown = (low + high) / 2;
    }
    double others = 0;
    for (std::int64_t c = 0; c < t_.classes; ++c) {
      if (c == own) continue;
      wanted[c] = std::min(std::max((wanted[c] - grown) * rate, 0.0), most);
      others += wanted[c];
    }
    wanted[own] = -others;
    return true;
  }

  // r = 2 (u - y) is linear.
  bool want_square(std::int64_t row, std::int64_t own, const double* residual, const double* scores, double curvature,
                   double* wanted) {
    for (std::int64_t c = 0; c < t_.classes; ++c) {
      const double y = t_.soft_target == nullptr ? (c == own ? 1.0 : 0.0) : t_.soft_target[row * t_.classes + c];
      wanted[c] = 2 * (scores[c] + curvature * residual[c] - y) / (1 + 2 * curvature);
    }
    return true;
  }

  // The target y, smoothed, and p = r + y so far; no class lies beyond the last.
  void set_target(std::int64_t row, std::int64_t own, const double* residual) {
    const double spread = t_.parameters.label_smoothing / static_cast<double>(t_.classes);
    const double keep = 1 - t_.parameters.label_smoothing;
    for (std::int64_t c = 0; c < t_.classes; ++c) {
      const double y = t_.soft_target == nullptr ? 0.0 : t_.soft_target[row * t_.classes + c];
      target_[at(c)] = keep * y + spread;
    }
    if (t_.soft_target == nullptr && own >= 0) target_[at(own)] += keep;
    for (std::int64_t c = 0; c < t_.classes; ++c) before_[at(c)] = std::max(residual[c] + target_[at(c)], 0.0);
    for (std::int64_t c = t_.classes; c < padded_; ++c) before_[at(c)] = target_[at(c)] = 0;
  }

  void set_scores(const double* scores) {
    std::copy(scores, scores + t_.classes, scores_.begin());
    std::fill(scores_.begin() + t_.classes, scores_.end(), kFarBelow);
    here_ = scores_;
  }

  // p = softmax(u) at u - z + q (p - p0) = 0. Newton's matrix is I + q (diag p - p p^T): its inverse has rank one
  // beside a diagonal. A step that does not shrink the error is halved, which it is bound to do in the end.
  bool want_softmax(const double* scores, double curvature, double* wanted) {
    set_scores(scores);
    double first = 0, smallest = std::numeric_limits<double>::infinity();
    for (int k = 0; k < kMostSteps; ++k) {
      softmax();
      const double error = measure(curvature);
      if (k == 0) first = std::min(error, 1.0);
      if (!(error < smallest)) {
        retreat();
        continue;
      }
      smallest = error;
      if (error <= kUnseen || (k > 0 && error <= kNear * first)) {
        for (std::int64_t c = 0; c < t_.classes; ++c) wanted[c] = point_[at(c)] - target_[at(c)];
        return true;
      }
      const Lane<double> q = fill(curvature);
      Lane<double> taken = fill(0.0), left = fill(0.0);
      for (std::int64_t c = 0; c < padded_; c += kLanes) {
        const Lane<double> p = load(&point_[at(c)]), inverse = 1 / (1 + q * p);
        taken += p * inverse * load(&error_[at(c)]);
        left += p * inverse;
      }
      const Lane<double> common = fill(curvature * sum_of<double>(taken) / sum_of<double>(left));
      for (std::int64_t c = 0; c < padded_; c += kLanes) {
        const Lane<double> p = load(&point_[at(c)]), u = load(&here_[at(c)]);
        store(&last_[at(c)], u);
        store(&here_[at(c)], u - (load(&error_[at(c)]) + p * common) / (1 + q * p));
      }
    }
    return part_of_the_way(curvature, wanted);
  }

  // Towards the gradient at the row's scores: never too far for a loss of curvature 1/2 (Shalev-Shwartz and Zhang, 2013).
  bool part_of_the_way(double curvature, double* wanted) {
    here_ = scores_;
    softmax();
    const double share = 1 / (1 + curvature / 2);
    for (std::int64_t c = 0; c < t_.classes; ++c)
      wanted[c] = (1 - share) * before_[at(c)] + share * point_[at(c)] - target_[at(c)];
    return true;
  }

  // p = sigmoid(u) at u - z + q (p - p0) = 0, column by column: Newton's method inside a bracket, which is halved where
  // that did not halve the error.
  bool want_sigmoids(const double* scores, double curvature, double* wanted) {
    set_scores(scores);
    for (std::int64_t c = 0; c < padded_; c += kLanes) {
      const Lane<double> q = fill(curvature), z = load(&scores_[at(c)]), before = load(&before_[at(c)]);
      Lane<double> high = z + q * before, low = high - q, u = z, p = {}, last = fill(1e300);
      for (int k = 0; k < kMostSteps; ++k) {
        const Lane<double> small = exponential<double>(minimum(u, -u));
        p = where_less(fill(0.0), u, fill(1.0), small) / (1 + small);
        const Lane<double> error = u - z + q * (p - before);
        high = where_less(fill(0.0), error, minimum(u, high), high);
        low = where_less(fill(0.0), error, low, maximum(u, low));
        const Lane<double> next = u - error / (1 + q * p * (1 - p));
        const Lane<double> size = maximum(error, -error), middle = (low + high) / 2;
        const Lane<double> halved = where_less(last / 2, size, middle, next);
        const Lane<double> inside = where_less(low, next, where_less(next, high, halved, middle), middle);
        last = size;
        const Lane<double> left = where_less(kUnseen * (1 + u * u + q * q), size * size, fill(1.0), fill(0.0));
        if (sum_of<double>(left) == 0) break;
        u = where_less(fill(0.0), left, inside, u);
      }
      for (std::int64_t e = c; e < std::min(t_.classes, c + kLanes); ++e)
        wanted[e] = p[static_cast<int>(e - c)] - target_[at(e)];
    }
    return true;
  }

  void softmax() {
    Lane<double> tops = load(here_.data());
    for (std::int64_t c = kLanes; c < padded_; c += kLanes) tops = maximum(tops, load(&here_[at(c)]));
    double top = tops[0];
    for (int lane = 1; lane < kLanes; ++lane) top = std::max(top, tops[lane]);
    Lane<double> sums = fill(0.0);
    for (std::int64_t c = 0; c < padded_; c += kLanes) {
      const Lane<double> power = exponential<double>(load(&here_[at(c)]) - fill(top));
      sums += power;
      store(&point_[at(c)], power);
    }
    const Lane<double> scale = fill(1 / sum_of<double>(sums));
    for (std::int64_t c = 0; c < padded_; c += kLanes) store(&point_[at(c)], load(&point_[at(c)]) * scale);
  }

  double measure(double curvature) {
    const Lane<double> q = fill(curvature);
    Lane<double> sums = fill(0.0);
    for (std::int64_t c = 0; c < padded_; c += kLanes) {
      const Lane<double> moved = load(&here_[at(c)]) - load(&scores_[at(c)]);
      const Lane<double> error = moved + q * (load(&point_[at(c)]) - load(&before_[at(c)]));
      store(&error_[at(c)], error);
      sums += error * error;
    }
    return sum_of<double>(sums);
  }

  void retreat() {
    for (std::int64_t c = 0; c < padded_; c += kLanes)
      store(&here_[at(c)], (load(&here_[at(c)]) + load(&last_[at(c)])) / 2);
  }

  const AscentTask& t_;
  std::int64_t padded_;
  std::vector<double> target_, before_, scores_, here_, last_, point_, error_, sorted_;
};

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
