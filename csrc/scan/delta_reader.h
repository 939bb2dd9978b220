// Parquet's DELTA_BINARY_PACKED integers, a few at a time.
//
// Thread safety: one thread; it borrows its bytes.
// Every length is checked: a damaged stream makes Reset or Read return false,
// nothing is read outside the bytes, and nothing is allocated by what they claim.
// Layout: block size, miniblocks a block, value count, first value; then blocks
// of a least delta, one bit width a miniblock, and the packed miniblocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/coding.h"
#include "scan/kernels.h"

namespace segue::scan {

class DeltaReader {
 public:
  // `bits`: 32 or 64; sums wrap at that width, and are sign-extended.
  bool Reset(std::string_view bytes, int bits);
  // The values that the stream says it has.
  uint64_t count() const { return count_; }
  // Writes the next n values.
  bool Read(const ScanKernels& kernels, size_t n, uint64_t* out);
  // The bytes behind the stream; to be asked before the first Read.
  bool FindEnd(std::string_view* rest) const;

 private:
  bool NextBlock();
  bool NextMiniblock();
  uint64_t Widen(uint64_t value) const {
    return bits_ == 32 ? static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(value))) : value;
  }

  std::string_view bytes_;  // behind what was read
  int bits_ = 64;
  uint64_t count_ = 0;
  uint64_t left_ = 0;  // values not yet given, the first included
  bool first_ = true;
  uint64_t value_ = 0;  // the last one given, or the first to give
  uint64_t miniblocks_ = 0;
  uint64_t miniblock_values_ = 0;

  uint64_t least_ = 0;
  std::string_view widths_;  // of the block's miniblocks not yet begun
  std::string_view packed_;  // the current miniblock
  int width_ = 0;
  uint64_t next_ = 0;            // values of it already read
  uint64_t miniblock_left_ = 0;  // and those still to be read
};

}  // namespace segue::scan
