// The Gram matrix of dense rows, sum of w x x^T, by the kernel of the gradient: the weighted features take the residuals'
// place.
#pragma once

#include "pass/pass.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

template <class T>
struct GramScratch {
  T *x, *tiles, *tail;
  std::int64_t total;

  GramScratch(const PassTask& task, void* memory) {
    const std::int64_t columns = task.features.columns;
    T* base = static_cast<T*>(memory);
    x = base;
    tiles = x + round_up(kMaximumBlock * columns, 64);
    tail = tiles + round_up(kMaximumBlock * columns, 64);
    total = tail + kMaximumBlock * feature_tile<T>() - base;
  }
};

template <class T>
void gram_chunk_as(const PassTask& task, std::int64_t first, std::int64_t last, void* memory, T* gram) {
  const GramScratch<T> scratch(task, memory);
  const std::int64_t columns = task.features.columns;
  for (std::int64_t start = first; start < last; start += kMaximumBlock) {
    const std::int64_t end = start + kMaximumBlock < last ? start + kMaximumBlock : last;
    const Block<T> block = dense_block<T>(task.features, start, end, scratch.x);
    for (std::int64_t r = 0; r < block.rows; r += kLanes) {
      T* tile = scratch.tiles + r * columns;
      rows_to_tile(block.x + r * block.stride, block.stride, columns, tile);
      if (task.sample_weight) {
        TileRows<T> rows;
        tile_target<T>(task, start + r, end, rows, nullptr);
        const Lane<T> weight = load(rows.weight);
        for (std::int64_t d = 0; d < columns; ++d) store(tile + d * kLanes, load(tile + d * kLanes) * weight);
      }
    }
    gradient_block(scratch.tiles, columns, block.x, block.stride, block.rows, columns, scratch.tail, gram,
                   round_up(columns, feature_tile<T>()), true);
  }
}

template <class T>
void commit_gram_as(const PassTask& task, T* gram, double* result) {
  const std::int64_t columns = task.features.columns, stride = round_up(columns, feature_tile<T>());
  for (std::int64_t i = 0; i < columns; ++i) {
    for (std::int64_t j = i; j < columns; ++j) result[i * columns + j] += static_cast<double>(gram[i * stride + j]);
    for (std::int64_t j = 0; j < stride; ++j) gram[i * stride + j] = static_cast<T>(0);
  }
}

template <class T>
BufferSizes gram_sizes_as(const PassTask& task) {
  return {0, task.features.columns * round_up(task.features.columns, feature_tile<T>()), GramScratch<T>(task, nullptr).total};
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
