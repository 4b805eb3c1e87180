// The softmax loss of rows of scores as they lie: lanes run over classes.
//
// A row is read from memory once: its exponentials, each relative to the largest score of its stretch, wait in the
// cache until their sum is known. The gradient goes past the cache where it has a place of its own.
#pragma once

#if defined(CROSSHEAD_X86) && CROSSHEAD_VECTOR_BYTES == 64
#include <immintrin.h>
#endif

#include "heads/losses.hpp"
#include "heads/score_task.hpp"
#include "isa/numbers.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

constexpr std::int64_t kStretch = 1024;
constexpr std::int64_t kFetched = 32 * kStretch;  // scores of the next row that are fetched while a row is written

template <class T>
inline T largest_of(Lane<T> v) {
  T top = v[0];
  for (int i = 1; i < kLanes; ++i) top = v[i] > top || v[i] != v[i] ? v[i] : top;
  return top;
}

// 16 numbers, or fewer and then `rest`.
template <class T, class S>
inline Lane<T> load_lanes(const S* from, std::int64_t count, T rest) {
  if constexpr (__is_same(S, T)) {
    if (count >= kLanes) return load(from);
  } else {
    if (count >= kLanes) return widen_lanes(from);
  }
  Lane<T> v = fill<T>(rest);
  for (int i = 0; i < count; ++i) v[i] = widen(from[i]);
  return v;
}

template <class T, class S>
inline void store_lanes(S* to, std::int64_t count, Lane<T> v, bool past_cache) {
  if (count < kLanes) {
    for (int i = 0; i < count; ++i) narrow(v[i], to[i]);
    return;
  }
#if defined(CROSSHEAD_X86) && CROSSHEAD_VECTOR_BYTES == 64
  if constexpr (__is_same(S, float)) {
    if (past_cache) return _mm512_stream_ps(to, (__m512)v);
  }
#endif
  (void)past_cache;
  if constexpr (__is_same(S, T)) store(to, v);
  else narrow_lanes(v, to);
}

template <class T, class S>
struct ScoreRow {
  const ScoreTask& task;
  std::int64_t row;
  const S* z;
  const S* next;  // the row after it, or itself
  const T* soft;
  const T* class_weight;
  T each, keep;
  std::int64_t label;
  bool plain;  // scores as they are, no target but the row's class

  ScoreRow(const ScoreTask& t, std::int64_t i) : task(t), row(i) {
    z = static_cast<const S*>(t.scores) + i * t.stride;
    next = i + 1 < t.rows ? z + t.stride : z;
    soft = t.soft_target ? static_cast<const T*>(t.soft_target) + i * t.soft_stride : nullptr;
    class_weight = static_cast<const T*>(t.class_weight);
    each = static_cast<T>(t.parameters.label_smoothing / static_cast<double>(t.classes));
    keep = static_cast<T>(1 - t.parameters.label_smoothing);
    label = t.labels && t.labels[i] >= 0 && t.labels[i] < t.classes ? t.labels[i] : -1;
    plain = !soft && each == 0 && t.parameters.softcap == 0;
  }

  Lane<T> scores(std::int64_t c, std::int64_t count) const {
    const Lane<T> v = load_lanes<T>(z + c, count, -static_cast<T>(__builtin_inf()));
    if (task.parameters.softcap == 0) return v;
    const T cap = static_cast<T>(task.parameters.softcap);
    const Lane<T> capped = hyperbolic_tangent<T>(v / cap) * cap;
    return v == -infinity<T>() && count < kLanes ? v : capped;
  }

  T weight(std::int64_t c) const { return class_weight ? class_weight[c] : static_cast<T>(1); }

  // What the classes have of the target, but for the row's own.
  Lane<T> target(std::int64_t c, std::int64_t count) const {
    Lane<T> q = soft ? load_lanes<T>(soft + c, count, static_cast<T>(0)) * keep + each : fill<T>(each);
    if (class_weight) q *= load_lanes<T>(class_weight + c, count, static_cast<T>(0));
    if (count < kLanes)
      for (int i = static_cast<int>(count); i < kLanes; ++i) q[i] = 0;
    return q;
  }
};

template <class T>
struct ScoreScratch {
  T* powers;  // exponentials of a row, stretch by stretch
  T* tops;    // the largest score of each stretch
  static std::int64_t stretches(std::int64_t classes) { return classes / kStretch + 1; }
  ScoreScratch(const ScoreTask& task, void* memory)
      : powers(static_cast<T*>(memory)), tops(static_cast<T*>(memory) + (task.classes + 2 * kLanes)) {}
  static std::int64_t bytes(const ScoreTask& task) {
    return (task.classes + 2 * kLanes + stretches(task.classes)) * static_cast<std::int64_t>(sizeof(T));
  }
};

