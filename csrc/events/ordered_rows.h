// OrderedRows: rows of several batches in (key, time, sequence) order, where they
// are. Only small entries move; the rows are copied once they are wanted, a
// whole run or a block at a time.
//
// Thread safety: belongs to one thread until sorted or merged; const then.
// Ownership: refers to schema, batches and prefixes.
// Cost: 24 bytes a row, twice that while sorting or merging.
#pragma once

#include <cstdint>
#include <vector>

#include "events/column_batch.h"

namespace segue {

class OrderedRows {
 public:
  // What nearly always decides the order, and where the row is.
  struct Entry {
    uint64_t prefix;
    int64_t time;
    uint32_t source;
    uint32_t row;
  };

  explicit OrderedRows(const StoreSchema& schema);

  // `prefixes`: KeyPrefix of each row.
  void AddSource(const ColumnBatch* batch, const RawVector<uint64_t>* prefixes);
  void Sort();   // sources in any order
  void Merge();  // sources that are each in order: log2(sources) passes

  const std::vector<Entry>& entries() const { return entries_; }
  uint64_t SeqOf(const Entry& entry) const { return batches_[entry.source]->seq[entry.row]; }
  // Makes `to` the rows of these entries, all columns and sequence numbers.
  void Gather(const Entry* entries, size_t n, ColumnBatch* to) const;

 private:
  bool Less(const Entry& a, const Entry& b) const;
  void AddEntries(uint32_t source);

  const StoreSchema& schema_;
  const bool exact_;  // the prefix is the whole key
  std::vector<const ColumnBatch*> batches_;
  std::vector<const RawVector<uint64_t>*> prefixes_;
  size_t rows_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace segue
