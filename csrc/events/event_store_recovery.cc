// Recovery: from the files of a store back to its state, at open.
//
// 1. The manifest names the SSTables; each is opened, its tokens are loaded.
// 2. WAL files at or above the manifest's floor are replayed in generation
//    order. All but the newest with a record are flushed to SSTables; its records
//    are written again into a WAL of a new generation, which is synced
//    before the manifest's floor moves to it. So a log is never appended to
//    behind a torn tail, where stale records of the same generation could lie.
// 3. Files that the manifest does not name are leftovers of a crash: removed.
//
// A reader (mode "r") has a Replica instead.
#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

#include "events/event_store.h"
#include "events/wal_reader.h"
#include "events/wal_replay.h"

namespace segue {
namespace {

// A log without a record does not say what the missing one had.
Status MissingBefore(const std::string& path) {
  return Status::Corruption(path, static_cast<int64_t>(wal_header::kGeneration),
                            "the log before '" + path + "' is not there: a log of this event table is missing");
}

}  // namespace

Status EventStore::Recover(const OpenPoll& poll) {
  memtable_ = std::make_shared<Memtable>(&core_->schema, &core_->format, &core_->interners);
  next_generation_ = manifest_.wal_floor;
  last_seq_ = manifest_.flushed_seq;
  // Whoever wrote the manifest may have ended before its name was durable: what it says to be
  // of no use any more is needed until then.
  SEGUE_RETURN_IF_ERROR(core_->env->SyncDir(core_->dir));
  SEGUE_RETURN_IF_ERROR(RecoverTables());
  SEGUE_RETURN_IF_ERROR(ReplayWals(poll));
  // Only now: during replay last_seq_ says what is there, not what was published.
  last_seq_ = std::max(last_seq_, manifest_.handoff_seq);
  synced_seq_ = std::max(synced_seq_, manifest_.handoff_seq);
  return {};
}

Status EventStore::RecoverTables() {
  Env* env = core_->env.get();
  std::set<std::string> live;
  for (const TokenEntry& token : manifest_.tokens) tokens_.emplace(Token{token.token_hi, token.token_lo}, token);
  for (const ManifestTable& meta : manifest_.tables) {
    const std::string path = TablePath(meta.file_number);
    live.insert(path);
    SEGUE_ASSIGN_OR_RETURN(const bool exists, env->Exists(path));
    if (!exists) {
      return Status::Corruption(path, 0,
                                "'" + path +
                                    "' is named by the manifest but missing; restore it from a "
                                    "backup of this store");
    }
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<SstReader> reader, core_->OpenTable(meta));
    for (const TokenEntry& token : reader->tokens()) tokens_.emplace(Token{token.token_hi, token.token_lo}, token);
    tables_.push_back(std::move(reader));
  }
  SEGUE_ASSIGN_OR_RETURN(const std::vector<std::string> names, env->List(core_->dir));
  for (const std::string& name : names) {
    const std::string path = JoinPath(core_->dir, name);
    if (name.ends_with(".tmp") || name.ends_with(".new")) SEGUE_RETURN_IF_ERROR(env->Remove(path));
    if (!name.starts_with("sst-") || !name.ends_with(".sst") || live.contains(path)) continue;
    // Retired, or left by a crash. A reader's lease may still pin it, and no new
    // table may get its number meanwhile.
    const uint64_t number = std::strtoull(name.c_str() + 4, nullptr, 10);
    manifest_.next_file = std::max(manifest_.next_file, number + 1);
    reaper_->Retire(number, path);
  }
  // What cannot go now is tried again in the background, which reports it.
  const Status ignored = reaper_->Reap([] { return true; });
  static_cast<void>(ignored);
  return {};
}

// Numbers up to it are there, or were published and lost: the next row follows it.
uint64_t EventStore::Reached() const { return std::max(last_seq_, manifest_.handoff_seq); }

// Applies the records of one WAL to memtable_, and writes them again to `relog` unless that is null.
// `follows`: the log of the generation before is there, or no longer needed. Returns where its records end.
Result<uint64_t> EventStore::ReplayOne(const std::string& path, bool follows, WalWriter* relog,
                                       const ReplayPoll& poll) {
  StoreId id;
  std::memcpy(id.data(), manifest_.store_id.data(), id.size());
  SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<WalReader> reader, WalReader::Open(core_->env.get(), path, id));
  WalRecord record;
  SEGUE_ASSIGN_OR_RETURN(const bool begun, reader->First(&record));
  if (!begun && !follows) return MissingBefore(path);
  const uint64_t first = reader->FirstSequence(begun ? &record : nullptr);
  if (first > Reached() + 1) {
    // The tail of the log before it was lost with the power, unsynced; then
    // nothing in this one was acknowledged as durable, and it must not leave a hole. Not where the log before it is
    // gone: a log has its name durably before the next one is made.
    if (follows && !reader->ProvesPriorSynced()) return reader->last_offset();
    return Status::Corruption(path, static_cast<int64_t>(wal_header::kFirstSequence),
                              "'" + path + "' begins with event " + std::to_string(first) +
                                  ", and what comes before ends with " + std::to_string(Reached()) +
                                  ": a log of this event table is missing or ends early");
  }
  for (;;) {
    SEGUE_ASSIGN_OR_RETURN(const bool more, reader->Next(&record));
    if (!more) break;
    SEGUE_RETURN_IF_ERROR(poll(reader->last_offset()));
    const uint64_t last = record.first_seq + record.count - 1;
    // Its memtable was flushed already; or a recovery that was cut short wrote
    // the records of the log before into this one as well.
    if (last <= last_seq_) continue;
    if (record.first_seq <= last_seq_ || record.first_seq > Reached() + 1) {
      return Status::Corruption(path, static_cast<int64_t>(record.offset),
                                "'" + path + "': the record at offset " + std::to_string(record.offset) +
                                    " begins with event " + std::to_string(record.first_seq) +
                                    ", and the one before ends with " + std::to_string(last_seq_));
    }
    std::optional<TokenEntry> token;
    SEGUE_RETURN_IF_ERROR(ReplayRecord(*core_, record, path, memtable_.get(), &token));
    if (token) {
      tokens_.emplace(Token{token->token_hi, token->token_lo}, *token);
      memtable_tokens_.push_back(*token);
    }
    if (relog != nullptr) {
      SEGUE_RETURN_IF_ERROR(relog->Append(record.type, record.first_seq, record.count, record.payload));
    }
    last_seq_ = std::max(last_seq_, last);
  }
  return reader->last_offset();
}

