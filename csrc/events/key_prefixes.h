// Key prefixes: the first eight bytes of each row's encoded key as a number
// whose order is the key's order; nearly always enough to compare two rows.
#pragma once

#include <cstdint>

#include "events/column_batch.h"

namespace segue {

// True when the prefix alone decides key order: every key of this schema is at most eight bytes.
bool PrefixIsExact(const StoreSchema& schema);

// (*prefixes)[i] = KeyPrefix(EncodeKey(row i)).
void KeyPrefixes(const StoreSchema& schema, const ColumnBatch& batch, RawVector<uint64_t>* prefixes);

}  // namespace segue
