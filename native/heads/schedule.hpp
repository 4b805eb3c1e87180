// Cuts a fused head into tiles of rows and classes and hands them to threads. Every sum has an order that depends on the problem
// alone, so that the result has the same bits whatever the number of threads and the room for tiles.
#pragma once

#include "heads/score_task.hpp"
#include "heads/task.hpp"

namespace crosshead {

// What is known of each row. Numbers are of the computation's type; null where they do not matter.
struct HeadRowInput {
  const std::int64_t* labels = nullptr;  // in the numbering of all classes
  std::int64_t first_class = 0;          // the number of the first class here
  const void* target_score = nullptr;
  const void* slope = nullptr;         // null: 1
  const void* upstream = nullptr;      // of the losses
  const void* lse_upstream = nullptr;  // null: 0
};

enum class HeadPlan {
  automatic,
  keep,      // scores of as many rows as have room are kept from the states to the gradients
  recompute  // all are computed twice
};

struct HeadOutput {
  void* state = nullptr;  // (kHeadState, rows): given where `state_known`, else written
  bool state_known = false;
  bool gradients = false;
  void* input_gradient = nullptr;  // (rows, columns) or null
  void* weight_gradient = nullptr;
  void* bias_gradient = nullptr;
};

// `room` is what may be taken for scores and their gradients, in bytes; a little more where rows are very many.
void run_head(const HeadKernels& kernels, HeadTask task, const HeadRowInput& rows, const HeadOutput& out, HeadPlan plan,
              std::int64_t room, int threads);

}  // namespace crosshead
