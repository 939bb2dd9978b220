#include "events/replica.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <set>

namespace segue {
namespace {

// Each look meets a newer manifest: only a writer that replaces it faster than
// it can be read, all the time, makes so many necessary.
constexpr int kAttempts = 1000;

bool Refused(const Status& status) {
  const int64_t error = status.number();
  return status.code() == StatusCode::kIo &&
         (error == EACCES || error == EPERM || error == EROFS || error == ENOSPC || error == EDQUOT);
}

Status TooFast(const std::string& path) {
  return Status::Io(path, EAGAIN, "'" + path + "' changes faster than it can be read; try again");
}

StoreId IdFrom(const std::string& bytes) {
  StoreId id;
  std::memcpy(id.data(), bytes.data(), id.size());
  return id;
}

}  // namespace

Replica::Replica(std::shared_ptr<const StoreCore> core, const std::string& store_id)
    : core_(std::move(core)),
      store_id_(store_id),
      manifest_path_(JoinPath(core_->dir, kManifestName)),
      none_(std::make_shared<Memtable>(&core_->schema, &core_->format, &core_->interners)) {}

std::vector<std::shared_ptr<Memtable>> Replica::memtables() const {
  std::vector<std::shared_ptr<Memtable>> memtables;
  for (const Log& log : logs_) memtables.push_back(log.memtable);
  if (memtables.empty()) memtables.push_back(none_);
  return memtables;
}

uint64_t Replica::synced_seq() const {
  // What a pipeline published was synced; so was what is in tables.
  uint64_t synced = std::max(manifest_.flushed_seq, manifest_.handoff_seq);
  size_t proven = 0;  // the logs before it were synced to their end
  for (size_t i = 0; i < logs_.size(); ++i) {
    if (logs_[i].reader->ProvesPriorSynced()) proven = i;
  }
  for (size_t i = 0; i < logs_.size(); ++i) {
    const Log& log = logs_[i];
    if (log.last_seq == 0) continue;
    synced = std::max(synced, i < proven ? log.last_seq : log.synced_seq);
    if (i >= proven && log.synced_seq < log.last_seq) break;
  }
  return std::min(synced, last_seq_);
}

uint64_t Replica::Reached() const { return std::max(last_seq_, manifest_.handoff_seq); }

Status Replica::Refresh(const ReplayPoll& poll) {
  Status status = Follow(poll);
  if (!status.ok()) Forget();
  return status;
}

void Replica::Forget() {
  manifest_bytes_.clear();
  logs_.clear();
  tables_.clear();
  tokens_.clear();
  lease_.reset();
  last_seq_ = 0;
}

Status Replica::Follow(const ReplayPoll& poll) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    SEGUE_RETURN_IF_ERROR(FollowManifest());
    const Status followed = FollowLogs(poll);
    if (followed.code() == StatusCode::kCancelled) return followed;
    // While the manifest stands, no log that it needs has been reused or removed.
    SEGUE_ASSIGN_OR_RETURN(const std::string now, core_->env->ReadFile(manifest_path_));
    if (now != manifest_bytes_) continue;
    SEGUE_RETURN_IF_ERROR(followed);
    last_seq_ = Reached();
    return {};
  }
  return TooFast(manifest_path_);
}

// ---- manifest and tables ---------------------------------------------------

Status Replica::FollowManifest() {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    SEGUE_ASSIGN_OR_RETURN(std::string bytes, core_->env->ReadFile(manifest_path_));
    if (bytes == manifest_bytes_) return {};
    SEGUE_ASSIGN_OR_RETURN(Manifest manifest, Manifest::Parse(manifest_path_, bytes));
    if (manifest.store_id != store_id_) {
      return Status::Closed("the event table in '" + core_->dir + "' was replaced by another one; open it again");
    }
    std::shared_ptr<const Lease> lease;
    bool named = true;
    SEGUE_RETURN_IF_ERROR(Pin(manifest, bytes, &lease, &named));
    if (!named) continue;
    std::vector<std::shared_ptr<const SstReader>> tables;
    if (const Status opened = OpenTables(manifest, &tables); !opened.ok()) {
      // Without a lease a table may go while we look at it.
      SEGUE_ASSIGN_OR_RETURN(const std::string now, core_->env->ReadFile(manifest_path_));
      if (now == bytes) return opened;
      continue;
    }
    lease_ = std::move(lease);
    Install(std::move(manifest), std::move(bytes), std::move(tables));
    return {};
  }
  return TooFast(manifest_path_);
}

