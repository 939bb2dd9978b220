#include "pipeline/run_generator.h"

#include <algorithm>
#include <chrono>

#include "base/hash.h"

namespace segue {

namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr int64_t kRowsBetweenChecks = 64 << 10;

// Tells the spill files of jobs that share a directory apart.
std::string FilePrefix(const void* self) {
  const auto now = static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  const uint64_t number = HashU64(now ^ HashU64(reinterpret_cast<uintptr_t>(self)));
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string name = "spill-";
  for (int shift = 60; shift >= 0; shift -= 4) name.push_back(kDigits[(number >> shift) & 15]);
  return name;
}

}  // namespace

Result<SortMemory> SortMemory::Plan(uint64_t memory, int threads, uint64_t fixed) {
  if (memory < kMinMemory) {
    return Status::Memory("memory=" + std::to_string(memory) + " bytes is too small a budget; the minimum is " +
                          std::to_string(kMinMemory) + " (64 MiB)");
  }
  const auto readers = static_cast<uint64_t>(std::max(threads, 1));
  SortMemory plan;
  // A quarter for output batches; dimension tables take theirs as far as half the budget stays.
  const uint64_t left = std::max(memory / 2, memory - std::min(memory, fixed));
  plan.batch = std::clamp(left / 8 / readers, kMiB, 1024 * kMiB);
  // Twice: one batch is built while the one before is written.
  plan.runs = fixed + left - std::min(left / 2, 2 * plan.batch * readers);
  plan.run = std::clamp(left / 6, 4 * kMiB, 512 * kMiB);
  plan.block = std::clamp<uint64_t>(memory / 1024, 64 << 10, 256 << 10);
  plan.max_fan_in = static_cast<size_t>(std::clamp<uint64_t>(left / 4 / (readers * plan.block), 8, 512));
  return plan;
}

RunGenerator::RunGenerator(RunGeneratorOptions options) : options_(std::move(options)), prefix_(FilePrefix(this)) {
  for (int i = 1; i < options_.threads; ++i) workers_.emplace_back([this] { Work(); });
}

RunGenerator::~RunGenerator() { Close(); }

void RunGenerator::Close() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  for (const Slot& slot : slots_) {
    if (slot.spilled != nullptr) slot.spilled->RemoveFile();
  }
  for (const SortedRun& run : runs_) {
    if (run.spilled != nullptr) run.spilled->RemoveFile();
  }
  slots_.clear();
  runs_.clear();
  active_.reset();
}

Result<MemoryRun*> RunGenerator::Room(int64_t rows, uint64_t heap_bytes, const Interrupt& interrupt) {
  if (active_ != nullptr) {
    const uint64_t size = static_cast<uint64_t>(active_->size() + rows) * MemoryRun::PeakRowBytes(*options_.layout) +
                          active_->heap_bytes() + heap_bytes;
    const bool full = size > options_.memory.run || active_->heap_bytes() + heap_bytes > UINT32_MAX ||
                      active_->size() + rows > UINT32_MAX;
    if (full && active_->size() > 0) SEGUE_RETURN_IF_ERROR(Seal(interrupt));
  }
  if (active_ == nullptr) {
    active_ = std::make_unique<MemoryRun>(options_.layout, options_.key, options_.budget);
  }
  SEGUE_RETURN_IF_ERROR(active_->Extend(rows, heap_bytes));
  return active_.get();
}

bool RunGenerator::UnderPressure() const {
  if (draining_) return false;
  return options_.budget->used() + options_.memory.run > options_.memory.runs;
}

Status RunGenerator::Seal(const Interrupt& interrupt) {
  std::unique_lock<std::mutex> lock(mutex_);
  Slot slot;
  slot.memory = std::move(active_);
  slots_.push_back(std::move(slot));
  changed_.notify_all();
  while (error_.ok()) {
    const bool alone = workers_.empty();
    if (!alone && !UnderPressure()) break;
    if (DoOneTask(&lock)) continue;
    if (busy_ == 0) break;
    changed_.wait_for(lock, std::chrono::milliseconds(20));
    if (interrupt) {
      lock.unlock();
      const Status asked = interrupt();
      lock.lock();
      if (!asked.ok()) return asked;
    }
  }
  return error_;
}

