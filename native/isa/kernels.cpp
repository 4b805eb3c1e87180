#include "isa/kernels.hpp"

#include <cstring>

namespace crosshead {

const Kernels* find_kernels(const char* name) {
#ifdef CROSSHEAD_X86
  const bool any = name == nullptr || *name == 0;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#ifdef CROSSHEAD_AVX512_BF16
  const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
  if (bf16 && (any || std::strcmp(name, "avx512_bf16") == 0)) return &kernels_avx512_bf16();
#endif
  if (avx512 && (any || std::strcmp(name, "avx512") == 0)) return &kernels_avx512();
  if (avx2 && (any || std::strcmp(name, "avx2") == 0)) return &kernels_avx2();
  if (any) return &kernels_plain();
#else
  if (name == nullptr || *name == 0) return &kernels_plain();
#endif
  return std::strcmp(name, "plain") == 0 ? &kernels_plain() : nullptr;
}

}  // namespace crosshead
