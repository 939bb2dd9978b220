// EventStore: merging of SSTables, in the background or on demand.
//
// One thread does it, at low priority and at a bounded rate. What to merge is
// compaction_picker.h's decision, rows are merged by table_merger.h and written
// by table_writer.h. The merge takes mutex_ at its beginning and its end only,
// so a writer never waits for a thread that the system has set aside.
//
// Another thread removes the files that merges and expiry leave behind, and logs
// that are needed no more.
//
// Order on disk: new tables synced, folder synced, manifest replaced; then the
// old tables are retired, to be removed when nobody reads them.
#include <algorithm>
#include <chrono>
#include <set>

#include "base/thread_priority.h"
#include "events/event_store.h"
#include "events/table_merger.h"
#include "events/time_windows.h"

namespace segue {
namespace {

using Clock = std::chrono::steady_clock;

// Of one merge, which writes them at the same time.
constexpr size_t kMostMergeFiles = 16;

// How long retired files may stay after their last reader is gone.
constexpr std::chrono::seconds kReapInterval(1);
constexpr std::chrono::seconds kReapWait(2);  // of a caller who had files retired
constexpr std::chrono::seconds kLongestRetry(60);
constexpr std::chrono::milliseconds kPollInterval(50);
constexpr std::chrono::milliseconds kThrottlePause(5);

}  // namespace

// Holds a merge to its rate, of what it writes and what it reads to prepare that, and makes it stand still while
// writers wait for flushes; not one that is urgent.
class EventStore::Throttle {
 public:
  explicit Throttle(const EventStore* store) : store_(store) {}

  // After so many more bytes that were read.
  void Read(uint64_t bytes) { Wait(read_ += bytes); }
  // After this many that were written, in all.
  void Written(uint64_t bytes) { Wait(read_ + bytes); }

 private:
  void Wait(uint64_t bytes) {
    const auto rate = static_cast<double>(store_->options_.compaction_bytes_per_second);
    while (!store_->cancel_merge_.load(std::memory_order_relaxed) &&
           !store_->merge_urgent_.load(std::memory_order_relaxed)) {
      const bool still = store_->flushes_behind_.load(std::memory_order_relaxed);
      const Clock::time_point now = Clock::now();
      const std::chrono::duration<double> taken = now - start_;
      if (!still && (rate == 0 || static_cast<double>(bytes) <= taken.count() * rate)) return;
      std::this_thread::sleep_for(kThrottlePause);
      if (still) start_ += Clock::now() - now;  // not to be made up for
    }
  }

  const EventStore* store_;
  uint64_t read_ = 0;
  Clock::time_point start_ = Clock::now();
};

std::vector<CompactionPick> EventStore::CompactionsLocked() const {
  CompactionRules rules;
  rules.table_keys = options_.table_keys;
  if (!compact_requests_.empty()) {
    return AllCompactions(manifest_.tables, window_, *compact_requests_.rbegin(), rules);
  }
  if (!options_.background_compaction) return {};
  return DueCompactions(manifest_.tables, window_, manifest_.handoff_seq, rules);
}

void EventStore::CompactionLoop() {
  LowerThreadPriority(ThreadPriority::kLater, Hurry());
  std::chrono::seconds retry(0);
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const bool may = compaction_pauses_ == 0 && !poisoned_.load(std::memory_order_acquire);
    const std::vector<CompactionPick> due = may ? CompactionsLocked() : std::vector<CompactionPick>();
    if (due.empty()) {
      compaction_cv_.notify_all();  // Compact() may be waiting for this
      compaction_cv_.wait(lock);
      continue;
    }
    const CompactionPick pick = due.front();
    const bool urgent = pick.crowded || !compact_requests_.empty();
    if (flushes_behind_ && !urgent) {
      compaction_cv_.wait(lock);
      continue;
    }
    std::vector<std::shared_ptr<const SstReader>> tables;
    for (const size_t input : pick.inputs) tables.push_back(tables_[input]);
    const uint64_t calls = compact_calls_;
    merge_urgent_ = urgent;
    compacting_ = true;
    merge_bytes_read_ = 0;
    cancel_merge_ = false;
    lock.unlock();
    const Status status = MergeTables(tables);
    tables.clear();
    lock.lock();
    compacting_ = false;
    merge_bytes_read_ = 0;
    // Whoever has asked since this merge began is told of one that began later.
    const bool outdated = compact_calls_ != calls;
    compaction_error_ = outdated || status.code() == StatusCode::kCancelled ? Status() : status;
    compaction_cv_.notify_all();
    ++reap_requests_;
    reap_cv_.notify_all();
    if (status.ok() || status.code() == StatusCode::kCancelled) {
      retry = std::chrono::seconds(0);
      background_errors_[kMerges].clear();
    } else {
      // Nothing is lost but the work. A full disk may get room.
      lock.unlock();
      ReportBackgroundError(kMerges, status, "the tables stay as they are, and the merge is tried again");
      lock.lock();
      if (outdated) continue;
      retry = std::min(kLongestRetry, retry * 2 + std::chrono::seconds(1));
      compaction_cv_.wait_for(lock, retry, [this] { return stop_ || compaction_error_.ok(); });
    }
  }
}

