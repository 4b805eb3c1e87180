// Python's view of the fused heads. What a person may do wrong is checked in crosshead/nn; here only what memory safety needs.
#include "bindings/heads.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "bindings/checks.hpp"
#include "heads/schedule.hpp"

namespace nb = nanobind;

namespace {

using crosshead::Element;
using crosshead::HeadTask;
using crosshead::kernels_of;
using crosshead::Number;
using crosshead::require;
using crosshead::require_aligned;
using crosshead::require_threads;

using Array = nb::ndarray<nb::ro, nb::device::cpu>;
using Out = nb::ndarray<nb::device::cpu>;
using Labels = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

Number number_of(const std::string& name) {
  if (name == "float64") return Number::float64;
  if (name == "float32") return Number::float32;
  if (name == "bfloat16") return Number::bfloat16;
  if (name == "float16") return Number::float16;
  throw std::invalid_argument("the native heads have no numbers called '" + name + "'");
}

std::size_t bytes_of(Number number) { return number == Number::float64 ? 8 : (number == Number::float32 ? 4 : 2); }

// The second-order models are for features alone.
crosshead::LossName head_loss_of(const std::string& name) {
  const crosshead::LossName loss = crosshead::loss_of(name);
  require(loss <= crosshead::LossName::squared_error, "the native heads have no second-order models");
  return loss;
}

// A matrix of this many bytes a number whose rows are contiguous.
template <class A>
void require_matrix(const A& a, std::size_t bytes, std::int64_t rows, std::int64_t columns, const char* message) {
  require(a.ndim() == 2 && a.itemsize() == bytes && static_cast<std::int64_t>(a.shape(0)) == rows &&
              static_cast<std::int64_t>(a.shape(1)) == columns && (a.stride(1) == 1 || columns <= 1),
          message);
}

template <class A>
void require_contiguous(const A& a, std::size_t bytes, std::int64_t rows, std::int64_t columns, const char* message) {
  require_matrix(a, bytes, rows, columns, message);
  require(a.stride(0) == columns || rows <= 1, message);
}

template <class A>
auto vector_of(std::optional<A>& a, std::size_t bytes, std::int64_t length, const char* message) -> decltype(a->data()) {
  if (!a) return nullptr;
  require(a->ndim() == 1 && a->itemsize() == bytes && static_cast<std::int64_t>(a->shape(0)) == length &&
              (a->stride(0) == 1 || length <= 1),
          message);
  return a->data();
}

void head(const std::string& isa, const std::string& number, Array input, Array weight, std::optional<Array> bias,
          std::optional<Array> class_scale, std::optional<Array> class_weight, std::optional<Array> positive_weight,
          std::optional<Labels> labels, std::int64_t first_class, std::int64_t all_classes, std::optional<Array> soft_target,
          std::optional<Array> target_score, std::optional<Array> slope, const std::string& loss, double margin,
          double label_smoothing, double softcap, double z_loss, Out state, bool state_known, std::optional<Array> upstream,
          std::optional<Array> lse_upstream, std::optional<Out> input_gradient, std::optional<Out> weight_gradient,
          std::optional<Out> bias_gradient, const std::string& plan, std::int64_t room, int threads) {
  HeadTask task;
  task.number = number_of(number);
  const std::size_t narrow = bytes_of(task.number), wide = task.number == Number::float64 ? 8 : 4;
  require(input.ndim() == 2 && weight.ndim() == 2, "features and weight must have two dimensions");
  task.rows = static_cast<std::int64_t>(input.shape(0));
  task.columns = static_cast<std::int64_t>(input.shape(1));
  task.classes = static_cast<std::int64_t>(weight.shape(0));
  require(task.rows >= 1 && task.columns >= 1 && task.classes >= 1, "a native head needs rows, features and classes");
  require(task.classes < (std::int64_t{1} << 31) - 1, "a native head takes fewer than 2^31 classes");
  require_matrix(input, narrow, task.rows, task.columns, "features of another type, or with gaps within a row");
  require_matrix(weight, narrow, task.classes, task.columns, "a weight of another type or shape than the features");
  task.input = input.data();
  task.input_stride = input.stride(0);
  task.weight = weight.data();
  task.weight_stride = weight.stride(0);
  task.bias = vector_of(bias, wide, task.classes, "a bias of another length or type");
  task.class_scale = vector_of(class_scale, wide, task.classes, "class scales of another length or type");
  require(!bias || !class_scale, "scaled classes take no bias");
  task.class_weight = vector_of(class_weight, wide, task.classes, "class weights of another length or type");
  task.positive_weight = vector_of(positive_weight, wide, task.classes, "positive weights of another length or type");
  task.all_classes = static_cast<double>(all_classes);
  task.loss = head_loss_of(loss);
  require(!soft_target || crosshead::takes_rows(task.loss), "this loss needs labels");
  require_threads(threads);
  require_aligned(input, weight, bias, class_scale, class_weight, positive_weight, labels, soft_target, target_score, slope,
                  state, upstream, lse_upstream, input_gradient, weight_gradient, bias_gradient);
  task.parameters = {margin, label_smoothing, softcap, z_loss};
  if (soft_target) {
    require_matrix(*soft_target, wide, task.rows, task.classes, "targets of another shape or type than the scores");
    task.soft_target = soft_target->data();
    task.soft_stride = soft_target->stride(0);
  }
  crosshead::HeadRowInput rows;
  require(!labels || static_cast<std::int64_t>(labels->shape(0)) == task.rows, "labels of another length than the features");
  rows.labels = labels ? labels->data() : nullptr;
  rows.first_class = first_class;
  rows.target_score = vector_of(target_score, wide, task.rows, "target scores of another length or type");
  rows.slope = vector_of(slope, wide, task.rows, "slopes of another length or type");
  rows.upstream = vector_of(upstream, wide, task.rows, "upstream gradients of another length or type");
  rows.lse_upstream = vector_of(lse_upstream, wide, task.rows, "upstream gradients of another length or type");
  crosshead::HeadOutput out;
  require_contiguous(state, wide, crosshead::kHeadState, task.rows, "a state of another shape or type");
  out.state = state.data();
  out.state_known = state_known;
  out.gradients = upstream.has_value();
  require(out.gradients || !state_known, "nothing to compute");
  if (input_gradient) require_contiguous(*input_gradient, narrow, task.rows, task.columns, "a gradient of another shape or type");
  if (weight_gradient)
    require_contiguous(*weight_gradient, narrow, task.classes, task.columns, "a gradient of another shape or type");
  out.input_gradient = input_gradient ? input_gradient->data() : nullptr;
  out.weight_gradient = weight_gradient ? weight_gradient->data() : nullptr;
  out.bias_gradient = vector_of(bias_gradient, wide, task.classes, "a gradient of another shape or type");
  const crosshead::HeadPlan way = plan == "keep"        ? crosshead::HeadPlan::keep
                                  : plan == "recompute" ? crosshead::HeadPlan::recompute
                                                        : crosshead::HeadPlan::automatic;
  const crosshead::Kernels& kernels = kernels_of(isa);
  const nb::gil_scoped_release release;
  crosshead::run_head(kernels.head, task, rows, out, way, room, threads);
}

// The softmax loss of given scores; the state (kHeadState, rows), and the gradient where one is wanted.
void score_loss(const std::string& isa, const std::string& number, Array scores, std::optional<Labels> labels,
                std::optional<Array> soft_target, std::optional<Array> class_weight, double label_smoothing, double softcap,
                double z_loss, Out state, bool state_known, std::optional<Array> upstream, std::optional<Array> lse_upstream,
                std::optional<Out> gradient, int threads) {
  crosshead::ScoreTask task;
  task.number = number_of(number);
  const std::size_t narrow = bytes_of(task.number), wide = task.number == Number::float64 ? 8 : 4;
  require(scores.ndim() == 2, "scores must have two dimensions");
  task.rows = static_cast<std::int64_t>(scores.shape(0));
  task.classes = static_cast<std::int64_t>(scores.shape(1));
  require(task.rows >= 1 && task.classes >= 1, "the native loss needs rows and classes");
  require_threads(threads);
  require_aligned(scores, labels, soft_target, class_weight, state, upstream, lse_upstream, gradient);
  require_matrix(scores, narrow, task.rows, task.classes, "scores of another type, or with gaps within a row");
  task.scores = scores.data();
  task.stride = scores.stride(0);
  require(!labels || static_cast<std::int64_t>(labels->shape(0)) == task.rows, "labels of another length than the scores");
  task.labels = labels ? labels->data() : nullptr;
  if (soft_target) {
    require_matrix(*soft_target, wide, task.rows, task.classes, "targets of another shape or type than the scores");
    task.soft_target = soft_target->data();
    task.soft_stride = soft_target->stride(0);
  }
  task.class_weight = vector_of(class_weight, wide, task.classes, "class weights of another length or type");
  task.parameters = {1.0, label_smoothing, softcap, z_loss};
  require_contiguous(state, wide, crosshead::kHeadState, task.rows, "a state of another shape or type");
  task.state = state.data();
  task.state_known = state_known;
  task.upstream = vector_of(upstream, wide, task.rows, "upstream gradients of another length or type");
  task.lse_upstream = vector_of(lse_upstream, wide, task.rows, "upstream gradients of another length or type");
  require(gradient.has_value() == upstream.has_value(), "a gradient needs upstream gradients, and a place");
  require(gradient.has_value() || !state_known, "nothing to compute");
  if (gradient) {
    require_contiguous(*gradient, narrow, task.rows, task.classes, "a gradient of another shape or type");
    task.gradient = gradient->data();
    require(task.gradient != task.scores || task.stride == task.classes || task.rows <= 1,
            "scores with gaps cannot be overwritten");
  }
  const crosshead::Kernels& kernels = kernels_of(isa);
  const nb::gil_scoped_release release;
  crosshead::run_scores_loss(kernels.score, task, threads);
}

}  // namespace

