// When coordinate descent ends: the schedule of its sweeps, whatever the model.
#pragma once

namespace crosshead {

// `descent.sweep(all)` returns the sum of curvature * move^2. Sweeps over all coordinates alternate with those over the
// ones that are not zero, until one over all moves `tolerance` times less than the first. Returns how many there were.
template <class Descent>
int sweep_until_still(Descent& descent, double tolerance, int most_sweeps) {
  const double first = descent.sweep(true), enough = tolerance * tolerance * first;
  int sweeps = 1;
  while (sweeps < most_sweeps) {
    double last = first;
    while (sweeps < most_sweeps && last > enough) {
      last = descent.sweep(false);
      ++sweeps;
    }
    ++sweeps;
    if (descent.sweep(true) <= enough) break;
  }
  return sweeps;
}

}  // namespace crosshead
