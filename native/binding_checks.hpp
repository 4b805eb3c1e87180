// What both bindings ask of their arguments: names that become numbers, and conditions of memory safety.
#pragma once

#include <stdexcept>
#include <string>

#include "schedule.hpp"
#include "task.hpp"

namespace crosshead {

inline void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
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
