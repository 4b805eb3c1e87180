#include "heads/schedule.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "runtime/thread_pool.hpp"

namespace crosshead {
namespace {

constexpr double kSmallJob = 2e6;              // multiplications below which waking a thread costs more than it saves
constexpr std::int64_t kStripFeatures = 32;    // a multiple of every instruction set's tile
constexpr std::int64_t kStateRows = 11;        // blocks of rows that take in the same classes one after the other
constexpr std::int64_t kMostClassGroups = 64;  // partial states, of which there is a limited room
constexpr std::int64_t kStateRoom = 4 << 20;
constexpr std::int64_t kCacheRoom = 16 << 20;  // gradients of scores that wait for the features' gradient
constexpr std::int64_t kInputBlocks = 4;       // blocks of rows whose gradients of scores stay close
// With fewer rows kept at a time, passing by W and its gradient once more costs what computing the scores again does.
constexpr std::int64_t kFewestKeptRows = 96;

struct Release {
  void operator()(void* p) const { std::free(p); }
};
using Memory = std::unique_ptr<void, Release>;

Memory allocate(std::int64_t bytes) {
  constexpr std::size_t kLarge = 2 << 20;
  const std::size_t alignment = static_cast<std::size_t>(bytes) >= kLarge ? kLarge : 64;
  const std::size_t rounded = (static_cast<std::size_t>(bytes) + alignment) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (alignment == kLarge) madvise(memory, rounded, MADV_HUGEPAGE);  // thousands of page faults fewer, where it is granted
#endif
  return Memory(memory);
}

std::int64_t ceiling(std::int64_t n, std::int64_t step) { return (n + step - 1) / step; }
std::int64_t at_least_one(std::int64_t n) { return n > 1 ? n : 1; }

class Head {
 public:
  Head(const HeadKernels& kernels, const HeadTask& task, const HeadRowInput& rows, const HeadOutput& out, HeadPlan plan,
       std::int64_t room, int threads)
      : kernels_(kernels), task_(task), out_(out), room_(room), number_(computation_of(task.number) == Element::float64 ? 8 : 4) {
    direct_ = task.number == Number::float32 || task.number == Number::float64;
    const double work =
        static_cast<double>(task.rows) * static_cast<double>(task.classes) * static_cast<double>(at_least_one(task.columns));
    threads_ = work < kSmallJob ? 1 : threads;
    classes_ = ceiling(task.classes, 2) * 2;
    choose_blocks(plan);
    const HeadSizes sizes = kernels.sizes(task_);
    for (int i = 0; i < threads_; ++i) scratch_.push_back(allocate(sizes.scratch));
    keep_rows(rows);
    panels_ = allocate(sizes.panels * blocks_);
    task_.panels = panels_.get();
    for_each(blocks_, [&](int, std::int64_t block) { kernels_.pack(task_, block); });
  }

  void run() {
    if (out_.gradients && out_.input_gradient) clear_input_gradient();
    if (kept_blocks_ > 0) {
      for (std::int64_t first = 0; first < blocks_; first += kept_blocks_)
        keep_and_use(first, std::min(kept_blocks_, blocks_ - first));
    } else {
      if (!out_.state_known) states(0, blocks_, nullptr);
      if (out_.gradients) gradients();
    }
    if (out_.gradients) finish();
    if (!out_.state_known) copy_state();
  }

 private:
  // The size of a block of rows, and how many blocks' scores are kept at a time, if any.
  void choose_blocks(HeadPlan plan) {
    const std::int64_t all = ceiling(at_least_one(task_.rows), kStripFeatures) * kStripFeatures;
    task_.block = std::min(kHeadRows, all);
    if (out_.gradients && !out_.state_known && plan != HeadPlan::recompute) {
      const std::int64_t fit = room_ / at_least_one(classes_ * number_) / kStripFeatures * kStripFeatures;
      // The weight's gradient grows with each group of rows, which a short type would not survive.
      if (fit >= all) kept_blocks_ = ceiling(all, task_.block);
      else if (direct_ && fit >= (plan == HeadPlan::keep ? kStripFeatures : kFewestKeptRows)) {
        if (fit < 2 * kHeadRows) task_.block = fit;
        kept_blocks_ = fit / task_.block;
      }
      if (kept_blocks_ * task_.block * classes_ * number_ > room_)
        kept_blocks_ = std::max<std::int64_t>(room_ / (task_.block * classes_ * number_), 0);
    }
    blocks_ = ceiling(task_.rows, task_.block);
  }

  // Calls use(thread, unit) for each unit, in any order.
  void for_each(std::int64_t units, const std::function<void(int, std::int64_t)>& use) {
    std::atomic<std::int64_t> next{0};
    run_on_threads(static_cast<int>(std::min<std::int64_t>(threads_, at_least_one(units))), [&](int thread) {
      for (std::int64_t unit; (unit = next.fetch_add(1)) < units;) use(thread, unit);
    });
  }

