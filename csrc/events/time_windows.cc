#include "events/time_windows.h"

#include <algorithm>
#include <limits>

namespace segue {
namespace {

constexpr int kLevelBits = 4;
constexpr int kTopLevel = 16;  // 64 bits: one node holds every window

int64_t Up(int64_t window, int level) { return level >= kTopLevel ? 0 : window >> (kLevelBits * level); }

// Calls visit(window, first row, one past the last) for each stretch of rows of one window.
template <typename Visit>
void ForEachStretch(const ColumnData& time, size_t begin, size_t end, int64_t width, Visit visit) {
  for (size_t row = begin; row < end;) {
    const int64_t window = WindowOf(time.Get<int64_t>(row), width);
    // The first window may begin before the first time there is, the last one end beyond the last.
    const __int128_t first = static_cast<__int128_t>(window) * width;
    const auto low = static_cast<int64_t>(std::max<__int128_t>(first, std::numeric_limits<int64_t>::min()));
    const auto high =
        static_cast<int64_t>(std::min<__int128_t>(first + width - 1, std::numeric_limits<int64_t>::max()));
    const uint64_t span = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
    size_t last = row + 1;
    while (last < end && time.Get<uint64_t>(last) - static_cast<uint64_t>(low) <= span) ++last;
    visit(window, row, last);
    row = last;
  }
}

}  // namespace

WindowNode WindowNode::Of(int64_t first_window, int64_t last_window) {
  int level = 0;
  while (Up(first_window, level) != Up(last_window, level)) ++level;
  return {level, Up(first_window, level)};
}

void WindowHistogram::AddWindow(int64_t window, uint64_t rows) {
  if (rows == 0) return;
  rows_ += rows;
  buckets_[Up(window, level_)] += rows;
  while (buckets_.size() > kMaxBuckets) Coarsen();
}

void WindowHistogram::Add(const ColumnData& time, size_t begin, size_t end, int64_t visible_from) {
  ForEachStretch(time, begin, end, width_, [&](int64_t window, size_t from, size_t to) {
    uint64_t rows = 0;
    for (size_t row = from; row < to; ++row) rows += time.Get<int64_t>(row) >= visible_from ? 1 : 0;
    AddWindow(window, rows);
  });
}

void WindowHistogram::Coarsen() {
  ++level_;
  std::unordered_map<int64_t, uint64_t> coarser;
  for (const auto& [bucket, rows] : buckets_) coarser[Up(bucket, 1)] += rows;
  buckets_ = std::move(coarser);
}

std::vector<std::pair<int64_t, uint64_t>> WindowHistogram::Sorted() const {
  std::vector<std::pair<int64_t, uint64_t>> sorted(buckets_.begin(), buckets_.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

WindowSplit::WindowSplit(const WindowHistogram& histogram, uint64_t least_rows, size_t most_files)
    : width_(histogram.width()), level_(histogram.level()) {
  const std::vector<std::pair<int64_t, uint64_t>> counts = histogram.Sorted();
  // Files but the left-over one have `least` rows or more: at most most_files - 1 of them.
  const uint64_t least =
      most_files < 2 ? histogram.rows() + 1 : std::max(least_rows, histogram.rows() / (most_files - 1) + 1);
  file_of_.resize(counts.size());
  std::vector<size_t> left(counts.size());  // places in counts that have no file yet
  for (size_t i = 0; i < counts.size(); ++i) {
    buckets_.push_back(counts[i].first);
    left[i] = i;
  }
  for (int up = 0; !left.empty(); ++up) {
    std::vector<size_t> still;
    const bool top = Up(counts[left.front()].first, up) == Up(counts[left.back()].first, up);
    for (size_t begin = 0; begin < left.size();) {
      const int64_t node = Up(counts[left[begin]].first, up);
      uint64_t rows = 0;
      size_t end = begin;
      for (; end < left.size() && Up(counts[left[end]].first, up) == node; ++end) rows += counts[left[end]].second;
      if (rows >= least || top) {
        for (size_t i = begin; i < end; ++i) file_of_[left[i]] = static_cast<uint32_t>(rows_.size());
        rows_.push_back(rows);
      } else {
        still.insert(still.end(), left.begin() + static_cast<ptrdiff_t>(begin),
                     left.begin() + static_cast<ptrdiff_t>(end));
      }
      begin = end;
    }
    left = std::move(still);
  }
}

void WindowSplit::Route(const ColumnData& time, size_t begin, size_t n, uint32_t* outputs) const {
  if (rows_.size() == 1) {
    std::fill_n(outputs, n, 0);
    return;
  }
  ForEachStretch(time, begin, begin + n, width_, [&](int64_t window, size_t from, size_t to) {
    const auto at = std::lower_bound(buckets_.begin(), buckets_.end(), Up(window, level_)) - buckets_.begin();
    // A time outside of those counted: a table whose footer names other times than its rows have.
    const size_t bucket = std::min(static_cast<size_t>(at), buckets_.size() - 1);
    std::fill(outputs + (from - begin), outputs + (to - begin), file_of_[bucket]);
  });
}

}  // namespace segue
