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

constexpr ScanKernels kKernels = {Isa::kAvx2, &kAvx2PackedKernels, Scale, Combine, Expand, Increment};

}  // namespace

const ScanKernels* Avx2ScanKernels() { return &kKernels; }

}  // namespace segue::scan

#else

namespace segue::scan {
const ScanKernels* Avx2ScanKernels() { return nullptr; }
}  // namespace segue::scan

#endif
