// One row of dual ascent: the residual r that maximises
//   -l*(r) + <r - r0, z> - q/2 |r - r0|^2,
// where r0 is the row's residual so far, z its scores and q its curvature. In terms of the scores u that the row then
// has, r is the gradient of l at u = z - q (r - r0).
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "isa/lanes.hpp"
#include "pass/task.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

constexpr int kMostRoots = 60;
constexpr double kRoot = 1e-12;      // relative, at the end of Newton's method on one unknown
constexpr int kMostSteps = 60;       // of Newton's method on all scores of a row
constexpr double kNear = 0.01;       // squared error, and the share of that at its beginning: the other rows move as well
constexpr double kUnseen = 1e-24;    // a squared error that is rounding
constexpr double kFarBelow = -1e30;  // a score that no class has

// What a row's residuals depend on beside its scores.
struct RowTargets {
  std::int64_t classes = 0;
  const std::int32_t* labels = nullptr;  // (rows,), negative where no class is; or null
  const double* soft_target = nullptr;   // (rows, classes) or null
  LossName loss = LossName::softmax;
  LossParameters parameters;
};

class DualStep {
 public:
  static constexpr std::int64_t kBuffers = 7;

  static constexpr std::int64_t padded(std::int64_t classes) { return (classes + kLanes - 1) / kLanes * kLanes; }

  // `memory` has room for kBuffers times as many numbers as the padded classes.
  DualStep(const RowTargets& targets, double* memory)
      : t_(targets),
        padded_(padded(targets.classes)),
        target_(memory),
        before_(memory + padded_),
        scores_(memory + 2 * padded_),
        here_(memory + 3 * padded_),
        last_(memory + 4 * padded_),
        point_(memory + 5 * padded_),
        error_(memory + 6 * padded_) {}

  // Whether there is a step: `wanted` has room for all classes.
  bool want(std::int64_t row, const double* residual, const double* scores, double curvature, double* wanted) {
    const std::int64_t own = t_.labels == nullptr ? -1 : t_.labels[row];
    switch (t_.loss) {
      case LossName::crammer_singer:
        return want_worst(residual, scores, own, curvature, wanted);
      case LossName::hinge:
        return want_each(residual, scores, own, curvature, 1.0, 1.0, wanted);
      case LossName::squared_hinge:
        return want_each(residual, scores, own, curvature, std::numeric_limits<double>::infinity(), 1 + 0.5 / curvature, wanted);
      case LossName::squared_error:
        return want_square(row, own, residual, scores, curvature, wanted);
      case LossName::binary:
        set_target(row, own, residual);
        return want_sigmoids(scores, curvature, wanted);
      case LossName::softmax:
        set_target(row, own, residual);
        return want_softmax(scores, curvature, wanted);
      default:
        return false;
    }
  }

  // -l*(r) at the residuals that `want` has given for the row.
  double dual_value(std::int64_t row, const double* wanted) const {
    const std::int64_t own = t_.labels == nullptr ? -1 : t_.labels[row];
    double value = 0;
    switch (t_.loss) {
      case LossName::hinge:
      case LossName::crammer_singer:
        return -t_.parameters.margin * wanted[own];
      case LossName::squared_hinge:
        for (std::int64_t c = 0; c < t_.classes; ++c) value -= c == own ? 0.0 : wanted[c] * wanted[c] / 4;
        return value - t_.parameters.margin * wanted[own];
      case LossName::squared_error:
        for (std::int64_t c = 0; c < t_.classes; ++c) {
          const double y = t_.soft_target == nullptr ? (c == own ? 1.0 : 0.0) : t_.soft_target[row * t_.classes + c];
          value -= wanted[c] * (wanted[c] / 4 + y);
        }
        return value;
      case LossName::binary:
        for (std::int64_t c = 0; c < t_.classes; ++c) {
          const double p = wanted[c] + target_[c];
          value += entropy(p) + entropy(1 - p);
        }
        return value;
      default:
        for (std::int64_t c = 0; c < t_.classes; ++c) value += entropy(wanted[c] + target_[c]);
        return value;
    }
  }

 private:
  static double entropy(double p) { return p > 0 ? -p * std::log(p) : 0.0; }

