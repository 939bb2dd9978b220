// Bit packing of unsigned integers, 0 to 64 bits each.
//
// Layout: value i occupies bits [i * width, (i + 1) * width) of the bytes, least
// significant bit first; the last byte is padded with zeros.
// Alignment: none. Allocation: none, but PackBits appends to a string.
// Cost: one unaligned 64-bit load, shift and mask a value, no branch; the values
// whose load would pass the end go through a copy.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/coding.h"

namespace segue {

inline int BitWidth(uint64_t value) { return std::bit_width(value); }

// Bytes of n values; n < 2^57.
inline uint64_t PackedBytes(uint64_t n, int width) { return (n * static_cast<uint64_t>(width) + 7) / 8; }

inline uint64_t WidthMask(int width) { return width == 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1; }

// Appends values[i] - base (mod 2^64), each of which must fit `width` bits.
void PackBits(const uint64_t* values, size_t n, uint64_t base, int width, std::string* out);

// out[i] = base + value first + i, truncated to T. `in` must hold
// PackedBytes(first + n, width) readable bytes (`size` of them or more are not
// touched past `in + size`).
template <typename T>
void UnpackBits(const uint8_t* in, size_t size, size_t n, int width, uint64_t base, T* out, size_t first = 0) {
  const auto w = static_cast<size_t>(width);
  if (w == 0) {
    std::fill_n(out, n, static_cast<T>(base));
    return;
  }
  const uint64_t mask = WidthMask(width);
  const size_t load = w <= 57 ? 8 : 9;  // a value may start 7 bits into its first byte
  const size_t loadable = size < load ? 0 : ((size - load) * 8 + 7) / w + 1;  // values, from the first of all
  const size_t fast = loadable <= first ? 0 : std::min(n, loadable - first);
  size_t bit = first * w;
  size_t i = 0;
  if (load == 8) {
    for (; i < fast; ++i, bit += w) {
      out[i] = static_cast<T>(base + ((LoadAs<uint64_t>(in + (bit >> 3)) >> (bit & 7)) & mask));
    }
  } else {
    for (; i < fast; ++i, bit += w) {
      const uint8_t* p = in + (bit >> 3);
      const size_t shift = bit & 7;
      const uint64_t low = LoadAs<uint64_t>(p) >> shift;
      out[i] = static_cast<T>(base + ((low | (uint64_t{p[8]} << 1) << (63 - shift)) & mask));
    }
  }
  for (; i < n; ++i, bit += w) {
    uint8_t bytes[9] = {};
    std::memcpy(bytes, in + (bit >> 3), std::min<size_t>(9, size - (bit >> 3)));
    const size_t shift = bit & 7;
    const uint64_t low = LoadAs<uint64_t>(bytes) >> shift;
    out[i] = static_cast<T>(base + ((low | (uint64_t{bytes[8]} << 1) << (63 - shift)) & mask));
  }
}

// The scalar twin: one bit at a time.
void UnpackBitsScalar(const uint8_t* in, size_t n, int width, uint64_t base, uint64_t* out);

}  // namespace segue
