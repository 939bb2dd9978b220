// Snapshot: an event store as of one sequence number. scanner.h reads it.
//
// Thread safety: immutable; scans of one snapshot may run on many threads.
// Ownership: a snapshot shares memtable parts and SSTable readers with the
// store and keeps them alive; it stays valid after the store is closed.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "events/leases.h"
#include "events/manifest.h"
#include "events/memtable.h"
#include "events/read_counters.h"
#include "events/sstable_reader.h"

namespace segue {

// What every part of one open store shares.
struct StoreCore {
  StoreCore(std::shared_ptr<Env> env_in, std::string dir_in, StoreSchema schema_in);

  // A table of the manifest. kCorruption as SstReader::Open, and where the file is another table's.
  Result<std::unique_ptr<SstReader>> OpenTable(const ManifestTable& table) const;

  std::shared_ptr<Env> env;
  std::string dir;
  StoreSchema schema;
  RowFormat format;
  Interners interners;
  SstResources resources;
  mutable ReadCounters reads;
  std::shared_ptr<const Lease> lease;  // on what snapshots go on reading after the store is closed
};

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
  const std::vector<MemtableView>& memtables() const { return memtables_; }
  const std::vector<std::shared_ptr<const SstReader>>& tables() const { return tables_; }

 private:
  std::shared_ptr<const StoreCore> core_;
  std::shared_ptr<const Lease> lease_;  // let go of after the tables
  uint64_t seq_;
  std::vector<MemtableView> memtables_;
  std::vector<std::shared_ptr<const SstReader>> tables_;
};

}  // namespace segue
