// Python's view of features and of passes over them. Shapes and types are checked in crosshead/engines/native.py; here
// only what memory safety needs.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <optional>
#include <string>
#include <tuple>

#include "bindings/array_memory.hpp"
#include "bindings/checks.hpp"
#include "bindings/descents.hpp"
#include "bindings/feature_handle.hpp"
#include "bindings/heads.hpp"
#include "bindings/mapped_files.hpp"
#include "pass/schedule.hpp"

namespace nb = nanobind;

namespace {

using crosshead::AnyArray;
using crosshead::Element;
using crosshead::element_of;
using crosshead::FeatureHandle;
using crosshead::Kernels;
using crosshead::kernels_of;
using crosshead::Labels;
using crosshead::loss_of;
using crosshead::Matrix;
using crosshead::OutMatrix;
using crosshead::OutPairs;
using crosshead::OutVector;
using crosshead::PassTask;
using crosshead::require;
using crosshead::require_aligned;
using crosshead::require_threads;
using crosshead::RowNumbers;
using crosshead::Vector;

using SoftTarget = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using GivenScores = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using OutScores = crosshead::OutFloats;

FeatureHandle dense_features(AnyArray x) {
  require(x.ndim() == 2, "dense features must have two dimensions");
  require_aligned(x);
  FeatureHandle handle;
  handle.view.rows = static_cast<std::int64_t>(x.shape(0));
  handle.view.columns = static_cast<std::int64_t>(x.shape(1));
  handle.view.element = element_of(x.dtype());
  handle.view.values = x.data();
  handle.view.row_stride = x.stride(0);
  handle.view.column_stride = x.stride(1);
  handle.values = std::move(x);
  return handle;
}

// Every row must lie within the values and every index within the columns: the kernels do not look.
template <class Index>
void require_valid_csr(const AnyArray& indices, const AnyArray& row_starts, std::int64_t columns) {
  const Index* starts = static_cast<const Index*>(row_starts.data());
  const Index* index = static_cast<const Index*>(indices.data());
  const std::size_t rows = row_starts.shape(0) - 1;
  bool valid = starts[0] >= 0;
  for (std::size_t i = 0; i < rows; ++i) valid &= starts[i] <= starts[i + 1];
  require(valid && static_cast<std::size_t>(starts[rows]) <= indices.shape(0), "the CSR matrix is damaged: row starts");
  for (Index k = starts[0]; k < starts[rows]; ++k) valid &= index[k] >= 0 && static_cast<std::int64_t>(index[k]) < columns;
  require(valid, "the CSR matrix is damaged: a column index lies outside its columns");
}

FeatureHandle csr_features(AnyArray values, AnyArray indices, AnyArray row_starts, std::int64_t columns) {
  require(values.ndim() == 1 && indices.ndim() == 1 && row_starts.ndim() == 1, "CSR arrays must be one-dimensional");
  require(values.stride(0) == 1 || values.shape(0) <= 1, "CSR values must be contiguous");
  require(indices.stride(0) == 1 || indices.shape(0) <= 1, "CSR indices must be contiguous");
  require(row_starts.stride(0) == 1 || row_starts.shape(0) <= 1, "CSR row starts must be contiguous");
  require(indices.dtype() == row_starts.dtype(), "CSR indices and row starts must have one type");
  const bool wide = indices.dtype() == nb::dtype<std::int64_t>();
  require(wide || indices.dtype() == nb::dtype<std::int32_t>(), "CSR indices must be int32 or int64");
  require(row_starts.shape(0) >= 1, "CSR row starts must not be empty");
  require_aligned(values, indices, row_starts);
  require(values.shape(0) == indices.shape(0), "CSR values and indices have different lengths");
  if (wide) require_valid_csr<std::int64_t>(indices, row_starts, columns);
  else require_valid_csr<std::int32_t>(indices, row_starts, columns);
  FeatureHandle handle;
  handle.view.rows = static_cast<std::int64_t>(row_starts.shape(0)) - 1;
  handle.view.columns = columns;
  handle.view.element = element_of(values.dtype());
  handle.view.values = values.data();
  handle.view.sparse = true;
  handle.view.wide_indices = wide;
  handle.view.indices = indices.data();
  handle.view.row_starts = row_starts.data();
  handle.values = std::move(values);
  handle.indices = std::move(indices);
  handle.row_starts = std::move(row_starts);
  return handle;
}

// Some rows of features, which are not copied.
FeatureHandle chosen_rows(const FeatureHandle& features, RowNumbers rows) {
  require(features.view.chosen == nullptr && !features.view.brief, "choose among the rows of float features");
  require_aligned(rows);
  for (std::size_t i = 0; i < rows.shape(0); ++i)
    require(rows.data()[i] >= 0 && rows.data()[i] < features.view.rows, "a chosen row lies outside the features");
  FeatureHandle handle = features;
  handle.view.rows = static_cast<std::int64_t>(rows.shape(0));
  handle.view.chosen = rows.data();
  handle.chosen = std::move(rows);
  return handle;
}

// A bfloat16 copy of dense features, divided by `unit`, in `copy`, which must hold their rows up to a multiple of 16.
// Null where it would not do: a number is too large, or (unless `rounded` will do) is no multiple of the unit.
std::optional<FeatureHandle> bfloat16_features(const FeatureHandle& source, OutPairs copy, double unit, bool rounded,
                                               int threads) {
  require(!source.view.sparse && !source.view.brief, "bfloat16 copies are of dense float features");
  const std::int64_t rows = static_cast<std::int64_t>(copy.shape(0)), stride = static_cast<std::int64_t>(copy.shape(1));
  require(rows == (source.view.rows + 15) / 16 * 16, "the copy has other rows than the features");
  require(stride % 32 == 0 && stride >= source.view.columns, "the copy's rows are too short");
  require(unit > 0, "the unit must be positive");
  require_threads(threads);
  require_aligned(copy);
  std::uint16_t* to = copy.data();
  crosshead::BFloat16Copy made;
  {
    const nb::gil_scoped_release release;
    made = crosshead::copy_to_bfloat16(source.view, unit, threads, to, stride);
  }
  if (!made.finite || !(made.multiples || rounded)) return std::nullopt;
  FeatureHandle handle;
  handle.view.rows = source.view.rows;
  handle.view.columns = source.view.columns;
  handle.view.element = Element::bfloat16;
  handle.view.values = to;
  handle.view.row_stride = stride;
  handle.view.column_stride = 1;
  handle.view.brief = true;
  handle.view.unit = unit;
  handle.view.split = made.multiples;
  handle.copy = std::move(copy);
  return handle;
}

// Dense features whose numbers passes round to bfloat16 as they read them. Null where one is too large.
std::optional<FeatureHandle> rounded_features(const FeatureHandle& source, int threads) {
  require(!source.view.sparse && !source.view.brief, "dense float features are rounded to bfloat16");
  require_threads(threads);
  bool fit = false;
  {
    const nb::gil_scoped_release release;
    fit = crosshead::fits_bfloat16(source.view, threads);
  }
  if (!fit) return std::nullopt;
  FeatureHandle handle = source;
  handle.view.brief = true;
  return handle;
}

void require_parameters(const FeatureHandle& features, const Matrix& weight, const Vector& bias) {
  require(static_cast<std::int64_t>(weight.shape(1)) == features.view.columns, "weight has other columns than the features");
  require(weight.shape(0) == bias.shape(0) && bias.shape(0) >= 1, "weight and bias have different numbers of classes");
}

// What every pass reads, checked.
PassTask pass_task(const FeatureHandle& features, const std::optional<Labels>& labels,
                   const std::optional<SoftTarget>& soft_target, const std::optional<Vector>& sample_weight, std::size_t classes,
                   const std::string& loss, crosshead::LossParameters parameters) {
  const std::size_t rows = static_cast<std::size_t>(features.view.rows);
  require(labels.has_value() != soft_target.has_value(), "give labels or target probabilities");
  require(soft_target || loss.find("quadratic") == std::string::npos, "a quadratic needs coefficients for each row");
  require(labels || crosshead::takes_rows(loss_of(loss)), "this loss needs labels");
  require_aligned(labels, soft_target, sample_weight);
  require(!labels || labels->shape(0) == rows, "labels have another length than the features");
  require(!soft_target || (soft_target->shape(0) == rows && soft_target->shape(1) == classes),
          "target probabilities have another shape than the scores");
  require(!sample_weight || sample_weight->shape(0) == rows, "sample weights have another length than the features");
  if (labels) {
    const std::int32_t lowest = loss == "binary" ? -1 : 0;
    for (std::size_t i = 0; i < rows; ++i)
      require(labels->data()[i] >= lowest && labels->data()[i] < static_cast<std::int32_t>(classes),
              "a label lies outside the classes");
  }
  PassTask task;
  task.features = features.view;
  task.classes = static_cast<std::int64_t>(classes);
  task.labels = labels ? labels->data() : nullptr;
  if (soft_target) {
    task.soft_target = soft_target->data();
    task.soft_element = element_of(soft_target->dtype());
  }
  task.sample_weight = sample_weight ? sample_weight->data() : nullptr;
  task.loss = loss_of(loss);
  task.parameters = parameters;
  return task;
}

std::tuple<double, double, double> evaluate(const std::string& isa, const FeatureHandle& features, std::optional<Labels> labels,
                                            std::optional<SoftTarget> soft_target, std::optional<Vector> sample_weight,
                                            Matrix weight, Vector bias, const std::string& loss, double margin, double smoothing,
                                            double label_smoothing, bool double_precision, int threads, OutMatrix weight_gradient,
                                            OutVector bias_gradient) {
  require_parameters(features, weight, bias);
  require_threads(threads);
  require_aligned(weight, bias, weight_gradient, bias_gradient);
  require(weight_gradient.shape(0) == weight.shape(0) && weight_gradient.shape(1) == weight.shape(1) &&
              bias_gradient.shape(0) == bias.shape(0),
          "gradients have another shape than the weights");
  PassTask task =
      pass_task(features, labels, soft_target, sample_weight, bias.shape(0), loss, {margin, smoothing, label_smoothing});
  const Kernels& kernels = kernels_of(isa);
  const bool brief = features.view.brief;
  require(!brief || kernels.has_bfloat16, "this instruction set has no bfloat16");
  task.compute = double_precision && !brief ? Element::float64 : Element::float32;
  const nb::gil_scoped_release release;
  const crosshead::PassResult result =
      crosshead::run_pass(kernels.pass, task, weight.data(), bias.data(), threads, weight_gradient.data(), bias_gradient.data());
  return {result.loss, result.surrogate, result.dual};
}

std::tuple<double, double, double> move_residuals(const std::string& isa, const FeatureHandle& features,
                                                  std::optional<Labels> labels, std::optional<SoftTarget> soft_target,
                                                  std::optional<Vector> sample_weight, Matrix weight, Vector bias,
                                                  const std::string& loss, double margin, double smoothing,
                                                  double label_smoothing, bool double_precision, int threads, OutMatrix residual,
                                                  std::optional<Matrix> anchor, double curvature, double share,
                                                  OutMatrix weight_gradient, OutVector bias_gradient) {
  require_parameters(features, weight, bias);
  require_threads(threads);
  require_aligned(weight, bias, residual, anchor, weight_gradient, bias_gradient);
  const std::size_t rows = static_cast<std::size_t>(features.view.rows), classes = bias.shape(0);
  require(weight_gradient.shape(0) == weight.shape(0) && weight_gradient.shape(1) == weight.shape(1) &&
              bias_gradient.shape(0) == classes,
          "gradients have another shape than the weights");
  require(residual.shape(0) == rows && residual.shape(1) == classes, "residual has another shape");
  require(!anchor || (anchor->shape(0) == rows && anchor->shape(1) == classes), "anchor has another shape");
  require(!features.view.brief, "residuals are moved at scores of float features");
  require(smoothing == 0, "residuals are those of a loss as it is");
  require(curvature > 0, "the curvature must be positive");
  require(!soft_target || element_of(soft_target->dtype()) == Element::float64, "soft targets must be float64");
  PassTask task = pass_task(features, labels, soft_target, sample_weight, classes, loss, {margin, smoothing, label_smoothing});
  task.compute = double_precision ? Element::float64 : Element::float32;
  task.moved = {residual.data(), anchor ? anchor->data() : nullptr, curvature, share};
  const Kernels& kernels = kernels_of(isa);
  const nb::gil_scoped_release release;
  const crosshead::PassResult result =
      crosshead::run_pass(kernels.pass, task, weight.data(), bias.data(), threads, weight_gradient.data(), bias_gradient.data());
  return {result.loss, result.surrogate, result.dual};
}

std::tuple<double, double, double> sum_scores(const std::string& isa, const FeatureHandle& features, std::optional<Labels> labels,
                                              std::optional<SoftTarget> soft_target, std::optional<Vector> sample_weight,
                                              GivenScores scores, Vector bias, const std::string& loss, double margin,
                                              double smoothing, double label_smoothing, int threads, OutVector bias_gradient) {
  const std::size_t rows = static_cast<std::size_t>(features.view.rows), classes = bias.shape(0);
  require(!features.view.brief, "scores are for float features");
  require(scores.shape(0) == rows && scores.shape(1) == classes, "the scores' array has another shape");
  require_threads(threads);
  require_aligned(scores, bias, bias_gradient);
  require(bias_gradient.shape(0) == classes, "gradients have another shape than the weights");
  PassTask task = pass_task(features, labels, soft_target, sample_weight, classes, loss, {margin, smoothing, label_smoothing});
  task.compute = element_of(scores.dtype());
  task.scores = scores.data();
  const Kernels& kernels = kernels_of(isa);
  const nb::gil_scoped_release release;
  const crosshead::PassResult result =
      crosshead::run_pass(kernels.pass, task, nullptr, bias.data(), threads, nullptr, bias_gradient.data());
  return {result.loss, result.surrogate, result.dual};
}

void scores(const std::string& isa, const FeatureHandle& features, std::int64_t first, std::int64_t last, Matrix weight,
            Vector bias, int threads, OutScores out) {
  require_parameters(features, weight, bias);
  require(!features.view.brief, "scores are for float features");
  require(0 <= first && first <= last && last <= features.view.rows, "rows outside the features");
  require_threads(threads);
  require_aligned(weight, bias, out);
  require(out.shape(0) == static_cast<std::size_t>(last - first) && out.shape(1) == bias.shape(0),
          "the scores' array has another shape");
  PassTask task;
  task.features = features.view;
  task.classes = static_cast<std::int64_t>(bias.shape(0));
  task.compute = element_of(out.dtype());
  const Kernels& kernels = kernels_of(isa);
  void* to = out.data();
  const nb::gil_scoped_release release;
  crosshead::run_scores(kernels.pass, task, weight.data(), bias.data(), first, last, threads, to);
}

void gram(const std::string& isa, const FeatureHandle& features, std::optional<Vector> sample_weight, bool double_precision,
          int threads, OutMatrix out) {
  require(!features.view.sparse && !features.view.brief, "the Gram matrix is for dense features");
  require(static_cast<std::int64_t>(out.shape(0)) == features.view.columns && out.shape(0) == out.shape(1),
          "the Gram matrix has another shape");
  require(!sample_weight || static_cast<std::int64_t>(sample_weight->shape(0)) == features.view.rows,
          "sample weights have another length than the features");
  require_threads(threads);
  require_aligned(sample_weight, out);
  PassTask task;
  task.features = features.view;
  task.classes = 1;
  task.sample_weight = sample_weight ? sample_weight->data() : nullptr;
  task.compute = double_precision ? Element::float64 : Element::float32;
  const Kernels& kernels = kernels_of(isa);
  double* to = out.data();
  const nb::gil_scoped_release release;
  crosshead::run_gram(kernels.pass, task, threads, to);
}

}  // namespace

