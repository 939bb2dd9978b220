// StringDictionary: the distinct strings of a column, numbered by arrival.
//
// Thread safety: Intern belongs to one thread. At(code) may be called from any
// thread that learned `code` through a synchronising operation: entries never
// move and are never changed.
// Invariants: At(Intern(s)) == s; codes are 0, 1, 2, ...; size() only grows.
// Ownership: copies the bytes of each distinct string once.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/arrow_array.h"
#include "base/status.h"

namespace segue {

class StringDictionary {
 public:
  int32_t Intern(std::string_view value);
  // -1 when absent. Same thread rule as Intern.
  int32_t Find(std::string_view value) const;

  std::string_view At(int32_t code) const {
    const auto n = static_cast<uint32_t>(code) + kFirst;
    const int chunk = std::bit_width(n) - 1;
    return chunks_[static_cast<size_t>(chunk - kFirstBits)][n - (1U << chunk)];
  }
  int32_t size() const { return size_; }
  uint64_t bytes() const { return bytes_; }          // of the strings themselves
  uint64_t memory_bytes() const { return memory_; }  // allocated, tables included

  // The entries as an Arrow string array that owns a copy; kUnsupported past 2 GiB.
  Result<std::shared_ptr<const ExportColumn>> Export() const;
  // Only the entries `codes[0..n)`, in that order.
  Result<std::shared_ptr<const ExportColumn>> ExportSome(const int32_t* codes, int32_t n) const;

 private:
  static constexpr int kFirstBits = 10;  // the first chunk holds 1024 entries, each next one twice as many
  static constexpr uint32_t kFirst = 1U << kFirstBits;

  struct Slot {
    uint32_t tag;  // high hash bits
    int32_t code;  // -1: empty
  };

  void Grow();
  const char* Copy(std::string_view value);

  std::array<std::unique_ptr<std::string_view[]>, 32 - kFirstBits> chunks_;
  std::vector<Slot> slots_;
  std::vector<std::unique_ptr<char[]>> blocks_;
  char* block_ = nullptr;
  size_t block_left_ = 0;
  int32_t size_ = 0;
  uint64_t bytes_ = 0;
  uint64_t memory_ = 0;
};

}  // namespace segue
