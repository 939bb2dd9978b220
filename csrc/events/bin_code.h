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

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "base/coding.h"
#include "events/column_batch.h"

namespace segue {

class BinCode {
 public:
  BinCode() = default;
  BinCode(BinCode&&) = default;  // what points to bins stays true
  BinCode& operator=(BinCode&&) = default;

  static constexpr int kMaxCodeBits = 8;  // a table to decode by takes 6 KiB of the first-level cache
  static constexpr size_t kMaxBins = 256;

  // The code for values like those of `sample`, which is sorted for it, and in *bits what it makes of them
  // and of itself. `weight`: how many values of the file each one of the sample stands for.
  static BinCode Fit(RawVector<uint64_t>* sample, double weight, double* bits);

  void Serialize(std::string* out) const;
  // False when it is damaged.
  bool Parse(Cursor* in);

  size_t bins() const { return bins_.size(); }

  // ---- to encode
  struct Bin {
    uint64_t base;
    uint64_t mask;  // of the place's bits
    uint32_t code;  // first bit least significant
    uint32_t code_bits;
    uint32_t bits;  // of code and place
  };
  // Finds the bins of values; a copy of it may live in registers.
  class Finder {
   public:
    // Null when there is none.
    const Bin* Find(uint64_t value) const {
      const auto ordered = static_cast<int64_t>(value);
      size_t bin = first_of_slot_[SlotOf(value)];
      while (ordered > before_next_[bin]) [[unlikely]]
        ++bin;
      const Bin* found = bins_ + bin;
      return ((value - found->base) & ~found->mask) == 0 ? found : escape_;
    }

   private:
    friend class BinCode;
    // A binary search through some 30 bins would take three times as long. Slots are narrow near the densest
    // bin, where most values and most bins are, and grow with the distance from it: 32 of them to twice as far,
    // by the exponent and the first bits of the distance as a floating-point number.
    static constexpr int kSlotBits = 5;
    static constexpr size_t kSlotsOfASide = size_t{64} << kSlotBits;
    size_t SlotOf(uint64_t value) const {
      const auto distance = static_cast<int64_t>(value - center_);
      const int64_t below = distance >> 63;
      const auto size = static_cast<double>((distance ^ below)) + 1;
      const uint64_t slot = (std::bit_cast<uint64_t>(size) >> (52 - kSlotBits)) - (uint64_t{1023} << kSlotBits);
      return slot + (static_cast<uint64_t>(below) & kSlotsOfASide);
    }

    const Bin* bins_ = nullptr;
    const Bin* escape_ = nullptr;
    const uint8_t* first_of_slot_ = nullptr;
    const int64_t* before_next_ = nullptr;
    uint64_t center_ = 0;
  };
  const Finder& finder() const { return finder_; }

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
  void AddBin(uint64_t base, int width, int code_bits);
  void AssignCodes();
  void PrepareEncoding(const std::vector<uint64_t>& counts, size_t ordered);
  bool Complete() const;

  // Bins that stand for a range come first, in order of their base as signed integers; the last may be the
  // escape, which takes any value.
  std::vector<Bin> bins_;
  // To encode:
  Finder finder_;
  std::vector<uint8_t> first_of_slot_;  // the bin of the least value in it
  std::vector<int64_t> before_next_;    // of each bin, the last value in front of the next one
};

}  // namespace segue
