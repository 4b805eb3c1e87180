// The sweeps of row_descent.hpp, compiled once for each instruction set.
#pragma once

#include <cmath>
#include <vector>

#include "descent/row_descent.hpp"
#include "descent/sweeps.hpp"
#include "isa/lanes.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

constexpr double kLeastRowCurvature = 1e-5;  // of that without q and r: a difference of single precision is no better

// A dense column: calls use(first row, value) with 16 rows at a time and with single ones at the end.
template <class T>
struct DenseColumn {
  const T* x;
  std::int64_t rows;

  template <class Lanes, class One>
  void visit(const Lanes& lanes, const One& one) const {
    std::int64_t i = 0;
    for (; i + kLanes <= rows; i += kLanes) lanes(i, load(x + i));
    for (; i < rows; ++i) one(i, x[i]);
  }
};

template <class T>
struct SparseColumn {
  const T* x;
  const std::int32_t* index;
  std::int64_t count;

  template <class Lanes, class One>
  void visit(const Lanes&, const One& one) const {
    for (std::int64_t k = 0; k < count; ++k) one(static_cast<std::int64_t>(index[k]), x[k]);
  }
};

template <class T, int rank>
class RowDescent {
 public:
  RowDescent(const RowModel& model, double* step)
      : m_(model),
        step_(step),
        curvature_(static_cast<std::size_t>(model.coordinates)),
        z_(static_cast<std::size_t>(model.classes * model.rows)),
        u_(static_cast<std::size_t>(rank > 0 ? model.rows : 0)),
        t_(static_cast<std::size_t>(rank > 1 ? model.rows : 0)) {
    for (std::int64_t k = 0; k < m_.coordinates; ++k) {
      step_[k] = 0.0;
      curvature_[static_cast<std::size_t>(k)] = with_column(k, [&](auto column) { return curvature(k, column); });
    }
  }

  // One sweep; returns the sum of curvature * move^2. Without `all`, coordinates whose weight is zero stay so.
  double sweep(bool all) {
    double total = 0.0;
    for (std::int64_t k = 0; k < m_.coordinates; ++k) {
      if (!all && m_.l1[k] > 0 && m_.weight[k] + step_[k] == 0.0) continue;
      total += with_column(k, [&](auto column) { return move(k, column); });
    }
    return total;
  }

 private:
  const T* of_class(const void* table, std::int64_t k) const { return static_cast<const T*>(table) + m_.class_of[k] * m_.rows; }

  template <class Use>
  double with_column(std::int64_t k, const Use& use) const {
    const std::int64_t d = m_.column[k];
    const T* values = static_cast<const T*>(m_.features);
    if (!m_.sparse) return use(DenseColumn<T>{values + d * m_.rows, m_.rows});
    return use(SparseColumn<T>{values + m_.starts[d], m_.indices + m_.starts[d], m_.starts[d + 1] - m_.starts[d]});
  }

  template <class Column>
  double curvature(std::int64_t k, Column column) const {
    const T *p = of_class(m_.p, k), *q = rank > 0 ? of_class(m_.q, k) : p, *r = rank > 1 ? of_class(m_.r, k) : q;
    const T factor = static_cast<T>(rank == 2 ? 2 : rank);
    Lane<T> own{}, taken{};
    double own_rest = 0, taken_rest = 0;
    column.visit(
        [&](std::int64_t i, Lane<T> x) {
          own += x * x * load(p + i);
          taken += x * x * load(q + i) * load(r + i);
        },
        [&](std::int64_t i, T x) {
          own_rest += static_cast<double>(x) * x * p[i];
          taken_rest += static_cast<double>(x) * x * q[i] * r[i];
        });
    const double all = static_cast<double>(sum_of<T>(own)) + own_rest;
    const double less = all - factor * (static_cast<double>(sum_of<T>(taken)) + taken_rest);
    return (less > kLeastRowCurvature * all ? less : kLeastRowCurvature * all) + m_.l2[k];
  }

