// The global dense dictionary of one fact column: value -> group id.
//
// Two kinds of use:
//   growing  ids are given in order of first sight, NULL gets an id of its own;
//   frozen   seeded with the join keys of a dimension; key number i stands for
//            group fold[i], any other value and NULL is kDropped. So the whole
//            join, dimension attributes included, is folded into this one map.
// An external dictionary has no values: its ids were given by the caller
// (a partition column, constant in a file).
//
// Thread safety: all methods may be called from several threads at once. The
// accessors of values (`numbers`, `strings`) only once mapping has ended.
// Invariants: an id once given never changes; cardinality() is above every id
// that a finished call has returned.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "scan/id_table.h"
#include "scan/kernels.h"

namespace segue::scan {

enum class KeyKind : uint8_t { kNumber, kBytes, kExternal };

class ValueDictionary {
 public:
  explicit ValueDictionary(KeyKind kind) : kind_(kind) {}
  ValueDictionary(const ValueDictionary&) = delete;
  ValueDictionary& operator=(const ValueDictionary&) = delete;

  // Makes it frozen. `fold` has one group below `groups` per key. A key given
  // twice is kInvalid: such a join would multiply rows.
  Status SeedNumbers(const uint64_t* keys, size_t n, std::vector<uint32_t> fold, uint32_t groups);
  Status SeedBytes(const std::vector<std::string_view>& keys, std::vector<uint32_t> fold, uint32_t groups);
  void SetExternal(uint32_t groups) { cardinality_ = groups; }

  // ids[i] = the group of keys[i].
  Status MapNumbers(const uint64_t* keys, size_t n, uint32_t* ids);
  Status MapBytes(const std::string_view* keys, size_t n, uint32_t* ids);
  // The group of NULL.
  Result<uint32_t> NullId();

  KeyKind kind() const { return kind_; }
  bool frozen() const { return frozen_; }
  uint32_t cardinality() const { return cardinality_.load(std::memory_order_acquire); }
  size_t memory() const;

  // By id; the entry at null_id() (kDropped: there is none) means nothing.
  std::vector<uint64_t> numbers() const;
  std::vector<std::string_view> strings() const;
  uint32_t null_id() const { return null_id_; }

 private:
  template <typename Table, typename Key>
  Status Map(Table* table, const Key* keys, size_t n, uint32_t* ids);
  template <typename Table, typename Keys>
  Status Seed(Table* table, const Keys& keys, size_t n, std::vector<uint32_t> fold, uint32_t groups);

  const KeyKind kind_;
  bool frozen_ = false;
  mutable std::shared_mutex mutex_;  // guards the tables and null_id_ while growing
  IdTable numbers_;
  BytesTable bytes_;
  std::vector<uint32_t> fold_;
  std::vector<uint32_t> direct_;  // frozen, keys close together: key - direct_low_ -> group
  uint64_t direct_low_ = 0;
  uint32_t null_id_ = kDropped;
  std::atomic<uint32_t> cardinality_{0};
};

}  // namespace segue::scan
