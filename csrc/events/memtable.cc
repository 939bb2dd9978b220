#include "events/memtable.h"

#include <algorithm>
#include <bit>

namespace segue {
namespace {

constexpr size_t kTierRuns = 8;

// Runs of 1 to 511 rows, 512 to 4095, ...: each tier eight times the last.
int TierOf(size_t rows) {
  const int log2 = rows == 0 ? 0 : static_cast<int>(std::bit_width(rows)) - 1;
  return std::max(0, (log2 - 6) / 3);
}

}  // namespace

Memtable::Memtable(const StoreSchema* schema, const RowFormat* format, const Interners* interners)
    : schema_(schema), format_(format), interners_(interners), active_(std::make_shared<SkipList>()) {}

void Memtable::AddRow(std::string_view key, int64_t time, uint64_t seq, std::string_view row) {
  active_->Insert(key, time, seq, row);
  if (active_->rows() < kSkipListRows) return;
  const std::lock_guard lock(mutex_);
  SealSkipListLocked();
}

void Memtable::SealSkipListLocked() {
  if (active_->rows() == 0) return;
  auto run = MemtableRun::FromSkipList(*format_, *schema_, *interners_, *active_);
  run_rows_ += run->rows();
  run_memory_ += run->memory();
  runs_.push_back(std::move(run));
  active_ = std::make_shared<SkipList>();
}

void Memtable::AddRun(std::shared_ptr<const MemtableRun> run) {
  {
    const std::lock_guard lock(mutex_);
    run_rows_ += run->rows();
    run_memory_ += run->memory();
    runs_.push_back(std::move(run));
    if (runs_.size() < kMaxRuns) return;
  }
  // The background thread has fallen behind: the writer pays for one merge.
  const std::lock_guard merging(merge_mutex_);
  std::vector<std::shared_ptr<const MemtableRun>> picked;
  {
    const std::lock_guard lock(mutex_);
    if (runs_.size() < kMaxRuns) return;
    picked = PickLocked(true);
  }
  auto merged = MemtableRun::Merge(*schema_, picked);
  const std::lock_guard lock(mutex_);
  ReplaceLocked(picked, std::move(merged));
}

std::vector<std::shared_ptr<const MemtableRun>> Memtable::PickLocked(bool force) const {
  std::vector<std::shared_ptr<const MemtableRun>> by_size = runs_;
  std::stable_sort(by_size.begin(), by_size.end(), [](const auto& a, const auto& b) { return a->rows() < b->rows(); });
  size_t begin = 0;
  while (begin < by_size.size()) {
    size_t end = begin;
    while (end < by_size.size() && TierOf(by_size[end]->rows()) == TierOf(by_size[begin]->rows())) ++end;
    if (end - begin >= kTierRuns) {
      return {by_size.begin() + static_cast<ptrdiff_t>(begin), by_size.begin() + static_cast<ptrdiff_t>(end)};
    }
    begin = end;
  }
  if (!force) return {};
  by_size.resize(std::min(by_size.size(), kTierRuns));
  return by_size;
}

void Memtable::ReplaceLocked(const std::vector<std::shared_ptr<const MemtableRun>>& merged,
                             std::shared_ptr<const MemtableRun> by) {
  std::erase_if(runs_, [&](const auto& run) {
    const bool gone = std::find(merged.begin(), merged.end(), run) != merged.end();
    if (gone) run_memory_ -= run->memory();
    return gone;
  });
  run_memory_ += by->memory();
  runs_.push_back(std::move(by));
}

bool Memtable::NeedsMerge() const {
  const std::lock_guard lock(mutex_);
  return !PickLocked(false).empty();
}

bool Memtable::MergeOnce() {
  const std::lock_guard merging(merge_mutex_);
  std::vector<std::shared_ptr<const MemtableRun>> picked;
  {
    const std::lock_guard lock(mutex_);
    picked = PickLocked(false);
  }
  if (picked.empty()) return false;
  auto merged = MemtableRun::Merge(*schema_, picked);
  const std::lock_guard lock(mutex_);
  ReplaceLocked(picked, std::move(merged));
  return true;
}

MemtableView Memtable::View() const {
  const std::lock_guard lock(mutex_);
  return {runs_, active_};
}

std::shared_ptr<const MemtableRun> Memtable::Finish() {
  const std::lock_guard merging(merge_mutex_);
  std::vector<std::shared_ptr<const MemtableRun>> all;
  {
    const std::lock_guard lock(mutex_);
    SealSkipListLocked();
    all = runs_;
  }
  if (all.empty()) return nullptr;
  if (all.size() == 1) return all[0];
  auto merged = MemtableRun::Merge(*schema_, all);
  const std::lock_guard lock(mutex_);
  ReplaceLocked(all, merged);
  return merged;
}

size_t Memtable::rows() const {
  const std::lock_guard lock(mutex_);
  return run_rows_ + active_->rows();
}

size_t Memtable::memory() const {
  const std::lock_guard lock(mutex_);
  return run_memory_ + active_->memory();
}

size_t Memtable::skiplist_rows() const {
  const std::lock_guard lock(mutex_);
  return active_->rows();
}

size_t Memtable::run_rows() const {
  const std::lock_guard lock(mutex_);
  return run_rows_;
}

size_t Memtable::runs() const {
  const std::lock_guard lock(mutex_);
  return runs_.size();
}

}  // namespace segue