bool RunGenerator::DoOneTask(std::unique_lock<std::mutex>* lock) {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].state != State::kSealed) continue;
    slots_[i].state = State::kSorting;
    const std::shared_ptr<MemoryRun> run = slots_[i].memory;
    ++busy_;
    lock->unlock();
    Status sorted = run->Sort();
    lock->lock();
    --busy_;
    slots_[i].state = State::kSorted;
    if (!sorted.ok() && error_.ok()) error_ = std::move(sorted);
    changed_.notify_all();
    return true;
  }
  return UnderPressure() && SpillOldest(lock);
}

bool RunGenerator::SpillOldest(std::unique_lock<std::mutex>* lock) {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].state != State::kSorted) continue;
    slots_[i].state = State::kSpilling;
    std::shared_ptr<MemoryRun> run = slots_[i].memory;
    ++busy_;
    lock->unlock();
    Result<std::shared_ptr<const SpilledRun>> spilled = Spill(*run);
    run.reset();
    lock->lock();
    --busy_;
    if (spilled.ok()) {
      slots_[i].memory.reset();
      slots_[i].spilled = spilled.Take();
      slots_[i].state = State::kSpilled;
      ++spilled_runs_;
    } else {
      slots_[i].state = State::kSorted;
      if (error_.ok()) error_ = spilled.status();
    }
    changed_.notify_all();
    return true;
  }
  return false;
}

void RunGenerator::Work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    if (error_.ok() && DoOneTask(&lock)) continue;
    changed_.wait(lock);
  }
}

Result<std::string> RunGenerator::NewPath() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!dir_made_) {
    SEGUE_RETURN_IF_ERROR(options_.env->CreateDirs(options_.spill_dir));
    dir_made_ = true;
  }
  return JoinPath(options_.spill_dir, prefix_ + "-" + std::to_string(next_file_++) + ".run");
}

Result<std::shared_ptr<const SpilledRun>> RunGenerator::Spill(const MemoryRun& run) {
  SEGUE_ASSIGN_OR_RETURN(const std::string path, NewPath());
  SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<SpillWriter> writer,
                         SpillWriter::Create(options_.env, path, options_.layout, run.codec(), options_.memory.block,
                                             options_.budget, counters()));
  for (int64_t i = 0; i < run.size(); ++i) {
    run.Prefetch(i + 12);
    SEGUE_RETURN_IF_ERROR(writer->Append(run.KeyAt(i), run.RowAt(i)));
  }
  SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<SpilledRun> spilled, writer->Finish());
  return std::shared_ptr<const SpilledRun>(std::move(spilled));
}

Status RunGenerator::WaitIdle(const Interrupt& interrupt) {
  std::unique_lock<std::mutex> lock(mutex_);
  while (error_.ok()) {
    if (DoOneTask(&lock)) continue;
    if (busy_ == 0) break;
    changed_.wait_for(lock, std::chrono::milliseconds(20));
    if (interrupt) {
      lock.unlock();
      const Status asked = interrupt();
      lock.lock();
      if (!asked.ok()) return asked;
    }
  }
  return error_;
}

Status RunGenerator::Finish(const Interrupt& interrupt) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    draining_ = true;
    if (active_ != nullptr && active_->size() > 0) {
      Slot slot;
      slot.memory = std::move(active_);
      slots_.push_back(std::move(slot));
    }
    active_.reset();
  }
  changed_.notify_all();
  SEGUE_RETURN_IF_ERROR(WaitIdle(interrupt));
  {
    // Beside the runs that stay in memory, every spilled run needs a block buffer per reader.
    std::unique_lock<std::mutex> lock(mutex_);
    const uint64_t buffers = static_cast<uint64_t>(std::max(options_.threads, 1)) * options_.memory.block;
    const auto over = [&] {
      return spilled_runs_ > 0 && (spilled_runs_ > options_.memory.max_fan_in ||
                                   options_.budget->used() + spilled_runs_ * buffers > options_.memory.runs);
    };
    while (error_.ok() && over() && SpillOldest(&lock)) {
      if (!interrupt) continue;
      lock.unlock();
      const Status asked = interrupt();
      lock.lock();
      SEGUE_RETURN_IF_ERROR(asked);
    }
    SEGUE_RETURN_IF_ERROR(error_);
    for (Slot& slot : slots_) runs_.push_back({std::move(slot.memory), std::move(slot.spilled)});
  }
  return MergeDown(interrupt);
}

