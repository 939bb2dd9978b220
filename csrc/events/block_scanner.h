// BlockScanner: all rows within the bounds of a scan, memtables first, then
// SSTables block by block, in no particular order.
//
// Thread safety and ownership: as Scanner. Memory: a batch and a block.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "events/scanner.h"

namespace segue {

class BlockScanner final : public Scanner {
 public:
  // `spec` has no key, a bound on sequences within the snapshot, and `wanted`.
  BlockScanner(std::shared_ptr<const Snapshot> snapshot, ScanSpec spec);

  Result<bool> Next(ColumnBatch* out) override;

 private:
  // Appends the rows of [begin, end) that `bounds` take to *out.
  void Take(const ScanBounds& bounds, const ColumnBatch& from, size_t begin, size_t end, ColumnBatch* out) const;
  void TakeSkipList(const SkipList& list, ColumnBatch* out) const;
  Result<bool> Fill(ColumnBatch* out);

  std::shared_ptr<const Snapshot> snapshot_;
  ScanSpec spec_;
  std::vector<bool> read_;  // wanted and time columns
  uint64_t returned_ = 0;
  bool done_ = false;
  size_t memtable_ = 0;
  size_t run_ = 0;
  size_t row_ = 0;
  size_t table_ = 0;
  size_t block_ = 0;
};

}  // namespace segue