// Takes a lease on the manifest's tables. Not `named`: one of them may be gone already.
Status Replica::Pin(const Manifest& manifest, const std::string& bytes, std::shared_ptr<const Lease>* lease,
                    bool* named) {
  std::set<uint64_t> numbers;
  for (const ManifestTable& table : manifest.tables) numbers.insert(table.file_number);
  std::set<uint64_t> held;
  for (const ManifestTable& table : manifest_.tables) held.insert(table.file_number);
  if (lease_ && !manifest_bytes_.empty() && numbers == held) {
    *lease = lease_;
    return {};
  }
  Result<std::shared_ptr<const Lease>> taken = Lease::Take(core_->env, core_->dir, numbers);
  if (!taken.ok()) return Refused(taken.status()) ? Status() : taken.status();
  SEGUE_ASSIGN_OR_RETURN(const std::string again, core_->env->ReadFile(manifest_path_));
  if (again != bytes) {
    SEGUE_ASSIGN_OR_RETURN(const Manifest now, Manifest::Parse(manifest_path_, again));
    for (const ManifestTable& table : now.tables) numbers.erase(table.file_number);
    *named = numbers.empty();
  }
  *lease = taken.Take();
  return {};
}

Status Replica::OpenTables(const Manifest& manifest, std::vector<std::shared_ptr<const SstReader>>* tables) const {
  std::map<uint64_t, std::shared_ptr<const SstReader>> open;
  for (const auto& table : tables_) open.emplace(table->meta().file_number, table);
  for (const ManifestTable& meta : manifest.tables) {
    const auto found = open.find(meta.file_number);
    if (found != open.end() && found->second->visible_from() == meta.visible_from) {
      tables->push_back(found->second);
      continue;
    }
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<SstReader> reader, core_->OpenTable(meta));
    tables->push_back(std::move(reader));
  }
  return {};
}

// Whether what was read of the logs goes with `manifest`: an event is in its
// tables or in the logs that it still needs, never in both or in neither.
bool Replica::Continues(const Manifest& manifest) const {
  if (manifest_bytes_.empty()) return false;
  if (manifest.wal_floor < manifest_.wal_floor || manifest.flushed_seq < manifest_.flushed_seq) return false;
  for (const Log& log : logs_) {
    if (log.first_seq == 0) continue;
    const bool needed = log.generation >= manifest.wal_floor;
    if (needed ? log.first_seq <= manifest.flushed_seq : log.last_seq > manifest.flushed_seq) return false;
  }
  return true;
}

void Replica::Install(Manifest manifest, std::string bytes, std::vector<std::shared_ptr<const SstReader>> tables) {
  std::set<const SstReader*> known;
  if (Continues(manifest)) {
    for (const auto& table : tables_) known.insert(table.get());
  } else {
    logs_.clear();
    tokens_.clear();
    last_seq_ = 0;
  }
  while (!logs_.empty() && logs_.front().generation < manifest.wal_floor) logs_.pop_front();
  for (const TokenEntry& token : manifest.tokens) tokens_.emplace(token.token_hi, token.token_lo);
  for (const auto& table : tables) {
    if (known.contains(table.get())) continue;
    for (const TokenEntry& token : table->tokens()) tokens_.emplace(token.token_hi, token.token_lo);
  }
  last_seq_ = std::max(last_seq_, manifest.flushed_seq);
  manifest_ = std::move(manifest);
  manifest_bytes_ = std::move(bytes);
  gap_sought_ = false;
  tables_ = std::move(tables);
}

// ---- logs ------------------------------------------------------------------

// False when there is no such log, or another one in its place.
Result<bool> Replica::OpenLog(uint64_t generation, Log* log) const {
  log->generation = generation;
  log->path = WalFile(core_->dir, generation);
  SEGUE_ASSIGN_OR_RETURN(const bool exists, core_->env->Exists(log->path));
  if (!exists) return false;
  Result<std::unique_ptr<WalReader>> opened = WalReader::Open(core_->env.get(), log->path, IdFrom(store_id_));
  if (opened.status().code() == StatusCode::kIo && opened.status().number() == ENOENT) return false;  // gone since
  SEGUE_ASSIGN_OR_RETURN(log->reader, std::move(opened));
  if (log->reader->header().generation != generation) {
    return Status::Corruption(log->path, 0,
                              "'" + log->path + "' holds WAL generation " +
                                  std::to_string(log->reader->header().generation) + ": was it renamed?");
  }
  return true;
}

// The one that comes after logs_. False when there is none.
Result<bool> Replica::OpenNextLog(Log* log) {
  const uint64_t next = logs_.empty() ? manifest_.wal_floor : logs_.back().generation + 1;
  SEGUE_ASSIGN_OR_RETURN(const bool there, OpenLog(next, log));
  if (there || gap_sought_) return there;
  // The newest log is always followed by none. Others are missed once for each manifest: a look costs more than the
  // rest of a refresh that finds nothing new.
  SEGUE_ASSIGN_OR_RETURN(const std::vector<std::string> names, core_->env->List(core_->dir));
  uint64_t newer = UINT64_MAX;
  for (const std::string& name : names) {
    uint64_t generation = 0;
    if (ParseWalFile(name, &generation) && generation > next) newer = std::min(newer, generation);
  }
  gap_sought_ = newer == UINT64_MAX;
  if (gap_sought_) return false;
  // Both may have been made since the first look.
  SEGUE_ASSIGN_OR_RETURN(const bool made, OpenLog(next, log));
  if (made) return true;
  return OpenLog(newer, log);
}

