// Plain code: 16-byte vectors, which every x86-64 and (as NEON) every 64-bit ARM machine has.
#define CROSSHEAD_ISA plain
#define CROSSHEAD_VECTOR_BYTES 16
#include "isa/kernel_table.hpp"

namespace crosshead {
const Kernels& kernels_plain() {
  static const Kernels kernels = plain::make_kernels("plain");
  return kernels;
}
}  // namespace crosshead
