#include "pipeline/key_codec.h"

#include <vector>

namespace segue {

namespace {

struct Range {
  int top;  // bit numbers from 127 (most significant) down, both inclusive
  int bottom;
};

bool BitAt(Key128 mask, int bit) { return ((bit >= 64 ? mask.hi >> (bit - 64) : mask.lo >> bit) & 1) != 0; }

}  // namespace

KeyCodec KeyCodec::For(Key128 sample, Key128 varying) {
  std::vector<Range> ranges;  // never across the two words
  for (int bit = 127; bit >= 0; --bit) {
    if (!BitAt(varying, bit)) continue;
    if (!ranges.empty() && ranges.back().bottom == bit + 1 && bit != 63) {
      ranges.back().bottom = bit;
    } else {
      ranges.push_back({bit, bit});
    }
  }
  KeyCodec codec;
  // Few segments: close the narrowest gaps within a word.
  while (ranges.size() > codec.segments_.size()) {
    size_t narrowest = 0;
    int width = 129;
    for (size_t i = 0; i + 1 < ranges.size(); ++i) {
      if ((ranges[i].bottom >= 64) != (ranges[i + 1].top >= 64)) continue;
      const int gap = ranges[i].bottom - ranges[i + 1].top;
      if (gap < width) {
        width = gap;
        narrowest = i;
      }
    }
    ranges[narrowest].bottom = ranges[narrowest + 1].bottom;
    ranges.erase(ranges.begin() + static_cast<ptrdiff_t>(narrowest) + 1);
  }
  for (const Range& range : ranges) codec.bits_ += range.top - range.bottom + 1;
  codec.varying_ = varying;
  codec.constant_ = sample;
  int to = codec.bits_;
  for (const Range& range : ranges) {
    Segment segment;
    const int width = range.top - range.bottom + 1;
    segment.high = range.bottom >= 64;
    segment.shift = static_cast<uint8_t>(segment.high ? range.bottom - 64 : range.bottom);
    segment.mask = width == 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1;
    to -= width;
    if (codec.narrow()) {
      segment.to = static_cast<uint8_t>(to);
      codec.segments_[static_cast<size_t>(codec.segments_used_++)] = segment;
    }
    uint64_t& word = segment.high ? codec.constant_.hi : codec.constant_.lo;
    uint64_t& mask = segment.high ? codec.varying_.hi : codec.varying_.lo;
    word &= ~(segment.mask << segment.shift);
    mask |= segment.mask << segment.shift;  // the closed gaps are carried too
  }
  return codec;
}

}  // namespace segue
