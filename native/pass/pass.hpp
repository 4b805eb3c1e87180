// One pass over a chunk of rows: scores, losses, residuals and the gradient, without the scores of all rows at once.
//
// Compiled once for each instruction set (kernels_*.cpp). Nothing here allocates or throws, and of the standard library
// only what compilers inline is used, so that no wide instruction can leak into code shared by all machines.
#pragma once

#include "isa/dots.hpp"
#include "pass/dual_steps.hpp"
#include "pass/losses.hpp"
#include "pass/task.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

constexpr std::int64_t kBlockBytes = 400 * 1024;  // features and scores of a block share the second-level cache
constexpr std::int64_t kMinimumBlock = 64, kMaximumBlock = 256;

template <class T>
inline std::int64_t block_rows(const PassTask& task) {
  const std::int64_t row = (task.features.columns + 2 * task.classes) * static_cast<std::int64_t>(sizeof(T));
  const std::int64_t rows = kBlockBytes / (row > 0 ? row : 1) / kLanes * kLanes;
  return rows < kMinimumBlock ? kMinimumBlock : (rows > kMaximumBlock ? kMaximumBlock : rows);
}

template <class T>
inline std::int64_t gradient_stride(const PassTask& task) {
  return task.features.sparse ? padded_classes<T>(task.classes) : round_up(task.features.columns, feature_tile<T>());
}

// Whether the scores come as dot products: see dots.hpp.
template <class T>
inline bool uses_dots(const PassTask& task) {
  return !task.features.sparse && few_classes<T>(task.classes);
}

constexpr std::int64_t kMovedBuffers = DualStep::kBuffers + 2;  // of a row whose residuals move: with scores and what is wanted

template <class T>
struct Scratch {
  T *x, *z_rows, *z_tiles, *tail, *soft, *bias_lanes;
  double* row;  // of moved residuals
  std::int64_t total;

  Scratch(const PassTask& task, void* memory) {
    const std::int64_t block = task.features.sparse ? kLanes : block_rows<T>(task);
    const std::int64_t columns = task.features.sparse ? 0 : task.features.columns;
    T* next = static_cast<T*>(memory);
    const auto take = [&](std::int64_t count) {
      T* start = next;
      next += round_up(count, 64);
      return start;
    };
    x = take(block * columns);
    z_rows = take(uses_dots<T>(task) ? kDotClasses * kLanes * Register<T>::width : block * padded_classes<T>(task.classes));
    z_tiles = take(block * task.classes);
    tail = take(task.features.sparse ? 0 : block * feature_tile<T>());
    soft = take(task.classes * kLanes);
    bias_lanes = take(task.classes * kLanes);
    const std::int64_t doubles = static_cast<std::int64_t>(sizeof(double) / sizeof(T)) * kMovedBuffers;
    row = reinterpret_cast<double*>(take(task.moved.residual == nullptr ? 0 : doubles * DualStep::padded(task.classes)));
    total = next - static_cast<T*>(memory);
  }
};

// A block of dense rows in the computation's type, rows contiguous, padded with zero rows to a multiple of 16.
template <class T>
struct Block {
  const T* x;
  std::int64_t stride, rows;
};

template <class T, class S>
inline void copy_rows(const S* from, std::int64_t row_stride, std::int64_t column_stride, std::int64_t rows, std::int64_t columns,
                      T* to) {
  if (column_stride == 1) {  // a stride that the compiler knows: the loop becomes vectors
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t d = 0; d < columns; ++d) to[i * columns + d] = static_cast<T>(from[i * row_stride + d]);
  } else if (row_stride >= column_stride) {
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t d = 0; d < columns; ++d) to[i * columns + d] = static_cast<T>(from[i * row_stride + d * column_stride]);
  } else {  // Fortran order: walk down the columns
    for (std::int64_t d = 0; d < columns; ++d)
      for (std::int64_t i = 0; i < rows; ++i) to[i * columns + d] = static_cast<T>(from[i * row_stride + d * column_stride]);
  }
}

// Chosen rows, side by side in the scratch.
template <class T, class S>
inline void gather_rows(const Features& f, std::int64_t first, std::int64_t last, T* to) {
  for (std::int64_t i = first; i < last; ++i, to += f.columns) {
    const S* from = static_cast<const S*>(f.values) + f.chosen[i] * f.row_stride;
    copy_rows(from, f.row_stride, f.column_stride, 1, f.columns, to);
  }
}

