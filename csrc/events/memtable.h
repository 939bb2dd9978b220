// Memtable: the events that are in the WAL but in no SSTable yet.
//
//   active skiplist   single rows and small batches, small enough for the cache
//   pending           sealed skiplists and batches as they arrived, unsorted
//   sorted runs       pending rows sorted together, and merges of those
//
// Writers only append to the first two; a background thread sorts what is
// pending and merges runs in size tiers (sixteen of one tier become one of the
// next), so that a read meets a few parts only. A writer that finds the
// background behind sorts what is pending itself.
//
// Thread safety: Add* by one thread at a time (the store's writer mutex);
// everything else from any thread.
// Invariants: a row is in exactly one part; every view is the content as of
// some moment between two Add* calls; there are at most kMaxRuns runs.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "events/memtable_run.h"

namespace segue {

// What a reader holds: immutable parts, and skiplists of which one may still
// grow with higher sequence numbers than the reader's snapshot.
struct MemtableView {
  std::vector<std::shared_ptr<const MemtableRun>> runs;
  std::vector<std::shared_ptr<const MemtableBatch>> batches;
  std::vector<std::shared_ptr<const SkipList>> skiplists;
};

class Memtable {
 public:
  static constexpr size_t kMaxRuns = 32;
  static constexpr size_t kSkipListRows = 4096;  // about half a megabyte of nodes: stays in L2
  // Pending parts are sorted when they are this many or hold this many rows ...
  static constexpr size_t kSortParts = 16;
  static constexpr size_t kSortRows = 16384;
  // ... and by the writer itself at four times that.
  static constexpr size_t kBehind = 4;

  Memtable(const StoreSchema* schema, const RowFormat* format, const Interners* interners);

  // True when there is work for MergeOnce that there was not before.
  bool AddRow(std::string_view key, int64_t time, uint64_t seq, std::string_view row);
  bool AddBatch(std::shared_ptr<const MemtableBatch> batch);

  // Sorts what is pending, or merges one tier of runs, if there is enough of
  // it. False when there was nothing to do.
  bool MergeOnce();
  // The background is far behind: the next writer calls MergeOnce before it adds.
  bool Behind() const { return behind_.load(std::memory_order_relaxed); }

  MemtableView View() const;
  // Sorts what is pending: all rows, in few runs (for the flush). No Add* may follow.
  std::vector<std::shared_ptr<const MemtableRun>> Finish();

  // Relaxed counters: exact when no Add* or merge is under way.
  size_t rows() const { return rows_.load(std::memory_order_relaxed); }
  size_t memory() const {
    return memory_.load(std::memory_order_relaxed) + active_memory_.load(std::memory_order_relaxed);
  }
  size_t skiplist_rows() const;
  size_t run_rows() const;  // pending batches included
  size_t runs() const;      // pending parts included

 private:
  using Runs = std::vector<std::shared_ptr<const MemtableRun>>;

  bool PendingFullLocked(size_t times) const;
  void SealSkipListLocked();
  bool SortPending(bool all);
  bool MergeTier();
  Runs PickLocked() const;
  void ReplaceLocked(const Runs& merged, std::shared_ptr<const MemtableRun> by);
  void UpdateLocked();

  const StoreSchema* schema_;
  const RowFormat* format_;
  const Interners* interners_;
  std::mutex merge_mutex_;    // held while runs merge; taken before sort_mutex_
  std::mutex sort_mutex_;     // held while pending parts are sorted; taken before mutex_
  mutable std::mutex mutex_;  // guards what follows
  std::shared_ptr<SkipList> active_;
  std::vector<std::shared_ptr<const SkipList>> sealed_;
  std::vector<std::shared_ptr<const MemtableBatch>> batches_;
  Runs runs_;
  size_t pending_rows_ = 0;
  std::atomic<size_t> rows_{0};
  std::atomic<size_t> memory_{0};  // of all but the active skiplist
  std::atomic<size_t> active_memory_{0};
  std::atomic<bool> behind_{false};
};

}  // namespace segue
