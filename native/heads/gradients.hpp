// A fused head's gradients: of the scores of a tile, and what they give the weight, the bias and the features.
//
// Compiled once for each instruction set. Nothing here allocates or throws.
#pragma once

#include "heads/tiles.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

// After the loss: rows that count for nothing, the slope of given scores, sums for the bias, lengths of classes.
template <class T>
inline void finish_gradient(const HeadTask& task, const HeadTile<T>& tile, const HeadLanes<T>& lanes, std::int64_t row, T* bias) {
  bool dead = false;
  for (int i = 0; i < kLanes; ++i) dead |= lanes.upstream[i] == 0 && lanes.lse_upstream[i] == 0;
  if (dead) {
    const auto alive = (lanes.upstream != 0) | (lanes.lse_upstream != 0);
    for (std::int64_t c = 0; c < tile.count; ++c) store(tile.at(c), alive ? load(tile.at(c)) : fill<T>(0));
  }
  if (task.kept.has_target_score)
    tile.for_each_label([&](int i, std::int64_t c) { tile.at(c)[i] *= head_field<T>(task, kSlope)[row + i]; });
  const T* scale = task.class_scale ? static_cast<const T*>(task.class_scale) + tile.first : nullptr;
  for (std::int64_t c = 0; c < tile.count && (bias || scale); ++c) {
    const Lane<T> g = load(tile.at(c));
    if (bias) store(bias + c * kLanes, load(bias + c * kLanes) + g);
    if (scale) store(tile.at(c), g * scale[c]);
  }
}

template <class P>
inline typename P::Sum* plain_gradient(const HeadTask& task, const HeadGradients& g, std::int64_t block, std::int64_t c) {
  return static_cast<typename P::Sum*>(g.memory) + ((block - g.first_block) * g.classes + c - g.first) * task.block;
}

#ifdef CROSSHEAD_BFLOAT16
// Gradients in bfloat16 lie twice in the room of a float: of each class first its rows in their order, where pairs of
// neighbouring rows serve the weight's gradient, then half of the pairs that it makes with its neighbour class, for
// the features' gradient: the first half of the rows with the even class, the second with the odd one.
inline Brief16* pairs_of_class(const HeadTask& task, const HeadGradients& g, std::int64_t block, std::int64_t c) {
  return static_cast<Brief16*>(g.memory) + ((block - g.first_block) * g.classes + c - g.first) * 2 * task.block;
}

inline void store_pairs(const HeadTask& task, const HeadGradients& g, std::int64_t block, std::int64_t first, std::int64_t last,
                        const float* z) {
  const std::int64_t half = task.block / 2;
  for (std::int64_t c = first; c < last; c += 2) {
    Brief16* even = pairs_of_class(task, g, block, c);
    Brief16* odd = even + 2 * task.block;
    const float* from = z + (c - first) * task.block;
    for (std::int64_t r = 0; r < task.block; r += kLanes) {
      const __m512 high = c + 1 < last ? _mm512_loadu_ps(from + task.block + r) : _mm512_setzero_ps();
      const __m256i a = (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from + r)), b = (__m256i)_mm512_cvtneps_pbh(high);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(even + r), a);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(odd + r), b);
      const __m512i pairs = _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
      Brief16* both = (r < half ? even + 2 * r : odd + 2 * (r - half)) + task.block;
      _mm512_storeu_si512(both, pairs);
    }
  }
}
#endif

// Gradients of a block as left operands.
template <class P>
inline Left<P> left_for_weight(const HeadTask& task, const HeadGradients& g, std::int64_t block, std::int64_t first) {
#ifdef CROSSHEAD_BFLOAT16
  if constexpr (P::together == 2) return {pairs_of_class(task, g, block, first), 2 * task.block, 2, 2 * g.classes * task.block};
  else
#endif
    return {plain_gradient<P>(task, g, block, first), task.block, 1, g.classes * task.block};
}

