// EventStore: the way of an event into WAL and memtable, and when it is durable.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/hash.h"
#include "events/event_store.h"
#include "events/wal_payload.h"

namespace segue {
namespace {

// Batches below this go through the skiplist: a run of a few rows would cost
// every read a binary search and the merger a pass.
constexpr size_t kRunRows = 64;

constexpr uint64_t kTokenSeedHigh = 0x746F6B656E2D6869ULL;
constexpr uint64_t kTokenSeedLow = 0x746F6B656E2D6C6FULL;

}  // namespace

EventStore::Token EventStore::HashToken(std::string_view token) {
  return {HashBytes(token, kTokenSeedHigh), HashBytes(token, kTokenSeedLow)};
}

Result<std::shared_ptr<WalWriter>> EventStore::CreateWalLocked(uint64_t capacity) {
  WalHeader header;
  std::memcpy(header.store_id.data(), manifest_.store_id.data(), header.store_id.size());
  header.generation = next_generation_;
  header.first_sequence = last_seq_ + 1;
  header.prior_synced = unsynced_.empty();
  const std::string recycle = retired_wals_.empty() ? std::string() : retired_wals_.back();
  SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<WalWriter> wal,
                         WalWriter::Create(core_->env.get(), WalPath(next_generation_), header, capacity, recycle));
  if (!retired_wals_.empty()) retired_wals_.pop_back();
  ++next_generation_;
  return std::shared_ptr<WalWriter>(std::move(wal));
}

Status EventStore::OpenWalLocked(size_t payload) {
  const uint64_t needed = kWalHeaderSize + WalRecordSize(payload);
  SEGUE_ASSIGN_OR_RETURN(wal_, CreateWalLocked(std::max(options_.wal_bytes, needed)));
  return {};
}

void EventStore::SealMemtableLocked() {
  immutables_.push_back(
      {std::move(memtable_), wal_, wal_->path(), last_seq_, next_generation_, std::move(memtable_tokens_)});
  unsynced_.push_back(std::move(wal_));
  memtable_ = std::make_shared<Memtable>(&core_->schema, &core_->format, &core_->interners);
  memtable_tokens_.clear();
  wal_.reset();
  flush_cv_.notify_all();
}

Status EventStore::WaitForRoomLocked(std::unique_lock<std::mutex>* lock) {
  if (immutables_.size() < options_.max_immutable) return {};
  ++counters_.stalls;
  room_cv_.wait(*lock, [this] { return closed_ || immutables_.size() < options_.max_immutable || !flush_error_.ok(); });
  if (immutables_.size() < options_.max_immutable) return {};
  if (!flush_error_.ok()) return flush_error_;
  return Status::Closed("event table '" + core_->dir + "' was closed while an append waited");
}

// Room for one record, in a WAL whose memtable takes it. May release the lock.
Result<uint8_t*> EventStore::ReserveLocked(std::unique_lock<std::mutex>* lock, size_t payload) {
  for (;;) {
    if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
    if (wal_ && memtable_->memory() < options_.memtable_bytes) {
      if (uint8_t* room = wal_->Reserve(payload); room != nullptr) return room;
    }
    if (wal_) {
      if (immutables_.size() >= options_.max_immutable) {
        SEGUE_RETURN_IF_ERROR(WaitForRoomLocked(lock));
        continue;  // another writer may have rotated meanwhile
      }
      SealMemtableLocked();
    }
    SEGUE_RETURN_IF_ERROR(OpenWalLocked(payload));
  }
}

Result<uint64_t> EventStore::AppendRow(std::string_view row) {
  SEGUE_RETURN_IF_ERROR(CheckWritable());
  std::string key;
  const auto* bytes = reinterpret_cast<const uint8_t*>(row.data());
  core_->format.EncodeRowKey(bytes, &key);
  const int64_t time = core_->format.TimeAt(bytes);
  uint64_t seq = 0;
  bool merge = false;
  {
    std::unique_lock lock(mutex_);
    SEGUE_ASSIGN_OR_RETURN(uint8_t* const room, ReserveLocked(&lock, row.size()));
    std::memcpy(room, row.data(), row.size());
    seq = ++last_seq_;
    counters_.wal_bytes_written += row.size();
    ++counters_.appended_rows;
    wal_->Commit(WalRecordType::kRows, seq, 1, row.size());
    const size_t runs = memtable_->runs();
    memtable_->AddRow(key, time, seq, row);
    merge = memtable_->runs() != runs;
  }
  if (merge) merge_cv_.notify_one();
  SEGUE_RETURN_IF_ERROR(Acknowledge(seq));
  return seq;
}

