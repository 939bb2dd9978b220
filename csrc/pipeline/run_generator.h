// RunGenerator: the external sort behind BigSort and EtlJob. It hands out room
// for packed rows, sorts full runs, spills them when the budget asks for it, and
// leaves at most as many runs as one merge can take.
//
// Thread safety: Room, Commit and Finish belong to one thread, the consumer;
// `threads - 1` workers sort and spill beside it. After Finish() it is const.
// Invariants: runs() are in arrival order; nothing is spilled while all rows
// fit; once an error occurred every call returns it.
// Ownership: its workers, runs and spill files. All it points to must outlive it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/env.h"
#include "pipeline/memory_run.h"
#include "pipeline/run_merger.h"
#include "pipeline/sorted_run.h"

namespace segue {

// Asked now and then during long work; not ok stops it with that status.
using Interrupt = std::function<Status()>;

inline constexpr uint64_t kMinMemory = uint64_t{64} << 20;

// How a memory budget is shared out.
struct SortMemory {
  uint64_t runs = 0;      // limit for everything while rows come in, and for runs kept at the end
  uint64_t run = 0;       // size at which a run is full, sort scratch included
  uint64_t block = 0;     // spill block
  uint64_t batch = 0;     // one output batch
  size_t max_fan_in = 0;  // spilled runs that `threads` merges at once have buffers for

  // kMemory when `memory` is below 64 MiB. `fixed`: taken by what is not rows (dimension tables).
  static Result<SortMemory> Plan(uint64_t memory, int threads, uint64_t fixed);
};

struct RunGeneratorOptions {
  const RowLayout* layout = nullptr;
  const SortKey* key = nullptr;
  MemoryBudget* budget = nullptr;
  Env* env = nullptr;
  std::string spill_dir;  // made when first needed
  int threads = 1;
  SortMemory memory;
};

struct SortMetrics {
  uint64_t runs = 0;          // sorted runs made
  uint64_t spilled_runs = 0;  // of them spilled
  uint64_t merge_passes = 0;  // extra merges, beyond the final one, that spilled runs took part in
  uint64_t fan_in = 0;        // runs of the final merge
  uint64_t spilled_bytes_written = 0;
  uint64_t spilled_bytes_read = 0;
};

class RunGenerator {
 public:
  explicit RunGenerator(RunGeneratorOptions options);
  ~RunGenerator();

  // The run being filled, extended for `rows` and `heap_bytes` more; seals a full one first.
  Result<MemoryRun*> Room(int64_t rows, uint64_t heap_bytes, const Interrupt& interrupt);
  Status Finish(const Interrupt& interrupt);
  const std::vector<SortedRun>& runs() const { return runs_; }
  SortMetrics metrics() const;
  // Stops the workers and drops the runs and their files. Mergers still open keep what they read.
  void Close();

 private:
  enum class State : uint8_t { kSealed, kSorting, kSorted, kSpilling, kSpilled };
  struct Slot {
    State state = State::kSealed;
    std::shared_ptr<MemoryRun> memory;
    std::shared_ptr<const SpilledRun> spilled;
  };

  Status Seal(const Interrupt& interrupt);
  bool UnderPressure() const;
  // Sorts the next sealed run or, under pressure, spills the oldest sorted one;
  // false when there is nothing of that to do. Drops the lock meanwhile.
  bool DoOneTask(std::unique_lock<std::mutex>* lock);
  bool SpillOldest(std::unique_lock<std::mutex>* lock);
  Status WaitIdle(const Interrupt& interrupt);
  Status MergeDown(const Interrupt& interrupt);
  Result<std::shared_ptr<const SpilledRun>> Spill(const MemoryRun& run);
  Result<std::string> NewPath();
  void Work();

  const RunGeneratorOptions options_;
  const std::string prefix_;
  SpillCounters* counters() { return &counters_; }
  SpillCounters counters_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Slot> slots_;
  size_t busy_ = 0;
  bool stopping_ = false;
  bool draining_ = false;  // Finish: spill only what must go
  uint64_t next_file_ = 0;
  bool dir_made_ = false;
  Status error_;
  std::vector<std::thread> workers_;

  std::unique_ptr<MemoryRun> active_;
  std::vector<SortedRun> runs_;
  uint64_t spilled_runs_ = 0;
  uint64_t merge_passes_ = 0;
};

}  // namespace segue
