// What a score costs: each loss as one small struct that turns a tile of scores into residuals.
//
// A struct is called with a tile of 16 rows (see lanes.hpp), overwrites the scores with the gradient of the loss
// with respect to them, and returns for each row
//   loss       l(z)
//   surrogate  the smoothed loss whose gradient was written (the same number where there is no smoothing)
//   dual       -l*(r), the negative conjugate at the residual r that was written
// The reference implementations are src/crosshead/losses/*.py. To add a loss: write its struct, add it to `visit_epilogue`.
#pragma once

#include "isa/lanes.hpp"
#include "pass/task.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

template <class T>
struct TileSums {
  Lane<T> loss, surrogate, dual;
};

// The targets of a tile: a class index for each row (label < 0: no class), or soft[c * 16 + row].
template <class T>
struct TileTarget {
  const std::int32_t* label;
  const T* soft;
};

template <class T>
inline Lane<T> scores_of_labels(const T* z, const std::int32_t* label) {
  Lane<T> result = fill<T>(0);
  for (int i = 0; i < kLanes; ++i)
    if (label[i] >= 0) result[i] = z[static_cast<std::int64_t>(label[i]) * kLanes + i];
  return result;
}

template <class T>
inline void add_at_labels(T* z, const std::int32_t* label, Lane<T> amount) {
  for (int i = 0; i < kLanes; ++i)
    if (label[i] >= 0) z[static_cast<std::int64_t>(label[i]) * kLanes + i] += amount[i];
}

template <class T>
inline void set_at_labels(T* z, const std::int32_t* label, Lane<T> amount) {
  for (int i = 0; i < kLanes; ++i)
    if (label[i] >= 0) z[static_cast<std::int64_t>(label[i]) * kLanes + i] = amount[i];
}

// log sum exp(z) - <y, z>; r = p - y; -l*(r) = entropy of p.
template <class T>
struct Softmax {
  static TileSums<T> run(T* z, std::int64_t classes, TileTarget<T> target, const LossParameters& parameters) {
    const T keep = static_cast<T>(1 - parameters.label_smoothing);
    const T spread = static_cast<T>(parameters.label_smoothing / static_cast<double>(classes));
    const bool dense_target = target.soft != nullptr || spread != 0;
    Lane<T> top = load(z);
    for (std::int64_t c = 1; c < classes; ++c) top = maximum(top, load(z + c * kLanes));
    Lane<T> target_score = fill<T>(0);  // <y, z - top>
    if (target.soft == nullptr) target_score = (scores_of_labels(z, target.label) - top) * keep;
    Lane<T> total = fill<T>(0), moment = fill<T>(0);
    for (std::int64_t c = 0; c < classes; ++c) {
      const Lane<T> shifted = load(z + c * kLanes) - top;
      const Lane<T> e = exponential<T>(shifted);
      total += e;
      moment += e * shifted;
      if (dense_target) {
        if (target.soft) target_score += (load(target.soft + c * kLanes) * keep + spread) * shifted;
        else target_score += shifted * spread;
      }
      store(z + c * kLanes, e);
    }
    const Lane<T> inverse = static_cast<T>(1) / total;
    for (std::int64_t c = 0; c < classes; ++c) {
      Lane<T> p = load(z + c * kLanes) * inverse;
      if (dense_target) p -= target.soft ? load(target.soft + c * kLanes) * keep + spread : fill<T>(spread);
      store(z + c * kLanes, p);
    }
    if (target.soft == nullptr) add_at_labels(z, target.label, fill<T>(-keep));
    const Lane<T> log_total = logarithm<T>(total);
    const Lane<T> loss = log_total - target_score;
    return {loss, loss, log_total - moment * inverse};
  }
};

