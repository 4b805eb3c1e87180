// The table of one instruction set's kernels, each in single and double precision. Included by isa/<name>.cpp alone.
#pragma once

#include "descent/dual_ascent_kernel.hpp"
#include "descent/row_descent_kernel.hpp"
#include "heads/kernels.hpp"
#include "heads/scores.hpp"
#include "isa/kernels.hpp"
#include "pass/gram.hpp"
#include "pass/pass.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

inline bool single(const PassTask& task) { return task.compute == Element::float32; }

inline PassKernels make_pass_kernels() {
  PassKernels table;
  table.sizes = [](const PassTask& task) { return single(task) ? pass_sizes_as<float>(task) : pass_sizes_as<double>(task); };
  table.pack_weight = [](const PassTask& task, const double* weight, void* packed) {
    single(task) ? pack_weight_as(task, weight, static_cast<float*>(packed))
                 : pack_weight_as(task, weight, static_cast<double*>(packed));
  };
  table.chunk = [](const PassTask& task, std::int64_t first, std::int64_t last, void* scratch, ChunkSums& sums) {
    single(task) ? pass_chunk_as<float>(task, first, last, scratch, sums)
                 : pass_chunk_as<double>(task, first, last, scratch, sums);
  };
  table.commit_gradient = [](const PassTask& task, void* gradient, double* result) {
    single(task) ? commit_gradient_as(task, static_cast<float*>(gradient), result)
                 : commit_gradient_as(task, static_cast<double*>(gradient), result);
  };
  table.scores = [](const PassTask& task, std::int64_t first, std::int64_t last, void* scratch, void* out) {
    single(task) ? score_chunk_as(task, first, last, scratch, static_cast<float*>(out))
                 : score_chunk_as(task, first, last, scratch, static_cast<double*>(out));
  };
  table.gram_sizes = [](const PassTask& task) { return single(task) ? gram_sizes_as<float>(task) : gram_sizes_as<double>(task); };
  table.gram_chunk = [](const PassTask& task, std::int64_t first, std::int64_t last, void* scratch, void* gram) {
    single(task) ? gram_chunk_as(task, first, last, scratch, static_cast<float*>(gram))
                 : gram_chunk_as(task, first, last, scratch, static_cast<double*>(gram));
  };
  table.commit_gram = [](const PassTask& task, void* gram, double* result) {
    single(task) ? commit_gram_as(task, static_cast<float*>(gram), result)
                 : commit_gram_as(task, static_cast<double*>(gram), result);
  };
  return table;
}

inline Kernels make_kernels(const char* name) {
  return {name, false, make_pass_kernels(), make_head_kernels(), make_score_kernels(), ascend, descend_rows};
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
