// Passes that multiply bfloat16, two products an instruction where the processor has AVX512-BF16: features are rounded a
// block at a time as they are read, or lie in a bfloat16 copy. Residuals are rounded to bfloat16 too; all sums are float32.
//
// Where the features are small multiples of a unit (pixels), bfloat16 holds the multiples exactly; W is then given
// in two bfloat16 parts, to 16 digits. Other features are rounded, and W has one part: the caller works at points whose
// weights bfloat16 holds, so that value and gradient belong together.
//
// A block's rows, or the copy's, are padded with zeros to a multiple of 32 features, and the rows themselves to a
// multiple of 16.
#pragma once

#include <immintrin.h>

#include "pass/pass.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

typedef std::uint16_t BFloat16;
constexpr int kPairs = 16;  // of numbers in a vector

// Round to nearest, ties to even. Not for NaN.
inline BFloat16 to_bfloat16(float value) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return static_cast<BFloat16>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float from_bfloat16(BFloat16 number) {
  const std::uint32_t bits = static_cast<std::uint32_t>(number) << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

inline __m512bh load_pairs(const BFloat16* p) { return (__m512bh)_mm512_loadu_si512(p); }
inline __m512bh repeat_pair(const BFloat16* p) {
  std::int32_t pair;
  __builtin_memcpy(&pair, p, sizeof pair);
  return (__m512bh)_mm512_set1_epi32(pair);
}
inline Register<float>::Vector multiply_pairs(Register<float>::Vector sum, __m512bh a, __m512bh b) {
  return (Register<float>::Vector)_mm512_dpbf16_ps((__m512)sum, a, b);
}

// A weight in one bfloat16, or in two: what the first leaves over goes into the second.
template <int PARTS>
struct PairDot {
  using Number = BFloat16;
  using Sum = float;
  static constexpr int step = 2 * kPairs, parts = PARTS;
  using Vector = __m512bh;
  struct Weight {
    __m512bh part[PARTS];
  };
  static Vector load(const Number* p) { return load_pairs(p); }
  static Weight load_weight(const Number* p) {
    Weight weight;
#pragma GCC unroll 2
    for (int i = 0; i < PARTS; ++i) weight.part[i] = load_pairs(p + i * step);
    return weight;
  }
  static void add(Register<float>::Vector& sum, Vector x, const Weight& w) {
#pragma GCC unroll 2
    for (int i = 0; i < PARTS; ++i) sum = multiply_pairs(sum, x, w.part[i]);
  }
};

// Features that loops run over: the padding of a row beyond them only keeps rows out of each other's cache lines.
inline std::int64_t pair_columns(const PassTask& task) { return round_up(task.features.columns, 2 * kPairs); }

// Numbers from one row to the next: an odd number of vectors, so that rows do not fall onto the same cache lines.
inline std::int64_t pair_stride(const PassTask& task) {
  if (task.features.element == Element::bfloat16) return task.features.row_stride;
  return (pair_columns(task) / (2 * kPairs) | 1) * 2 * kPairs;
}

struct BFloat16Scratch {
  float *raw, *z_rows, *z_tiles, *soft, *bias_lanes, *wide;
  BFloat16 *residual, *x;
  std::int64_t total;  // in floats

  BFloat16Scratch(const PassTask& task, void* memory) {
    const std::int64_t block = bfloat16_block_rows(task);
    float* next = static_cast<float*>(memory);
    const auto take = [&](std::int64_t count) {
      float* start = next;
      next += round_up(count, 64);
      return start;
    };
    raw = take(kDotClasses * kLanes * kPairs);
    z_rows = take(few_classes<float>(task.classes) ? 0 : block * padded_classes<float>(task.classes));
    z_tiles = take(block * task.classes);
    soft = take(task.classes * kLanes);
    bias_lanes = take(task.classes * kLanes);
    residual = reinterpret_cast<BFloat16*>(take(block * task.classes / 2));
    const bool stored = task.features.element == Element::bfloat16;
    wide = take(stored ? 0 : kLanes * task.features.columns);
    x = reinterpret_cast<BFloat16*>(take(stored ? 0 : block * pair_stride(task) / 2));
    total = next - static_cast<float*>(memory);
  }

  static std::int64_t bfloat16_block_rows(const PassTask& task) {
    const std::int64_t row = 2 * pair_stride(task) + 10 * task.classes;
    const std::int64_t rows = kBlockBytes / row / kLanes * kLanes;
    return rows < kMinimumBlock ? kMinimumBlock : (rows > kMaximumBlock ? kMaximumBlock : rows);
  }

  // What the epilogues' room looks like to `finish_tile`.
  Scratch<float> lanes(const PassTask& task) const {
    Scratch<float> rest(task, nullptr);
    rest.soft = soft;
    rest.bias_lanes = bias_lanes;
    return rest;
  }
};

// Memory to be read next, brought nearer a little at a time beside the arithmetic.
struct Ahead {
  const char *next = nullptr, *end = nullptr;
  std::int64_t lines = 0;  // a call

  void come() {
    for (std::int64_t i = 0; i < lines && next < end; ++i, next += 64) _mm_prefetch(next, _MM_HINT_T1);
  }
};

// Z[0:MR, 0:NV*16] += X panel, or bias + X panel, for `depth` pairs of features.
template <int PARTS, int MR, int NV>
inline void score_pairs_tile(const BFloat16* x, std::int64_t x_stride, const BFloat16* panel, std::int64_t depth,
                             const float* bias, float* z, std::int64_t z_stride) {
  using R = Register<float>;
  R::Vector sums[MR][NV];
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) sums[r][v] = R::Vector{};
  for (std::int64_t k = 0; k < depth; ++k)
#pragma GCC unroll 2
    for (int part = 0; part < PARTS; ++part) {
      __m512bh w[NV];
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) w[v] = load_pairs(panel + ((k * PARTS + part) * NV + v) * 2 * kPairs);
#pragma GCC unroll 16
      for (int r = 0; r < MR; ++r) {
        const __m512bh xv = repeat_pair(x + r * x_stride + 2 * k);
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) sums[r][v] = multiply_pairs(sums[r][v], w[v], xv);
      }
    }
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      float* to = z + r * z_stride + v * R::width;
      store_register(to, load_register(bias ? bias + v * R::width : to) + sums[r][v]);
    }
}

