// RunMerger: k sorted runs, in memory or spilled, to one ordered sequence of
// rows, through a tree of losers.
//
// Thread safety: one thread at a time; many mergers may read the same runs.
// Stability: equal rows come in the order of their runs, which is arrival order.
// Cost: about log2(k) key comparisons a row; a block buffer per spilled run.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "pipeline/memory_run.h"
#include "pipeline/sorted_run.h"

namespace segue {

// One of the two is set.
struct SortedRun {
  std::shared_ptr<const MemoryRun> memory;
  std::shared_ptr<const SpilledRun> spilled;
};

struct KeyRange {
  Key128 begin;
  Key128 end;            // exclusive
  bool bounded = false;  // false: `end` is ignored
};

struct MergedRow {
  RowRef ref;
  Key128 key;
};

class RunMerger {
 public:
  static Result<std::unique_ptr<RunMerger>> Make(const RowLayout* layout, const SortKey* key,
                                                 const std::vector<SortedRun>& runs, const KeyRange& range,
                                                 MemoryBudget* budget);

  // Up to `max` rows into `out`, and how many; 0 only at the end. What they
  // refer to stays valid until the next call.
  Result<size_t> Next(MergedRow* out, size_t max);

  size_t fan_in() const { return sources_.size(); }

 private:
  struct Source {
    std::shared_ptr<const MemoryRun> memory;
    int64_t at = 0;  // in memory
    int64_t end = 0;
    std::unique_ptr<BlockReader> blocks;
    Key128 key;
    RowRef row;
    bool done = false;
  };

  explicit RunMerger(const SortKey* key) : key_(key) {}
  bool Before(uint32_t a, uint32_t b) const;
  void Build();
  void Replay(uint32_t source);
  void Show(Source* source) const;  // its current row, or the end
  bool Advance(Source* source) const;

  const SortKey* key_;
  std::vector<Source> sources_;
  std::vector<uint32_t> tree_;  // [0]: the winner; [i]: the loser of the match at node i
  int64_t stale_ = -1;          // the source whose next block must be read first
};

}  // namespace segue
