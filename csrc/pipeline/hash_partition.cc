#include "pipeline/hash_partition.h"

#include <bit>

namespace segue {

void PartitionsOfHashes(int64_t count, int32_t n, int32_t* partitions) {
  auto* hashes = reinterpret_cast<uint32_t*>(partitions);
  if (std::has_single_bit(static_cast<uint32_t>(n))) {
    // The remainder of a power of two is its low bits, for negative hashes too.
    const auto mask = static_cast<uint32_t>(n) - 1;
    for (int64_t i = 0; i < count; ++i) hashes[i] &= mask;
    return;
  }
  for (int64_t i = 0; i < count; ++i) partitions[i] = PartitionOf(hashes[i], n);
}

void HashPartition(const Murmur3Batch& batch, int64_t begin, int64_t count, int32_t n, int32_t* partitions) {
  batch.Hash(begin, count, reinterpret_cast<uint32_t*>(partitions));
  PartitionsOfHashes(count, n, partitions);
}

void ScatterByPartition(const int32_t* partitions, int64_t count, int32_t n, std::vector<int64_t>* starts,
                        int64_t* order) {
  starts->assign(static_cast<size_t>(n) + 1, 0);
  for (int64_t i = 0; i < count; ++i) ++(*starts)[static_cast<size_t>(partitions[i]) + 1];
  for (size_t p = 0; p < static_cast<size_t>(n); ++p) (*starts)[p + 1] += (*starts)[p];
  std::vector<int64_t> next(starts->begin(), starts->end() - 1);
  for (int64_t i = 0; i < count; ++i) order[next[static_cast<size_t>(partitions[i])]++] = i;
}

}  // namespace segue
