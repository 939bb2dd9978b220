// PrivatePages: memory of this process alone, zero at first, whose pages exist
// from their first use to Discard(). So a region may be as large as a file of
// which only a part is ever in memory.
//
// Thread safety: pages are independent of each other; no page may be discarded
// while it is used.
// Ownership: the region is unmapped when destroyed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace segue {

class PrivatePages {
 public:
  explicit PrivatePages(size_t size);  // data() is null when there is no memory
  ~PrivatePages();
  PrivatePages(const PrivatePages&) = delete;
  PrivatePages& operator=(const PrivatePages&) = delete;

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

  // Gives the pages that touch [begin, end) memory at once: cheaper than a fault each. A hint.
  void Prepare(size_t begin, size_t end);
  // Gives back the pages that lie wholly in [begin, end): they are undefined from then on.
  void Discard(size_t begin, size_t end);

 private:
  size_t size_;
  uint8_t* data_ = nullptr;
};

}  // namespace segue
