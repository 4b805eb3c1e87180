#include "runtime/thread_pool.hpp"

#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace crosshead {
namespace {

class Pool {
 public:
  void run(int threads, const std::function<void(int)>& work) {
    const std::lock_guard<std::mutex> turn(turn_);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      while (static_cast<int>(workers_) < threads - 1) {
        const int index = workers_ + 1;
        std::thread([this, index] { serve(index); }).detach();
        workers_ = index;  // not before: a thread that could not be made must not be waited for
      }
      work_ = &work;
      wanted_ = threads - 1;
      running_ = threads - 1;
      ++job_;
    }
    wake_.notify_all();
    work(0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return running_ == 0; });
    work_ = nullptr;
  }

 private:
  // Worker `index` (1, 2, …) takes part in a job when the job wants at least that many helpers.
  void serve(int index) {
    unsigned long seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return job_ != seen && work_ != nullptr; });
      seen = job_;
      if (index > wanted_) continue;
      const std::function<void(int)>* work = work_;
      lock.unlock();
      (*work)(index);
      lock.lock();
      if (--running_ == 0) done_.notify_all();
    }
  }

  std::mutex turn_, mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int)>* work_ = nullptr;
  unsigned long job_ = 0;
  int workers_ = 0, wanted_ = 0, running_ = 0;
};

// The pool lives as long as the process: its detached threads may outlast every static destructor. A forked child
// has none of the threads, so it forgets the parent's pool (a few hundred bytes) and makes its own.
Pool* current = nullptr;
pthread_mutex_t creation = PTHREAD_MUTEX_INITIALIZER;

Pool& pool() {
  pthread_mutex_lock(&creation);
  if (current == nullptr) {
    static bool registered = false;
    if (!registered) {
      pthread_atfork([] { pthread_mutex_lock(&creation); }, [] { pthread_mutex_unlock(&creation); },
                     [] {
                       current = nullptr;
                       pthread_mutex_init(&creation, nullptr);
                     });
      registered = true;
    }
    current = new Pool;
  }
  Pool* result = current;
  pthread_mutex_unlock(&creation);
  return *result;
}

}  // namespace

void run_on_threads(int threads, const std::function<void(int)>& work) {
  if (threads <= 1) {
    work(0);
  } else {
    pool().run(threads, work);
  }
}

}  // namespace crosshead
