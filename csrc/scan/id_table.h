// Hash tables from a value to a dense id, in order of first sight.
//
// IdTable    64-bit keys: open addressing, 16-byte slots, at most half full
// BytesTable byte strings: copied once into an arena, 8-byte slots
//
// Thread safety: none; Find is const and may run beside other Finds.
// Ownership: BytesTable owns its bytes; views it returns live as long as it.
// Cost: one cache miss a lookup once the table outgrows the cache (two for
// bytes), hidden by prefetching in the batch calls.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/hash.h"

namespace segue::scan {

class IdTable {
 public:
  static constexpr uint32_t kAbsent = 0xFFFFFFFFu;

  IdTable() : slots_(kFirstSlots), mask_(kFirstSlots - 1) {}

  size_t size() const { return keys_.size(); }
  const std::vector<uint64_t>& keys() const { return keys_; }  // by id
  size_t memory() const { return slots_.capacity() * sizeof(Slot) + keys_.capacity() * sizeof(uint64_t); }

  uint32_t Find(uint64_t key) const { return FindAt(key, HashU64(key)); }

  uint32_t FindOrInsert(uint64_t key) {
    uint64_t at = HashU64(key) & mask_;
    while (slots_[at].id != kAbsent) {
      if (slots_[at].key == key) return slots_[at].id;
      at = (at + 1) & mask_;
    }
    const auto id = static_cast<uint32_t>(keys_.size());
    slots_[at] = {key, id};
    keys_.push_back(key);
    if (keys_.size() * 2 > slots_.size()) Grow();
    return id;
  }

  // ids[i] = id of keys[i], or kAbsent. Returns how many are absent.
  size_t FindBatch(const uint64_t* keys, size_t n, uint32_t* ids) const {
    constexpr size_t kGroup = 16;
    size_t absent = 0;
    uint64_t hashes[kGroup];
    for (size_t start = 0; start < n; start += kGroup) {
      const size_t m = n - start < kGroup ? n - start : kGroup;
      for (size_t i = 0; i < m; ++i) {
        hashes[i] = HashU64(keys[start + i]);
        __builtin_prefetch(&slots_[hashes[i] & mask_]);
      }
      for (size_t i = 0; i < m; ++i) {
        const uint32_t id = FindAt(keys[start + i], hashes[i]);
        absent += id == kAbsent;
        ids[start + i] = id;
      }
    }
    return absent;
  }

 private:
  static constexpr size_t kFirstSlots = 64;

  struct Slot {
    uint64_t key = 0;
    uint32_t id = kAbsent;
  };

  uint32_t FindAt(uint64_t key, uint64_t hash) const {
    uint64_t at = hash & mask_;
    while (slots_[at].id != kAbsent) {
      if (slots_[at].key == key) return slots_[at].id;
      at = (at + 1) & mask_;
    }
    return kAbsent;
  }

  void Grow() {
    slots_.assign(slots_.size() * 2, Slot{});
    mask_ = slots_.size() - 1;
    for (size_t id = 0; id < keys_.size(); ++id) {
      uint64_t at = HashU64(keys_[id]) & mask_;
      while (slots_[at].id != kAbsent) at = (at + 1) & mask_;
      slots_[at] = {keys_[id], static_cast<uint32_t>(id)};
    }
  }

  std::vector<Slot> slots_;
  std::vector<uint64_t> keys_;
  uint64_t mask_;
};

class BytesTable {
 public:
  static constexpr uint32_t kAbsent = IdTable::kAbsent;

  BytesTable() : slots_(kFirstSlots), mask_(kFirstSlots - 1) {}

  size_t size() const { return values_.size(); }
  const std::vector<std::string_view>& values() const { return values_; }  // by id
  size_t memory() const {
    return slots_.capacity() * sizeof(Slot) + values_.capacity() * sizeof(std::string_view) + arena_bytes_;
  }

  uint32_t Find(std::string_view value) const { return FindAt(value, HashBytes(value)); }

  uint32_t FindOrInsert(std::string_view value) {
    const uint64_t hash = HashBytes(value);
    uint64_t at = hash & mask_;
    const auto tag = static_cast<uint32_t>(hash >> 32);
    while (slots_[at].id != kAbsent) {
      if (slots_[at].tag == tag && values_[slots_[at].id] == value) return slots_[at].id;
      at = (at + 1) & mask_;
    }
    const auto id = static_cast<uint32_t>(values_.size());
    slots_[at] = {tag, id};
    values_.push_back(Copy(value));
    if (values_.size() * 2 > slots_.size()) Grow();
    return id;
  }

  // As IdTable::FindBatch.
  size_t FindBatch(const std::string_view* values, size_t n, uint32_t* ids) const {
    constexpr size_t kGroup = 16;
    size_t absent = 0;
    uint64_t hashes[kGroup];
    for (size_t start = 0; start < n; start += kGroup) {
      const size_t m = n - start < kGroup ? n - start : kGroup;
      for (size_t i = 0; i < m; ++i) {
        hashes[i] = HashBytes(values[start + i]);
        __builtin_prefetch(&slots_[hashes[i] & mask_]);
      }
      for (size_t i = 0; i < m; ++i) {
        const uint32_t id = FindAt(values[start + i], hashes[i]);
        absent += id == kAbsent;
        ids[start + i] = id;
      }
    }
    return absent;
  }

 private:
  static constexpr size_t kFirstSlots = 64;
  static constexpr size_t kArenaBlock = 64 << 10;

  struct Slot {
    uint32_t tag = 0;  // upper half of the hash: spares most comparisons
    uint32_t id = kAbsent;
  };

  uint32_t FindAt(std::string_view value, uint64_t hash) const {
    uint64_t at = hash & mask_;
    const auto tag = static_cast<uint32_t>(hash >> 32);
    while (slots_[at].id != kAbsent) {
      if (slots_[at].tag == tag && values_[slots_[at].id] == value) return slots_[at].id;
      at = (at + 1) & mask_;
    }
    return kAbsent;
  }

  std::string_view Copy(std::string_view value) {
    if (value.size() > arena_left_) {
      const size_t block = value.size() > kArenaBlock ? value.size() : kArenaBlock;
      arena_.push_back(std::make_unique_for_overwrite<char[]>(block));
      arena_next_ = arena_.back().get();
      arena_left_ = block;
      arena_bytes_ += block;
    }
    if (value.empty()) return {};
    std::memcpy(arena_next_, value.data(), value.size());
    const std::string_view copy(arena_next_, value.size());
    arena_next_ += value.size();
    arena_left_ -= value.size();
    return copy;
  }

  void Grow() {
    slots_.assign(slots_.size() * 2, Slot{});
    mask_ = slots_.size() - 1;
    for (size_t id = 0; id < values_.size(); ++id) {
      const uint64_t hash = HashBytes(values_[id]);
      uint64_t at = hash & mask_;
      while (slots_[at].id != kAbsent) at = (at + 1) & mask_;
      slots_[at] = {static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(id)};
    }
  }

  std::vector<Slot> slots_;
  std::vector<std::string_view> values_;
  std::vector<std::unique_ptr<char[]>> arena_;
  char* arena_next_ = nullptr;
  size_t arena_left_ = 0;
  size_t arena_bytes_ = 0;
  uint64_t mask_;
};

}  // namespace segue::scan
