// Memory for large arrays: whole pages from the system, given back when they are
// freed.
//
// malloc keeps what is freed in the arena of the thread that asked for it, and
// raises the size from which it would map memory up to 32 MiB. Arrays that one
// thread fills and another frees, as those of a memtable are, then leave behind
// several times what is in use: a store that held 120 MiB kept 400 MiB more.
//
// A few freed buffers are kept to be used again, as a mapping costs a fault for
// each of its pages.
//
// Thread safety: all functions from any thread, also in a forked child.
#pragma once

#include <cstddef>

namespace segue {

// Arrays from this size on belong here; below it, to malloc.
inline constexpr size_t kLargeBytes = size_t{64} << 10;

// Uninitialised, aligned to a page. `bytes` >= kLargeBytes. Throws std::bad_alloc.
void* AllocateLarge(size_t bytes);
// What AllocateLarge gave for the same `bytes`.
void FreeLarge(void* buffer, size_t bytes) noexcept;

}  // namespace segue
