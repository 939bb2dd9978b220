// EventStore: the way of an event into WAL and memtable, and when it is durable.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/process.h"
#include "events/event_store.h"
#include "events/wal_payload.h"

namespace segue {
namespace {

// Batches below this go through the skiplist: as parts of their own they would
// cost every read by key a look each.
constexpr size_t kBatchRows = 64;

// A batch of few rows whose strings make it larger than this, each row with its own, is kept as a batch all the same.
constexpr size_t kMaxPackedBytes = size_t{1} << 20;

// Of one event or batch, packed: with what else a batch of a scan holds it must stay below 2 GiB, and with the
// rest of a memtable below 4 GiB, which is what offsets of strings reach in Arrow and here.
constexpr uint64_t kMaxRecordBytes = uint64_t{1} << 30;

// When flushes fall behind, the last waiting memtable fills no faster than the
// oldest one drains, once this part of it is full; one append waits no longer than that.
constexpr double kPaceFrom = 0.25;
constexpr auto kPaceLongest = std::chrono::milliseconds(1);

}  // namespace

void EventStore::SealMemtableLocked() {
  immutables_.push_back({std::move(memtable_), wal_, wal_->path(), last_seq_, wal_->header().generation + 1,
                         std::move(memtable_tokens_)});
  flushes_behind_ = immutables_.size() >= options_.max_immutable;
  unsynced_.push_back(std::move(wal_));
  memtable_ = std::make_shared<Memtable>(&core_->schema, &core_->format, &core_->interners);
  memtable_tokens_.clear();
  active_since_ = Clock::now();
  wal_.reset();
  half_full_ = false;
  rotates_ = true;
  standby_failed_ = false;
  flush_cv_.notify_all();
  log_cv_.notify_all();
}

Status EventStore::WaitForRoomLocked(std::unique_lock<std::mutex>* lock) {
  if (immutables_.size() < options_.max_immutable) return {};
  const StallTimer timer(&counters_.stalls[kStallFlush]);
  room_cv_.wait(*lock, [this] { return closed_ || immutables_.size() < options_.max_immutable || !flush_error_.ok(); });
  if (immutables_.size() < options_.max_immutable) return {};
  if (!flush_error_.ok()) return flush_error_;
  return Status::Closed("event table '" + core_->dir + "' was closed while an append waited");
}

// Slows writers down before they would have to stop: if the memtable filled up
// before the flush of the oldest is done, the next append would wait for that in one piece.
void EventStore::PaceLocked(std::unique_lock<std::mutex>* lock) {
  if (immutables_.size() < options_.max_immutable) return;
  const double full = static_cast<double>(memtable_->memory()) / static_cast<double>(options_.memtable_bytes);
  if (full <= kPaceFrom) return;
  const auto room_at = std::max(flushing_since_, active_since_) + flush_time_;
  const auto due = active_since_ + std::chrono::duration_cast<Clock::duration>((full - kPaceFrom) / (1 - kPaceFrom) *
                                                                               (room_at - active_since_));
  const auto wait = std::min<Clock::duration>(due - Clock::now(), kPaceLongest);
  if (wait <= Clock::duration::zero()) return;
  const StallTimer timer(&counters_.stalls[kStallPace]);
  lock->unlock();
  std::this_thread::sleep_for(wait);
  lock->lock();
}

// Room for one record, in a WAL whose memtable takes it. May release the lock.
Status EventStore::MakeRoomLocked(std::unique_lock<std::mutex>* lock, size_t payload) {
  PaceLocked(lock);
  for (;;) {
    if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
    if (wal_ && memtable_->memory() < options_.memtable_bytes) {
      if (wal_->Fits(payload)) return {};
    }
    if (wal_) {
      if (immutables_.size() >= options_.max_immutable) {
        SEGUE_RETURN_IF_ERROR(WaitForRoomLocked(lock));
        continue;  // another writer may have rotated meanwhile
      }
      SealMemtableLocked();
    }
    SEGUE_RETURN_IF_ERROR(OpenWalLocked(lock, payload));
  }
}

// Gives the next `rows` sequence numbers to a record in the WAL, which has room for it.
Status EventStore::AppendRecordLocked(WalRecordType type, uint32_t rows, std::string_view payload) {
  SEGUE_RETURN_IF_ERROR(wal_->Append(type, last_seq_ + 1, rows, payload));
  last_seq_ += rows;
  counters_.appended_bytes += payload.size();
  counters_.wal_bytes_written += WalRecordSize(payload.size());
  counters_.appended_rows += rows;
  if (!half_full_ &&
      (memtable_->memory() >= options_.memtable_bytes / 2 || wal_->end_offset() >= wal_->capacity() / 2)) {
    half_full_ = true;
    log_cv_.notify_all();
  }
  return {};
}

void EventStore::RequestMergeLocked() {
  ++merge_requests_;
  merge_cv_.notify_one();
}

Result<uint64_t> EventStore::AddRowLocked(std::string_view key, int64_t time, std::string_view row) {
  SEGUE_RETURN_IF_ERROR(AppendRecordLocked(WalRecordType::kRows, 1, row));
  if (memtable_->AddRow(key, time, last_seq_, row)) RequestMergeLocked();
  return last_seq_;
}

Result<uint64_t> EventStore::AppendRow(std::string_view row, bool acknowledge) {
  SEGUE_RETURN_IF_ERROR(CheckWritable());
  if (row.size() > kMaxRecordBytes) {
    return Status::Invalid("an event of " + std::to_string(row.size()) + " bytes; one may take " +
                           std::to_string(kMaxRecordBytes));
  }
  std::string key;
  const auto* bytes = reinterpret_cast<const uint8_t*>(row.data());
  core_->format.EncodeRowKey(bytes, &key);
  uint64_t seq = 0;
  {
    std::unique_lock lock(mutex_);
    SEGUE_RETURN_IF_ERROR(MakeRoomLocked(&lock, row.size()));
    SEGUE_ASSIGN_OR_RETURN(seq, AddRowLocked(key, core_->format.TimeAt(bytes), row));
  }
  if (acknowledge) SEGUE_RETURN_IF_ERROR(WaitDurable(seq));
  return seq;
}

uint64_t EventStore::TryAppendRow(std::string_view row) {
  if (ForkGeneration() != fork_ || options_.read_only || poisoned_.load(std::memory_order_acquire)) return 0;
  if (row.size() > kMaxRecordBytes) return 0;
  std::string key;
  const auto* bytes = reinterpret_cast<const uint8_t*>(row.data());
  core_->format.EncodeRowKey(bytes, &key);
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || closed_ || !wal_ || memtable_->memory() >= options_.memtable_bytes ||
      immutables_.size() >= options_.max_immutable) {
    return 0;
  }
  if (!wal_->Fits(row.size()) || !wal_->AtOnce(row.size())) return 0;
  const Result<uint64_t> seq = AddRowLocked(key, core_->format.TimeAt(bytes), row);
  return seq.ok() ? *seq : 0;  // AppendRow starts a new log
}