  void* scratch(int thread) { return scratch_[static_cast<std::size_t>(thread)].get(); }
  char* field(int which, std::int64_t row) { return static_cast<char*>(fields_.get()) + (which * padded_ + row) * number_; }

  // Rows past the end have no class, and nothing upstream.
  void keep_rows(const HeadRowInput& rows) {
    padded_ = blocks_ * task_.block;
    labels_.assign(static_cast<std::size_t>(padded_), -1);
    if (rows.labels)
      for (std::int64_t i = 0; i < task_.rows; ++i) {
        const std::int64_t c = rows.labels[i] - rows.first_class;
        labels_[static_cast<std::size_t>(i)] = c >= 0 && c < task_.classes ? static_cast<std::int32_t>(c) : -1;
      }
    fields_ = allocate(kHeadFields * padded_ * number_);
    std::memset(fields_.get(), 0, static_cast<std::size_t>(kHeadFields * padded_ * number_));
    const auto copy = [&](int which, const void* from) {
      if (from) std::memcpy(field(which, 0), from, static_cast<std::size_t>(task_.rows * number_));
    };
    copy(kUpstream, rows.upstream);
    copy(kLseUpstream, rows.lse_upstream);
    copy(kTargetScore, rows.target_score);
    copy(kSlope, rows.slope);
    if (!rows.slope)
      for (std::int64_t i = 0; i < padded_; ++i) {
        if (number_ == 8) reinterpret_cast<double*>(field(kSlope, i))[0] = 1;
        else reinterpret_cast<float*>(field(kSlope, i))[0] = 1;
      }
    for (int k = 0; k < kHeadState && out_.state_known; ++k)
      copy(kState + k, static_cast<const char*>(out_.state) + k * task_.rows * number_);
    task_.kept = {labels_.data(), fields_.get(), padded_, rows.target_score != nullptr};
  }

  void copy_state() {
    for (int k = 0; k < kHeadState; ++k)
      std::memcpy(static_cast<char*>(out_.state) + k * task_.rows * number_, field(kState + k, 0),
                  static_cast<std::size_t>(task_.rows * number_));
  }

  // States of `count` blocks: each group of classes takes in its own, then the groups are merged in their order.
  void states(std::int64_t first_block, std::int64_t count, HeadGradients* scores) {
    const std::int64_t rows = count * task_.block, tiles = ceiling(task_.classes, kHeadClasses);
    const std::int64_t most = std::clamp<std::int64_t>(kStateRoom / (kHeadState * rows * number_), 1, kMostClassGroups);
    const std::int64_t tiles_each = at_least_one(ceiling(tiles, most)), groups = ceiling(tiles, tiles_each);
    const std::int64_t row_groups = ceiling(count, kStateRows);
    const Memory partial = allocate(groups * kHeadState * rows * number_);
    const auto part = [&](std::int64_t group, std::int64_t row) {
      return static_cast<char*>(partial.get()) + (group * kHeadState * rows + row) * number_;
    };
    for_each(groups * row_groups, [&](int thread, std::int64_t unit) {
      const std::int64_t group = unit / row_groups, start = unit % row_groups * kStateRows;
      const std::int64_t first = group * tiles_each * kHeadClasses;
      kernels_.states(task_, first_block + start, std::min(kStateRows, count - start), first,
                      std::min(first + tiles_each * kHeadClasses, task_.classes), scratch(thread),
                      part(group, start * task_.block), rows, scores);
    });
    for_each(count, [&](int, std::int64_t block) {
      const std::int64_t row = block * task_.block, to = first_block * task_.block + row;
      for (int k = 0; k < kHeadState; ++k)
        std::memcpy(field(kState + k, to), part(0, row) + k * rows * number_, static_cast<std::size_t>(task_.block * number_));
      for (std::int64_t group = 1; group < groups; ++group)
        kernels_.merge(task_, field(kState, to), padded_, part(group, row), rows);
    });
  }

  void* room_for_scores(std::int64_t blocks, std::int64_t classes) {
    if (!gradients_) gradients_ = allocate(blocks * task_.block * classes * number_);
    return gradients_.get();
  }

  void keep_and_use(std::int64_t first, std::int64_t count) {
    HeadGradients scores{room_for_scores(kept_blocks_, classes_), first, count, 0, classes_};
    states(first, count, &scores);
    score_gradients(scores, 0, task_.classes, true, first > 0);
    input_gradient(scores, first, first + count);
  }

