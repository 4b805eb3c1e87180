#define CROSSHEAD_ISA avx2
#include "row_descent_kernel.hpp"

namespace crosshead {
int descend_rows_avx2(const RowModel& model, const Ending& ending, double* step) {
  return avx2::descend_rows(model, ending, step);
}
}  // namespace crosshead
