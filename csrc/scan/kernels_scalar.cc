// Reference kernels in plain C++: the twin of every vectorised one.
#include <algorithm>

#include "scan/kernels.h"

namespace segue::scan {

namespace {

void Scale(const uint32_t* ids, uint32_t stride, uint32_t base, size_t n, uint32_t* out) {
  for (size_t i = 0; i < n; ++i) out[i] = ids[i] == kDropped ? kDropped : base + ids[i] * stride;
}

void Combine(const uint32_t* ids, uint32_t stride, size_t n, uint32_t* acc) {
  for (size_t i = 0; i < n; ++i) {
    acc[i] = acc[i] == kDropped || ids[i] == kDropped ? kDropped : acc[i] + ids[i] * stride;
  }
}

void Expand(const uint32_t* levels, const uint32_t* ids, uint32_t null_id, size_t n, uint32_t* out) {
  size_t next = 0;
  for (size_t i = 0; i < n; ++i) {
    out[i] = levels[i] != 0 ? ids[next] : null_id;
    next += levels[i];
  }
}

void Increment(const uint32_t* cells, uint32_t limit, size_t replica_stride, bool prefetch, size_t n,
               uint32_t* counters) {
  size_t i = 0;
  if (prefetch) {
    constexpr size_t kAhead = 32;
    for (; i + kAhead < n; ++i) {
      __builtin_prefetch(counters + std::min(cells[i + kAhead], limit), 1);
      ++counters[std::min(cells[i], limit)];
    }
  } else {
    uint32_t* c1 = counters + replica_stride;
    uint32_t* c2 = c1 + replica_stride;
    uint32_t* c3 = c2 + replica_stride;
    for (; i + 4 <= n; i += 4) {
      ++counters[std::min(cells[i], limit)];
      ++c1[std::min(cells[i + 1], limit)];
      ++c2[std::min(cells[i + 2], limit)];
      ++c3[std::min(cells[i + 3], limit)];
    }
  }
  for (; i < n; ++i) ++counters[std::min(cells[i], limit)];
}

constexpr ScanKernels kKernels = {Isa::kScalar, &kScalarPackedKernels, Scale, Combine, Expand, Increment};

}  // namespace

const ScanKernels* ScalarScanKernels() { return &kKernels; }

}  // namespace segue::scan
