// KeyScanner: the events of one key by time, then sequence, forward or backward.
//
// A merge of sources: each memtable run, each SSTable and what the rest of the
// memtables holds. A source says at first only how early its first row can be
// (from its zone map) and is looked into when that is next, so that "the last 50
// events" reads the newest SSTable that has some and, mostly, nothing else. In
// an SSTable it goes block by block, decodes the key columns to find the rows,
// the times to cut them, and of the other columns only the rows it returns.
//
// Thread safety and ownership: as Scanner.
// Memory: one piece of a source for each source that is in the merge, and those
// that the current batch takes rows from: at most batch_rows rows and a block a source.
// Pieces of SSTables are ranges of batches that they share, of some thousand rows or
// a block, as to allocate is what a read of few rows would mostly do: a piece keeps
// its whole batch.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "events/scanner.h"

namespace segue {

class KeyScanner final : public Scanner {
 public:
  // `spec` has a key, a bound on sequences within the snapshot, and `wanted`.
  KeyScanner(std::shared_ptr<const Snapshot> snapshot, ScanSpec spec);

  Result<bool> Next(ColumnBatch* out) override;

 private:
  // Rows of one key in the order of time and sequence.
  struct Piece {
    std::shared_ptr<const ColumnBatch> rows;
    size_t at = 0;  // rows [at, end) are still to come, the last first when descending
    size_t end = 0;
    bool every_sequence = false;  // all of them are within the bounds
  };
  struct Source {
    const SstReader* table = nullptr;  // null: `piece` is all there is
    bool searched = false;             // its index: [first, end) is set
    bool found = false;                // a row of the key
    bool skipped = false;              // a block that may have had one
    ScanBounds bounds;                 // of this table
    size_t first = 0;                  // blocks [first, end) are still to come, the last first when descending
    size_t end = 0;
    Piece piece;
  };
  // A row of the result, by its place in what Merge kept.
  struct Pick {
    uint32_t source;
    uint32_t row;
  };
  // Where a source stands in the merge. Not `exact`: its next row comes at or after this.
  struct Head {
    int64_t time;
    uint64_t seq;
    uint32_t source;
    bool exact;
  };
  bool Before(const Head& a, const Head& b) const {
    if (a.time != b.time) return spec_.descending ? a.time > b.time : a.time < b.time;
    return spec_.descending ? a.seq > b.seq : a.seq < b.seq;
  }
  void Push(const Head& head);
  Head Pop();
  template <typename Map>
  void PushBound(uint32_t source, const Map& zone) {
    if (spec_.descending) {
      Push({zone.max_time, zone.max_seq, source, false});
    } else {
      Push({zone.min_time, zone.min_seq, source, false});
    }
  }
  void PushPiece(uint32_t source);
  void AddPiece(std::shared_ptr<const ColumnBatch> rows, size_t begin, size_t end, bool every_sequence);

  void AddMemtable(const MemtableView& memtable);
  void AddSkipList(const SkipList& list);
  // Looks into a source whose turn has come: an SSTable's index, or its next block.
  Status Open(uint32_t source);
  void SearchTable(Source* source);
  void PushNextBlock(uint32_t source);
  Status ReadBlock(Source* source, size_t block);
  Status FindKey(const SstReader& table, const BlockInfo& info, size_t* begin, size_t* end);
  // Where rows that were read from tables go, to be named by pieces.
  const std::shared_ptr<ColumnBatch>& RoomFor(size_t rows);
  bool FetchedIsFull(size_t more) const;
  Status Merge(std::vector<Pick>* picks, std::vector<std::shared_ptr<const ColumnBatch>>* kept);

  std::shared_ptr<const Snapshot> snapshot_;
  ScanSpec spec_;
  uint64_t hash_;
  std::vector<bool> key_columns_;
  std::vector<bool> read_;     // key, time and wanted columns
  std::vector<size_t> bytes_;  // wanted columns of strings
  std::vector<Source> sources_;
  std::vector<Head> heap_;  // the next one at the front
  uint64_t returned_ = 0;
  std::shared_ptr<ColumnBatch> fetched_;
  EncodedBlock encoded_;  // scratch of ReadBlock, as are the next three
  ColumnBatch keys_;
  ColumnData times_;
  SliceMaker slices_;
  ReadCounts counts_;
};

}  // namespace segue
