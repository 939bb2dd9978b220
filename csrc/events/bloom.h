// BloomFilter: a cache-line-blocked split bloom filter over 64-bit hashes.
//
// Inputs are hashes whose bits are all well mixed (KeyHash, HashBytes, HashU64).
// A key touches one 64-byte block, one bit in each of its eight 64-bit lanes:
// one cache miss a probe. 10 bits a key give about 1 % false positives.
//
//   block = (high 32 bits of hash * blocks) >> 32
//   bit of lane i = (low 32 bits of hash * kSalt[i] mod 2^32) >> 26
//
// Both formulas and kSalt stand in files: never change them.
//
// Thread safety: const methods from any thread; Add needs exclusive access.
// Memory: 64 bytes a block, aligned to cache lines; nothing is allocated after construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace segue {

class BloomFilter {
 public:
  // Room for `keys` distinct keys at `bits_per_key` (above 0; more bits, fewer false positives).
  explicit BloomFilter(uint64_t keys = 0, double bits_per_key = 10);

  void Add(uint64_t hash);
  bool MayContain(uint64_t hash) const;
  // Brings what MayContain looks at into the cache while the caller does something else.
  void Prefetch(uint64_t hash) const { __builtin_prefetch(&blocks_[BlockOf(hash)]); }

  // The same for many, prefetching blocks ahead of their use. out[i] is 0 or 1.
  void AddMany(const uint64_t* hashes, size_t n);
  void MayContainMany(const uint64_t* hashes, size_t n, uint8_t* out) const;

  uint64_t added() const { return added_; }  // Add calls, repeated keys included
  size_t bytes() const { return blocks_.size() * sizeof(Block); }
  // The chance that a key never added is found, from the bits now set.
  double FalsePositiveRate() const;

  // u32 kind (1), u32 blocks, u64 added, then the blocks. No checksum: the container has one.
  void Serialize(std::string* out) const;
  static Result<BloomFilter> Parse(std::string_view bytes);  // kInvalid when the bytes do not fit together

 private:
  static constexpr size_t kLanes = 8;
  struct alignas(64) Block {
    uint64_t lanes[kLanes];
  };

  size_t BlockOf(uint64_t hash) const { return static_cast<size_t>(((hash >> 32) * blocks_.size()) >> 32); }

  std::vector<Block> blocks_;  // at least one
  uint64_t added_ = 0;
};

}  // namespace segue
