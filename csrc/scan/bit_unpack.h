// Parquet's RLE / bit-packed hybrid runs, for dictionary codes and levels.
//
// Thread safety: a HybridReader belongs to one thread; it borrows its bytes.
// Every length is checked: a damaged stream makes Read return false, and no
// byte outside [data, end) is ever touched. Values above the dictionary are
// the caller's to find (PackedKernels::max).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/coding.h"
#include "scan/kernels.h"

namespace segue::scan {

class HybridReader {
 public:
  HybridReader() = default;

  // Reads runs of `width`-bit values (0..32).
  void Reset(const uint8_t* data, const uint8_t* end, int width) {
    p_ = data;
    end_ = end;
    width_ = width;
    rle_left_ = packed_left_ = 0;
  }

  // Reads `count` packed values without any run header (booleans in PLAIN).
  void ResetPacked(const uint8_t* data, const uint8_t* end, int width, uint64_t count) {
    Reset(end, end, width);
    packed_ = data;
    packed_first_ = 0;
    packed_left_ = count;
  }

  // Writes the next n values; false when the stream ends before or is damaged.
  bool Read(const ScanKernels& kernels, size_t n, uint32_t* out) {
    while (n > 0) {
      if (rle_left_ > 0) {
        const size_t m = static_cast<size_t>(std::min<uint64_t>(rle_left_, n));
        std::fill_n(out, m, rle_value_);
        rle_left_ -= m;
        out += m;
        n -= m;
      } else if (packed_left_ > 0) {
        const size_t m = static_cast<size_t>(std::min<uint64_t>(packed_left_, n));
        kernels.packed->unpack32(packed_, end_, width_, packed_first_, m, 0, out);
        packed_first_ += m;
        packed_left_ -= m;
        out += m;
        n -= m;
      } else if (!NextRun()) {
        return false;
      }
    }
    return true;
  }

  // True, with its value, when one run covers the next n values (n > 0), which are then consumed.
  bool ReadRun(size_t n, uint32_t* value) {
    if (rle_left_ == 0 && packed_left_ == 0 && !NextRun()) return false;  // Read will say so
    if (rle_left_ < n) return false;
    rle_left_ -= n;
    *value = rle_value_;
    return true;
  }

 private:
  bool NextRun() {
    Cursor cursor({reinterpret_cast<const char*>(p_), static_cast<size_t>(end_ - p_)});
    uint64_t header = 0;
    if (!cursor.GetVarint64(&header) || header > UINT32_MAX) return false;
    p_ = end_ - cursor.remaining();
    if ((header & 1) != 0) {
      const uint64_t groups = header >> 1;
      packed_ = p_;
      packed_first_ = 0;
      packed_left_ = groups * 8;
      const uint64_t bytes = groups * static_cast<uint64_t>(width_);
      const auto have = static_cast<uint64_t>(end_ - p_);
      if (bytes > have) {
        // Some writers leave out the padding of the last group.
        packed_left_ = have * 8 / static_cast<uint64_t>(width_);
        p_ = end_;
      } else {
        p_ += bytes;
      }
      return true;
    }
    const size_t bytes = static_cast<size_t>(width_ + 7) / 8;
    if (static_cast<size_t>(end_ - p_) < bytes) return false;
    rle_value_ = 0;
    std::memcpy(&rle_value_, p_, bytes);
    p_ += bytes;
    rle_left_ = header >> 1;
    return true;
  }

  const uint8_t* p_ = nullptr;  // the next run header
  const uint8_t* end_ = nullptr;
  const uint8_t* packed_ = nullptr;  // the current packed run
  uint64_t packed_first_ = 0;        // values of it already read
  uint64_t packed_left_ = 0;
  uint64_t rle_left_ = 0;
  uint32_t rle_value_ = 0;
  int width_ = 0;
};

}  // namespace segue::scan