Result<SequenceRange> EventStore::AppendBatch(ColumnBatch batch, std::string_view token) {
  SEGUE_RETURN_IF_ERROR(CheckWritable());
  // Everything that needs no sequence number happens before the lock.
  const size_t n = batch.rows;
  std::string payload;
  const uint64_t content_hash = EncodeBatch(core_->schema, core_->interners, batch, token, &payload);
  if (payload.size() > kMaxRecordBytes) {
    return Status::Invalid("a batch of " + std::to_string(n) + " rows takes " + std::to_string(payload.size()) +
                           " bytes; one batch may take " + std::to_string(kMaxRecordBytes) + ": append it in parts");
  }
  const Token token_key = HashToken(token);
  std::shared_ptr<MemtableBatch> rows;
  std::string packed;
  std::vector<size_t> ends;
  // A row holds its strings itself, where a batch of any number of rows may have one string once.
  for (size_t row = 0; row < n && n < kBatchRows && packed.size() < kMaxPackedBytes; ++row) {
    core_->format.Pack(core_->interners, batch, row, &packed);
    ends.push_back(packed.size());
  }
  if (ends.size() < n) rows = std::make_shared<MemtableBatch>(core_->schema, std::move(batch));

  SequenceRange range{};
  {
    std::unique_lock lock(mutex_);
    if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
    const auto committed = [&] { return !token.empty() && tokens_.contains(token_key); };
    // Nothing is stored for it again, so that a full disk does not matter.
    if (n > 0 && !committed()) SEGUE_RETURN_IF_ERROR(MakeRoomLocked(&lock, payload.size()));
    if (!token.empty()) {  // anew: making room may have let another thread in
      if (const auto found = tokens_.find(token_key); found != tokens_.end()) {
        if (found->second.content_hash != content_hash) {
          return Status::Invalid("token '" + std::string(token) +
                                 "' was already committed with other content; use a new token for new data");
        }
        range = {found->second.first, found->second.last};
      }
    }
    const bool known = range.first != 0;
    if (!known) range = {last_seq_ + 1, last_seq_ + n};
    if (!known && n > 0) {
      SEGUE_RETURN_IF_ERROR(AppendRecordLocked(WalRecordType::kBatch, static_cast<uint32_t>(n), payload));
      bool work = false;
      if (rows) {
        rows->SetFirstSequence(range.first);
        work = memtable_->AddBatch(std::move(rows));
      } else {
        std::string key;
        for (size_t row = 0, begin = 0; row < n; begin = ends[row++]) {
          const std::string_view one(packed.data() + begin, ends[row] - begin);
          const auto* bytes = reinterpret_cast<const uint8_t*>(one.data());
          key.clear();
          core_->format.EncodeRowKey(bytes, &key);
          work |= memtable_->AddRow(key, core_->format.TimeAt(bytes), range.first + row, one);
        }
      }
      if (work) RequestMergeLocked();
      if (!token.empty()) {
        const TokenEntry entry{token_key.first, token_key.second, content_hash, range.first, range.last};
        tokens_.emplace(token_key, entry);
        memtable_tokens_.push_back(entry);
      }
    }
  }
  if (n > 0) SEGUE_RETURN_IF_ERROR(WaitDurable(range.last));
  return range;
}

