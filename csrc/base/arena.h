// Arena: bump allocation for many small objects that die together.
//
// Thread safety: Allocate by one thread at a time; what was allocated may be
// read by others that learnt of it through a release/acquire pair.
// Ownership: frees everything when destroyed; runs no destructors.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace segue {

class Arena {
 public:
  // 8-byte aligned, uninitialised.
  uint8_t* Allocate(size_t bytes) {
    bytes = (bytes + 7) & ~size_t{7};
    if (bytes > remaining_) Grow(bytes);
    uint8_t* result = next_;
    next_ += bytes;
    remaining_ -= bytes;
    return result;
  }

  // From any thread.
  size_t memory() const { return memory_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kBlock = size_t{256} << 10;

  void Grow(size_t bytes) {
    const size_t size = bytes > kBlock / 4 ? bytes : kBlock;
    blocks_.push_back(std::make_unique_for_overwrite<uint8_t[]>(size));
    memory_.store(memory_.load(std::memory_order_relaxed) + size, std::memory_order_relaxed);
    next_ = blocks_.back().get();
    remaining_ = size;
  }

  std::vector<std::unique_ptr<uint8_t[]>> blocks_;
  uint8_t* next_ = nullptr;
  size_t remaining_ = 0;
  std::atomic<size_t> memory_{0};
};

}  // namespace segue
