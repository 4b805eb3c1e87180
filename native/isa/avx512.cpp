// AVX-512 (F, BW, DQ, VL).
#define CROSSHEAD_ISA avx512
#define CROSSHEAD_VECTOR_BYTES 64
#include "isa/kernel_table.hpp"

namespace crosshead {
const Kernels& kernels_avx512() {
  static const Kernels kernels = avx512::make_kernels("avx512");
  return kernels;
}
}  // namespace crosshead
