// Scanner: the rows of a snapshot that a ScanSpec asks for, batch by batch.
//
//   with a key        KeyScanner    a merge of what each part holds of the key
//   without           BlockScanner  part after part, in no particular order
//
// Thread safety: a Scanner belongs to one thread at a time; several scanners
// of one snapshot may run at once.
// Ownership: a Scanner keeps its snapshot alive.
// Memory: a few batches of batch_rows rows and a few blocks, whatever the size of the store.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "events/column_batch.h"
#include "events/snapshot.h"

namespace segue {

// A batch with so many bytes of strings in one column is returned early: it bounds memory, and keeps the
// column far from what 32-bit offsets reach.
inline constexpr size_t kMaxStringBytes = size_t{64} << 20;

// Which rows a scan takes, by time and sequence.
struct ScanBounds {
  int64_t since = std::numeric_limits<int64_t>::min();       // inclusive, in the time column's unit
  int64_t until = std::numeric_limits<int64_t>::max();       // exclusive, unless until_open
  bool until_open = true;                                    // no upper bound
  uint64_t after_seq = 0;                                    // exclusive
  uint64_t upto_seq = std::numeric_limits<uint64_t>::max();  // inclusive; the snapshot's own bound applies too

  bool Take(uint64_t seq, int64_t time) const { return TakeSequence(seq) && TakeTime(time); }
  bool TakeSequence(uint64_t seq) const { return seq > after_seq && seq <= upto_seq; }
  bool TakeTime(int64_t time) const { return time >= since && (until_open || time < until); }

  // Of rows within zone map `z` (BlockInfo, SstMeta, ZoneOf a part of a memtable), whether some may be taken ...
  template <typename Map>
  bool TakeSome(const Map& z) const {
    return z.max_seq > after_seq && z.min_seq <= upto_seq && z.max_time >= since && (until_open || z.min_time < until);
  }
  // ... and whether all are.
  template <typename Map>
  bool TakeAllSequences(const Map& z) const {
    return TakeSequence(z.min_seq) && TakeSequence(z.max_seq);
  }
  template <typename Map>
  bool TakeAllTimes(const Map& z) const {
    return TakeTime(z.min_time) && TakeTime(z.max_time);
  }

  // The same for the rows of a table, of which some may have expired.
  ScanBounds In(const SstReader& table) const {
    ScanBounds bounds = *this;
    bounds.since = std::max(bounds.since, table.visible_from());
    return bounds;
  }
};

struct ScanSpec : ScanBounds {
  std::optional<std::string> key;  // encoded (EncodeKey): only this key's rows
  bool descending = false;         // with a key: newest first
  uint64_t limit = std::numeric_limits<uint64_t>::max();
  std::vector<bool> wanted;  // columns to return; empty: all
  bool sequences = false;    // fill ColumnBatch::seq
  size_t batch_rows = 65536;
};

// The zone map of a run or batch of a memtable.
struct Zone {
  uint64_t min_seq;
  uint64_t max_seq;
  int64_t min_time;
  int64_t max_time;
};
template <typename Part>
Zone ZoneOf(const Part& part) {
  return {part.min_seq(), part.max_seq(), part.min_time(), part.max_time()};
}

class Scanner {
 public:
  virtual ~Scanner() = default;

  // The next rows; false at the end. A returned batch has at least one row, the
  // wanted columns, and sequence numbers if they were asked for.
  virtual Result<bool> Next(ColumnBatch* out) = 0;
};

std::unique_ptr<Scanner> MakeScanner(std::shared_ptr<const Snapshot> snapshot, ScanSpec spec);

}  // namespace segue
