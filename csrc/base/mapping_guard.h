// MappingGuard: makes an error of the SIGBUS of a store into a mapped file.
//
// A store into a shared mapping gets SIGBUS when the system cannot give it the
// page: somebody cut the file short, the device fails, a copy-on-write file
// system is full. By default that ends the process. While a guard lives, a page
// of its region that cannot be had is replaced by a private one, so that the
// store goes through, to nowhere, and lost() says so: whoever promises that a
// store is in the file looks after the store.
//
// The first guard installs a handler for SIGBUS in the process; signals that
// concern no guarded region go on to the handler that was there before. A
// handler that is installed later, and passes nothing on, undoes the guards.
//
// Thread safety: all methods; lost() costs one load.
// Ownership: the region is the caller's, and outlives the guard.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace segue {

class MappingGuard {
 public:
  // `data` is where a page begins.
  MappingGuard(void* data, size_t size);
  ~MappingGuard();
  MappingGuard(const MappingGuard&) = delete;
  MappingGuard& operator=(const MappingGuard&) = delete;

  // Whether a store into the region met a page that could not be had, ever.
  bool lost() const { return region_->lost.load(std::memory_order_acquire); }

 private:
  // One of a list that only grows, so that a signal handler may walk it at any
  // moment; one that is out of use (begin 0) is taken again.
  struct Region {
    std::atomic<bool> taken{true};
    std::atomic<bool> lost{false};
    std::atomic<uintptr_t> begin{0};
    std::atomic<uintptr_t> end{0};
    Region* next = nullptr;
  };

  static Region* Take();
  static std::atomic<Region*> regions_;  // reached by a signal handler, which takes no argument

 public:
  // For the signal handler: whether `address` was in a region and has a page now.
  static bool Replace(uintptr_t address);

 private:
  Region* region_;
};

}  // namespace segue
