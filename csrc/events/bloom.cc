#include "events/bloom.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "base/coding.h"

namespace segue {

namespace {

constexpr uint32_t kKind = 1;
constexpr size_t kHeader = 16;
constexpr size_t kAhead = 16;  // probes in flight

// Odd multipliers of the split block bloom filter (Apache Parquet's specification).
constexpr uint32_t kSalt[8] = {0x47b6137bU, 0x44974d91U, 0x8824ad5bU, 0xa2b7289dU,
                               0x705495c7U, 0x2df1424bU, 0x9efc4947U, 0x5c6bfb31U};

inline uint64_t LaneBit(uint64_t hash, size_t lane) {
  return uint64_t{1} << ((static_cast<uint32_t>(hash) * kSalt[lane]) >> 26);
}

}  // namespace

BloomFilter::BloomFilter(uint64_t keys, double bits_per_key) {
  const double bits = static_cast<double>(keys) * std::max(bits_per_key, 0.0);
  const double blocks = std::min(bits / 512 + 1, static_cast<double>(std::numeric_limits<uint32_t>::max()));
  blocks_.assign(static_cast<size_t>(blocks), Block{});
}

void BloomFilter::Add(uint64_t hash) {
  Block& block = blocks_[BlockOf(hash)];
  for (size_t i = 0; i < kLanes; ++i) block.lanes[i] |= LaneBit(hash, i);
  ++added_;
}

bool BloomFilter::MayContain(uint64_t hash) const {
  const Block& block = blocks_[BlockOf(hash)];
  uint64_t missing = 0;
  for (size_t i = 0; i < kLanes; ++i) missing |= LaneBit(hash, i) & ~block.lanes[i];
  return missing == 0;
}

void BloomFilter::AddMany(const uint64_t* hashes, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    if (i + kAhead < n) __builtin_prefetch(&blocks_[BlockOf(hashes[i + kAhead])], 1);
    Add(hashes[i]);
  }
}

void BloomFilter::MayContainMany(const uint64_t* hashes, size_t n, uint8_t* out) const {
  for (size_t i = 0; i < n; ++i) {
    if (i + kAhead < n) __builtin_prefetch(&blocks_[BlockOf(hashes[i + kAhead])], 0);
    out[i] = MayContain(hashes[i]) ? 1 : 0;
  }
}

double BloomFilter::FalsePositiveRate() const {
  double sum = 0;
  for (const Block& block : blocks_) {
    double all = 1;
    for (const uint64_t lane : block.lanes) all *= std::popcount(lane) / 64.0;
    sum += all;
  }
  return sum / static_cast<double>(blocks_.size());
}

void BloomFilter::Serialize(std::string* out) const {
  PutFixed<uint32_t>(out, kKind);
  PutFixed<uint32_t>(out, static_cast<uint32_t>(blocks_.size()));
  PutFixed<uint64_t>(out, added_);
  out->append(reinterpret_cast<const char*>(blocks_.data()), bytes());
}

Result<BloomFilter> BloomFilter::Parse(std::string_view bytes) {
  Cursor in(bytes);
  uint32_t kind = 0;
  uint32_t blocks = 0;
  uint64_t added = 0;
  if (!in.GetFixed(&kind) || !in.GetFixed(&blocks) || !in.GetFixed(&added)) {
    return Status::Invalid("a bloom filter of " + std::to_string(bytes.size()) + " bytes is cut off");
  }
  if (kind != kKind) return Status::Invalid("unknown kind of bloom filter: " + std::to_string(kind));
  if (blocks == 0 || uint64_t{blocks} * sizeof(Block) != in.remaining()) {
    return Status::Invalid("a bloom filter says " + std::to_string(blocks) + " blocks of 64 bytes, but has " +
                           std::to_string(in.remaining()) + " bytes");
  }
  BloomFilter filter;
  filter.blocks_.resize(blocks);
  std::memcpy(filter.blocks_.data(), bytes.data() + kHeader, in.remaining());
  filter.added_ = added;
  return filter;
}

}  // namespace segue
