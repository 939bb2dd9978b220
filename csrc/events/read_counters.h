// ReadCounters: what the reads of one open store did, for stats().
//
// Thread safety: any thread; relaxed, so that several counters read together
// may be a few reads apart.
#pragma once

#include <atomic>
#include <cstdint>

namespace segue {

// Of one scan, or a sum of many.
struct ReadCounts {
  uint64_t bloom_probes = 0;
  uint64_t bloom_useful = 0;           // said that the key is absent: nothing was read
  uint64_t bloom_false_positives = 0;  // said that it may be there, and it was not
  uint64_t cache_hits = 0;             // blocks, or the rows that were wanted of them
  uint64_t cache_misses = 0;
  uint64_t blocks_read = 0;       // from files, whole or in part
  uint64_t block_bytes_read = 0;  // from files
};

class ReadCounters {
 public:
  void Add(const ReadCounts& counts) {
    Add(&bloom_probes_, counts.bloom_probes);
    Add(&bloom_useful_, counts.bloom_useful);
    Add(&bloom_false_positives_, counts.bloom_false_positives);
    Add(&cache_hits_, counts.cache_hits);
    Add(&cache_misses_, counts.cache_misses);
    Add(&blocks_read_, counts.blocks_read);
    Add(&block_bytes_read_, counts.block_bytes_read);
  }

  ReadCounts Total() const {
    return {Get(bloom_probes_), Get(bloom_useful_), Get(bloom_false_positives_), Get(cache_hits_),
            Get(cache_misses_), Get(blocks_read_),  Get(block_bytes_read_)};
  }

 private:
  using Counter = std::atomic<uint64_t>;
  static void Add(Counter* counter, uint64_t n) {
    if (n > 0) counter->fetch_add(n, std::memory_order_relaxed);
  }
  static uint64_t Get(const Counter& counter) { return counter.load(std::memory_order_relaxed); }

  Counter bloom_probes_{0};
  Counter bloom_useful_{0};
  Counter bloom_false_positives_{0};
  Counter cache_hits_{0};
  Counter cache_misses_{0};
  Counter blocks_read_{0};
  Counter block_bytes_read_{0};
};

}  // namespace segue
