// LatencyHistogram: how long something took, how often; for percentiles.
//
// Log-linear buckets (as in HdrHistogram, hdrhistogram.org): eight to each power
// of two from 1 microsecond to 67 seconds, so a percentile is at most 12.5 % too high.
//
// Thread safety: Add and Buckets may be called from any thread.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace segue {

class LatencyHistogram {
 public:
  void Add(uint64_t ns) {
    counts_[Index(ns)].fetch_add(1, std::memory_order_relaxed);
    uint64_t longest = longest_.load(std::memory_order_relaxed);
    while (ns > longest && !longest_.compare_exchange_weak(longest, ns, std::memory_order_relaxed)) {
    }
  }

  uint64_t longest() const { return longest_.load(std::memory_order_relaxed); }

  // (upper bound in nanoseconds, count) of each bucket that is not empty, ascending.
  std::vector<std::pair<uint64_t, uint64_t>> Buckets() const {
    std::vector<std::pair<uint64_t, uint64_t>> out;
    for (size_t i = 0; i < kBuckets; ++i) {
      if (const uint64_t n = counts_[i].load(std::memory_order_relaxed); n > 0) out.emplace_back(UpperBound(i), n);
    }
    return out;
  }

 private:
  static constexpr int kFirst = 10;  // 2^10 ns, and below, is the first bucket
  static constexpr int kLast = 36;
  static constexpr size_t kParts = 8;
  static constexpr size_t kBuckets = 1 + (kLast - kFirst) * kParts;

  static size_t Index(uint64_t ns) {
    if (ns <= uint64_t{1} << kFirst) return 0;
    const uint64_t below = ns - 1;  // bucket i holds (lower, upper]
    const int log2 = static_cast<int>(std::bit_width(below)) - 1;
    if (log2 >= kLast) return kBuckets - 1;
    const uint64_t part = (below >> (log2 - 3)) & (kParts - 1);
    return 1 + static_cast<size_t>(log2 - kFirst) * kParts + static_cast<size_t>(part);
  }
  static uint64_t UpperBound(size_t index) {
    if (index == 0) return uint64_t{1} << kFirst;
    const size_t log2 = (index - 1) / kParts + kFirst;
    const uint64_t part = (index - 1) % kParts;
    return (uint64_t{1} << log2) + (part + 1) * (uint64_t{1} << (log2 - 3));
  }

  std::array<std::atomic<uint64_t>, kBuckets> counts_{};
  std::atomic<uint64_t> longest_{0};
};

}  // namespace segue
