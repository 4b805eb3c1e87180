// The plain data that travels between Python's side, the scheduler and the kernels of each instruction set.
#pragma once

#include <cstdint>

namespace crosshead {

enum class LossName {
  softmax,
  binary,
  hinge,
  squared_hinge,
  crammer_singer,
  squared_error,
  centred_quadratic,
  diagonal_quadratic,
  star_quadratic,  // second-order models: the soft target holds coefficients
};

struct LossParameters {
  double margin = 1.0;
  double smoothing = 0.0;
  double label_smoothing = 0.0;
};

enum class Element { bfloat16, float32, float64 };

// Features in any memory order: dense with strides in elements, or CSR with 32- or 64-bit indices.
struct Features {
  std::int64_t rows = 0, columns = 0;
  Element element = Element::float64;
  const void* values = nullptr;
  std::int64_t row_stride = 0, column_stride = 0;  // dense
  bool sparse = false;
  bool wide_indices = false;
  const void* indices = nullptr;  // CSR
  const void* row_starts = nullptr;
  const std::int64_t* chosen = nullptr;  // the numbers, in what is described above, of these `rows`; or null for all
  // Passes that multiply bfloat16: `element` says whether that is what is stored, or whether floats are rounded as they
  // are read. The features are `unit` times what is multiplied, and `split` says that W needs more digits than bfloat16's.
  bool brief = false;
  double unit = 1.0;
  bool split = false;
};

// W and b, packed by `pack_weight` in the type of the computation.
struct PackedWeight {
  const void* weight = nullptr;
  const double* bias = nullptr;
};

// Residuals that a pass moves: with r' the one that maximises -l*(r') + <r' - r, z> - q/2 |r' - r|^2 in a row, the sums
// are those of r', and r becomes share (2 r' - r) + (1 - share) r0 where there is an anchor r0, else r'.
struct MovedResiduals {
  double* residual = nullptr;      // (rows, classes) r, or null for a pass that moves none
  const double* anchor = nullptr;  // (rows, classes) r0, or null
  double curvature = 1.0;          // q
  double share = 1.0;
};

// One pass: what is read. What is written goes to a Worker and from there, in the order of the chunks, to the result.
// With `scores` given no features are read: z = scores + b, and only sums over rows are computed, no gradient of W.
struct PassTask {
  Features features;
  std::int64_t classes = 0;
  const std::int32_t* labels = nullptr;  // (rows,) or null
  const void* soft_target = nullptr;     // (rows, classes) or null
  Element soft_element = Element::float64;
  const double* sample_weight = nullptr;  // (rows,) or null for ones
  LossName loss = LossName::softmax;
  LossParameters parameters;
  Element compute = Element::float64;
  const void* scores = nullptr;  // (rows, classes) in the type `compute`, or null
  MovedResiduals moved;          // soft targets are double where there are any
  PackedWeight packed;
};

// Sums of one chunk of rows; where residuals are moved, `loss` is the sum of |r' - r0|^2 and `surrogate` that of
// |r' - r|^2. `gradient` is in the type of the computation and in the kernel's own layout.
struct ChunkSums {
  double loss = 0, surrogate = 0, dual = 0;
  double* bias_gradient = nullptr;  // (classes,)
  void* gradient = nullptr;
};

// Sizes in elements of the computation's type, asked before buffers are made.
struct BufferSizes {
  std::int64_t packed_weight = 0, gradient = 0, scratch = 0;
};

}  // namespace crosshead
