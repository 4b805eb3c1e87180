// What both bindings ask of their arguments: names that become numbers, and conditions of memory safety.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "isa/kernels.hpp"

namespace crosshead {

inline void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

// Kernels read whole vectors of numbers, which must lie where the processor expects them; in an array that views bytes of
// a file or of a record they may not.
template <class A>
bool is_aligned(const A& array) {
  return reinterpret_cast<std::uintptr_t>(array.data()) % array.itemsize() == 0;
}
template <class A>
bool is_aligned(const std::optional<A>& array) {
  return !array || is_aligned(*array);
}

template <class... A>
void require_aligned(const A&... arrays) {
  require((is_aligned(arrays) && ...), "an array's numbers are not aligned: copy it");
}

inline void require_threads(int threads) { require(threads >= 1, "there must be at least one thread"); }

// Losses whose targets may be rows of numbers: the others read a class index.
inline bool takes_rows(LossName loss) {
  return loss != LossName::hinge && loss != LossName::squared_hinge && loss != LossName::crammer_singer;
}

inline LossName loss_of(const std::string& name) {
  if (name == "softmax") return LossName::softmax;
  if (name == "binary") return LossName::binary;
  if (name == "hinge") return LossName::hinge;
  if (name == "squared_hinge") return LossName::squared_hinge;
  if (name == "crammer_singer") return LossName::crammer_singer;
  if (name == "squared_error") return LossName::squared_error;
  if (name == "centred_quadratic") return LossName::centred_quadratic;
  if (name == "diagonal_quadratic") return LossName::diagonal_quadratic;
  if (name == "star_quadratic") return LossName::star_quadratic;
  throw std::invalid_argument("the native engine has no loss called '" + name + "'");
}

inline const Kernels& kernels_of(const std::string& name) {
  const Kernels* kernels = find_kernels(name.c_str());
  if (kernels == nullptr) throw std::invalid_argument("instruction set '" + name + "' is not available here");
  return *kernels;
}

}  // namespace crosshead