template <class T, class S>
inline Block<T> dense_block(const Features& f, std::int64_t first, std::int64_t last, T* scratch) {
  const std::int64_t rows = last - first, padded = round_up(rows, kLanes);
  if (f.chosen != nullptr) {
    gather_rows<T, S>(f, first, last, scratch);
  } else {
    const S* from = static_cast<const S*>(f.values) + first * f.row_stride;
    if constexpr (sizeof(T) == sizeof(S)) {
      if (f.column_stride == 1 && rows == padded) return {from, f.row_stride, rows};
    }
    copy_rows(from, f.row_stride, f.column_stride, rows, f.columns, scratch);
  }
  for (std::int64_t k = rows * f.columns; k < padded * f.columns; ++k) scratch[k] = static_cast<T>(0);
  return {scratch, f.columns, padded};
}

template <class T>
inline Block<T> dense_block(const Features& f, std::int64_t first, std::int64_t last, T* scratch) {
  return f.element == Element::float32 ? dense_block<T, float>(f, first, last, scratch)
                                       : dense_block<T, double>(f, first, last, scratch);
}

// Targets and weights of 16 rows; rows past the end get class 0 and weight 0.
template <class T>
struct TileRows {
  std::int32_t label[kLanes];
  T weight[kLanes];
};

template <class T, class S>
inline void soft_tile(const S* target, std::int64_t classes, std::int64_t first, std::int64_t last, T* soft) {
  for (std::int64_t c = 0; c < classes; ++c)
    for (int i = 0; i < kLanes; ++i)
      soft[c * kLanes + i] = first + i < last ? static_cast<T>(target[(first + i) * classes + c]) : static_cast<T>(0);
}

template <class T>
inline TileTarget<T> tile_target(const PassTask& task, std::int64_t first, std::int64_t last, TileRows<T>& rows, T* soft) {
  for (int i = 0; i < kLanes; ++i) {
    const bool inside = first + i < last;
    rows.label[i] = inside && task.labels ? task.labels[first + i] : 0;
    rows.weight[i] = static_cast<T>(inside ? (task.sample_weight ? task.sample_weight[first + i] : 1.0) : 0.0);
  }
  if (task.soft_target == nullptr) return {rows.label, nullptr};
  if (task.soft_element == Element::float32)
    soft_tile(static_cast<const float*>(task.soft_target), task.classes, first, last, soft);
  else soft_tile(static_cast<const double*>(task.soft_target), task.classes, first, last, soft);
  return {rows.label, soft};
}

// Scores of one tile become weighted residuals; the sums grow.
template <class T, class Epilogue>
void finish_tile(const PassTask& task, std::int64_t first, std::int64_t last, T* z, const Scratch<T>& scratch, ChunkSums& sums) {
  TileRows<T> rows;
  const TileTarget<T> target = tile_target(task, first, last, rows, scratch.soft);
  const TileSums<T> tile = Epilogue::run(z, task.classes, target, task.parameters);
  const bool weighted = task.sample_weight != nullptr || last - first < kLanes;
  const Lane<T> weight = load(rows.weight);
  for (std::int64_t c = 0; c < task.classes; ++c) {
    T* lane = z + c * kLanes;
    if (weighted) store(lane, load(lane) * weight);
    store(scratch.bias_lanes + c * kLanes, load(scratch.bias_lanes + c * kLanes) + load(lane));
  }
  for (int i = 0; i < kLanes; ++i) {
    if (first + i >= last) break;
    const double w = task.sample_weight ? task.sample_weight[first + i] : 1.0;
    sums.loss += w * static_cast<double>(tile.loss[i]);
    sums.surrogate += w * static_cast<double>(tile.surrogate[i]);
    sums.dual += w * static_cast<double>(tile.dual[i]);
  }
}

