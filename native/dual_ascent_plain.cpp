#define CROSSHEAD_ISA plain
#include "dual_ascent_kernel.hpp"

namespace crosshead {
double ascend_plain(const AscentTask& task, int sweeps, std::uint64_t seed) { return plain::ascend(task, sweeps, seed); }
}  // namespace crosshead
