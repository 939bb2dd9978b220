#include "events/arrival_clock.h"

#include <algorithm>
#include <array>
#include <limits>

#include "events/packed_ints.h"

namespace segue {
namespace {

constexpr int kLeastShift = 6;
constexpr int kMostShift = 40;
constexpr uint64_t kMostKnots = uint64_t{1} << 20;
constexpr uint64_t kRowsOfAKnot = 16;  // at least
constexpr uint64_t kNoArrival = std::numeric_limits<uint64_t>::max();

// Where most rows are: events that came days late to this table, between those of others, would stretch
// the clock over numbers of which it has next to none.
std::pair<uint64_t, uint64_t> DenseRange(RawVector<uint64_t> sample) {
  std::sort(sample.begin(), sample.end());
  constexpr size_t kCells = 256;
  const uint64_t least = sample.front();
  const uint64_t span = sample.back() - least;
  const auto cell_of = [&](uint64_t seq) {
    return static_cast<size_t>(static_cast<unsigned __int128>(seq - least) * (kCells - 1) /
                               std::max<uint64_t>(span, 1));
  };
  std::array<size_t, kCells> counts{};
  for (const uint64_t seq : sample) ++counts[cell_of(seq)];
  const size_t few = sample.size() / kCells / 4;
  size_t first = 0;
  size_t last = kCells - 1;
  while (first < last && counts[first] <= few) ++first;
  while (last > first && counts[last] <= few) --last;
  std::pair<uint64_t, uint64_t> range{sample.back(), least};
  for (const uint64_t seq : sample) {
    if (cell_of(seq) < first || cell_of(seq) > last) continue;
    range.first = std::min(range.first, seq);
    range.second = std::max(range.second, seq);
  }
  return range;
}

}  // namespace

ArrivalClockMaker::ArrivalClockMaker(RawVector<uint64_t> sample, uint64_t rows) {
  if (sample.empty()) return;
  const auto [first, last] = DenseRange(std::move(sample));
  const uint64_t most = std::min(kMostKnots, rows / kRowsOfAKnot);
  clock_.first_ = first;
  clock_.shift_ = kLeastShift;
  while (clock_.shift_ < kMostShift && (last - first) >> clock_.shift_ > most) ++clock_.shift_;
  if ((last - first) >> clock_.shift_ > most) return;
  earliest_.resize(static_cast<size_t>((last - first) >> clock_.shift_) + 1, Arrival{kNoArrival, 0});
}

ArrivalClock ArrivalClockMaker::Make() {
  std::erase_if(earliest_, [](const Arrival& arrival) { return arrival.place == kNoArrival; });
  const size_t n = earliest_.size();
  if (n < 2) return {};
  // One that came late would bend the line on both sides: the median of five stands where it stood.
  const auto time = [&](size_t i) { return static_cast<int64_t>(earliest_[i].time); };
  std::vector<int64_t> times(n);
  for (size_t i = 0; i < n; ++i) {
    times[i] = time(i);
    if (i < 2 || i + 2 >= n) continue;
    std::array<int64_t, 5> near{time(i - 2), time(i - 1), time(i), time(i + 1), time(i + 2)};
    std::sort(near.begin(), near.end());
    if (time(i) < near[1] || time(i) > near[3]) times[i] = near[2];
  }
  // Knots stand at the first sequence number of each; arrivals a little behind it.
  const size_t knots = static_cast<size_t>(earliest_.back().place >> clock_.shift_) + 2;
  RawVector<uint64_t> at(knots);
  size_t next = 0;
  for (size_t knot = 0; knot < knots; ++knot) {
    const uint64_t place = static_cast<uint64_t>(knot) << clock_.shift_;
    while (next + 1 < n && earliest_[next].place < place) ++next;
    const size_t right = std::max<size_t>(next, 1);
    const auto run = static_cast<double>(earliest_[right].place - earliest_[right - 1].place);
    const double rise = static_cast<double>(times[right]) - static_cast<double>(times[right - 1]);
    const double ahead = static_cast<double>(place) - static_cast<double>(earliest_[right - 1].place);
    // Behind the last arrival and in front of the first, the line goes on.
    const double moved = std::clamp(rise / run * ahead, -9e18, 9e18);
    at[knot] = static_cast<uint64_t>(times[right - 1]) + static_cast<uint64_t>(static_cast<int64_t>(moved));
  }
  clock_.SetKnots(std::move(at));
  return std::move(clock_);
}

void ArrivalClock::SetKnots(RawVector<uint64_t> knots) {
  knots_ = std::move(knots);
  narrow_ = true;
  for (size_t i = 1; i < knots_.size(); ++i) {
    const auto step = static_cast<int64_t>(knots_[i] - knots_[i - 1]);
    narrow_ = narrow_ && BitWidth(static_cast<uint64_t>(step < 0 ? ~step : step)) + shift_ < 63;
  }
}

void ArrivalClock::Serialize(std::string* out) const {
  PutVarint64(out, knots_.size());
  if (knots_.empty()) return;
  PutVarint64(out, first_);
  out->push_back(static_cast<char>(shift_));
  const PackedPlan plan = PlanPacked(knots_.data(), knots_.size());
  AppendPacked(plan, plan.delta(), knots_.data(), knots_.size(), out);
}

bool ArrivalClock::Parse(Cursor* in) {
  uint64_t n = 0;
  uint8_t shift = 0;
  if (!in->GetVarint64(&n)) return false;
  if (n == 0) return true;
  // A knot may take no bits, but there are no more than a writer makes.
  if (n < 2 || n > kMostKnots + 2 || !in->GetVarint64(&first_) || !in->GetFixed(&shift) || shift > kMostShift) {
    return false;
  }
  shift_ = shift;
  RawVector<uint64_t> knots(n);
  if (!TakePacked(in, n, knots.data())) return false;
  SetKnots(std::move(knots));
  return true;
}

}  // namespace segue
