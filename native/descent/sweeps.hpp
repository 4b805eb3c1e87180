// When coordinate descent ends: the schedule of its sweeps, whatever the model.
#pragma once

#include <chrono>
#include <limits>

namespace crosshead {

// After a sweep over all coordinates that moves `tolerance` times less than the first did, after `most_sweeps`, or
// after the first sweep at whose end so many `seconds` have passed.
struct Ending {
  double tolerance = 0;
  int most_sweeps = 1;
  double seconds = std::numeric_limits<double>::infinity();
};

// `descent.sweep(all)` returns the sum of curvature * move^2. Sweeps over all coordinates alternate with those over the
// ones that are not zero. Returns how many there were.
template <class Descent>
int sweep_until_still(Descent& descent, const Ending& ending) {
  const auto began = std::chrono::steady_clock::now();
  const auto late = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count() >= ending.seconds;
  };
  const double first = descent.sweep(true), enough = ending.tolerance * ending.tolerance * first;
  int sweeps = 1;
  while (sweeps < ending.most_sweeps && !late()) {
    double last = first;
    while (sweeps < ending.most_sweeps && last > enough && !late()) {
      last = descent.sweep(false);
      ++sweeps;
    }
    ++sweeps;
    if (late() || descent.sweep(true) <= enough) break;
  }
  return sweeps;
}

}  // namespace crosshead
