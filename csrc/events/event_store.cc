#include "events/event_store.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <random>
#include <tuple>

#include "base/cpu.h"
#include "base/process.h"
#include "events/leases.h"
#include "events/wal_reader.h"

namespace segue {
namespace {

// Until one flush was timed. Too little would let writers run into a full stop.
constexpr uint64_t kGuessedFlushBytesPerMicrosecond = 256;

std::string Hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const char byte : bytes) {
    out.push_back(kDigits[(byte >> 4) & 15]);
    out.push_back(kDigits[byte & 15]);
  }
  return out;
}

}  // namespace

Status EventStore::Create(Env* env, const std::string& dir, const StoreSchema& schema, int64_t window) {
  if (window < 0) return Status::Invalid("a time window of width " + std::to_string(window) + "; it must be positive");
  const std::string path = JoinPath(dir, kManifestName);
  SEGUE_ASSIGN_OR_RETURN(const bool exists, env->Exists(path));
  if (exists) return Status::Invalid("'" + dir + "' already holds an event table");
  // Every directory made here must itself survive: sync each one's parent.
  std::vector<std::string> made;
  for (std::string at = dir; !at.empty() && at != "/" && at != "."; at = DirName(at)) {
    SEGUE_ASSIGN_OR_RETURN(const bool there, env->Exists(at));
    if (there) break;
    made.push_back(DirName(at));
  }
  SEGUE_RETURN_IF_ERROR(env->CreateDirs(dir));
  for (const std::string& parent : made) SEGUE_RETURN_IF_ERROR(env->SyncDir(parent));

  Manifest manifest;
  std::random_device random;
  for (int i = 0; i < 4; ++i) PutFixed(&manifest.store_id, static_cast<uint32_t>(random()));
  manifest.schema = schema.Serialize();
  manifest.window = window == 0 ? DayWindow(schema) : window;
  return env->WriteFileAtomic(path, manifest.Serialize());
}

EventStore::EventStore(std::shared_ptr<StoreCore> core, StoreOptions options, Manifest manifest)
    : core_(std::move(core)),
      options_(options),
      window_(manifest.window),
      process_(getpid()),
      fork_(ForkGeneration()),
      manifest_(std::move(manifest)),
      flush_time_(std::chrono::microseconds(options.memtable_bytes / kGuessedFlushBytesPerMicrosecond)),
      reaper_(std::make_unique<FileReaper>(core_->env, core_->dir)) {}

Result<std::shared_ptr<EventStore>> EventStore::Open(std::shared_ptr<Env> env, const std::string& dir,
                                                     StoreOptions options, const OpenPoll& poll) {
  SEGUE_RETURN_IF_ERROR(ActiveIsa().status());  // an unknown SEGUE_ISA: said here, not in the middle of a flush
  std::unique_ptr<FileLock> lock_file;
  if (!options.read_only) {
    SEGUE_ASSIGN_OR_RETURN(lock_file, env->LockFile(JoinPath(dir, "LOCK")));
  }
  SEGUE_ASSIGN_OR_RETURN(Manifest manifest, Manifest::Load(env.get(), JoinPath(dir, kManifestName)));
  SEGUE_ASSIGN_OR_RETURN(StoreSchema schema, StoreSchema::Parse(manifest.schema));
  auto core = std::make_shared<StoreCore>(env, dir, std::move(schema));
  core->resources.files = std::make_shared<OpenFiles>(env, options.max_open_files);
  core->resources.cache = options.cache ? options.cache : std::make_shared<BlockCache>(options.cache_bytes);
  std::shared_ptr<EventStore> store(new EventStore(std::move(core), options, std::move(manifest)), &EventStore::Delete);
  if (options.read_only) {
    store->replica_ = std::make_unique<Replica>(store->core_, store->manifest_.store_id);
    SEGUE_ASSIGN_OR_RETURN(const uint64_t bytes, store->LogBytes());
    SEGUE_RETURN_IF_ERROR(
        store->RefreshFrom([&](uint64_t done) { return poll({done, bytes - std::min(bytes, done)}); }).status());
    return store;
  }
  SEGUE_RETURN_IF_ERROR(store->Recover(poll));
  // Made here, so that readers need the right to write in this folder only.
  SEGUE_RETURN_IF_ERROR(env->CreateDirs(JoinPath(dir, kLeaseFolder)));
  store->lock_file_ = std::move(lock_file);
  store->threads_.emplace_back(&EventStore::FlushLoop, store.get());
  store->threads_.emplace_back(&EventStore::MergeLoop, store.get());
  store->threads_.emplace_back(&EventStore::CompactionLoop, store.get());
  store->threads_.emplace_back(&EventStore::ReapLoop, store.get());
  store->threads_.emplace_back(&EventStore::StandbyLoop, store.get());
  if (options.durability == Durability::kInterval) {
    store->threads_.emplace_back(&EventStore::IntervalLoop, store.get());
  }
  return store;
}

