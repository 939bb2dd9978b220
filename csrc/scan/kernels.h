// The inner loops of a scan, one table of functions per instruction set.
//
// Inputs: plain arrays; no alignment is needed anywhere. Nothing allocates.
// `n` may be 0. Output arrays must not overlap inputs unless a kernel says so.
// Ids are 32-bit; kDropped marks a row that no group counts (a join found no
// partner) and passes through `scale` and `combine` unchanged.
//
// Cost per value, AVX2 / scalar, in cache: combine 0.1 / 0.4 ns, expand 0.3 / 0.8 ns.
//
// Each table lives in its own translation unit with internal linkage, compiled
// with baseline flags; only functions marked with a target attribute use more.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"
#include "base/packed_kernels.h"
#include "base/status.h"

namespace segue::scan {

constexpr uint32_t kDropped = 0xFFFFFFFFu;

// Expand may write this many slots past `n`, and read as many past its input.
constexpr size_t kKernelPad = 8;

struct ScanKernels {
  Isa isa;
  const PackedKernels* packed;

  // out[i] = ids[i] == kDropped ? kDropped : base + ids[i] * stride. `out` may be `ids`.
  void (*scale)(const uint32_t* ids, uint32_t stride, uint32_t base, size_t n, uint32_t* out);

  // acc[i] = either is kDropped ? kDropped : acc[i] + ids[i] * stride.
  void (*combine)(const uint32_t* ids, uint32_t stride, size_t n, uint32_t* acc);

  // out[i] = levels[i] != 0 ? the next of `ids` : null_id. Levels are 0 or 1;
  // all three arrays are readable, and `out` writable, kKernelPad slots further.
  void (*expand)(const uint32_t* levels, const uint32_t* ids, uint32_t null_id, size_t n, uint32_t* out);

  // ++counters[(i % 4) * replica_stride + min(cells[i], limit)] for all i.
  // `limit` is the slot of dropped rows; replica_stride 0 means one copy.
  // `prefetch`: the counters are larger than the cache.
  void (*increment)(const uint32_t* cells, uint32_t limit, size_t replica_stride, bool prefetch, size_t n,
                    uint32_t* counters);
};

const ScanKernels* ScalarScanKernels();
const ScanKernels* Avx2ScanKernels();  // nullptr when this build has none

// kUnsupported when this CPU or build lacks `isa`.
Result<const ScanKernels*> ScanKernelsFor(Isa isa);
// Those of ActiveIsa().
Result<const ScanKernels*> ActiveScanKernels();

}  // namespace segue::scan
