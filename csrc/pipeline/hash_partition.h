// Hash partitioning as Spark's repartition(n, columns): pmod(murmur3(columns, 42), n).
//
// Thread safety: pure functions. Allocation: none, or as stated.
// Stability: ScatterByPartition keeps the order of rows within a partition.
#pragma once

#include <cstdint>
#include <vector>

#include "pipeline/murmur3.h"

namespace segue {

// Java's floorMod of the signed hash: 0 <= result < n. n > 0.
inline int32_t PartitionOf(uint32_t hash, int32_t n) {
  const auto remainder = static_cast<int32_t>(hash) % n;
  return remainder < 0 ? remainder + n : remainder;
}

// partitions[i] of rows [begin, begin + count) of `batch`; `partitions` and
// `hashes` may be the same memory. With no columns every row has the seed's partition.
void HashPartition(const Murmur3Batch& batch, int64_t begin, int64_t count, int32_t n, int32_t* partitions);

// In place: hashes to partitions.
void PartitionsOfHashes(int64_t count, int32_t n, int32_t* partitions);

// Counting sort: `order` receives the row numbers 0..count-1 by partition, and
// starts[p]..starts[p + 1] is partition p's part of it. One pass to count, one to scatter.
void ScatterByPartition(const int32_t* partitions, int64_t count, int32_t n, std::vector<int64_t>* starts,
                        int64_t* order);

}  // namespace segue
