// GatherRows: rows of several batches, in any order, as one batch.
//
// Inputs: every named batch holds the wanted columns. Alignment: none.
// Allocation: each column of the output once.
// Stability: output row i is rows[i]. Cost: one copy a value; twin: AppendRows, a row at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "events/column_batch.h"

namespace segue {

struct RowRef {
  const ColumnBatch* batch;
  uint32_t row;
};

// Replaces *out. Columns wanted[c] only; `sequences`: seq as well.
void GatherRows(const StoreSchema& schema, const std::vector<RowRef>& rows, const std::vector<bool>& wanted,
                bool sequences, ColumnBatch* out);

}  // namespace segue
