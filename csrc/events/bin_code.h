// BinCode: a code for integers of which some ranges are frequent and some rare.
//
// Bins are ranges of 2^width integers, base and up. A value is written as the
// code of its bin, short where the bin is frequent (canonical Huffman codes),
// and `width` bits for its place in it. Bins are chosen from a sample so that
// both together are shortest. docs/formats/sstable.md has the layout.
//
// Thread safety: plain data once fitted or parsed.
// Inputs: Parse accepts only complete codes, so that any bits decode to bins.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/coding.h"
#include "events/column_batch.h"

namespace segue {

class BinCode {
 public:
  static constexpr int kMaxCodeBits = 8;  // a table to decode by takes 6 KiB of the first-level cache
  static constexpr size_t kMaxBins = 256;

  // The code for values like those of `sample`, which is sorted for it, and in *bits what it makes of them
  // and of itself. `weight`: how many values of the file each one of the sample stands for.
  static BinCode Fit(RawVector<uint64_t>* sample, double weight, double* bits);

  void Serialize(std::string* out) const;
  // False when it is damaged.
  bool Parse(Cursor* in);

  size_t bins() const { return bases_.size(); }

  // ---- to encode
  // The bin of a value, or -1 when there is none.
  int Find(uint64_t value) const {
    const int bin = static_cast<int>(LastNotAbove(static_cast<int64_t>(value)));
    const uint64_t place = value - bases_[static_cast<size_t>(bin)];
    if ((place & ~masks_[static_cast<size_t>(bin)]) == 0) return bin;
    return escape_;
  }
  uint64_t base(size_t bin) const { return bases_[bin]; }
  int width(size_t bin) const { return widths_[bin]; }
  uint32_t code(size_t bin) const { return codes_[bin]; }
  int code_bits(size_t bin) const { return code_bits_[bin]; }

  // ---- to decode
  // What the next kMaxCodeBits bits stand for.
  struct Entry {
    uint64_t base;
    uint64_t mask;  // of the place's bits
    uint32_t code_bits;
    uint32_t bits;  // of code and place
  };
  static constexpr size_t kEntries = size_t{1} << kMaxCodeBits;
  void FillEntries(Entry* entries) const;

 private:
  size_t LastNotAbove(int64_t value) const {
    const uint64_t* first = bases_.data();
    size_t n = ordered_;
    while (n > 1) {
      const size_t half = n / 2;
      first = static_cast<int64_t>(first[half]) <= value ? first + half : first;
      n -= half;
    }
    return static_cast<size_t>(first - bases_.data());
  }
  void AddBin(uint64_t base, int width);
  void AssignCodes();
  bool Complete() const;

  // One entry a bin. Bins that stand for a range come first, in order of their base as signed integers;
  // the last may be the escape, which takes any value.
  std::vector<uint64_t> bases_;
  std::vector<uint64_t> masks_;  // of `width` bits
  std::vector<uint8_t> widths_;
  std::vector<uint8_t> code_bits_;
  std::vector<uint16_t> codes_;  // first bit least significant
  size_t ordered_ = 0;
  int escape_ = -1;
};

}  // namespace segue
