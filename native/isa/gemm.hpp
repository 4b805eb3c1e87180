// The two matrix products of a pass, as register-tiled micro-kernels written in vector types.
//
//   scores    Z (rows, C)  = X W^T + b    lanes run over classes, W packed in panels
//   gradient  G (C, D)    += R^T X        lanes run over features, R in tiles of 16 rows
#pragma once

#include "isa/lanes.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

#if CROSSHEAD_VECTOR_BYTES == 64
constexpr int kRowsOneVector = 16, kRowsMoreVectors = 8, kClassTile = 12;
#else
constexpr int kRowsOneVector = 8, kRowsMoreVectors = 4, kClassTile = 6;
#endif
constexpr int kPanelVectors = 3;      // a panel of W is at most this many vectors wide
constexpr int kFeatureVectors = 2;    // a tile of G is this many vectors wide
constexpr std::int64_t kDepth = 256;  // features multiplied at a stretch: short sums round less, panels stay in the first cache

template <class T>
struct Register {
  typedef T Vector __attribute__((vector_size(CROSSHEAD_VECTOR_BYTES)));
  typedef T Memory __attribute__((vector_size(CROSSHEAD_VECTOR_BYTES), aligned(sizeof(T)), may_alias));
  static constexpr int width = CROSSHEAD_VECTOR_BYTES / sizeof(T);
};

template <class T>
inline typename Register<T>::Vector load_register(const T* p) {
  return *reinterpret_cast<const typename Register<T>::Memory*>(p);
}
template <class T>
inline void store_register(T* p, typename Register<T>::Vector v) {
  *reinterpret_cast<typename Register<T>::Memory*>(p) = v;
}

inline std::int64_t round_up(std::int64_t n, std::int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

template <class T>
inline std::int64_t padded_classes(std::int64_t classes) {
  return round_up(classes, Register<T>::width);
}

template <class T>
constexpr int feature_tile() {
  return kFeatureVectors * Register<T>::width;
}

// Z[0:rows, 0:nv*width] += X[0:rows, 0:depth] panel, or bias + X panel where `bias` is not null.
template <class T, int MR, int NV>
inline void score_tile(const T* x, std::int64_t x_stride, const T* panel, std::int64_t depth, const T* bias, T* z,
                       std::int64_t z_stride) {
  using R = Register<T>;
  typename R::Vector sums[MR][NV];
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) sums[r][v] = typename R::Vector{};
  for (std::int64_t k = 0; k < depth; ++k) {
    typename R::Vector w[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) w[v] = load_register(panel + (k * NV + v) * R::width);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sums[r][v] += w[v] * x[r * x_stride + k];
  }
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      T* to = z + r * z_stride + v * R::width;
      store_register(to, load_register(bias ? bias + v * R::width : to) + sums[r][v]);
    }
}

template <class T, int NV>
inline void score_panel(const T* x, std::int64_t x_stride, std::int64_t rows, const T* panel, std::int64_t depth, const T* bias,
                        T* z, std::int64_t z_stride) {
  constexpr int MR = NV == 1 ? kRowsOneVector : kRowsMoreVectors;
  for (std::int64_t r = 0; r < rows; r += MR)
    score_tile<T, MR, NV>(x + r * x_stride, x_stride, panel, depth, bias, z + r * z_stride, z_stride);
}

// Calls use(first class, vectors) for each panel of W.
template <class T, class Use>
inline void for_each_panel(std::int64_t classes, const Use& use) {
  constexpr int width = Register<T>::width;
  const std::int64_t padded = padded_classes<T>(classes);
  for (std::int64_t first = 0; first < padded;) {
    const std::int64_t left = (padded - first) / width;
    // 4 vectors left are better cut 2 + 2 than 3 + 1.
    const int vectors = static_cast<int>(left == 4 ? 2 : (left < kPanelVectors ? left : kPanelVectors));
    use(first, vectors);
    first += static_cast<std::int64_t>(vectors) * width;
  }
}

