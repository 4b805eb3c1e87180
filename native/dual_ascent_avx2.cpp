#define CROSSHEAD_ISA avx2
#include "dual_ascent_kernel.hpp"

namespace crosshead {
double ascend_avx2(const AscentTask& task, int sweeps, std::uint64_t seed) { return avx2::ascend(task, sweeps, seed); }
}  // namespace crosshead
