#include "runtime/large_memory.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#define CROSSHEAD_PAGES 1
#endif

namespace crosshead {
namespace {

#ifdef CROSSHEAD_PAGES

constexpr std::size_t kHugePage = 1 << 21;

std::size_t whole_pages(std::size_t bytes) {
  static const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

void* map(std::size_t bytes) {
  void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return nullptr;
#ifdef MADV_HUGEPAGE
  if (bytes >= kHugePage) madvise(block, bytes, MADV_HUGEPAGE);  // advice: where it is not taken, nothing is lost
#endif
  return block;
}

// Ranges of pages that are not in use but still mapped. The system takes back any part of any of them, so that they are
// cut and joined as they are needed.
class Pool {
 public:
  void* take(std::size_t bytes, bool zero) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      used_ += bytes;
      if (void* block = cut(bytes)) {
        if (used_ > most_used_) most_used_ = used_;
        if (zero) std::memset(block, 0, bytes);
        return block;
      }
      if (used_ + held_ > most_used_) release(used_ + held_ - most_used_);
      if (used_ > most_used_) most_used_ = used_;
    }
    void* block = map(bytes);
    if (block != nullptr) return block;
    const std::lock_guard<std::mutex> lock(mutex_);
    release(held_);
    block = map(bytes);
    if (block == nullptr) used_ -= bytes;
    return block;
  }

  void give(void* block, std::size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    used_ -= bytes;
    if (keepers_ > 0) keep(reinterpret_cast<std::uintptr_t>(block), bytes);
    else munmap(block, bytes);
  }

  void begin() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (keepers_++ == 0) most_used_ = used_;
  }

  void end() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--keepers_ == 0) release(held_);
  }

  std::mutex& mutex() { return mutex_; }

 private:
  using Ranges = std::map<std::uintptr_t, std::size_t>;

  // The front of the shortest range that will do; null where there is none.
  void* cut(std::size_t bytes) {
    Ranges::iterator best = kept_.end();
    for (Ranges::iterator range = kept_.begin(); range != kept_.end(); ++range)
      if (range->second >= bytes && (best == kept_.end() || range->second < best->second)) best = range;
    if (best == kept_.end()) return nullptr;
    const std::uintptr_t start = best->first;
    const std::size_t rest = best->second - bytes;
    kept_.erase(best);
    if (rest > 0) kept_[start + bytes] = rest;
    held_ -= bytes;
    return reinterpret_cast<void*>(start);
  }

  void keep(std::uintptr_t start, std::size_t bytes) {
    held_ += bytes;
    Ranges::iterator next = kept_.lower_bound(start);
    if (next != kept_.end() && next->first == start + bytes) {
      bytes += next->second;
      next = kept_.erase(next);
    }
    if (next != kept_.begin()) {
      const Ranges::iterator before = std::prev(next);
      if (before->first + before->second == start) {
        before->second += bytes;
        return;
      }
    }
    kept_[start] = bytes;
  }

  // Gives so much back to the system, of the shortest ranges first: the long ones serve more.
  void release(std::size_t bytes) {
    while (bytes > 0 && !kept_.empty()) {
      Ranges::iterator shortest = kept_.begin();
      for (Ranges::iterator range = kept_.begin(); range != kept_.end(); ++range)
        if (range->second < shortest->second) shortest = range;
      const std::size_t part = shortest->second < bytes ? shortest->second : bytes;
      shortest->second -= part;
      munmap(reinterpret_cast<void*>(shortest->first + shortest->second), part);
      if (shortest->second == 0) kept_.erase(shortest);
      held_ -= part;
      bytes -= part;
    }
  }

  std::mutex mutex_;
  Ranges kept_;
  std::size_t used_ = 0, held_ = 0, most_used_ = 0;
  int keepers_ = 0;
};

Pool& pool() {
  static Pool* const only = [] {
    static Pool* const made = new Pool;  // never destroyed: arrays may be freed while the program ends
    // A child process must not find the lock held by a thread that it does not have.
    pthread_atfork([] { made->mutex().lock(); }, [] { made->mutex().unlock(); }, [] { made->mutex().unlock(); });
    return made;
  }();
  return *only;
}

#endif

}  // namespace

#ifdef CROSSHEAD_PAGES

void* take_large(std::size_t bytes, bool zero) { return pool().take(whole_pages(bytes), zero); }

void give_large(void* block, std::size_t bytes) { pool().give(block, whole_pages(bytes)); }

void begin_keeping() { pool().begin(); }

void end_keeping() { pool().end(); }

#else  // the heap, which lays blocks out as it will

void* take_large(std::size_t bytes, bool zero) {
  void* block = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (block != nullptr && zero) std::memset(block, 0, bytes);
  return block;
}

void give_large(void* block, std::size_t) { std::free(block); }

void begin_keeping() {}

void end_keeping() {}

#endif

}  // namespace crosshead
