#include "pass/schedule.hpp"

#include <atomic>
#include <bit>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "runtime/large_memory.hpp"
#include "runtime/thread_pool.hpp"

namespace crosshead {
namespace {

constexpr std::int64_t kAlignment = 64;
constexpr double kSmallJob = 2e6;  // multiplications below which waking a thread costs more than it saves
constexpr double kLossWork = 20;   // multiplications that a score's loss and residual take

struct Release {
  std::size_t large = 0;  // bytes, of a large block
  void operator()(void* p) const { large > 0 ? give_large(p, large) : std::free(p); }
};
using Memory = std::unique_ptr<void, Release>;

Memory allocate(std::int64_t elements, Element type, bool zero) {
  const std::size_t bytes = static_cast<std::size_t>(elements) * (type == Element::float32 ? 4 : 8);
  const std::size_t rounded = (bytes + kAlignment) / kAlignment * kAlignment;
  const bool large = rounded >= kLargeBlock;
  void* memory = large ? take_large(rounded, zero) : std::aligned_alloc(kAlignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  if (zero && !large) std::memset(memory, 0, rounded);
  return Memory(memory, Release{large ? rounded : 0});
}

// Adds the chunks' sums in the order of the chunks, while other chunks are being computed into other slots. A thread
// that the system takes off its processor holds up the others only once every slot is full.
class OrderedSum {
 public:
  explicit OrderedSum(int slots) {
    for (int i = 0; i < slots; ++i) free_.push_back(i);
  }

  // A free slot and the next chunk, or false when there are no more chunks. The slot comes first, so that the
  // earliest chunk not yet added always has one.
  bool take(std::int64_t chunks, int& slot, std::int64_t& chunk) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return next_chunk_ >= chunks || !free_.empty(); });
    if (next_chunk_ >= chunks) return false;
    slot = free_.back();
    free_.pop_back();
    chunk = next_chunk_++;
    return true;
  }

  // The chunk's sums are in the slot: add them, and all that follow and are ready, unless a thread is at it already.
  template <class Add>
  void finish(int slot, std::int64_t chunk, const Add& add) {
    std::unique_lock<std::mutex> lock(mutex_);
    ready_[chunk] = slot;
    if (adding_) return;
    adding_ = true;
    for (auto first = ready_.begin(); first != ready_.end() && first->first == next_added_; first = ready_.begin()) {
      const int adding = first->second;
      ready_.erase(first);
      lock.unlock();
      add(adding);
      lock.lock();
      ++next_added_;
      free_.push_back(adding);
      changed_.notify_all();
    }
    adding_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int> free_;
  std::map<std::int64_t, int> ready_;
  std::int64_t next_chunk_ = 0, next_added_ = 0;
  bool adding_ = false;
};

// Slots for `threads` threads whose sums take `elements` numbers each: more than threads where they are small, so that
// none waits for another's chunk. Where they are large, chunks are long, and a slot is as much memory as W.
int slots_for(int threads, std::int64_t elements) {
  constexpr std::int64_t kSmallSums = 1 << 17, kLargeSums = 1 << 18;
  if (threads == 1) return 1;
  if (elements <= kSmallSums) return 4 * threads;
  return elements <= kLargeSums ? threads + 1 : threads;
}

double multiplications_per_row(const PassTask& task) {
  const double columns = static_cast<double>(task.features.columns);
  return columns * static_cast<double>(task.classes);
}

int useful_threads(double work, std::int64_t chunks, int threads) {
  if (work < kSmallJob) return 1;
  return static_cast<int>(chunks < threads ? chunks : threads);
}

// Rows of a chunk: enough that adding its gradient to the total costs little beside computing it, few enough that
// single-precision sums stay short and every thread finds work. It depends on the problem alone.
std::int64_t chunk_rows(const PassTask& task) {
  constexpr std::int64_t kDense = 1024, kSparse = 4096, kMostChunks = 64;
  if (!task.features.sparse) return kDense;
  const std::int64_t spread = (task.features.rows + kMostChunks - 1) / kMostChunks;
  return spread > kSparse ? spread : kSparse;
}

}  // namespace

