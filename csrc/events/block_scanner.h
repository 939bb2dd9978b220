// BlockScanner: all rows within the bounds of a scan, memtables first, then
// SSTables block by block, in no particular order.
//
// Blocks are decoded straight into the batch that is returned. A block that lies
// within the bounds as a whole, as nearly all do, is decoded without looking at
// its times and sequence numbers, which are not even read unless asked for.
//
// Thread safety and ownership: as Scanner. Memory: a batch, and a block's columns.
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
  // What the next call of Fill is to return at most.
  size_t Target() const;
  // Makes room for the rows to come, so that columns do not move as they grow.
  void Reserve(ColumnBatch* out) const;
  bool FullOfStrings(const ColumnBatch& out) const;
  // Where rows from `begin` on have to be cut for their strings, at `end` at the latest.
  size_t EndOfPiece(const ColumnBatch& from, size_t begin, size_t end) const;
  // Whether a batch is returned before `rows` more are added to it.
  bool FullBefore(size_t rows, const ColumnBatch& out) const;
  // Appends the rows of [begin, end) that `bounds` take to *out.
  void Take(const ScanBounds& bounds, const ColumnBatch& from, size_t begin, size_t end, ColumnBatch* out) const;
  void TakeSkipList(const SkipList& list, ColumnBatch* out) const;
  // The same for the rows of a block of a table.
  Status TakeBlock(const SstReader& table, size_t block, const ScanBounds& bounds, ColumnBatch* out);
  // Sets chosen_ to the rows of the fetched block within `bounds`, looking only at what its zone map leaves open.
  Status Choose(const SstReader& table, const BlockInfo& info, const ScanBounds& bounds, bool every_sequence,
                bool every_time);
  Status DecodeRows(const SstReader& table, size_t begin, size_t end, ColumnBatch* out) const;
  Result<bool> Fill(ColumnBatch* out);

  std::shared_ptr<const Snapshot> snapshot_;
  ScanSpec spec_;
  std::vector<bool> read_;     // wanted and time columns
  std::vector<size_t> bytes_;  // wanted columns of byte strings
  uint64_t returned_ = 0;
  bool done_ = false;
  size_t memtable_ = 0;
  size_t part_ = 0;  // of the memtable: its runs, then its pending batches
  size_t row_ = 0;
  size_t table_ = 0;
  size_t block_ = 0;
  // Scratch, reused from block to block.
  EncodedBlock encoded_;
  ColumnBatch whole_;             // a block of which some rows are taken
  std::vector<uint32_t> chosen_;  // those rows
};

}  // namespace segue
