#include "schedule.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "thread_pool.hpp"

namespace crosshead {
namespace {

constexpr std::int64_t kAlignment = 64;
constexpr double kSmallJob = 2e6;  // multiplications below which waking a thread costs more than it saves

struct Release {
  void operator()(void* p) const { std::free(p); }
};
using Memory = std::unique_ptr<void, Release>;

Memory allocate(std::int64_t elements, Element type, bool zero) {
  const std::size_t bytes = static_cast<std::size_t>(elements) * (type == Element::float32 ? 4 : 8);
  const std::size_t rounded = (bytes + kAlignment) / kAlignment * kAlignment;
  void* memory = std::aligned_alloc(kAlignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  if (zero) std::memset(memory, 0, rounded);
  return Memory(memory);
}

// Lets threads do something in the order of the chunks.
class Turnstile {
 public:
  template <class Use>
  void pass(std::int64_t ticket, const Use& use) {
    std::unique_lock<std::mutex> lock(mutex_);
    moved_.wait(lock, [&] { return next_ == ticket; });
    lock.unlock();
    use();
    lock.lock();
    ++next_;
    moved_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable moved_;
  std::int64_t next_ = 0;
};

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

const Kernels* find_kernels(const char* name) {
#ifdef CROSSHEAD_X86
  const bool any = name == nullptr || *name == 0;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx512 && (any || std::strcmp(name, "avx512") == 0)) return &kernels_avx512();
  if (avx2 && (any || std::strcmp(name, "avx2") == 0)) return &kernels_avx2();
  if (any) return &kernels_plain();
#else
  if (name == nullptr || *name == 0) return &kernels_plain();
#endif
  return std::strcmp(name, "plain") == 0 ? &kernels_plain() : nullptr;
}

PassResult run_pass(const Kernels& kernels, PassTask task, const double* weight, const double* bias, int threads,
                    double* weight_gradient, double* bias_gradient) {
  const BufferSizes sizes = kernels.pass_sizes(task);
  const std::int64_t rows = task.features.rows, classes = task.classes;
  task.packed.bias = bias;
  const Memory packed = allocate(sizes.packed_weight, task.compute, false);
  kernels.pack_weight(task, weight, packed.get());
  task.packed.weight = packed.get();
  std::memset(weight_gradient, 0, sizeof(double) * static_cast<std::size_t>(classes * task.features.columns));
  std::memset(bias_gradient, 0, sizeof(double) * static_cast<std::size_t>(classes));

  const std::int64_t step = chunk_rows(task), chunks = (rows + step - 1) / step;
  const int used = useful_threads(multiplications_per_row(task) * static_cast<double>(rows), chunks, threads);
  struct Worker {
    Memory scratch, gradient;
    std::vector<double> bias_gradient;
  };
  std::vector<Worker> workers(static_cast<std::size_t>(used));
  for (Worker& worker : workers) {
    worker.scratch = allocate(sizes.scratch, task.compute, false);
    worker.gradient = allocate(sizes.gradient, task.compute, true);
    worker.bias_gradient.resize(static_cast<std::size_t>(classes));
  }
  PassResult result;
  std::atomic<std::int64_t> next{0};
  Turnstile turnstile;
  run_on_threads(used, [&](int index) {
    Worker& worker = workers[static_cast<std::size_t>(index)];
    for (std::int64_t chunk; (chunk = next.fetch_add(1)) < chunks;) {
      ChunkSums sums;
      sums.bias_gradient = worker.bias_gradient.data();
      sums.gradient = worker.gradient.get();
      std::memset(sums.bias_gradient, 0, sizeof(double) * static_cast<std::size_t>(classes));
      const std::int64_t first = chunk * step, last = first + step < rows ? first + step : rows;
      kernels.pass_chunk(task, first, last, worker.scratch.get(), sums);
      turnstile.pass(chunk, [&] {
        result.loss += sums.loss;
        result.surrogate += sums.surrogate;
        result.dual += sums.dual;
        for (std::int64_t c = 0; c < classes; ++c) bias_gradient[c] += sums.bias_gradient[c];
        kernels.commit_gradient(task, sums.gradient, weight_gradient);
      });
    }
  });
  return result;
}

void run_scores(const Kernels& kernels, PassTask task, const double* weight, const double* bias, std::int64_t first,
                std::int64_t last, int threads, void* out) {
  const BufferSizes sizes = kernels.pass_sizes(task);
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
      kernels.score_chunk(task, start, end, scratch[static_cast<std::size_t>(index)].get(), to);
    }
  });
}

void run_gram(const Kernels& kernels, PassTask task, int threads, double* gram) {
  const BufferSizes sizes = kernels.gram_sizes(task);
  const std::int64_t rows = task.features.rows, columns = task.features.columns;
  std::memset(gram, 0, sizeof(double) * static_cast<std::size_t>(columns * columns));
  constexpr std::int64_t kStep = 2048;
  const std::int64_t chunks = (rows + kStep - 1) / kStep;
  const double work = static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(columns);
  const int used = useful_threads(work, chunks, threads);
  std::vector<Memory> scratch, partial;
  for (int i = 0; i < used; ++i) {
    scratch.push_back(allocate(sizes.scratch, task.compute, false));
    partial.push_back(allocate(sizes.gradient, task.compute, true));
  }
  std::atomic<std::int64_t> next{0};
  Turnstile turnstile;
  run_on_threads(used, [&](int index) {
    void* mine = partial[static_cast<std::size_t>(index)].get();
    for (std::int64_t chunk; (chunk = next.fetch_add(1)) < chunks;) {
      const std::int64_t start = chunk * kStep, end = start + kStep < rows ? start + kStep : rows;
      kernels.gram_chunk(task, start, end, scratch[static_cast<std::size_t>(index)].get(), mine);
      turnstile.pass(chunk, [&] { kernels.commit_gram(task, mine, gram); });
    }
  });
  for (std::int64_t i = 0; i < columns; ++i)
    for (std::int64_t j = 0; j < i; ++j) gram[i * columns + j] = gram[j * columns + i];
}

}  // namespace crosshead