// Removes files without haste where commits wait for the same disk.
void EventStore::ReapLoop() {
  LowerThreadPriority(ThreadPriority::kLater);
  const auto hurry = [this] { return !commits() || closing_.load(std::memory_order_relaxed); };
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const uint64_t request = reap_requests_;
    Status status;
    if (reaper_->waiting() > 0) {
      lock.unlock();
      status = reaper_->Reap(hurry);
      lock.lock();
    }
    reap_answers_ = request;
    reap_cv_.notify_all();
    const std::vector<std::string> logs = SurplusLogsLocked();
    lock.unlock();
    for (const std::string& log : logs) {
      // One that stays is found again at the next open.
      if (Status removed = core_->env->RemoveGradually(log, hurry); !removed.ok()) status = std::move(removed);
    }
    if (!status.ok()) ReportBackgroundError(kRemovals, status, "the file takes space until it can be removed");
    lock.lock();
    if (status.ok()) background_errors_[kRemovals].clear();
    const auto asked = [this, request] { return stop_ || reap_requests_ != request; };
    if (reaper_->waiting() > 0) {
      reap_cv_.wait_for(lock, kReapInterval, asked);
    } else {
      reap_cv_.wait(lock, asked);
    }
  }
}

// What can be removed is gone then, if that takes no longer than a moment.
void EventStore::ReapLocked(std::unique_lock<std::mutex>* lock) {
  const uint64_t request = ++reap_requests_;
  reap_cv_.notify_all();
  reap_cv_.wait_for(*lock, kReapWait, [&] { return stop_ || reap_answers_ >= request; });
}

// Rows by window of what a merge will write.
Status EventStore::CountWindows(const std::vector<std::shared_ptr<const SstReader>>& tables,
                                WindowHistogram* histogram) const {
  const auto time = static_cast<size_t>(core_->schema.time);
  std::vector<bool> wanted(core_->schema.columns.size());
  wanted[time] = true;
  ColumnBatch rows;
  EncodedBlock scratch;
  for (const auto& table : tables) {
    const SstMeta& meta = table->meta();
    if (table->visible_from() <= meta.min_time &&
        WindowOf(meta.min_time, window_) == WindowOf(meta.max_time, window_)) {
      histogram->AddWindow(WindowOf(meta.min_time, window_), meta.rows);
      continue;
    }
    for (size_t block = 0; block < table->blocks().size(); ++block) {
      if (cancel_merge_.load(std::memory_order_relaxed)) return Status::Cancelled("the merge was stopped");
      SEGUE_RETURN_IF_ERROR(table->ReadBlock(block, wanted, &scratch, &rows));
      histogram->Add(rows.columns[time], 0, rows.rows, table->visible_from());
    }
  }
  return {};
}