  template <class Column>
  double slope(std::int64_t k, Column column) const {
    const T *p = of_class(m_.p, k), *q = rank > 0 ? of_class(m_.q, k) : p, *r = rank > 1 ? of_class(m_.r, k) : q;
    const T *z = z_.data() + m_.class_of[k] * m_.rows, *u = u_.data(), *t = t_.data();
    Lane<T> lanes{};
    double rest = 0;
    column.visit(
        [&](std::int64_t i, Lane<T> x) {
          Lane<T> product = load(p + i) * load(z + i);
          if constexpr (rank > 0) product -= load(q + i) * load(u + i);
          if constexpr (rank > 1) product -= load(r + i) * load(t + i);
          lanes += x * product;
        },
        [&](std::int64_t i, T x) {
          T product = p[i] * z[i];
          if constexpr (rank > 0) product -= q[i] * u[i];
          if constexpr (rank > 1) product -= r[i] * t[i];
          rest += static_cast<double>(x * product);
        });
    return m_.gradient[k] + static_cast<double>(sum_of<T>(lanes)) + rest + m_.l2[k] * step_[k];
  }

  // u = r^T z and t = q^T z, where r is q if the rank is 1.
  template <class Column>
  void add(std::int64_t k, Column column, T by) {
    const T *q = rank > 0 ? of_class(m_.q, k) : nullptr, *r = rank > 1 ? of_class(m_.r, k) : q;
    T *z = z_.data() + m_.class_of[k] * m_.rows, *u = u_.data(), *t = t_.data();
    column.visit(
        [&](std::int64_t i, Lane<T> x) {
          const Lane<T> moved = x * by;
          store(z + i, load(z + i) + moved);
          if constexpr (rank > 0) store(u + i, load(u + i) + load(r + i) * moved);
          if constexpr (rank > 1) store(t + i, load(t + i) + load(q + i) * moved);
        },
        [&](std::int64_t i, T x) {
          const T moved = x * by;
          z[i] += moved;
          if constexpr (rank > 0) u[i] += r[i] * moved;
          if constexpr (rank > 1) t[i] += q[i] * moved;
        });
  }

  template <class Column>
  double move(std::int64_t k, Column column) {
    const double gradient = slope(k, column), here = m_.weight[k] + step_[k], l1 = m_.l1[k];
    if (here == 0.0 && std::fabs(gradient) <= l1) return 0.0;
    const double curve = curvature_[static_cast<std::size_t>(k)];
    double to = std::fabs(gradient) <= l1 ? 0.0 : here;  // a constant column: the loss does not see it
    if (curve > 0) {
      const double target = here - gradient / curve, by = l1 / curve;
      to = target > by ? target - by : (target < -by ? target + by : 0.0);
    }
    const double by = to - here;
    if (by == 0.0 || !std::isfinite(by)) return 0.0;
    step_[k] = to == 0.0 ? -m_.weight[k] : step_[k] + by;  // so that w + s is zero to the last bit
    add(k, column, static_cast<T>(by));
    return curve * by * by;
  }

  const RowModel& m_;
  double* step_;
  std::vector<double> curvature_;
  std::vector<T> z_, u_, t_;  // z (classes, rows); u and t (rows,)
};

template <class T, int rank>
int descend_rows_by(const RowModel& model, const Ending& ending, double* step) {
  RowDescent<T, rank> descent(model, step);
  return sweep_until_still(descent, ending);
}

template <class T>
int descend_rows_as(const RowModel& model, const Ending& ending, double* step) {
  if (model.rank == 0) return descend_rows_by<T, 0>(model, ending, step);
  if (model.rank == 1) return descend_rows_by<T, 1>(model, ending, step);
  return descend_rows_by<T, 2>(model, ending, step);
}

inline int descend_rows(const RowModel& model, const Ending& ending, double* step) {
  return model.single ? descend_rows_as<float>(model, ending, step) : descend_rows_as<double>(model, ending, step);
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
