// A fused head's scores as tiles that a loss sees, and the states that the tiles of a row leave.
//
// Compiled once for each instruction set. Nothing here allocates or throws.
#pragma once

#include "heads/operands.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

template <class T>
inline T* head_field(const HeadTask& task, int field) {
  return static_cast<T*>(task.kept.fields) + field * task.kept.stride;
}

template <class T>
inline HeadState<T> load_state(const void* memory, std::int64_t stride) {
  HeadState<T> state;
  for (int k = 0; k < kHeadState; ++k) state.field[k] = load(static_cast<const T*>(memory) + k * stride);
  return state;
}

template <class T>
inline void store_state(void* memory, std::int64_t stride, const HeadState<T>& state) {
  for (int k = 0; k < kHeadState; ++k) store(static_cast<T*>(memory) + k * stride, state.field[k]);
}

// Calls use(tile, lanes, row) for each 16 rows of a block whose scores lie in z.
template <class T, class Use>
inline void for_each_tile(const HeadTask& task, std::int64_t block, std::int64_t first, std::int64_t last, T* z, T* soft,
                          const Use& use) {
  const std::int64_t start = block * task.block, rows = rows_of_block(task, block);
  for (std::int64_t r = 0; r < rows; r += kLanes) {
    const std::int64_t row = start + r;
    if (task.soft_target)
      for (std::int64_t c = first; c < last; ++c)
        for (int i = 0; i < kLanes; ++i)
          soft[(c - first) * kLanes + i] =
              r + i < rows ? static_cast<const T*>(task.soft_target)[(row + i) * task.soft_stride + c] : static_cast<T>(0);
    const auto part = [&](const void* vector) { return vector ? static_cast<const T*>(vector) + first : nullptr; };
    const HeadTile<T> tile{z + r,
                           task.block,
                           first,
                           last - first,
                           task.kept.label + row,
                           task.soft_target ? soft : nullptr,
                           part(task.class_weight),
                           part(task.positive_weight),
                           &task.parameters,
                           static_cast<T>(task.parameters.label_smoothing / task.all_classes)};
    const HeadLanes<T> lanes{load(head_field<T>(task, kUpstream) + row), load(head_field<T>(task, kLseUpstream) + row),
                             load(head_field<T>(task, kTargetScore) + row)};
    use(tile, lanes, row);
  }
}

// From products to what the loss sees: lengths of classes, the given scores of the rows' own classes.
template <class T>
inline void prepare_tile(const HeadTask& task, const HeadTile<T>& tile, const HeadLanes<T>& lanes, const HeadLoss<T>& loss) {
  if (task.class_scale) {
    const T* scale = static_cast<const T*>(task.class_scale) + tile.first;
    for (std::int64_t c = 0; c < tile.count; ++c) store(tile.at(c), load(tile.at(c)) * scale[c]);
  }
  if (task.kept.has_target_score) tile.for_each_label([&](int i, std::int64_t c) { tile.at(c)[i] = lanes.target_score[i]; });
  loss.prepare(tile);
}

template <class P>
void head_states(const HeadTask& task, std::int64_t first_block, std::int64_t count, std::int64_t first, std::int64_t last,
                 void* memory, void* state, std::int64_t stride, HeadGradients* kept) {
  using T = typename P::Sum;
  const HeadScratch<P> scratch(task, memory);
  const HeadLoss<T>& loss = head_loss<T>(task.loss);
  for (std::int64_t r = 0; r < count * task.block; r += kLanes) store_state(static_cast<T*>(state) + r, stride, loss.empty());
  for (std::int64_t c = first; c < last; c += kHeadClasses) {
    const std::int64_t end = c + kHeadClasses < last ? c + kHeadClasses : last;
    const Left<P> weight = weight_rows<P>(task, c, end, scratch.weight);
    for (std::int64_t block = first_block; block < first_block + count; ++block) {
      T* z = kept ? static_cast<T*>(kept->memory) + ((block - kept->first_block) * kept->classes + c - kept->first) * task.block
                  : scratch.scores;
      block_scores<P>(task, block, weight, c, end, z);
      for_each_tile(task, block, c, end, z, scratch.soft,
                    [&](const HeadTile<T>& tile, const HeadLanes<T>& lanes, std::int64_t row) {
                      prepare_tile(task, tile, lanes, loss);
                      T* at = static_cast<T*>(state) + row - first_block * task.block;
                      HeadState<T> sum = load_state<T>(at, stride);
                      loss.absorb(tile, lanes, sum);
                      store_state(at, stride, sum);
                    });
    }
  }
}

template <class T>
void merge_states(const HeadTask& task, void* state, std::int64_t stride, const void* more, std::int64_t more_stride) {
  const HeadLoss<T>& loss = head_loss<T>(task.loss);
  for (std::int64_t r = 0; r < task.block; r += kLanes) {
    HeadState<T> sum = load_state<T>(static_cast<T*>(state) + r, stride);
    loss.merge(sum, load_state<T>(static_cast<const T*>(more) + r, more_stride));
    store_state(static_cast<T*>(state) + r, stride, sum);
  }
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
