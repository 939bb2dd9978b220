#include "base/large_buffers.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <mutex>
#include <new>

namespace segue {
namespace {

constexpr size_t kGrain = kLargeBytes;
constexpr size_t kLargestKept = size_t{8} << 20;  // of one buffer
constexpr size_t kKeptBytes = size_t{32} << 20;   // of all

// Sizes have three significant bits, so that a buffer fits many arrays of about its size.
size_t Rounded(size_t bytes) {
  const size_t step = std::max(kGrain, std::bit_floor(bytes) / 4);
  return (bytes + step - 1) / step * step;
}

// Freed buffers, by size. The first word of each one is the next one's address.
class Kept {
 public:
  void* Take(size_t size) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock()) return nullptr;
    void*& first = lists_[Place(size)];
    void* const buffer = first;
    if (buffer == nullptr) return nullptr;
    first = *static_cast<void**>(buffer);
    bytes_ -= size;
    return buffer;
  }

  bool Put(void* buffer, size_t size) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock() || bytes_ + size > kKeptBytes) return false;
    void*& first = lists_[Place(size)];
    *static_cast<void**>(buffer) = first;
    first = buffer;
    bytes_ += size;
    return true;
  }

 private:
  // Of a rounded size up to kLargestKept.
  static size_t Place(size_t size) {
    if (size <= 4 * kGrain) return size / kGrain;
    const auto doublings = static_cast<size_t>(std::bit_width(size / (4 * kGrain))) - 1;
    return 4 * (doublings + 1) + (size >> doublings) / kGrain % 4;
  }

  // Never waited for: a child that is forked while it is held could wait for ever.
  std::mutex mutex_;
  size_t bytes_ = 0;
  std::array<void*, 32> lists_{};
};

Kept* const kKept = new Kept;  // never destroyed: arrays may be freed at exit

}  // namespace

void* AllocateLarge(size_t bytes) {
  const size_t size = Rounded(bytes);
  if (size < bytes) throw std::bad_alloc();
  if (size <= kLargestKept) {
    if (void* const kept = kKept->Take(size)) return kept;
  }
  void* const buffer = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (buffer == MAP_FAILED) throw std::bad_alloc();
  return buffer;
}

void FreeLarge(void* buffer, size_t bytes) noexcept {
  const size_t size = Rounded(bytes);
  if (size <= kLargestKept && kKept->Put(buffer, size)) return;
  ::munmap(buffer, size);
}

}  // namespace segue