NB_MODULE(_native, module) {
  bind_heads(module);
  bind_descents(module);
  bind_array_memory(module);
  bind_mapped_files(module);
  nb::class_<FeatureHandle>(module, "Features")
      .def_prop_ro("rows", [](const FeatureHandle& f) { return f.view.rows; })
      .def_prop_ro("split", [](const FeatureHandle& f) { return f.view.split; })
      .def_prop_ro("columns", [](const FeatureHandle& f) { return f.view.columns; });
  module.def("dense_features", &dense_features);
  module.def("csr_features", &csr_features);
  module.def("chosen_rows", &chosen_rows);
  module.def("bfloat16_features", &bfloat16_features, nb::arg("source"), nb::arg("copy"), nb::arg("unit"), nb::arg("rounded"),
             nb::arg("threads"));
  module.def("rounded_features", &rounded_features, nb::arg("source"), nb::arg("threads"));
  module.def("has_bfloat16", [](const std::string& isa) { return kernels_of(isa).has_bfloat16; });
  module.def("evaluate", &evaluate, nb::arg("isa"), nb::arg("features"), nb::arg("labels").none(), nb::arg("soft_target").none(),
             nb::arg("sample_weight").none(), nb::arg("weight"), nb::arg("bias"), nb::arg("loss"), nb::arg("margin"),
             nb::arg("smoothing"), nb::arg("label_smoothing"), nb::arg("double_precision"), nb::arg("threads"),
             nb::arg("weight_gradient"), nb::arg("bias_gradient"));
  module.def("move_residuals", &move_residuals, nb::arg("isa"), nb::arg("features"), nb::arg("labels").none(),
             nb::arg("soft_target").none(), nb::arg("sample_weight").none(), nb::arg("weight"), nb::arg("bias"), nb::arg("loss"),
             nb::arg("margin"), nb::arg("smoothing"), nb::arg("label_smoothing"), nb::arg("double_precision"), nb::arg("threads"),
             nb::arg("residual"), nb::arg("anchor").none(), nb::arg("curvature"), nb::arg("share"), nb::arg("weight_gradient"),
             nb::arg("bias_gradient"));
  module.def("sum_scores", &sum_scores, nb::arg("isa"), nb::arg("features"), nb::arg("labels").none(),
             nb::arg("soft_target").none(), nb::arg("sample_weight").none(), nb::arg("scores"), nb::arg("bias"), nb::arg("loss"),
             nb::arg("margin"), nb::arg("smoothing"), nb::arg("label_smoothing"), nb::arg("threads"), nb::arg("bias_gradient"));
  module.def("scores", &scores);
  module.def("gram", &gram, nb::arg("isa"), nb::arg("features"), nb::arg("sample_weight").none(), nb::arg("double_precision"),
             nb::arg("threads"), nb::arg("out"));
  module.def("has_instruction_set", [](const std::string& name) { return crosshead::find_kernels(name.c_str()) != nullptr; });
  module.def("instruction_set", [] { return std::string(crosshead::find_kernels("")->name); });
}