// Scores of one tile become the weighted residuals that they move to.
template <class T>
void move_tile(const PassTask& task, std::int64_t first, std::int64_t last, T* z, const Scratch<T>& scratch, ChunkSums& sums) {
  const std::int64_t classes = task.classes;
  const MovedResiduals& moved = task.moved;
  double* const scores = scratch.row;
  double* const wanted = scores + DualStep::padded(classes);
  DualStep step({classes, task.labels, static_cast<const double*>(task.soft_target), task.loss, task.parameters},
                wanted + DualStep::padded(classes));
  for (int i = 0; i < kLanes; ++i) {
    if (first + i >= last) {
      for (std::int64_t c = 0; c < classes; ++c) z[c * kLanes + i] = 0;
      continue;
    }
    double* residual = moved.residual + (first + i) * classes;
    double size = 0;
    for (std::int64_t c = 0; c < classes; ++c) {
      scores[c] = static_cast<double>(z[c * kLanes + i]);
      size += std::fabs(scores[c]);
    }
    const bool found = std::isfinite(size) && step.want(first + i, residual, scores, moved.curvature, wanted);
    const double w = task.sample_weight ? task.sample_weight[first + i] : 1.0;
    double distance = 0, travelled = 0;
    for (std::int64_t c = 0; c < classes; ++c) {
      const double before = residual[c], after = found ? wanted[c] : before;
      const double anchor = moved.anchor == nullptr ? before : moved.anchor[(first + i) * classes + c];
      distance += (after - before) * (after - before);
      travelled += (after - anchor) * (after - anchor);
      residual[c] = moved.anchor == nullptr ? after : moved.share * (2 * after - before) + (1 - moved.share) * anchor;
      wanted[c] = after;
      z[c * kLanes + i] = static_cast<T>(w * after);
    }
    sums.loss += w * travelled;
    sums.surrogate += w * distance;
    sums.dual += found ? w * step.dual_value(first + i, wanted) : std::numeric_limits<double>::quiet_NaN();
  }
  for (std::int64_t c = 0; c < classes; ++c)
    store(scratch.bias_lanes + c * kLanes, load(scratch.bias_lanes + c * kLanes) + load(z + c * kLanes));
}

// What becomes of the scores of a tile. A pointer, so that the loops over rows are compiled once and not once a loss.
template <class T>
using FinishTile = void (*)(const PassTask&, std::int64_t first, std::int64_t last, T* z, const Scratch<T>&, ChunkSums&);

template <class T>
inline FinishTile<T> finish_of(const PassTask& task) {
  if (task.moved.residual != nullptr) return move_tile<T>;
  FinishTile<T> finish = nullptr;
  visit_epilogue<T>(task.loss, [&](auto epilogue) { finish = finish_tile<T, decltype(epilogue)>; });
  return finish;
}

template <class T>
inline void add_bias_lanes(const PassTask& task, const Scratch<T>& scratch, ChunkSums& sums) {
  for (std::int64_t c = 0; c < task.classes; ++c) {
    double total = 0;
    for (int i = 0; i < kLanes; ++i) total += static_cast<double>(scratch.bias_lanes[c * kLanes + i]);
    sums.bias_gradient[c] += total;
  }
}

// Scores of a block of dense rows, in tiles.
template <class T>
inline void dense_scores(const PassTask& task, const Block<T>& block, const Scratch<T>& scratch) {
  const T* packed = static_cast<const T*>(task.packed.weight);
  const std::int64_t columns = task.features.columns, padded = padded_classes<T>(task.classes);
  if (uses_dots<T>(task)) {
    const T* bias = packed + task.classes * dot_stride<PlainDot<T>>(columns);
    score_dots<PlainDot<T>>(block.x, block.stride, block.rows, columns, packed, bias, task.classes, scratch.z_rows,
                            scratch.z_tiles);
    return;
  }
  score_block(block.x, block.stride, block.rows, columns, packed, task.classes, scratch.z_rows);
  for (std::int64_t r = 0; r < block.rows; r += kLanes)
    rows_to_tile(scratch.z_rows + r * padded, padded, task.classes, scratch.z_tiles + r * task.classes);
}

// Given scores of rows [first, last), at most a tile of them, and the bias; past the end it holds the bias alone.
template <class T>
inline void given_scores(const PassTask& task, std::int64_t first, std::int64_t last, T* tile) {
  const std::int64_t classes = task.classes, count = last - first;
  const T* scores = static_cast<const T*>(task.scores) + first * classes;
  if (count == kLanes) {
    rows_to_tile(scores, classes, classes, tile);
  } else {
    for (std::int64_t c = 0; c < classes; ++c)
      for (std::int64_t i = 0; i < kLanes; ++i) tile[c * kLanes + i] = i < count ? scores[i * classes + c] : static_cast<T>(0);
  }
  for (std::int64_t c = 0; c < classes; ++c) {
    T* lane = tile + c * kLanes;
    store(lane, load(lane) + fill<T>(static_cast<T>(task.packed.bias[c])));
  }
}

// The sums alone, of scores that are given.
template <class T>
void sums_chunk(const PassTask& task, std::int64_t first, std::int64_t last, const Scratch<T>& scratch, ChunkSums& sums,
                FinishTile<T> finish) {
  for (std::int64_t start = first; start < last; start += kLanes) {
    const std::int64_t end = start + kLanes < last ? start + kLanes : last;
    given_scores(task, start, end, scratch.z_tiles);
    finish(task, start, end, scratch.z_tiles, scratch, sums);
  }
}

