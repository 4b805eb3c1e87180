// Python's view of the kernels. Shapes and types are checked in crosshead/engines/native.py; here only what memory
// safety needs.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "array_memory.hpp"
#include "binding_checks.hpp"
#include "coordinate_descent.hpp"
#include "dual_ascent.hpp"
#include "head_bindings.hpp"
#include "row_descent.hpp"
#include "schedule.hpp"

namespace nb = nanobind;

namespace {

using crosshead::Element;
using crosshead::Kernels;
using crosshead::PassTask;
using crosshead::kernels_of;
using crosshead::loss_of;
using crosshead::require;

using AnyArray = nb::ndarray<nb::ro, nb::device::cpu>;
using Vector = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Matrix = nb::ndarray<const double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Labels = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using RowNumbers = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutVector = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutMatrix = nb::ndarray<double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using OutPairs = nb::ndarray<std::uint16_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using OutBytes = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutIndices = nb::ndarray<std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using SoftTarget = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using OutScores = nb::ndarray<nb::ndim<2>, nb::c_contig, nb::device::cpu>;

Element element_of(nb::dlpack::dtype type) {
  if (type == nb::dtype<float>()) return Element::float32;
  if (type == nb::dtype<double>()) return Element::float64;
  throw std::invalid_argument("numbers must be float32 or float64");
}

// Features keep the arrays alive and describe them to the kernels.
struct FeatureHandle {
  crosshead::Features view;
  AnyArray values, indices, row_starts;
  OutPairs copy;  // of bfloat16 features
  RowNumbers chosen;
};

FeatureHandle dense_features(AnyArray x) {
  require(x.ndim() == 2, "dense features must have two dimensions");
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

std::tuple<double, double, double> evaluate(const std::string& isa, const FeatureHandle& features,
                                            std::optional<Labels> labels, std::optional<SoftTarget> soft_target,
                                            std::optional<Vector> sample_weight, Matrix weight, Vector bias,
                                            const std::string& loss, double margin, double smoothing,
                                            double label_smoothing, bool double_precision, int threads,
                                            OutMatrix weight_gradient, OutVector bias_gradient) {
  require_parameters(features, weight, bias);
  const std::size_t rows = static_cast<std::size_t>(features.view.rows);
  require(labels.has_value() != soft_target.has_value(), "give labels or target probabilities");
  require(soft_target || loss.find("quadratic") == std::string::npos, "a quadratic needs coefficients for each row");
  require(!labels || labels->shape(0) == rows, "labels have another length than the features");
  require(!soft_target || (soft_target->shape(0) == rows && soft_target->shape(1) == bias.shape(0)),
          "target probabilities have another shape than the scores");
  require(!sample_weight || sample_weight->shape(0) == rows, "sample weights have another length than the features");
  require(weight_gradient.shape(0) == weight.shape(0) && weight_gradient.shape(1) == weight.shape(1) &&
              bias_gradient.shape(0) == bias.shape(0), "gradients have another shape than the weights");
  if (labels) {
    const std::int32_t classes = static_cast<std::int32_t>(bias.shape(0));
    const std::int32_t lowest = loss == "binary" ? -1 : 0;
    for (std::size_t i = 0; i < rows; ++i)
      require(labels->data()[i] >= lowest && labels->data()[i] < classes, "a label lies outside the classes");
  }
  PassTask task;
  task.features = features.view;
  task.classes = static_cast<std::int64_t>(bias.shape(0));
  task.labels = labels ? labels->data() : nullptr;
  if (soft_target) {
    task.soft_target = soft_target->data();
    task.soft_element = element_of(soft_target->dtype());
  }
  task.sample_weight = sample_weight ? sample_weight->data() : nullptr;
  task.loss = loss_of(loss);
  task.parameters = {margin, smoothing, label_smoothing};
  const Kernels& kernels = kernels_of(isa);
  const bool brief = features.view.brief;
  require(!brief || kernels.has_bfloat16, "this instruction set has no bfloat16");
  task.compute = double_precision && !brief ? Element::float64 : Element::float32;
  const nb::gil_scoped_release release;
  const crosshead::PassResult result = crosshead::run_pass(kernels, task, weight.data(), bias.data(), threads,
                                                           weight_gradient.data(), bias_gradient.data());
  return {result.loss, result.surrogate, result.dual};
}

void scores(const std::string& isa, const FeatureHandle& features, std::int64_t first, std::int64_t last, Matrix weight,
            Vector bias, int threads, OutScores out) {
  require_parameters(features, weight, bias);
  require(!features.view.brief, "scores are for float features");
  require(0 <= first && first <= last && last <= features.view.rows, "rows outside the features");
  require(out.shape(0) == static_cast<std::size_t>(last - first) && out.shape(1) == bias.shape(0),
          "the scores' array has another shape");
  PassTask task;
  task.features = features.view;
  task.classes = static_cast<std::int64_t>(bias.shape(0));
  task.compute = element_of(out.dtype());
  const Kernels& kernels = kernels_of(isa);
  void* to = out.data();
  const nb::gil_scoped_release release;
  crosshead::run_scores(kernels, task, weight.data(), bias.data(), first, last, threads, to);
}

void gram(const std::string& isa, const FeatureHandle& features, std::optional<Vector> sample_weight,
          bool double_precision, int threads, OutMatrix out) {
  require(!features.view.sparse && !features.view.brief, "the Gram matrix is for dense features");
  require(static_cast<std::int64_t>(out.shape(0)) == features.view.columns && out.shape(0) == out.shape(1),
          "the Gram matrix has another shape");
  require(!sample_weight || static_cast<std::int64_t>(sample_weight->shape(0)) == features.view.rows,
          "sample weights have another length than the features");
  PassTask task;
  task.features = features.view;
  task.classes = 1;
  task.sample_weight = sample_weight ? sample_weight->data() : nullptr;
  task.compute = double_precision ? Element::float64 : Element::float32;
  const Kernels& kernels = kernels_of(isa);
  double* to = out.data();
  const nb::gil_scoped_release release;
  crosshead::run_gram(kernels, task, threads, to);
}

int descend(Matrix weight, Matrix gradient, AnyArray class_matrix, AnyArray feature_matrix, Vector l1, Vector l2,
            Matrix low_rank, Matrix low_rank_scaled, double tolerance, int most_sweeps, OutMatrix step) {
  const std::size_t classes = weight.shape(0), columns = weight.shape(1), rank = low_rank.shape(1);
  require(gradient.shape(0) == classes && gradient.shape(1) == columns && step.shape(0) == classes &&
              step.shape(1) == columns, "weight, gradient and step have different shapes");
  require(l1.shape(0) == columns && l2.shape(0) == columns, "penalties have another length than the columns");
  require(low_rank.shape(0) == classes * columns && low_rank_scaled.shape(0) == classes * columns &&
              low_rank_scaled.shape(1) == rank, "the low-rank factors have another shape");
  for (const AnyArray* matrix : {&class_matrix, &feature_matrix}) {
    const std::size_t side = matrix == &class_matrix ? classes : columns;
    require(matrix->dtype() == nb::dtype<double>(), "the model's factors must be float64");
    require(matrix->ndim() >= 1 && matrix->ndim() <= 2 && matrix->shape(0) == side && matrix->stride(matrix->ndim() - 1) == 1 &&
                (matrix->ndim() == 1 || (matrix->shape(1) == side && matrix->stride(0) == static_cast<std::int64_t>(side))),
            "the model's factors have another shape");
  }
  crosshead::QuadraticModel model;
  model.classes = static_cast<std::int64_t>(classes);
  model.columns = static_cast<std::int64_t>(columns);
  model.rank = static_cast<std::int64_t>(rank);
  model.weight = weight.data();
  model.gradient = gradient.data();
  model.class_matrix = static_cast<const double*>(class_matrix.data());
  model.feature_matrix = static_cast<const double*>(feature_matrix.data());
  model.uncoupled = class_matrix.ndim() == 1;
  model.diagonal = feature_matrix.ndim() == 1;
  model.l1 = l1.data();
  model.l2 = l2.data();
  model.low_rank = low_rank.data();
  model.low_rank_scaled = low_rank_scaled.data();
  double* to = step.data();
  const nb::gil_scoped_release release;
  return crosshead::coordinate_descent(model, tolerance, most_sweeps, to);
}

crosshead::DescendRows descend_rows_of(const std::string& isa) {
#ifdef CROSSHEAD_X86
  const std::string name = kernels_of(isa).name;
  if (name == "avx2") return crosshead::descend_rows_avx2;
  if (name != "plain") return crosshead::descend_rows_avx512;
#else
  kernels_of(isa);
#endif
  return crosshead::descend_rows_plain;
}

// Columns are dense (columns, rows), or the entries of a CSC matrix with its row indices and column starts.
int descend_rows(const std::string& isa, AnyArray features, std::optional<Labels> indices, std::optional<RowNumbers> starts,
                 nb::ndarray<nb::ro, nb::ndim<3>, nb::c_contig, nb::device::cpu> factors, RowNumbers column,
                 RowNumbers class_of, Vector weight, Vector gradient, Vector l1, Vector l2, double tolerance,
                 int most_sweeps, OutVector step) {
  const std::size_t count = step.shape(0), classes = factors.shape(1), rows = factors.shape(2);
  const Element element = element_of(factors.dtype());
  require(factors.shape(0) >= 1 && factors.shape(0) <= 3, "a row's curvature has one to three factors");
  require(element_of(features.dtype()) == element, "features have another type than the factors");
  require(indices.has_value() == starts.has_value(), "sparse columns need indices and starts");
  require(column.shape(0) == count && class_of.shape(0) == count && weight.shape(0) == count &&
              gradient.shape(0) == count && l1.shape(0) == count && l2.shape(0) == count,
          "arrays of another length than the coordinates");
  crosshead::RowModel model;
  model.sparse = indices.has_value();
  std::size_t columns = 0;
  bool valid = true;
  if (model.sparse) {
    require(features.ndim() == 1 && (features.shape(0) <= 1 || features.stride(0) == 1) &&
                features.shape(0) == indices->shape(0) && starts->shape(0) >= 1, "sparse columns have another shape");
    columns = starts->shape(0) - 1;
    std::int64_t last = 0;
    for (std::size_t d = 0; d <= columns; ++d) {
      valid = valid && starts->data()[d] >= last;
      last = starts->data()[d];
    }
    valid = valid && starts->data()[0] == 0 && last == static_cast<std::int64_t>(features.shape(0));
    for (std::size_t k = 0; k < indices->shape(0); ++k)
      valid = valid && indices->data()[k] >= 0 && static_cast<std::size_t>(indices->data()[k]) < rows;
    model.indices = indices->data();
    model.starts = starts->data();
  } else {
    require(features.ndim() == 2 && features.shape(1) == rows && (rows <= 1 || features.stride(1) == 1) &&
                (features.shape(0) <= 1 || features.stride(0) == static_cast<std::int64_t>(rows)),
            "columns have another shape");
    columns = features.shape(0);
  }
  for (std::size_t k = 0; k < count; ++k)
    valid = valid && column.data()[k] >= 0 && static_cast<std::size_t>(column.data()[k]) < columns &&
            class_of.data()[k] >= 0 && static_cast<std::size_t>(class_of.data()[k]) < classes;
  require(valid, "an index is out of range");
  const std::size_t table = classes * rows * (element == Element::float32 ? 4 : 8);
  const char* first = static_cast<const char*>(factors.data());
  model.rows = static_cast<std::int64_t>(rows);
  model.classes = static_cast<std::int64_t>(classes);
  model.coordinates = static_cast<std::int64_t>(count);
  model.rank = static_cast<int>(factors.shape(0)) - 1;
  model.single = element == Element::float32;
  model.features = features.data();
  model.p = first;
  model.q = model.rank > 0 ? first + table : nullptr;
  model.r = model.rank > 1 ? first + 2 * table : nullptr;
  model.column = column.data();
  model.class_of = class_of.data();
  model.weight = weight.data();
  model.gradient = gradient.data();
  model.l1 = l1.data();
  model.l2 = l2.data();
  const crosshead::DescendRows run = descend_rows_of(isa);
  double* to = step.data();
  const nb::gil_scoped_release release;
  return run(model, tolerance, most_sweeps, to);
}

crosshead::Ascend ascend_of(const std::string& isa) {
#ifdef CROSSHEAD_X86
  const std::string name = kernels_of(isa).name;
  if (name == "avx2") return crosshead::ascend_avx2;
  if (name != "plain") return crosshead::ascend_avx512;
#else
  kernels_of(isa);
#endif
  return crosshead::ascend_plain;
}

void ascend(const std::string& isa, const FeatureHandle& features, Labels labels, Vector share, Vector squares, bool worst,
            double margin, double l2, double bias_step, OutScores weight, OutVector bias, OutMatrix residual,
            OutBytes pause, OutBytes waiting, OutIndices order, int sweeps, std::uint64_t seed) {
  const crosshead::Features& view = features.view;
  const std::size_t rows = static_cast<std::size_t>(view.rows), classes = bias.shape(0);
  require(!view.sparse && !view.brief && view.chosen == nullptr,
          "dual ascent needs all rows of dense float features");
  require(view.column_stride == 1 || view.columns <= 1, "dual ascent needs rows whose columns lie side by side");
  require(element_of(weight.dtype()) == view.element, "weight has another type than the features");
  require(weight.shape(0) == classes && weight.shape(1) == static_cast<std::size_t>(view.columns),
          "weight has another shape");
  require(residual.shape(0) == rows && residual.shape(1) == classes, "residual has another shape");
  require(labels.shape(0) == rows && share.shape(0) == rows && squares.shape(0) == rows && pause.shape(0) == rows &&
              waiting.shape(0) == rows && order.shape(0) == rows, "arrays of another length than the rows");
  bool valid = true;
  for (std::size_t i = 0; i < rows; ++i) {
    valid &= labels.data()[i] >= 0 && static_cast<std::size_t>(labels.data()[i]) < classes;
    valid &= order.data()[i] >= 0 && order.data()[i] < view.rows;
  }
  require(valid, "labels or order lie outside their range");
  crosshead::AscentTask task;
  task.rows = view.rows;
  task.columns = view.columns;
  task.classes = static_cast<std::int64_t>(classes);
  task.row_stride = view.row_stride;
  task.single = view.element == Element::float32;
  task.features = view.values;
  task.labels = labels.data();
  task.share = share.data();
  task.squares = squares.data();
  task.worst = worst;
  task.margin = margin;
  task.l2 = l2;
  task.bias_step = bias_step;
  task.weight = weight.data();
  task.bias = bias.data();
  task.residual = residual.data();
  task.pause = pause.data();
  task.waiting = waiting.data();
  task.order = order.data();
  const crosshead::Ascend run = ascend_of(isa);
  const nb::gil_scoped_release release;
  run(task, sweeps, seed);
}

}  // namespace

NB_MODULE(_native, module) {
  bind_heads(module);
  bind_array_memory(module);
  nb::class_<FeatureHandle>(module, "Features")
      .def_prop_ro("rows", [](const FeatureHandle& f) { return f.view.rows; })
      .def_prop_ro("split", [](const FeatureHandle& f) { return f.view.split; })
      .def_prop_ro("columns", [](const FeatureHandle& f) { return f.view.columns; });
  module.def("dense_features", &dense_features);
  module.def("csr_features", &csr_features);
  module.def("chosen_rows", &chosen_rows);
  module.def("bfloat16_features", &bfloat16_features, nb::arg("source"), nb::arg("copy"),
             nb::arg("unit"), nb::arg("rounded"), nb::arg("threads"));
  module.def("rounded_features", &rounded_features, nb::arg("source"), nb::arg("threads"));
  module.def("has_bfloat16", [](const std::string& isa) { return kernels_of(isa).has_bfloat16; });
  module.def("evaluate", &evaluate, nb::arg("isa"), nb::arg("features"), nb::arg("labels").none(),
             nb::arg("soft_target").none(), nb::arg("sample_weight").none(), nb::arg("weight"), nb::arg("bias"),
             nb::arg("loss"), nb::arg("margin"), nb::arg("smoothing"), nb::arg("label_smoothing"),
             nb::arg("double_precision"), nb::arg("threads"), nb::arg("weight_gradient"), nb::arg("bias_gradient"));
  module.def("scores", &scores);
  module.def("gram", &gram, nb::arg("isa"), nb::arg("features"), nb::arg("sample_weight").none(),
             nb::arg("double_precision"), nb::arg("threads"), nb::arg("out"));
  module.def("coordinate_descent", &descend, nb::arg("weight"), nb::arg("gradient"), nb::arg("class_matrix"),
             nb::arg("feature_matrix"), nb::arg("l1"), nb::arg("l2"), nb::arg("low_rank"), nb::arg("low_rank_scaled"),
             nb::arg("tolerance"), nb::arg("most_sweeps"), nb::arg("step"));
  module.def("descend_rows", &descend_rows, nb::arg("isa"), nb::arg("features"), nb::arg("indices").none(),
             nb::arg("starts").none(), nb::arg("factors"), nb::arg("column"), nb::arg("class_of"), nb::arg("weight"),
             nb::arg("gradient"), nb::arg("l1"), nb::arg("l2"), nb::arg("tolerance"), nb::arg("most_sweeps"),
             nb::arg("step"));
  module.def("ascend", &ascend, nb::arg("isa"), nb::arg("features"), nb::arg("labels"), nb::arg("share"),
             nb::arg("squares"), nb::arg("worst"), nb::arg("margin"), nb::arg("l2"), nb::arg("bias_step"),
             nb::arg("weight"), nb::arg("bias"), nb::arg("residual"), nb::arg("pause"), nb::arg("waiting"),
             nb::arg("order"), nb::arg("sweeps"), nb::arg("seed"));
  module.def("has_instruction_set", [](const std::string& name) { return crosshead::find_kernels(name.c_str()) != nullptr; });
  module.def("instruction_set", [] { return std::string(crosshead::find_kernels("")->name); });
}
