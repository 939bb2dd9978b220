// EventStore: Act 1. A durable, append-only LSM store of one event table.
//
//   append ─► WAL ─► memtable (skiplist + sorted runs) ─flush─► SSTables
//
// Files of a store directory: MANIFEST (what it consists of), LOCK (one writer),
// wal-NNNNNN.log (by generation; retired ones are reused or removed), sst-NNNNNN.sst.
//
// Thread safety: every method may be called from any thread. Writers take
// mutex_ for the copy into WAL and memtable only; callers that wait for
// durability share one sync of whoever came first (group commit).
//
// Invariants:
//  1. Sequence numbers are consecutive in the order of the WAL; a batch is one
//     record, so it is recovered whole or not at all.
//  2. One WAL file backs one memtable; it is reused or removed only after the
//     manifest names the SSTable that holds its rows and no longer the WAL.
//  3. synced_seq_ = s means: all rows up to s survive power loss.
//  4. After a failed WAL sync nothing is written any more (poison_): the kernel
//     may have dropped the pages, so a retry could acknowledge lost data.
//
// Ownership: owns its background threads, which end in Close(). Snapshots
// outlive the store.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/latency_histogram.h"
#include "events/compaction_picker.h"
#include "events/file_reaper.h"
#include "events/manifest.h"
#include "events/memtable.h"
#include "events/replica.h"
#include "events/snapshot.h"
#include "events/split_fitters.h"
#include "events/stall_stats.h"
#include "events/table_writer.h"
#include "events/time_windows.h"
#include "events/wal_writer.h"

namespace segue {

enum class Durability : uint8_t {
  kCommit = 0,    // on return the event survives power loss
  kInterval = 1,  // synced every sync_interval_ms; power loss can take that much
  kOs = 2,        // survives a killed process, not power loss
};

struct StoreOptions {
  // Behaviour.
  Durability durability = Durability::kCommit;
  bool read_only = false;
  uint32_t sync_interval_ms = 5;  // kInterval: at most about this much is lost to power loss
  // Told of errors that no caller gets, by background threads; must not call the store.
  std::function<void(const std::string&)> log_error;

  // Speed and space; any value gives the same results.
  uint64_t wal_bytes = uint64_t{64} << 20;       // preallocated per WAL file
  uint64_t memtable_bytes = uint64_t{40} << 20;  // flushed when larger; memory is up to ten times this
  size_t max_immutable = 2;                      // memtables waiting for flush before writers wait
  uint64_t cache_bytes = uint64_t{64} << 20;     // what reads by key keep in memory
  std::shared_ptr<BlockCache> cache;             // shared with other stores, instead of one of cache_bytes
  size_t max_open_files = 256;                   // SSTables open for reading at a time
  uint64_t window_rows = 32768;                  // a window of fewer rows shares its SSTable with neighbours
  uint64_t table_keys = uint64_t{4} << 20;       // an SSTable of so many distinct keys is continued in another one
  bool background_compaction = true;
  uint64_t compaction_bytes_per_second = uint64_t{32} << 20;  // written by merges in the background; 0: no limit
  SstOptions sst;
};

// SSTables of one time window, or of several that share files.
struct WindowStats {
  int64_t min_time = 0;
  int64_t max_time = 0;
  bool shared = false;
  uint64_t tables = 0;
  uint64_t rows = 0;
  uint64_t bytes = 0;
};

struct CompactionProgress {
  uint64_t bytes_done = 0;
  uint64_t bytes_left = 0;
};

// Bytes of log files, which are rarely full: what is left goes in leaps.
struct OpenProgress {
  uint64_t bytes_done = 0;
  uint64_t bytes_left = 0;
};

struct ExpireResult {
  int64_t before = kNothingExpired;  // rounded down to the beginning of a window
  uint64_t rows = 0;
  uint64_t tables = 0;  // that went as a whole
  uint64_t bytes = 0;   // of them
  uint64_t untaken = 0;
};

struct StoreStats {
  uint64_t sequence = 0;
  uint64_t synced_sequence = 0;
  uint64_t flushed_sequence = 0;
  uint64_t skiplist_rows = 0;
  uint64_t run_rows = 0;
  uint64_t runs = 0;
  uint64_t immutable_memtables = 0;
  uint64_t memtable_bytes = 0;
  uint64_t tables = 0;
  uint64_t table_rows = 0;
  uint64_t table_bytes = 0;
  uint64_t tokens = 0;
  // Since open:
  uint64_t appended_rows = 0;
  uint64_t appended_bytes = 0;  // of packed events
  uint64_t wal_bytes_written = 0;
  uint64_t table_bytes_written = 0;
  uint64_t syncs = 0;
  uint64_t flushes = 0;
  std::array<StallStats, kStallCauses> stalls;
  std::vector<std::pair<uint64_t, uint64_t>> commits;  // LatencyHistogram::Buckets of WaitDurable
  uint64_t longest_commit_ns = 0;
  uint64_t ns_open = 0;
  // Compaction, since open unless said otherwise:
  uint64_t compactions = 0;
  uint64_t compaction_bytes_read = 0;
  uint64_t compaction_bytes_written = 0;
  uint64_t compaction_pending_bytes = 0;  // of tables that are due to be merged now
  uint64_t retired_tables = 0;            // files that wait for their last reader now
  double write_amplification = 0;         // bytes written to logs and tables, for each byte appended
  std::vector<WindowStats> windows;       // now, the oldest first
  ReadCounts reads;
  // Of the block cache, which several stores may share:
  uint64_t cache_bytes = 0;
  uint64_t cache_capacity = 0;
  std::string background_error;  // of work that failed when it was last tried
};

struct SequenceRange {
  uint64_t first;
  uint64_t last;  // first - 1 when empty
};

class EventStore {
 public:
  // `window`: the width of a time window, in the time column's unit; 0: a day.
  static Status Create(Env* env, const std::string& dir, const StoreSchema& schema, int64_t window);
  // `poll` is asked at every record of the logs that are replayed; with its error nothing is open, and the next
  // Open finds what this one would have found.
  using OpenPoll = std::function<Status(const OpenProgress&)>;
  static Result<std::shared_ptr<EventStore>> Open(std::shared_ptr<Env> env, const std::string& dir,
                                                  StoreOptions options, const OpenPoll& poll);
  ~EventStore();
  EventStore(const EventStore&) = delete;
  EventStore& operator=(const EventStore&) = delete;

