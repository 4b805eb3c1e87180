// A page of a mapped file that lies beyond the file's end, because someone made the file shorter, raises SIGBUS in
// whichever thread reads it: a worker of the pool, of OpenBLAS or of Arrow. The handler puts pages of zeros in the place
// of the missing ones and remembers the mapping as damaged, so that the thread goes on; Python asks afterwards, and
// refuses what was computed.
//
// The handler acts on the mappings named to it and on faults that the system itself reports. All else goes to the
// handler that was there before.
#include "bindings/mapped_files.hpp"

#include <nanobind/nanobind.h>

#include <atomic>
#include <mutex>
#include <stdexcept>

#include "bindings/checks.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#endif

namespace nb = nanobind;

namespace crosshead {
namespace {

// One guarded mapping. The handler reads it without a lock: `version` is odd while the bounds change.
struct Slot {
  std::atomic<std::uint32_t> version{0};
  std::atomic<std::uintptr_t> first{0}, last{0};  // equal: not in use
  std::atomic<bool> damaged{false};
};

// Slots are never given back to the system, so that the handler may read all there ever were.
constexpr std::int64_t kSlots = 64;
struct Slots {
  Slot slot[kSlots];
  std::atomic<Slots*> next{nullptr};
};

static_assert(std::atomic<std::uintptr_t>::is_always_lock_free && std::atomic<Slots*>::is_always_lock_free &&
              std::atomic<std::uint32_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

Slots slots;
std::mutex changing;

Slot& slot_at(std::int64_t number) {
  require(number >= 0, "no such mapping");
  Slots* some = &slots;
  for (; number >= kSlots; number -= kSlots) {
    some = some->next.load(std::memory_order_acquire);
    require(some != nullptr, "no such mapping");
  }
  return some->slot[number];
}

void set_bounds(Slot& slot, std::uintptr_t first, std::uintptr_t last) {
  slot.version.fetch_add(1);
  slot.first.store(first);
  slot.last.store(last);
  slot.version.fetch_add(1);
}

#if defined(__unix__) || defined(__APPLE__)

struct sigaction previous;
std::uintptr_t page_bytes = 4096;
// The thread that is in the handler before ours: one that comes back to ours, as Python's faulthandler may, would do
// so for ever.
std::atomic<bool> handing_on{false};
pthread_t handing_thread;

// The end of the guarded mapping that holds an address, marked as damaged; 0 where there is none.
std::uintptr_t damage(std::uintptr_t address) {
  for (Slots* some = &slots; some != nullptr; some = some->next.load(std::memory_order_acquire)) {
    for (Slot& slot : some->slot) {
      const std::uint32_t version = slot.version.load();
      const std::uintptr_t first = slot.first.load(), last = slot.last.load();
      // Bounds that change are another mapping's: this one cannot go while it is read.
      if (version % 2 != 0 || slot.version.load() != version || address < first || address >= last) continue;
      slot.damaged.store(true);
      return last;
    }
  }
  return 0;
}

void by_default(int signal, bool of_a_person) {
  struct sigaction none = {};
  none.sa_handler = SIG_DFL;
  sigemptyset(&none.sa_mask);
  sigaction(signal, &none, nullptr);
  // A fault comes again when its instruction does; a signal that was sent has to be sent again.
  if (of_a_person) raise(signal);
}

void hand_on(int signal, siginfo_t* info, void* context) {
  const bool sent = info->si_code <= 0;  // by kill or raise
  if (handing_on.load() && pthread_equal(handing_thread, pthread_self())) return by_default(signal, sent);
  if (!(previous.sa_flags & SA_SIGINFO) && previous.sa_handler == SIG_IGN && sent) return;
  if (!(previous.sa_flags & SA_SIGINFO) && (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN))
    return by_default(signal, sent);
  handing_thread = pthread_self();
  handing_on.store(true);
  if (previous.sa_flags & SA_SIGINFO) previous.sa_sigaction(signal, info, context);
  else previous.sa_handler(signal);
  handing_on.store(false);
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int before = errno;
  const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(info->si_addr) / page_bytes * page_bytes;
  const std::uintptr_t last = info->si_code == BUS_ADRERR ? damage(reinterpret_cast<std::uintptr_t>(info->si_addr)) : 0;
  // Of a file that has ended all further pages are missing too: one call for all of them.
  const bool mended = last > address && mmap(reinterpret_cast<void*>(address), last - address, PROT_READ,
                                             MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
  if (!mended) hand_on(signal, info, context);
  errno = before;
}

// Asked at every new mapping: others install handlers too, and take them away.
void install() {
  struct sigaction now = {};
  if (sigaction(SIGBUS, nullptr, &now) != 0) throw std::runtime_error("the handler of SIGBUS cannot be read");
  if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_bus_error) return;
  previous = now;
  page_bytes = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  struct sigaction ours = {};
  ours.sa_sigaction = on_bus_error;
  // SA_NODEFER: the one before ours may raise the signal anew and expect it at once.
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigemptyset(&ours.sa_mask);
  if (sigaction(SIGBUS, &ours, nullptr) != 0) throw std::runtime_error("the handler of SIGBUS cannot be set");
}

#else

void install() {}

#endif

}  // namespace

std::int64_t guard_mapping(std::uintptr_t address, std::size_t bytes) {
  require(address != 0 && bytes != 0 && address + bytes > address, "a mapping has an address and a length");
  const std::lock_guard<std::mutex> lock(changing);
  install();
  std::int64_t number = 0;
  for (Slots* some = &slots;; some = some->next.load()) {
    for (Slot& slot : some->slot) {
      if (slot.first.load() == slot.last.load()) {
        slot.damaged.store(false);
        set_bounds(slot, address, address + bytes);
        return number;
      }
      ++number;
    }
    if (some->next.load() == nullptr) some->next.store(new Slots, std::memory_order_release);
  }
}

bool unguard_mapping(std::int64_t number) {
  const std::lock_guard<std::mutex> lock(changing);
  Slot& slot = slot_at(number);
  set_bounds(slot, 0, 0);
  return slot.damaged.load();
}

bool is_mapping_damaged(std::int64_t number) { return slot_at(number).damaged.load(); }

}  // namespace crosshead

void bind_mapped_files(nb::module_& module) {
  module.def("guard_mapping", &crosshead::guard_mapping, nb::arg("address"), nb::arg("bytes"));
  module.def("unguard_mapping", &crosshead::unguard_mapping, nb::arg("number"));
  module.def("is_mapping_damaged", &crosshead::is_mapping_damaged, nb::arg("number"));
}