PassResult run_pass(const PassKernels& kernels, PassTask task, const double* weight, const double* bias, int threads,
                    double* weight_gradient, double* bias_gradient) {
  const BufferSizes sizes = kernels.sizes(task);
  const std::int64_t rows = task.features.rows, classes = task.classes;
  task.packed.bias = bias;
  const bool gradient = task.scores == nullptr;
  Memory packed;
  if (gradient) {
    packed = allocate(sizes.packed_weight, task.compute, false);
    kernels.pack_weight(task, weight, packed.get());
    task.packed.weight = packed.get();
    std::memset(weight_gradient, 0, sizeof(double) * static_cast<std::size_t>(classes * task.features.columns));
  }
  std::memset(bias_gradient, 0, sizeof(double) * static_cast<std::size_t>(classes));

  const std::int64_t step = chunk_rows(task), chunks = (rows + step - 1) / step;
  const double row_work = gradient ? multiplications_per_row(task) : kLossWork * static_cast<double>(classes);
  const int used = useful_threads(row_work * static_cast<double>(rows), chunks, threads);
  const std::int64_t gradient_size = gradient ? sizes.gradient : 0;
  struct Slot {
    Memory gradient;
    std::vector<double> bias_gradient;
    ChunkSums sums;
  };
  std::vector<Slot> slots(static_cast<std::size_t>(slots_for(used, gradient_size)));
  for (Slot& slot : slots) {
    slot.gradient = allocate(gradient_size, task.compute, true);
    slot.bias_gradient.resize(static_cast<std::size_t>(classes));
  }
  std::vector<Memory> scratch;
  for (int i = 0; i < used; ++i) scratch.push_back(allocate(sizes.scratch, task.compute, false));
  PassResult result;
  OrderedSum order(static_cast<int>(slots.size()));
  const auto add = [&](int index) {
    const Slot& slot = slots[static_cast<std::size_t>(index)];
    result.loss += slot.sums.loss;
    result.surrogate += slot.sums.surrogate;
    result.dual += slot.sums.dual;
    for (std::int64_t c = 0; c < classes; ++c) bias_gradient[c] += slot.sums.bias_gradient[c];
    if (gradient) kernels.commit_gradient(task, slot.sums.gradient, weight_gradient);
  };
  run_on_threads(used, [&](int thread) {
    int index = 0;
    for (std::int64_t chunk = 0; order.take(chunks, index, chunk);) {
      Slot& slot = slots[static_cast<std::size_t>(index)];
      slot.sums = ChunkSums{};
      slot.sums.bias_gradient = slot.bias_gradient.data();
      slot.sums.gradient = slot.gradient.get();
      std::memset(slot.sums.bias_gradient, 0, sizeof(double) * static_cast<std::size_t>(classes));
      const std::int64_t first = chunk * step, last = first + step < rows ? first + step : rows;
      kernels.chunk(task, first, last, scratch[static_cast<std::size_t>(thread)].get(), slot.sums);
      order.finish(index, chunk, add);
    }
  });
  return result;
}

