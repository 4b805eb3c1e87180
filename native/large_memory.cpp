#include "large_memory.hpp"

#include <cstdlib>
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

constexpr std::size_t kPage = 4096;

std::size_t whole_pages(std::size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

void* map(std::size_t bytes) {
#ifdef CROSSHEAD_PAGES
  void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return block == MAP_FAILED ? nullptr : block;
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
  void* take(std::size_t bytes, bool zero) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      used_ += bytes;
      for (std::size_t i = kept_.size(); i-- > 0;)
        if (kept_[i].bytes == bytes) {  // the one given last, of which most may still lie in the caches
          void* block = kept_[i].start;
          forget(i);
          if (zero) std::memset(block, 0, bytes);
          return block;
        }
      while (!kept_.empty() && used_ + held_ > most_used_) release_oldest();
      if (used_ > most_used_) most_used_ = used_;
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
  }

  std::mutex& mutex() { return mutex_; }

 private:
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

void* take_large(std::size_t bytes, bool zero) { return pool().take(whole_pages(bytes), zero); }

void give_large(void* block, std::size_t bytes) { pool().give(block, whole_pages(bytes)); }

void begin_keeping() { pool().begin(); }

void end_keeping() { pool().end(); }

}  // namespace crosshead
