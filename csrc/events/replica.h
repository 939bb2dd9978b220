// Replica: an event store as a reader process sees it, beside the one process that writes.
//
// It is made of the same files: the SSTables that the manifest names, pinned by
// a lease, and the events of the logs at or above the manifest's floor, read
// into memtables of its own, one for each log. Refresh() brings it up to date
// and keeps what it can: tables that are still named stay open, and a log is
// read on from where the last call ended.
//
// What it shows is a prefix of the sequence: all events up to last_seq(), and
// after Refresh() at least those that were acknowledged before the call.
//
// How a log is followed. Logs have consecutive generations, and a header says
// which sequence number comes first. The next log is begun when the one before
// has been read up to that number: with "commit" the log may have its file, and
// the one before not yet its last records. A log that begins below what was
// read is a copy that a restarting writer makes of the newest log; until the
// manifest names it, it is passed over, and then everything is read anew, as
// what the writer had not synced may be gone. A log that is not there although a
// newer one is was removed by somebody else; where events went with it, that is
// an error. Records are told from those of
// the file's earlier life by generation and checksum (wal_reader.h), and a file
// that was reused or removed under the reader means that the manifest has
// changed: it is read again.
//
// Thread safety: none; one thread at a time. The memtables that it gives may be
// read by any thread meanwhile, up to last_seq() as of then.
// Ownership: shares tables, memtables and lease with the snapshots made of them.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "events/leases.h"
#include "events/manifest.h"
#include "events/memtable.h"
#include "events/snapshot.h"
#include "events/sstable_reader.h"
#include "events/wal_reader.h"
#include "events/wal_replay.h"

namespace segue {

class Replica {
 public:
  // Of the store `store_id`, empty until the first Refresh().
  Replica(std::shared_ptr<const StoreCore> core, const std::string& store_id);

  // On an error, one of `poll` too, nothing is shown less than before, and the next call starts from nothing.
  Status Refresh(const ReplayPoll& poll);

  const Manifest& manifest() const { return manifest_; }
  const std::vector<std::shared_ptr<const SstReader>>& tables() const { return tables_; }
  // Null where this process may not write into the store's folder: then only open files pin what they are.
  const std::shared_ptr<const Lease>& lease() const { return lease_; }
  // The oldest first; at least one, and the last one takes the next events.
  std::vector<std::shared_ptr<Memtable>> memtables() const;
  uint64_t last_seq() const { return last_seq_; }
  uint64_t synced_seq() const;  // events up to it survive power loss, as far as the logs say
  size_t tokens() const { return tokens_.size(); }

 private:
  struct Log {
    uint64_t generation = 0;
    std::string path;
    std::unique_ptr<WalReader> reader;
    std::shared_ptr<Memtable> memtable;
    uint64_t first_seq = 0;  // of the events in the memtable; 0: none
    uint64_t last_seq = 0;
    uint64_t synced_seq = 0;
  };

  Status Follow(const ReplayPoll& poll);
  // Up to date with the manifest, as of some moment in the call.
  Status FollowManifest();
  Status Pin(const Manifest& manifest, const std::string& bytes, std::shared_ptr<const Lease>* lease, bool* named);
  Status OpenTables(const Manifest& manifest, std::vector<std::shared_ptr<const SstReader>>* tables) const;
  bool Continues(const Manifest& manifest) const;
  void Install(Manifest manifest, std::string bytes, std::vector<std::shared_ptr<const SstReader>> tables);
  // An error where a log is not as manifest_ says: damaged, or retired meanwhile.
  Status FollowLogs(const ReplayPoll& poll);
  Result<bool> OpenLog(uint64_t generation, Log* log) const;
  Result<bool> OpenNextLog(Log* log);
  Status ReadOn(Log* log, const ReplayPoll& poll);
  void NoteSynced(Log* log) const;
  uint64_t Reached() const;  // events up to it are here, or lost for ever
  void Forget();

  const std::shared_ptr<const StoreCore> core_;
  const std::string store_id_;
  const std::string manifest_path_;
  std::string manifest_bytes_;  // that manifest_ was read from; empty: none
  Manifest manifest_;
  std::shared_ptr<const Lease> lease_;
  std::vector<std::shared_ptr<const SstReader>> tables_;  // of manifest_.tables, in their order
  std::deque<Log> logs_;                                  // from the floor on, the oldest first
  bool gap_sought_ = false;                               // no log of logs_ is missing, as of manifest_
  std::shared_ptr<Memtable> none_;                        // where there is no log
  std::set<std::pair<uint64_t, uint64_t>> tokens_;
  uint64_t last_seq_ = 0;
};

}  // namespace segue
