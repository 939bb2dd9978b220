#include "events/bit_pack.h"

namespace segue {

void PackBits(const uint64_t* values, size_t n, uint64_t base, int width, std::string* out) {
  if (width == 0) return;
  const size_t old = out->size();
  // Whole words are stored; what they write past the last byte is cut off again.
  out->resize(old + PackedBytes(n, width) + 8);
  char* p = out->data() + old;
  uint64_t word = 0;
  int filled = 0;
  for (size_t i = 0; i < n; ++i) {
    const uint64_t value = values[i] - base;
    word |= value << filled;
    filled += width;
    if (filled >= 64) {
      StoreAs<uint64_t>(p, word);
      p += 8;
      filled -= 64;
      word = filled == 0 ? 0 : value >> (width - filled);
    }
  }
  StoreAs<uint64_t>(p, word);
  out->resize(old + PackedBytes(n, width));
}

void UnpackBitsScalar(const uint8_t* in, size_t n, int width, uint64_t base, uint64_t* out) {
  size_t bit = 0;
  for (size_t i = 0; i < n; ++i) {
    uint64_t value = 0;
    for (int b = 0; b < width; ++b, ++bit) {
      value |= static_cast<uint64_t>((in[bit >> 3] >> (bit & 7)) & 1) << b;
    }
    out[i] = base + value;
  }
}

}  // namespace segue
