#define CROSSHEAD_ISA plain
#include "row_descent_kernel.hpp"

namespace crosshead {
int descend_rows_plain(const RowModel& model, const Ending& ending, double* step) {
  return plain::descend_rows(model, ending, step);
}
}  // namespace crosshead