Status EventStore::ReplayWals(const OpenPoll& poll) {
  Env* env = core_->env.get();
  StoreId id;
  std::memcpy(id.data(), manifest_.store_id.data(), id.size());
  struct Log {
    uint64_t generation;
    std::string path;
    uint64_t capacity;
    bool begun;      // has a record
    uint64_t first;  // event
    bool proves;     // that all before it were synced to their end
  };
  std::vector<Log> logs;
  SEGUE_ASSIGN_OR_RETURN(const std::vector<std::string> names, env->List(core_->dir));
  for (const std::string& name : names) {
    uint64_t generation = 0;
    if (!ParseWalFile(name, &generation)) continue;
    const std::string path = JoinPath(core_->dir, name);
    // A retired file is needed no more, so damage to it is nobody's loss.
    if (generation < manifest_.wal_floor) {
      retired_wals_.push_back({path, {}});
      continue;
    }
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<WalReader> reader, WalReader::Open(env, path, id));
    if (reader->header().generation != generation) {
      return Status::Corruption(
          path, 0,
          "'" + path + "' holds WAL generation " + std::to_string(reader->header().generation) + ": was it renamed?");
    }
    WalRecord record;
    SEGUE_ASSIGN_OR_RETURN(const bool begun, reader->First(&record));
    const uint64_t first = reader->FirstSequence(begun ? &record : nullptr);
    logs.push_back({generation, path, reader->capacity(), begun, first, reader->ProvesPriorSynced()});
    next_generation_ = std::max(next_generation_, generation + 1);
  }
  std::sort(logs.begin(), logs.end(), [](const Log& a, const Log& b) { return a.generation < b.generation; });

  const uint64_t floor = manifest_.wal_floor;
  const auto follows = [&](size_t i) { return logs[i].generation == (i == 0 ? floor : logs[i - 1].generation + 1); };
  // One that was made ahead of need has nothing to write again: the newest is the one before it, and the copy of that
  // gets its name and its space. Removed, not used again, as a reader may look at it.
  const size_t all = logs.size();
  for (; logs.size() > 1 && !logs.back().begun; logs.pop_back()) {
    if (!follows(logs.size() - 1)) return MissingBefore(logs.back().path);
    SEGUE_RETURN_IF_ERROR(env->Remove(logs.back().path));
    next_generation_ = logs.back().generation;
  }
  if (logs.size() < all) SEGUE_RETURN_IF_ERROR(env->SyncDir(core_->dir));
  // What one proves holds of those before it, too.
  for (size_t i = logs.size(); i-- > 1;) logs[i - 1].proves |= logs[i].proves;

  OpenProgress progress;
  for (const Log& log : logs) progress.bytes_left += log.capacity;
  std::shared_ptr<WalWriter> relog;
  for (size_t i = 0; i < logs.size(); ++i) {
    const bool newest = i + 1 == logs.size();
    if (newest) {
      // As large as the old log: everything in it fits.
      SEGUE_ASSIGN_OR_RETURN(relog, CreateLogLocked(std::max(options_.wal_bytes, logs[i].capacity)));
    }
    // When it is stopped, the copy of the newest log is replayed like any other at the next open.
    const auto polled = [&](uint64_t offset) {
      return poll({progress.bytes_done + offset, progress.bytes_left - std::min(progress.bytes_left, offset)});
    };
    SEGUE_ASSIGN_OR_RETURN(const uint64_t end, ReplayOne(logs[i].path, follows(i), relog.get(), polled));
    progress.bytes_done += logs[i].capacity;
    progress.bytes_left -= logs[i].capacity;
    if (newest) continue;
    // Before its file may be used again: what lies behind the damage may still be of use to somebody.
    if (const Log& next = logs[i + 1]; follows(i + 1) && next.proves && next.first > Reached() + 1) {
      return LogEndsEarly(logs[i].path, end, last_seq_, next.path, next.first);
    }
    SEGUE_RETURN_IF_ERROR(
        FlushOne({memtable_, nullptr, logs[i].path, last_seq_, logs[i].generation + 1, std::move(memtable_tokens_)}));
    memtable_ = std::make_shared<Memtable>(&core_->schema, &core_->format, &core_->interners);
    memtable_tokens_.clear();
  }
  synced_seq_ = last_seq_;
  if (!relog) return {};

  SEGUE_RETURN_IF_ERROR(relog->Sync(relog->end_offset()));
  Manifest next = manifest_;
  next.wal_floor = relog->header().generation;
  SEGUE_RETURN_IF_ERROR(WriteManifest(next, {}));
  manifest_ = std::move(next);
  wal_ = std::move(relog);
  retired_wals_.push_back({logs.back().path, {}});
  // Files beyond those that a burst may use at once only take space.
  while (retired_wals_.size() > 2) {
    SEGUE_RETURN_IF_ERROR(env->Remove(retired_wals_.back().path));
    retired_wals_.pop_back();
  }
  return {};
}

}  // namespace segue
