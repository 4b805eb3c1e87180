// Scores for few classes, as dot products: lanes run over features, so that no lane is spent on a class that is not there.
//
//   Z^T (C, 16 rows)  = W X^T + b    in tiles, as the losses want them
#pragma once

#include "isa/gemm.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

#if CROSSHEAD_VECTOR_BYTES == 64
constexpr int kDotRows = 4, kDotClasses = 5;
#else
constexpr int kDotRows = 2, kDotClasses = 4;
#endif
constexpr std::int64_t kMostDotClasses = 48;

// How 16 lanes' worth of products are added to a vector of sums. Others (bfloat16) say the same of their numbers.
template <class T>
struct PlainDot {
  using Number = T;
  using Sum = T;
  static constexpr int step = Register<T>::width;  // features at a time
  using Vector = typename Register<T>::Vector;
  using Weight = Vector;
  static constexpr int parts = 1;  // numbers that make up a weight
  static Vector load(const Number* p) { return load_register(p); }
  static Weight load_weight(const Number* p) { return load_register(p); }
  static void add(typename Register<T>::Vector& sum, Vector x, Weight w) { sum += x * w; }
};

// Whether dot products leave fewer lanes idle than panels of W, of whose lanes some are padding.
template <class T>
inline bool few_classes(std::int64_t classes) {
  return classes <= kMostDotClasses && 9 * classes < 8 * padded_classes<T>(classes);
}

template <class Dot>
inline std::int64_t dot_stride(std::int64_t columns) {
  return Dot::parts * round_up(columns, Dot::step);
}

// Sums of MR rows times MC classes, each a vector whose lanes are yet to be added: raw[class][row of 16][lane].
template <class Dot, int MR, int MC>
inline void dot_tile(const typename Dot::Number* x, std::int64_t x_stride, std::int64_t whole, const typename Dot::Number* tail,
                     const typename Dot::Number* w, std::int64_t w_stride, typename Dot::Sum* raw) {
  using R = Register<typename Dot::Sum>;
  typename R::Vector sums[MC][MR];
#pragma GCC unroll 8
  for (int c = 0; c < MC; ++c)
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) sums[c][r] = typename R::Vector{};
  for (std::int64_t d = 0; d < whole; d += Dot::step) {
    typename Dot::Weight wv[MC];
#pragma GCC unroll 8
    for (int c = 0; c < MC; ++c) wv[c] = Dot::load_weight(w + c * w_stride + Dot::parts * d);
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      const typename Dot::Vector xv = Dot::load(x + r * x_stride + d);
#pragma GCC unroll 8
      for (int c = 0; c < MC; ++c) Dot::add(sums[c][r], xv, wv[c]);
    }
  }
  if (tail != nullptr) {
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      const typename Dot::Vector xv = Dot::load(tail + r * Dot::step);
#pragma GCC unroll 8
      for (int c = 0; c < MC; ++c) Dot::add(sums[c][r], xv, Dot::load_weight(w + c * w_stride + Dot::parts * whole));
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < MC; ++c)
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) store_register(raw + (c * kLanes + r) * R::width, sums[c][r]);
}

template <class Dot, int MC = kDotClasses>
inline void dot_tile_of(int count, const typename Dot::Number* x, std::int64_t x_stride, std::int64_t whole,
                        const typename Dot::Number* tail, const typename Dot::Number* w, std::int64_t w_stride,
                        typename Dot::Sum* raw) {
  if (count == MC) {
    dot_tile<Dot, kDotRows, MC>(x, x_stride, whole, tail, w, w_stride, raw);
  } else if constexpr (MC > 1) {
    dot_tile_of<Dot, MC - 1>(count, x, x_stride, whole, tail, w, w_stride, raw);
  }
}

#ifdef CROSSHEAD_SHUFFLES
// Lanes 2k + 2k + 1 of a, then of b: half as many lanes each, twice as many numbers done.
inline Register<float>::Vector fold(Register<float>::Vector a, Register<float>::Vector b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}
inline Register<double>::Vector fold(Register<double>::Vector a, Register<double>::Vector b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) + __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
}
#endif

// to[i] = start + the sum of the lanes of vector i, for 16 vectors.
template <class T>
inline void add_lanes(const T* raw, T start, T* to) {
  using R = Register<T>;
#ifdef CROSSHEAD_SHUFFLES
#pragma GCC unroll 2
  for (int part = 0; part < kLanes / R::width; ++part) {
    typename R::Vector v[R::width];
#pragma GCC unroll 16
    for (int i = 0; i < R::width; ++i) v[i] = load_register(raw + (part * R::width + i) * R::width);
#pragma GCC unroll 4
    for (int count = R::width; count > 1; count /= 2)
#pragma GCC unroll 8
      for (int i = 0; i < count / 2; ++i) v[i] = fold(v[2 * i], v[2 * i + 1]);
    store_register(to + part * R::width, v[0] + start);
  }
#else
  for (int i = 0; i < kLanes; ++i) {
    T total = start;
    for (int k = 0; k < R::width; ++k) total += raw[i * R::width + k];
    to[i] = total;
  }
#endif
}

// W (classes, columns) row-major double -> rows of W padded with zeros, then the bias.
template <class T>
inline void pack_dots(const double* weight, const double* bias, std::int64_t classes, std::int64_t columns, T* packed) {
  const std::int64_t stride = dot_stride<PlainDot<T>>(columns);
  for (std::int64_t c = 0; c < classes; ++c) {
    for (std::int64_t d = 0; d < stride; ++d)
      packed[c * stride + d] = d < columns ? static_cast<T>(weight[c * columns + d]) : static_cast<T>(0);
    packed[classes * stride + c] = static_cast<T>(bias[c]);
  }
}

// Tiles [rows / 16][classes][16] of scores for a block of rows, a multiple of 16. `raw` has room for kDotClasses * 16
// vectors.
template <class Dot>
inline void score_dots(const typename Dot::Number* x, std::int64_t x_stride, std::int64_t rows, std::int64_t columns,
                       const typename Dot::Number* w, const typename Dot::Sum* bias, std::int64_t classes, typename Dot::Sum* raw,
                       typename Dot::Sum* tiles) {
  const std::int64_t stride = dot_stride<Dot>(columns), whole = columns / Dot::step * Dot::step;
  const int cuts = static_cast<int>((classes + kDotClasses - 1) / kDotClasses);
  typename Dot::Number tail[kDotRows * Dot::step] = {};
  for (std::int64_t t = 0; t < rows; t += kLanes) {
    typename Dot::Sum* tile = tiles + t * classes;
    for (int cut = 0; cut < cuts; ++cut) {  // as even as can be
      const std::int64_t c0 = classes * cut / cuts, c1 = classes * (cut + 1) / cuts;
      for (int r = 0; r < kLanes; r += kDotRows) {
        const typename Dot::Number* from = x + (t + r) * x_stride;
        if (whole < columns)
          for (int i = 0; i < kDotRows; ++i)
            for (std::int64_t d = whole; d < columns; ++d) tail[i * Dot::step + d - whole] = from[i * x_stride + d];
        dot_tile_of<Dot>(static_cast<int>(c1 - c0), from, x_stride, whole, whole < columns ? tail : nullptr, w + c0 * stride,
                         stride, raw + r * Register<typename Dot::Sum>::width);
      }
      for (std::int64_t c = c0; c < c1; ++c)
        add_lanes(raw + (c - c0) * kLanes * Register<typename Dot::Sum>::width, bias[c], tile + c * kLanes);
    }
  }
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
