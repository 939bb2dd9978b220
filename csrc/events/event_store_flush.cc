// EventStore: from full memtable to SSTable, and the background threads that do it.
#include <algorithm>
#include <chrono>

#include "events/event_store.h"

namespace segue {

Status EventStore::WriteManifest(const Manifest& manifest) {
  return core_->env->WriteFileAtomic(JoinPath(core_->dir, kManifestName), manifest.Serialize());
}

Status EventStore::FlushOne(Immutable immutable) {
  const std::shared_ptr<const MemtableRun> run = immutable.memtable->Finish();
  uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    number = manifest_.next_file++;
  }
  std::shared_ptr<const SstReader> table;
  SstMeta meta;
  if (run) {
    const std::string path = TablePath(number);
    Env* env = core_->env.get();
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<SstBuilder> builder,
                           SstBuilder::Create(env, path, number, &core_->schema, &core_->interners, options_.sst));
    SEGUE_RETURN_IF_ERROR(builder->Add(run->batch()));
    SEGUE_ASSIGN_OR_RETURN(meta, builder->Finish(immutable.tokens));
    SEGUE_RETURN_IF_ERROR(env->SyncDir(core_->dir));
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<SstReader> reader,
                           SstReader::Open(env, path, &core_->schema, &core_->interners));
    table = std::move(reader);
  }

  const std::lock_guard manifest_lock(manifest_mutex_);
  Manifest next;
  {
    const std::lock_guard lock(mutex_);
    next = manifest_;
  }
  if (table) next.tables.push_back(meta);
  next.flushed_seq = std::max(next.flushed_seq, immutable.last_seq);
  next.wal_floor = std::max(next.wal_floor, immutable.next_generation);
  SEGUE_RETURN_IF_ERROR(WriteManifest(next));
  InstallTable(immutable, std::move(next), std::move(table));
  return {};
}

// In one step the rows move from memtable to table, so that no snapshot sees
// them twice or not at all, and the WAL's blocks become free.
void EventStore::InstallTable(const Immutable& immutable, Manifest manifest, std::shared_ptr<const SstReader> table) {
  std::unique_lock sync_lock(sync_mutex_);
  // A sync under way may still write into this WAL, whose blocks become free here.
  sync_cv_.wait(sync_lock, [this] { return !syncing_; });
  synced_seq_ = std::max(synced_seq_, immutable.last_seq);
  const std::lock_guard lock(mutex_);
  manifest.next_file = manifest_.next_file;
  manifest_ = std::move(manifest);
  if (table) {
    counters_.table_bytes_written += table->meta().file_size;
    tables_.push_back(std::move(table));
  }
  if (!immutables_.empty() && immutables_.front().memtable == immutable.memtable) immutables_.pop_front();
  std::erase(unsynced_, immutable.wal);
  retired_wals_.push_back(immutable.wal_path);
  ++counters_.flushes;
}

void EventStore::FlushLoop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    flush_cv_.wait(lock, [this] { return stop_ || (!immutables_.empty() && flush_error_.ok()); });
    if (stop_) return;
    const Immutable immutable = immutables_.front();
    lock.unlock();
    const Status status = FlushOne(immutable);
    lock.lock();
    if (status.ok()) {
      flush_error_ = Status();
    } else {
      flush_error_ = status;
      counters_.background_error = status.message();
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
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const std::shared_ptr<Memtable> memtable = memtable_;
    lock.unlock();
    const bool merged = memtable->MergeOnce();
    lock.lock();
    if (!merged && !stop_) merge_cv_.wait(lock);
  }
}

Status EventStore::Flush() {
  SEGUE_RETURN_IF_ERROR(CheckWritable());
  std::unique_lock lock(mutex_);
  if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
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