  const StoreCore& core() const { return *core_; }
  int64_t window() const { return window_; }
  std::string store_id() const;  // hex
  bool read_only() const { return options_.read_only; }
  bool commits() const { return options_.durability == Durability::kCommit; }
  // kClosed in a forked child, where nothing may be touched, of snapshots and
  // scans neither: the log is mapped by both processes, the threads exist in the
  // parent only, a mutex may be held for ever.
  Status CheckProcess() const;

  // `row` is packed by core().format and was checked. Visible on return, and
  // durable as well unless `acknowledge` is false: then WaitDurable is due.
  Result<uint64_t> AppendRow(std::string_view row, bool acknowledge = true);
  // AppendRow without any waiting, for callers who hold a lock of their own:
  // 0 when that is not possible now, and nothing was done. WaitDurable is due.
  uint64_t TryAppendRow(std::string_view row);
  // Until `seq` is as durable as the store's option promises.
  Status WaitDurable(uint64_t seq);
  // Atomic. A token that was committed before returns its first range.
  Result<SequenceRange> AppendBatch(ColumnBatch batch, std::string_view token);

  Result<uint64_t> Sync();  // makes all acknowledged rows durable; returns the last of them
  Status Flush();           // everything into SSTables
  // Merges what there is until each window is one file, small neighbours
  // together; `poll` may stop it. Says how many files the rows of one window
  // are in at most: more than one where some of them share a file.
  using CompactionPoll = std::function<Status(const CompactionProgress&)>;
  Result<uint64_t> Compact(const CompactionPoll& poll);
  // Drops the windows that lie wholly before `before`, durably and as one
  // change. Refuses, in result.untaken, when rows of them are above `taken_seq`.
  using Poll = std::function<Status()>;
  Result<ExpireResult> Expire(int64_t before, uint64_t taken_seq, const Poll& poll);
  // Read-only: shows what the writer has acknowledged by now. Returns the last
  // sequence number, which snapshots from then on have. For the writer itself nothing to do.
  // `poll` may stop it: then all stays as it was.
  Result<uint64_t> Refresh(const Poll& poll);
  Result<std::shared_ptr<const Snapshot>> GetSnapshot();
  Result<StoreStats> Stats();
  Status Verify();  // reads every checksum of every file, of logs as far as they were synced
  Status RecordHandoff(uint64_t seq);
  Status Close();  // idempotent; syncs. Of several at once, each returns when all is closed

 private:
  using Clock = std::chrono::steady_clock;
  struct Immutable {
    std::shared_ptr<Memtable> memtable;
    std::shared_ptr<WalWriter> wal;
    std::string wal_path;
    uint64_t last_seq;
    uint64_t next_generation;  // the first WAL generation that does not belong to it
    std::vector<TokenEntry> tokens;
  };
  struct RetiredWal {
    std::string path;
    std::weak_ptr<const void> mapping;  // of a writer that still has the file: no other log may have its blocks
  };
  using Token = std::pair<uint64_t, uint64_t>;  // 128-bit hash of the caller's string

