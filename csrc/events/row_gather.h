// Row gather: copies rows that lie in several batches, column by column, into one.
//
// An entry is any struct with `source` (which batch) and `row`. Output columns
// are replaced; their strings must have less than 4 GiB together, which callers see to. Cost: one load and one store a
// fixed-width value, nearly sequential on each source when entries come from a merge.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/thread_priority.h"
#include "events/column_batch.h"

namespace segue {

template <typename T, typename Entry>
void GatherFixed(size_t column, const std::vector<const ColumnBatch*>& sources, const Entry* entries, size_t n,
                 ColumnData* to) {
  std::vector<const uint8_t*> values;
  for (const ColumnBatch* batch : sources) values.push_back(batch->columns[column].values.data());
  to->values.resize(n * sizeof(T));
  uint8_t* out = to->values.data();
  for (size_t i = 0; i < n; ++i) {
    std::memcpy(out, values[entries[i].source] + entries[i].row * sizeof(T), sizeof(T));
    out += sizeof(T);
  }
}

template <typename Entry>
void GatherBytes(size_t column, const std::vector<const ColumnBatch*>& sources, const Entry* entries, size_t n,
                 ColumnData* to) {
  to->offsets.resize(n + 1);
  to->offsets[0] = 0;
  uint32_t total = 0;
  for (size_t i = 0; i < n; ++i) {
    total += static_cast<uint32_t>(sources[entries[i].source]->columns[column].Bytes(entries[i].row).size());
    to->offsets[i + 1] = total;
  }
  to->values.resize(total);
  for (size_t i = 0; i < n; ++i) {
    const std::string_view bytes = sources[entries[i].source]->columns[column].Bytes(entries[i].row);
    if (!bytes.empty()) std::memcpy(to->values.data() + to->offsets[i], bytes.data(), bytes.size());
  }
}

template <typename Entry>
void GatherColumn(const StoreSchema& schema, size_t column, const std::vector<const ColumnBatch*>& sources,
                  const Entry* entries, size_t n, ColumnData* to) {
  switch (schema.columns[column].width) {
    case 1:
      GatherFixed<uint8_t>(column, sources, entries, n, to);
      break;
    case 2:
      GatherFixed<uint16_t>(column, sources, entries, n, to);
      break;
    case 4:
      GatherFixed<uint32_t>(column, sources, entries, n, to);
      break;
    case 8:
      GatherFixed<uint64_t>(column, sources, entries, n, to);
      break;
    case 16:
      GatherFixed<__uint128_t>(column, sources, entries, n, to);
      break;
    default:
      GatherBytes(column, sources, entries, n, to);
  }
  to->valid.clear();
  const bool nulls = std::any_of(sources.begin(), sources.end(),
                                 [column](const ColumnBatch* batch) { return !batch->columns[column].valid.empty(); });
  if (!nulls) return;
  to->valid.resize(n);
  for (size_t i = 0; i < n; ++i) {
    to->valid[i] = sources[entries[i].source]->columns[column].IsNull(entries[i].row) ? 0 : 1;
  }
}

// The columns for which wanted(c), and sequence numbers if `sequences`; others are left as they are.
template <typename Entry, typename Wanted>
void GatherSome(const StoreSchema& schema, const std::vector<const ColumnBatch*>& sources, const Entry* entries,
                size_t n, Wanted wanted, bool sequences, ColumnBatch* to) {
  to->rows = n;
  to->columns.resize(schema.columns.size());
  for (size_t c = 0; c < schema.columns.size(); ++c) {
    if (!wanted(c)) continue;
    GatherColumn(schema, c, sources, entries, n, &to->columns[c]);
    GiveWay();
  }
  if (!sequences) return;
  to->seq.resize(n);
  for (size_t i = 0; i < n; ++i) to->seq[i] = sources[entries[i].source]->seq[entries[i].row];
}

template <typename Entry>
void GatherRows(const StoreSchema& schema, const std::vector<const ColumnBatch*>& sources, const Entry* entries,
                size_t n, ColumnBatch* to) {
  GatherSome(schema, sources, entries, n, [](size_t) { return true; }, true, to);
}

}  // namespace segue