template <class T>
void dense_chunk(const PassTask& task, std::int64_t first, std::int64_t last, const Scratch<T>& scratch, ChunkSums& sums,
                 FinishTile<T> finish) {
  const std::int64_t step = block_rows<T>(task);
  for (std::int64_t start = first; start < last; start += step) {
    const std::int64_t end = start + step < last ? start + step : last;
    const Block<T> block = dense_block<T>(task.features, start, end, scratch.x);
    dense_scores(task, block, scratch);
    for (std::int64_t r = 0; r < block.rows; r += kLanes)
      finish(task, start + r, end, scratch.z_tiles + r * task.classes, scratch, sums);
    gradient_block(scratch.z_tiles, task.classes, block.x, block.stride, block.rows, task.features.columns, scratch.tail,
                   static_cast<T*>(sums.gradient), gradient_stride<T>(task), false);
  }
}

// A CSR matrix seen through its three arrays.
template <class S, class I>
struct Csr {
  const S* values;
  const I* indices;
  const I* starts;
  const std::int64_t* chosen;

  explicit Csr(const Features& f)
      : values(static_cast<const S*>(f.values)),
        indices(static_cast<const I*>(f.indices)),
        starts(static_cast<const I*>(f.row_starts)),
        chosen(f.chosen) {}

  // Where the entries of a row begin and end.
  I begin(std::int64_t row) const { return starts[chosen ? chosen[row] : row]; }
  I end(std::int64_t row) const { return starts[(chosen ? chosen[row] : row) + 1]; }
};

template <class T, class S, class I>
inline void sparse_scores(const Csr<S, I>& csr, std::int64_t row, const T* packed, std::int64_t columns, std::int64_t padded,
                          T* z) {
  using R = Register<T>;
  const T* bias = packed + columns * padded;
  for (std::int64_t c = 0; c < padded; ++c) z[c] = bias[c];
  for (I k = csr.begin(row), end = csr.end(row); k < end; ++k) {
    const T* w = packed + static_cast<std::int64_t>(csr.indices[k]) * padded;
    const T value = static_cast<T>(csr.values[k]);
    for (std::int64_t c = 0; c < padded; c += R::width)
      store_register(z + c, load_register(z + c) + load_register(w + c) * value);
  }
}

template <class T, class S, class I>
inline void sparse_gradient(const Csr<S, I>& csr, std::int64_t row, const T* residual, std::int64_t padded, T* gradient) {
  using R = Register<T>;
  for (I k = csr.begin(row), end = csr.end(row); k < end; ++k) {
    T* g = gradient + static_cast<std::int64_t>(csr.indices[k]) * padded;
    const T value = static_cast<T>(csr.values[k]);
    for (std::int64_t c = 0; c < padded; c += R::width)
      store_register(g + c, load_register(g + c) + load_register(residual + c) * value);
  }
}

template <class T, class S, class I>
void sparse_chunk(const PassTask& task, std::int64_t first, std::int64_t last, const Scratch<T>& scratch, ChunkSums& sums,
                  FinishTile<T> finish) {
  const Csr<S, I> csr(task.features);
  const std::int64_t padded = padded_classes<T>(task.classes);
  const T* packed = static_cast<const T*>(task.packed.weight);
  for (std::int64_t start = first; start < last; start += kLanes) {
    const std::int64_t count = last - start < kLanes ? last - start : kLanes;
    for (std::int64_t k = 0; k < kLanes * padded; ++k) scratch.z_rows[k] = static_cast<T>(0);
    for (std::int64_t i = 0; i < count; ++i)
      sparse_scores(csr, start + i, packed, task.features.columns, padded, scratch.z_rows + i * padded);
    rows_to_tile(scratch.z_rows, padded, task.classes, scratch.z_tiles);
    finish(task, start, last, scratch.z_tiles, scratch, sums);
    tile_to_rows(scratch.z_tiles, task.classes, scratch.z_rows, padded);
    for (std::int64_t i = 0; i < count; ++i) {
      T* residual = scratch.z_rows + i * padded;
      for (std::int64_t c = task.classes; c < padded; ++c) residual[c] = static_cast<T>(0);
      sparse_gradient(csr, start + i, residual, padded, static_cast<T*>(sums.gradient));
    }
  }
}

// Calls use(value type, index type) for the kind of CSR matrix at hand.
template <class Use>
inline void visit_csr(const Features& f, const Use& use) {
  if (f.element == Element::float32) {
    if (f.wide_indices) use(float{}, std::int64_t{});
    else use(float{}, std::int32_t{});
  } else {
    if (f.wide_indices) use(double{}, std::int64_t{});
    else use(double{}, std::int32_t{});
  }
}