template <int PARTS, int NV>
inline void score_pairs_panel(const BFloat16* x, std::int64_t x_stride, std::int64_t rows, const BFloat16* panel,
                              std::int64_t depth, const float* bias, float* z, std::int64_t z_stride, Ahead& ahead) {
  constexpr int MR = NV == 1 ? kRowsOneVector : kRowsMoreVectors;
  for (std::int64_t r = 0; r < rows; r += MR) {
    ahead.come();
    score_pairs_tile<PARTS, MR, NV>(x + r * x_stride, x_stride, panel, depth, bias, z + r * z_stride, z_stride);
  }
}

template <int PARTS>
inline void score_pairs(const BFloat16* x, std::int64_t x_stride, std::int64_t rows, std::int64_t columns, const BFloat16* packed,
                        const float* bias, std::int64_t classes, float* z, Ahead& ahead) {
  const std::int64_t padded = padded_classes<float>(classes), pairs = columns / 2;
  for (std::int64_t k = 0; k < pairs; k += kDepth) {
    const std::int64_t depth = pairs - k < kDepth ? pairs - k : kDepth;
    for_each_panel<float>(classes, [&](std::int64_t first, int vectors) {
      const BFloat16* panel = packed + PARTS * (first * columns + 2 * k * vectors * kPairs);
      const float* start = k == 0 ? bias + first : nullptr;
      const BFloat16* from = x + 2 * k;
      if (vectors == 1) score_pairs_panel<PARTS, 1>(from, x_stride, rows, panel, depth, start, z + first, padded, ahead);
      else if (vectors == 2) score_pairs_panel<PARTS, 2>(from, x_stride, rows, panel, depth, start, z + first, padded, ahead);
      else score_pairs_panel<PARTS, 3>(from, x_stride, rows, panel, depth, start, z + first, padded, ahead);
    });
  }
}