Status Replica::FollowLogs(const ReplayPoll& poll) {
  for (size_t i = 0; i + 1 < logs_.size(); ++i) {
    Log& older = logs_[i];
    if (older.synced_seq == older.last_seq) continue;
    SEGUE_RETURN_IF_ERROR(older.reader->ReadSyncedWord());
    NoteSynced(&older);
  }
  // A log whose making failed half-way may have been made anew; one with an event was not.
  if (!logs_.empty() && logs_.back().first_seq == 0) logs_.pop_back();
  if (!logs_.empty()) SEGUE_RETURN_IF_ERROR(ReadOn(&logs_.back(), poll));
  for (;;) {
    Log next;
    SEGUE_ASSIGN_OR_RETURN(const bool there, OpenNextLog(&next));
    if (!there) return {};
    WalRecord record;
    SEGUE_ASSIGN_OR_RETURN(const bool begun, next.reader->First(&record));
    const WalHeader& header = next.reader->header();
    // A log has its name durably before the next one is made.
    const bool follows = next.generation == (logs_.empty() ? manifest_.wal_floor : logs_.back().generation + 1);
    if (!begun && !follows) {
      return Status::Corruption(
          next.path, static_cast<int64_t>(wal_header::kGeneration),
          "the log before '" + next.path + "' is not there: a log of this event table is missing");
    }
    // The log before it may still be written to: nothing here says yet with which event it begins.
    if (!begun && header.made_ahead && !logs_.empty()) return {};
    const uint64_t first = next.reader->FirstSequence(begun ? &record : nullptr);
    // The one before may have got its last records since it was read.
    if (first > Reached() + 1 && !logs_.empty()) SEGUE_RETURN_IF_ERROR(ReadOn(&logs_.back(), poll));
    if (first > Reached() + 1) {
      // Its records were not written yet, or lost with the power; unless all that comes before was synced by then,
      // or the log before it is gone.
      if (follows && !next.reader->ProvesPriorSynced()) return {};
      if (follows && !logs_.empty()) {
        return LogEndsEarly(logs_.back().path, logs_.back().reader->last_offset(), last_seq_, next.path, first);
      }
      return Status::Corruption(next.path, static_cast<int64_t>(wal_header::kFirstSequence),
                                "'" + next.path + "' begins with event " + std::to_string(first) +
                                    ", and what comes before ends with " + std::to_string(Reached()) +
                                    ": a log of this event table is missing or ends early");
    }
    if (first <= last_seq_ && !logs_.empty()) return {};  // a copy under way
    next.memtable = std::make_shared<Memtable>(&core_->schema, &core_->format, &core_->interners);
    logs_.push_back(std::move(next));
    SEGUE_RETURN_IF_ERROR(ReadOn(&logs_.back(), poll));
  }
}

void Replica::NoteSynced(Log* log) const {
  if (log->reader->last_offset() <= log->reader->synced_to()) log->synced_seq = log->last_seq;
}

Status Replica::ReadOn(Log* log, const ReplayPoll& poll) {
  uint64_t before = 0;  // in logs that were read to their end
  for (const Log& older : logs_) {
    if (&older != log) before += older.reader->capacity();
  }
  SEGUE_RETURN_IF_ERROR(log->reader->ReadSyncedWord());
  NoteSynced(log);
  WalRecord record;
  for (;;) {
    SEGUE_ASSIGN_OR_RETURN(const bool more, log->reader->Next(&record));
    if (!more) break;
    SEGUE_RETURN_IF_ERROR(poll(before + log->reader->last_offset()));
    const uint64_t last = record.first_seq + record.count - 1;
    if (last <= manifest_.flushed_seq) continue;
    if (record.first_seq <= last_seq_ || record.first_seq > Reached() + 1) {
      return Status::Corruption(log->path, static_cast<int64_t>(record.offset),
                                "'" + log->path + "': the record at offset " + std::to_string(record.offset) +
                                    " begins with event " + std::to_string(record.first_seq) + ", after event " +
                                    std::to_string(last_seq_));
    }
    log->memtable->MergeOnce();  // a reader has no thread for it
    std::optional<TokenEntry> token;
    SEGUE_RETURN_IF_ERROR(ReplayRecord(*core_, record, log->path, log->memtable.get(), &token));
    if (token) tokens_.emplace(token->token_hi, token->token_lo);
    if (log->first_seq == 0) log->first_seq = record.first_seq;
    log->last_seq = last_seq_ = last;
    NoteSynced(log);
  }
  NoteSynced(log);  // the note was read again at the end
  return {};
}

}  // namespace segue
