// AVX2 with fused multiply-add.
#define CROSSHEAD_ISA avx2
#define CROSSHEAD_VECTOR_BYTES 32
#include "isa/kernel_table.hpp"

namespace crosshead {
const Kernels& kernels_avx2() {
  static const Kernels kernels = avx2::make_kernels("avx2");
  return kernels;
}
}  // namespace crosshead
