// Small helpers over ArrayView that every kernel of the pipeline uses.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/arrow_array.h"

namespace segue {

// A null slot, or a slot whose dictionary entry is null.
inline bool MayHoldNulls(const ArrayView& view) {
  return view.MayHaveNulls() || (view.dictionary != nullptr && view.dictionary->MayHaveNulls());
}
inline bool IsNullValue(const ArrayView& view, int64_t i) {
  if (view.IsNull(i)) return true;
  return view.dictionary != nullptr && view.dictionary->MayHaveNulls() && view.dictionary->IsNull(view.EntryAt(i));
}

// The bytes of a string, binary or dictionary slot that is not null.
inline std::string_view BytesAt(const ArrayView& view, int64_t i) {
  return view.dictionary != nullptr ? view.dictionary->StringAt(view.EntryAt(i)) : view.StringAt(i);
}

// The rows of a chunk that go on: all of [begin, begin + n), or chosen ones.
struct Selection {
  int64_t begin = 0;
  const int32_t* chosen = nullptr;  // relative to begin; null: all
  int64_t n = 0;

  int64_t At(int64_t i) const { return begin + (chosen == nullptr ? i : chosen[i]); }
};

// A column and where in it the rows of a chunk begin.
struct ColumnSlice {
  const ArrayView* view = nullptr;
  int64_t begin = 0;
};

inline int64_t FloorDiv(int64_t value, int64_t divisor) {
  const int64_t quotient = value / divisor;
  return quotient - static_cast<int64_t>(value % divisor < 0);
}

}  // namespace segue
