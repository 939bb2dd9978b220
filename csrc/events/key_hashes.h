// The bloom hashes of sorted rows' keys.
//
// Cost: about 3 ns a row for a key of one integer column, else an EncodeKey.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "events/column_batch.h"

namespace segue {

// Appends KeyHash(EncodeKey(row)) of rows [begin, end), leaving out one that
// equals the last hash of *out: of rows sorted by key, each key comes once.
void AppendKeyHashes(const StoreSchema& schema, const ColumnBatch& batch, size_t begin, size_t end,
                     RawVector<uint64_t>* out);

}  // namespace segue
