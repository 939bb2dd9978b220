// SplitAssigner: numbers the splits (output partitions: days, months, or values
// of columns) of rows by arrival.
//
// Thread safety: none; belongs to the thread that consumes.
// Invariants: equal split values have equal ids; ids are 0, 1, 2, ... by arrival.
// A null is a value of its own. -0.0 and 0.0 are one value, as are all NaNs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "pipeline/array_values.h"
#include "pipeline/string_dictionary.h"

namespace segue {

enum class SplitUnit : uint8_t { kHour, kDay, kMonth };

// "hour", "day" or "month"; else kInvalid.
Result<SplitUnit> ParseSplitUnit(const std::string& name);

// Hours, days or months since 1970-01-01 UTC, floored.
int64_t SplitOfTime(int64_t time, TimeUnit time_unit, SplitUnit unit);

// One value of a split: null, raw bits of a fixed-width type (a float canonical), or bytes
// (strings, binary; decimals as their 16 little-endian bytes).
using SplitValue = std::variant<std::monostate, int64_t, std::string>;

class SplitAssigner {
 public:
  // No columns: all rows are split 0. With `unit` there is one column, a timestamp.
  SplitAssigner(std::vector<ColumnType> columns, std::optional<SplitUnit> unit);

  // ids[i] of the i-th of n rows: row begin + chosen[i] (null: begin + i) of each
  // split column. kInvalid past 2^24 - 1 splits.
  Status Assign(const std::vector<ColumnSlice>& columns, const int32_t* chosen, int64_t n, uint32_t* ids);

  size_t size() const { return leaves_.size(); }
  // The values of a split, in column order.
  std::vector<SplitValue> Values(uint32_t id) const;
  const std::vector<ColumnType>& columns() const { return columns_; }
  const std::optional<SplitUnit>& unit() const { return unit_; }

 private:
  // A split of several columns is a path in a tree: each node one column deeper.
  struct Node {
    uint32_t parent;
    bool null;
    int64_t bits;
    int32_t leaf;  // split id; -1 for inner nodes
  };

  uint32_t Child(uint32_t parent, bool null, int64_t bits);
  void Bits(size_t column, const ArrayView& view, const Selection& rows);
  void Grow();

  std::vector<ColumnType> columns_;
  std::optional<SplitUnit> unit_;
  std::vector<std::unique_ptr<StringDictionary>> strings_;  // by column; null for fixed-width ones
  std::vector<Node> nodes_;
  std::vector<uint32_t> slots_;   // open addressing, node number + 1
  std::vector<uint32_t> leaves_;  // node of each split id
  // Scratch of one call.
  std::vector<int64_t> bits_;
  std::vector<uint8_t> nulls_;
  std::vector<uint32_t> path_;
};

}  // namespace segue
