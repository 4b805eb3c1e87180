// A fused head: linear layer and loss for very many classes, of which only tiles of scores ever exist.
//
// The plain data that travels between Python's side, the scheduler and the kernels of each instruction set. The
// reference implementation is src/crosshead/nn/backends/tiles.py; states of rows are those of nn/row_losses.
#pragma once

#include <cstdint>

#include "pass/task.hpp"

namespace crosshead {

// Of the features, the weight and their gradients. Sums are double for float64, else float: "the computation's type".
enum class Number { float64, float32, bfloat16, float16 };

inline Element computation_of(Number number) { return number == Number::float64 ? Element::float64 : Element::float32; }

// Rows of a block at most. A block's scores lie class by class: scores[class * block + row].
constexpr std::int64_t kHeadRows = 96;
// Classes worked on at a time: with a block of rows, their scores stay in the nearest cache.
constexpr std::int64_t kHeadClasses = 96;
// Classes summed at a stretch for the gradient of the features: sums are cut here whatever the tiles, so that tiles do not show.
constexpr std::int64_t kHeadDepth = 2 * kHeadClasses;
constexpr int kHeadState = 4;

struct HeadParameters {
  double margin = 1.0;
  double label_smoothing = 0.0;
  double softcap = 0.0;  // 0: none
  double z_loss = 0.0;
};

// What is kept for each row: arrays of the computation's type, as long as whole blocks of rows.
enum HeadField {
  kUpstream,     // the derivative by the row's loss of what is minimised
  kLseUpstream,  // the same by its log-sum-exp
  kTargetScore,  // of the row's class; unused where the task says that it is not known
  kSlope,        // the derivative of that score by the one that it stands for
  kState,        // what the loss knows of a row that has seen all scores
  kHeadFields = kState + kHeadState
};

struct HeadRows {
  const std::int32_t* label = nullptr;  // -1: none of these classes
  void* fields = nullptr;               // kHeadFields arrays
  std::int64_t stride = 0;
  bool has_target_score = false;
};

struct HeadTask {
  std::int64_t rows = 0, classes = 0, columns = 0;
  std::int64_t block = kHeadRows;  // rows of a block
  double all_classes = 0;          // of all shards: what label smoothing spreads over
  Number number = Number::float32;
  const void* input = nullptr;  // (rows, columns)
  std::int64_t input_stride = 0;
  const void* weight = nullptr;  // (classes, columns)
  std::int64_t weight_stride = 0;
  // In the computation's type, or null.
  const void* bias = nullptr;             // (classes,)
  const void* class_scale = nullptr;      // (classes,) factors of the scores; no bias then
  const void* class_weight = nullptr;     // (classes,)
  const void* positive_weight = nullptr;  // (classes,)
  const void* soft_target = nullptr;      // (rows, classes)
  std::int64_t soft_stride = 0;
  LossName loss = LossName::softmax;
  HeadParameters parameters;
  HeadRows kept;
  void* panels = nullptr;  // the features as `pack` leaves them, a block after the other
};

// Bytes.
struct HeadSizes {
  std::int64_t panels = 0;    // of one block of rows
  std::int64_t scratch = 0;   // of one thread
  std::int64_t gradient = 0;  // of one score's gradient
};

// Gradients of scores, a block of rows after the other, `classes` (even) classes each, of which `first` is the first.
struct HeadGradients {
  void* memory = nullptr;
  std::int64_t first_block = 0, blocks = 0, first = 0, classes = 0;
};

struct HeadWeightGradient {
  void* weight = nullptr;  // (classes, columns), of the features' type
  void* bias = nullptr;    // (classes,) of the computation's type, or null
  bool add = false;        // to what is there; only in the computation's type
};

struct HeadKernels {
  HeadSizes (*sizes)(const HeadTask&);
  void (*pack)(const HeadTask&, std::int64_t block);
  // The states of classes [first, last) alone, of the rows of `count` blocks, into `state` (kHeadState arrays, each
  // as long as `stride`, the first row of the first block at 0). Scores are kept where `scores` is not null, in the computation's
  // type, as HeadGradients lie.
  void (*states)(const HeadTask&, std::int64_t first_block, std::int64_t count, std::int64_t first, std::int64_t last,
                 void* scratch, void* state, std::int64_t stride, HeadGradients* scores);
  // Adds the state `more` of the rows of one block to `state`.
  void (*merge)(const HeadTask&, void* state, std::int64_t stride, const void* more, std::int64_t more_stride);
  // For at most kHeadClasses classes: the gradients of the scores, computed anew unless `kept`, and from them the
  // weight's. Where `weight.weight` is null only the former.
  void (*gradients)(const HeadTask&, std::int64_t first, std::int64_t last, void* scratch, const HeadGradients& gradients,
                    bool kept, const HeadWeightGradient& weight);
  // Columns [from, to) of the gradient of the features of blocks [first_block, last_block), summed over the classes of
  // `gradients`: added to `sum` (rows, stride), in the computation's type.
  void (*input_gradient)(const HeadTask&, const HeadGradients& gradients, std::int64_t first_block, std::int64_t last_block,
                         std::int64_t from, std::int64_t to, void* scratch, void* sum, std::int64_t stride);
  // Takes from each class's weight gradient its part along the weight: what a length without influence leaves.
  void (*project)(const HeadTask&, std::int64_t first, std::int64_t last, void* weight_gradient);
  // Sums to the features' type.
  void (*narrow)(Number number, const void* from, std::int64_t count, void* to);
};

}  // namespace crosshead
