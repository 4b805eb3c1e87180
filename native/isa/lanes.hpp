// Sixteen rows at a time: the vector type that every loss is written in, and the few functions it needs.
//
// A tile holds the scores of 16 rows, class by class: tile[c * 16 + row]. A lane vector is one class of a tile.
// The compiler splits it into whatever registers the machine has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace crosshead {
namespace CROSSHEAD_ISA {

constexpr int kLanes = 16;

template <class T>
struct LaneTypes;
template <>
struct LaneTypes<float> {
  typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
  typedef std::int32_t Integer __attribute__((vector_size(kLanes * sizeof(float))));
  typedef std::uint32_t Bits __attribute__((vector_size(kLanes * sizeof(float))));  // whose sums may wrap
  static constexpr int mantissa_bits = 23;
  static constexpr std::int32_t exponent_of_one = 127;
  static constexpr float round_magic = 12582912.0f;  // 1.5 * 2^23
  static constexpr float exp_low = -87.0f, exp_high = 88.0f;
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr int exp_terms = 7, atanh_terms = 6, log1p_terms = 8;
};
template <>
struct LaneTypes<double> {
  typedef double Vector __attribute__((vector_size(kLanes * sizeof(double))));
  typedef std::int64_t Integer __attribute__((vector_size(kLanes * sizeof(double))));
  typedef std::uint64_t Bits __attribute__((vector_size(kLanes * sizeof(double))));
  static constexpr int mantissa_bits = 52;
  static constexpr std::int64_t exponent_of_one = 1023;
  static constexpr double round_magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double exp_low = -708.0, exp_high = 709.0;
  static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  static constexpr int exp_terms = 13, atanh_terms = 12, log1p_terms = 17;
};

template <class T>
using Lane = typename LaneTypes<T>::Vector;

template <class T>
inline Lane<T> fill(T value) {
  return Lane<T>{} + value;
}

// Buffers are allocated on 64-byte boundaries; a tile row of doubles is 128 bytes and so need not be aligned to
// its own size.
template <class T>
struct Unaligned {
  typedef T Vector __attribute__((vector_size(kLanes * sizeof(T)), aligned(sizeof(T)), may_alias));
};

template <class T>
inline Lane<T> load(const T* p) {
  return *reinterpret_cast<const typename Unaligned<T>::Vector*>(p);
}

template <class T>
inline void store(T* p, Lane<T> v) {
  *reinterpret_cast<typename Unaligned<T>::Vector*>(p) = v;
}

template <class T>
inline T sum_of(Lane<T> v) {
  T total = 0;
  for (int i = 0; i < kLanes; ++i) total += v[i];
  return total;
}

// use(a, ...) register by register: of a vector wider than those, compilers choose number by number.
#if defined(__AVX512F__)
constexpr int kPartBytes = 64;
#elif defined(__AVX2__)
constexpr int kPartBytes = 32;
#else
constexpr int kPartBytes = 16;
#endif

template <class T>
struct Part {
  typedef T Vector __attribute__((vector_size(kPartBytes)));
};

template <class V, class Use, class... More>
inline V in_parts(const Use& use, V a, More... more) {
  if constexpr (sizeof(V) <= kPartBytes) {
    return use(a, more...);
  } else {
    using P = typename Part<std::remove_cvref_t<decltype(a[0])>>::Vector;
    const auto part = [](const V& whole, std::size_t k) {
      P result;
      __builtin_memcpy(&result, reinterpret_cast<const char*>(&whole) + k * kPartBytes, kPartBytes);
      return result;
    };
    V result;
#pragma GCC unroll 8
    for (std::size_t k = 0; k < sizeof(V) / kPartBytes; ++k) {
      const P chosen = use(part(a, k), part(more, k)...);
      __builtin_memcpy(reinterpret_cast<char*>(&result) + k * kPartBytes, &chosen, kPartBytes);
    }
    return result;
  }
}

// b where either is NaN.
template <class V>
inline V maximum(V a, V b) {
  return in_parts([](auto x, auto y) { return x > y ? x : y; }, a, b);
}

// b where either is NaN.
template <class V>
inline V minimum(V a, V b) {
  return in_parts([](auto x, auto y) { return x < y ? x : y; }, a, b);
}

// a where x < y, else b; so b where x or y is NaN.
template <class V>
inline V where_less(V x, V y, V a, V b) {
  return in_parts([](auto left, auto right, auto yes, auto no) { return left < right ? yes : no; }, x, y, a, b);
}

// exp(x): x = n ln 2 + r with |r| <= ln(2)/2, Taylor series of exp(r), scaled by 2^n. Below exp_low it is 0.
template <class T>
inline Lane<T> exponential(Lane<T> x) {
  using L = LaneTypes<T>;
  using Bits = typename L::Bits;
  const Lane<T> clamped = minimum(maximum(x, fill<T>(L::exp_low)), fill<T>(L::exp_high));
  Lane<T> n = clamped * static_cast<T>(1.4426950408889634074) + L::round_magic;
  const Bits power = reinterpret_cast<Bits>(n) << L::mantissa_bits;
  n -= L::round_magic;
  const Lane<T> r = clamped - n * L::ln2_high - n * L::ln2_low;
  Lane<T> series = fill<T>(1);
#pragma GCC unroll 16
  for (int k = L::exp_terms; k >= 1; --k) series = series * (r * static_cast<T>(1.0 / k)) + static_cast<T>(1);
  const Lane<T> result = reinterpret_cast<Lane<T>>(reinterpret_cast<Bits>(series) + power);
  return where_less(x, fill<T>(L::exp_low), fill<T>(0), result);
}

// 2 atanh(s) = 2 (s + s^3/3 + s^5/5 + ...), `terms` of them.
template <class T, int terms>
inline Lane<T> twice_atanh(Lane<T> s) {
  const Lane<T> square = s * s;
  Lane<T> series = fill<T>(static_cast<T>(1.0 / (2 * terms - 1)));
#pragma GCC unroll 20
  for (int k = terms - 1; k >= 1; --k) series = series * square + static_cast<T>(1.0 / (2 * k - 1));
  return s * series * static_cast<T>(2);
}

// log(x) for normal x > 0: x = 2^e m with m in [1/sqrt 2, sqrt 2), log m = 2 atanh((m - 1)/(m + 1)).
template <class T>
inline Lane<T> logarithm(Lane<T> x) {
  using L = LaneTypes<T>;
  using Integer = typename L::Integer;
  const Integer bits = reinterpret_cast<Integer>(x);
  const Integer one = reinterpret_cast<Integer>(fill<T>(1));
  Integer exponent = (bits >> L::mantissa_bits) - L::exponent_of_one;
  const auto mantissa_mask = (static_cast<decltype(bits[0] + 0)>(1) << L::mantissa_bits) - 1;
  Lane<T> m = reinterpret_cast<Lane<T>>((bits & mantissa_mask) | one);
  const Lane<T> root = fill<T>(static_cast<T>(1.41421356237309504880));
  Lane<T> e = __builtin_convertvector(exponent, Lane<T>);
  e = where_less(root, m, e + static_cast<T>(1), e);
  m = where_less(root, m, m * static_cast<T>(0.5), m);
  const Lane<T> log_m = twice_atanh<T, L::atanh_terms>((m - static_cast<T>(1)) / (m + static_cast<T>(1)));
  return e * L::ln2_high + (e * L::ln2_low + log_m);
}

// log(1 + t) for t in [0, 1], accurate for tiny t.
template <class T>
inline Lane<T> log1p_unit(Lane<T> t) {
  return twice_atanh<T, LaneTypes<T>::log1p_terms>(t / (t + static_cast<T>(2)));
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