// sum log(1 + exp(z)) - y z; r = sigmoid(z) - y; -l*(r) = the binary entropies.
template <class T>
struct Binary {
  static TileSums<T> run(T* z, std::int64_t classes, TileTarget<T> target, const LossParameters&) {
    Lane<T> loss = fill<T>(0), entropy = fill<T>(0);
    if (target.soft == nullptr) loss -= scores_of_labels(z, target.label);
    for (std::int64_t c = 0; c < classes; ++c) {
      const Lane<T> score = load(z + c * kLanes);
      const Lane<T> size = where_less(score, fill<T>(0), -score, score);
      const Lane<T> small = exponential<T>(-size);
      const Lane<T> soft_plus = log1p_unit<T>(small);
      const Lane<T> sure = static_cast<T>(1) / (static_cast<T>(1) + small);
      loss += maximum(fill<T>(0), score) + soft_plus;
      entropy += soft_plus + size * (small * sure);
      Lane<T> residual = where_less(score, fill<T>(0), small * sure, sure);
      if (target.soft) {
        const Lane<T> y = load(target.soft + c * kLanes);
        loss -= y * score;
        residual -= y;
      }
      store(z + c * kLanes, residual);
    }
    if (target.soft == nullptr) add_at_labels(z, target.label, fill<T>(-1));
    return {loss, loss, entropy};
  }
};

// |z - y|^2; r = 2 (z - y); -l*(r) = -|r|^2 / 4 - <r, y>.
template <class T>
struct SquaredError {
  static TileSums<T> run(T* z, std::int64_t classes, TileTarget<T> target, const LossParameters&) {
    Lane<T> loss = fill<T>(0), along_target = fill<T>(0);
    if (target.soft == nullptr) {
      add_at_labels(z, target.label, fill<T>(-1));
      along_target = scores_of_labels(z, target.label) * static_cast<T>(2);
    }
    for (std::int64_t c = 0; c < classes; ++c) {
      Lane<T> difference = load(z + c * kLanes);
      if (target.soft) {
        const Lane<T> y = load(target.soft + c * kLanes);
        difference -= y;
        along_target += difference * y * static_cast<T>(2);
      }
      loss += difference * difference;
      store(z + c * kLanes, difference * static_cast<T>(2));
    }
    return {loss, loss, -loss - along_target};
  }
};

// Prepares the margins of a hinge: the target's own score is taken away and put so low that it never counts.
template <class T>
inline Lane<T> begin_margins(T* z, TileTarget<T> target, const LossParameters& parameters) {
  const Lane<T> offset = static_cast<T>(parameters.margin) - scores_of_labels(z, target.label);
  set_at_labels(z, target.label, fill<T>(static_cast<T>(-1e30)));
  return offset;
}

// Weston-Watkins: sum over j != y of max(0, m_j), m_j = z_j - z_y + margin; each hinge smoothed over a width mu.
template <class T>
struct Hinge {
  static TileSums<T> run(T* z, std::int64_t classes, TileTarget<T> target, const LossParameters& parameters) {
    const Lane<T> offset = begin_margins(z, target, parameters);
    const T mu = static_cast<T>(parameters.smoothing);
    const T inverse = mu > 0 ? static_cast<T>(1 / parameters.smoothing) : static_cast<T>(0);
    const Lane<T> zero = fill<T>(0), one = fill<T>(1);
    Lane<T> loss = zero, surrogate = zero, total = zero;
    for (std::int64_t c = 0; c < classes; ++c) {
      const Lane<T> m = load(z + c * kLanes) + offset;
      const Lane<T> r = mu > 0 ? minimum(maximum(m * inverse, zero), one) : where_less(zero, m, one, zero);
      loss += maximum(zero, m);
      surrogate += where_less(zero, r, r * (m - r * (mu / 2)), zero);
      total += r;
      store(z + c * kLanes, r);
    }
    set_at_labels(z, target.label, -total);
    return {loss, surrogate, total * static_cast<T>(parameters.margin)};
  }
};