// W (classes, columns) double -> rows for dot products, or panels of pairs, in one or two parts; then the bias.
inline int weight_parts(const PassTask& task) { return task.features.split ? 2 : 1; }

inline std::int64_t packed_pairs(const PassTask& task) {  // bfloat16 numbers before the bias
  const std::int64_t classes = few_classes<float>(task.classes) ? task.classes : padded_classes<float>(task.classes);
  return weight_parts(task) * classes * pair_columns(task);
}

inline void pack_bfloat16(const PassTask& task, const double* weight, void* memory) {
  const std::int64_t columns = task.features.columns, stride = pair_columns(task), classes = task.classes;
  const int parts = weight_parts(task);
  BFloat16* packed = static_cast<BFloat16*>(memory);
  const auto put = [&](std::int64_t c, std::int64_t d, BFloat16* to, std::int64_t apart) {
    double rest = c < classes && d < columns ? task.features.unit * weight[c * columns + d] : 0.0;
    for (int part = 0; part < parts; ++part) {
      const BFloat16 number = to_bfloat16(static_cast<float>(rest));
      rest -= static_cast<double>(from_bfloat16(number));
      to[part * apart] = number;
    }
  };
  if (few_classes<float>(classes)) {
    constexpr std::int64_t step = 2 * kPairs;
    for (std::int64_t c = 0; c < classes; ++c)
      for (std::int64_t d = 0; d < stride; ++d) put(c, d, packed + parts * (c * stride + d / step * step) + d % step, step);
  } else {
    for_each_panel<float>(classes, [&](std::int64_t first, int vectors) {
      BFloat16* panel = packed + parts * first * stride;
      const std::int64_t width = static_cast<std::int64_t>(vectors) * 2 * kPairs;
      for (std::int64_t j = 0; j < width / 2; ++j)
        for (std::int64_t d = 0; d < stride; ++d) put(first + j, d, panel + d / 2 * parts * width + 2 * j + d % 2, width);
    });
  }
  float* bias = reinterpret_cast<float*>(packed + packed_pairs(task));
  for (std::int64_t c = 0; c < padded_classes<float>(classes); ++c)
    bias[c] = c < classes ? static_cast<float>(task.packed.bias[c]) : 0.0f;
}

// G[0:MC, 0:32] += sum over rows of r x: two rows' numbers are interleaved on their way into the registers.
template <int MC>
inline void gradient_pairs_tile(const BFloat16* residual, std::int64_t tile_stride, std::int64_t rows, const BFloat16* x,
                                std::int64_t x_stride, float* gradient, std::int64_t stride) {
  using R = Register<float>;
  R::Vector low[MC], high[MC];
#pragma GCC unroll 16
  for (int m = 0; m < MC; ++m) low[m] = high[m] = R::Vector{};
  for (std::int64_t t = 0; t < rows; t += kLanes) {
    for (int pair = 0; pair < kLanes / 2; ++pair) {
      const __m512i a = _mm512_loadu_si512(x), b = _mm512_loadu_si512(x + x_stride);
      const __m512bh x_low = (__m512bh)_mm512_unpacklo_epi16(a, b), x_high = (__m512bh)_mm512_unpackhi_epi16(a, b);
      x += 2 * x_stride;
#pragma GCC unroll 16
      for (int m = 0; m < MC; ++m) {
        const __m512bh r = repeat_pair(residual + m * kLanes + 2 * pair);
        low[m] = multiply_pairs(low[m], x_low, r);
        high[m] = multiply_pairs(high[m], x_high, r);
      }
    }
    residual += tile_stride;
  }
  // Of every 8 features, low has the first 4 and high the others.
  const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i second = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
#pragma GCC unroll 16
  for (int m = 0; m < MC; ++m) {
    float* g = gradient + m * stride;
    const __m512 l = (__m512)low[m], h = (__m512)high[m];
    store_register(g, load_register(g) + (R::Vector)_mm512_permutex2var_ps(l, first, h));
    store_register(g + kPairs, load_register(g + kPairs) + (R::Vector)_mm512_permutex2var_ps(l, second, h));
  }
}

