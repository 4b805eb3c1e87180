#define CROSSHEAD_ISA avx512
#include "dual_ascent_kernel.hpp"

namespace crosshead {
double ascend_avx512(const AscentTask& task, int sweeps, std::uint64_t seed) { return avx512::ascend(task, sweeps, seed); }
}  // namespace crosshead