// Sum over j != y of max(0, m_j)^2; -l*(r) = sum margin r_j - r_j^2 / 4.
template <class T>
struct SquaredHinge {
  static TileSums<T> run(T* z, std::int64_t classes, TileTarget<T> target, const LossParameters& parameters) {
    const Lane<T> offset = begin_margins(z, target, parameters);
    const Lane<T> zero = fill<T>(0);
    Lane<T> loss = zero, total = zero;
    for (std::int64_t c = 0; c < classes; ++c) {
      const Lane<T> m = maximum(zero, load(z + c * kLanes) + offset);
      loss += m * m;
      total += m * static_cast<T>(2);
      store(z + c * kLanes, m * static_cast<T>(2));
    }
    set_at_labels(z, target.label, -total);
    return {loss, loss, total * static_cast<T>(parameters.margin) - loss};
  }
};

// Crammer-Singer: max(0, max over j != y of m_j). Smoothed: r is the projection of m / mu on {r >= 0, sum r <= 1}.
template <class T>
struct CrammerSinger {
  static TileSums<T> run(T* z, std::int64_t classes, TileTarget<T> target, const LossParameters& parameters) {
    const Lane<T> offset = begin_margins(z, target, parameters);
    Lane<T> top = load(z) + offset;
    Lane<T> unknown = top - top;  // 0, or NaN where a margin is no number, which a maximum would pass over
    for (std::int64_t c = 1; c < classes; ++c) {
      const Lane<T> m = load(z + c * kLanes) + offset;
      unknown += m - m;
      top = maximum(top, m);
    }
    const TileSums<T> sums =
        parameters.smoothing > 0 ? smooth(z, classes, offset, top, parameters) : sharp(z, classes, offset, top);
    const Lane<T> total = sums.dual;
    set_at_labels(z, target.label, -total);
    return {maximum(top, fill<T>(0)) + unknown, sums.surrogate, total * static_cast<T>(parameters.margin)};
  }

 private:
  // Both return the sum of the residuals in `dual`.
  static TileSums<T> sharp(T* z, std::int64_t classes, Lane<T> offset, Lane<T> top) {
    Lane<T> open = top > 0 ? fill<T>(1) : fill<T>(0);  // lanes whose largest margin has not been met yet
    const Lane<T> total = open;
    for (std::int64_t c = 0; c < classes; ++c) {
      const Lane<T> m = load(z + c * kLanes) + offset;
      const Lane<T> r = in_parts([](auto here, auto most, auto yes) { return here >= most ? yes : yes - yes; }, m, top, open);
      open -= r;
      store(z + c * kLanes, r);
    }
    return {fill<T>(0), maximum(top, fill<T>(0)), total};
  }

  static TileSums<T> smooth(T* z, std::int64_t classes, Lane<T> offset, Lane<T> top, const LossParameters& parameters) {
    const T mu = static_cast<T>(parameters.smoothing);
    const T inverse = static_cast<T>(1 / parameters.smoothing);
    const Lane<T> zero = fill<T>(0), one = fill<T>(1);
    // Newton's method from the left on sum max(0, u_j - threshold) = 1, convex and piecewise linear: it ends. The u_j
    // are (m_j - top) / mu and not m_j / mu, which would lose the digits that matter where mu is small.
    Lane<T> threshold = maximum(-top * inverse, -one);
    const auto over = [&](std::int64_t c) { return ((load(z + c * kLanes) + offset) - top) * inverse - threshold; };
    for (int step = 0; step < 64; ++step) {
      Lane<T> total = zero, count = zero;
      for (std::int64_t c = 0; c < classes; ++c) {
        const Lane<T> u = over(c);
        total += maximum(u, zero);
        count += where_less(zero, u, one, zero);
      }
      const Lane<T> excess = total - one;
      const Lane<T> move = where_less(zero, excess, excess / maximum(count, one), zero);
      const Lane<T> next = threshold + move;
      bool moved = false;
      for (int i = 0; i < kLanes; ++i) moved |= next[i] > threshold[i];
      threshold = next;
      if (!moved) break;
    }
    Lane<T> total = zero;
    for (std::int64_t c = 0; c < classes; ++c) total += maximum(over(c), zero);
    const Lane<T> shrink = one / maximum(total, one);  // rounding must not leave the simplex
    Lane<T> surrogate = zero;
    total = zero;
    for (std::int64_t c = 0; c < classes; ++c) {
      const Lane<T> m = load(z + c * kLanes) + offset;
      const Lane<T> r = maximum(over(c), zero) * shrink;
      surrogate += where_less(zero, r, r * (m - r * (mu / 2)), zero);
      total += r;
      store(z + c * kLanes, r);
    }
    return {zero, surrogate, total};
  }
};

