// DistinctStrings: gives each distinct string of a batch a dense index, in order
// of first appearance.
//
// Thread safety: none; belongs to one thread.
// Ownership: keeps views, not bytes: what was added must outlive it.
// Cost: one hash and one compare of the bytes per Add; memory 8 bytes a slot at
// a load of at most one half, and 16 bytes a distinct string.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/hash.h"

namespace segue {

class DistinctStrings {
 public:
  int32_t Add(std::string_view value) {
    if ((values_.size() + 1) * 2 > slots_.size()) Grow();
    const uint64_t hash = HashBytes(value);
    const auto tag = static_cast<uint32_t>(hash >> 32);
    const size_t mask = slots_.size() - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
      Slot& slot = slots_[i];
      if (slot.index < 0) {
        slot = {static_cast<int32_t>(values_.size()), tag};
        values_.push_back(value);
        return slot.index;
      }
      if (slot.tag == tag && values_[static_cast<size_t>(slot.index)] == value) return slot.index;
    }
  }

  size_t size() const { return values_.size(); }
  const std::vector<std::string_view>& values() const { return values_; }

 private:
  struct Slot {
    int32_t index = -1;
    uint32_t tag = 0;
  };

  void Grow() {
    std::vector<Slot> old = std::move(slots_);
    slots_.assign(old.empty() ? 64 : old.size() * 2, Slot{});
    const size_t mask = slots_.size() - 1;
    for (const Slot& slot : old) {
      if (slot.index < 0) continue;
      size_t i = HashBytes(values_[static_cast<size_t>(slot.index)]) & mask;
      while (slots_[i].index >= 0) i = (i + 1) & mask;
      slots_[i] = slot;
    }
  }

  std::vector<Slot> slots_;
  std::vector<std::string_view> values_;
};

}  // namespace segue