// Multi-pass merge: as long as there are more runs than one merge has buffers
// for, the neighbouring ones with the fewest bytes become one, in place, so
// that runs stay in arrival order.
Status RunGenerator::MergeDown(const Interrupt& interrupt) {
  const size_t most = options_.memory.max_fan_in;
  while (runs_.size() > most) {
    // All are spilled by now, but for the last few that never had to be.
    const size_t group = std::min(most, runs_.size() - most + 1);
    const auto bytes = [](const SortedRun& run) {
      return run.spilled != nullptr ? run.spilled->bytes() : run.memory->bytes();
    };
    size_t best = 0;
    uint64_t fewest = UINT64_MAX;
    for (size_t begin = 0; begin + group <= runs_.size(); ++begin) {
      uint64_t sum = 0;
      for (size_t i = 0; i < group; ++i) sum += bytes(runs_[begin + i]);
      if (sum < fewest) {
        fewest = sum;
        best = begin;
      }
    }
    const auto first = runs_.begin() + static_cast<ptrdiff_t>(best);
    const std::vector<SortedRun> merged(first, first + static_cast<ptrdiff_t>(group));
    const auto codec_of = [](const SortedRun& run) -> const KeyCodec& {
      return run.spilled != nullptr ? run.spilled->codec() : run.memory->codec();
    };
    const Key128 sample = codec_of(merged[0]).constant();
    Key128 varying;
    for (const SortedRun& run : merged) {
      const KeyCodec& codec = codec_of(run);
      varying.hi |= codec.varying().hi | (codec.constant().hi ^ sample.hi);
      varying.lo |= codec.varying().lo | (codec.constant().lo ^ sample.lo);
    }
    SEGUE_ASSIGN_OR_RETURN(const std::string path, NewPath());
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<SpillWriter> writer,
                           SpillWriter::Create(options_.env, path, options_.layout, KeyCodec::For(sample, varying),
                                               options_.memory.block, options_.budget, counters()));
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<RunMerger> merger,
                           RunMerger::Make(options_.layout, options_.key, merged, KeyRange{}, options_.budget));
    std::vector<MergedRow> rows(1024);
    int64_t unchecked = 0;
    while (true) {
      SEGUE_ASSIGN_OR_RETURN(const size_t n, merger->Next(rows.data(), rows.size()));
      if (n == 0) break;
      for (size_t i = 0; i < n; ++i) SEGUE_RETURN_IF_ERROR(writer->Append(rows[i].key, rows[i].ref));
      unchecked += static_cast<int64_t>(n);
      if (interrupt && unchecked >= kRowsBetweenChecks) {
        unchecked = 0;
        SEGUE_RETURN_IF_ERROR(interrupt());
      }
    }
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<SpilledRun> spilled, writer->Finish());
    ++merge_passes_;
    runs_.erase(first + 1, first + static_cast<ptrdiff_t>(group));
    runs_[best] = SortedRun{nullptr, std::shared_ptr<const SpilledRun>(std::move(spilled))};
  }
  return Status();
}

SortMetrics RunGenerator::metrics() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  SortMetrics metrics;
  metrics.runs = slots_.size();
  metrics.spilled_runs = spilled_runs_;
  metrics.merge_passes = merge_passes_;
  metrics.fan_in = runs_.size();
  metrics.spilled_bytes_written = counters_.written.load(std::memory_order_relaxed);
  metrics.spilled_bytes_read = counters_.read.load(std::memory_order_relaxed);
  return metrics;
}

}  // namespace segue