// v'Hv / 2 with H = diag a - a a' / sum a for coefficients a in place of the target; r = H v.
template <class T>
struct CentredQuadratic {
  static TileSums<T> run(T* z, std::int64_t classes, TileTarget<T> target, const LossParameters&) {
    Lane<T> total = fill<T>(0), moment = fill<T>(0);
    for (std::int64_t c = 0; c < classes; ++c) {
      const Lane<T> a = load(target.soft + c * kLanes);
      total += a;
      moment += a * load(z + c * kLanes);
    }
    const Lane<T> mean = moment / maximum(total, fill<T>(static_cast<T>(1e-30)));
    Lane<T> value = fill<T>(0);
    for (std::int64_t c = 0; c < classes; ++c) {
      const Lane<T> centred = load(z + c * kLanes) - mean;
      const Lane<T> product = load(target.soft + c * kLanes) * centred;
      value += product * centred;
      store(z + c * kLanes, product);
    }
    value *= static_cast<T>(0.5);
    return {value, value, fill<T>(0)};
  }
};

// v'Hv / 2 with H = diag a.
template <class T>
struct DiagonalQuadratic {
  static TileSums<T> run(T* z, std::int64_t classes, TileTarget<T> target, const LossParameters&) {
    Lane<T> value = fill<T>(0);
    for (std::int64_t c = 0; c < classes; ++c) {
      const Lane<T> score = load(z + c * kLanes);
      const Lane<T> product = load(target.soft + c * kLanes) * score;
      value += product * score;
      store(z + c * kLanes, product);
    }
    value *= static_cast<T>(0.5);
    return {value, value, fill<T>(0)};
  }
};

// v'Hv / 2 with H = sum over j of a_j (e_j - e_y)(e_j - e_y)'; y is the column whose coefficient is negative.
template <class T>
struct StarQuadratic {
  static TileSums<T> run(T* z, std::int64_t classes, TileTarget<T> target, const LossParameters&) {
    const Lane<T> zero = fill<T>(0);
    Lane<T> own = zero;
    for (std::int64_t c = 0; c < classes; ++c)
      own += where_less(load(target.soft + c * kLanes), zero, load(z + c * kLanes), zero);
    Lane<T> value = zero, total = zero;
    for (std::int64_t c = 0; c < classes; ++c) {
      const Lane<T> difference = load(z + c * kLanes) - own;
      const Lane<T> product = maximum(load(target.soft + c * kLanes), zero) * difference;
      value += product * difference;
      total += product;
      store(z + c * kLanes, product);
    }
    for (std::int64_t c = 0; c < classes; ++c)
      store(z + c * kLanes, where_less(load(target.soft + c * kLanes), zero, -total, load(z + c * kLanes)));
    value *= static_cast<T>(0.5);
    return {value, value, zero};
  }
};

template <class T, class Use>
inline void visit_epilogue(LossName name, const Use& use) {
  switch (name) {
    case LossName::softmax:
      return use(Softmax<T>{});
    case LossName::binary:
      return use(Binary<T>{});
    case LossName::hinge:
      return use(Hinge<T>{});
    case LossName::squared_hinge:
      return use(SquaredHinge<T>{});
    case LossName::crammer_singer:
      return use(CrammerSinger<T>{});
    case LossName::squared_error:
      return use(SquaredError<T>{});
    case LossName::centred_quadratic:
      return use(CentredQuadratic<T>{});
    case LossName::diagonal_quadratic:
      return use(DiagonalQuadratic<T>{});
    case LossName::star_quadratic:
      return use(StarQuadratic<T>{});
  }
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
