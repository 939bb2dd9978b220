// Memtable: the events that are in the WAL but in no SSTable yet.
//
//   active skiplist   single rows and small batches, small enough for the cache
//   pending           sealed skiplists and batches as they arrived, unsorted
//   sorted runs       pending rows sorted together, and merges of those
//
// Writers only append to the first two and never wait: a background thread sorts
// what is pending, some rows at a time, which makes some thirty runs of a
// memtable of usual size. Of a larger one it merges the smallest runs, so that a
// read meets a few parts only. The flush merges what there is.
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
  static constexpr size_t kMaxRuns = 64;
  static constexpr size_t kSkipListRows = 4096;  // about half a megabyte of nodes: stays in L2
  // Pending parts are sorted when they are this many or take this much memory: more
  // would leave the cache while they are sorted, fewer make many runs to merge.
  static constexpr size_t kSortParts = 512;
  static constexpr size_t kSortBytes = size_t{5} << 18;

  Memtable(const StoreSchema* schema, const RowFormat* format, const Interners* interners);

  // True when there is work for MergeOnce that there was not before.
  bool AddRow(std::string_view key, int64_t time, uint64_t seq, std::string_view row);
  bool AddBatch(std::shared_ptr<const MemtableBatch> batch);

  // Sorts what is pending, if there is enough of it, or merges runs if there
  // are many. False when there was nothing to do.
  bool MergeOnce();

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

  bool PendingFullLocked() const;
  void SealSkipListLocked();
  bool SortPending(bool all);
  bool MergeRuns();

  const StoreSchema* schema_;
  const RowFormat* format_;
  const Interners* interners_;
  std::mutex sort_mutex_;     // held while parts are sorted or merged; taken before mutex_
  OrderedRows order_;         // guarded by sort_mutex_
  mutable std::mutex mutex_;  // guards what follows
  std::shared_ptr<SkipList> active_;
  std::vector<std::shared_ptr<const SkipList>> sealed_;
  std::vector<std::shared_ptr<const MemtableBatch>> batches_;
  Runs runs_;
  size_t pending_bytes_ = 0;
  std::atomic<size_t> rows_{0};
  std::atomic<size_t> memory_{0};  // of all but the active skiplist
  std::atomic<size_t> active_memory_{0};
};

}  // namespace segue
