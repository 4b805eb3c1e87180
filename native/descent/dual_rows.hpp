// How dual ascent meets a row of features: its scores, and what a change of its residuals adds to W.
// Scores and changes lie in buffers of whole lanes, beyond the last class zero.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "descent/dual_ascent.hpp"
#include "isa/lanes.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

constexpr int kRowDots = 5;     // dot products side by side
constexpr int kScoreLanes = 8;  // lanes of scores side by side

// W lies class by class, as the row does.
template <class T>
class DenseRows {
 public:
  explicit DenseRows(const AscentTask& task)
      : values_(static_cast<const T*>(task.features.values)),
        weight_(static_cast<T*>(task.weight)),
        columns_(task.features.columns),
        classes_(task.classes),
        row_stride_(task.features.row_stride) {}

  void prefetch(std::int64_t i) const {
    const T* x = row(i);
    for (std::int64_t d = 0; d < columns_; d += 64 / static_cast<std::int64_t>(sizeof(T))) __builtin_prefetch(x + d);
  }

  void scores(std::int64_t i, double* out) const {
    const T* x = row(i);
    std::int64_t c = 0;
    for (; c + kRowDots <= classes_; c += kRowDots) dots<kRowDots>(x, weight_ + c * columns_, out + c);
    for (; c < classes_; ++c) dots<1>(x, weight_ + c * columns_, out + c);
  }

  // W += factor x^T.
  void add(std::int64_t i, const double* factor) const {
    const T* x = row(i);
    for (std::int64_t c = 0; c < classes_; ++c)
      if (factor[c] != 0) add_row(static_cast<T>(factor[c]), x, weight_ + c * columns_);
  }

 private:
  const T* row(std::int64_t i) const { return values_ + i * row_stride_; }

  template <int count>
  void dots(const T* x, const T* weight, double* scores) const {
    Lane<T> sums[count] = {};
    std::int64_t d = 0;
    for (; d + kLanes <= columns_; d += kLanes) {
      const Lane<T> features = load(x + d);
#pragma GCC unroll 8
      for (int c = 0; c < count; ++c) sums[c] += features * load(weight + c * columns_ + d);
    }
    for (int c = 0; c < count; ++c) {
      T total = 0;
      for (int lane = 0; lane < kLanes; ++lane) total += sums[c][lane];
      for (std::int64_t e = d; e < columns_; ++e) total += x[e] * weight[c * columns_ + e];
      scores[c] = static_cast<double>(total);
    }
  }

  void add_row(T factor, const T* x, T* weight) const {
    std::int64_t d = 0;
    for (; d + kLanes <= columns_; d += kLanes) store(weight + d, load(weight + d) + fill<T>(factor) * load(x + d));
    for (; d < columns_; ++d) weight[d] += factor * x[d];
  }

  const T* values_;
  T* weight_;
  std::int64_t columns_, classes_, row_stride_;
};

// W lies feature by feature, so that an entry of the row meets the weights of all classes side by side.
template <class T, class Index>
class SparseRows {
 public:
  explicit SparseRows(const AscentTask& task)
      : values_(static_cast<const T*>(task.features.values)),
        indices_(static_cast<const Index*>(task.features.indices)),
        starts_(static_cast<const Index*>(task.features.row_starts)),
        weight_(static_cast<T*>(task.weight)),
        classes_(task.classes),
        stride_(task.stride) {}

  void prefetch(std::int64_t i) const {
    __builtin_prefetch(values_ + starts_[i]);
    __builtin_prefetch(indices_ + starts_[i]);
  }

  void scores(std::int64_t i, double* out) const {
    const std::int64_t whole = each_lanes([&](auto lanes, std::int64_t c) { score_lanes<lanes()>(i, c, out); });
    for (std::int64_t c = whole; c < classes_; ++c) {
      T total = 0;
      for (Index k = starts_[i]; k < starts_[i + 1]; ++k) total += values_[k] * weights_of(k)[c];
      out[c] = static_cast<double>(total);
    }
  }

  // W += factor x^T.
  void add(std::int64_t i, const double* factor) const {
    const std::int64_t whole = each_lanes([&](auto lanes, std::int64_t c) { add_lanes<lanes()>(i, c, factor); });
    for (std::int64_t c = whole; c < classes_; ++c)
      for (Index k = starts_[i]; k < starts_[i + 1]; ++k) weights_of(k)[c] += values_[k] * static_cast<T>(factor[c]);
  }

 private:
  T* weights_of(Index k) const { return weight_ + static_cast<std::int64_t>(indices_[k]) * stride_; }

  // Calls use(how many lanes, the first of their classes) for as many classes as fill lanes; returns how many do.
  template <class Use>
  std::int64_t each_lanes(const Use& use) const {
    std::int64_t c = 0;
    while (c + kLanes <= stride_) {
      const std::int64_t lanes = std::min<std::int64_t>(kScoreLanes, (stride_ - c) / kLanes);
      with_lanes<kScoreLanes>(lanes, [&](auto count) { use(count, c); });
      c += lanes * kLanes;
    }
    return c;
  }

  template <int most, class Use>
  static void with_lanes(std::int64_t lanes, const Use& use) {
    if (lanes == most) use(std::integral_constant<int, most>{});
    else if constexpr (most > 1) with_lanes<most - 1>(lanes, use);
  }

  template <int count>
  void score_lanes(std::int64_t i, std::int64_t first, double* out) const {
    Lane<T> sums[count] = {};
    for (Index k = starts_[i]; k < starts_[i + 1]; ++k) {
      const T* weight = weights_of(k) + first;
      const Lane<T> x = fill<T>(values_[k]);
#pragma GCC unroll 8
      for (int lane = 0; lane < count; ++lane) sums[lane] += x * load(weight + lane * kLanes);
    }
    for (int lane = 0; lane < count; ++lane)
      store(out + first + lane * kLanes, __builtin_convertvector(sums[lane], Lane<double>));
  }

  template <int count>
  void add_lanes(std::int64_t i, std::int64_t first, const double* factor) const {
    Lane<T> change[count];
    for (int lane = 0; lane < count; ++lane)
      change[lane] = __builtin_convertvector(load(factor + first + lane * kLanes), Lane<T>);
    for (Index k = starts_[i]; k < starts_[i + 1]; ++k) {
      T* weight = weights_of(k) + first;
      const Lane<T> x = fill<T>(values_[k]);
#pragma GCC unroll 8
      for (int lane = 0; lane < count; ++lane) store(weight + lane * kLanes, load(weight + lane * kLanes) + x * change[lane]);
    }
  }

  const T* values_;
  const Index *indices_, *starts_;
  T* weight_;
  std::int64_t classes_, stride_;
};

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
