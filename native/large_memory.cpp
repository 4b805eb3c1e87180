#include "large_memory.hpp"

#include <cstdlib>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <sys/mman.h>
#define CROSSHEAD_PAGES 1
#endif

namespace crosshead {
namespace {

constexpr std::size_t kPage = 4096, kHugePage = 1 << 21;
constexpr std::size_t kSlack = 8;  // a block may be longer than asked for by one part in so many

std::size_t whole_pages(std::size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

void* map(std::size_t bytes) {
#ifdef CROSSHEAD_PAGES
  void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return nullptr;
#ifdef MADV_HUGEPAGE
  if (bytes >= kHugePage) madvise(block, bytes, MADV_HUGEPAGE);  // advice: where it is not taken, nothing is lost
#endif
  return block;
#else
  return std::calloc(bytes, 1);
#endif
}

void unmap(void* block, std::size_t bytes) {
#ifdef CROSSHEAD_PAGES
  munmap(block, bytes);
#else
  std::free(block);
#endif
}

struct Block {
  void* start;
  std::size_t bytes;
};

class Pool {
 public:
  // Of at least so many bytes; how many is said in the end.
  void* take(std::size_t& bytes, bool zero) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const std::size_t fit = nearest(bytes);
      if (fit < kept_.size()) {
        void* block = kept_[fit].start;
        const std::size_t asked = bytes;
        bytes = kept_[fit].bytes;
        forget(fit);
        used_ += bytes;
        if (used_ > most_used_) most_used_ = used_;
        if (zero) std::memset(block, 0, asked);
        return block;
      }
      used_ += bytes;
      while (!kept_.empty() && used_ + held_ > most_used_) release_oldest();
      if (used_ > most_used_) most_used_ = used_;
      ++misses;
    }
    void* block = map(bytes);
    if (block != nullptr) return block;
    const std::lock_guard<std::mutex> lock(mutex_);
    while (!kept_.empty()) release_oldest();
    block = map(bytes);
    if (block == nullptr) used_ -= bytes;
    return block;
  }

  void give(void* block, std::size_t bytes) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      used_ -= bytes;
      if (keepers_ > 0) {
        kept_.push_back({block, bytes});
        held_ += bytes;
        return;
      }
    }
    unmap(block, bytes);
  }

  void begin() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (keepers_++ == 0) most_used_ = used_;
  }

  void end() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--keepers_ > 0) return;
    while (!kept_.empty()) release_oldest();
    if (getenv("POOLSTAT")) fprintf(stderr, "misses %ld most %zu\n", misses, most_used_);
  }

  std::mutex& mutex() { return mutex_; }

  long misses = 0;
 private:
  // The shortest block that will do, of those the one given last: most of it may still lie in the caches.
  std::size_t nearest(std::size_t bytes) const {
    std::size_t best = kept_.size();
    for (std::size_t i = kept_.size(); i-- > 0;)
      if (kept_[i].bytes >= bytes && kept_[i].bytes - bytes <= bytes / kSlack &&
          (best == kept_.size() || kept_[i].bytes < kept_[best].bytes))
        best = i;
    return best;
  }

  void forget(std::size_t i) {
    held_ -= kept_[i].bytes;
    kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(i));
  }

  void release_oldest() {
    unmap(kept_.front().start, kept_.front().bytes);
    forget(0);
  }

  std::mutex mutex_;
  std::vector<Block> kept_;  // in the order in which they were given
  std::size_t used_ = 0, held_ = 0, most_used_ = 0;
  int keepers_ = 0;
};

Pool& pool() {
  static Pool* const only = [] {
    static Pool* const made = new Pool;  // never destroyed: arrays may be freed while the program ends
#ifdef CROSSHEAD_PAGES
    // A child process must not find the lock held by a thread that it does not have.
    pthread_atfork([] { made->mutex().lock(); }, [] { made->mutex().unlock(); }, [] { made->mutex().unlock(); });
#endif
    return made;
  }();
  return *only;
}

}  // namespace

void* take_large(std::size_t& bytes, bool zero) {
  bytes = whole_pages(bytes);
  return pool().take(bytes, zero);
}

void give_large(void* block, std::size_t bytes) { pool().give(block, bytes); }

void begin_keeping() { pool().begin(); }

void end_keeping() { pool().end(); }

}  // namespace crosshead
