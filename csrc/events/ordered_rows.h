// OrderedRows: rows of several batches in (key, time, sequence) order, where they
// are. Only small entries move; the rows are copied once they are wanted, a
// whole run or a block at a time.
//
// Two ways to use it: Sort() orders everything at once; NextRange() orders
// sources that are each in order already a key range at a time, so that the
// entries under way stay in the cache however many rows there are.
//
// Thread safety: belongs to one thread while it sorts; const afterwards.
// Ownership: refers to schema, batches and prefixes.
// Cost: 80 bytes a row of what is ordered at a time, kept for the next time.
#pragma once

#include <cstdint>
#include <vector>

#include "base/radix_sort.h"
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

  // Forgets the sources, keeps the memory.
  void Clear();
  // `prefixes`: KeyPrefix of each row. Older rows first makes ties cheap.
  void AddSource(const ColumnBatch* batch, const RawVector<uint64_t>* prefixes);
  void Sort();  // all rows of sources in any order
  // The next rows of sources that are each in order: about `rows`, more where
  // many keys share a prefix. False at the end.
  bool NextRange(size_t rows);
  size_t RangeRows(size_t rows) const;  // how many these are
  // Back to where about `share` of those rows, 0 to 1, come before the next range.
  void Seek(double share);

  const RawVector<Entry>& entries() const { return entries_; }
  // Makes `to` the rows of these entries, all columns and sequence numbers.
  void Gather(const Entry* entries, size_t n, ColumnBatch* to) const;

 private:
  uint64_t SeqOf(const Entry& entry) const { return batches_[entry.source]->seq[entry.row]; }
  bool TieLess(const Entry& a, const Entry& b) const;
  void AddEntries(uint32_t source, size_t begin, size_t end);
  void SortEntries();
  uint64_t RangeEnd(size_t rows) const;
  size_t EndIn(size_t source, uint64_t last) const;

  const StoreSchema& schema_;
  const bool exact_;  // the prefix is the whole key
  std::vector<const ColumnBatch*> batches_;
  std::vector<const RawVector<uint64_t>*> prefixes_;
  std::vector<size_t> taken_;  // of each source, by NextRange
  RawVector<Entry> entries_;
  RawVector<Entry> unsorted_;
  RawVector<NarrowEntry> keys_;
  RawVector<NarrowEntry> scratch_;
};

}  // namespace segue