void EventStore::Delete(EventStore* store) {
  // In a forked child it stays for ever: the parent's threads, which do not exist
  // here, wait on its condition variables, and to destroy these would wait for them.
  if (store->CheckProcess().ok()) delete store;
}

EventStore::~EventStore() {
  // The destructor has nobody to report to; callers that care call Close().
  const Status ignored = Close();
  static_cast<void>(ignored);
}

std::string EventStore::store_id() const {
  const std::lock_guard lock(mutex_);
  return Hex(manifest_.store_id);
}

// Size of the logs that a reader replays, for its progress.
Result<uint64_t> EventStore::LogBytes() const {
  SEGUE_ASSIGN_OR_RETURN(const std::vector<std::string> names, core_->env->List(core_->dir));
  uint64_t bytes = 0;
  for (const std::string& name : names) {
    uint64_t generation = 0;
    if (!ParseWalFile(name, &generation) || generation < manifest_.wal_floor) continue;
    // The writer may have retired it meanwhile.
    if (const Result<uint64_t> size = core_->env->FileSize(WalPath(generation)); size.ok()) bytes += *size;
  }
  return bytes;
}

std::string EventStore::WalPath(uint64_t generation) const { return WalFile(core_->dir, generation); }

std::string EventStore::TablePath(uint64_t number) const { return TableFile(core_->dir, number); }

Status EventStore::CheckProcess() const {
  if (ForkGeneration() == fork_) return {};
  return Status::Closed("event table '" + core_->dir + "' was opened by process " + std::to_string(process_) +
                        " before a fork; open it again in the child, or with mode=\"r\" while the parent writes");
}

Status EventStore::CheckWritable() {
  SEGUE_RETURN_IF_ERROR(CheckProcess());
  if (options_.read_only) {
    return Status::ReadOnly("event table '" + core_->dir + "' was opened with mode=\"r\"; open it with mode=\"rw\"");
  }
  if (poisoned_.load(std::memory_order_acquire)) {
    const std::lock_guard lock(sync_mutex_);
    return Status::ReadOnly("event table '" + core_->dir + "' stopped taking writes after a failed sync (" +
                            poison_.message() + "); what was acknowledged is safe: close it and open it again");
  }
  return {};
}

Result<uint64_t> EventStore::Refresh(const Poll& poll) {
  return RefreshFrom([&](uint64_t) { return poll(); });
}

// Takes over what the replica has now, in one step.
Result<uint64_t> EventStore::RefreshFrom(const ReplayPoll& poll) {
  SEGUE_RETURN_IF_ERROR(CheckProcess());
  const std::lock_guard refreshing(refresh_mutex_);
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
    if (!options_.read_only) return last_seq_;
  }
  SEGUE_RETURN_IF_ERROR(replica_->Refresh(poll));
  std::vector<std::shared_ptr<Memtable>> memtables = replica_->memtables();
  const std::lock_guard sync_lock(sync_mutex_);
  const std::lock_guard lock(mutex_);
  manifest_ = replica_->manifest();
  tables_ = replica_->tables();
  lease_ = replica_->lease();
  memtable_ = std::move(memtables.back());
  memtables.pop_back();
  immutables_.clear();
  for (auto& memtable : memtables) immutables_.push_back({std::move(memtable), nullptr, {}, 0, 0, {}});
  replica_tokens_ = replica_->tokens();
  last_seq_ = replica_->last_seq();
  synced_seq_ = replica_->synced_seq();
  return last_seq_;
}

