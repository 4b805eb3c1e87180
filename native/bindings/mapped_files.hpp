// Mapped files that become shorter while they are read: a SIGBUS in them ends in zeros and a flag, not in the process's end.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nanobind {
class module_;
}

namespace crosshead {

// Guards the pages of [address, address + bytes), a mapping for reading. The number it returns names it from now on.
std::int64_t guard_mapping(std::uintptr_t address, std::size_t bytes);

// Must come before the pages are unmapped. Whether a page was missing.
bool unguard_mapping(std::int64_t number);

bool is_mapping_damaged(std::int64_t number);

}  // namespace crosshead

void bind_mapped_files(nanobind::module_& module);