template <int MC = kClassTile>
inline void gradient_pairs_tile_of(int count, const BFloat16* residual, std::int64_t tile_stride, std::int64_t rows,
                                   const BFloat16* x, std::int64_t x_stride, float* gradient, std::int64_t stride) {
  if (count == MC) {
    gradient_pairs_tile<MC>(residual, tile_stride, rows, x, x_stride, gradient, stride);
  } else if constexpr (MC > 1) {
    gradient_pairs_tile_of<MC - 1>(count, residual, tile_stride, rows, x, x_stride, gradient, stride);
  }
}

inline void gradient_pairs(const BFloat16* residual, std::int64_t classes, const BFloat16* x, std::int64_t x_stride,
                           std::int64_t rows, std::int64_t columns, float* gradient, std::int64_t stride) {
  constexpr std::int64_t super = 8 * kClassTile;
  for (std::int64_t c0 = 0; c0 < classes; c0 += super) {
    const std::int64_t c1 = c0 + super < classes ? c0 + super : classes;
    for (std::int64_t d = 0; d < columns; d += 2 * kPairs)
      for (std::int64_t c = c0; c < c1;) {
        const std::int64_t left = c1 - c;
        const int count = static_cast<int>(left <= kClassTile ? left : (left < 2 * kClassTile ? (left + 1) / 2 : kClassTile));
        gradient_pairs_tile_of(count, residual + c * kLanes, classes * kLanes, rows, x + d, x_stride, gradient + c * stride + d,
                               stride);
        c += count;
      }
  }
}

// One row of floats, each times `factor`, rounded to bfloat16 (to nearest, ties to even) and padded with zeros.
inline void round_row(const float* from, std::int64_t columns, float factor, BFloat16* to, std::int64_t stride) {
  const __m512 times = _mm512_set1_ps(factor);
  for (std::int64_t d = 0; d < stride; d += kPairs) {
    const std::int64_t left = columns - d;
    const __mmask16 inside = static_cast<__mmask16>(left >= kPairs ? 0xffff : (left > 0 ? (1 << left) - 1 : 0));
    const __m512 values = _mm512_mul_ps(_mm512_maskz_loadu_ps(inside, from + (left > 0 ? d : 0)), times);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + d), (__m256i)_mm512_cvtneps_pbh(values));
  }
}

// The features of rows [first, last) in bfloat16, up to a multiple of 16 rows.
inline const BFloat16* bfloat16_block(const PassTask& task, std::int64_t first, std::int64_t last,
                                      const BFloat16Scratch& scratch) {
  const Features& f = task.features;
  const std::int64_t stride = pair_stride(task);
  if (f.element == Element::bfloat16) return static_cast<const BFloat16*>(f.values) + first * stride;
  const float factor = static_cast<float>(1.0 / f.unit);
  for (std::int64_t start = first; start < last; start += kLanes) {
    const Block<float> tile = dense_block<float>(f, start, start + kLanes < last ? start + kLanes : last, scratch.wide);
    for (std::int64_t r = 0; r < kLanes; ++r)
      round_row(tile.x + r * tile.stride, f.columns, factor, scratch.x + (start - first + r) * stride, stride);
  }
  return scratch.x;
}

