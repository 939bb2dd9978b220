// EventStore: from full memtable to SSTable, and the background threads that do it.
#include <algorithm>
#include <cerrno>
#include <chrono>

#include "base/thread_priority.h"
#include "events/event_store.h"
#include "events/key_prefixes.h"

namespace segue {
namespace {

constexpr size_t kMostFlushFiles = 64;  // of one flush
// Rows that are ordered at a time: their entries stay in the second-level cache.
constexpr size_t kRangeRows = 8192;
// Rows of long keys that share a prefix, which a sample may sort for its own sake. Where all keys do, the models
// would not be worth it.
constexpr size_t kMostSortedTwice = 8192;
// How long a flush that is done may stand behind syncs before these wait for it.
constexpr std::chrono::milliseconds kLetIn(50);

}  // namespace

Status EventStore::WriteManifest(const Manifest& manifest, const std::vector<SstMeta>& fresh) {
  const Status status = core_->env->WriteFileAtomic(JoinPath(core_->dir, kManifestName), manifest.Serialize());
  if (!status.ok()) {
    doubtful_.insert(doubtful_.end(), fresh.begin(), fresh.end());
    return status;
  }
  if (doubtful_.empty()) return status;
  for (const SstMeta& table : doubtful_) reaper_->Retire(table.file_number, TablePath(table.file_number));
  doubtful_.clear();
  const std::lock_guard lock(mutex_);
  ++reap_requests_;
  reap_cv_.notify_all();
  return status;
}

NewTable EventStore::NewTables() {
  return [this] {
    const std::lock_guard lock(mutex_);
    const uint64_t number = manifest_.next_file++;
    return std::make_pair(number, TablePath(number));
  };
}

// Makes new tables ready to be named by a manifest.
Status EventStore::OpenTables(const std::vector<SstMeta>& metas,
                              std::vector<std::shared_ptr<const SstReader>>* tables) {
  Status status = core_->env->SyncDir(core_->dir);
  for (size_t i = 0; status.ok() && i < metas.size(); ++i) {
    Result<std::unique_ptr<SstReader>> reader = core_->OpenTable({metas[i]});
    status = reader.status();
    if (status.ok()) tables->push_back(reader.Take());
  }
  if (status.ok()) return {};
  // The rows are written again later; nothing names these files.
  tables->clear();
  for (const SstMeta& meta : metas) reaper_->Retire(meta.file_number, TablePath(meta.file_number));
  {
    const std::lock_guard lock(mutex_);
    ++reap_requests_;
  }
  reap_cv_.notify_all();
  return status;
}

// Of each file of a flush. The order is at its beginning again then.
FileModels EventStore::ModelsOfRuns(const WindowSplit& split, uint64_t all,
                                    const std::vector<std::shared_ptr<const MemtableRun>>& runs,
                                    OrderedRows* order) const {
  SplitFitters fitters(&core_->schema, &split, ModelFitter::kWorthOfFlush);
  const size_t stretches = ModelFitter::Stretches(all);
  const bool exact = PrefixIsExact(core_->schema);
  ColumnBatch rows;
  for (size_t i = 0; i < stretches; ++i) {
    order->Seek(static_cast<double>(i) / static_cast<double>(stretches));
    const size_t most = stretches == 1 ? static_cast<size_t>(all) : ModelFitter::kStretchRows;
    if (!exact && order->RangeRows(most) > kMostSortedTwice) continue;
    if (!order->NextRange(most)) break;
    const size_t n = std::min(order->entries().size(), most);
    order->Gather(order->entries().data(), n, &rows);
    fitters.AddStretch(rows);
  }
  order->Seek(0);
  fitters.EndSample();
  for (const auto& run : runs) {
    fitters.Add(run->batch(), kNothingExpired, fitters.counting());
  }
  return fitters.Fit();
}

// A table for each window of many rows; windows of few rows share one.
Result<std::vector<SstMeta>> EventStore::WriteRuns(const std::vector<std::shared_ptr<const MemtableRun>>& runs,
                                                   const std::vector<TokenEntry>& tokens) {
  WindowHistogram histogram(window_);
  OrderedRows order(core_->schema);
  for (const auto& run : runs) {
    const ColumnData& times = run->batch().columns[static_cast<size_t>(core_->schema.time)];
    histogram.Add(times, 0, run->rows(), kNothingExpired);
    order.AddSource(&run->batch(), &run->prefixes());
  }
  const WindowSplit split(histogram, options_.window_rows, kMostFlushFiles);
  TableWriter writer(core_->env.get(), &core_->schema, &core_->interners, options_.sst, options_.table_keys,
                     ModelsOfRuns(split, histogram.rows(), runs, &order), NewTables());

  std::vector<std::vector<OrderedRows::Entry>> waiting(split.files());  // for a whole block, by file
  ColumnBatch block;
  const auto write = [&](size_t file, size_t least) -> Status {
    std::vector<OrderedRows::Entry>& rows = waiting[file];
    size_t done = 0;
    while (rows.size() - done >= least && done < rows.size()) {
      const size_t n = std::min(options_.sst.block_rows, rows.size() - done);
      order.Gather(rows.data() + done, n, &block);
      SEGUE_RETURN_IF_ERROR(writer.Add(file, block));
      done += n;
    }
    rows.erase(rows.begin(), rows.begin() + static_cast<ptrdiff_t>(done));
    return {};
  };
  ColumnData times;
  std::vector<uint32_t> file_of;
  while (order.NextRange(kRangeRows)) {
    const RawVector<OrderedRows::Entry>& entries = order.entries();
    if (split.files() == 1) {
      waiting[0].insert(waiting[0].end(), entries.begin(), entries.end());
    } else {
      times.values.resize(entries.size() * sizeof(int64_t));
      for (size_t i = 0; i < entries.size(); ++i) {
        StoreAs<int64_t>(times.values.data() + i * sizeof(int64_t), entries[i].time);
      }
      file_of.resize(entries.size());
      split.Route(times, 0, entries.size(), file_of.data());
      for (size_t i = 0; i < entries.size(); ++i) waiting[file_of[i]].push_back(entries[i]);
    }
    for (size_t file = 0; file < split.files(); ++file) SEGUE_RETURN_IF_ERROR(write(file, options_.sst.block_rows));
  }
  for (size_t file = 0; file < split.files(); ++file) {
    SEGUE_RETURN_IF_ERROR(write(file, 1));
    if (file + 1 < split.files()) SEGUE_RETURN_IF_ERROR(writer.Close(file));
  }
  return writer.Finish(tokens);
}

Status EventStore::FlushOne(Immutable immutable) {
  const std::vector<std::shared_ptr<const MemtableRun>> runs = immutable.memtable->Finish();
  std::vector<SstMeta> metas;
  std::vector<std::shared_ptr<const SstReader>> tables;
  std::vector<TokenEntry> tokens = std::move(immutable.tokens);
  if (!runs.empty()) {
    {
      const std::lock_guard lock(mutex_);
      tokens.insert(tokens.end(), manifest_.tokens.begin(), manifest_.tokens.end());
    }
    SEGUE_ASSIGN_OR_RETURN(metas, WriteRuns(runs, tokens));
    SEGUE_RETURN_IF_ERROR(OpenTables(metas, &tables));
  }

  const std::lock_guard manifest_lock(manifest_mutex_);
  Manifest next;
  {
    const std::lock_guard lock(mutex_);
    next = manifest_;
  }
  for (const SstMeta& meta : metas) next.tables.push_back({meta});
  if (!runs.empty()) next.DropTokens(tokens);
  next.flushed_seq = std::max(next.flushed_seq, immutable.last_seq);
  next.wal_floor = std::max(next.wal_floor, immutable.next_generation);
  SEGUE_RETURN_IF_ERROR(WriteManifest(next, metas));
  InstallFlush(immutable, std::move(next), std::move(tables));
  return {};
}

// In one step the rows move from memtable to tables, so that no snapshot sees
// them twice or not at all, and the WAL's blocks become free.
void EventStore::InstallFlush(const Immutable& immutable, Manifest manifest,
                              std::vector<std::shared_ptr<const SstReader>> tables) {
  std::unique_lock sync_lock(sync_mutex_);
  // A sync under way may still write into this WAL, whose blocks become free here. Where the next sync
  // always begins as one ends, this thread of low priority may have to be let in.
  const auto idle = [this] { return !syncing_; };
  if (!sync_cv_.wait_for(sync_lock, kLetIn, idle)) {
    let_flush_in_ = true;
    sync_cv_.wait(sync_lock, idle);
    let_flush_in_ = false;
    sync_cv_.notify_all();
  }
  synced_seq_ = std::max(synced_seq_, immutable.last_seq);
  const std::lock_guard lock(mutex_);
  manifest.next_file = manifest_.next_file;
  manifest_ = std::move(manifest);
  for (auto& table : tables) {
    counters_.table_bytes_written += table->meta().file_size;
    tables_.push_back(std::move(table));
  }
  if (!immutables_.empty() && immutables_.front().memtable == immutable.memtable) immutables_.pop_front();
  flushes_behind_ = immutables_.size() >= options_.max_immutable;
  std::erase(unsynced_, immutable.wal);
  RetiredWal retired{immutable.wal_path, {}};
  if (immutable.wal) retired.mapping = immutable.wal->mapping();
  retired_wals_.push_back(std::move(retired));
  if (compacting_) {
    // A merge that stands still must not let a window become crowded.
    const std::vector<CompactionPick> due = CompactionsLocked();
    if (!due.empty() && due.front().crowded) merge_urgent_ = true;
  }
  ++counters_.flushes;
  compaction_cv_.notify_all();
}

void EventStore::ReportBackgroundError(Work work, const Status& status, const char* consequence) {
  {
    const std::lock_guard lock(mutex_);
    if (background_errors_[work] == status.message()) return;
    background_errors_[work] = status.message();
  }
  if (options_.log_error) {
    options_.log_error("event table '" + core_->dir + "': " + status.message() + "; " + consequence);
  }
}

void EventStore::FlushLoop() {
  LowerThreadPriority(ThreadPriority::kSoon, Hurry());
  std::unique_lock lock(mutex_);
  for (;;) {
    flush_cv_.wait(lock, [this] { return stop_ || (!immutables_.empty() && flush_error_.ok()); });
    if (stop_) return;
    Immutable immutable = immutables_.front();
    flushing_since_ = Clock::now();
    lock.unlock();
    const Status status = FlushOne(std::move(immutable));
    lock.lock();
    if (status.ok()) {
      flush_error_ = Status();
      background_errors_[kFlushes].clear();
      const Clock::duration took = Clock::now() - flushing_since_;
      flush_time_ = (3 * flush_time_ + took) / 4;
      log_cv_.notify_all();  // there is a log to be used again
      if (immutables_.empty() && !retired_wals_.empty()) {
        ++reap_requests_;
        reap_cv_.notify_all();
      }
    } else if (standby_ && status.code() == StatusCode::kIo && status.number() == ENOSPC) {
      DropStandbyLocked();  // and try again with its room
      continue;
    } else {
      flush_error_ = status;
      // One that stands still would hold on to what it has written: a full disk may need that.
      if (compacting_ && flushes_behind_ && !merge_urgent_) cancel_merge_ = true;
      if (standby_) DropStandbyLocked();
      lock.unlock();
      ReportBackgroundError(kFlushes, status,
                            "the events stay in memory and in their log, and the flush is tried again");
      lock.lock();
    }
    room_cv_.notify_all();
    if (!status.ok()) {
      // The rows stay in memory and in their WAL. Try again after a pause: a
      // full disk may get room.
      flush_cv_.wait_for(lock, std::chrono::seconds(1), [this] { return stop_ || flush_error_.ok(); });
      flush_error_ = Status();
    }
  }
}

void EventStore::MergeLoop() {
  LowerThreadPriority(ThreadPriority::kSoon, Hurry());
  std::unique_lock lock(mutex_);
  while (!stop_) {
    std::shared_ptr<Memtable> memtable = memtable_;
    const uint64_t seen = merge_requests_;
    lock.unlock();
    const bool merged = memtable->MergeOnce();
    memtable.reset();  // not held while this thread waits: it may be the last to hold it
    lock.lock();
    if (!merged) merge_cv_.wait(lock, [&] { return stop_ || merge_requests_ != seen; });
  }
}

Status EventStore::Flush() {
  SEGUE_RETURN_IF_ERROR(CheckWritable());
  std::unique_lock lock(mutex_);
  if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
  if (memtable_->rows() > 0 && commits()) {
    AwaitStandbyLocked(&lock);
    if (closed_) return Status::Closed("event table '" + core_->dir + "' was closed during a flush");
  }
  flush_error_ = Status();
  if (memtable_->rows() > 0) SealMemtableLocked();
  if (immutables_.empty()) return {};
  const uint64_t floor = immutables_.back().next_generation;
  flush_cv_.notify_all();
  room_cv_.wait(lock, [&] { return stop_ || !flush_error_.ok() || manifest_.wal_floor >= floor; });
  if (manifest_.wal_floor >= floor) return {};
  if (!flush_error_.ok()) return flush_error_;
  return Status::Closed("event table '" + core_->dir + "' was closed during a flush");
}

}  // namespace segue
