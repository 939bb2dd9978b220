// Scan kernels for AVX2. Compiled with baseline flags: only the functions
// marked SEGUE_AVX2 may use it, and all of them have internal linkage, so that
// no AVX2 code can end up in a function that another file also instantiates.
#include "scan/kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <array>

#define SEGUE_AVX2 __attribute__((target("avx2")))

namespace segue::scan {

namespace {

// How to take eight values of `width` <= 25 bits out of two 16-byte loads: four
// values each, moved to 32-bit lanes by a byte shuffle, then shifted down.
struct UnpackStep {
  std::array<uint8_t, 32> shuffle;
  std::array<uint32_t, 8> shift;
  uint32_t high_offset;  // of the second load
};

constexpr int kMaxVectorWidth = 25;  // 7 bits of offset + 25 of value = one 32-bit lane

constexpr std::array<UnpackStep, kMaxVectorWidth + 1> MakeUnpackSteps() {
  std::array<UnpackStep, kMaxVectorWidth + 1> steps{};
  for (uint32_t width = 0; width <= kMaxVectorWidth; ++width) {
    UnpackStep& step = steps[width];
    step.high_offset = 4 * width / 8;
    for (uint32_t lane = 0; lane < 8; ++lane) {
      const uint32_t bit = lane * width - (lane < 4 ? 0 : 8 * step.high_offset);
      step.shift[lane] = bit % 8;
      for (uint32_t b = 0; b < 4; ++b) step.shuffle[lane * 4 + b] = static_cast<uint8_t>(bit / 8 + b);
    }
  }
  return steps;
}

constexpr std::array<UnpackStep, kMaxVectorWidth + 1> kUnpackSteps = MakeUnpackSteps();

SEGUE_AVX2 void Unpack(const uint8_t* data, const uint8_t* end, int width, uint64_t first, size_t n, uint32_t* out) {
  const ScanKernels& scalar = *ScalarScanKernels();
  if (width == 0 || width > kMaxVectorWidth) {
    scalar.unpack(data, end, width, first, n, out);
    return;
  }
  // Eight values are `width` whole bytes: start where one begins.
  const size_t head = std::min<size_t>(n, static_cast<size_t>((8 - first % 8) % 8));
  scalar.unpack(data, end, width, first, head, out);
  first += head;
  out += head;
  n -= head;

  const UnpackStep& step = kUnpackSteps[static_cast<size_t>(width)];
  const __m256i shuffle = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(step.shuffle.data()));
  const __m256i shift = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(step.shift.data()));
  const __m256i mask = _mm256_set1_epi32(static_cast<int>((1u << width) - 1));
  const auto size = static_cast<uint64_t>(end - data);
  uint64_t byte = first / 8 * static_cast<uint64_t>(width);
  while (n >= 8 && byte + step.high_offset + 16 <= size) {
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(data + byte));
    const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(data + byte + step.high_offset));
    const __m256i lanes = _mm256_shuffle_epi8(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1), shuffle);
    const __m256i values = _mm256_and_si256(_mm256_srlv_epi32(lanes, shift), mask);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), values);
    byte += static_cast<uint64_t>(width);
    first += 8;
    out += 8;
    n -= 8;
  }
  scalar.unpack(data, end, width, first, n, out);
}

SEGUE_AVX2 uint32_t Max(const uint32_t* v, size_t n) {
  __m256i largest = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    largest = _mm256_max_epu32(largest, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(v + i)));
  }
  uint32_t lanes[8];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), largest);
  uint32_t result = 0;
  for (uint32_t lane : lanes) result = std::max(result, lane);
  for (; i < n; ++i) result = std::max(result, v[i]);
  return result;
}

SEGUE_AVX2 void Gather(const uint32_t* map, const uint32_t* codes, size_t n, uint32_t* out) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i code = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + i));
    const __m256i id = _mm256_i32gather_epi32(reinterpret_cast<const int*>(map), code, 4);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), id);
  }
  for (; i < n; ++i) out[i] = map[codes[i]];
}

SEGUE_AVX2 void Scale(const uint32_t* ids, uint32_t stride, uint32_t base, size_t n, uint32_t* out) {
  const __m256i dropped = _mm256_set1_epi32(-1);
  const __m256i factor = _mm256_set1_epi32(static_cast<int>(stride));
  const __m256i start = _mm256_set1_epi32(static_cast<int>(base));
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i id = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ids + i));
    const __m256i cell = _mm256_add_epi32(_mm256_mullo_epi32(id, factor), start);
    // A dropped lane compares to all ones, which is kDropped itself.
    const __m256i result = _mm256_or_si256(cell, _mm256_cmpeq_epi32(id, dropped));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), result);
  }
  ScalarScanKernels()->scale(ids + i, stride, base, n - i, out + i);
}

SEGUE_AVX2 void Combine(const uint32_t* ids, uint32_t stride, size_t n, uint32_t* acc) {
  const __m256i dropped = _mm256_set1_epi32(-1);
  const __m256i factor = _mm256_set1_epi32(static_cast<int>(stride));
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i id = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ids + i));
    const __m256i sum = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(acc + i));
    const __m256i gone = _mm256_or_si256(_mm256_cmpeq_epi32(id, dropped), _mm256_cmpeq_epi32(sum, dropped));
    const __m256i cell = _mm256_add_epi32(_mm256_mullo_epi32(id, factor), sum);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(acc + i), _mm256_or_si256(cell, gone));
  }
  ScalarScanKernels()->combine(ids + i, stride, n - i, acc + i);
}

// For each 8-bit mask of present rows: which of the next ids each lane takes.
constexpr std::array<uint64_t, 256> MakeExpandLanes() {
  std::array<uint64_t, 256> lanes{};
  for (uint32_t mask = 0; mask < 256; ++mask) {
    uint64_t next = 0;
    for (uint32_t lane = 0; lane < 8; ++lane) {
      lanes[mask] |= next << (8 * lane);
      next += mask >> lane & 1;
    }
  }
  return lanes;
}

constexpr std::array<uint64_t, 256> kExpandLanes = MakeExpandLanes();

SEGUE_AVX2 void Expand(const uint32_t* levels, const uint32_t* ids, uint32_t null_id, size_t n, uint32_t* out) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i null = _mm256_set1_epi32(static_cast<int>(null_id));
  size_t next = 0;
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i level = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(levels + i));
    const __m256i absent = _mm256_cmpeq_epi32(level, zero);
    const auto mask = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(absent))) ^ 0xFFu;
    const __m256i lane = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(kExpandLanes[mask])));
    const __m256i packed = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ids + next));
    const __m256i spread = _mm256_permutevar8x32_epi32(packed, lane);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_blendv_epi8(spread, null, absent));
    next += static_cast<size_t>(__builtin_popcount(mask));
  }
  ScalarScanKernels()->expand(levels + i, ids + next, null_id, n - i, out + i);
}

// AVX2 has no scatter; the clamp is the part that vectors could help, and the
// loads and stores bound the loop anyway.
void Increment(const uint32_t* cells, uint32_t limit, size_t replica_stride, bool prefetch, size_t n,
               uint32_t* counters) {
  ScalarScanKernels()->increment(cells, limit, replica_stride, prefetch, n, counters);
}

constexpr ScanKernels kKernels = {Isa::kAvx2, Unpack, Max, Gather, Scale, Combine, Expand, Increment};

}  // namespace

const ScanKernels* Avx2ScanKernels() { return &kKernels; }

}  // namespace segue::scan

#else

namespace segue::scan {
const ScanKernels* Avx2ScanKernels() { return nullptr; }
}  // namespace segue::scan

#endif