// Adds G W of one block and `depth` classes to its rows of the sums.
template <class P>
inline void add_block_input_gradient(const HeadTask& task, const HeadGradients& g, std::int64_t block, std::int64_t first,
                                     std::int64_t depth, const typename P::Stored* strip, Sums<typename P::Sum> to) {
  const std::int64_t rows = rows_of_block(task, block);
#ifdef CROSSHEAD_BFLOAT16
  if constexpr (P::together == 2) {
    const std::int64_t half = task.block / 2;
    const Brief16* even = pairs_of_class(task, g, block, first) + task.block;
    product_strip<P, 2>(rows < half ? rows : half, Left<P>{even, 2, 4 * task.block}, strip, depth / 2, 1, to);
    to.out += half * to.stride;
    if (rows > half) product_strip<P, 2>(rows - half, Left<P>{even + 2 * task.block, 2, 4 * task.block}, strip, depth / 2, 1, to);
    return;
  }
#endif
  product_strip<P, 1>(
      rows, Left<P>{reinterpret_cast<const typename P::Stored*>(plain_gradient<P>(task, g, block, first)), 1, task.block}, strip,
      depth, 1, to);
}

// Adds G^T X over `count` blocks to (classes, stride) sums, or sets them.
template <class P>
__attribute__((noinline)) void add_weight_gradient(const HeadTask& task, const HeadGradients& g, std::int64_t block,
                                                   std::int64_t count, std::int64_t first, std::int64_t last,
                                                   typename P::Stored* strip, typename P::Sum* sums, std::int64_t stride,
                                                   std::int64_t columns, bool add) {
  constexpr int lanes = tile_lanes<P>();
  const std::int64_t start = block * task.block;
  const std::int64_t rest = task.rows - start, rows = rest < count * task.block ? rest : count * task.block;
  // One block may be shorter; of several the last is padded, with zeros on either side.
  const std::int64_t depth = count == 1 ? round_up(rows, kLanes) : task.block;
  visit_number(task.number, [&](auto kind) {
    using S = decltype(kind);
    if constexpr (takes<P, S>()) {
      const Rows<S> x = rows_of<S>(task.input, task.input_stride, start, start + rows, task.columns);
      for (std::int64_t d = 0; d < task.columns; d += lanes) {
        pack_strip<P>(x, d, count * depth, strip);
        const std::int64_t wide = columns - d < lanes ? columns - d : lanes;
        product_strip<P, 0>(last - first, left_for_weight<P>(task, g, block, first), strip, depth / P::together, count,
                            Sums<typename P::Sum>{sums + d, stride, wide, add});
      }
    }
  });
}

template <class P>
inline void narrow_rows(const HeadTask& task, const typename P::Sum* sums, std::int64_t stride, std::int64_t first,
                        std::int64_t last, void* to) {
  visit_number(task.number, [&](auto kind) {
    using S = decltype(kind);
    if constexpr (takes<P, S>())
      for (std::int64_t c = first; c < last; ++c)
        narrow_numbers<S>(sums + (c - first) * stride, task.columns, static_cast<S*>(to) + c * task.columns);
  });
}

// g -= w <w, g> / |w|^2; class_scale holds s / |w|, so that the scale of scores of length-one rows is not needed.
template <class T>
inline void project_rows(const HeadTask& task, std::int64_t first, std::int64_t last, T* sums, std::int64_t stride) {
  visit_number(task.number, [&](auto kind) {
    using S = decltype(kind);
    if constexpr (__is_same(decltype(widen(S{})), T)) {
      const Rows<S> rows = rows_of<S>(task.weight, task.weight_stride, first, last, task.columns);
      for (std::int64_t c = 0; c < rows.count; ++c) {
        const S* w = rows.from + c * rows.stride;
        T* g = sums + c * stride;
        double along = 0, square = 0;
        for (std::int64_t d = 0; d < rows.columns; ++d) {
          const double x = static_cast<double>(widen(w[d]));
          along += x * static_cast<double>(g[d]);
          square += x * x;
        }
        const T factor = static_cast<T>(square > 0 ? along / square : 0);
        for (std::int64_t d = 0; d < rows.columns; ++d) g[d] -= factor * static_cast<T>(widen(w[d]));
      }
    }
  });
}