std::vector<MemtableView> EventStore::ViewsLocked() const {
  std::vector<MemtableView> views;
  views.push_back(memtable_->View());
  for (const Immutable& immutable : immutables_) views.push_back(immutable.memtable->View());
  return views;
}

Result<std::shared_ptr<const Snapshot>> EventStore::GetSnapshot() {
  SEGUE_RETURN_IF_ERROR(CheckProcess());
  const std::lock_guard lock(mutex_);
  if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
  return std::make_shared<const Snapshot>(core_, last_seq_, ViewsLocked(), tables_, lease_);
}

Result<StoreStats> EventStore::Stats() {
  SEGUE_RETURN_IF_ERROR(CheckProcess());
  StoreStats stats;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
    stats = counters_;
    for (const std::string& error : background_errors_) {
      if (stats.background_error.empty()) stats.background_error = error;
    }
    stats.commits = commits_.Buckets();
    stats.longest_commit_ns = commits_.longest();
    stats.ns_open =
        static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - opened_).count());
    stats.reads = core_->reads.Total();
    stats.cache_bytes = core_->resources.cache->bytes();
    stats.cache_capacity = core_->resources.cache->capacity();
    stats.sequence = last_seq_;
    stats.flushed_sequence = manifest_.flushed_seq;
    stats.skiplist_rows = memtable_->skiplist_rows();
    stats.run_rows = memtable_->run_rows();
    stats.runs = memtable_->runs();
    stats.memtable_bytes = memtable_->memory();
    stats.immutable_memtables = immutables_.size();
    for (const Immutable& immutable : immutables_) {
      stats.run_rows += immutable.memtable->rows();
      stats.memtable_bytes += immutable.memtable->memory();
    }
    stats.tables = tables_.size();
    stats.windows = WindowsLocked();
    for (const CompactionPick& pick : CompactionsLocked()) stats.compaction_pending_bytes += pick.bytes;
    stats.retired_tables = reaper_->waiting();
    const uint64_t written = stats.wal_bytes_written + stats.table_bytes_written + stats.compaction_bytes_written;
    if (stats.appended_bytes > 0) {
      stats.write_amplification = static_cast<double>(written) / static_cast<double>(stats.appended_bytes);
    }
    for (const SstMeta& table : manifest_.tables) {
      stats.table_rows += table.rows;
      stats.table_bytes += table.file_size;
    }
    stats.tokens = options_.read_only ? replica_tokens_ : tokens_.size();
  }
  const std::lock_guard lock(sync_mutex_);
  stats.synced_sequence = synced_seq_;
  if (!poison_.ok()) stats.background_error = poison_.message();
  return stats;
}

std::vector<WindowStats> EventStore::WindowsLocked() const {
  std::map<WindowNode, WindowStats> nodes;
  for (const SstMeta& table : manifest_.tables) {
    const WindowNode node = WindowNode::Of(WindowOf(table.min_time, window_), WindowOf(table.max_time, window_));
    const auto [at, fresh] = nodes.try_emplace(node, WindowStats{table.min_time, table.max_time, node.level > 0});
    WindowStats& stats = at->second;
    stats.min_time = std::min(stats.min_time, table.min_time);
    stats.max_time = std::max(stats.max_time, table.max_time);
    ++stats.tables;
    stats.rows += table.rows;
    stats.bytes += table.file_size;
  }
  std::vector<WindowStats> windows;
  for (const auto& [node, stats] : nodes) windows.push_back(stats);
  std::sort(windows.begin(), windows.end(), [](const WindowStats& a, const WindowStats& b) {
    return std::tie(a.min_time, a.max_time) < std::tie(b.min_time, b.max_time);
  });
  return windows;
}

Status EventStore::Verify() {
  SEGUE_RETURN_IF_ERROR(CheckProcess());
  std::vector<std::shared_ptr<const SstReader>> tables;
  std::vector<std::shared_ptr<WalWriter>> logs;  // no other log gets their files while they are held
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
    tables = tables_;
    for (const Immutable& immutable : immutables_) logs.push_back(immutable.wal);
    logs.push_back(wal_);
  }
  const Result<Manifest> manifest = Manifest::Load(core_->env.get(), JoinPath(core_->dir, kManifestName));
  SEGUE_RETURN_IF_ERROR(manifest.status());
  for (const auto& table : tables) SEGUE_RETURN_IF_ERROR(table->Verify());
  for (const auto& log : logs) {
    if (!log) continue;
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<WalReader> reader,
                           WalReader::Open(core_->env.get(), log->path(), log->header().store_id));
    WalRecord record;
    for (bool more = true; more;) {
      SEGUE_ASSIGN_OR_RETURN(more, reader->Next(&record));
    }
  }
  return {};
}

