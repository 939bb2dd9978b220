// Packed integer sequences, the building block of column chunks.
//
//   packed := 2 base:fixed64 width:u8 bits            values are base + bits[i]
//           | 3 first:fixed64 step:fixed64 width:u8 bits   value i+1 is value i + step + bits[i]
//
// all modulo 2^64. The leading byte is the value of Encoding of the same name.
// Cost: two passes to choose, one to write, one to read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "events/bit_pack.h"

namespace segue {

struct PackedPlan {
  uint64_t base = 0;  // of the frame of reference
  int width = 0;
  uint64_t step = 0;  // of the deltas
  int delta_width = 0;
  uint64_t frame_bytes = 0;  // size of either form, leading byte included
  uint64_t delta_bytes = 0;

  bool delta() const { return delta_bytes < frame_bytes; }
  uint64_t bytes() const { return delta() ? delta_bytes : frame_bytes; }
};

inline constexpr uint8_t kPackedFrame = 2;
inline constexpr uint8_t kPackedDelta = 3;

// Values are compared as signed integers: small negative and positive ones lie together.
PackedPlan PlanPacked(const uint64_t* values, size_t n);
void AppendPacked(const PackedPlan& plan, bool delta, const uint64_t* values, size_t n, std::string* out);

// Takes a sequence of n values, whose leading byte was `kind`, from the front of
// *in; values [begin, end) of it go to *out. False, with *out undefined, when it
// is damaged. Values in front of the range cost nothing in a frame of
// reference, a pass over their steps as deltas.
template <typename T>
bool TakePackedRange(uint8_t kind, std::string_view* in, size_t n, size_t begin, size_t end, T* out) {
  Cursor cursor(*in);
  uint64_t base = 0;
  uint64_t step = 0;
  uint8_t width = 0;
  if ((kind != kPackedFrame && kind != kPackedDelta) || !cursor.GetFixed(&base)) return false;
  if (kind == kPackedDelta && !cursor.GetFixed(&step)) return false;
  if (!cursor.GetFixed(&width) || width > 64) return false;
  const size_t packed = kind == kPackedDelta && n > 0 ? n - 1 : n;
  std::string_view bits;
  if (!cursor.GetBytes(PackedBytes(packed, width), &bits)) return false;
  in->remove_prefix(in->size() - cursor.remaining());
  if (begin == end) return true;
  const auto* p = reinterpret_cast<const uint8_t*>(bits.data());
  if (kind == kPackedFrame) {
    UnpackBits<T>(p, bits.size(), end - begin, width, base, out, begin);
    return true;
  }
  T value = static_cast<T>(base);
  constexpr size_t kPiece = 256;
  T steps[kPiece];
  for (size_t i = 0; i < begin; i += kPiece) {
    const size_t m = std::min(kPiece, begin - i);
    UnpackBits<T>(p, bits.size(), m, width, step, steps, i);
    for (size_t j = 0; j < m; ++j) value = static_cast<T>(value + steps[j]);
  }
  out[0] = value;
  const size_t rest = end - begin - 1;
  UnpackBits<T>(p, bits.size(), rest, width, step, out + 1, begin);
  for (size_t i = 1; i <= rest; ++i) {
    value = static_cast<T>(value + out[i]);
    out[i] = value;
  }
  return true;
}

// The same with the leading byte in front of the sequence.
template <typename T>
bool TakePacked(std::string_view* in, size_t n, size_t begin, size_t end, T* out) {
  if (in->empty()) return false;
  const auto kind = static_cast<uint8_t>(in->front());
  in->remove_prefix(1);
  return TakePackedRange<T>(kind, in, n, begin, end, out);
}

template <typename T>
bool TakePacked(std::string_view* in, size_t n, T* out) {
  return TakePacked<T>(in, n, 0, n, out);
}

template <typename T>
bool TakePacked(Cursor* in, size_t n, T* out) {
  std::string_view rest = in->rest();
  std::string_view taken;
  return TakePacked<T>(&rest, n, out) && in->GetBytes(in->remaining() - rest.size(), &taken);
}

}  // namespace segue
