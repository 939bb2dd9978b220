// Time windows: which rows share an SSTable.
//
// Window w holds the times [w * width, (w + 1) * width). Sixteen neighbours make
// a node of level 1, sixteen of those one of level 2, and so on: a table belongs
// to the smallest node that holds all its windows, and is merged with tables of
// that node only. A window of many rows gets a file of its own; windows of few
// rows share one with their neighbours, at the lowest level where they are many
// together. So there are never many small files, and a shared file is pushed
// down to its windows as it grows by merging.
//
// Thread safety: plain values; WindowHistogram and WindowSplit belong to one thread.
#pragma once

#include <compare>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "events/column_batch.h"

namespace segue {

// floor(time / width); width > 0.
constexpr int64_t WindowOf(int64_t time, int64_t width) { return time / width - (time % width < 0 ? 1 : 0); }

struct WindowNode {
  int level = 0;      // 0: one window; 16: all there are
  int64_t index = 0;  // its windows are those with window >> (4 * level) == index

  static WindowNode Of(int64_t first_window, int64_t last_window);
  auto operator<=>(const WindowNode&) const = default;
};

// Rows by window. Memory is bounded: with very many windows it counts by nodes
// of a higher level, so that those windows share files.
class WindowHistogram {
 public:
  explicit WindowHistogram(int64_t width) : width_(width) {}

  // Rows [begin, end) of a time column, those before `visible_from` left out.
  void Add(const ColumnData& time, size_t begin, size_t end, int64_t visible_from);
  // `rows` of one window.
  void AddWindow(int64_t window, uint64_t rows);

  int64_t width() const { return width_; }
  int level() const { return level_; }
  uint64_t rows() const { return rows_; }
  std::vector<std::pair<int64_t, uint64_t>> Sorted() const;  // (window >> 4 * level, rows)

 private:
  static constexpr size_t kMaxBuckets = 65536;

  void Coarsen();

  int64_t width_;
  int level_ = 0;
  uint64_t rows_ = 0;
  std::unordered_map<int64_t, uint64_t> buckets_;
};

// Into which of several files each row goes.
class WindowSplit {
 public:
  // A file has at least `least_rows`, but for one with what is left over; and
  // there are at most `most_files` (at least 1).
  WindowSplit(const WindowHistogram& histogram, uint64_t least_rows, size_t most_files);

  size_t files() const { return rows_.size(); }
  uint64_t rows(size_t file) const { return rows_[file]; }
  // outputs[i]: the file of row begin + i. Rows must have been counted by the histogram.
  void Route(const ColumnData& time, size_t begin, size_t n, uint32_t* outputs) const;

 private:
  int64_t width_;
  int level_;
  std::vector<uint64_t> rows_;    // of each file
  std::vector<int64_t> buckets_;  // sorted
  std::vector<uint32_t> file_of_;
};

}  // namespace segue