void run_scores(const PassKernels& kernels, PassTask task, const double* weight, const double* bias, std::int64_t first,
                std::int64_t last, int threads, void* out) {
  const BufferSizes sizes = kernels.sizes(task);
  task.packed.bias = bias;
  const Memory packed = allocate(sizes.packed_weight, task.compute, false);
  kernels.pack_weight(task, weight, packed.get());
  task.packed.weight = packed.get();
  constexpr std::int64_t kStep = 1024;
  const std::int64_t chunks = (last - first + kStep - 1) / kStep;
  const int used = useful_threads(multiplications_per_row(task) * static_cast<double>(last - first), chunks, threads);
  std::vector<Memory> scratch;
  for (int i = 0; i < used; ++i) scratch.push_back(allocate(sizes.scratch, task.compute, false));
  const std::size_t row_bytes = static_cast<std::size_t>(task.classes) * (task.compute == Element::float32 ? 4 : 8);
  std::atomic<std::int64_t> next{0};
  run_on_threads(used, [&](int index) {
    for (std::int64_t chunk; (chunk = next.fetch_add(1)) < chunks;) {
      const std::int64_t start = first + chunk * kStep, end = start + kStep < last ? start + kStep : last;
      char* to = static_cast<char*>(out) + static_cast<std::size_t>(start - first) * row_bytes;
      kernels.scores(task, start, end, scratch[static_cast<std::size_t>(index)].get(), to);
    }
  });
}

void run_gram(const PassKernels& kernels, PassTask task, int threads, double* gram) {
  const BufferSizes sizes = kernels.gram_sizes(task);
  const std::int64_t rows = task.features.rows, columns = task.features.columns;
  std::memset(gram, 0, sizeof(double) * static_cast<std::size_t>(columns * columns));
  constexpr std::int64_t kStep = 2048;
  const std::int64_t chunks = (rows + kStep - 1) / kStep;
  const double work = static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(columns);
  const int used = useful_threads(work, chunks, threads);
  std::vector<Memory> scratch, partial;
  for (int i = 0; i < used; ++i) scratch.push_back(allocate(sizes.scratch, task.compute, false));
  for (int i = 0; i < slots_for(used, sizes.gradient); ++i) partial.push_back(allocate(sizes.gradient, task.compute, true));
  OrderedSum order(static_cast<int>(partial.size()));
  const auto add = [&](int slot) { kernels.commit_gram(task, partial[static_cast<std::size_t>(slot)].get(), gram); };
  run_on_threads(used, [&](int thread) {
    int slot = 0;
    for (std::int64_t chunk = 0; order.take(chunks, slot, chunk);) {
      const std::int64_t start = chunk * kStep, end = start + kStep < rows ? start + kStep : rows;
      kernels.gram_chunk(task, start, end, scratch[static_cast<std::size_t>(thread)].get(),
                         partial[static_cast<std::size_t>(slot)].get());
      order.finish(slot, chunk, add);
    }
  });
  for (std::int64_t i = 0; i < columns; ++i)
    for (std::int64_t j = 0; j < i; ++j) gram[i * columns + j] = gram[j * columns + i];
}

namespace {

// What may be wrong with a copy: a number too large for it, or one that is no multiple (at most 256) of the unit.
enum Flaw : std::uint16_t { kOverflow = 1, kNoMultiple = 2 };

// One row, each number times `inverse_unit`; returns its flaws.
template <class S>
std::uint16_t round_row(const S* from, std::int64_t stride, std::int64_t columns, float inverse_unit, std::uint16_t* to) {
  constexpr float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  std::uint16_t flaws = 0;
  for (std::int64_t d = 0; d < columns; ++d) {
    const float value = static_cast<float>(from[d * stride]) * inverse_unit;
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const std::uint16_t rounded = static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    const float whole = (value + magic) - magic, off = value - whole, size = whole < 0 ? -whole : whole;
    const bool multiple = size <= 256.0f && (off < 0 ? -off : off) <= 5e-7f * size;
    to[d] = multiple ? static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(whole) >> 16) : rounded;
    flaws |= static_cast<std::uint16_t>((rounded & 0x7f80) == 0x7f80 ? kOverflow : 0);
    flaws |= static_cast<std::uint16_t>(multiple ? 0 : kNoMultiple);
  }
  return flaws;
}

