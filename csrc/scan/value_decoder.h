// The values of a Parquet page, as dictionary keys: every encoding but codes.
//
// Thread safety: one thread; it borrows the page's bytes until the last Read.
// Keys: integers as 64 bits (signed or zero-extended), floats by their bits
// with every NaN alike and -0.0 as 0.0, the rest as bytes. Views that
// ReadBytes gives stay valid until its next call.
// Every length is checked; damage makes a Read return false.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "scan/delta_reader.h"
#include "scan/kernels.h"
#include "scan/parquet_page.h"

namespace segue::scan {

// How values of a column stand in the file. Python passes these numbers.
enum class PhysicalType : uint8_t {
  kBoolean = 0,
  kInt32 = 1,
  kUInt32 = 2,
  kInt64 = 3,
  kFloat = 4,
  kDouble = 5,
  kByteArray = 6,
  kFixedBytes = 7,
};
constexpr int kPhysicalTypes = 8;

// Bytes of a number, 0 for types whose keys are bytes and for booleans.
size_t NumberWidth(PhysicalType type);

class ValueDecoder {
 public:
  enum class Start : uint8_t { kOk, kDamaged, kUnsupported };

  // Starts on the values of a page; `fixed_length` > 0 for kFixedBytes.
  [[nodiscard]] Start Open(Encoding encoding, PhysicalType type, size_t fixed_length, std::string_view bytes);

  bool ReadNumbers(const ScanKernels& kernels, size_t n, uint64_t* out);
  bool ReadBytes(const ScanKernels& kernels, size_t n, std::string_view* out);

 private:
  bool ReadPlainBytes(size_t n, std::string_view* out);
  bool ReadDeltaBytes(const ScanKernels& kernels, size_t n, std::string_view* out);
  bool TakeSuffix(uint64_t size, std::string_view* out);
  // Collects the next n values of a split page in `joined_`, `width` bytes each.
  bool Join(size_t n, size_t width);
  void NumbersToKeys(const char* values, size_t n, uint64_t* out) const;

  Encoding encoding_ = Encoding::kPlain;
  PhysicalType type_ = PhysicalType::kInt64;
  size_t fixed_length_ = 0;
  std::string_view bytes_;   // not yet read: PLAIN values, or the characters of delta lengths
  size_t split_values_ = 0;  // BYTE_STREAM_SPLIT: values of the page
  size_t split_next_ = 0;    // and those already read
  DeltaReader deltas_;       // numbers, or lengths of (the rest of) strings
  DeltaReader prefixes_;     // DELTA_BYTE_ARRAY: how much of the string before is kept
  std::string previous_;     // DELTA_BYTE_ARRAY: the string before
  std::string joined_;       // values that do not stand in the page as such
  std::vector<uint64_t> lengths_;
  std::vector<uint64_t> prefix_lengths_;
};

}  // namespace segue::scan
