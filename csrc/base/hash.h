// 64-bit hashing for in-memory tables and bloom filters.
//
// HashBytes and HashU64 values stand in files (bloom filters, token hashes):
// the functions are part of the format and must never change.
// (Partitioning uses Spark's Murmur3 instead: pipeline/murmur3.h.)
#pragma once

#include <cstdint>
#include <string_view>

#include "base/coding.h"

namespace segue {

// The 64x64 -> 128 bit "fold" multiply of wyhash (Wang Yi, 2019).
inline uint64_t FoldMultiply(uint64_t a, uint64_t b) {
  const __uint128_t product = static_cast<__uint128_t>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t HashU64(uint64_t value) {
  return FoldMultiply(value ^ 0x9E3779B97F4A7C15ULL, (value << 32 | value >> 32) ^ 0xD6E8FEB86659FD93ULL);
}

inline uint64_t HashBytes(std::string_view bytes, uint64_t seed = 0) {
  uint64_t h = seed ^ (bytes.size() * 0xA0761D6478BD642FULL);
  const char* p = bytes.data();
  size_t n = bytes.size();
  while (n >= 16) {
    h = FoldMultiply(LoadAs<uint64_t>(p) ^ 0xE7037ED1A0B428DBULL, LoadAs<uint64_t>(p + 8) ^ h);
    p += 16;
    n -= 16;
  }
  uint64_t tail[2] = {0, 0};
  if (n > 0) std::memcpy(tail, p, n);  // an empty view may have no address
  return FoldMultiply(tail[0] ^ 0x8EBC6AF09C88C6E3ULL ^ h, tail[1] ^ 0x589965CC75374CC3ULL ^ (h << 17 | h >> 47));
}

}  // namespace segue
