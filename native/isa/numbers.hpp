// Short floating-point numbers, and how they widen to float and come back.
#pragma once

#include <cstdint>

#include "heads/task.hpp"
#include "isa/gemm.hpp"

namespace crosshead {
namespace CROSSHEAD_ISA {

// bfloat16 and float16 as they lie in memory.
struct Brief16 {
  std::uint16_t bits;
};
struct Half16 {
  std::uint16_t bits;
};

inline float float_of_bits(std::uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}
inline std::uint32_t bits_of_float(float value) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float widen(float x) { return x; }
inline double widen(double x) { return x; }
inline float widen(Brief16 x) { return float_of_bits(static_cast<std::uint32_t>(x.bits) << 16); }
inline float widen(Half16 x) {
  // The exponent is 112 too small for a float; the multiplication sets that right, subnormal numbers included.
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000) << 16, size = x.bits & 0x7fff;
  const float value = float_of_bits(size << 13) * 0x1p112f;
  const std::uint32_t bits = size >= 0x7c00 ? (0x7f800000u | (size & 0x3ff) << 13) : bits_of_float(value);
  return float_of_bits(bits | sign);
}

// Round to nearest, ties to even; NaN stays NaN.
inline void narrow(float x, float& to) { to = x; }
inline void narrow(double x, double& to) { to = x; }
inline void narrow(float x, Brief16& to) {
  const std::uint32_t bits = bits_of_float(x);
  const std::uint16_t rounded = static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  to.bits = x != x ? static_cast<std::uint16_t>(0x7fc0) : rounded;
}
inline void narrow(float x, Half16& to) {
  const std::uint32_t bits = bits_of_float(x), sign = (bits >> 16) & 0x8000, size = bits & 0x7fffffff;
  // Below the smallest normal number the addition of 0.5 leaves the rounded digits in the last ten bits.
  const std::uint32_t small = bits_of_float(float_of_bits(size) + 0.5f) - bits_of_float(0.5f);
  const std::uint32_t normal = (size - (112u << 23) + 0xfff + ((size >> 13) & 1)) >> 13;
  std::uint32_t half = size < (113u << 23) ? small : normal;
  half = size >= 0x477ff000 ? 0x7c00 : half;  // what rounds to 65536 and above
  half = size > 0x7f800000 ? 0x7e00 : half;
  to.bits = static_cast<std::uint16_t>(half | sign);
}

// The same for 16 numbers at once.
typedef std::uint16_t Bits16 __attribute__((vector_size(kLanes * 2)));
typedef std::uint32_t Bits32 __attribute__((vector_size(kLanes * 4)));
typedef std::uint16_t Bits16InMemory __attribute__((vector_size(kLanes * 2), aligned(2), may_alias));

inline Bits32 load_bits(const void* p) { return __builtin_convertvector(*static_cast<const Bits16InMemory*>(p), Bits32); }
inline Lane<float> widen_lanes(const Brief16* p) { return reinterpret_cast<Lane<float>>(load_bits(p) << 16); }
inline Lane<float> widen_lanes(const Half16* p) {
  const Bits32 bits = load_bits(p), size = bits & 0x7fffu, sign = (bits & 0x8000u) << 16;
  const Lane<float> value = reinterpret_cast<Lane<float>>(size << 13) * 0x1p112f;
  const Bits32 special = (size & 0x3ffu) << 13 | 0x7f800000u;
  return reinterpret_cast<Lane<float>>((size >= 0x7c00u ? special : reinterpret_cast<Bits32>(value)) | sign);
}
inline void narrow_lanes(Lane<float> x, Brief16* p) {
  const Bits32 bits = reinterpret_cast<Bits32>(x), rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  const Bits32 result = (bits & 0x7fffffffu) > 0x7f800000u ? Bits32{} + 0x7fc0u : rounded;
  *reinterpret_cast<Bits16InMemory*>(p) = __builtin_convertvector(result, Bits16);
}
inline void narrow_lanes(Lane<float> x, Half16* p) {
  const Bits32 bits = reinterpret_cast<Bits32>(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
  const Bits32 small = reinterpret_cast<Bits32>(reinterpret_cast<Lane<float>>(size) + 0.5f) - 0x3f000000u;
  const Bits32 normal = (size - (112u << 23) + 0xfffu + (size >> 13 & 1u)) >> 13;
  Bits32 half = size < (113u << 23) ? small : normal;
  half = size >= 0x477ff000u ? Bits32{} + 0x7c00u : half;
  half = size > 0x7f800000u ? Bits32{} + 0x7e00u : half;
  *reinterpret_cast<Bits16InMemory*>(p) = __builtin_convertvector(half | sign, Bits16);
}

// Calls use(a value of the type) for the numbers of a task.
template <class Use>
inline void visit_number(Number number, const Use& use) {
  switch (number) {
    case Number::float64:
      return use(double{});
    case Number::float32:
      return use(float{});
    case Number::bfloat16:
      return use(Brief16{});
    case Number::float16:
      return use(Half16{});
  }
}

template <class S>
inline void narrow_numbers(const decltype(widen(S{}))* from, std::int64_t count, S* to) {
  for (std::int64_t k = 0; k < count; ++k) narrow(from[k], to[k]);
}

}  // namespace CROSSHEAD_ISA
}  // namespace crosshead
