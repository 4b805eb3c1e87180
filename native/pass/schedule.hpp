// Cuts a pass into chunks of rows, hands them to threads, and adds their sums in the order of the rows, so that the
// result has the same bits whatever the number of threads.
#pragma once

#include "isa/kernels.hpp"

namespace crosshead {

struct PassResult {
  double loss = 0, surrogate = 0, dual = 0;
};

// weight (classes, columns), bias (classes,) -> sums, weight_gradient (classes, columns), bias_gradient (classes,).
// Where task.scores are given, weight and weight_gradient may be null.
PassResult run_pass(const PassKernels& kernels, PassTask task, const double* weight, const double* bias, int threads,
                    double* weight_gradient, double* bias_gradient);

// Scores of rows [first, last) into `out`, (last - first, classes), of the type task.compute.
void run_scores(const PassKernels& kernels, PassTask task, const double* weight, const double* bias, std::int64_t first,
                std::int64_t last, int threads, void* out);

// Sum of s x x^T into `gram` (columns, columns), symmetric. Dense features.
void run_gram(const PassKernels& kernels, PassTask task, int threads, double* gram);

struct BFloat16Copy {
  bool finite;     // no number was too large
  bool multiples;  // every number is a multiple of the unit, at most 256 times it, and so held exactly
};

// Dense float features, divided by `unit` and rounded to bfloat16, into `copy` (rows up to a multiple of 16, stride),
// which is padded with zeros.
BFloat16Copy copy_to_bfloat16(const Features& features, double unit, int threads, std::uint16_t* copy, std::int64_t stride);

// Whether bfloat16 holds all numbers of dense float features, rounded: none becomes infinite.
bool fits_bfloat16(const Features& features, int threads);

}  // namespace crosshead
