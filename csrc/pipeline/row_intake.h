// RowIntake: packs the columns of incoming batches into rows of a run.
//
// Thread safety: belongs to the thread that consumes; dictionaries() may be
// read by others for codes they learned through a synchronising operation.
// Invariants: the layout's first columns are the source's, in its order; then
// come derived ones, whose values are made chunk by chunk.
// Ownership: the job-wide dictionary of each dictionary column.
#pragma once

#include <memory>
#include <vector>

#include "pipeline/memory_run.h"
#include "pipeline/row_layout.h"

namespace segue {

class RowIntake {
 public:
  // The layout's columns: first the source's, then `derived_columns`, then others that are packed elsewhere.
  RowIntake(const RowLayout* layout, size_t source_columns, size_t derived_columns, MemoryBudget* budget);

  // To be called before the rows of a batch are packed. Keeps the batch until the next one begins.
  void Begin(std::shared_ptr<const BatchReader> batch);
  const BatchReader& batch() const { return *batch_; }
  // The derived columns of the chunk of rows that begins at row `begin` of the batch.
  void BeginDerived(std::shared_ptr<const BatchReader> derived, int64_t begin);
  // Any column that is packed here, and its slice for the chunk that begins at `begin`.
  ColumnSlice Slice(size_t column, int64_t begin) const;
  // The first rows of `selection`, as many as may enter one run together, at least one.
  // `heap_bytes` receives what their strings take. kUnsupported: one row of over 4 GiB.
  Result<int64_t> Fitting(const Selection& selection, uint64_t most_heap_bytes, uint64_t* heap_bytes) const;
  // Packs the source and derived columns of the selected rows; room was made by MemoryRun::Extend.
  Status Pack(const Selection& selection, uint8_t* rows, Buffer* heap);

  // By layout column; null where it is not a dictionary.
  std::vector<const StringDictionary*> dictionaries() const;
  StringDictionary* dictionary(size_t column) { return dictionaries_[column].get(); }
  // A null was met in this column.
  bool nulls(size_t column) const { return nulls_[column] != 0; }

 private:
  const RowLayout* layout_;
  const size_t source_columns_;
  const size_t derived_columns_;
  std::vector<std::unique_ptr<StringDictionary>> dictionaries_;
  std::vector<DictionaryMapper> mappers_;
  std::vector<uint8_t> nulls_;
  std::shared_ptr<const BatchReader> batch_;
  std::shared_ptr<const BatchReader> derived_;
  int64_t derived_begin_ = 0;
  Reservation reservation_;
};

}  // namespace segue
