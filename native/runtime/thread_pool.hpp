// The one thread pool. Workers sleep between jobs; after fork() the child starts a pool of its own when it needs one.
#pragma once

#include <functional>

namespace crosshead {

// Runs work(0), …, work(threads - 1) at the same time, work(0) on the calling thread, and returns when all are done.
// Calls from several threads at once take turns.
void run_on_threads(int threads, const std::function<void(int)>& work);

}  // namespace crosshead