// What lies behind a block of rows that is rounded as it is read: a block as large.
inline Ahead block_after(const PassTask& task, std::int64_t first, std::int64_t last) {
  const Features& f = task.features;
  if (f.element == Element::bfloat16 || f.chosen != nullptr || f.column_stride != 1 || f.row_stride != f.columns) return {};
  const std::int64_t row = f.columns * (f.element == Element::float32 ? 4 : 8), rows = last - first;
  const std::int64_t end = last + rows < f.rows ? last + rows : f.rows;
  const std::int64_t panels = round_up(padded_classes<float>(task.classes) / kPairs, kPanelVectors) / kPanelVectors;
  const std::int64_t calls =
      (rows + kRowsMoreVectors - 1) / kRowsMoreVectors * panels * ((pair_columns(task) / 2 + kDepth - 1) / kDepth);
  const char* x = static_cast<const char*>(f.values);
  return {x + last * row, x + end * row, (rows * row / 64 + calls - 1) / calls};
}

// Scores of a block of rows, in tiles.
template <int PARTS>
inline void bfloat16_scores(const PassTask& task, const BFloat16* x, std::int64_t rows, const BFloat16Scratch& scratch,
                            Ahead ahead) {
  const std::int64_t stride = pair_stride(task), columns = pair_columns(task), classes = task.classes;
  const BFloat16* packed = static_cast<const BFloat16*>(task.packed.weight);
  const float* bias = reinterpret_cast<const float*>(packed + packed_pairs(task));
  if (few_classes<float>(classes)) {
    score_dots<PairDot<PARTS>>(x, stride, rows, columns, packed, bias, classes, scratch.raw, scratch.z_tiles);
    return;
  }
  const std::int64_t padded = padded_classes<float>(classes);
  score_pairs<PARTS>(x, stride, rows, columns, packed, bias, classes, scratch.z_rows, ahead);
  for (std::int64_t r = 0; r < rows; r += kLanes)
    rows_to_tile(scratch.z_rows + r * padded, padded, classes, scratch.z_tiles + r * classes);
}

inline void bfloat16_chunk(const PassTask& task, std::int64_t first, std::int64_t last, void* memory, ChunkSums& sums) {
  const BFloat16Scratch scratch(task, memory);
  const Scratch<float> lanes = scratch.lanes(task);
  const std::int64_t step = BFloat16Scratch::bfloat16_block_rows(task), stride = pair_stride(task);
  const std::int64_t columns = pair_columns(task);
  for (std::int64_t k = 0; k < task.classes * kLanes; ++k) scratch.bias_lanes[k] = 0;
  const FinishTile<float> finish = finish_of<float>(task);
  for (std::int64_t start = first; start < last; start += step) {
    const std::int64_t end = start + step < last ? start + step : last, rows = round_up(end - start, kLanes);
    const BFloat16* x = bfloat16_block(task, start, end, scratch);
    const Ahead ahead = block_after(task, start, end);
    if (task.features.split) bfloat16_scores<2>(task, x, rows, scratch, ahead);
    else bfloat16_scores<1>(task, x, rows, scratch, ahead);
    for (std::int64_t r = 0; r < rows; r += kLanes) finish(task, start + r, end, scratch.z_tiles + r * task.classes, lanes, sums);
    for (std::int64_t k = 0; k < rows * task.classes; k += kLanes) {
      const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(scratch.z_tiles + k));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(scratch.residual + k), (__m256i)rounded);
    }
    gradient_pairs(scratch.residual, task.classes, x, stride, rows, columns, static_cast<float*>(sums.gradient), columns);
  }
  add_bias_lanes(task, lanes, sums);
}

inline void commit_bfloat16(const PassTask& task, float* gradient, double* result) {
  const std::int64_t stride = pair_columns(task), columns = task.features.columns;
  for (std::int64_t c = 0; c < task.classes; ++c)
    for (std::int64_t d = 0; d < columns; ++d) {
      result[c * columns + d] += task.features.unit * static_cast<double>(gradient[c * stride + d]);
      gradient[c * stride + d] = 0.0f;
    }
}

inline BufferSizes bfloat16_sizes(const PassTask& task) {
  const std::int64_t packed = (packed_pairs(task) + 1) / 2 + padded_classes<float>(task.classes);
  return {packed, task.classes * pair_columns(task), BFloat16Scratch(task, nullptr).total};
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
