// How often and how long writers waited, by cause.
#pragma once

#include <chrono>
#include <cstdint>

namespace segue {

// Why a writer waited.
enum StallCause : uint8_t {
  kStallPace,   // slowed down, as flushes fall behind
  kStallFlush,  // stopped until one was done
  kStallLog,    // for a new WAL file
  kStallCauses,
};

struct StallStats {
  uint64_t count = 0;
  uint64_t ns = 0;
};

// Counts a wait from its construction to its end. Both with the store's mutex held.
class StallTimer {
 public:
  explicit StallTimer(StallStats* stats) : stats_(stats) {}
  ~StallTimer() {
    ++stats_->count;
    stats_->ns += static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - begin_).count());
  }
  StallTimer(const StallTimer&) = delete;
  StallTimer& operator=(const StallTimer&) = delete;

 private:
  StallStats* stats_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace segue
