// Loops over bit-packed integers and dictionary codes, which blocks of event
// tables and pages of Parquet files share: one table of functions per
// instruction set.
//
// Inputs: plain arrays; no alignment is needed anywhere. Nothing allocates.
// `n` may be 0. Output arrays must not overlap inputs unless a kernel says so.
//
// Packed values lie one after the other, least significant bit first: value i
// occupies bits [i * width, (i + 1) * width).
//
// Cost per value, AVX2 / scalar, in cache: unpack to 32 bits 0.2 / 0.8 ns (above
// width 25 0.3 ns), to 64 bits 0.3 / 0.8 ns (above width 57 both 1.1 ns), max
// 0.1 / 0.6 ns, gather 0.4 ns in both.
//
// Each table lives in its own translation unit with internal linkage, compiled
// with baseline flags; only functions marked with a target attribute use more.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"
#include "base/status.h"

namespace segue {

struct PackedKernels {
  Isa isa;

  // out[i] = base + the `width`-bit value (0..64 bits) number `first + i` of the
  // packed bytes at `data`, modulo 2^32 or 2^64. Bits past `end` read as zero; no
  // byte at or past `end` is touched. (first + n) * width < 2^64.
  void (*unpack32)(const uint8_t* data, const uint8_t* end, int width, uint64_t first, size_t n, uint32_t base,
                   uint32_t* out);
  void (*unpack64)(const uint8_t* data, const uint8_t* end, int width, uint64_t first, size_t n, uint64_t base,
                   uint64_t* out);

  // The largest of v[0..n), 0 when n is 0.
  uint32_t (*max)(const uint32_t* v, size_t n);

  // out[i] = map[codes[i]]. Every code must be in range. `out` may be `codes`.
  void (*gather)(const uint32_t* map, const uint32_t* codes, size_t n, uint32_t* out);
};

extern const PackedKernels kScalarPackedKernels;
#if defined(__x86_64__)
extern const PackedKernels kAvx2PackedKernels;
#endif

// kUnsupported when this CPU or build lacks `isa`.
Result<const PackedKernels*> PackedKernelsFor(Isa isa);

// Those of ActiveIsa(), of which an error is for whoever opens a file to report: then the scalar ones.
const PackedKernels& ActivePackedKernels();

}  // namespace segue
