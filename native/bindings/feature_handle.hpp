// The arrays that the bindings of a pass and of the descents take, and features as Python holds them.
#pragma once

#include <nanobind/ndarray.h>

#include <cstdint>
#include <stdexcept>

#include "pass/task.hpp"

namespace crosshead {

template <class Number, int dimensions>
using Array = nanobind::ndarray<Number, nanobind::ndim<dimensions>, nanobind::c_contig, nanobind::device::cpu>;

using AnyArray = nanobind::ndarray<nanobind::ro, nanobind::device::cpu>;
using Vector = Array<const double, 1>;
using Matrix = Array<const double, 2>;
using Labels = Array<const std::int32_t, 1>;
using RowNumbers = Array<const std::int64_t, 1>;
using OutVector = Array<double, 1>;
using OutMatrix = Array<double, 2>;
using OutPairs = Array<std::uint16_t, 2>;
using OutFloats = nanobind::ndarray<nanobind::ndim<2>, nanobind::c_contig, nanobind::device::cpu>;  // float32 or float64

inline Element element_of(nanobind::dlpack::dtype type) {
  if (type == nanobind::dtype<float>()) return Element::float32;
  if (type == nanobind::dtype<double>()) return Element::float64;
  throw std::invalid_argument("numbers must be float32 or float64");
}

// Features keep the arrays alive and describe them to the kernels.
struct FeatureHandle {
  Features view;
  AnyArray values, indices, row_starts;
  OutPairs copy;  // of bfloat16 features
  RowNumbers chosen;
};

}  // namespace crosshead
