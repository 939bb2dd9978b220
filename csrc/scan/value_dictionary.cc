#include "scan/value_dictionary.h"

#include <algorithm>
#include <string>

namespace segue::scan {

namespace {

// Leaves room for the NULL id, and ids stay positive as 32-bit gather indices.
constexpr size_t kMaxIds = 0x7FFFFFF0;

// Slots a key of a direct table, 4 bytes each: at most what the hash table takes.
constexpr size_t kMaxDirectSpread = 8;

}  // namespace

template <typename Table, typename Keys>
Status ValueDictionary::Seed(Table* table, const Keys& keys, size_t n, std::vector<uint32_t> fold, uint32_t groups) {
  if (fold.size() != n)
    return Status::Invalid("a join has " + std::to_string(n) + " keys but " + std::to_string(fold.size()) + " groups");
  for (size_t i = 0; i < n; ++i) {
    if (fold[i] >= groups)
      return Status::Invalid("a join key stands for group " + std::to_string(fold[i]) + " of " +
                             std::to_string(groups));
    if (table->FindOrInsert(keys[i]) != i) {
      return Status::Invalid("a join key occurs twice (row " + std::to_string(i) +
                             "); keys of a dimension must be unique");
    }
  }
  fold_ = std::move(fold);
  frozen_ = true;
  cardinality_ = groups;
  return {};
}

Status ValueDictionary::SeedNumbers(const uint64_t* keys, size_t n, std::vector<uint32_t> fold, uint32_t groups) {
  SEGUE_RETURN_IF_ERROR(Seed(&numbers_, keys, n, std::move(fold), groups));
  // Ids of a dimension mostly lie close together: then an array answers faster than hashing.
  const auto [low, high] = std::minmax_element(
      keys, keys + n, [](uint64_t a, uint64_t b) { return static_cast<int64_t>(a) < static_cast<int64_t>(b); });
  if (n == 0 || *high - *low >= kMaxDirectSpread * n) return {};
  direct_low_ = *low;
  direct_.assign(static_cast<size_t>(*high - *low) + 1, kDropped);
  for (size_t i = 0; i < n; ++i) direct_[keys[i] - direct_low_] = fold_[i];
  return {};
}

Status ValueDictionary::SeedBytes(const std::vector<std::string_view>& keys, std::vector<uint32_t> fold,
                                  uint32_t groups) {
  return Seed(&bytes_, keys, keys.size(), std::move(fold), groups);
}

template <typename Table, typename Key>
Status ValueDictionary::Map(Table* table, const Key* keys, size_t n, uint32_t* ids) {
  if (frozen_) {  // nothing changes any more: no lock
    table->FindBatch(keys, n, ids);
    for (size_t i = 0; i < n; ++i) ids[i] = ids[i] == Table::kAbsent ? kDropped : fold_[ids[i]];
    return {};
  }
  uint32_t null_id = kDropped;
  size_t absent = 0;
  {
    std::shared_lock lock(mutex_);
    absent = table->FindBatch(keys, n, ids);
    null_id = null_id_;
  }
  if (absent > 0) {
    std::unique_lock lock(mutex_);
    if (table->size() + absent > kMaxIds) {
      return Status::Unsupported("a group column has more than 2 billion distinct values");
    }
    null_id = null_id_;
    for (size_t i = 0; i < n; ++i) {
      if (ids[i] == Table::kAbsent) ids[i] = table->FindOrInsert(keys[i]);
    }
    cardinality_.store(static_cast<uint32_t>(table->size()) + (null_id_ != kDropped), std::memory_order_release);
  }
  // An id below the NULL id was given before it, one at or above it after:
  // the shift is the same whenever it is done.
  if (null_id != kDropped) {
    for (size_t i = 0; i < n; ++i) ids[i] += ids[i] >= null_id;
  }
  return {};
}

Status ValueDictionary::MapNumbers(const uint64_t* keys, size_t n, uint32_t* ids) {
  if (!direct_.empty()) {
    for (size_t i = 0; i < n; ++i) {
      const uint64_t slot = keys[i] - direct_low_;  // wraps below the least key
      ids[i] = slot < direct_.size() ? direct_[slot] : kDropped;
    }
    return {};
  }
  return Map(&numbers_, keys, n, ids);
}

Status ValueDictionary::MapBytes(const std::string_view* keys, size_t n, uint32_t* ids) {
  return Map(&bytes_, keys, n, ids);
}

Result<uint32_t> ValueDictionary::NullId() {
  if (frozen_) return kDropped;
  if (kind_ == KeyKind::kExternal) return Status::Invalid("a partition column has no NULL of its own");
  std::unique_lock lock(mutex_);
  if (null_id_ == kDropped) {
    null_id_ = static_cast<uint32_t>(kind_ == KeyKind::kNumber ? numbers_.size() : bytes_.size());
    cardinality_.fetch_add(1, std::memory_order_acq_rel);
  }
  return null_id_;
}

size_t ValueDictionary::memory() const {
  std::shared_lock lock(mutex_);
  return numbers_.memory() + bytes_.memory() + (fold_.capacity() + direct_.capacity()) * sizeof(uint32_t);
}

std::vector<uint64_t> ValueDictionary::numbers() const {
  std::vector<uint64_t> values = numbers_.keys();
  if (null_id_ != kDropped) values.insert(values.begin() + null_id_, 0);
  return values;
}

std::vector<std::string_view> ValueDictionary::strings() const {
  std::vector<std::string_view> values = bytes_.values();
  if (null_id_ != kDropped) values.insert(values.begin() + null_id_, std::string_view());
  return values;
}

}  // namespace segue::scan
