// EventStore: where its log files come from, and where they go.
//
// To make a log takes some syncs, of its header and of the folder; the latter
// waits for all that the file system has under way: tens of milliseconds beside
// a flush or a merge. So the next log is made before it is needed (standby_), by
// a thread of its own: as soon as there is one whose events are in tables by now
// to make it from; where the memtable is half full before that, from nothing.
// Writers wait for a log only when they are faster than that.
//
// A standby has its name, durably, and no record. It comes into use without a
// word on the disk: its first record says with which event it begins.
#include <algorithm>
#include <cstring>

#include "base/thread_priority.h"
#include "events/event_store.h"

namespace segue {

// What is decided with the lock held; the file is made without.
struct EventStore::NewLog {
  WalHeader header;
  std::string path;
  std::string recycle;  // a file to make it from, or none
};

std::vector<EventStore::RetiredWal>::iterator EventStore::FreeLogLocked() {
  const auto last = std::find_if(retired_wals_.rbegin(), retired_wals_.rend(),
                                 [](const RetiredWal& wal) { return wal.mapping.expired(); });
  return last == retired_wals_.rend() ? retired_wals_.end() : std::next(last).base();
}

EventStore::NewLog EventStore::NextLogLocked(bool ahead) {
  NewLog log;
  std::memcpy(log.header.store_id.data(), manifest_.store_id.data(), log.header.store_id.size());
  log.header.generation = next_generation_;
  log.header.first_sequence = last_seq_ + 1;
  log.header.made_ahead = ahead;
  log.header.prior_synced = !ahead && unsynced_.empty();
  log.path = WalPath(next_generation_);
  if (const auto free = FreeLogLocked(); free != retired_wals_.end()) {
    // Given up even if the rest fails: it may have lost its name by then.
    log.recycle = std::move(free->path);
    retired_wals_.erase(free);
  }
  return log;
}

Result<std::shared_ptr<WalWriter>> EventStore::CreateLog(const NewLog& log, uint64_t capacity) const {
  SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<WalWriter> wal,
                         WalWriter::Create(core_->env.get(), log.path, log.header,
                                           commits() ? WalMode::kStaged : WalMode::kThrough, capacity, log.recycle));
  return std::shared_ptr<WalWriter>(std::move(wal));
}

Result<std::shared_ptr<WalWriter>> EventStore::CreateLogLocked(uint64_t capacity) {
  SEGUE_ASSIGN_OR_RETURN(std::shared_ptr<WalWriter> wal, CreateLog(NextLogLocked(/*ahead=*/false), capacity));
  ++next_generation_;  // not where it failed: generations follow each other without a gap
  return wal;
}

// Gives wal_ a log with room for one record of `payload` bytes. May release the lock.
Status EventStore::OpenWalLocked(std::unique_lock<std::mutex>* lock, size_t payload) {
  if (!making_standby_ && standby_ && standby_->Fits(payload)) {
    wal_ = std::move(standby_);
    log_cv_.notify_all();  // there may be one to make the next from
    return {};
  }
  const StallTimer timer(&counters_.stalls[kStallLog]);
  if (making_standby_) {
    log_cv_.wait(*lock, [this] { return !making_standby_; });
    return {};  // the caller looks again
  }
  const uint64_t capacity = std::max(options_.wal_bytes, kWalHeaderSize + WalRecordSize(payload));
  if (!standby_) {
    SEGUE_ASSIGN_OR_RETURN(wal_, CreateLogLocked(capacity));
    return {};
  }
  // Too small. The one for this record takes its place and its name, so that no generation is left out.
  --next_generation_;
  Result<std::shared_ptr<WalWriter>> made = CreateLogLocked(capacity);
  if (!made.ok()) {
    // It may have lost its name by now, and a full disk needs its space.
    ++next_generation_;
    DropStandbyLocked();
    return made.status();
  }
  standby_.reset();
  wal_ = made.Take();
  log_cv_.notify_all();  // a flush that is asked for may still want one
  return {};
}

void EventStore::DropStandbyLocked() {
  const std::string path = standby_->path();
  standby_.reset();
  --next_generation_;
  standby_failed_ = true;
  // With the lock held, as the next log has this name. If the file stays, that one takes its place.
  const Status ignored = core_->env->Remove(path);
  static_cast<void>(ignored);
}

bool EventStore::StandbyDueLocked() {
  if (closed_ || standby_ || standby_failed_) return false;
  if (standby_wanted_ > 0) return true;
  if (poisoned_.load(std::memory_order_acquire)) return false;
  if (FreeLogLocked() != retired_wals_.end()) return half_full_ || rotates_;
  return half_full_ && immutables_.empty();  // a flush under way frees one
}

void EventStore::StandbyLoop() {
  LowerThreadPriority(ThreadPriority::kSoon);
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (!StandbyDueLocked()) {
      log_cv_.wait(lock);
      continue;
    }
    making_standby_ = true;
    const NewLog log = NextLogLocked(/*ahead=*/true);
    lock.unlock();
    Result<std::shared_ptr<WalWriter>> made = CreateLog(log, options_.wal_bytes);
    lock.lock();
    making_standby_ = false;
    if (made.ok()) {
      standby_ = made.Take();
      ++next_generation_;
    } else {
      standby_failed_ = true;  // the writer who needs a log tries again, and is told
    }
    log_cv_.notify_all();
  }
}

// Has the next log made before a flush that is asked for takes the one in use: who asks can wait, but
// not those who append meanwhile. Releases the lock.
void EventStore::AwaitStandbyLocked(std::unique_lock<std::mutex>* lock) {
  ++standby_wanted_;
  log_cv_.notify_all();
  log_cv_.wait(*lock, [this] { return !making_standby_ && (stop_ || closed_ || standby_ || standby_failed_); });
  --standby_wanted_;
}

// What a burst of events left: writers that have room need no more than one log in use, or to be so with the
// next event, and one in reserve.
std::vector<std::string> EventStore::SurplusLogsLocked() {
  std::vector<std::string> surplus;
  const size_t kept = wal_ && (standby_ || making_standby_) ? 0 : 1;
  while (immutables_.empty() && retired_wals_.size() > kept && retired_wals_.front().mapping.expired()) {
    surplus.push_back(std::move(retired_wals_.front().path));
    retired_wals_.erase(retired_wals_.begin());
  }
  return surplus;
}

}  // namespace segue