// Of each file of a merge: a sample of its rows as they will be, and a pass over all times.
Result<FileModels> EventStore::ModelsOfTables(const WindowSplit& split, uint64_t all,
                                              const std::vector<std::shared_ptr<const SstReader>>& tables,
                                              Throttle* throttle) const {
  SplitFitters fitters(&core_->schema, &split, ModelFitter::kWorthOfMerge);
  // Stretches begin at blocks of the largest table.
  const auto larger = [](const auto& a, const auto& b) { return a->meta().rows < b->meta().rows; };
  const std::vector<BlockInfo>& blocks = (*std::max_element(tables.begin(), tables.end(), larger))->blocks();
  const size_t stretches = std::min(ModelFitter::Stretches(all), blocks.size());
  ColumnBatch rows;
  for (size_t i = 0; i < stretches; ++i) {
    TableMerger merger(&core_->schema, tables, i == 0 ? "" : blocks[i * blocks.size() / stretches].first_key);
    size_t sampled = 0;
    while (sampled < (stretches == 1 ? all : ModelFitter::kStretchRows)) {
      if (cancel_merge_.load(std::memory_order_relaxed)) return Status::Cancelled("the merge was stopped");
      SEGUE_ASSIGN_OR_RETURN(const bool more, merger.Next(&rows));
      if (!more) break;
      fitters.AddStretch(rows);
      sampled += rows.rows;
    }
  }
  fitters.EndSample();

  std::vector<bool> wanted(core_->schema.columns.size());
  wanted[static_cast<size_t>(core_->schema.time)] = true;
  std::vector<bool> counted = fitters.counted();
  counted[static_cast<size_t>(core_->schema.time)] = true;
  size_t all_blocks = 0;
  for (const auto& table : tables) all_blocks += table->blocks().size();
  const size_t every = std::max<size_t>(1, all_blocks * options_.sst.block_rows / ModelFitter::kMostCounted);
  size_t number = 0;
  EncodedBlock scratch;
  for (const auto& table : tables) {
    for (size_t block = 0; block < table->blocks().size(); ++block) {
      if (cancel_merge_.load(std::memory_order_relaxed)) return Status::Cancelled("the merge was stopped");
      if (table->blocks()[block].max_time < table->visible_from()) continue;
      const bool count = number++ % every == 0 && fitters.counting();
      SEGUE_RETURN_IF_ERROR(table->ReadBlock(block, count ? counted : wanted, &scratch, &rows));
      fitters.Add(rows, table->visible_from(), count);
      throttle->Read(scratch.bytes());
      GiveWay();
    }
  }
  return fitters.Fit();
}

Result<std::vector<SstMeta>> EventStore::WriteMerged(const std::vector<std::shared_ptr<const SstReader>>& tables,
                                                     const std::vector<TokenEntry>& tokens) {
  WindowHistogram histogram(window_);
  SEGUE_RETURN_IF_ERROR(CountWindows(tables, &histogram));
  if (histogram.rows() == 0) return std::vector<SstMeta>();
  const WindowSplit split(histogram, options_.window_rows, kMostMergeFiles);
  const auto time = static_cast<size_t>(core_->schema.time);
  Throttle throttle(this);
  SEGUE_ASSIGN_OR_RETURN(FileModels models, ModelsOfTables(split, histogram.rows(), tables, &throttle));
  TableWriter writer(core_->env.get(), &core_->schema, &core_->interners, options_.sst, options_.table_keys,
                     std::move(models), NewTables());
  TableMerger merger(&core_->schema, tables);
  ColumnBatch rows;
  std::vector<uint32_t> outputs;
  std::vector<std::vector<uint32_t>> orders(split.files());
  for (;;) {
    if (cancel_merge_.load(std::memory_order_relaxed)) return Status::Cancelled("the merge was stopped");
    SEGUE_ASSIGN_OR_RETURN(const bool more, merger.Next(&rows));
    if (!more) break;
    merge_bytes_read_.store(merger.bytes_read(), std::memory_order_relaxed);
    if (split.files() == 1) {
      SEGUE_RETURN_IF_ERROR(writer.Add(0, rows));
    } else {
      outputs.resize(rows.rows);
      split.Route(rows.columns[time], 0, rows.rows, outputs.data());
      for (auto& order : orders) order.clear();
      for (uint32_t row = 0; row < rows.rows; ++row) orders[outputs[row]].push_back(row);
      for (size_t file = 0; file < orders.size(); ++file) {
        SEGUE_RETURN_IF_ERROR(writer.Add(file, rows, orders[file]));
      }
    }
    throttle.Written(writer.bytes_written());
  }
  return writer.Finish(tokens);
}

