// MemtableBatch: rows of one batch as they arrived, waiting to be sorted into a run.
//
// Sorting a batch by itself would cost its writer more than all the rest of the
// append; a background thread sorts many together instead. Meanwhile a read by
// key walks the key prefixes: a few thousand rows, some microseconds.
//
// Thread safety: immutable once shared.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "events/column_batch.h"

namespace segue {

class MemtableBatch {
 public:
  // At least one row. Sequences count up from 0 until SetFirstSequence.
  MemtableBatch(const StoreSchema& schema, ColumnBatch rows);
  // The writer prepares the batch before it knows its numbers. Only before it is shared.
  void SetFirstSequence(uint64_t first);

  const ColumnBatch& batch() const { return batch_; }
  const RawVector<uint64_t>& prefixes() const { return prefixes_; }
  size_t rows() const { return batch_.rows; }
  size_t memory() const { return batch_.memory() + prefixes_.capacity() * sizeof(uint64_t); }
  uint64_t min_seq() const { return batch_.seq.front(); }
  uint64_t max_seq() const { return batch_.seq.back(); }
  int64_t min_time() const { return min_time_; }
  int64_t max_time() const { return max_time_; }

  // The rows of this key, in order of arrival.
  std::vector<uint32_t> FindKey(const StoreSchema& schema, std::string_view encoded_key) const;

 private:
  ColumnBatch batch_;
  RawVector<uint64_t> prefixes_;  // KeyPrefix of each row
  int64_t min_time_ = 0;
  int64_t max_time_ = 0;
};

}  // namespace segue
