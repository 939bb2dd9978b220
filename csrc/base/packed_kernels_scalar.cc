// Reference kernels in plain C++: the twin of every vectorised one.
#include <algorithm>
#include <cstring>

#include "base/coding.h"
#include "base/packed_kernels.h"

namespace segue {

namespace {

// Of a value that starts `bit` bits into the data: the 64 bits from there on, as far as there are bytes.
uint64_t WordAt(const uint8_t* data, uint64_t size, uint64_t bit) {
  uint8_t bytes[9] = {};
  const uint64_t byte = bit >> 3;
  if (byte < size) std::memcpy(bytes, data + byte, std::min<uint64_t>(sizeof(bytes), size - byte));
  const uint64_t shift = bit & 7;
  return LoadAs<uint64_t>(bytes) >> shift | (uint64_t{bytes[8]} << 1) << (63 - shift);
}

template <typename T>
void Unpack(const uint8_t* data, const uint8_t* end, int width, uint64_t first, size_t n, T base, T* out) {
  if (width == 0) {
    std::fill_n(out, n, base);
    return;
  }
  const auto w = static_cast<uint64_t>(width);
  const uint64_t mask = w == 64 ? ~uint64_t{0} : (uint64_t{1} << w) - 1;
  const auto size = static_cast<uint64_t>(end - data);
  uint64_t bit = first * w;
  size_t i = 0;
  // Values of up to 57 bits, which may start 7 bits into their first byte, come with one load.
  const uint64_t load = w <= 57 ? 8 : 9;
  const uint64_t loadable = size < load ? 0 : ((size - load) * 8 + 7) / w + 1;  // values, from the first of all
  const size_t fast = loadable <= first ? 0 : static_cast<size_t>(std::min<uint64_t>(n, loadable - first));
  if (load == 8) {
    for (; i < fast; ++i, bit += w) {
      out[i] = static_cast<T>(base + ((LoadAs<uint64_t>(data + (bit >> 3)) >> (bit & 7)) & mask));
    }
  } else {
    for (; i < fast; ++i, bit += w) {
      const uint8_t* p = data + (bit >> 3);
      const uint64_t shift = bit & 7;
      const uint64_t low = LoadAs<uint64_t>(p) >> shift;
      out[i] = static_cast<T>(base + ((low | (uint64_t{p[8]} << 1) << (63 - shift)) & mask));
    }
  }
  for (; i < n; ++i, bit += w) out[i] = static_cast<T>(base + (WordAt(data, size, bit) & mask));
}

uint32_t Max(const uint32_t* v, size_t n) {
  uint32_t largest = 0;
  for (size_t i = 0; i < n; ++i) largest = std::max(largest, v[i]);
  return largest;
}

void Gather(const uint32_t* map, const uint32_t* codes, size_t n, uint32_t* out) {
  for (size_t i = 0; i < n; ++i) out[i] = map[codes[i]];
}

}  // namespace

const PackedKernels kScalarPackedKernels = {Isa::kScalar, Unpack<uint32_t>, Unpack<uint64_t>, Max, Gather};

}  // namespace segue