  void gradients() {
    const std::int64_t each = std::min(room_, kCacheRoom) / at_least_one(padded_ * number_) / kHeadDepth * kHeadDepth;
    std::int64_t step = std::max(each, kHeadDepth);
    const std::int64_t even = kHeadDepth * threads_;  // every thread finds as much to do as the others
    if (step > even) step = step / even * even;
    step = std::min(step, classes_);
    for (std::int64_t c = 0; c < task_.classes; c += step) {
      const HeadGradients part{room_for_scores(blocks_, step), 0, blocks_, c, step};
      score_gradients(part, c, std::min(c + step, task_.classes), false, false);
      input_gradient(part, 0, blocks_);
    }
  }

  void score_gradients(const HeadGradients& g, std::int64_t first, std::int64_t last, bool kept, bool add) {
    const HeadWeightGradient to{out_.weight_gradient, out_.bias_gradient, add};
    for_each(ceiling(last - first, kHeadClasses), [&](int thread, std::int64_t unit) {
      const std::int64_t c = first + unit * kHeadClasses;
      kernels_.gradients(task_, c, std::min(c + kHeadClasses, last), scratch(thread), g, kept, to);
    });
  }

  void input_gradient(const HeadGradients& g, std::int64_t first, std::int64_t last) {
    if (!out_.input_gradient) return;
    const std::int64_t strips = ceiling(task_.columns, kStripFeatures);
    const std::int64_t row_parts = at_least_one(ceiling(last - first, kInputBlocks));
    const std::int64_t column_parts = std::clamp<std::int64_t>(ceiling(4 * threads_, row_parts), 1, at_least_one(strips));
    for_each(row_parts * column_parts, [&](int thread, std::int64_t unit) {
      const std::int64_t row = unit / column_parts, column = unit % column_parts;
      const std::int64_t from = strips * column / column_parts * kStripFeatures;
      const std::int64_t to = std::min(strips * (column + 1) / column_parts * kStripFeatures, task_.columns);
      kernels_.input_gradient(task_, g, first + (last - first) * row / row_parts, first + (last - first) * (row + 1) / row_parts,
                              from, to, scratch(thread), input_sums(), task_.columns);
    });
  }

  void* input_sums() { return direct_ ? out_.input_gradient : wide_input_.get(); }

  void clear_input_gradient() {
    const std::int64_t bytes = task_.rows * task_.columns * number_;
    if (!direct_) wide_input_ = allocate(bytes);
    std::memset(input_sums(), 0, static_cast<std::size_t>(bytes));
  }

  void finish() {
    if (out_.input_gradient && !direct_)
      kernels_.narrow(task_.number, wide_input_.get(), task_.rows * task_.columns, out_.input_gradient);
    if (out_.weight_gradient && task_.class_scale && direct_)
      for_each(ceiling(task_.classes, kHeadClasses), [&](int, std::int64_t unit) {
        kernels_.project(task_, unit * kHeadClasses, std::min((unit + 1) * kHeadClasses, task_.classes), out_.weight_gradient);
      });
  }

  const HeadKernels& kernels_;
  HeadTask task_;
  HeadOutput out_;
  std::int64_t room_, number_, classes_ = 0, blocks_ = 0, kept_blocks_ = 0, padded_ = 0;
  int threads_ = 1;
  bool direct_ = false;  // the features' type is the computation's
  std::vector<std::int32_t> labels_;
  Memory fields_, panels_, gradients_, wide_input_;
  std::vector<Memory> scratch_;
};

}  // namespace

void run_head(const HeadKernels& kernels, HeadTask task, const HeadRowInput& rows, const HeadOutput& out, HeadPlan plan,
              std::int64_t room, int threads) {
  Head(kernels, task, rows, out, plan, room, threads).run();
}

void run_scores_loss(const ScoreKernels& kernels, const ScoreTask& task, int threads) {
  constexpr double kSmallScores = 1e5;
  constexpr std::int64_t kPart = 1 << 16;  // scores that a thread takes at a time
  const std::int64_t step = at_least_one(kPart / at_least_one(task.classes)), parts = ceiling(task.rows, step);
  const bool small = static_cast<double>(task.rows) * static_cast<double>(task.classes) < kSmallScores;
  const int used = small ? 1 : static_cast<int>(std::min<std::int64_t>(threads, at_least_one(parts)));
  std::vector<Memory> scratch;
  for (int i = 0; i < used; ++i) scratch.push_back(allocate(kernels.scratch(task)));
  std::atomic<std::int64_t> next{0};
  run_on_threads(used, [&](int thread) {
    for (std::int64_t part; (part = next.fetch_add(1)) < parts;)
      kernels.rows(task, part * step, std::min((part + 1) * step, task.rows), scratch[static_cast<std::size_t>(thread)].get());
  });
}

}  // namespace crosshead