  EventStore(std::shared_ptr<StoreCore> core, StoreOptions options, Manifest manifest);
  static void Delete(EventStore* store);

  // event_store_recovery.cc
  Status Recover(const OpenPoll& poll);
  Status RecoverTables();
  Status ReplayWals(const OpenPoll& poll);
  uint64_t Reached() const;
  Result<uint64_t> ReplayOne(const std::string& path, bool follows, WalWriter* relog, const ReplayPoll& poll);
  Result<uint64_t> RefreshFrom(const ReplayPoll& poll);
  Result<uint64_t> LogBytes() const;

  Status CheckWritable();
  std::string WalPath(uint64_t generation) const;
  std::string TablePath(uint64_t number) const;

  // All with mutex_ held.
  Status MakeRoomLocked(std::unique_lock<std::mutex>* lock, size_t payload);
  void SealMemtableLocked();
  void RequestMergeLocked();
  Status WaitForRoomLocked(std::unique_lock<std::mutex>* lock);
  void PaceLocked(std::unique_lock<std::mutex>* lock);
  std::vector<MemtableView> ViewsLocked() const;
  std::vector<WindowStats> WindowsLocked() const;

  Result<uint64_t> AddRowLocked(std::string_view key, int64_t time, std::string_view row);
  Status AppendRecordLocked(WalRecordType type, uint32_t rows, std::string_view payload);
  Status SyncTo(uint64_t seq);
  // `fresh`: tables that this manifest is the first to name. If it cannot be
  // written, the disk may name them or not: they stay until one is written.
  Status WriteManifest(const Manifest& manifest, const std::vector<SstMeta>& fresh);
  Status FlushOne(Immutable immutable);
  FileModels ModelsOfRuns(const WindowSplit& split, uint64_t all,
                          const std::vector<std::shared_ptr<const MemtableRun>>& runs, OrderedRows* order) const;
  Result<std::vector<SstMeta>> WriteRuns(const std::vector<std::shared_ptr<const MemtableRun>>& runs,
                                         const std::vector<TokenEntry>& tokens);
  void InstallFlush(const Immutable& immutable, Manifest manifest,
                    std::vector<std::shared_ptr<const SstReader>> tables);
  NewTable NewTables();  // for a TableWriter
  Status OpenTables(const std::vector<SstMeta>& metas, std::vector<std::shared_ptr<const SstReader>>* tables);
  // Background work that can fail, each of which has one error at a time.
  enum Work : uint8_t { kFlushes, kSyncs, kMerges, kRemovals, kWorks };
  // Takes mutex_. An error that lasts is told once.
  void ReportBackgroundError(Work work, const Status& status, const char* consequence);
  // When background threads need not give way: writers wait for flushes, or never for the disk.
  const std::atomic<bool>* Hurry() const { return commits() ? &flushes_behind_ : nullptr; }
  void FlushLoop();
  void MergeLoop();
  void IntervalLoop();

  // event_store_logs.cc
  struct NewLog;
  NewLog NextLogLocked(bool ahead);
  Result<std::shared_ptr<WalWriter>> CreateLog(const NewLog& log, uint64_t capacity) const;
  Result<std::shared_ptr<WalWriter>> CreateLogLocked(uint64_t capacity);
  Status OpenWalLocked(std::unique_lock<std::mutex>* lock, size_t payload);
  std::vector<RetiredWal>::iterator FreeLogLocked();
  void DropStandbyLocked();
  bool StandbyDueLocked();
  void AwaitStandbyLocked(std::unique_lock<std::mutex>* lock);
  std::vector<std::string> SurplusLogsLocked();
  void StandbyLoop();

  // event_store_compaction.cc
  class Throttle;
  void CompactionLoop();
  void ReapLoop();
  std::vector<CompactionPick> CompactionsLocked() const;
  Status CountWindows(const std::vector<std::shared_ptr<const SstReader>>& tables, WindowHistogram* histogram) const;
  Result<FileModels> ModelsOfTables(const WindowSplit& split, uint64_t all,
                                    const std::vector<std::shared_ptr<const SstReader>>& tables,
                                    Throttle* throttle) const;
  Result<std::vector<SstMeta>> WriteMerged(const std::vector<std::shared_ptr<const SstReader>>& tables,
                                           const std::vector<TokenEntry>& tokens);
  Status MergeTables(const std::vector<std::shared_ptr<const SstReader>>& tables);
  // event_store_expiry.cc
  class CompactionPause;
  Status CountExpired(const SstReader& table, int64_t bound, uint64_t taken_seq, const Poll& poll,
                      ExpireResult* result) const;