// Calls use(first class, one past the last) for the stretches of a row.
template <class Use>
inline void for_each_stretch(std::int64_t classes, const Use& use) {
  for (std::int64_t c = 0; c < classes; c += kStretch) use(c, c + kStretch < classes ? c + kStretch : classes);
}

// How many numbers before one that begins a vector in memory.
template <class S>
inline std::int64_t lanes_to_boundary(const S* to) {
  const std::int64_t past = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(to) % 64 / sizeof(S)) % kLanes;
  return past ? kLanes - past : 0;
}

// Calls use(first class, how many, whether `to` is aligned there) for the vectors of a stretch.
template <class S, class Use>
inline void for_each_vector(const S* to, std::int64_t first, std::int64_t last, const Use& use) {
  std::int64_t c = first, head = lanes_to_boundary(to + first);
  head = head < last - first ? head : last - first;
  if (head) use(c, head, false);
  c += head;
  for (; c < last; c += kLanes) use(c, last - c, true);
}

// The largest score of a stretch; NaN is left to the exponentials.
template <class T, class S>
inline T top_of_stretch(const ScoreRow<T, S>& row, std::int64_t first, std::int64_t last) {
  constexpr int kChains = 4;
  Lane<T> top[kChains] = {-infinity<T>(), -infinity<T>(), -infinity<T>(), -infinity<T>()};
  std::int64_t c = first;
  if (row.plain)
    for (; c + kChains * kLanes <= last; c += kChains * kLanes)
#pragma GCC unroll 4
      for (int k = 0; k < kChains; ++k)
        top[k] = maximum(load_lanes<T>(row.z + c + k * kLanes, kLanes, static_cast<T>(0)), top[k]);
  for (; c < last; c += kLanes) top[0] = maximum(row.scores(c, last - c), top[0]);
  return largest_of<T>(maximum(maximum(top[0], top[1]), maximum(top[2], top[3])));
}

// The sum of exp(z - base) over a stretch, kept in `powers` where that is not null.
template <class T, class S>
inline T powers_of_stretch(const ScoreRow<T, S>& row, std::int64_t first, std::int64_t last, T base, T* powers) {
  Lane<T> sum = fill<T>(0);
  std::int64_t c = first;
  if (row.plain && powers) {
#pragma GCC unroll 2
    for (; c + kLanes <= last; c += kLanes) {
      __builtin_prefetch(row.z + c + kStretch);
      const Lane<T> power = falling_exponential<T>(load_lanes<T>(row.z + c, kLanes, static_cast<T>(0)) - base);
      sum += power;
      store(powers + c, power);
    }
  }
  for (; c < last; c += kLanes) {
    const Lane<T> power = falling_exponential<T>(row.scores(c, last - c) - base);
    sum += power;
    if (powers) store_lanes<T>(powers + c, last - c, power, false);
  }
  return sum_of<T>(sum);
}

template <class T, class S>
inline HeadState<T> take_in(const ScoreRow<T, S>& row, const ScoreScratch<T>* keep) {
  const T low = -static_cast<T>(__builtin_inf());
  T top = low, total = 0;
  Lane<T> weighted = fill<T>(0), mass = fill<T>(0);
  std::int64_t stretch = 0;
  for_each_stretch(row.task.classes, [&](std::int64_t first, std::int64_t last) {
    const T local = top_of_stretch(row, first, last), base = local == low ? static_cast<T>(0) : local;
    const T more = powers_of_stretch(row, first, last, base, keep ? keep->powers : nullptr);
    if (keep) keep->tops[stretch++] = local;
    if (!row.plain)
      for (std::int64_t c = first; c < last; c += kLanes) {
        const Lane<T> q = row.target(c, last - c);
        weighted += q != 0 ? q * row.scores(c, last - c) : fill<T>(0);
        mass += q;
      }
    if (local > top) {
      total = total * (top == low ? static_cast<T>(0) : falling_exponential<T>(fill<T>(top - base))[0]) + more;
      top = local;
    } else {
      total += local == low ? more : more * falling_exponential<T>(fill<T>(local - top))[0];
    }
  });
  HeadState<T> state;
  state.field[0][0] = top;
  state.field[1][0] = total;
  state.field[2][0] = sum_of<T>(weighted);
  state.field[3][0] = sum_of<T>(mass);
  if (row.label >= 0 && !row.soft) {
    const T own = row.scores(row.label, 1)[0], q = row.keep * row.weight(row.label);
    state.field[2][0] += q * own;
    state.field[3][0] += q;
  }
  return state;
}