  // r + e_y is the projection of (r + e_y) + (z + margin off y)/curvature on the simplex.
  bool want_worst(const double* residual, const double* scores, std::int64_t own, double curvature, double* wanted) {
    const double margin = t_.parameters.margin;
    for (std::int64_t c = 0; c < t_.classes; ++c) point_[c] = residual[c] + (scores[c] + margin - scores[own]) / curvature;
    point_[own] = residual[own] + 1;
    // A common shift changes nothing, and keeps the digits of the sums where the row's curvature is tiny.
    const double top = *std::max_element(point_, point_ + t_.classes);
    for (std::int64_t c = 0; c < t_.classes; ++c) point_[c] -= top;
    std::fill(point_ + t_.classes, point_ + padded_, -std::numeric_limits<double>::infinity());
    // The threshold over which they sum to one, from below: over fewer and fewer of them, until none more falls below
    // (Michelot, Journal of Optimization Theory and Applications 50, 1986).
    const Lane<double> zero = fill(0.0), one = fill(1.0);
    double threshold = std::numeric_limits<double>::lowest();
    for (double over = 0, before = -1; over != before;) {
      before = over;
      Lane<double> sums = zero, counts = zero;
      for (std::int64_t c = 0; c < padded_; c += kLanes) {
        const Lane<double> value = load(point_ + c);
        sums += where_less(fill(threshold), value, value, zero);
        counts += where_less(fill(threshold), value, one, zero);
      }
      over = sum_of<double>(counts);
      threshold = std::max(threshold, (sum_of<double>(sums) - 1) / over);  // it rises, but for rounding
    }
    double others = 0;
    for (std::int64_t c = 0; c < t_.classes; ++c) {
      wanted[c] = std::max(point_[c] - threshold, 0.0);
      others += c == own ? 0.0 : wanted[c];
    }
    wanted[own] = -others;
    return true;
  }

  // r_j becomes clip((r_j + m_j/curvature - S) / divisor, 0, most), where S is what all r_j grow by together.
  bool want_each(const double* residual, const double* scores, std::int64_t own, double curvature, double most, double divisor,
                 double* wanted) {
    const double none = -std::numeric_limits<double>::infinity();  // the target's own, and what fills the last lanes
    const Lane<double> zero = fill(0.0), rate = fill(1 / divisor), full = fill(most);
    double before = 0;
    for (std::int64_t c = 0; c < t_.classes; ++c) {
      point_[c] = residual[c] + (scores[c] - scores[own] + t_.parameters.margin) / curvature;
      before += c == own ? 0.0 : residual[c];
    }
    point_[own] = none;
    std::fill(point_ + t_.classes, point_ + padded_, none);
    Lane<double> positive = zero;
    for (std::int64_t c = 0; c < padded_; c += kLanes) positive += maximum((load(point_ + c) + fill(before)) * rate, zero);
    // The sum of what they become lies between nothing and what it is where S is least.
    const double less = std::max(-before, 0.0);  // of residuals outside their domain
    double low = -before - 1, grown = less;
    double high = less + (most < 1e300 ? static_cast<double>(t_.classes) : sum_of<double>(positive) + 1);
    const double enough = kRoot * std::max(1.0, std::fabs(before));
    for (int k = 0; k < kMostRoots; ++k) {  // Newton's method, kept inside a bracket, on a falling piecewise linear function
      Lane<double> sums = zero, inside = zero;
      for (std::int64_t c = 0; c < padded_; c += kLanes) {
        const Lane<double> value = (load(point_ + c) - fill(grown)) * rate;
        sums += minimum(maximum(value, zero), full);
        inside += where_less(zero, value, where_less(value, full, rate, zero), zero);
      }
      const double excess = sum_of<double>(sums) - grown - before;
      if (std::fabs(excess) < enough) break;
      (excess > 0 ? low : high) = grown;
      grown += excess / (1 + sum_of<double>(inside));
      if (!(grown > low && grown < high)) grown = (low + high) / 2;
    }
    double others = 0;
    for (std::int64_t c = 0; c < t_.classes; ++c) {
      wanted[c] = std::min(std::max((point_[c] - grown) / divisor, 0.0), most);
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

  // The target y, smoothed, and p = r + y so far, which may lie outside the simplex; no class lies beyond the last.
  void set_target(std::int64_t row, std::int64_t own, const double* residual) {
    const double spread = t_.parameters.label_smoothing / static_cast<double>(t_.classes);
    const double keep = 1 - t_.parameters.label_smoothing;
    for (std::int64_t c = 0; c < t_.classes; ++c) {
      const double y = t_.soft_target == nullptr ? 0.0 : t_.soft_target[row * t_.classes + c];
      target_[c] = keep * y + spread;
    }
    if (t_.soft_target == nullptr && own >= 0) target_[own] += keep;
    for (std::int64_t c = 0; c < t_.classes; ++c) before_[c] = residual[c] + target_[c];
    for (std::int64_t c = t_.classes; c < padded_; ++c) before_[c] = target_[c] = 0;
  }

  void set_scores(const double* scores) {
    std::copy(scores, scores + t_.classes, scores_);
    std::fill(scores_ + t_.classes, scores_ + padded_, kFarBelow);
    std::copy(scores_, scores_ + padded_, here_);
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
        for (std::int64_t c = 0; c < t_.classes; ++c) wanted[c] = point_[c] - target_[c];
        return true;
      }
      const Lane<double> q = fill(curvature);
      Lane<double> taken = fill(0.0), left = fill(0.0);
      for (std::int64_t c = 0; c < padded_; c += kLanes) {
        const Lane<double> p = load(&point_[c]), inverse = 1 / (1 + q * p);
        taken += p * inverse * load(&error_[c]);
        left += p * inverse;
      }
      const Lane<double> common = fill(curvature * sum_of<double>(taken) / sum_of<double>(left));
      for (std::int64_t c = 0; c < padded_; c += kLanes) {
        const Lane<double> p = load(&point_[c]), u = load(&here_[c]);
        store(&last_[c], u);
        store(&here_[c], u - (load(&error_[c]) + p * common) / (1 + q * p));
      }
    }
    return part_of_the_way(curvature, wanted);
  }

