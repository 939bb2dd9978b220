#include "events/memtable_batch.h"

#include <algorithm>
#include <utility>

#include "events/key_prefixes.h"
#include "events/skiplist.h"

namespace segue {

MemtableBatch::MemtableBatch(const StoreSchema& schema, ColumnBatch rows) : batch_(std::move(rows)) {
  KeyPrefixes(schema, batch_, &prefixes_);
  min_time_ = max_time_ = TimeAt(schema, batch_, 0);
  for (size_t row = 1; row < batch_.rows; ++row) {
    const int64_t time = TimeAt(schema, batch_, row);
    min_time_ = std::min(min_time_, time);
    max_time_ = std::max(max_time_, time);
  }
  batch_.seq.resize(batch_.rows);
  SetFirstSequence(0);
}

void MemtableBatch::SetFirstSequence(uint64_t first) {
  for (size_t row = 0; row < batch_.rows; ++row) batch_.seq[row] = first + row;
}

std::vector<uint32_t> MemtableBatch::FindKey(const StoreSchema& schema, std::string_view encoded_key) const {
  const uint64_t prefix = KeyPrefix(encoded_key);
  std::vector<uint32_t> rows;
  std::string key;
  for (size_t row = 0; row < batch_.rows; ++row) {
    if (prefixes_[row] != prefix) continue;
    if (encoded_key.size() > sizeof(prefix)) {
      key.clear();
      EncodeKey(schema, batch_, row, &key);
      if (key != encoded_key) continue;
    }
    rows.push_back(static_cast<uint32_t>(row));
  }
  return rows;
}

}  // namespace segue
