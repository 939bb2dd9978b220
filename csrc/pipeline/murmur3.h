// Spark's Murmur3_x86_32 as its HashExpression applies it to columns, so that a
// partition computed here holds the rows of the one Spark computes (decision 7).
//
//   bool, int8..32, uint8, uint16, date -> hashed as int
//   int64, uint32, timestamp            -> as long; a timestamp in microseconds, floored
//   uint64                              -> as decimal(20, 0), which the warehouse stores
//   float, double                       -> as the bits, -0.0 as 0.0, NaN canonical
//   decimal                             -> to 18 digits as unscaled long, beyond as the bytes of the
//                                          smallest big-endian two's complement of the unscaled value
//   string, binary, dictionary          -> bytes, each byte of the tail mixed as a signed int
//   null                                -> leaves the seed; columns chain left to right
//
// Inputs: Arrow views, any offset and layout. Alignment: that of Arrow values.
// Allocation: Murmur3Batch keeps a hash per dictionary entry of its first column.
// Cost: a few nanoseconds a fixed-width value. Thread safety: functions are pure.
// Murmur3Value is the scalar twin of Murmur3Batch.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

#include "pipeline/array_values.h"

namespace segue {

namespace murmur3 {

inline uint32_t MixK1(uint32_t k1) { return std::rotl(k1 * 0xCC9E2D51U, 15) * 0x1B873593U; }
inline uint32_t MixH1(uint32_t h1, uint32_t k1) { return std::rotl(h1 ^ k1, 13) * 5 + 0xE6546B64U; }
inline uint32_t Fmix(uint32_t h1, uint32_t length) {
  h1 ^= length;
  h1 = (h1 ^ h1 >> 16) * 0x85EBCA6BU;
  h1 = (h1 ^ h1 >> 13) * 0xC2B2AE35U;
  return h1 ^ h1 >> 16;
}

inline uint32_t HashInt(int32_t value, uint32_t seed) {
  return Fmix(MixH1(seed, MixK1(static_cast<uint32_t>(value))), 4);
}
inline uint32_t HashLong(int64_t value, uint32_t seed) {
  const auto bits = static_cast<uint64_t>(value);
  const uint32_t h1 = MixH1(seed, MixK1(static_cast<uint32_t>(bits)));
  return Fmix(MixH1(h1, MixK1(static_cast<uint32_t>(bits >> 32))), 8);
}
uint32_t HashBytes(std::string_view bytes, uint32_t seed);

}  // namespace murmur3

inline constexpr uint32_t kSparkSeed = 42;

// The hash of one slot, continuing from `seed`.
uint32_t Murmur3Value(const ArrayView& view, int64_t row, uint32_t seed);

// hashes[i] continues with row begin + i, for i in [0, n): one more column of a chain.
void Murmur3Continue(const ArrayView& view, int64_t begin, int64_t n, uint32_t* hashes);

// Hashes the columns of a batch, range after range.
class Murmur3Batch {
 public:
  // The views must outlive this. A dictionary in the first column is hashed
  // once an entry when it has fewer entries than the batch has rows.
  Murmur3Batch(std::vector<const ArrayView*> columns, uint32_t seed);

  // hashes[i] = hash of row begin + i, for i in [0, n).
  void Hash(int64_t begin, int64_t n, uint32_t* hashes) const;

 private:
  std::vector<const ArrayView*> columns_;
  uint32_t seed_;
  std::vector<uint32_t> entries_;  // of the first column's dictionary
};

}  // namespace segue
