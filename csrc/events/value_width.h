// From the width of a column's values to the unsigned type that holds one.
#pragma once

#include <cstdint>

namespace segue {

using UInt128 = unsigned __int128;

// Calls f.template operator()<T>() with the unsigned type of `width` bytes.
template <typename F>
auto WithWidth(int width, F f) {
  switch (width) {
    case 1:
      return f.template operator()<uint8_t>();
    case 2:
      return f.template operator()<uint16_t>();
    case 4:
      return f.template operator()<uint32_t>();
    case 8:
      return f.template operator()<uint64_t>();
    default:
      return f.template operator()<UInt128>();
  }
}

}  // namespace segue
