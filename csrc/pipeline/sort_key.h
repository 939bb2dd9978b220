// SortKey: a 16-byte prefix of the order, so that most comparisons are of two
// integers and runs are sorted by radix.
//
//   key    := split bucket field*            from the most significant bit on, cut at 128 bits
//   split  := split id, `split_bits` wide    (ids by arrival: splits are read one by one)
//   bucket := bucket number, just wide enough
//   field  := present:1 value                present only for nullable columns: nulls come first
//   value  := bits whose unsigned order is the column's order; strings: their first bytes
// A descending field is inverted, so nulls come last in it (Spark's rule both ways).
// Floats order as Spark orders them: -0.0 equals 0.0, NaN equals NaN and is the greatest.
//
// Two rows with different keys are in key order. Two with equal keys are in the
// order of Compare(), which looks at the columns that the key does not hold whole.
//
// Thread safety: const after Make.
#pragma once

#include <cstdint>
#include <vector>

#include "pipeline/row_layout.h"
#include "pipeline/string_dictionary.h"

namespace segue {

struct Key128 {
  uint64_t hi = 0;
  uint64_t lo = 0;

  bool operator==(const Key128&) const = default;
  bool operator<(const Key128& other) const { return hi != other.hi ? hi < other.hi : lo < other.lo; }
};

struct SortColumn {
  uint32_t column = 0;  // in the RowLayout
  bool descending = false;
};

class SortKey {
 public:
  // `dictionaries[c]` is the dictionary of layout column c, null for others;
  // they and the layout must outlive the key. split_bits + bucket_bits <= 64.
  static SortKey Make(const RowLayout* layout, int split_bits, int bucket_bits, std::vector<SortColumn> columns,
                      std::vector<const StringDictionary*> dictionaries);

  // Keys of n packed rows. `splits` and `buckets` may be null when they have no bits.
  // Cost: one pass a sort column.
  void Build(const uint8_t* rows, const uint8_t* heap, int64_t n, const uint32_t* splits, const int32_t* buckets,
             Key128* keys) const;

  // True when equal keys mean equal rows in all sort columns: Compare is then always 0.
  bool exact() const { return ties_.empty(); }
  // Order of two rows whose keys are equal: negative, 0, positive.
  int Compare(RowRef a, RowRef b) const;

  uint32_t SplitOf(Key128 key) const {
    return split_bits_ == 0 ? 0 : static_cast<uint32_t>(key.hi >> (64 - split_bits_));
  }
  uint32_t BucketOf(uint64_t key_hi) const {
    if (bucket_bits_ == 0) return 0;
    return static_cast<uint32_t>((key_hi << split_bits_) >> (64 - bucket_bits_));
  }
  // The least key of a split and bucket.
  Key128 First(uint32_t split, uint32_t bucket) const {
    Key128 key;
    if (split_bits_ != 0) key.hi |= static_cast<uint64_t>(split) << (64 - split_bits_);
    if (bucket_bits_ != 0) key.hi |= static_cast<uint64_t>(bucket) << (64 - split_bits_ - bucket_bits_);
    return key;
  }

 private:
  const RowLayout* layout_ = nullptr;
  int split_bits_ = 0;
  int bucket_bits_ = 0;
  std::vector<SortColumn> columns_;
  std::vector<SortColumn> ties_;  // the suffix of columns_ that the key does not hold whole
  std::vector<const StringDictionary*> dictionaries_;
};

}  // namespace segue
