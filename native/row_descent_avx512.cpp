#define CROSSHEAD_ISA avx512
#include "row_descent_kernel.hpp"

namespace crosshead {
int descend_rows_avx512(const RowModel& model, double tolerance, int most_sweeps, double* step) {
  return avx512::descend_rows(model, tolerance, most_sweeps, step);
}
}  // namespace crosshead
