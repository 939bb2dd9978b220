// KeyCodec: keys of one run without the bits in which all its keys agree.
//
// A run's split ids, buckets and timestamps leave most of the 128 bits constant.
// Without those bits a key nearly always fits 64, which halves what is sorted
// and, cut to whole bytes, what is spilled. The order of keys is kept.
//
// Thread safety: const after For. Cost: a few shifts a key.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "pipeline/sort_key.h"

namespace segue {

class KeyCodec {
 public:
  KeyCodec() = default;
  // `varying`: bits that may differ from `sample`, one of the keys.
  static KeyCodec For(Key128 sample, Key128 varying);

  bool narrow() const { return bits_ <= 64; }  // else: Compact and Expand must not be used
  int bits() const { return bits_; }
  int stored_bytes() const { return narrow() ? (bits_ + 7) / 8 : 16; }
  Key128 varying() const { return varying_; }
  Key128 constant() const { return constant_; }

  uint64_t Compact(Key128 key) const {
    uint64_t out = 0;
    for (int i = 0; i < segments_used_; ++i) {
      const Segment& s = segments_[static_cast<size_t>(i)];
      out |= (((s.high ? key.hi : key.lo) >> s.shift) & s.mask) << s.to;
    }
    return out;
  }
  Key128 Expand(uint64_t compact) const {
    Key128 key = constant_;
    for (int i = 0; i < segments_used_; ++i) {
      const Segment& s = segments_[static_cast<size_t>(i)];
      const uint64_t bits = ((compact >> s.to) & s.mask) << s.shift;
      if (s.high) {
        key.hi |= bits;
      } else {
        key.lo |= bits;
      }
    }
    return key;
  }

 private:
  struct Segment {
    bool high = false;  // in key.hi, else key.lo
    uint8_t shift = 0;  // of its lowest bit there
    uint8_t to = 0;     // of its lowest bit in the compact key
    uint64_t mask = 0;  // right-aligned
  };

  std::array<Segment, 8> segments_{};
  int segments_used_ = 0;
  int bits_ = 0;
  Key128 varying_;
  Key128 constant_;
};

}  // namespace segue