template <class P>
void head_gradients(const HeadTask& task, std::int64_t first, std::int64_t last, void* memory, const HeadGradients& g, bool kept,
                    const HeadWeightGradient& to) {
  using T = typename P::Sum;
  const HeadScratch<P> scratch(task, memory);
  T bias_lanes[kHeadClasses * kLanes];
  for (std::int64_t k = 0; to.bias && k < (last - first) * kLanes; ++k) bias_lanes[k] = static_cast<T>(0);
  const bool direct = sizeof(T) == 8 || task.number == Number::float32;
  T* sums = direct ? static_cast<T*>(to.weight) + first * task.columns : scratch.sums;
  const std::int64_t stride = direct ? task.columns : round_up(task.columns, tile_lanes<P>());
  const std::int64_t columns = direct ? task.columns : stride;
  const Left<P> weight = kept ? Left<P>{} : weight_rows<P>(task, first, last, scratch.weight);
  const HeadLoss<T>& loss = head_loss<T>(task.loss);
  for (std::int64_t start = 0; start < g.blocks; start += kHeadStretch) {
    const std::int64_t count = g.blocks - start < kHeadStretch ? g.blocks - start : kHeadStretch;
    for (std::int64_t block = g.first_block + start; block < g.first_block + start + count; ++block) {
      T* z = plain_gradient<P>(task, g, block, first);
      if constexpr (P::together == 2) {  // the gradient in its own form takes the place of the scores
        for (std::int64_t k = 0; kept && k < (last - first) * task.block; ++k) scratch.scores[k] = z[k];
        z = scratch.scores;
      }
      if (!kept) block_scores<P>(task, block, weight, first, last, z);
      for_each_tile(task, block, first, last, z, scratch.soft,
                    [&](const HeadTile<T>& tile, const HeadLanes<T>& lanes, std::int64_t row) {
                      if (!kept) prepare_tile(task, tile, lanes, loss);
                      loss.gradient(tile, lanes, load_state<T>(head_field<T>(task, kState) + row, task.kept.stride));
                      finish_gradient(task, tile, lanes, row, to.bias ? bias_lanes : nullptr);
                    });
      const std::int64_t used = round_up(rows_of_block(task, block), kLanes);
      for (std::int64_t c = first; c < last && used < task.block; ++c)  // the padding of a shorter block counts for nothing
        for (std::int64_t r = used; r < task.block; ++r) z[(c - first) * task.block + r] = static_cast<T>(0);
#ifdef CROSSHEAD_BFLOAT16
      if constexpr (P::together == 2) store_pairs(task, g, block, first, last, z);
#endif
    }
    if (to.weight)
      add_weight_gradient<P>(task, g, g.first_block + start, count, first, last, scratch.strip, sums, stride, columns,
                             to.add || start > 0);
  }
  if (to.weight && !direct) {
    if (task.class_scale) project_rows(task, first, last, sums, stride);
    narrow_rows<P>(task, sums, stride, first, last, to.weight);
  }
  for (std::int64_t c = 0; to.bias && c < last - first; ++c) {
    double total = 0;
    for (int i = 0; i < kLanes; ++i) total += static_cast<double>(bias_lanes[c * kLanes + i]);
    T& out = static_cast<T*>(to.bias)[first + c];
    out = static_cast<T>((to.add ? static_cast<double>(out) : 0.0) + total);
  }
}

template <class P>
void head_input_gradient(const HeadTask& task, const HeadGradients& g, std::int64_t first_block, std::int64_t last_block,
                         std::int64_t from, std::int64_t to, void* memory, void* sum, std::int64_t stride) {
  using T = typename P::Sum;
  constexpr int lanes = tile_lanes<P>();
  const HeadScratch<P> scratch(task, memory);
  const std::int64_t end = g.first + g.classes < task.classes ? g.first + g.classes : task.classes;
  for (std::int64_t c = g.first; c < end; c += kHeadDepth) {
    const std::int64_t depth = round_up(end - c < kHeadDepth ? end - c : kHeadDepth, P::together);
    visit_number(task.number, [&](auto kind) {
      using S = decltype(kind);
      if constexpr (takes<P, S>()) {
        const Rows<S> w =
            rows_of<S>(task.weight, task.weight_stride, c, c + kHeadDepth < end ? c + kHeadDepth : end, task.columns);
        for (std::int64_t d = from; d < to; d += lanes) {
          pack_strip<P>(w, d, depth, scratch.strip);
          for (std::int64_t block = first_block; block < last_block; ++block)
            add_block_input_gradient<P>(
                task, g, block, c, depth, scratch.strip,
                Sums<T>{static_cast<T*>(sum) + block * task.block * stride + d, stride, to - d < lanes ? to - d : lanes, true});
        }
      }
    });
  }
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