// W (classes, columns) row-major double -> panels [panel][column][vectors * width], then the padded bias.
template <class T>
inline void pack_panels(const double* weight, const double* bias, std::int64_t classes, std::int64_t columns, T* packed) {
  constexpr int width = Register<T>::width;
  for_each_panel<T>(classes, [&](std::int64_t first, int vectors) {
    T* panel = packed + first * columns;
    const std::int64_t panel_width = static_cast<std::int64_t>(vectors) * width;
    for (std::int64_t j = 0; j < panel_width; ++j) {
      const std::int64_t c = first + j;
      for (std::int64_t d = 0; d < columns; ++d)
        panel[d * panel_width + j] = c < classes ? static_cast<T>(weight[c * columns + d]) : static_cast<T>(0);
    }
  });
  const std::int64_t padded = padded_classes<T>(classes);
  for (std::int64_t c = 0; c < padded; ++c)
    packed[padded * columns + c] = c < classes ? static_cast<T>(bias[c]) : static_cast<T>(0);
}

// Z (rows, padded classes) = X W^T + b for a block of rows, a multiple of 16 of them.
template <class T>
inline void score_block(const T* x, std::int64_t x_stride, std::int64_t rows, std::int64_t columns, const T* packed,
                        std::int64_t classes, T* z) {
  constexpr int width = Register<T>::width;
  const std::int64_t padded = padded_classes<T>(classes);
  const T* bias = packed + padded * columns;
  for (std::int64_t k = 0; k < columns || k == 0; k += kDepth) {
    const std::int64_t depth = columns - k < kDepth ? columns - k : kDepth;
    for_each_panel<T>(classes, [&](std::int64_t first, int vectors) {
      const T* panel = packed + first * columns + k * vectors * width;
      const T* start = k == 0 ? bias + first : nullptr;
      if (vectors == 1) score_panel<T, 1>(x + k, x_stride, rows, panel, depth, start, z + first, padded);
      else if (vectors == 2) score_panel<T, 2>(x + k, x_stride, rows, panel, depth, start, z + first, padded);
      else score_panel<T, 3>(x + k, x_stride, rows, panel, depth, start, z + first, padded);
    });
  }
}

// G[0:MC, 0:tile] += sum over 16-row tiles of r[m * 16 + lane] x[row, 0:tile].
template <class T, int MC>
inline void gradient_tile(const T* residual, std::int64_t tile_stride, std::int64_t rows, const T* x, std::int64_t x_stride,
                          T* gradient, std::int64_t gradient_stride) {
  using R = Register<T>;
  typename R::Vector sums[MC][kFeatureVectors];
#pragma GCC unroll 16
  for (int m = 0; m < MC; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < kFeatureVectors; ++v) sums[m][v] = typename R::Vector{};
  for (std::int64_t t = 0; t < rows; t += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      typename R::Vector xv[kFeatureVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kFeatureVectors; ++v) xv[v] = load_register(x + v * R::width);
      x += x_stride;
#pragma GCC unroll 16
      for (int m = 0; m < MC; ++m)
#pragma GCC unroll 4
        for (int v = 0; v < kFeatureVectors; ++v) sums[m][v] += xv[v] * residual[m * kLanes + lane];
    }
    residual += tile_stride;
  }
#pragma GCC unroll 16
  for (int m = 0; m < MC; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < kFeatureVectors; ++v) {
      T* g = gradient + m * gradient_stride + v * R::width;
      store_register(g, load_register(g) + sums[m][v]);
    }
}

template <class T, int MC = kClassTile>
inline void gradient_tile_of(int count, const T* residual, std::int64_t tile_stride, std::int64_t rows, const T* x,
                             std::int64_t x_stride, T* gradient, std::int64_t gradient_stride) {
  if (count == MC) {
    gradient_tile<T, MC>(residual, tile_stride, rows, x, x_stride, gradient, gradient_stride);
  } else if constexpr (MC > 1) {
    gradient_tile_of<T, MC - 1>(count, residual, tile_stride, rows, x, x_stride, gradient, gradient_stride);
  }
}

