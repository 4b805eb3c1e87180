// One instruction set's kernels, as the table of functions that schedulers and bindings call through.
#pragma once

#include "descent/dual_ascent.hpp"
#include "descent/row_descent.hpp"
#include "heads/score_task.hpp"
#include "heads/task.hpp"
#include "pass/task.hpp"

namespace crosshead {

// Buffers lie on 64-byte boundaries.
struct PassKernels {
  BufferSizes (*sizes)(const PassTask&);
  void (*pack_weight)(const PassTask&, const double* weight, void* packed);
  // Rows [first, last): adds to `sums`, whose gradient starts at zero.
  void (*chunk)(const PassTask&, std::int64_t first, std::int64_t last, void* scratch, ChunkSums& sums);
  // Adds a chunk's gradient to the (classes, columns) result and leaves zeros behind.
  void (*commit_gradient)(const PassTask&, void* gradient, double* result);
  // Scores of rows [first, last) into out, row-major (last - first, classes), of the computation's type.
  void (*scores)(const PassTask&, std::int64_t first, std::int64_t last, void* scratch, void* out);
  // Sum of w x x^T over rows [first, last) of dense features: the upper triangle, by blocks.
  BufferSizes (*gram_sizes)(const PassTask&);
  void (*gram_chunk)(const PassTask&, std::int64_t first, std::int64_t last, void* scratch, void* gram);
  void (*commit_gram)(const PassTask&, void* gram, double* result);
};

struct Kernels {
  const char* name;
  bool has_bfloat16;  // whether passes take bfloat16 features
  PassKernels pass;
  HeadKernels head;          // heads/task.hpp
  ScoreKernels score;        // heads/score_task.hpp
  Ascend ascend;             // descent/dual_ascent.hpp
  DescendRows descend_rows;  // descent/row_descent.hpp
};

// The widest instruction set of this processor, or the one named ("plain", "avx2", "avx512", "avx512_bf16"); null where it is
// unknown or not available here.
const Kernels* find_kernels(const char* name);

// Each is in isa/<its name>.cpp.
const Kernels& kernels_plain();
#ifdef CROSSHEAD_X86
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();
#ifdef CROSSHEAD_AVX512_BF16
const Kernels& kernels_avx512_bf16();
#endif
#endif

}  // namespace crosshead
