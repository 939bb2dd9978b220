#include "scan/scanner.h"

#include <algorithm>

namespace segue::scan {

namespace {

size_t Share(size_t bytes, size_t workers) { return bytes / std::max<size_t>(workers, 1); }

}  // namespace

ScanWorker::ScanWorker(GroupScan* scan)
    : scan_(scan),
      counter_(scan->kernels_, scan->columns(), Share(scan->limits_.dense_bytes, scan->limits_.workers),
               Share(scan->limits_.memory_bytes, scan->limits_.workers), scan->limits_.expected_rows) {
  for (size_t c = 0; c < scan->columns(); ++c) {
    readers_.push_back(std::make_unique<ColumnReader>(scan->kernels_, scan->dictionary(c), c));
    ids_.emplace_back(GroupCounter::kBlockRows + kKernelPad);
  }
}

Status ScanWorker::CheckLimits() const {
  size_t bytes = counter_.memory();
  for (const auto& dictionary : scan_->dictionaries_) bytes += dictionary->memory();
  if (bytes <= scan_->limits_.memory_bytes) return {};
  return Status::Unsupported("too many distinct values: counting them takes more than " +
                             std::to_string(scan_->limits_.memory_bytes) + " bytes");
}

Status ScanWorker::CountRowGroup(const std::string& path, int64_t rows, const std::vector<RowGroupColumn>& columns) {
  if (columns.size() != scan_->columns() || rows < 0) {
    return Status::Invalid("a row group of " + path + " does not fit the scan");
  }
  for (size_t c = 0; c < columns.size(); ++c) {
    if (columns[c].constant) {
      // The caller gives ids of partition columns; they index the counters, so they are checked.
      if (columns[c].constant_id != kDropped && columns[c].constant_id >= scan_->dictionary(c)->cardinality()) {
        return Status::Invalid("a constant id of a row group of " + path + " is out of range");
      }
      continue;
    }
    if (columns[c].chunk.num_values != rows) {
      return Status::Corruption(path, columns[c].chunk.offset,
                                "damaged Parquet footer of " + path + ": a column chunk has " +
                                    std::to_string(columns[c].chunk.num_values) + " values in a row group of " +
                                    std::to_string(rows) + " rows");
    }
    SEGUE_RETURN_IF_ERROR(readers_[c]->Open(columns[c].chunk, path));
  }
  std::vector<BlockColumn> block(columns.size());
  int64_t left = rows;
  // Limits are looked at every so often only: they sum over all tables.
  constexpr int kBlocksPerCheck = 64;
  for (int blocks = 0; left > 0; ++blocks) {
    if (scan_->cancelled()) return Status::Cancelled("the scan was cancelled");
    const auto n = static_cast<size_t>(std::min<int64_t>(left, GroupCounter::kBlockRows));
    for (size_t c = 0; c < columns.size(); ++c) {
      if (columns[c].constant) {
        block[c] = {nullptr, columns[c].constant_id, scan_->dictionary(c)->cardinality()};
      } else {
        SEGUE_RETURN_IF_ERROR(readers_[c]->Read(n, ids_[c].data()));
        block[c] = {ids_[c].data(), 0, scan_->dictionary(c)->cardinality()};
      }
    }
    SEGUE_RETURN_IF_ERROR(counter_.Add(block, n));
    if (blocks % kBlocksPerCheck == 0) SEGUE_RETURN_IF_ERROR(CheckLimits());
    left -= static_cast<int64_t>(n);
  }
  return {};
}

Status ScanWorker::CountIds(const std::vector<const uint32_t*>& ids, size_t n) {
  std::vector<BlockColumn> block(ids.size());
  for (size_t start = 0; start < n; start += GroupCounter::kBlockRows) {
    for (size_t c = 0; c < ids.size(); ++c) {
      block[c] = {ids[c] + start, 0, scan_->dictionary(c)->cardinality()};
    }
    SEGUE_RETURN_IF_ERROR(counter_.Add(block, std::min(n - start, GroupCounter::kBlockRows)));
  }
  return CheckLimits();
}

GroupScan::GroupScan(const ScanKernels& kernels, const std::vector<KeyKind>& columns, const ScanLimits& limits)
    : kernels_(kernels), limits_(limits) {
  for (const KeyKind kind : columns) dictionaries_.push_back(std::make_unique<ValueDictionary>(kind));
}

ScanWorker* GroupScan::NewWorker() {
  workers_.push_back(std::make_unique<ScanWorker>(this));
  return workers_.back().get();
}

Result<GroupCounts> GroupScan::Finish() {
  if (workers_.empty()) NewWorker();
  GroupCounter& first = workers_.front()->counter_;
  for (size_t w = 1; w < workers_.size(); ++w) {
    SEGUE_RETURN_IF_ERROR(first.Merge(&workers_[w]->counter_));
    workers_[w].reset();
  }
  workers_.resize(1);
  return first.Finish();
}

}  // namespace segue::scan
