// The matrix products of a fused head, all by one register-tiled micro-kernel:
//
//   out[m, lanes] = sum over k of a[m, k] b[k, lanes]
//
//   scores           Z^T (C, rows) = W X^T    a: rows of W as they lie,  b: panels of X^T, packed once
//   weight gradient  (C, D) = G^T X           a: gradients of scores,    b: a strip of X
//   input gradient   (rows, D) = G W          a: gradients of scores,    b: a strip of W
//
// Lanes run over rows for scores, so that losses work on 16 rows at a time, and over features for gradients.
#pragma once

#ifdef CROSSHEAD_BFLOAT16
#include <immintrin.h>
#endif

#include "isa/numbers.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

constexpr int kVectors = 2;  // of lanes in a tile

// How numbers are multiplied: one by one, in the computation's type.
template <class T>
struct Single {
  using Stored = T;  // of the operands
  using Sum = T;
  static constexpr int together = 1;  // k's that an instruction takes at once
  static constexpr int width = Register<T>::width;
  using Vector = typename Register<T>::Vector;
  static Vector load(const Stored* p) { return load_register(p); }
  static void add(Vector& sum, Vector b, const Stored* a) { sum += b * *a; }
};

#ifdef CROSSHEAD_BFLOAT16
// Pairs of bfloat16 numbers, neighbours in k.
struct Paired {
  using Stored = Brief16;
  using Sum = float;
  static constexpr int together = 2;
  static constexpr int width = Register<float>::width;
  using Vector = __m512bh;
  static Vector load(const Stored* p) { return (__m512bh)_mm512_loadu_si512(p); }
  static void add(Register<float>::Vector& sum, Vector b, const Stored* a) {
    std::int32_t pair;
    __builtin_memcpy(&pair, a, sizeof pair);
    sum = (Register<float>::Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(pair), b);
  }
};
#endif

template <class P>
constexpr int tile_lanes() {
  return kVectors * P::width;
}

// The left operand: a[m * row + k * column], k in units of P::together; after `depth` of these it goes on at `block`.
template <class P>
struct Left {
  const typename P::Stored* a;
  std::int64_t row, column, block = 0;
};

// Where a tile's sums go: `lanes` of them are wanted; set, starting from start[m] where that is given, or added.
template <class T>
struct Sums {
  T* out;
  std::int64_t stride, lanes;
  bool add;
  const T* start = nullptr;
};

template <class P, int MR, int ROW>
inline void product_tile(Left<P> left, const typename P::Stored* b, std::int64_t depth, std::int64_t blocks,
                         Sums<typename P::Sum> to) {
  using T = typename P::Sum;
  using V = typename Register<T>::Vector;
  const std::int64_t row = ROW ? ROW : left.row;
  V sums[MR][kVectors];
#pragma GCC unroll 16
  for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[m][v] = V{};
  for (std::int64_t n = 0; n < blocks; ++n) {
    const typename P::Stored* a = left.a + n * left.block;
    for (std::int64_t k = 0; k < depth; ++k) {
      typename P::Vector lanes[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) lanes[v] = P::load(b + v * P::width * P::together);
      b += kVectors * P::width * P::together;
#pragma GCC unroll 16
      for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) P::add(sums[m][v], lanes[v], a + m * row);
      a += left.column;
    }
  }
  if (to.lanes >= tile_lanes<P>()) {
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) {
      T* out = to.out + m * to.stride;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        V sum = sums[m][v];
        if (to.add) sum += load_register(out + v * P::width);
        else if (to.start) sum += to.start[m];
        store_register(out + v * P::width, sum);
      }
    }
    return;
  }
  for (int m = 0; m < MR; ++m)
    for (std::int64_t lane = 0; lane < to.lanes; ++lane) {
      T& out = to.out[m * to.stride + lane];
      out = sums[m][lane / P::width][lane % P::width] + (to.add ? out : (to.start ? to.start[m] : static_cast<T>(0)));
    }
}

template <class P, int ROW, int MR = kClassTile>
inline void product_tile_of(int count, Left<P> left, const typename P::Stored* b, std::int64_t depth, std::int64_t blocks,
                            Sums<typename P::Sum> to) {
  if (count == MR) {
    product_tile<P, MR, ROW>(left, b, depth, blocks, to);
  } else if constexpr (MR > 1) {
    product_tile_of<P, ROW, MR - 1>(count, left, b, depth, blocks, to);
  }
}

// `count` rows m at a stretch, cut into tiles; two even tiles rather than a full one and a sliver.
// Not inlined, so that a program has each kernel once.
template <class P, int ROW>
__attribute__((noinline)) void product_strip(std::int64_t count, Left<P> left, const typename P::Stored* b, std::int64_t depth,
                                             std::int64_t blocks, Sums<typename P::Sum> to) {
  for (std::int64_t m = 0; m < count;) {
    const std::int64_t rest = count - m;
    const int now = static_cast<int>(rest <= kClassTile ? rest : (rest < 2 * kClassTile ? (rest + 1) / 2 : kClassTile));
    Left<P> part = left;
    part.a += m * (ROW ? ROW : left.row);
    Sums<typename P::Sum> out = to;
    out.out += m * to.stride;
    if (out.start) out.start += m;
    product_tile_of<P, ROW>(now, part, b, depth, blocks, out);
    m += now;
  }
}

