#define CROSSHEAD_ISA avx512
#include "dual_ascent_kernel.hpp"

namespace crosshead {
void ascend_avx512(const AscentTask& task, int sweeps, std::uint64_t seed) { avx512::ascend(task, sweeps, seed); }
}  // namespace crosshead
