// The softmax loss where scores are given: loss and gradient in one pass over them.
#pragma once

#include "heads/task.hpp"

namespace crosshead {

struct ScoreTask {
  std::int64_t rows = 0, classes = 0;
  Number number = Number::float32;
  const void* scores = nullptr;  // (rows, classes)
  std::int64_t stride = 0;
  // In the computation's type, or null.
  const std::int64_t* labels = nullptr;  // a number of no class: none
  const void* soft_target = nullptr;     // (rows, classes)
  std::int64_t soft_stride = 0;
  const void* class_weight = nullptr;  // (classes,)
  HeadParameters parameters;
  void* state = nullptr;  // (kHeadState, rows)
  bool state_known = false;
  const void* upstream = nullptr;      // (rows,); null: states only
  const void* lse_upstream = nullptr;  // (rows,) or null
  void* gradient = nullptr;            // (rows, classes), contiguous; may be `scores`
};

struct ScoreKernels {
  std::int64_t (*scratch)(const ScoreTask&);  // bytes of one thread
  void (*rows)(const ScoreTask&, std::int64_t first, std::int64_t last, void* scratch);
};

void run_scores_loss(const ScoreKernels& kernels, const ScoreTask& task, int threads);

}  // namespace crosshead
