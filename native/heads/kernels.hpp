// The functions of a fused head of one instruction set, for each kind of number, as the table the scheduler calls through.
#pragma once

#include "heads/gradients.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

// Calls use(product) for the way in which numbers are multiplied. Pairs of bfloat16 are added by isa/avx512_bf16.cpp.
template <class Use>
inline auto visit_product(Number number, const Use& use) {
  return number == Number::float64 ? use(Single<double>{}) : use(Single<float>{});
}

inline HeadKernels make_head_kernels() {
  HeadKernels table;
  table.sizes = [](const HeadTask& task) {
    return visit_product(task.number, [&](auto p) { return head_sizes_as<decltype(p)>(task); });
  };
  table.pack = [](const HeadTask& task, std::int64_t block) {
    visit_product(task.number, [&](auto p) { pack_block<decltype(p)>(task, block); });
  };
  table.states = [](const HeadTask& task, std::int64_t first_block, std::int64_t count, std::int64_t first, std::int64_t last,
                    void* scratch, void* state, std::int64_t stride, HeadGradients* scores) {
    visit_product(task.number, [&](auto p) {
      head_states<decltype(p)>(task, first_block, count, first, last, scratch, state, stride, scores);
    });
  };
  table.merge = [](const HeadTask& task, void* state, std::int64_t stride, const void* more, std::int64_t more_stride) {
    if (task.number == Number::float64) merge_states<double>(task, state, stride, more, more_stride);
    else merge_states<float>(task, state, stride, more, more_stride);
  };
  table.gradients = [](const HeadTask& task, std::int64_t first, std::int64_t last, void* scratch, const HeadGradients& g,
                       bool kept, const HeadWeightGradient& weight) {
    visit_product(task.number, [&](auto p) { head_gradients<decltype(p)>(task, first, last, scratch, g, kept, weight); });
  };
  table.input_gradient = [](const HeadTask& task, const HeadGradients& g, std::int64_t first_block, std::int64_t last_block,
                            std::int64_t from, std::int64_t to, void* scratch, void* sum, std::int64_t stride) {
    visit_product(task.number, [&](auto p) {
      head_input_gradient<decltype(p)>(task, g, first_block, last_block, from, to, scratch, sum, stride);
    });
  };
  table.project = [](const HeadTask& task, std::int64_t first, std::int64_t last, void* gradient) {
    if (task.number == Number::float64)
      project_rows(task, first, last, static_cast<double*>(gradient) + first * task.columns, task.columns);
    else if (task.number == Number::float32)
      project_rows(task, first, last, static_cast<float*>(gradient) + first * task.columns, task.columns);
  };
  table.narrow = [](Number number, const void* from, std::int64_t count, void* to) {
    visit_number(number, [&](auto kind) {
      using S = decltype(kind);
      narrow_numbers<S>(static_cast<const decltype(widen(S{}))*>(from), count, static_cast<S*>(to));
    });
  };
  return table;
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
