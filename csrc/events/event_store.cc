#include "events/event_store.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "base/hash.h"
#include "events/wal_payload.h"

namespace segue {
namespace {

// Batches below this go through the skiplist: a run of a few rows would cost
// every read a binary search and the merger a pass.
constexpr size_t kRunRows = 64;

constexpr uint64_t kTokenSeedHigh = 0x746F6B656E2D6869ULL;
constexpr uint64_t kTokenSeedLow = 0x746F6B656E2D6C6FULL;

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

Status EventStore::Create(Env* env, const std::string& dir, const StoreSchema& schema) {
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
  return env->WriteFileAtomic(path, manifest.Serialize());
}

EventStore::EventStore(std::shared_ptr<StoreCore> core, StoreOptions options, Manifest manifest)
    : core_(std::move(core)), options_(options), process_(getpid()), manifest_(std::move(manifest)) {}

Result<std::shared_ptr<EventStore>> EventStore::Open(std::shared_ptr<Env> env, const std::string& dir,
                                                     StoreOptions options) {
  std::unique_ptr<FileLock> lock_file;
  if (!options.read_only) {
    SEGUE_ASSIGN_OR_RETURN(lock_file, env->LockFile(JoinPath(dir, "LOCK")));
  }
  // A reader beside a live writer may find that a flush replaced files between
  // its look at the manifest and its look at them: then it looks again.
  constexpr int kAttempts = 20;
  for (int attempt = 1;; ++attempt) {
    SEGUE_ASSIGN_OR_RETURN(Manifest manifest, Manifest::Load(env.get(), JoinPath(dir, kManifestName)));
    const std::string before = manifest.Serialize();
    SEGUE_ASSIGN_OR_RETURN(StoreSchema schema, StoreSchema::Parse(manifest.schema));
    auto core = std::make_shared<StoreCore>(env, dir, std::move(schema));
    std::shared_ptr<EventStore> store(new EventStore(std::move(core), options, std::move(manifest)));
    const Status recovered = store->Recover();
    if (options.read_only) {
      SEGUE_ASSIGN_OR_RETURN(const Manifest after, Manifest::Load(env.get(), JoinPath(dir, kManifestName)));
      if (after.Serialize() != before && attempt < kAttempts) continue;
      SEGUE_RETURN_IF_ERROR(recovered);
      return store;
    }
    SEGUE_RETURN_IF_ERROR(recovered);
    store->lock_file_ = std::move(lock_file);
    store->threads_.emplace_back(&EventStore::FlushLoop, store.get());
    store->threads_.emplace_back(&EventStore::MergeLoop, store.get());
    if (options.durability == Durability::kInterval) {
      store->threads_.emplace_back(&EventStore::IntervalLoop, store.get());
    }
    return store;
  }
}

EventStore::~EventStore() {
  // The destructor has nobody to report to; callers that care call Close().
  const Status ignored = Close();
  static_cast<void>(ignored);
}

std::string EventStore::store_id() const { return Hex(manifest_.store_id); }

namespace {

std::string NumberedPath(const std::string& dir, const char* prefix, uint64_t number, const char* suffix) {
  std::string digits = std::to_string(number);
  if (digits.size() < 6) digits.insert(0, 6 - digits.size(), '0');
  return JoinPath(dir, prefix + digits + suffix);
}

}  // namespace

std::string EventStore::WalPath(uint64_t generation) const {
  return NumberedPath(core_->dir, "wal-", generation, ".log");
}

std::string EventStore::TablePath(uint64_t number) const { return NumberedPath(core_->dir, "sst-", number, ".sst"); }

Status EventStore::CheckProcess() const {
  if (getpid() == process_) return {};
  return Status::Closed("event table '" + core_->dir + "' was opened by process " + std::to_string(process_) +
                        " before a fork; open it again in the child, or with mode=\"r\" while the parent writes");
}

Status EventStore::CheckWritable() {
  SEGUE_RETURN_IF_ERROR(CheckProcess());
  if (options_.read_only) {
    return Status::ReadOnly("event table '" + core_->dir + "' was opened with mode=\"r\"; open it with mode=\"rw\"");
  }
  const std::lock_guard lock(sync_mutex_);
  if (!poison_.ok()) {
    return Status::ReadOnly("event table '" + core_->dir + "' stopped taking writes after a failed sync (" +
                            poison_.message() + "); what was acknowledged is safe: close it and open it again");
  }
  return {};
}

EventStore::Token EventStore::HashToken(std::string_view token) {
  return {HashBytes(token, kTokenSeedHigh), HashBytes(token, kTokenSeedLow)};
}

// ---- the write path ------------------------------------------------------

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

// ---- flush and merge -----------------------------------------------------

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

// ---- reads ---------------------------------------------------------------

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
  return std::make_shared<const Snapshot>(core_, last_seq_, ViewsLocked(), tables_);
}

void EventStore::CountBloom(uint64_t probes, uint64_t useful) {
  if (!CheckProcess().ok()) return;  // a scan that a forked child reads to its end
  const std::lock_guard lock(mutex_);
  counters_.bloom_probes += probes;
  counters_.bloom_useful += useful;
}

Result<StoreStats> EventStore::Stats() {
  SEGUE_RETURN_IF_ERROR(CheckProcess());
  StoreStats stats;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
    stats = counters_;
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
    for (const SstMeta& table : manifest_.tables) {
      stats.table_rows += table.rows;
      stats.table_bytes += table.file_size;
    }
    stats.tokens = tokens_.size();
  }
  const std::lock_guard lock(sync_mutex_);
  stats.synced_sequence = synced_seq_;
  if (!poison_.ok()) stats.background_error = poison_.message();
  return stats;
}

Status EventStore::Verify() {
  SEGUE_RETURN_IF_ERROR(CheckProcess());
  std::vector<std::shared_ptr<const SstReader>> tables;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
    tables = tables_;
  }
  const Result<Manifest> manifest = Manifest::Load(core_->env.get(), JoinPath(core_->dir, kManifestName));
  SEGUE_RETURN_IF_ERROR(manifest.status());
  for (const auto& table : tables) SEGUE_RETURN_IF_ERROR(table->Verify());
  return {};
}

Status EventStore::RecordHandoff(uint64_t seq) {
  if (options_.read_only) return {};
  SEGUE_RETURN_IF_ERROR(CheckWritable());
  const std::lock_guard manifest_lock(manifest_mutex_);
  Manifest next;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
    if (seq <= manifest_.handoff_seq) return {};
    next = manifest_;
  }
  next.handoff_seq = seq;
  SEGUE_RETURN_IF_ERROR(WriteManifest(next));
  const std::lock_guard lock(mutex_);
  next.next_file = manifest_.next_file;
  manifest_ = std::move(next);
  return {};
}

Status EventStore::Close() {
  if (!CheckProcess().ok()) {
    for (std::thread& thread : threads_) thread.detach();  // the parent's; there is nothing to wait for
    threads_.clear();
    return {};
  }
  uint64_t seq = 0;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return {};
    closed_ = true;
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
  room_cv_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  const std::lock_guard lock(mutex_);
  if (wal_ && status.ok()) status = wal_->Seal();
  wal_.reset();
  unsynced_.clear();
  immutables_.clear();
  tables_.clear();
  memtable_.reset();
  lock_file_.reset();
  return status;
}

}  // namespace segue
