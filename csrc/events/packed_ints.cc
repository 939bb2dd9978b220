#include "events/packed_ints.h"

namespace segue {

PackedPlan PlanPacked(const uint64_t* values, size_t n) {
  PackedPlan plan;
  constexpr uint64_t kFrameHeader = 1 + 8 + 1;
  constexpr uint64_t kDeltaHeader = 1 + 8 + 8 + 1;
  plan.frame_bytes = kFrameHeader;
  plan.delta_bytes = kDeltaHeader;
  if (n == 0) return plan;
  auto least = static_cast<int64_t>(values[0]);
  int64_t most = least;
  auto least_step = n > 1 ? static_cast<int64_t>(values[1] - values[0]) : 0;
  int64_t most_step = least_step;
  // One pass: four independent chains of comparisons keep the processor busy.
  for (size_t i = 1; i < n; ++i) {
    const auto value = static_cast<int64_t>(values[i]);
    const auto step = static_cast<int64_t>(values[i] - values[i - 1]);
    least = std::min(least, value);
    most = std::max(most, value);
    least_step = std::min(least_step, step);
    most_step = std::max(most_step, step);
  }
  plan.base = static_cast<uint64_t>(least);
  plan.width = BitWidth(static_cast<uint64_t>(most) - plan.base);
  plan.frame_bytes += PackedBytes(n, plan.width);
  if (n == 1) return plan;
  plan.step = static_cast<uint64_t>(least_step);
  plan.delta_width = BitWidth(static_cast<uint64_t>(most_step) - plan.step);
  plan.delta_bytes += PackedBytes(n - 1, plan.delta_width);
  return plan;
}

void AppendPacked(const PackedPlan& plan, bool delta, const uint64_t* values, size_t n, std::string* out) {
  if (!delta) {
    out->push_back(static_cast<char>(kPackedFrame));
    PutFixed<uint64_t>(out, plan.base);
    out->push_back(static_cast<char>(plan.width));
    PackBits(values, n, plan.base, plan.width, out);
    return;
  }
  out->push_back(static_cast<char>(kPackedDelta));
  PutFixed<uint64_t>(out, n == 0 ? 0 : values[0]);
  PutFixed<uint64_t>(out, plan.step);
  out->push_back(static_cast<char>(plan.delta_width));
  // Steps a few hundred at a time, so that no scratch of n values is needed.
  // A multiple of 8 keeps every piece but the last a whole number of bytes.
  constexpr size_t kPiece = 512;
  uint64_t steps[kPiece];
  for (size_t i = 1; i < n; i += kPiece) {
    const size_t m = std::min(kPiece, n - i);
    for (size_t j = 0; j < m; ++j) steps[j] = values[i + j] - values[i + j - 1];
    PackBits(steps, m, plan.step, plan.delta_width, out);
  }
}

}  // namespace segue
