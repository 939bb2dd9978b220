#include "events/memtable.h"

#include <algorithm>
#include <bit>

namespace segue {
namespace {

constexpr size_t kTierRuns = 16;

// Runs of up to 32,767 rows, up to sixteen times that, ...
int TierOf(size_t rows) {
  const int log2 = static_cast<int>(std::bit_width(rows));
  return std::max(0, (log2 - 12) / 4);
}

}  // namespace

Memtable::Memtable(const StoreSchema* schema, const RowFormat* format, const Interners* interners)
    : schema_(schema), format_(format), interners_(interners), active_(std::make_shared<SkipList>()) {}

bool Memtable::AddRow(std::string_view key, int64_t time, uint64_t seq, std::string_view row) {
  active_->Insert(key, time, seq, row);
  rows_.fetch_add(1, std::memory_order_relaxed);
  active_memory_.store(active_->memory(), std::memory_order_relaxed);
  if (active_->rows() < kSkipListRows) return false;
  const std::lock_guard lock(mutex_);
  SealSkipListLocked();
  return PendingFullLocked(1);
}

bool Memtable::AddBatch(std::shared_ptr<const MemtableBatch> batch) {
  const std::lock_guard lock(mutex_);
  rows_.fetch_add(batch->rows(), std::memory_order_relaxed);
  memory_.fetch_add(batch->memory(), std::memory_order_relaxed);
  pending_rows_ += batch->rows();
  batches_.push_back(std::move(batch));
  UpdateLocked();
  return PendingFullLocked(1);
}

bool Memtable::PendingFullLocked(size_t times) const {
  return pending_rows_ >= times * kSortRows || batches_.size() + sealed_.size() >= times * kSortParts;
}

void Memtable::SealSkipListLocked() {
  if (active_->rows() == 0) return;
  memory_.fetch_add(active_->memory(), std::memory_order_relaxed);
  pending_rows_ += active_->rows();
  sealed_.push_back(std::move(active_));
  active_ = std::make_shared<SkipList>();
  active_memory_.store(0, std::memory_order_relaxed);
  UpdateLocked();
}

void Memtable::UpdateLocked() {
  behind_.store(PendingFullLocked(kBehind) || runs_.size() >= kMaxRuns, std::memory_order_relaxed);
}

bool Memtable::SortPending(bool all) {
  const std::lock_guard sorting(sort_mutex_);
  std::vector<std::shared_ptr<const SkipList>> skiplists;
  std::vector<std::shared_ptr<const MemtableBatch>> batches;
  {
    const std::lock_guard lock(mutex_);
    if (!all && !PendingFullLocked(1)) return false;
    skiplists = sealed_;
    batches = batches_;
  }
  if (skiplists.empty() && batches.empty()) return false;
  auto run = MemtableRun::Sort(*format_, *schema_, *interners_, batches, skiplists);
  const std::lock_guard lock(mutex_);
  // Only this function removes from the front, and writers only append.
  sealed_.erase(sealed_.begin(), sealed_.begin() + static_cast<ptrdiff_t>(skiplists.size()));
  batches_.erase(batches_.begin(), batches_.begin() + static_cast<ptrdiff_t>(batches.size()));
  size_t freed = 0;
  for (const auto& list : skiplists) freed += list->memory();
  for (const auto& batch : batches) freed += batch->memory();
  memory_.fetch_add(run->memory() - freed, std::memory_order_relaxed);
  pending_rows_ -= run->rows();
  runs_.push_back(std::move(run));
  UpdateLocked();
  return true;
}

Memtable::Runs Memtable::PickLocked() const {
  Runs by_size = runs_;
  std::stable_sort(by_size.begin(), by_size.end(), [](const auto& a, const auto& b) { return a->rows() < b->rows(); });
  for (size_t begin = 0; begin < by_size.size();) {
    size_t end = begin;
    while (end < by_size.size() && TierOf(by_size[end]->rows()) == TierOf(by_size[begin]->rows())) ++end;
    if (end - begin >= kTierRuns) {
      return {by_size.begin() + static_cast<ptrdiff_t>(begin), by_size.begin() + static_cast<ptrdiff_t>(end)};
    }
    begin = end;
  }
  // No tier is full, but together they are too many.
  if (by_size.size() < kMaxRuns) return {};
  by_size.resize(kTierRuns);
  return by_size;
}

void Memtable::ReplaceLocked(const Runs& merged, std::shared_ptr<const MemtableRun> by) {
  size_t freed = 0;
  std::erase_if(runs_, [&](const auto& run) {
    const bool gone = std::find(merged.begin(), merged.end(), run) != merged.end();
    if (gone) freed += run->memory();
    return gone;
  });
  memory_.fetch_add(by->memory() - freed, std::memory_order_relaxed);
  runs_.push_back(std::move(by));
  UpdateLocked();
}

bool Memtable::MergeTier() {
  const std::lock_guard merging(merge_mutex_);
  Runs picked;
  {
    const std::lock_guard lock(mutex_);
    picked = PickLocked();
  }
  if (picked.empty()) return false;
  auto merged = MemtableRun::Merge(*schema_, picked);
  const std::lock_guard lock(mutex_);
  ReplaceLocked(picked, std::move(merged));
  return true;
}

bool Memtable::MergeOnce() {
  bool too_many = false;
  {
    const std::lock_guard lock(mutex_);
    too_many = runs_.size() >= kMaxRuns;
  }
  if (too_many) return MergeTier();  // before another run is made
  return SortPending(false) || MergeTier();
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
  const std::lock_guard merging(merge_mutex_);
  SortPending(true);
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
