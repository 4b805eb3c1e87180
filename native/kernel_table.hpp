// The functions of one instruction set, each in single and double precision, as the table the scheduler calls through.
#pragma once

#ifdef CROSSHEAD_BFLOAT16
#include "bfloat16.hpp"
#endif
#include "gram.hpp"
#include "head_kernels.hpp"
#include "pass.hpp"
#include "score_losses.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

inline bool single(const PassTask& task) { return task.compute == Element::float32; }

#ifdef CROSSHEAD_BFLOAT16
constexpr bool kHasBFloat16 = true;
inline bool brief(const PassTask& task) { return task.features.brief; }
#else
constexpr bool kHasBFloat16 = false;
#endif

inline BufferSizes pass_sizes(const PassTask& task) {
#ifdef CROSSHEAD_BFLOAT16
  if (brief(task)) return bfloat16_sizes(task);
#endif
  return single(task) ? pass_sizes_as<float>(task) : pass_sizes_as<double>(task);
}
inline void pack_weight(const PassTask& task, const double* weight, void* packed) {
#ifdef CROSSHEAD_BFLOAT16
  if (brief(task)) return pack_bfloat16(task, weight, packed);
#endif
  single(task) ? pack_weight_as(task, weight, static_cast<float*>(packed))
               : pack_weight_as(task, weight, static_cast<double*>(packed));
}
inline void pass_chunk(const PassTask& task, std::int64_t first, std::int64_t last, void* scratch, ChunkSums& sums) {
#ifdef CROSSHEAD_BFLOAT16
  if (brief(task)) return bfloat16_chunk(task, first, last, scratch, sums);
#endif
  single(task) ? pass_chunk_as<float>(task, first, last, scratch, sums)
               : pass_chunk_as<double>(task, first, last, scratch, sums);
}
inline void commit_gradient(const PassTask& task, void* gradient, double* result) {
#ifdef CROSSHEAD_BFLOAT16
  if (brief(task)) return commit_bfloat16(task, static_cast<float*>(gradient), result);
#endif
  single(task) ? commit_gradient_as(task, static_cast<float*>(gradient), result)
               : commit_gradient_as(task, static_cast<double*>(gradient), result);
}
inline void score_chunk(const PassTask& task, std::int64_t first, std::int64_t last, void* scratch, void* out) {
  single(task) ? score_chunk_as(task, first, last, scratch, static_cast<float*>(out))
               : score_chunk_as(task, first, last, scratch, static_cast<double*>(out));
}
inline BufferSizes gram_sizes(const PassTask& task) {
  return single(task) ? gram_sizes_as<float>(task) : gram_sizes_as<double>(task);
}
inline void gram_chunk(const PassTask& task, std::int64_t first, std::int64_t last, void* scratch, void* gram) {
  single(task) ? gram_chunk_as(task, first, last, scratch, static_cast<float*>(gram))
               : gram_chunk_as(task, first, last, scratch, static_cast<double*>(gram));
}
inline void commit_gram(const PassTask& task, void* gram, double* result) {
  single(task) ? commit_gram_as(task, static_cast<float*>(gram), result)
               : commit_gram_as(task, static_cast<double*>(gram), result);
}

inline Kernels make_kernels(const char* name) {
  static const HeadKernels head = make_head_kernels();
  static const ScoreKernels score = make_score_kernels();
  return {name, kHasBFloat16, pass_sizes, pack_weight, pass_chunk, commit_gradient, score_chunk, gram_sizes, gram_chunk, commit_gram,
          &head, &score};
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
