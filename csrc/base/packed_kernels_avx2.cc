// Kernels for AVX2. Compiled with baseline flags: only the functions marked
// SEGUE_AVX2 may use it, and all of them have internal linkage, so that no AVX2
// code can end up in a function that another file also instantiates.
#include "base/packed_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <array>

#define SEGUE_AVX2 __attribute__((target("avx2")))

namespace segue {

namespace {

// Eight values of any width are `width` whole bytes, and all groups of eight look alike.

// How to take eight values of `width` <= 25 bits out of two 16-byte loads: four
// values each, moved to 32-bit lanes by a byte shuffle, then shifted down.
struct NarrowStep {
  std::array<uint8_t, 32> shuffle;
  std::array<uint32_t, 8> shift;
  uint32_t high_offset;  // of the second load
};

constexpr int kMaxNarrow = 25;  // 7 bits of offset + 25 of value = one 32-bit lane

constexpr std::array<NarrowStep, kMaxNarrow + 1> MakeNarrowSteps() {
  std::array<NarrowStep, kMaxNarrow + 1> steps{};
  for (uint32_t width = 0; width <= kMaxNarrow; ++width) {
    NarrowStep& step = steps[width];
    step.high_offset = 4 * width / 8;
    for (uint32_t lane = 0; lane < 8; ++lane) {
      const uint32_t bit = lane * width - (lane < 4 ? 0 : 8 * step.high_offset);
      step.shift[lane] = bit % 8;
      for (uint32_t b = 0; b < 4; ++b) step.shuffle[lane * 4 + b] = static_cast<uint8_t>(bit / 8 + b);
    }
  }
  return steps;
}

// The same for `width` <= 57 bits and 64-bit lanes: four loads, two values each.
struct WideStep {
  std::array<std::array<uint8_t, 32>, 2> shuffle;
  std::array<std::array<uint64_t, 4>, 2> shift;
  std::array<uint32_t, 4> offset;  // of the loads
};

constexpr int kMaxWide = 57;

constexpr std::array<WideStep, kMaxWide + 1> MakeWideSteps() {
  std::array<WideStep, kMaxWide + 1> steps{};
  for (uint32_t width = 0; width <= kMaxWide; ++width) {
    WideStep& step = steps[width];
    for (uint32_t value = 0; value < 8; ++value) {
      const uint32_t pair = value / 2;
      step.offset[pair] = 2 * pair * width / 8;
      // The second of a pair starts at most 7 + 57 bits behind the load: its 8 bytes are in it.
      const uint32_t bit = value * width - 8 * step.offset[pair];
      step.shift[value / 4][value % 4] = bit % 8;
      for (uint32_t b = 0; b < 8; ++b) {
        step.shuffle[value / 4][value % 4 * 8 + b] = static_cast<uint8_t>(bit / 8 + b);
      }
    }
  }
  return steps;
}

constexpr std::array<NarrowStep, kMaxNarrow + 1> kNarrowSteps = MakeNarrowSteps();
constexpr std::array<WideStep, kMaxWide + 1> kWideSteps = MakeWideSteps();

SEGUE_AVX2 inline __m256i Load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

SEGUE_AVX2 inline __m256i LoadTwo(const uint8_t* low, const uint8_t* high) {
  const __m128i first = _mm_loadu_si128(reinterpret_cast<const __m128i*>(low));
  const __m128i second = _mm_loadu_si128(reinterpret_cast<const __m128i*>(high));
  return _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
}

// Groups of eight of which every load of 16 bytes, the last `last` bytes into its group, ends before `size`.
inline size_t WholeGroups(uint64_t size, uint64_t byte, uint32_t last, int width, size_t n) {
  if (byte + last + 16 > size) return 0;
  const uint64_t loadable = (size - byte - last - 16) / static_cast<uint64_t>(width) + 1;
  return static_cast<size_t>(std::min<uint64_t>(loadable, n / 8));
}

// `width` 1 to kMaxNarrow; p is the first of `groups` groups.
SEGUE_AVX2 void UnpackNarrow(const uint8_t* p, int width, size_t groups, uint32_t base, uint32_t* out) {
  const NarrowStep& step = kNarrowSteps[static_cast<size_t>(width)];
  const __m256i shuffle = Load(step.shuffle.data());
  const __m256i shift = Load(step.shift.data());
  const __m256i mask = _mm256_set1_epi32(static_cast<int>((1u << width) - 1));
  const __m256i bases = _mm256_set1_epi32(static_cast<int>(base));
  for (size_t g = 0; g < groups; ++g, p += width, out += 8) {
    const __m256i lanes = _mm256_shuffle_epi8(LoadTwo(p, p + step.high_offset), shuffle);
    const __m256i values = _mm256_and_si256(_mm256_srlv_epi32(lanes, shift), mask);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_add_epi32(values, bases));
  }
}

// What a loop over groups of wide values keeps in registers.
struct Wide {
  __m256i shuffle[2];
  __m256i shift[2];
  __m256i mask;
};

SEGUE_AVX2 inline Wide PrepareWide(const WideStep& step, int width) {
  return {{Load(step.shuffle[0].data()), Load(step.shuffle[1].data())},
          {Load(step.shift[0].data()), Load(step.shift[1].data())},
          _mm256_set1_epi64x(static_cast<int64_t>((uint64_t{1} << width) - 1))};
}

// Four values: those of the first or the second half of a group.
SEGUE_AVX2 inline __m256i TakeWide(const Wide& wide, const WideStep& step, const uint8_t* p, size_t half) {
  const __m256i bytes = LoadTwo(p + step.offset[2 * half], p + step.offset[2 * half + 1]);
  const __m256i lanes = _mm256_shuffle_epi8(bytes, wide.shuffle[half]);
  return _mm256_and_si256(_mm256_srlv_epi64(lanes, wide.shift[half]), wide.mask);
}

// `width` 1 to kMaxWide.
SEGUE_AVX2 void UnpackWide(const uint8_t* p, int width, size_t groups, uint64_t base, uint64_t* out) {
  const WideStep& step = kWideSteps[static_cast<size_t>(width)];
  const Wide wide = PrepareWide(step, width);
  const __m256i bases = _mm256_set1_epi64x(static_cast<int64_t>(base));
  for (size_t g = 0; g < groups; ++g, p += width, out += 8) {
    const __m256i low = _mm256_add_epi64(TakeWide(wide, step, p, 0), bases);
    const __m256i high = _mm256_add_epi64(TakeWide(wide, step, p, 1), bases);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 4), high);
  }
}