  // Towards the gradient at the row's scores: never too far for a loss of curvature 1/2 (Shalev-Shwartz and Zhang, 2013).
  bool part_of_the_way(double curvature, double* wanted) {
    std::copy(scores_, scores_ + padded_, here_);
    softmax();
    double total = 0;
    for (std::int64_t c = 0; c < t_.classes; ++c) total += std::max(before_[c], 0.0);
    const double share = total > 0 ? 1 / (1 + curvature / 2) : 1.0, kept = total > 0 ? (1 - share) / total : 0.0;
    for (std::int64_t c = 0; c < t_.classes; ++c) wanted[c] = kept * std::max(before_[c], 0.0) + share * point_[c] - target_[c];
    return true;
  }

  // p = sigmoid(u) at u - z + q (p - p0) = 0, column by column: Newton's method inside a bracket, which is halved where
  // that did not halve the error.
  bool want_sigmoids(const double* scores, double curvature, double* wanted) {
    set_scores(scores);
    for (std::int64_t c = 0; c < padded_; c += kLanes) {
      const Lane<double> q = fill(curvature), z = load(&scores_[c]), before = load(&before_[c]);
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
      for (std::int64_t e = c; e < std::min(t_.classes, c + kLanes); ++e) wanted[e] = p[static_cast<int>(e - c)] - target_[e];
    }
    return true;
  }

  void softmax() {
    Lane<double> tops = load(here_);
    for (std::int64_t c = kLanes; c < padded_; c += kLanes) tops = maximum(tops, load(&here_[c]));
    double top = tops[0];
    for (int lane = 1; lane < kLanes; ++lane) top = std::max(top, tops[lane]);
    Lane<double> sums = fill(0.0);
    for (std::int64_t c = 0; c < padded_; c += kLanes) {
      const Lane<double> power = exponential<double>(load(&here_[c]) - fill(top));
      sums += power;
      store(&point_[c], power);
    }
    const Lane<double> scale = fill(1 / sum_of<double>(sums));
    for (std::int64_t c = 0; c < padded_; c += kLanes) store(&point_[c], load(&point_[c]) * scale);
  }

  double measure(double curvature) {
    const Lane<double> q = fill(curvature);
    Lane<double> sums = fill(0.0);
    for (std::int64_t c = 0; c < padded_; c += kLanes) {
      const Lane<double> moved = load(&here_[c]) - load(&scores_[c]);
      const Lane<double> error = moved + q * (load(&point_[c]) - load(&before_[c]));
      store(&error_[c], error);
      sums += error * error;
    }
    return sum_of<double>(sums);
  }

  void retreat() {
    for (std::int64_t c = 0; c < padded_; c += kLanes) store(&here_[c], (load(&here_[c]) + load(&last_[c])) / 2);
  }

  const RowTargets t_;
  const std::int64_t padded_;
  double *const target_, *const before_, *const scores_, *const here_, *const last_, *const point_, *const error_;
};

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