// Powers times a factor, the next row being fetched meanwhile.
template <class T, class S>
inline void store_scaled(const T* powers, std::int64_t first, std::int64_t last, T factor, S* out, bool past_cache,
                         const S* next) {
  std::int64_t c = first, head = lanes_to_boundary(out + first);
  head = head < last - first ? head : last - first;
  if (head) store_lanes<T>(out + c, head, load_lanes<T>(powers + c, head, static_cast<T>(0)) * factor, false);
  for (c += head; c + kLanes <= last; c += kLanes) {
    __builtin_prefetch(next + (c < kFetched ? c : 0));
    store_lanes<T>(out + c, kLanes, load(powers + c) * factor, past_cache);
  }
  if (c < last) store_lanes<T>(out + c, last - c, load_lanes<T>(powers + c, last - c, static_cast<T>(0)) * factor, false);
}

template <class T, class S>
inline void give_back(const ScoreRow<T, S>& row, const T* state, std::int64_t apart, T upstream, T lse_upstream, S* out,
                      const ScoreScratch<T>* kept) {
  const ScoreTask& task = row.task;
  const HeadParameters& p = task.parameters;
  const bool past_cache = static_cast<const void*>(out) != static_cast<const void*>(row.z);
  if (upstream == 0 && lse_upstream == 0) {
    for_each_vector(out, 0, task.classes, [&](std::int64_t c, std::int64_t count, bool aligned) {
      store_lanes<T>(out + c, count, fill<T>(0), past_cache && aligned);
    });
    return;
  }
  const T top = state[0], total = state[apart], infinite = static_cast<T>(__builtin_inf());
  T share = upstream * state[3 * apart];
  if (p.z_loss != 0) share *= static_cast<T>(1) + static_cast<T>(2 * p.z_loss) * (top + logarithm<T>(fill<T>(total))[0]);
  share = (share + lse_upstream) / total;
  const T base = top == -infinite ? static_cast<T>(0) : top;
  // The row's own class is worked out apart, before scores may be overwritten.
  const T cap = static_cast<T>(p.softcap), own_score = row.label >= 0 ? row.scores(row.label, 1)[0] : static_cast<T>(0);
  std::int64_t stretch = 0;
  for_each_stretch(task.classes, [&](std::int64_t first, std::int64_t last) {
    const T factor = kept ? share * falling_exponential<T>(fill<T>(kept->tops[stretch++] - base))[0] : share;
    if (row.plain && kept) return store_scaled<T>(kept->powers, first, last, factor, out, past_cache, row.next);
    for_each_vector(out, first, last, [&](std::int64_t c, std::int64_t count, bool aligned) {
      Lane<T> g = kept ? load_lanes<T>(kept->powers + c, count, static_cast<T>(0)) * factor
                       : falling_exponential<T>(row.scores(c, count) - base) * factor;
      if (!row.plain) {
        g -= row.target(c, count) * upstream;
        if (p.softcap != 0) {
          const Lane<T> u = row.scores(c, count) / cap;
          g *= static_cast<T>(1) - u * u;
        }
      }
      store_lanes<T>(out + c, count, g, past_cache && aligned);
    });
  });
  if (row.label >= 0 && !row.soft) {
    T g = falling_exponential<T>(fill<T>(own_score - base))[0] * share - row.keep * row.weight(row.label) * upstream;
    if (row.each != 0) g -= row.each * row.weight(row.label) * upstream;
    if (p.softcap != 0) g *= static_cast<T>(1) - (own_score / cap) * (own_score / cap);
    narrow(g, out[row.label]);
  }
}

template <class T, class S>
inline void score_rows(const ScoreTask& task, std::int64_t first, std::int64_t last, void* memory) {
  const ScoreScratch<T> scratch(task, memory);
  for (std::int64_t i = first; i < last; ++i) {
    const ScoreRow<T, S> row(task, i);
    S* out = task.gradient ? static_cast<S*>(task.gradient) + i * task.classes : nullptr;
    T* state = static_cast<T*>(task.state) + i;
    const ScoreScratch<T>* keep = out && !task.state_known ? &scratch : nullptr;
    if (!task.state_known) {
      const HeadState<T> found = take_in<T, S>(row, keep);
      for (int k = 0; k < kHeadState; ++k) state[k * task.rows] = found.field[k][0];
    }
    if (out)
      give_back<T, S>(row, state, task.rows, static_cast<const T*>(task.upstream)[i],
                      task.lse_upstream ? static_cast<const T*>(task.lse_upstream)[i] : static_cast<T>(0), out, keep);
  }
#if defined(CROSSHEAD_X86) && CROSSHEAD_VECTOR_BYTES == 64
  _mm_sfence();
#endif
}

inline ScoreKernels make_score_kernels() {
  ScoreKernels table;
  table.scratch = [](const ScoreTask& task) {
    return task.number == Number::float64 ? ScoreScratch<double>::bytes(task) : ScoreScratch<float>::bytes(task);
  };
  table.rows = [](const ScoreTask& task, std::int64_t first, std::int64_t last, void* scratch) {
    visit_number(task.number, [&](auto kind) {
      using S = decltype(kind);
      score_rows<decltype(widen(S{})), S>(task, first, last, scratch);
    });
  };
  return table;
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
