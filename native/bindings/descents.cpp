// Python's view of the descents. Shapes and types are checked where Python calls them; here only what memory safety needs.
#include "bindings/descents.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>

#include "bindings/checks.hpp"
#include "bindings/feature_handle.hpp"
#include "descent/coordinate_descent.hpp"
#include "descent/dual_ascent.hpp"
#include "descent/row_descent.hpp"

namespace nb = nanobind;

namespace {

using crosshead::AnyArray;
using crosshead::Element;
using crosshead::element_of;
using crosshead::FeatureHandle;
using crosshead::kernels_of;
using crosshead::Labels;
using crosshead::Matrix;
using crosshead::OutFloats;
using crosshead::OutMatrix;
using crosshead::OutVector;
using crosshead::require;
using crosshead::require_aligned;
using crosshead::RowNumbers;
using crosshead::Vector;

using Factors = nb::ndarray<nb::ro, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using OutBytes = crosshead::Array<std::uint8_t, 1>;
using OutIndices = crosshead::Array<std::int64_t, 1>;

int descend(Matrix weight, Matrix gradient, AnyArray class_matrix, AnyArray feature_matrix, Vector l1, Vector l2, Matrix low_rank,
            Matrix low_rank_scaled, double tolerance, int most_sweeps, double seconds, OutMatrix step) {
  const std::size_t classes = weight.shape(0), columns = weight.shape(1), rank = low_rank.shape(1);
  require(gradient.shape(0) == classes && gradient.shape(1) == columns && step.shape(0) == classes && step.shape(1) == columns,
          "weight, gradient and step have different shapes");
  require(l1.shape(0) == columns && l2.shape(0) == columns, "penalties have another length than the columns");
  require(
      low_rank.shape(0) == classes * columns && low_rank_scaled.shape(0) == classes * columns && low_rank_scaled.shape(1) == rank,
      "the low-rank factors have another shape");
  for (const AnyArray* matrix : {&class_matrix, &feature_matrix}) {
    const std::size_t side = matrix == &class_matrix ? classes : columns;
    require(matrix->dtype() == nb::dtype<double>(), "the model's factors must be float64");
    require(matrix->ndim() >= 1 && matrix->ndim() <= 2 && matrix->shape(0) == side && matrix->stride(matrix->ndim() - 1) == 1 &&
                (matrix->ndim() == 1 || (matrix->shape(1) == side && matrix->stride(0) == static_cast<std::int64_t>(side))),
            "the model's factors have another shape");
  }
  require_aligned(weight, gradient, class_matrix, feature_matrix, l1, l2, low_rank, low_rank_scaled, step);
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
  return crosshead::coordinate_descent(model, {tolerance, most_sweeps, seconds}, to);
}

// Columns are dense (columns, rows), or the entries of a CSC matrix with its row indices and column starts.
int descend_rows(const std::string& isa, AnyArray features, std::optional<Labels> indices, std::optional<RowNumbers> starts,
                 Factors factors, RowNumbers column, RowNumbers class_of, Vector weight, Vector gradient, Vector l1, Vector l2,
                 double tolerance, int most_sweeps, double seconds, OutVector step) {
  const std::size_t count = step.shape(0), classes = factors.shape(1), rows = factors.shape(2);
  const Element element = element_of(factors.dtype());
  require(factors.shape(0) >= 1 && factors.shape(0) <= 3, "a row's curvature has one to three factors");
  require(element_of(features.dtype()) == element, "features have another type than the factors");
  require(indices.has_value() == starts.has_value(), "sparse columns need indices and starts");
  require(column.shape(0) == count && class_of.shape(0) == count && weight.shape(0) == count && gradient.shape(0) == count &&
              l1.shape(0) == count && l2.shape(0) == count,
          "arrays of another length than the coordinates");
  require_aligned(features, indices, starts, factors, column, class_of, weight, gradient, l1, l2, step);
  crosshead::RowModel model;
  model.sparse = indices.has_value();
  std::size_t columns = 0;
  bool valid = true;
  if (model.sparse) {
    require(features.ndim() == 1 && (features.shape(0) <= 1 || features.stride(0) == 1) &&
                features.shape(0) == indices->shape(0) && starts->shape(0) >= 1,
            "sparse columns have another shape");
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
    valid = valid && column.data()[k] >= 0 && static_cast<std::size_t>(column.data()[k]) < columns && class_of.data()[k] >= 0 &&
            static_cast<std::size_t>(class_of.data()[k]) < classes;
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
  const crosshead::DescendRows run = kernels_of(isa).descend_rows;
  double* to = step.data();
  const nb::gil_scoped_release release;
  return run(model, {tolerance, most_sweeps, seconds}, to);
}

// Row steps read one target of a row, whatever the loss: hinges an index, the others an index or a row of numbers.
void require_targets(const std::optional<Labels>& labels, const std::optional<Matrix>& soft_target, crosshead::LossName loss,
                     std::size_t rows, std::size_t classes) {
  require(labels.has_value() != soft_target.has_value(), "dual ascent needs labels or soft targets");
  if (soft_target) {
    require(crosshead::takes_rows(loss), "this loss needs labels");
    require(soft_target->shape(0) == rows && soft_target->shape(1) == classes, "soft targets have another shape");
    return;
  }
  require(labels->shape(0) == rows, "labels of another length than the rows");
  const std::int64_t least = loss == crosshead::LossName::binary ? -1 : 0;
  bool valid = true;
  for (std::size_t i = 0; i < rows; ++i)
    valid &= labels->data()[i] >= least && labels->data()[i] < static_cast<std::int64_t>(classes);
  require(valid, "labels lie outside their range");
}

double ascend(const std::string& isa, const FeatureHandle& features, std::optional<Labels> labels,
              std::optional<Matrix> soft_target, Vector share, Vector squares, const std::string& loss, double margin,
              double label_smoothing, double l2, double bias_step, OutFloats weight, OutVector bias, OutMatrix residual,
              OutBytes pause, OutBytes waiting, OutIndices order, double still, int sweeps, std::uint64_t seed) {
  const crosshead::Features& view = features.view;
  const std::size_t rows = static_cast<std::size_t>(view.rows), classes = bias.shape(0);
  const std::size_t columns = static_cast<std::size_t>(view.columns);
  require(!view.brief && view.chosen == nullptr, "dual ascent needs all rows of float features");
  require(view.sparse || view.column_stride == 1 || view.columns <= 1, "dual ascent needs rows whose columns lie side by side");
  require(element_of(weight.dtype()) == view.element, "weight has another type than the features");
  const std::size_t whole = (classes + 15) / 16 * 16;  // the most that the kernels have room for
  require(view.sparse ? weight.shape(0) == columns && weight.shape(1) >= classes && weight.shape(1) <= whole
                      : weight.shape(0) == classes && weight.shape(1) == columns,
          "weight has another shape");
  require(residual.shape(0) == rows && residual.shape(1) == classes, "residual has another shape");
  require(share.shape(0) == rows && squares.shape(0) == rows && pause.shape(0) == rows && waiting.shape(0) == rows &&
              order.shape(0) == rows,
          "arrays of another length than the rows");
  bool valid = true;
  for (std::size_t i = 0; i < rows; ++i) valid &= order.data()[i] >= 0 && order.data()[i] < view.rows;
  require(valid, "the order lies outside its range");
  require_aligned(labels, soft_target, share, squares, weight, bias, residual, order);
  crosshead::AscentTask task;
  task.loss = crosshead::loss_of(loss);
  require_targets(labels, soft_target, task.loss, rows, classes);
  task.features = view;
  task.classes = static_cast<std::int64_t>(classes);
  task.labels = labels ? labels->data() : nullptr;
  task.soft_target = soft_target ? soft_target->data() : nullptr;
  task.share = share.data();
  task.squares = squares.data();
  task.parameters.margin = margin;
  task.parameters.label_smoothing = label_smoothing;
  task.l2 = l2;
  task.bias_step = bias_step;
  task.weight = weight.data();
  task.stride = static_cast<std::int64_t>(weight.shape(1));
  task.bias = bias.data();
  task.residual = residual.data();
  task.pause = pause.data();
  task.waiting = waiting.data();
  task.order = order.data();
  task.still = still;
  const crosshead::Ascend run = kernels_of(isa).ascend;
  const nb::gil_scoped_release release;
  return run(task, sweeps, seed);
}

}  // namespace

void bind_descents(nb::module_& module) {
  module.def("coordinate_descent", &descend, nb::arg("weight"), nb::arg("gradient"), nb::arg("class_matrix"),
             nb::arg("feature_matrix"), nb::arg("l1"), nb::arg("l2"), nb::arg("low_rank"), nb::arg("low_rank_scaled"),
             nb::arg("tolerance"), nb::arg("most_sweeps"), nb::arg("seconds"), nb::arg("step"));
  module.def("descend_rows", &descend_rows, nb::arg("isa"), nb::arg("features"), nb::arg("indices").none(),
             nb::arg("starts").none(), nb::arg("factors"), nb::arg("column"), nb::arg("class_of"), nb::arg("weight"),
             nb::arg("gradient"), nb::arg("l1"), nb::arg("l2"), nb::arg("tolerance"), nb::arg("most_sweeps"), nb::arg("seconds"),
             nb::arg("step"));
  module.def("ascend", &ascend, nb::arg("isa"), nb::arg("features"), nb::arg("labels").none(), nb::arg("soft_target").none(),
             nb::arg("share"), nb::arg("squares"), nb::arg("loss"), nb::arg("margin"), nb::arg("label_smoothing"), nb::arg("l2"),
             nb::arg("bias_step"), nb::arg("weight"), nb::arg("bias"), nb::arg("residual"), nb::arg("pause"), nb::arg("waiting"),
             nb::arg("order"), nb::arg("still"), nb::arg("sweeps"), nb::arg("seed"));
}
