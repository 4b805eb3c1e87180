#define CROSSHEAD_ISA avx512
#include "row_descent_kernel.hpp"

namespace crosshead {
int descend_rows_avx512(const RowModel& model, const Ending& ending, double* step) {
  return avx512::descend_rows(model, ending, step);
}
}  // namespace crosshead