  void WatchTables(const std::vector<std::shared_ptr<const SstReader>>& tables);
  void RetireTables(const std::vector<std::shared_ptr<const SstReader>>& tables);
  void ReapLocked(std::unique_lock<std::mutex>* lock);

  const std::shared_ptr<StoreCore> core_;
  const StoreOptions options_;
  const int64_t window_;  // width of a time window
  const int process_;     // that opened the store
  const uint64_t fork_;   // its ForkGeneration
  std::unique_ptr<FileLock> lock_file_;

  std::mutex refresh_mutex_;          // one refresh at a time; taken before the others; guards what follows
  std::unique_ptr<Replica> replica_;  // read-only: where manifest_, tables_ and memtables come from

  mutable std::mutex mutex_;  // guards what follows
  Manifest manifest_;
  std::shared_ptr<const Lease> lease_;  // read-only: on tables_
  size_t replica_tokens_ = 0;
  std::vector<std::shared_ptr<const SstReader>> tables_;  // of manifest_.tables, in their order
  std::shared_ptr<Memtable> memtable_;
  std::vector<TokenEntry> memtable_tokens_;
  std::shared_ptr<WalWriter> wal_;        // null until the first append after open or rotation
  std::shared_ptr<WalWriter> standby_;    // the one that comes next, made before it is needed; has no record
  std::vector<RetiredWal> retired_wals_;  // files whose blocks the next WAL may reuse
  uint64_t next_generation_ = 1;          // of the log that is made next
  bool making_standby_ = false;           // has that generation, too: no other log may be made
  bool standby_failed_ = false;           // for this memtable
  int standby_wanted_ = 0;                // by flushes that are asked for and wait for it
  bool half_full_ = false;                // memtable_ or wal_
  bool rotates_ = false;                  // a memtable was sealed since open
  std::deque<Immutable> immutables_;
  std::vector<std::shared_ptr<WalWriter>> unsynced_;  // older WALs whose end is not synced yet
  std::map<Token, TokenEntry> tokens_;
  uint64_t last_seq_ = 0;
  bool closed_ = false;
  bool stop_ = false;
  Status flush_error_;
  Clock::time_point active_since_ = Clock::now();  // when the memtable became the active one
  Clock::time_point flushing_since_;               // when the flush of the oldest immutable one began
  Clock::duration flush_time_;                     // of one memtable: moving average, at first a guess
  StoreStats counters_;
  std::array<std::string, kWorks> background_errors_;
  bool compacting_ = false;                   // the compaction thread merges tables
  size_t compaction_pauses_ = 0;              // who wants it to stand still
  std::multiset<uint64_t> compact_requests_;  // Compact() calls under way: up to which sequence
  uint64_t compact_calls_ = 0;                // so far
  Status compaction_error_;
  std::condition_variable flush_cv_;  // work for the flush thread
  std::condition_variable room_cv_;   // an immutable memtable was flushed, or could not be
  std::condition_variable merge_cv_;
  uint64_t merge_requests_ = 0;  // the active memtable had work for the thread that merges
  std::condition_variable interval_cv_;
  std::condition_variable log_cv_;         // a log was made, or work for the thread that makes them
  std::condition_variable compaction_cv_;  // tables changed, or what is wanted of the compaction thread
  uint64_t reap_requests_ = 0;             // who had files retired
  uint64_t reap_answers_ = 0;              // of them, what can be removed is
  std::condition_variable reap_cv_;        // one of the two changed

  std::atomic<bool> cancel_merge_{false};
  std::atomic<bool> closing_{false};
  std::atomic<uint64_t> merge_bytes_read_{0};
  std::atomic<bool> merge_urgent_{false};    // the merge waits for nothing
  std::atomic<bool> flushes_behind_{false};  // as many memtables wait as may; merges stand still
  std::unique_ptr<FileReaper> reaper_;

  std::mutex manifest_mutex_;      // one manifest write at a time; taken before mutex_; guards what follows
  std::vector<SstMeta> doubtful_;  // tables that a manifest named whose writing failed

  std::mutex sync_mutex_;  // guards what follows; taken before mutex_
  std::condition_variable sync_cv_;
  bool syncing_ = false;
  bool let_flush_in_ = false;  // no sync begins before a flush that is done has been taken in
  uint64_t synced_seq_ = 0;
  Status poison_;
  std::atomic<bool> poisoned_{false};  // poison_ is set

  std::mutex close_mutex_;  // held by the Close that does the work; taken before all others

  const Clock::time_point opened_ = Clock::now();
  LatencyHistogram commits_;

  std::vector<std::thread> threads_;
};

}  // namespace segue