Status EventStore::RecordHandoff(uint64_t seq) {
  if (options_.read_only) return {};
  SEGUE_RETURN_IF_ERROR(CheckWritable());
  uint64_t last = 0;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
    last = last_seq_;
  }
  // Recovery passes over numbers that were handed off and are not there. If power loss could take some of
  // them, it would pass over these and take what came after.
  SEGUE_RETURN_IF_ERROR(SyncTo(std::min(seq, last)));
  const std::lock_guard manifest_lock(manifest_mutex_);
  Manifest next;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
    if (seq <= manifest_.handoff_seq) return {};
    next = manifest_;
  }
  next.handoff_seq = seq;
  SEGUE_RETURN_IF_ERROR(WriteManifest(next, {}));
  const std::lock_guard lock(mutex_);
  next.next_file = manifest_.next_file;
  manifest_ = std::move(next);
  return {};
}

Status EventStore::Close() {
  if (!CheckProcess().ok()) return {};  // the parent's; see Delete
  const std::lock_guard closing(close_mutex_);
  // After a refresh under way.
  const std::lock_guard refreshing(refresh_mutex_);
  uint64_t seq = 0;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return {};
    closed_ = true;
    closing_ = true;
    seq = last_seq_;
  }
  room_cv_.notify_all();
  Status status;
  if (!options_.read_only && !threads_.empty()) status = SyncTo(seq);
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  flush_cv_.notify_all();
  merge_cv_.notify_all();
  interval_cv_.notify_all();
  log_cv_.notify_all();
  room_cv_.notify_all();
  cancel_merge_ = true;
  compaction_cv_.notify_all();
  reap_cv_.notify_all();
  const bool opened = !threads_.empty();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  // After a manifest that somebody is writing: the next owner of the store must not find it replaced.
  const std::lock_guard manifest_lock(manifest_mutex_);
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<std::string, uint64_t>> logs;  // and where their records end
  const auto seal = [&](WalWriter* wal) {
    if (wal == nullptr || !status.ok()) return;
    status = wal->Seal();
    if (opened && status.ok()) logs.emplace_back(wal->path(), wal->end_offset());
  };
  for (const Immutable& immutable : immutables_) seal(immutable.wal.get());
  seal(wal_.get());
  if (!status.ok()) logs.clear();
  if (standby_) {
    retired_wals_.push_back({standby_->path(), {}});
    standby_.reset();
  }
  wal_.reset();
  unsynced_.clear();
  immutables_.clear();
  for (const auto& table : tables_) reaper_->Watch(table->meta().file_number, table);
  tables_.clear();
  memtable_.reset();
  replica_.reset();
  lease_.reset();
  if (!options_.read_only) {
    // A store at rest takes the space of its events alone.
    for (const auto& [log, end] : logs) core_->env->ReleaseTail(log, end);
    for (const RetiredWal& retired : retired_wals_) {
      if (!opened) break;  // an open that failed changes nothing
      // One that stays is found again at the next open.
      const Status ignored = core_->env->Remove(retired.path);
      static_cast<void>(ignored);
    }
    retired_wals_.clear();
    // Snapshots outlive the store, and open their files again when need be, which
    // the next one to open the store would remove. Where no lease can be had, as
    // on a full disk, a scan of theirs may end with an error.
    if (const std::set<uint64_t> read = reaper_->read(); !read.empty()) {
      if (auto lease = Lease::Take(core_->env, core_->dir, read); lease.ok()) core_->lease = lease.Take();
    }
    // What a snapshot still reads, or cannot go, is found at the next open.
    const Status reaped = reaper_->Reap([] { return true; });
    static_cast<void>(reaped);
  }
  lock_file_.reset();
  return status;
}

}  // namespace segue