template <class T>
void pass_chunk_as(const PassTask& task, std::int64_t first, std::int64_t last, void* memory, ChunkSums& sums) {
  const Scratch<T> scratch(task, memory);
  for (std::int64_t k = 0; k < task.classes * kLanes; ++k) scratch.bias_lanes[k] = static_cast<T>(0);
  const FinishTile<T> finish = finish_of<T>(task);
  if (task.scores != nullptr) {
    sums_chunk<T>(task, first, last, scratch, sums, finish);
  } else if (!task.features.sparse) {
    dense_chunk<T>(task, first, last, scratch, sums, finish);
  } else {
    visit_csr(task.features, [&](auto value, auto index) {
      sparse_chunk<T, decltype(value), decltype(index)>(task, first, last, scratch, sums, finish);
    });
  }
  add_bias_lanes(task, scratch, sums);
}

template <class T>
void score_chunk_as(const PassTask& task, std::int64_t first, std::int64_t last, void* memory, T* out) {
  const Scratch<T> scratch(task, memory);
  const std::int64_t padded = padded_classes<T>(task.classes);
  const T* packed = static_cast<const T*>(task.packed.weight);
  const std::int64_t step = task.features.sparse ? kLanes : block_rows<T>(task);
  for (std::int64_t start = first; start < last; start += step) {
    const std::int64_t end = start + step < last ? start + step : last;
    if (task.features.sparse) {
      visit_csr(task.features, [&](auto value, auto index) {
        const Csr<decltype(value), decltype(index)> csr(task.features);
        for (std::int64_t i = start; i < end; ++i)
          sparse_scores(csr, i, packed, task.features.columns, padded, scratch.z_rows + (i - start) * padded);
      });
      for (std::int64_t i = start; i < end; ++i)
        for (std::int64_t c = 0; c < task.classes; ++c)
          out[(i - first) * task.classes + c] = scratch.z_rows[(i - start) * padded + c];
    } else {
      dense_scores(task, dense_block<T>(task.features, start, end, scratch.x), scratch);
      for (std::int64_t i = start; i < end; ++i) {
        const T* tile = scratch.z_tiles + (i - start) / kLanes * kLanes * task.classes;
        for (std::int64_t c = 0; c < task.classes; ++c)
          out[(i - first) * task.classes + c] = tile[c * kLanes + (i - start) % kLanes];
      }
    }
  }
}

template <class T>
void pack_weight_as(const PassTask& task, const double* weight, T* packed) {
  const std::int64_t columns = task.features.columns, classes = task.classes;
  if (uses_dots<T>(task)) return pack_dots(weight, task.packed.bias, classes, columns, packed);
  if (!task.features.sparse) return pack_panels(weight, task.packed.bias, classes, columns, packed);
  const std::int64_t padded = padded_classes<T>(classes);
  for (std::int64_t d = 0; d < columns; ++d)
    for (std::int64_t c = 0; c < padded; ++c)
      packed[d * padded + c] = c < classes ? static_cast<T>(weight[c * columns + d]) : static_cast<T>(0);
  for (std::int64_t c = 0; c < padded; ++c)
    packed[columns * padded + c] = c < classes ? static_cast<T>(task.packed.bias[c]) : static_cast<T>(0);
}

template <class T>
void commit_gradient_as(const PassTask& task, T* gradient, double* result) {
  const std::int64_t stride = gradient_stride<T>(task), columns = task.features.columns, classes = task.classes;
  if (!task.features.sparse) {
    for (std::int64_t c = 0; c < classes; ++c)
      for (std::int64_t d = 0; d < columns; ++d) {
        result[c * columns + d] += static_cast<double>(gradient[c * stride + d]);
        gradient[c * stride + d] = static_cast<T>(0);
      }
    return;
  }
  for (std::int64_t d = 0; d < columns; ++d)
    for (std::int64_t c = 0; c < classes; ++c) {
      if (gradient[d * stride + c] == static_cast<T>(0)) continue;
      result[c * columns + d] += static_cast<double>(gradient[d * stride + c]);
      gradient[d * stride + c] = static_cast<T>(0);
    }
}

template <class T>
BufferSizes pass_sizes_as(const PassTask& task) {
  const std::int64_t padded = padded_classes<T>(task.classes), columns = task.features.columns;
  const std::int64_t gradient_rows = task.features.sparse ? columns : task.classes;
  const std::int64_t packed = uses_dots<T>(task) ? task.classes * (dot_stride<PlainDot<T>>(columns) + 1) : padded * (columns + 1);
  return {packed, gradient_rows * gradient_stride<T>(task), Scratch<T>(task, nullptr).total};
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