// Rows of numbers in memory, of whatever type.
template <class S>
struct Rows {
  const S* from;
  std::int64_t stride, count, columns;
};

template <class S>
inline Rows<S> rows_of(const void* memory, std::int64_t stride, std::int64_t first, std::int64_t last, std::int64_t columns) {
  return {static_cast<const S*>(memory) + first * stride, stride, last - first, columns};
}

// Whether numbers S of a problem are multiplied in the way P: as they are, or widened first.
template <class P, class S>
constexpr bool takes() {
  return __is_same(typename P::Stored, S) || __is_same(typename P::Stored, decltype(widen(S{})));
}

template <class Stored, class S>
inline Stored stored(S number) {
  if constexpr (__is_same(Stored, S)) return number;
  else return widen(number);
}

// Columns [from, from + lanes) of at most `depth` rows as a right operand, zeros beyond rows and columns.
template <class P, class S>
__attribute__((noinline)) void pack_strip(Rows<S> rows, std::int64_t from, std::int64_t depth, typename P::Stored* to) {
  using Stored = typename P::Stored;
  constexpr int lanes = tile_lanes<P>();
  const int wide = static_cast<int>(rows.columns - from < lanes ? rows.columns - from : lanes);
  const std::int64_t whole = rows.count < depth ? rows.count : depth;
  const std::int64_t padded = round_up(depth, P::together);
#ifdef CROSSHEAD_BFLOAT16
  if constexpr (P::together == 2) {
    if (wide == lanes) {
      for (std::int64_t k = 0; k + 1 < whole; k += 2) {
        const __m512i a = _mm512_loadu_si512(rows.from + k * rows.stride + from);
        const __m512i b = _mm512_loadu_si512(rows.from + (k + 1) * rows.stride + from);
        const __m512i first = _mm512_unpacklo_epi16(a, b), second = _mm512_unpackhi_epi16(a, b);
        const __m512i order_low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
        const __m512i order_high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        _mm512_storeu_si512(to + k * lanes, _mm512_permutex2var_epi64(first, order_low, second));
        _mm512_storeu_si512(to + k * lanes + lanes, _mm512_permutex2var_epi64(first, order_high, second));
      }
      for (std::int64_t k = whole / 2 * 2; k < padded; ++k)
        for (int j = 0; j < lanes; ++j)
          to[k / 2 * 2 * lanes + 2 * j + k % 2] = k < whole ? rows.from[k * rows.stride + from + j] : Stored{};
      return;
    }
  }
#endif
  for (std::int64_t k = 0; k < padded; ++k) {
    Stored* line = to + k / P::together * P::together * lanes + k % P::together;
    const S* source = rows.from + k * rows.stride + from;
    const int here = k < whole ? wide : 0;
    for (int j = 0; j < here; ++j) line[j * P::together] = stored<Stored>(source[j]);
    for (int j = here; j < lanes; ++j) line[j * P::together] = Stored{};
  }
}

// Rows of X as panels of X^T: [tile of rows][k][row][together]; `rows.count` of them and zeros up to whole tiles.
template <class P, class S>
inline void pack_panels_of(Rows<S> rows, typename P::Stored* to) {
  using Stored = typename P::Stored;
  constexpr int lanes = tile_lanes<P>();
  const std::int64_t depth = round_up(rows.columns, P::together);
  for (std::int64_t r0 = 0; r0 < rows.count; r0 += lanes, to += lanes * depth) {
    std::int64_t k = 0;
#ifdef CROSSHEAD_SHUFFLES
    if constexpr (sizeof(Stored) * P::together == 4 && sizeof(S) == sizeof(Stored)) {
      if (r0 + lanes <= rows.count && rows.stride % P::together == 0) {
        const std::int64_t stride = rows.stride / P::together;
        for (; k + kLanes * P::together <= rows.columns; k += kLanes * P::together)
          for (int half = 0; half < lanes; half += kLanes)
            transpose_square(reinterpret_cast<const float*>(rows.from + (r0 + half) * rows.stride + k), stride,
                             reinterpret_cast<float*>(to + k * lanes) + half, lanes);
      }
    }
#endif
    for (; k < depth; ++k)
      for (int r = 0; r < lanes; ++r)
        to[k / P::together * P::together * lanes + r * P::together + k % P::together] =
            r0 + r < rows.count && k < rows.columns ? stored<Stored>(rows.from[(r0 + r) * rows.stride + k]) : Stored{};
  }
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
