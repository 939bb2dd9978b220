// Floats as grouping keys: every NaN is one value, and -0.0 is 0.0, as in SQL.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace segue::scan {

inline uint64_t FloatKey(float value) {
  if (std::isnan(value)) return 0x7FC00000u;
  return value == 0.0f ? 0 : std::bit_cast<uint32_t>(value);
}

inline uint64_t DoubleKey(double value) {
  if (std::isnan(value)) return 0x7FF8000000000000u;
  return value == 0.0 ? 0 : std::bit_cast<uint64_t>(value);
}

}  // namespace segue::scan
