// MemoryRun: packed rows of one run, filled in arrival order, then sorted.
//
// Thread safety: one thread fills, one thread sorts; const and shared after Sort().
// Invariants: after Sort(), entry i is the i-th row in key order, rows with
// equal order in arrival order. Rows themselves never move.
// Ownership: its rows, strings and keys; counts them against the budget.
#pragma once

#include <cstdint>

#include "base/radix_sort.h"
#include "pipeline/buffer.h"
#include "pipeline/key_codec.h"
#include "pipeline/memory_budget.h"
#include "pipeline/row_layout.h"
#include "pipeline/sort_key.h"

namespace segue {

class MemoryRun {
 public:
  MemoryRun(const RowLayout* layout, const SortKey* key, MemoryBudget* budget)
      : layout_(layout), key_(key), reservation_(budget) {}

  // What a row of `layout` takes at most, its strings aside, while it is sorted.
  static uint64_t PeakRowBytes(const RowLayout& layout) { return layout.stride() + 2 * sizeof(WideEntry); }

  // Makes room for `rows` more rows and `heap_bytes` more string bytes.
  Status Extend(int64_t rows, uint64_t heap_bytes);
  uint8_t* next_row() { return rows_.data() + static_cast<size_t>(size_) * layout_->stride(); }
  Key128* next_key() { return keys_.as<Key128>() + size_; }
  Buffer* heap() { return &heap_; }
  void Commit(int64_t rows);

  Status Sort();

  int64_t size() const { return size_; }
  uint64_t bytes() const { return reservation_.bytes(); }
  // Once Sort() has run:
  Key128 KeyAt(int64_t i) const {
    return codec_.narrow() ? codec_.Expand(narrow_[i].key) : Key128{wide_[i].hi, wide_[i].lo};
  }
  RowRef RowAt(int64_t i) const { return {rows_.data() + RowIndex(i) * layout_->stride(), heap_.data()}; }
  void Prefetch(int64_t i) const {
    if (i < size_) __builtin_prefetch(rows_.data() + RowIndex(i) * layout_->stride());
  }
  const KeyCodec& codec() const { return codec_; }
  // The first entry whose key is not below `key`.
  int64_t LowerBound(Key128 key) const;
  uint64_t heap_bytes() const { return heap_.size(); }

 private:
  size_t RowIndex(int64_t i) const { return codec_.narrow() ? narrow_[i].row : wide_[i].row; }
  template <typename Entry>
  void SortTies(Entry* entries) const;
  void Count(uint64_t scratch);

  const RowLayout* layout_;
  const SortKey* key_;
  int64_t size_ = 0;
  Buffer rows_;
  Buffer heap_;
  Buffer keys_;  // Key128 while filling, entries once sorted
  KeyCodec codec_;
  const NarrowEntry* narrow_ = nullptr;
  const WideEntry* wide_ = nullptr;
  Reservation reservation_;
};

}  // namespace segue