// The low halves of wide values; `width` 1 to kMaxWide.
SEGUE_AVX2 void UnpackCut(const uint8_t* p, int width, size_t groups, uint32_t base, uint32_t* out) {
  const WideStep& step = kWideSteps[static_cast<size_t>(width)];
  const Wide wide = PrepareWide(step, width);
  const __m256i bases = _mm256_set1_epi32(static_cast<int>(base));
  for (size_t g = 0; g < groups; ++g, p += width, out += 8) {
    const __m256 low = _mm256_castsi256_ps(TakeWide(wide, step, p, 0));
    const __m256 high = _mm256_castsi256_ps(TakeWide(wide, step, p, 1));
    const __m256i halves = _mm256_castps_si256(_mm256_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0)));
    const __m256i values = _mm256_permute4x64_epi64(halves, _MM_SHUFFLE(3, 1, 2, 0));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_add_epi32(values, bases));
  }
}

// Scalar to the beginning of a group, then groups, then scalar again.
template <typename T>
void Unpack(const uint8_t* data, const uint8_t* end, int width, uint64_t first, size_t n, T base, T* out) {
  const auto scalar = [&](size_t m) {
    if constexpr (sizeof(T) == 4) {
      kScalarPackedKernels.unpack32(data, end, width, first, m, base, out);
    } else {
      kScalarPackedKernels.unpack64(data, end, width, first, m, base, out);
    }
    first += m;
    out += m;
    n -= m;
  };
  if (width > 0 && width <= kMaxWide && n >= 8) {
    scalar(static_cast<size_t>((8 - first % 8) % 8));
    const uint64_t byte = first / 8 * static_cast<uint64_t>(width);
    const auto size = static_cast<uint64_t>(end - data);
    const bool narrow = sizeof(T) == 4 && width <= kMaxNarrow;
    const uint32_t last = narrow ? kNarrowSteps[static_cast<size_t>(width)].high_offset
                                 : kWideSteps[static_cast<size_t>(width)].offset[3];
    const size_t groups = WholeGroups(size, byte, last, width, n);
    if (groups > 0) {
      if constexpr (sizeof(T) == 8) {
        UnpackWide(data + byte, width, groups, base, out);
      } else if (narrow) {
        UnpackNarrow(data + byte, width, groups, base, out);
      } else {
        UnpackCut(data + byte, width, groups, base, out);
      }
    }
    first += 8 * groups;
    out += 8 * groups;
    n -= 8 * groups;
  }
  scalar(n);
}

SEGUE_AVX2 uint32_t Max(const uint32_t* v, size_t n) {
  __m256i largest = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 8 <= n; i += 8) largest = _mm256_max_epu32(largest, Load(v + i));
  uint32_t lanes[8];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), largest);
  uint32_t result = 0;
  for (uint32_t lane : lanes) result = std::max(result, lane);
  for (; i < n; ++i) result = std::max(result, v[i]);
  return result;
}

// Not vpgatherdd: at best it is as fast as loads one by one, and with the
// mitigation of Downfall (2023), which many of these processors run, 3 times slower.
void Gather(const uint32_t* map, const uint32_t* codes, size_t n, uint32_t* out) {
  for (size_t i = 0; i < n; ++i) out[i] = map[codes[i]];
}

}  // namespace

const PackedKernels kAvx2PackedKernels = {Isa::kAvx2, Unpack<uint32_t>, Unpack<uint64_t>, Max, Gather};

}  // namespace segue

#endif