template <class S>
std::uint16_t copy_rows_to_bfloat16(const Features& f, std::int64_t first, std::int64_t last, float inverse_unit,
                                    std::uint16_t* copy, std::int64_t stride) {
  std::uint16_t flaws = 0;
  for (std::int64_t i = first; i < last; ++i) {
    const S* from = static_cast<const S*>(f.values) + (f.chosen ? f.chosen[i] : i) * f.row_stride;
    std::uint16_t* to = copy + i * stride;
    // The same loop, once with a stride that the compiler knows, so that it becomes vectors.
    flaws |= f.column_stride == 1 ? round_row(from, 1, f.columns, inverse_unit, to)
                                  : round_row(from, f.column_stride, f.columns, inverse_unit, to);
    for (std::int64_t d = f.columns; d < stride; ++d) to[d] = 0;
  }
  return flaws;
}

}  // namespace

BFloat16Copy copy_to_bfloat16(const Features& f, double unit, int threads, std::uint16_t* copy, std::int64_t stride) {
  constexpr std::int64_t kStep = 4096;
  const float inverse = static_cast<float>(1.0 / unit);
  const std::int64_t chunks = (f.rows + kStep - 1) / kStep;
  const int used = useful_threads(static_cast<double>(f.rows) * static_cast<double>(f.columns), chunks, threads);
  std::atomic<std::int64_t> next{0};
  std::atomic<int> flaws{0};
  run_on_threads(used, [&](int) {
    for (std::int64_t chunk; (chunk = next.fetch_add(1)) < chunks;) {
      const std::int64_t first = chunk * kStep, last = first + kStep < f.rows ? first + kStep : f.rows;
      flaws |= f.element == Element::float32 ? copy_rows_to_bfloat16<float>(f, first, last, inverse, copy, stride)
                                             : copy_rows_to_bfloat16<double>(f, first, last, inverse, copy, stride);
    }
  });
  const std::int64_t padded = (f.rows + 15) / 16 * 16;
  std::memset(copy + f.rows * stride, 0, static_cast<std::size_t>((padded - f.rows) * stride) * sizeof *copy);
  return {(flaws & kOverflow) == 0, (flaws & kNoMultiple) == 0};
}

namespace {

constexpr std::int32_t kLargestRounded = 0x7f7f7fff;  // the bits of the largest float that does not round to infinity

// The bits of the largest number's size; of more than that where there is one that is no number.
template <class S>
std::int32_t largest_size(const S* from, std::int64_t stride, std::int64_t columns) {
  std::int32_t largest = 0;
  for (std::int64_t d = 0; d < columns; ++d) {
    const std::int32_t size = std::bit_cast<std::int32_t>(static_cast<float>(from[d * stride])) & 0x7fffffff;
    largest = size > largest ? size : largest;
  }
  return largest;
}

template <class S>
bool rows_fit(const Features& f, std::int64_t first, std::int64_t last) {
  for (std::int64_t i = first; i < last; ++i) {
    const S* from = static_cast<const S*>(f.values) + (f.chosen ? f.chosen[i] : i) * f.row_stride;
    // The same loop, once with a stride that the compiler knows, so that it becomes vectors.
    const std::int32_t largest =
        f.column_stride == 1 ? largest_size(from, 1, f.columns) : largest_size(from, f.column_stride, f.columns);
    if (largest > kLargestRounded) return false;
  }
  return true;
}

}  // namespace

bool fits_bfloat16(const Features& f, int threads) {
  constexpr std::int64_t kStep = 1024;
  const std::int64_t chunks = (f.rows + kStep - 1) / kStep;
  const int used = useful_threads(static_cast<double>(f.rows) * static_cast<double>(f.columns), chunks, threads);
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> fit{true};
  run_on_threads(used, [&](int) {
    for (std::int64_t chunk; fit && (chunk = next.fetch_add(1)) < chunks;) {
      const std::int64_t first = chunk * kStep, last = first + kStep < f.rows ? first + kStep : f.rows;
      if (!(f.element == Element::float32 ? rows_fit<float>(f, first, last) : rows_fit<double>(f, first, last))) fit = false;
    }
  });
  return fit;
}

}  // namespace crosshead