Result<SequenceRange> EventStore::AppendBatch(const ColumnBatch& batch, std::string_view token) {
  SEGUE_RETURN_IF_ERROR(CheckWritable());
  // Everything that needs no sequence number happens before the lock.
  std::string columns;
  EncodeColumns(core_->schema, core_->interners, batch, &columns);
  BatchHeader header{token, token.empty() ? 0 : HashBytes(columns, batch.rows)};
  std::string payload;
  EncodeBatchHeader(header, &payload);
  const size_t size = payload.size() + columns.size();
  if (size > kWalMaxPayload) {
    return Status::Invalid("a batch of " + std::to_string(batch.rows) + " rows takes " + std::to_string(size) +
                           " bytes; one batch may take " + std::to_string(kWalMaxPayload) + ": append it in parts");
  }
  const Token token_key = HashToken(token);
  std::shared_ptr<MemtableRun> run;
  std::string rows;
  std::vector<size_t> row_ends;
  if (batch.rows >= kRunRows) {
    run = MemtableRun::FromBatch(core_->schema, batch, 0);
  } else {
    for (size_t row = 0; row < batch.rows; ++row) {
      core_->format.Pack(core_->interners, batch, row, &rows);
      row_ends.push_back(rows.size());
    }
  }

  SequenceRange range{};
  {
    std::unique_lock lock(mutex_);
    if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
    uint8_t* room = nullptr;
    if (batch.rows > 0) {
      SEGUE_ASSIGN_OR_RETURN(room, ReserveLocked(&lock, size));
    }
    if (!token.empty()) {
      if (const auto found = tokens_.find(token_key); found != tokens_.end()) {
        if (found->second.content_hash != header.content_hash) {
          return Status::Invalid("token '" + std::string(token) +
                                 "' was already committed with other content; use a new token for new data");
        }
        range = {found->second.first, found->second.last};
        room = nullptr;
      }
    }
    if (range.first == 0) range = {last_seq_ + 1, last_seq_ + batch.rows};
    if (room != nullptr) {
      std::memcpy(room, payload.data(), payload.size());
      std::memcpy(room + payload.size(), columns.data(), columns.size());
      wal_->Commit(WalRecordType::kBatch, range.first, static_cast<uint32_t>(batch.rows), size);
      counters_.wal_bytes_written += size;
      counters_.appended_rows += batch.rows;
      if (run) {
        run->Rebase(range.first);
        memtable_->AddRun(std::move(run));
      } else {
        std::string key;
        for (size_t row = 0, begin = 0; row < batch.rows; begin = row_ends[row++]) {
          const std::string_view packed(rows.data() + begin, row_ends[row] - begin);
          const auto* bytes = reinterpret_cast<const uint8_t*>(packed.data());
          key.clear();
          core_->format.EncodeRowKey(bytes, &key);
          memtable_->AddRow(key, core_->format.TimeAt(bytes), range.first + row, packed);
        }
      }
      last_seq_ = range.last;
      if (!token.empty()) {
        const TokenEntry entry{token_key.first, token_key.second, header.content_hash, range.first, range.last};
        tokens_.emplace(token_key, entry);
        memtable_tokens_.push_back(entry);
      }
    }
  }
  merge_cv_.notify_one();
  if (batch.rows > 0) SEGUE_RETURN_IF_ERROR(Acknowledge(range.last));
  return range;
}

Status EventStore::Acknowledge(uint64_t seq) {
  if (options_.durability == Durability::kCommit) return SyncTo(seq);
  return {};
}

// ---- durability ----------------------------------------------------------

// Group commit: the first caller syncs everything written so far; those who
// come meanwhile wait, and are usually covered by the next sync together.
Status EventStore::SyncTo(uint64_t seq) {
  std::unique_lock sync_lock(sync_mutex_);
  while (synced_seq_ < seq) {
    if (!poison_.ok()) return poison_;
    if (syncing_) {
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
    // Oldest first: a synced newer log behind an unsynced older one would be a hole.
    Status status;
    for (const auto& wal : older) {
      status = wal->Seal();
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
    if (!status.ok()) return;  // the store is poisoned: the next append says so
  }
}

}  // namespace segue