Status EventStore::MergeTables(const std::vector<std::shared_ptr<const SstReader>>& tables) {
  std::set<uint64_t> numbers;
  std::vector<TokenEntry> tokens;
  for (const auto& table : tables) {
    numbers.insert(table->meta().file_number);
    tokens.insert(tokens.end(), table->tokens().begin(), table->tokens().end());
  }
  SEGUE_ASSIGN_OR_RETURN(const std::vector<SstMeta> metas, WriteMerged(tables, tokens));
  std::vector<std::shared_ptr<const SstReader>> merged;
  SEGUE_RETURN_IF_ERROR(OpenTables(metas, &merged));

  {
    const std::lock_guard manifest_lock(manifest_mutex_);
    Manifest next;
    {
      const std::lock_guard lock(mutex_);
      next = manifest_;
    }
    std::erase_if(next.tables, [&](const ManifestTable& table) { return numbers.contains(table.file_number); });
    for (const SstMeta& meta : metas) next.tables.push_back({meta});
    if (metas.empty()) next.tokens.insert(next.tokens.end(), tokens.begin(), tokens.end());
    SEGUE_RETURN_IF_ERROR(WriteManifest(next, metas));
    WatchTables(tables);
    const std::lock_guard lock(mutex_);
    next.next_file = manifest_.next_file;
    manifest_ = std::move(next);
    std::erase_if(tables_, [&](const auto& table) { return numbers.contains(table->meta().file_number); });
    ++counters_.compactions;
    for (const auto& table : tables) counters_.compaction_bytes_read += table->meta().file_size;
    for (const auto& table : merged) {
      counters_.compaction_bytes_written += table->meta().file_size;
      tables_.push_back(table);
    }
  }
  RetireTables(tables);
  return {};
}

// Before tables_ no longer has them: a table that is closed then leaves a lease for its snapshots, which
// names what is watched.
void EventStore::WatchTables(const std::vector<std::shared_ptr<const SstReader>>& tables) {
  for (const auto& table : tables) reaper_->Watch(table->meta().file_number, table);
}

void EventStore::RetireTables(const std::vector<std::shared_ptr<const SstReader>>& tables) {
  for (const auto& table : tables) reaper_->Retire(table->meta().file_number, TablePath(table->meta().file_number));
}

Result<uint64_t> EventStore::Compact(const CompactionPoll& poll) {
  SEGUE_RETURN_IF_ERROR(Flush());
  std::unique_lock lock(mutex_);
  const auto request = compact_requests_.insert(last_seq_);
  compaction_error_ = Status();
  ++compact_calls_;
  merge_urgent_ = true;  // one that is under way
  const uint64_t before = counters_.compaction_bytes_read;
  compaction_cv_.notify_all();
  Status status;
  for (;;) {
    const std::vector<CompactionPick> left = CompactionsLocked();
    if (closed_) status = Status::Closed("event table '" + core_->dir + "' was closed during a compaction");
    if (status.ok()) status = compaction_error_;
    if (!status.ok() || (left.empty() && !compacting_)) break;
    CompactionProgress progress{counters_.compaction_bytes_read - before, 0};
    for (const CompactionPick& pick : left) progress.bytes_left += pick.bytes;
    const uint64_t read = std::min(merge_bytes_read_.load(std::memory_order_relaxed), progress.bytes_left);
    progress.bytes_done += read;
    progress.bytes_left -= read;
    lock.unlock();
    status = poll(progress);
    if (status.ok()) status = CheckWritable();
    lock.lock();
    if (status.ok()) compaction_cv_.wait_for(lock, kPollInterval);
  }
  compact_requests_.erase(request);
  if (!status.ok()) {
    if (compact_requests_.empty()) cancel_merge_ = true;
    return status;
  }
  ReapLocked(&lock);
  return MostTablesOfAWindow(manifest_.tables, window_);
}

}  // namespace segue
