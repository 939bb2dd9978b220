// BigSort: external merge sort of Arrow batches by any columns.
//
// Thread safety: one thread at a time.
// Invariants: the output is a permutation of the input, in order, equal rows in
// arrival order (descending columns too). Nulls come first ascending and last
// descending, as in Spark; NaN is the greatest float and -0.0 equals 0.0.
// Ownership: its runs and spill files, until destruction.
// Cost: memory of up to `memory` bytes (64 MiB at least); what does not fit is
// written and read once, and once more for each extra merge pass.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/arrow_array.h"
#include "base/env.h"
#include "pipeline/column_builder.h"
#include "pipeline/memory_budget.h"
#include "pipeline/row_intake.h"
#include "pipeline/run_generator.h"

namespace segue {

struct OrderBy {
  std::string column;
  bool descending = false;
};

struct BigSortOptions {
  std::vector<OrderBy> by;
  uint64_t memory = uint64_t{256} << 20;  // bytes, at least 64 MiB
  int threads = 1;                        // the calling one and threads - 1 workers
  std::string spill_dir;                  // made when the first spill file is written
  int64_t batch_rows = 64 << 10;          // rows of an output batch, at most
  Env* env = nullptr;
};

class BigSort {
 public:
  static Result<std::unique_ptr<BigSort>> Make(BigSortOptions options, const Schema& schema);

  // All rows of `stream`, whose schema is the one given to Make.
  Result<int64_t> Consume(StreamReader* stream, const Interrupt& interrupt);
  Status Finish(const Interrupt& interrupt);
  // After Finish. False at the end.
  Result<bool> Next(ArrowArray* out);

  const Schema& schema() const { return schema_; }
  SortMetrics metrics() const { return runs_->metrics(); }
  uint64_t peak_memory() const { return budget_.peak(); }
  uint64_t row_bytes() const { return layout_.stride(); }

 private:
  BigSort(BigSortOptions options, const Schema& schema)
      : options_(std::move(options)), budget_(options_.memory), schema_(schema) {}

  const BigSortOptions options_;
  MemoryBudget budget_;
  const Schema schema_;
  RowLayout layout_;
  SortKey key_;
  SortMemory plan_;
  std::unique_ptr<RowIntake> intake_;
  std::unique_ptr<RunGenerator> runs_;
  std::vector<std::unique_ptr<DictionaryExport>> dictionary_exports_;
  std::unique_ptr<RunMerger> merger_;
  std::vector<MergedRow> pending_;
  size_t pending_at_ = 0;
  size_t pending_end_ = 0;
};

}  // namespace segue
