// Large blocks of memory in pages of their own, kept for the next that asks while a fit is under way.
//
// A fit takes and gives vectors of a few sizes all the time. In the heap they leave holes that nothing else fits into,
// and pages of their own, fresh each time, would have to be cleared each time by the system.
#pragma once

#include <cstddef>

namespace crosshead {

constexpr std::size_t kLargeBlock = 1 << 19;  // bytes from which a block is large

// A block on a 64-byte boundary, or null where there is no memory; of zeros if so asked.
void* take_large(std::size_t bytes, bool zero);

// Gives back what `take_large` gave, with the size that was asked for.
void give_large(void* block, std::size_t bytes);

// Between the two, on any thread, blocks that were given are kept. They may be nested. No more is kept than that all
// blocks together, those in use and those kept, are what was in use at the same time before.
void begin_keeping();
void end_keeping();

}  // namespace crosshead
