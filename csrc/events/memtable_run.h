// MemtableRun: immutable rows in (key, time, sequence) order, in memory.
//
// Pending batches and sealed skiplists are sorted together into one; runs are
// merged into larger ones until the memtable is flushed.
//
// Thread safety: immutable; share freely.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "events/column_batch.h"
#include "events/memtable_batch.h"
#include "events/ordered_rows.h"
#include "events/row_format.h"
#include "events/skiplist.h"

namespace segue {

class MemtableRun {
 public:
  // Sorts rows that have not been sorted yet; at least one row in all. `order`
  // is scratch, worth keeping for the next call.
  static std::shared_ptr<const MemtableRun> Sort(const RowFormat& format, const Interners& interners,
                                                 const std::vector<std::shared_ptr<const MemtableBatch>>& batches,
                                                 const std::vector<std::shared_ptr<const SkipList>>& skiplists,
                                                 OrderedRows* order);
  static std::shared_ptr<const MemtableRun> Merge(const StoreSchema& schema,
                                                  const std::vector<std::shared_ptr<const MemtableRun>>& runs);

  const ColumnBatch& batch() const { return batch_; }
  const RawVector<uint64_t>& prefixes() const { return prefixes_; }
  size_t rows() const { return batch_.rows; }
  size_t memory() const { return batch_.memory() + prefixes_.capacity() * sizeof(uint64_t); }
  uint64_t min_seq() const { return min_seq_; }
  uint64_t max_seq() const { return max_seq_; }
  int64_t min_time() const { return min_time_; }
  int64_t max_time() const { return max_time_; }

  // Rows [first, second) have this key.
  std::pair<size_t, size_t> FindKey(const StoreSchema& schema, std::string_view encoded_key) const;

 private:
  MemtableRun() = default;
  static std::shared_ptr<const MemtableRun> Copy(const OrderedRows& order);

  ColumnBatch batch_;
  RawVector<uint64_t> prefixes_;  // KeyPrefix of each row
  uint64_t min_seq_ = 0, max_seq_ = 0;
  int64_t min_time_ = 0, max_time_ = 0;
};

}  // namespace segue
