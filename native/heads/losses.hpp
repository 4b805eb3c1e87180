// What a row of scores costs, over tiles of classes: each loss as one small struct. The reference implementations are
// src/crosshead/nn/row_losses/*.py, whose states these are.
//
// A tile holds the scores of 16 rows, `count` classes of them: z[class * stride + row].
//   prepare   what becomes of scores before the loss sees them
//   absorb    the state of these classes alone, into an empty state
//   merge     two states
//   gradient  overwrites the tile with upstream times the derivative of the loss, from the state of all classes
#pragma once

#include "heads/task.hpp"
#include "isa/lanes.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

template <class T>
struct HeadTile {
  T* z;
  std::int64_t stride, first, count;
  const std::int32_t* label;
  const T* soft;                            // [class][16] or null
  const T *class_weight, *positive_weight;  // of these classes, or null
  const HeadParameters* parameters;
  T each;  // label smoothing's share of a class

  T* at(std::int64_t c) const { return z + c * stride; }
  T weight(std::int64_t c) const { return class_weight ? class_weight[c] : static_cast<T>(1); }

  // Calls use(row, class of the tile) for the rows whose class is one of these.
  template <class Use>
  void for_each_label(const Use& use) const {
    for (int i = 0; i < kLanes; ++i) {
      const std::int64_t c = label[i] - first;
      if (c >= 0 && c < count) use(i, c);
    }
  }
};

template <class T>
struct HeadLanes {  // of 16 rows
  Lane<T> upstream, lse_upstream, target_score;
};

template <class T>
struct HeadState {
  Lane<T> field[kHeadState] = {};
};

template <class T>
inline Lane<T> infinity() {
  return fill<T>(static_cast<T>(__builtin_inf()));
}

