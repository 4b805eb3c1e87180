#include "descent/coordinate_descent.hpp"

#include <cmath>
#include <vector>

#include "descent/sweeps.hpp"

namespace crosshead {
namespace {

constexpr double kLeastCurvature = 1e-3;  // of the metric's own, where the low-rank part takes most of it away

double soft_threshold(double x, double by) { return x > by ? x - by : (x < -by ? x + by : 0.0); }

class Descent {
 public:
  Descent(const QuadraticModel& model, double* step)
      : m_(model),
        step_(step),
        moved_(static_cast<std::size_t>(model.diagonal ? 0 : model.classes * model.columns)),
        low_(static_cast<std::size_t>(model.rank)),
        column_(static_cast<std::size_t>(model.classes)) {
    for (std::int64_t j = 0; j < m_.classes * m_.columns; ++j) step_[j] = 0.0;
  }

  // One sweep; returns the sum of curvature * move^2. Without `all`, coordinates whose weight is zero stay so.
  double sweep(bool all) {
    double total = 0.0;
    for (std::int64_t d = 0; d < m_.columns; ++d) {
      load_column(d);
      for (std::int64_t c = 0; c < m_.classes; ++c) {
        const std::int64_t j = c * m_.columns + d;
        if (!all && m_.l1[d] > 0 && m_.weight[j] + step_[j] == 0.0) continue;
        total += move(c, d, j);
      }
    }
    return total;
  }

 private:
  double feature_curvature(std::int64_t d) const {
    return m_.diagonal ? m_.feature_matrix[d] : m_.feature_matrix[d * m_.columns + d];
  }

  double class_curvature(std::int64_t c) const { return m_.uncoupled ? m_.class_matrix[c] : m_.class_matrix[c * m_.classes + c]; }

  // column_[c] = (S A)_cd
  void load_column(std::int64_t d) {
    for (std::int64_t c = 0; c < m_.classes; ++c) {
      const std::int64_t j = c * m_.columns + d;
      column_[static_cast<std::size_t>(c)] = m_.diagonal ? step_[j] * m_.feature_matrix[d] : moved_[static_cast<std::size_t>(j)];
    }
  }

  double slope(std::int64_t c, std::int64_t d, std::int64_t j) const {
    double sum = 0.0;
    if (m_.uncoupled) {
      sum = m_.class_matrix[c] * column_[static_cast<std::size_t>(c)];
    } else {
      const double* row = m_.class_matrix + c * m_.classes;
      for (std::int64_t k = 0; k < m_.classes; ++k) sum += row[k] * column_[static_cast<std::size_t>(k)];
    }
    const double* scaled = m_.low_rank_scaled + j * m_.rank;
    for (std::int64_t k = 0; k < m_.rank; ++k) sum -= scaled[k] * low_[static_cast<std::size_t>(k)];
    return m_.gradient[j] + sum + m_.l2[d] * step_[j];
  }

  double curvature(std::int64_t c, std::int64_t d, std::int64_t j) const {
    const double own = class_curvature(c) * feature_curvature(d) + m_.l2[d];
    double sum = own;
    for (std::int64_t k = 0; k < m_.rank; ++k) sum -= m_.low_rank_scaled[j * m_.rank + k] * m_.low_rank[j * m_.rank + k];
    return sum > kLeastCurvature * own ? sum : kLeastCurvature * own;
  }

  double move(std::int64_t c, std::int64_t d, std::int64_t j) {
    const double gradient = slope(c, d, j), here = m_.weight[j] + step_[j];
    if (here == 0.0 && std::fabs(gradient) <= m_.l1[d]) return 0.0;
    const double curve = curvature(c, d, j);
    double by;
    if (curve > 0) {
      by = soft_threshold(here - gradient / curve, m_.l1[d] / curve) - here;
    } else {  // a constant column: the loss does not see it, the penalty does
      by = std::fabs(gradient) <= m_.l1[d] ? -here : 0.0;
    }
    if (by == 0.0) return 0.0;
    step_[j] = here + by == 0.0 ? -m_.weight[j] : step_[j] + by;  // so that W + S is zero to the last bit
    const double* features = m_.feature_matrix + (m_.diagonal ? 0 : d * m_.columns);
    if (!m_.diagonal) {
      double* moved = moved_.data() + c * m_.columns;
      for (std::int64_t k = 0; k < m_.columns; ++k) moved[k] += by * features[k];
    }
    column_[static_cast<std::size_t>(c)] += by * feature_curvature(d);
    for (std::int64_t k = 0; k < m_.rank; ++k) low_[static_cast<std::size_t>(k)] += by * m_.low_rank[j * m_.rank + k];
    return curve * by * by;
  }

  const QuadraticModel& m_;
  double* step_;
  std::vector<double> moved_;  // S A, where A is dense
  std::vector<double> low_;    // Q^T s
  std::vector<double> column_;
};

}  // namespace

int coordinate_descent(const QuadraticModel& model, const Ending& ending, double* step) {
  Descent descent(model, step);
  return sweep_until_still(descent, ending);
}

}  // namespace crosshead
