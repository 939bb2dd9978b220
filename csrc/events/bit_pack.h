// Bit packing of unsigned integers, 0 to 64 bits each.
//
// Layout: value i occupies bits [i * width, (i + 1) * width) of the bytes, least
// significant bit first; the last byte is padded with zeros.
// Alignment: none. Allocation: none, but PackBits appends to a string.
// Cost: that of PackedKernels.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/coding.h"
#include "base/packed_kernels.h"

namespace segue {

inline int BitWidth(uint64_t value) { return std::bit_width(value); }

// Bytes of n values; n < 2^57.
inline uint64_t PackedBytes(uint64_t n, int width) { return (n * static_cast<uint64_t>(width) + 7) / 8; }

inline uint64_t WidthMask(int width) { return width == 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1; }

// Appends values[i] - base (mod 2^64), each of which must fit `width` bits.
void PackBits(const uint64_t* values, size_t n, uint64_t base, int width, std::string* out);

// out[i] = base + value first + i, truncated to T. `in` holds PackedBytes(first + n, width) bytes, or `size`;
// what a value lacks of its bits reads as zero.
template <typename T>
void UnpackBits(const uint8_t* in, size_t size, size_t n, int width, uint64_t base, T* out, size_t first = 0) {
  const PackedKernels& kernels = ActivePackedKernels();
  if constexpr (sizeof(T) == 8) {
    kernels.unpack64(in, in + size, width, first, n, base, out);
  } else if constexpr (sizeof(T) == 4) {
    kernels.unpack32(in, in + size, width, first, n, static_cast<uint32_t>(base), out);
  } else {
    constexpr size_t kPiece = 256;
    uint32_t values[kPiece];
    for (size_t i = 0; i < n; i += kPiece) {
      const size_t m = std::min(kPiece, n - i);
      kernels.unpack32(in, in + size, width, first + i, m, static_cast<uint32_t>(base), values);
      for (size_t j = 0; j < m; ++j) out[i + j] = static_cast<T>(values[j]);
    }
  }
}

// The scalar twin: one bit at a time.
void UnpackBitsScalar(const uint8_t* in, size_t n, int width, uint64_t base, uint64_t* out);

}  // namespace segue