Status EventStore::WaitDurable(uint64_t seq) {
  if (!commits()) return {};
  SEGUE_RETURN_IF_ERROR(CheckProcess());
  const auto begin = Clock::now();
  const Status status = SyncTo(seq);
  commits_.Add(
      static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count()));
  return status;
}

// ---- durability ----------------------------------------------------------

// Group commit: the first caller syncs everything written so far; those who
// come meanwhile wait, and are usually covered by the next sync together.
Status EventStore::SyncTo(uint64_t seq) {
  std::unique_lock sync_lock(sync_mutex_);
  while (synced_seq_ < seq) {
    if (!poison_.ok()) return poison_;
    if (syncing_ || let_flush_in_) {
      sync_cv_.wait(sync_lock);
      continue;
    }
    syncing_ = true;
    sync_lock.unlock();

    std::vector<std::shared_ptr<WalWriter>> older;
    std::shared_ptr<WalWriter> current;
    uint64_t end = 0;
    uint64_t upto = 0;
    {
      const std::lock_guard lock(mutex_);
      older = unsynced_;
      current = wal_;
      if (current) end = current->end_offset();
      upto = last_seq_;
      ++counters_.syncs;
    }
    // Oldest first: a synced newer log behind an unsynced older one would be a hole. The note that an older one was
    // synced need not be: that of the newer log says as much, and a second sync would have every caller wait.
    Status status;
    for (const auto& wal : older) {
      status = wal->Sync(wal->end_offset());
      if (status.ok()) status = wal->status();  // of an append that failed, though all before it was synced
      if (!status.ok()) break;
    }
    if (status.ok() && current) status = current->Sync(end);
    if (status.ok()) {
      const std::lock_guard lock(mutex_);
      std::erase_if(unsynced_,
                    [&](const auto& wal) { return std::find(older.begin(), older.end(), wal) != older.end(); });
    }

    sync_lock.lock();
    syncing_ = false;
    if (status.ok()) {
      synced_seq_ = std::max(synced_seq_, upto);
    } else {
      poison_ = status;
      poisoned_.store(true, std::memory_order_release);
    }
    sync_cv_.notify_all();
  }
  return {};
}

Result<uint64_t> EventStore::Sync() {
  SEGUE_RETURN_IF_ERROR(CheckProcess());
  uint64_t seq = 0;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
    seq = last_seq_;
  }
  if (options_.read_only) {
    // What a reader may rely on is what the writer has certainly synced.
    const std::lock_guard lock(sync_mutex_);
    return synced_seq_;
  }
  SEGUE_RETURN_IF_ERROR(SyncTo(seq));
  return seq;
}

void EventStore::IntervalLoop() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    interval_cv_.wait_for(lock, std::chrono::milliseconds(options_.sync_interval_ms), [this] { return stop_; });
    const uint64_t seq = last_seq_;
    lock.unlock();
    const Status status = SyncTo(seq);
    lock.lock();
    if (!status.ok()) {
      lock.unlock();
      ReportBackgroundError(kSyncs, status, "nothing is appended any more, as what was written before may be lost");
      return;
    }
  }
}

}  // namespace segue
