// ValueTable: integers, each with a number that counts it or ranks it.
//
// Open addressing, nothing is ever removed; grows by doubling.
//
// Thread safety: plain data; const access from any thread.
// Memory: 16 bytes a slot, a quarter to a half of which is in use.
#pragma once

#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/hash.h"

namespace segue {

class ValueTable {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // Room for this many without growing.
  explicit ValueTable(size_t values = 16) : slots_(std::bit_ceil(2 * values), Slot{0, kNone}) {}

  size_t size() const { return size_; }
  // kNone when it is not there.
  uint32_t Find(uint64_t value) const { return slots_[Place(value)].number; }
  // Brings near what Find(value) will look at first.
  void Prefetch(uint64_t value) const { __builtin_prefetch(&slots_[HashU64(value) & (slots_.size() - 1)]); }
  // Its number, which is `fresh` when it was not there.
  uint32_t& At(uint64_t value, uint32_t fresh) {
    if (2 * (size_ + 1) > slots_.size()) Grow();
    Slot& slot = slots_[Place(value)];
    if (slot.number == kNone) {
      slot = {value, fresh};
      ++size_;
    }
    return slot.number;
  }
  // Calls f(value, number) for each, in no order.
  template <typename F>
  void ForEach(F f) const {
    for (const Slot& slot : slots_) {
      if (slot.number != kNone) f(slot.value, slot.number);
    }
  }

 private:
  struct Slot {
    uint64_t value;
    uint32_t number;
  };

  size_t Place(uint64_t value) const {
    size_t place = HashU64(value) & (slots_.size() - 1);
    while (slots_[place].number != kNone && slots_[place].value != value) place = (place + 1) & (slots_.size() - 1);
    return place;
  }
  void Grow() {
    std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(2 * slots_.size(), Slot{0, kNone}));
    for (const Slot& slot : old) {
      if (slot.number != kNone) slots_[Place(slot.value)] = slot;
    }
  }

  std::vector<Slot> slots_;
  size_t size_ = 0;
};

}  // namespace segue
