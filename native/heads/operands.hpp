// What a fused head multiplies: packed features, rows of W, and the scores of a block of rows by them.
//
// Compiled once for each instruction set. Nothing here allocates or throws.
#pragma once

#include "heads/losses.hpp"
#include "heads/products.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

constexpr std::int64_t kHeadFeatures = 256;  // multiplied at a stretch for scores
constexpr std::int64_t kHeadStretch = 3;     // blocks of rows summed at a stretch for the weight's gradient

inline std::int64_t rows_of_block(const HeadTask& task, std::int64_t block) {
  const std::int64_t rest = task.rows - block * task.block;
  return rest < task.block ? rest : task.block;
}

template <class P>
struct HeadScratch {
  using T = typename P::Sum;
  typename P::Stored *weight, *strip;
  T *scores, *soft, *sums;
  std::int64_t bytes;

  HeadScratch(const HeadTask& task, void* memory) {
    char* next = static_cast<char*>(memory);
    const auto take = [&](std::int64_t size) {
      char* start = next;
      next += round_up(size, 64);
      return static_cast<void*>(start);
    };
    const std::int64_t stored = sizeof(typename P::Stored), depth = round_up(task.columns, P::together);
    const std::int64_t longest = kHeadStretch * task.block > kHeadDepth ? kHeadStretch * task.block : kHeadDepth;
    weight = static_cast<typename P::Stored*>(take(kHeadClasses * depth * stored));
    strip = static_cast<typename P::Stored*>(take(longest * tile_lanes<P>() * stored));
    scores = static_cast<T*>(take(kHeadClasses * task.block * static_cast<std::int64_t>(sizeof(T))));
    soft = static_cast<T*>(take(kHeadClasses * kLanes * static_cast<std::int64_t>(sizeof(T))));
    sums = static_cast<T*>(take(kHeadClasses * round_up(task.columns, tile_lanes<P>()) * static_cast<std::int64_t>(sizeof(T))));
    bytes = next - static_cast<char*>(memory);
  }
};

template <class P>
inline std::int64_t panel_size(const HeadTask& task) {
  return round_up(task.block, tile_lanes<P>()) * round_up(task.columns, P::together);
}

template <class P>
inline typename P::Stored* panels_of(const HeadTask& task, std::int64_t block) {
  return static_cast<typename P::Stored*>(task.panels) + block * panel_size<P>(task);
}

template <class P>
void pack_block(const HeadTask& task, std::int64_t block) {
  visit_number(task.number, [&](auto kind) {
    using S = decltype(kind);
    if constexpr (takes<P, S>())
      pack_panels_of<P>(rows_of<S>(task.input, task.input_stride, block * task.block,
                                   block * task.block + rows_of_block(task, block), task.columns),
                        panels_of<P>(task, block));
  });
}

// Rows of W as a left operand: as they lie where their type and length allow, else a copy.
template <class P>
__attribute__((noinline)) Left<P> weight_rows(const HeadTask& task, std::int64_t first, std::int64_t last,
                                              typename P::Stored* copy) {
  const std::int64_t depth = round_up(task.columns, P::together);
  Left<P> left{copy, depth, P::together};
  visit_number(task.number, [&](auto kind) {
    using S = decltype(kind);
    if constexpr (takes<P, S>()) {
      const Rows<S> rows = rows_of<S>(task.weight, task.weight_stride, first, last, task.columns);
      if constexpr (sizeof(S) == sizeof(typename P::Stored)) {
        if (depth == task.columns) {
          left.a = reinterpret_cast<const typename P::Stored*>(rows.from);
          left.row = rows.stride;
          return;
        }
      }
      for (std::int64_t c = 0; c < rows.count; ++c)
        for (std::int64_t d = 0; d < depth; ++d)
          copy[c * depth + d] =
              d < rows.columns ? stored<typename P::Stored>(rows.from[c * rows.stride + d]) : typename P::Stored{};
    }
  });
  return left;
}

// Scores of a block of rows: z[class][row].
template <class P>
__attribute__((noinline)) void block_scores(const HeadTask& task, std::int64_t block, Left<P> weight, std::int64_t first,
                                            std::int64_t last, typename P::Sum* z) {
  using T = typename P::Sum;
  constexpr int lanes = tile_lanes<P>();
  const T* bias = task.bias ? static_cast<const T*>(task.bias) + first : nullptr;
  const std::int64_t depth = round_up(task.columns, P::together), rows = rows_of_block(task, block);
  for (std::int64_t k = 0; k < depth || k == 0; k += kHeadFeatures) {
    const std::int64_t now = depth - k < kHeadFeatures ? depth - k : kHeadFeatures;
    Left<P> part = weight;
    part.a += k;
    for (std::int64_t r = 0; r < rows; r += lanes)
      product_strip<P, 0>(last - first, part, panels_of<P>(task, block) + r * depth + k * lanes, now / P::together, 1,
                          Sums<T>{z + r, task.block, lanes, k > 0, bias});
  }
}

template <class P>
HeadSizes head_sizes_as(const HeadTask& task) {
  return {panel_size<P>(task) * static_cast<std::int64_t>(sizeof(typename P::Stored)), HeadScratch<P>(task, nullptr).bytes,
          static_cast<std::int64_t>(sizeof(typename P::Sum))};
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
