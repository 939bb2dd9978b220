// EventStore: expiry of whole time windows.
//
// Tables of expired windows go; of a table that other windows share, the rows
// before the bound are hidden by the manifest and dropped by the next merge. One
// replaced manifest does it all, so after a crash all has expired or nothing.
// Events that arrive later are not concerned, whatever their time: the bound
// belongs to the tables that were there.
#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <set>

#include "events/event_store.h"

namespace segue {

// While it lives, no tables are merged.
class EventStore::CompactionPause {
 public:
  explicit CompactionPause(EventStore* store) : store_(store) {
    std::unique_lock lock(store_->mutex_);
    ++store_->compaction_pauses_;
    store_->cancel_merge_ = true;
    store_->compaction_cv_.wait(lock, [this] { return !store_->compacting_; });
  }
  ~CompactionPause() {
    const std::lock_guard lock(store_->mutex_);
    --store_->compaction_pauses_;
    store_->compaction_cv_.notify_all();
  }
  CompactionPause(const CompactionPause&) = delete;
  CompactionPause& operator=(const CompactionPause&) = delete;

 private:
  EventStore* const store_;
};

// Adds to `rows` what the table shows before `bound`, to `untaken` those of them above `taken_seq`.
Status EventStore::CountExpired(const SstReader& table, int64_t bound, uint64_t taken_seq, const Poll& poll,
                                ExpireResult* result) const {
  const SstMeta& meta = table.meta();
  if (meta.max_time < bound && table.visible_from() <= meta.min_time && meta.max_seq <= taken_seq) {
    result->rows += meta.rows;
    return {};
  }
  const auto time = static_cast<size_t>(core_->schema.time);
  std::vector<bool> wanted(core_->schema.columns.size());
  wanted[time] = true;
  ColumnBatch rows;
  EncodedBlock scratch;
  for (size_t block = 0; block < table.blocks().size(); ++block) {
    const BlockInfo& info = table.blocks()[block];
    if (info.min_time >= bound || info.max_time < table.visible_from()) continue;
    SEGUE_RETURN_IF_ERROR(poll());
    if (closing_.load(std::memory_order_relaxed)) {
      return Status::Closed("event table '" + core_->dir + "' was closed before anything expired");
    }
    SEGUE_RETURN_IF_ERROR(table.ReadBlock(block, wanted, &scratch, &rows));
    for (size_t row = 0; row < rows.rows; ++row) {
      const auto at = rows.columns[time].Get<int64_t>(row);
      if (at < table.visible_from() || at >= bound) continue;
      ++result->rows;
      if (rows.seq[row] > taken_seq) ++result->untaken;
    }
  }
  return {};
}

Result<ExpireResult> EventStore::Expire(int64_t before, uint64_t taken_seq, const Poll& poll) {
  SEGUE_RETURN_IF_ERROR(Flush());
  ExpireResult result;
  const int64_t rest = before % window_;
  const int64_t into = rest < 0 ? rest + window_ : rest;  // its window
  if (before < std::numeric_limits<int64_t>::min() + into) return result;
  const int64_t bound = before - into;
  result.before = bound;

  const CompactionPause pause(this);
  // Counting reads tables, for seconds perhaps: before flushes have to wait, who add tables meanwhile.
  std::map<const SstReader*, ExpireResult> counts;
  const auto count = [&](const std::shared_ptr<const SstReader>& table) -> Status {
    const auto [found, fresh] = counts.try_emplace(table.get());
    return fresh ? CountExpired(*table, bound, taken_seq, poll, &found->second) : Status();
  };
  const auto reaches = [bound](const ManifestTable& entry) {
    return entry.min_time < bound && entry.visible_from < bound;
  };
  std::vector<std::shared_ptr<const SstReader>> counted;  // they live while their counts are used
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
    for (size_t i = 0; i < tables_.size(); ++i) {
      if (reaches(manifest_.tables[i])) counted.push_back(tables_[i]);
    }
  }
  for (const auto& table : counted) SEGUE_RETURN_IF_ERROR(count(table));
  std::vector<std::shared_ptr<const SstReader>> dropped;
  std::vector<std::shared_ptr<const SstReader>> replaced;
  {
    const std::lock_guard manifest_lock(manifest_mutex_);
    Manifest next;
    std::vector<std::shared_ptr<const SstReader>> tables;
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return Status::Closed("event table '" + core_->dir + "' is closed");
      next = manifest_;
      tables = tables_;
    }
    std::vector<ManifestTable> kept;
    std::vector<std::shared_ptr<const SstReader>> readers;
    for (size_t i = 0; i < tables.size(); ++i) {
      ManifestTable entry = next.tables[i];
      std::shared_ptr<const SstReader> reader = tables[i];
      if (reaches(entry)) {
        const uint64_t rows = result.rows;
        SEGUE_RETURN_IF_ERROR(count(reader));
        result.rows += counts[reader.get()].rows;
        result.untaken += counts[reader.get()].untaken;
        if (entry.max_time < bound) {
          next.tokens.insert(next.tokens.end(), reader->tokens().begin(), reader->tokens().end());
          ++result.tables;
          result.bytes += entry.file_size;
          dropped.push_back(std::move(reader));
          continue;
        }
        if (result.rows > rows) {
          replaced.push_back(reader);
          // Another reader: the old one may serve snapshots, which go on seeing every row.
          entry.visible_from = bound;
          SEGUE_ASSIGN_OR_RETURN(reader, core_->OpenTable(entry));
        }
      }
      kept.push_back(std::move(entry));
      readers.push_back(std::move(reader));
    }
    if (result.untaken > 0) return ExpireResult{bound, result.rows, 0, 0, result.untaken};
    if (dropped.empty() && replaced.empty()) return result;
    next.tables = std::move(kept);
    next.expired_before = std::max(next.expired_before, bound);
    SEGUE_RETURN_IF_ERROR(WriteManifest(next, {}));
    WatchTables(replaced);
    WatchTables(dropped);
    const std::lock_guard lock(mutex_);
    next.next_file = manifest_.next_file;
    manifest_ = std::move(next);
    tables_ = std::move(readers);
  }
  RetireTables(dropped);
  counted.clear();
  dropped.clear();
  replaced.clear();
  std::unique_lock lock(mutex_);
  ReapLocked(&lock);
  return result;
}

}  // namespace segue