// exp(x) for x that are at most rounding above 0, NaN where x is: as `exponential`, but by Horner's rule, which takes half the
// instructions, and without clamping: where that would matter the result is 0.
template <class T>
inline Lane<T> falling_exponential(Lane<T> x) {
  using L = LaneTypes<T>;
  using Bits = typename L::Bits;
  constexpr double inverse_factorial[] = {
      1.0,        1.0,         1.0 / 2,      1.0 / 6,       1.0 / 24,       1.0 / 120,       1.0 / 720,
      1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
  Lane<T> n = x * static_cast<T>(1.4426950408889634074) + L::round_magic;
  const Bits power = reinterpret_cast<Bits>(n) << L::mantissa_bits;
  n -= L::round_magic;
  const Lane<T> r = x - n * L::ln2_high - n * L::ln2_low;
  Lane<T> series = fill<T>(static_cast<T>(inverse_factorial[L::exp_terms]));
#pragma GCC unroll 16
  for (int k = L::exp_terms - 1; k >= 0; --k) series = series * r + static_cast<T>(inverse_factorial[k]);
  const Lane<T> result = reinterpret_cast<Lane<T>>(reinterpret_cast<Bits>(series) + power);
  return x == x ? (x < L::exp_low ? fill<T>(0) : result) : x;
}

// tanh(x): for small x a quotient of polynomials (Cody and Waite's), else 1 - 2 / (exp(2x) + 1).
template <class T>
inline Lane<T> hyperbolic_tangent(Lane<T> x) {
  const Lane<T> size = x < 0 ? -x : x, square = x * x;
  const Lane<T> above =
      ((square * static_cast<T>(-9.64399179425052238628e-1) + static_cast<T>(-9.92877231001918586564e1)) * square +
       static_cast<T>(-1.61468768441708447952e3)) *
      square;
  const Lane<T> below =
      ((square + static_cast<T>(1.12811678491632931402e2)) * square + static_cast<T>(2.23548839060100448583e3)) * square +
      static_cast<T>(4.84406305325125486048e3);
  const Lane<T> far = static_cast<T>(1) - static_cast<T>(2) / (exponential<T>(size * static_cast<T>(2)) + static_cast<T>(1));
  const Lane<T> near = x + x * (above / below);
  return size < static_cast<T>(0.625) ? near : (x < 0 ? -far : (x == x ? far : x));
}

// The sum of term(c) over the classes of a tile, a few at a stretch: short sums round less.
template <class T, class Term>
inline Lane<T> sum_over(std::int64_t count, const Term& term) {
  constexpr std::int64_t kShort = 8;
  Lane<T> total = fill<T>(0);
  for (std::int64_t first = 0; first < count; first += kShort) {
    const std::int64_t last = first + kShort < count ? first + kShort : count;
    Lane<T> part = fill<T>(0);
    for (std::int64_t c = first; c < last; ++c) part += term(c);
    total += part;
  }
  return total;
}

// (max z, sum of exp(z - max z), sum of q w z, sum of q w).
template <class T>
struct SoftmaxHead {
  static HeadState<T> empty() {
    HeadState<T> state;
    state.field[0] = -infinity<T>();
    return state;
  }

  static void prepare(const HeadTile<T>& tile) {
    if (tile.parameters->softcap == 0) return;
    const T cap = static_cast<T>(tile.parameters->softcap), inverse = static_cast<T>(1 / tile.parameters->softcap);
    for (std::int64_t c = 0; c < tile.count; ++c) store(tile.at(c), hyperbolic_tangent<T>(load(tile.at(c)) * inverse) * cap);
  }

  // What to subtract before exp: 0 where all scores are -inf.
  static Lane<T> shift(Lane<T> top) { return top == -infinity<T>() ? fill<T>(0) : top; }

  static HeadState<T> absorb(const HeadTile<T>& tile, const HeadLanes<T>&) {
    HeadState<T> state = empty();
    const Lane<T> top = largest(tile), base = shift(top);
    Lane<T> weighted = fill<T>(0), mass = fill<T>(0);
    const Lane<T> total =
        sum_over<T>(tile.count, [&](std::int64_t c) { return falling_exponential<T>(load(tile.at(c)) - base); });
    if (tile.soft) {
      weighted = sum_over<T>(tile.count, [&](std::int64_t c) { return target(tile, c) * load(tile.at(c)); });
      mass = sum_over<T>(tile.count, [&](std::int64_t c) { return target(tile, c); });
    } else {
      if (tile.each != 0) {
        weighted = sum_over<T>(tile.count, [&](std::int64_t c) { return load(tile.at(c)) * tile.weight(c); }) * tile.each;
        mass = sum_over<T>(tile.count, [&](std::int64_t c) { return fill<T>(tile.weight(c)); }) * tile.each;
      }
      const T keep = static_cast<T>(1 - tile.parameters->label_smoothing);
      tile.for_each_label([&](int i, std::int64_t c) {
        weighted[i] += keep * tile.weight(c) * tile.at(c)[i];
        mass[i] += keep * tile.weight(c);
      });
    }
    state.field[0] = top;
    state.field[1] = total;
    state.field[2] = weighted;
    state.field[3] = mass;
    return state;
  }

  static void merge(HeadState<T>& state, const HeadState<T>& more) {
    const Lane<T> a = state.field[0], b = more.field[0], top = a > b ? a : (b == b ? b : a), base = shift(top);
    state.field[1] = state.field[1] * falling_exponential<T>(a - base) + more.field[1] * falling_exponential<T>(b - base);
    state.field[0] = top;
    state.field[2] += more.field[2];
    state.field[3] += more.field[3];
  }

  static void gradient(const HeadTile<T>& tile, const HeadLanes<T>& lanes, const HeadState<T>& state) {
    const HeadParameters& p = *tile.parameters;
    Lane<T> share = lanes.upstream * state.field[3];
    if (p.z_loss != 0) {
      const Lane<T> lse = state.field[0] + logarithm<T>(state.field[1]);
      share *= static_cast<T>(1) + static_cast<T>(2 * p.z_loss) * lse;
    }
    share = (share + lanes.lse_upstream) / state.field[1];
    const Lane<T> base = shift(state.field[0]);
    const T keep = static_cast<T>(1 - p.label_smoothing),
            inverse_cap = p.softcap != 0 ? static_cast<T>(1 / p.softcap) : static_cast<T>(0);
    const bool dense = tile.soft != nullptr || tile.each != 0;
    Lane<T> own_slope = fill<T>(1);
    if (p.softcap != 0 && !tile.soft)
      tile.for_each_label([&](int i, std::int64_t c) {
        const T u = tile.at(c)[i] * inverse_cap;
        own_slope[i] = static_cast<T>(1) - u * u;
      });
    for (std::int64_t c = 0; c < tile.count; ++c) {
      const Lane<T> z = load(tile.at(c));
      Lane<T> g = falling_exponential<T>(z - base) * share;
      if (dense) g -= lanes.upstream * (tile.soft ? target(tile, c) : fill<T>(tile.each * tile.weight(c)));
      if (p.softcap != 0) {
        const Lane<T> u = z * inverse_cap;
        g *= static_cast<T>(1) - u * u;
      }
      store(tile.at(c), g);
    }
    if (!tile.soft)
      tile.for_each_label(
          [&](int i, std::int64_t c) { tile.at(c)[i] -= lanes.upstream[i] * (keep * tile.weight(c)) * own_slope[i]; });
  }

 private:
  // NaN is left to the exponentials.
  static Lane<T> largest(const HeadTile<T>& tile) {
    constexpr int kChains = 4;  // one comparison need not wait for the one before
    Lane<T> top[kChains] = {-infinity<T>(), -infinity<T>(), -infinity<T>(), -infinity<T>()};
    std::int64_t c = 0;
    for (; c + kChains <= tile.count; c += kChains)
#pragma GCC unroll 4
      for (int k = 0; k < kChains; ++k) top[k] = maximum(load(tile.at(c + k)), top[k]);
    for (; c < tile.count; ++c) top[0] = maximum(load(tile.at(c)), top[0]);
    return maximum(maximum(top[0], top[1]), maximum(top[2], top[3]));
  }

  static Lane<T> target(const HeadTile<T>& tile, std::int64_t c) {
    return (load(tile.soft + c * kLanes) * static_cast<T>(1 - tile.parameters->label_smoothing) + tile.each) * tile.weight(c);
  }
};

// Sum over classes of w (log(1 + exp(z)) - y z), the share of the yes-answers times the class's positive weight.
template <class T>
struct BinaryHead {
  static HeadState<T> empty() { return {}; }
  static void prepare(const HeadTile<T>&) {}

  static HeadState<T> absorb(const HeadTile<T>& tile, const HeadLanes<T>&) {
    HeadState<T> state;
    state.field[0] = sum_over<T>(tile.count, [&](std::int64_t c) {
      const Lane<T> z = load(tile.at(c)), y = tile.soft ? load(tile.soft + c * kLanes) : fill<T>(0);
      return cost(z, soft_plus(z), y, positive(tile, c)) * tile.weight(c);
    });
    if (!tile.soft)
      tile.for_each_label([&](int i, std::int64_t c) {
        // The row was charged with "no" here: take that back.
        const Lane<T> z = load(tile.at(c)), more = soft_plus(z), w = fill<T>(tile.weight(c));
        state.field[0][i] +=
            ((cost(z, more, fill<T>(1), positive(tile, c)) - cost(z, more, fill<T>(0), positive(tile, c))) * w)[i];
      });
    return state;
  }

  static void merge(HeadState<T>& state, const HeadState<T>& more) { state.field[0] += more.field[0]; }

  static void gradient(const HeadTile<T>& tile, const HeadLanes<T>& lanes, const HeadState<T>&) {
    Lane<T> own = fill<T>(0);
    if (!tile.soft) tile.for_each_label([&](int i, std::int64_t c) { own[i] = tile.at(c)[i]; });
    for (std::int64_t c = 0; c < tile.count; ++c) {
      const Answer answer(load(tile.at(c)));
      Lane<T> slope = answer.yes;
      if (tile.soft) {
        const Lane<T> y = load(tile.soft + c * kLanes);
        slope = (static_cast<T>(1) - y) * answer.yes - y * answer.no * positive(tile, c);
      }
      store(tile.at(c), slope * lanes.upstream * tile.weight(c));
    }
    if (tile.soft) return;
    const Answer answer(own);
    tile.for_each_label(
        [&](int i, std::int64_t c) { tile.at(c)[i] = -answer.no[i] * positive(tile, c) * lanes.upstream[i] * tile.weight(c); });
  }

 private:
  struct Answer {  // sigmoid(z) and 1 - sigmoid(z), both without cancellation
    Lane<T> yes, no;
    explicit Answer(Lane<T> z) {
      const Lane<T> small = falling_exponential<T>(z < 0 ? z : -z), sure = static_cast<T>(1) / (static_cast<T>(1) + small);
      yes = z < 0 ? small * sure : sure;
      no = z < 0 ? sure : small * sure;
    }
  };
  static T positive(const HeadTile<T>& tile, std::int64_t c) {
    return tile.positive_weight ? tile.positive_weight[c] : static_cast<T>(1);
  }
  static Lane<T> soft_plus(Lane<T> z) {  // of -|z|
    const Lane<T> size = z < 0 ? -z : z;
    return log1p_unit<T>(falling_exponential<T>(-size));
  }
  // (1 - y) log(1 + exp z) + y p log(1 + exp -z).
  static Lane<T> cost(Lane<T> z, Lane<T> more, Lane<T> y, T p) {
    const Lane<T> up = (z < 0 ? fill<T>(0) : z) + more, down = (z < 0 ? -z : fill<T>(0)) + more;
    return (static_cast<T>(1) - y) * up + y * down * p;
  }
};

// Sum over classes of w (z - y)^2. What is kept of a score is z - y.
template <class T>
struct SquaredErrorHead {
  static HeadState<T> empty() { return {}; }

  static void prepare(const HeadTile<T>& tile) {
    if (!tile.soft) return tile.for_each_label([&](int i, std::int64_t c) { tile.at(c)[i] -= static_cast<T>(1); });
    for (std::int64_t c = 0; c < tile.count; ++c) store(tile.at(c), load(tile.at(c)) - load(tile.soft + c * kLanes));
  }

  static HeadState<T> absorb(const HeadTile<T>& tile, const HeadLanes<T>&) {
    HeadState<T> state;
    state.field[0] =
        sum_over<T>(tile.count, [&](std::int64_t c) { return load(tile.at(c)) * load(tile.at(c)) * tile.weight(c); });
    return state;
  }

  static void merge(HeadState<T>& state, const HeadState<T>& more) { state.field[0] += more.field[0]; }

  static void gradient(const HeadTile<T>& tile, const HeadLanes<T>& lanes, const HeadState<T>&) {
    for (std::int64_t c = 0; c < tile.count; ++c) store(tile.at(c), load(tile.at(c)) * lanes.upstream * (2 * tile.weight(c)));
  }
};

// m = z - z_y + margin; -inf in the column of the row's own class, which never counts.
template <class T>
inline Lane<T> head_margins(const HeadTile<T>& tile, const HeadLanes<T>& lanes) {
  tile.for_each_label([&](int i, std::int64_t c) { tile.at(c)[i] = -static_cast<T>(__builtin_inf()); });
  return static_cast<T>(tile.parameters->margin) - lanes.target_score;
}

// Weston-Watkins: (sum of max(0, m)^p, sum of its derivatives), p = 1 or 2.
template <class T, bool SQUARED>
struct HingeHead {
  static HeadState<T> empty() { return {}; }
  static void prepare(const HeadTile<T>&) {}

  static HeadState<T> absorb(const HeadTile<T>& tile, const HeadLanes<T>& lanes) {
    const Lane<T> offset = head_margins(tile, lanes);
    HeadState<T> state;
    state.field[0] = sum_over<T>(tile.count, [&](std::int64_t c) {
      const Lane<T> m = load(tile.at(c)) + offset, over = m < 0 ? fill<T>(0) : m;
      return SQUARED ? over * over : over;
    });
    state.field[1] = sum_over<T>(tile.count, [&](std::int64_t c) { return slope(load(tile.at(c)) + offset); });
    return state;
  }

  static void merge(HeadState<T>& state, const HeadState<T>& more) {
    state.field[0] += more.field[0];
    state.field[1] += more.field[1];
  }

  static void gradient(const HeadTile<T>& tile, const HeadLanes<T>& lanes, const HeadState<T>& state) {
    const Lane<T> offset = head_margins(tile, lanes);
    for (std::int64_t c = 0; c < tile.count; ++c) store(tile.at(c), slope(load(tile.at(c)) + offset) * lanes.upstream);
    tile.for_each_label([&](int i, std::int64_t c) { tile.at(c)[i] = -state.field[1][i] * lanes.upstream[i]; });
  }

 private:
  static Lane<T> slope(Lane<T> m) {
    if (SQUARED) return m < 0 ? fill<T>(0) : m + m;
    return m > 0 ? fill<T>(1) : fill<T>(0);
  }
};

// Crammer-Singer: (largest score of the other classes, the class that has it, the first of several).
template <class T>
struct CrammerSingerHead {
  static HeadState<T> empty() {
    HeadState<T> state;
    state.field[0] = -infinity<T>();
    state.field[1] = infinity<T>();
    return state;
  }
  static void prepare(const HeadTile<T>&) {}

  static HeadState<T> absorb(const HeadTile<T>& tile, const HeadLanes<T>& lanes) {
    head_margins(tile, lanes);
    HeadState<T> state = empty();
    for (std::int64_t c = 0; c < tile.count; ++c) {
      const Lane<T> z = load(tile.at(c));
      const auto larger = z > state.field[0];
      state.field[1] = larger ? fill<T>(static_cast<T>(tile.first + c)) : state.field[1];
      state.field[0] = larger ? z : (z == z ? state.field[0] : z);
    }
    return state;
  }

  static void merge(HeadState<T>& state, const HeadState<T>& more) {
    const auto larger = more.field[0] > state.field[0];
    const auto unknown = more.field[0] != more.field[0];
    state.field[1] = larger ? more.field[1] : state.field[1];
    state.field[0] = larger ? more.field[0] : (unknown ? more.field[0] : state.field[0]);
  }

  static void gradient(const HeadTile<T>& tile, const HeadLanes<T>& lanes, const HeadState<T>& state) {
    const Lane<T> over = state.field[0] - lanes.target_score + static_cast<T>(tile.parameters->margin);
    const Lane<T> size = over > 0 ? lanes.upstream : fill<T>(0);
    for (std::int64_t c = 0; c < tile.count; ++c)
      store(tile.at(c), state.field[1] == static_cast<T>(tile.first + c) ? size : fill<T>(0));
    tile.for_each_label([&](int i, std::int64_t c) { tile.at(c)[i] = -size[i]; });
  }
};

// A loss as a table of functions, so that the loops over tiles are compiled once and not once a loss.
template <class T>
struct HeadLoss {
  HeadState<T> (*empty)();
  void (*prepare)(const HeadTile<T>&);
  void (*absorb)(const HeadTile<T>&, const HeadLanes<T>&, HeadState<T>&);  // the classes of the tile into a state
  void (*merge)(HeadState<T>&, const HeadState<T>&);
  void (*gradient)(const HeadTile<T>&, const HeadLanes<T>&, const HeadState<T>&);
};

template <class T, class Loss>
inline void absorb_into(const HeadTile<T>& tile, const HeadLanes<T>& lanes, HeadState<T>& state) {
  Loss::merge(state, Loss::absorb(tile, lanes));
}

template <class T, class Loss>
inline const HeadLoss<T>& table_of_loss() {
  static constexpr HeadLoss<T> table{Loss::empty, Loss::prepare, absorb_into<T, Loss>, Loss::merge, Loss::gradient};
  return table;
}

template <class T>
inline const HeadLoss<T>& head_loss(LossName name) {
  switch (name) {
    case LossName::binary:
      return table_of_loss<T, BinaryHead<T>>();
    case LossName::hinge:
      return table_of_loss<T, HingeHead<T, false>>();
    case LossName::squared_hinge:
      return table_of_loss<T, HingeHead<T, true>>();
    case LossName::crammer_singer:
      return table_of_loss<T, CrammerSingerHead<T>>();
    case LossName::squared_error:
      return table_of_loss<T, SquaredErrorHead<T>>();
    default:
      return table_of_loss<T, SoftmaxHead<T>>();  // the bindings let no quadratic pass
  }
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
