#include "events/memtable.h"

#include <algorithm>

namespace segue {
namespace {

constexpr size_t kMergedRuns = 16;  // at a time, the smallest

}  // namespace

Memtable::Memtable(const StoreSchema* schema, const RowFormat* format, const Interners* interners)
    : schema_(schema), format_(format), interners_(interners), order_(*schema), active_(std::make_shared<SkipList>()) {}

bool Memtable::AddRow(std::string_view key, int64_t time, uint64_t seq, std::string_view row) {
  active_->Insert(key, time, seq, row);
  rows_.fetch_add(1, std::memory_order_relaxed);
  active_memory_.store(active_->memory(), std::memory_order_relaxed);
  if (active_->rows() < kSkipListRows) return false;
  const std::lock_guard lock(mutex_);
  SealSkipListLocked();
  return PendingFullLocked();
}

bool Memtable::AddBatch(std::shared_ptr<const MemtableBatch> batch) {
  const std::lock_guard lock(mutex_);
  rows_.fetch_add(batch->rows(), std::memory_order_relaxed);
  memory_.fetch_add(batch->memory(), std::memory_order_relaxed);
  pending_bytes_ += batch->memory();
  batches_.push_back(std::move(batch));
  return PendingFullLocked();
}

bool Memtable::PendingFullLocked() const {
  return pending_bytes_ >= kSortBytes || batches_.size() + sealed_.size() >= kSortParts;
}

void Memtable::SealSkipListLocked() {
  if (active_->rows() == 0) return;
  memory_.fetch_add(active_->memory(), std::memory_order_relaxed);
  pending_bytes_ += active_->memory();
  sealed_.push_back(std::move(active_));
  active_ = std::make_shared<SkipList>();
  active_memory_.store(0, std::memory_order_relaxed);
}

bool Memtable::SortPending(bool all) {
  const std::lock_guard sorting(sort_mutex_);
  std::vector<std::shared_ptr<const SkipList>> skiplists;
  std::vector<std::shared_ptr<const MemtableBatch>> batches;
  {
    const std::lock_guard lock(mutex_);
    if (!all && !PendingFullLocked()) return false;
    // No more than fits the cache, however much waits.
    size_t bytes = 0;
    const auto pick = [&bytes](const auto& parts, auto* picked) {
      for (const auto& part : parts) {
        if (bytes >= kSortBytes) return;
        bytes += part->memory();
        picked->push_back(part);
      }
    };
    pick(sealed_, &skiplists);
    pick(batches_, &batches);
  }
  if (skiplists.empty() && batches.empty()) return false;
  auto run = MemtableRun::Sort(*format_, *interners_, batches, skiplists, &order_);
  size_t freed = 0;
  for (const auto& list : skiplists) freed += list->memory();
  for (const auto& batch : batches) freed += batch->memory();
  const std::lock_guard lock(mutex_);
  // Only this function removes from the front, and writers only append.
  sealed_.erase(sealed_.begin(), sealed_.begin() + static_cast<ptrdiff_t>(skiplists.size()));
  batches_.erase(batches_.begin(), batches_.begin() + static_cast<ptrdiff_t>(batches.size()));
  memory_.fetch_add(run->memory() - freed, std::memory_order_relaxed);
  pending_bytes_ -= freed;
  runs_.push_back(std::move(run));
  return true;
}

bool Memtable::MergeRuns() {
  const std::lock_guard sorting(sort_mutex_);
  Runs picked;
  {
    const std::lock_guard lock(mutex_);
    if (runs_.size() < kMaxRuns) return false;
    picked = runs_;
  }
  std::stable_sort(picked.begin(), picked.end(), [](const auto& a, const auto& b) { return a->rows() < b->rows(); });
  picked.resize(kMergedRuns);
  auto merged = MemtableRun::Merge(*schema_, picked);
  size_t freed = 0;
  for (const auto& run : picked) freed += run->memory();
  const std::lock_guard lock(mutex_);
  std::erase_if(runs_, [&](const auto& run) { return std::find(picked.begin(), picked.end(), run) != picked.end(); });
  memory_.fetch_add(merged->memory() - freed, std::memory_order_relaxed);
  runs_.push_back(std::move(merged));
  return true;
}

bool Memtable::MergeOnce() {
  return MergeRuns() || SortPending(false);  // in this order, so that there are never too many
}

MemtableView Memtable::View() const {
  const std::lock_guard lock(mutex_);
  MemtableView view{runs_, batches_, sealed_};
  view.skiplists.push_back(active_);
  return view;
}

Memtable::Runs Memtable::Finish() {
  {
    const std::lock_guard lock(mutex_);
    SealSkipListLocked();
  }
  while (MergeRuns() || SortPending(true)) {
  }
  const std::lock_guard lock(mutex_);
  return runs_;
}

size_t Memtable::skiplist_rows() const {
  const std::lock_guard lock(mutex_);
  size_t total = active_->rows();
  for (const auto& list : sealed_) total += list->rows();
  return total;
}

size_t Memtable::run_rows() const {
  const std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const auto& batch : batches_) total += batch->rows();
  for (const auto& run : runs_) total += run->rows();
  return total;
}

size_t Memtable::runs() const {
  const std::lock_guard lock(mutex_);
  return runs_.size() + batches_.size();
}

}  // namespace segue