void bind_heads(nb::module_& module) {
  module.def("head", &head, nb::kw_only(), nb::arg("isa"), nb::arg("number"), nb::arg("input"), nb::arg("weight"),
             nb::arg("bias").none(), nb::arg("class_scale").none(), nb::arg("class_weight").none(),
             nb::arg("positive_weight").none(), nb::arg("labels").none(), nb::arg("first_class"), nb::arg("all_classes"),
             nb::arg("soft_target").none(), nb::arg("target_score").none(), nb::arg("slope").none(), nb::arg("loss"),
             nb::arg("margin"), nb::arg("label_smoothing"), nb::arg("softcap"), nb::arg("z_loss"), nb::arg("state"),
             nb::arg("state_known"), nb::arg("upstream").none(), nb::arg("lse_upstream").none(), nb::arg("input_gradient").none(),
             nb::arg("weight_gradient").none(), nb::arg("bias_gradient").none(), nb::arg("plan"), nb::arg("room"),
             nb::arg("threads"));
  module.def("score_loss", &score_loss, nb::kw_only(), nb::arg("isa"), nb::arg("number"), nb::arg("scores"),
             nb::arg("labels").none(), nb::arg("soft_target").none(), nb::arg("class_weight").none(), nb::arg("label_smoothing"),
             nb::arg("softcap"), nb::arg("z_loss"), nb::arg("state"), nb::arg("state_known"), nb::arg("upstream").none(),
             nb::arg("lse_upstream").none(), nb::arg("gradient").none(), nb::arg("threads"));
}
