// Arrow columns as dense group ids: the same dictionaries as a Parquet scan,
// fed from memory.
//
// Thread safety: pure; the ValueDictionary takes care of itself.
// Values become keys as column_reader.h says; a dictionary column is mapped
// entry by entry, so that each string is hashed once a batch.
#pragma once

#include <vector>

#include "base/arrow_array.h"
#include "base/status.h"
#include "scan/value_dictionary.h"

namespace segue::scan {

// Numbers, dates, timestamps and booleans are kNumber, the rest kBytes.
KeyKind KeyKindOf(const ColumnType& type);

// Replaces `ids` by one id per slot of `column`.
Status MapArrowColumn(const ArrayView& column, ValueDictionary* dictionary, std::vector<uint32_t>* ids);

}  // namespace segue::scan
