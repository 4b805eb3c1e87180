// AVX-512 (F, BW, DQ, VL) with BF16.
#define CROSSHEAD_ISA avx512_bf16
#define CROSSHEAD_VECTOR_BYTES 64
#define CROSSHEAD_BFLOAT16 1
#include "kernel_table.hpp"

namespace crosshead {
const Kernels& kernels_avx512_bf16() {
  static const Kernels kernels = avx512_bf16::make_kernels("avx512_bf16");
  return kernels;
}
}  // namespace crosshead