// G (classes, stride) += R^T X for a block of rows. R lies in tiles [rows / 16][classes][16]; `tail` has room for
// (rows, feature tile). With `upper` only tiles that touch the upper triangle are computed (for X^T X).
template <class T>
inline void gradient_block(const T* residual, std::int64_t classes, const T* x, std::int64_t x_stride, std::int64_t rows,
                           std::int64_t columns, T* tail, T* gradient, std::int64_t gradient_stride, bool upper) {
  constexpr int tile = feature_tile<T>();
  constexpr std::int64_t super = 8 * kClassTile;  // classes whose residuals stay close while features go by
  const std::int64_t tile_stride = classes * kLanes;
  for (std::int64_t c0 = 0; c0 < classes; c0 += super) {
    const std::int64_t c1 = c0 + super < classes ? c0 + super : classes;
    const std::int64_t d_first = upper ? c0 / tile * tile : 0;
    for (std::int64_t d = d_first; d < columns; d += tile) {
      const T* part = x + d;
      std::int64_t part_stride = x_stride;
      if (d + tile > columns) {  // the last, narrower strip is copied beside zeros
        for (std::int64_t i = 0; i < rows; ++i)
          for (int j = 0; j < tile; ++j) tail[i * tile + j] = d + j < columns ? x[i * x_stride + d + j] : static_cast<T>(0);
        part = tail;
        part_stride = tile;
      }
      for (std::int64_t c = c0; c < c1;) {
        const std::int64_t left = c1 - c;
        // Two even tiles rather than a full one and a sliver.
        const int count = static_cast<int>(left <= kClassTile ? left : (left < 2 * kClassTile ? (left + 1) / 2 : kClassTile));
        if (!upper || d + tile > c)
          gradient_tile_of<T>(count, residual + c * kLanes, tile_stride, rows, part, part_stride,
                              gradient + c * gradient_stride + d, gradient_stride);
        c += count;
      }
    }
  }
}

#if CROSSHEAD_VECTOR_BYTES == 64 && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define CROSSHEAD_SHUFFLES 1
#endif
#endif

#ifdef CROSSHEAD_SHUFFLES
// 16 x 16 floats, transposed in registers: four rounds that each interleave rows eight apart.
inline void transpose_square(const float* from, std::int64_t from_stride, float* to, std::int64_t to_stride) {
  typedef Lane<float> V;
  V a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = load(from + i * from_stride);
#pragma GCC unroll 4
  for (int round = 0; round < 4; ++round) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      b[2 * i] = __builtin_shufflevector(a[i], a[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) a[i] = b[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) store(to + i * to_stride, a[i]);
}
#endif

// to[j * 16 + i] = from[i * stride + j] for 16 rows i and `columns` columns j.
template <class T>
inline void rows_to_tile(const T* from, std::int64_t stride, std::int64_t columns, T* to) {
  std::int64_t j = 0;
#ifdef CROSSHEAD_SHUFFLES
  if constexpr (sizeof(T) == 4)
    for (; j + kLanes <= columns; j += kLanes) transpose_square(from + j, stride, to + j * kLanes, kLanes);
#endif
  for (; j < columns; ++j)
    for (int i = 0; i < kLanes; ++i) to[j * kLanes + i] = from[i * stride + j];
}

// to[i * stride + j] = from[j * 16 + i]: back again.
template <class T>
inline void tile_to_rows(const T* from, std::int64_t columns, T* to, std::int64_t stride) {
  std::int64_t j = 0;
#ifdef CROSSHEAD_SHUFFLES
  if constexpr (sizeof(T) == 4)
    for (; j + kLanes <= columns; j += kLanes) transpose_square(from + j * kLanes, kLanes, to + j, stride);
#endif
  for (; j < columns; ++j)
    for (int i = 0; i < kLanes; ++i) to[i * stride + j] = from[j * kLanes + i];
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
