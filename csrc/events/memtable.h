// Memtable: the events that are in the WAL but in no SSTable yet.
//
//   active skiplist   single rows and small batches, small enough for the cache
//   sorted runs       large batches, sealed skiplists and merges of those
//
// Runs are merged in size tiers (eight of one tier become one of the next), so
// that a read meets a few runs only, never more than kMaxRuns.
//
// Thread safety: Add* by one thread at a time (the store's writer mutex);
// MergeOnce by one background thread at a time beside it; View from any thread.
// Invariants: a row is in exactly one of skiplist and runs; every view is the
// content as of some moment between two Add* calls.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "events/memtable_run.h"

namespace segue {

// What a reader holds: immutable runs, and a skiplist that may still grow with
// higher sequence numbers than the reader's snapshot.
struct MemtableView {
  std::vector<std::shared_ptr<const MemtableRun>> runs;
  std::shared_ptr<const SkipList> active;
};

class Memtable {
 public:
  static constexpr size_t kMaxRuns = 32;
  static constexpr size_t kSkipListRows = 8192;  // about 1 MB of nodes: stays in L2

  Memtable(const StoreSchema* schema, const RowFormat* format, const Interners* interners);

  void AddRow(std::string_view key, int64_t time, uint64_t seq, std::string_view row);
  void AddRun(std::shared_ptr<const MemtableRun> run);

  // Merges one tier if one is full. False when there was nothing to do.
  bool MergeOnce();
  bool NeedsMerge() const;

  MemtableView View() const;
  // All rows as one sorted run (for the flush); null when empty. No Add* may follow.
  std::shared_ptr<const MemtableRun> Finish();

  size_t rows() const;
  size_t memory() const;
  size_t skiplist_rows() const;
  size_t run_rows() const;
  size_t runs() const;

 private:
  void SealSkipListLocked();
  // The runs of the lowest full tier, or of the smallest ones when `force`.
  std::vector<std::shared_ptr<const MemtableRun>> PickLocked(bool force) const;
  void ReplaceLocked(const std::vector<std::shared_ptr<const MemtableRun>>& merged,
                     std::shared_ptr<const MemtableRun> by);

  const StoreSchema* schema_;
  const RowFormat* format_;
  const Interners* interners_;
  std::mutex merge_mutex_;    // held while a merge runs; taken before mutex_
  mutable std::mutex mutex_;  // guards what follows
  std::shared_ptr<SkipList> active_;
  std::vector<std::shared_ptr<const MemtableRun>> runs_;
  size_t run_rows_ = 0;
  size_t run_memory_ = 0;
};

}  // namespace segue
