// A grouped count over row groups: the dictionaries that all threads share and
// the workers that count.
//
// Thread safety: GroupScan's dictionaries may be used by several workers at
// once; make workers, seed and finish from one thread. A worker belongs to one
// thread at a time. Cancel may be called from any thread.
// Ownership: a worker borrows its scan; Finish ends all workers' use.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "scan/column_reader.h"
#include "scan/group_count.h"
#include "scan/kernels.h"
#include "scan/value_dictionary.h"

namespace segue::scan {

struct ScanLimits {
  uint64_t expected_rows = UINT64_MAX;    // keeps a small scan from clearing large arrays
  size_t dense_bytes = 256 << 20;         // counters of all workers together
  size_t memory_bytes = size_t{1} << 30;  // counters, hash tables and dictionaries together
  size_t workers = 1;
};

// One column of a row group: a chunk to read, or one id for all of its rows.
struct RowGroupColumn {
  bool constant = false;
  uint32_t constant_id = 0;
  ColumnChunk chunk;
};

class GroupScan;

class ScanWorker {
 public:
  explicit ScanWorker(GroupScan* scan);

  // Counts a row group of the file `path`. kCancelled when the scan was cancelled
  // meanwhile: its counts are then to be thrown away.
  Status CountRowGroup(const std::string& path, int64_t rows, const std::vector<RowGroupColumn>& columns);
  // Counts rows whose ids the caller has: ids[c] has `n` of them.
  Status CountIds(const std::vector<const uint32_t*>& ids, size_t n);

 private:
  friend class GroupScan;
  Status CheckLimits() const;

  GroupScan* const scan_;
  std::vector<std::unique_ptr<ColumnReader>> readers_;
  std::vector<std::vector<uint32_t>> ids_;
  GroupCounter counter_;
};

class GroupScan {
 public:
  GroupScan(const ScanKernels& kernels, const std::vector<KeyKind>& columns, const ScanLimits& limits);

  ValueDictionary* dictionary(size_t column) { return dictionaries_[column].get(); }
  size_t columns() const { return dictionaries_.size(); }
  const ScanKernels& kernels() const { return kernels_; }

  ScanWorker* NewWorker();
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  // Adds the workers up; to be called once, when none is counting.
  Result<GroupCounts> Finish();

 private:
  friend class ScanWorker;

  const ScanKernels& kernels_;
  const ScanLimits limits_;
  std::vector<std::unique_ptr<ValueDictionary>> dictionaries_;
  std::vector<std::unique_ptr<ScanWorker>> workers_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace segue::scan
