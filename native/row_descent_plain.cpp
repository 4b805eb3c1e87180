#define CROSSHEAD_ISA plain
#include "row_descent_kernel.hpp"

namespace crosshead {
int descend_rows_plain(const RowModel& model, double tolerance, int most_sweeps, double* step) {
  return plain::descend_rows(model, tolerance, most_sweeps, step);
}
}  // namespace crosshead
