// MemtableRun: immutable rows in (key, time, sequence) order, in memory.
//
// Large batches become one as they arrive; a full skiplist becomes one when it
// is sealed; runs are merged into larger ones until the memtable is flushed.
//
// Thread safety: immutable; share freely.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "events/column_batch.h"
#include "events/row_format.h"
#include "events/skiplist.h"

namespace segue {

class MemtableRun {
 public:
  // Sorts `batch`, whose row i has sequence first_seq + i.
  static std::shared_ptr<MemtableRun> FromBatch(const StoreSchema& schema, const ColumnBatch& batch,
                                                uint64_t first_seq);
  // Adds `by` to every sequence: the writer sorts before it knows its numbers.
  // Only before the run is shared.
  void Rebase(uint64_t by);
  static std::shared_ptr<const MemtableRun> FromSkipList(const RowFormat& format, const StoreSchema& schema,
                                                         const Interners& interners, const SkipList& list);
  static std::shared_ptr<const MemtableRun> Merge(const StoreSchema& schema,
                                                  const std::vector<std::shared_ptr<const MemtableRun>>& runs);

  const ColumnBatch& batch() const { return batch_; }
  size_t rows() const { return batch_.rows; }
  size_t memory() const { return batch_.memory() + prefixes_.capacity() * sizeof(uint64_t); }
  uint64_t min_seq() const { return min_seq_; }
  uint64_t max_seq() const { return max_seq_; }
  int64_t min_time() const { return min_time_; }
  int64_t max_time() const { return max_time_; }

  // Rows [first, second) have this key.
  std::pair<size_t, size_t> FindKey(const StoreSchema& schema, std::string_view encoded_key) const;

 private:
  // A row on its way to its place: what nearly always decides the order.
  struct SortEntry {
    uint64_t prefix;
    int64_t time;
    uint32_t row;
  };

  MemtableRun() = default;
  static std::shared_ptr<MemtableRun> Gathered(const StoreSchema& schema, const ColumnBatch& rows,
                                               const std::vector<SortEntry>& entries);
  void Seal(const StoreSchema& schema);  // sets the bounds from the rows
  void SealSequences();

  ColumnBatch batch_;
  RawVector<uint64_t> prefixes_;  // KeyPrefix of each row
  uint64_t min_seq_ = 0, max_seq_ = 0;
  int64_t min_time_ = 0, max_time_ = 0;
};

}  // namespace segue
