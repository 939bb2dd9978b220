#include "events/row_gather.h"

#include <algorithm>
#include <cstring>

#include "events/value_width.h"

namespace segue {

namespace {

void GatherBytes(const std::vector<RowRef>& rows, size_t column, ColumnData* to) {
  to->offsets.resize(rows.size() + 1);
  to->offsets[0] = 0;
  uint32_t total = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    total += static_cast<uint32_t>(rows[i].batch->columns[column].Bytes(rows[i].row).size());
    to->offsets[i + 1] = total;
  }
  to->values.resize(total);
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string_view bytes = rows[i].batch->columns[column].Bytes(rows[i].row);
    if (!bytes.empty()) std::memcpy(to->values.data() + to->offsets[i], bytes.data(), bytes.size());
  }
}

void GatherValid(const std::vector<RowRef>& rows, size_t column, ColumnData* to) {
  const bool nulls = std::any_of(rows.begin(), rows.end(),
                                 [column](const RowRef& ref) { return ref.batch->columns[column].IsNull(ref.row); });
  if (!nulls) return;
  to->valid.resize(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) to->valid[i] = rows[i].batch->columns[column].IsNull(rows[i].row) ? 0 : 1;
}

}  // namespace

void GatherRows(const StoreSchema& schema, const std::vector<RowRef>& rows, const std::vector<bool>& wanted,
                bool sequences, ColumnBatch* out) {
  *out = ColumnBatch();
  out->rows = rows.size();
  out->columns.resize(schema.columns.size());
  for (size_t c = 0; c < schema.columns.size(); ++c) {
    if (!wanted[c]) continue;
    ColumnData* to = &out->columns[c];
    const int width = schema.columns[c].width;
    if (width == 0) {
      GatherBytes(rows, c, to);
    } else {
      to->values.resize(rows.size() * static_cast<size_t>(width));
      WithWidth(width, [&]<typename T>() {
        uint8_t* at = to->values.data();
        for (const RowRef& ref : rows) {
          std::memcpy(at, ref.batch->columns[c].values.data() + ref.row * sizeof(T), sizeof(T));
          at += sizeof(T);
        }
      });
    }
    GatherValid(rows, c, to);
  }
  if (!sequences) return;
  out->seq.resize(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) out->seq[i] = rows[i].batch->seq[rows[i].row];
}

}  // namespace segue
