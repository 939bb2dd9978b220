// Snapshot: an event store as of one sequence number, and scans of it.
//
// Thread safety: immutable; scans of one snapshot may run on many threads, each
// Scanner on one thread at a time.
// Ownership: a snapshot shares memtable parts and SSTable readers with the
// store and keeps them alive; it stays valid after the store is closed.
#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "events/leases.h"
#include "events/manifest.h"
#include "events/memtable.h"
#include "events/sstable_reader.h"

namespace segue {

// What every part of one open store shares.
struct StoreCore {
  StoreCore(std::shared_ptr<Env> env_in, std::string dir_in, StoreSchema schema_in);

  std::shared_ptr<Env> env;
  std::string dir;
  StoreSchema schema;
  RowFormat format;
  Interners interners;
};

struct ScanSpec {
  std::optional<std::string> key;                            // encoded (EncodeKey): only this key's rows
  int64_t since = std::numeric_limits<int64_t>::min();       // inclusive, in the time column's unit
  int64_t until = std::numeric_limits<int64_t>::max();       // exclusive, unless until_open
  bool until_open = true;                                    // no upper bound
  uint64_t after_seq = 0;                                    // exclusive
  uint64_t upto_seq = std::numeric_limits<uint64_t>::max();  // inclusive; the snapshot's own bound applies too
  bool descending = false;                                   // with a key: newest first
  uint64_t limit = std::numeric_limits<uint64_t>::max();
  std::vector<bool> wanted;  // columns to return; empty: all
  size_t batch_rows = 65536;
};

class Scanner;

class Snapshot {
 public:
  // `lease`: what keeps the tables' files from a writer in another process; null in the writer itself.
  Snapshot(std::shared_ptr<const StoreCore> core, uint64_t seq, std::vector<MemtableView> memtables,
           std::vector<std::shared_ptr<const SstReader>> tables, std::shared_ptr<const Lease> lease)
      : core_(std::move(core)),
        lease_(std::move(lease)),
        seq_(seq),
        memtables_(std::move(memtables)),
        tables_(std::move(tables)) {}

  uint64_t seq() const { return seq_; }
  const StoreCore& core() const { return *core_; }
  const std::shared_ptr<const StoreCore>& shared_core() const { return core_; }

 private:
  friend class Scanner;
  std::shared_ptr<const StoreCore> core_;
  std::shared_ptr<const Lease> lease_;  // let go of after the tables
  uint64_t seq_;
  std::vector<MemtableView> memtables_;
  std::vector<std::shared_ptr<const SstReader>> tables_;
};

// Without a key: rows in unspecified order. With one: by time, then sequence.
class Scanner {
 public:
  Scanner(std::shared_ptr<const Snapshot> snapshot, ScanSpec spec);

  // The next rows; false at the end. A returned batch has at least one row.
  Result<bool> Next(ColumnBatch* out);

  // Bloom filter counts of this scan, for stats().
  uint64_t bloom_probes() const { return bloom_probes_; }
  uint64_t bloom_useful() const { return bloom_useful_; }

 private:
  bool Wants(uint64_t seq, int64_t time) const {
    return seq > spec_.after_seq && seq <= upto_ && time >= spec_.since && (spec_.until_open || time < spec_.until);
  }
  bool MayOverlap(uint64_t min_seq, uint64_t max_seq, int64_t min_time, int64_t max_time) const;
  // Appends the wanted rows of [begin, end) that lie at or after `visible_from` to *out.
  void Take(const ColumnBatch& from, size_t begin, size_t end, ColumnBatch* out,
            int64_t visible_from = kNothingExpired) const;
  void TakeSkipList(const SkipList& list, ColumnBatch* out) const;
  Status TakeKeyFromTable(const SstReader& table, ColumnBatch* out);
  Status CollectKey(ColumnBatch* out);
  Result<bool> NextUnordered(ColumnBatch* out);

  std::shared_ptr<const Snapshot> snapshot_;
  ScanSpec spec_;
  uint64_t upto_;
  std::vector<bool> read_;  // wanted, key and time columns
  uint64_t returned_ = 0;
  bool done_ = false;
  // Position of an unordered scan: memtables first, then tables block by block.
  size_t memtable_ = 0;
  size_t run_ = 0;
  size_t row_ = 0;
  size_t table_ = 0;
  size_t block_ = 0;
  uint64_t bloom_probes_ = 0;
  uint64_t bloom_useful_ = 0;
};

}  // namespace segue
